//! Loading the program with its maps.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use aya::maps::{Array, MapError};
use aya::programs::ProgramError;
use aya::{Ebpf, EbpfLoader};
use nix::libc;
use nix::time::{ClockId, clock_getres};
use xdp_common::abi::{MAX_INTERFACES, SourceLine, WordLine, constant, entries, hits, map};
use xdp_common::known;
use xdp_common::sources::Shape;

use super::super::cost::{EVENT_BYTES, SAMPLE_RING_BYTES};
use super::super::known_filter::KnownFilter;
use super::super::lists::Lists;
use super::super::source_table::{Lengths, SourceTable, buckets};
use super::super::{Capacity, Continuity, DatapathError, OBJECT, Result};
use super::classes::Classes;
use super::hits::Hits;
use super::list_tables::KernelLists;
use super::mapped::Mapped;
use super::pins::{Pins, Unfit};
use super::tries::Tries;
use super::{KernelDatapath, Table, attach, data, failed, features, missing};

impl KernelDatapath {
    /// Loads the program. `log_level` is that of its own diagnostics, 0 for none.
    pub fn load(capacity: Capacity, log_level: u8) -> Result<Self> {
        Self::load_with_events(capacity, log_level, EVENT_BYTES)
    }

    /// The same with a ring buffer of events of another size, for tests of a full one.
    #[doc(hidden)]
    pub fn load_with_events(capacity: Capacity, log_level: u8, event_bytes: u32) -> Result<Self> {
        Self::load_over(None, capacity, log_level, event_bytes)
    }

    /// Loads the program over the maps that an earlier one left pinned, where they fit; else over new
    /// ones, which are pinned in their place. What is attached goes on as it was until
    /// [`super::super::Datapath::go_live`] and [`super::super::Datapath::attach`].
    ///
    /// # Errors
    /// When `directory` is on no bpffs, or the kernel refuses.
    pub fn load_pinned(directory: &Path, capacity: Capacity, log_level: u8) -> Result<Self> {
        let pins = Pins::open(directory).map_err(|error| DatapathError::Pins {
            directory: directory.to_owned(),
            source: error,
        })?;
        Self::load_over(Some(pins), capacity, log_level, EVENT_BYTES)
    }

    /// The same, of which is known why nothing is pinned.
    #[must_use]
    pub fn unpinned(mut self, why: String) -> Self {
        self.continuity = Continuity::Unpinned(why);
        self
    }

    fn load_over(
        pins: Option<Pins>,
        capacity: Capacity,
        log_level: u8,
        event_bytes: u32,
    ) -> Result<Self> {
        features::require()?;
        let mut shape = Shape {
            buckets: buckets(capacity.sources),
            // Nobody may choose sources that share a bucket.
            seeds: [0, 1].map(|n: u64| RandomState::new().hash_one(n) | 1),
        };
        let cpus = aya::util::nr_cpus().map_err(|(_, e)| failed("count the CPUs", e))?;
        let rings = u32::try_from(cpus)
            .unwrap_or(u32::MAX)
            .saturating_mul(hits::RING);
        let lines = shape.lines();
        let period_shift = period_shift();
        let known_mask = known::mask_for(capacity.sources, capacity.bans);
        let known_lines = known::all_lines(known_mask);
        let meter_mask = entries::METERS - 1;
        let sizes = [
            (map::LIMITS_V4, capacity.overrides),
            (map::LIMITS_V6, capacity.overrides),
            (map::SOURCES, lines),
            (map::HITS, rings),
            (map::BANS, capacity.bans),
            (map::EVENTS, event_bytes),
            (map::SAMPLES, SAMPLE_RING_BYTES),
            (map::KNOWN, known_lines),
            (map::METERS, entries::METERS),
        ];
        let continuity = match &pins {
            Some(pins) => take_over(pins, &sizes, &mut shape.seeds)?,
            None => Continuity::None,
        };
        let mut loader = EbpfLoader::new();
        if let Some(pins) = &pins {
            pins.tell(&mut loader);
        }
        for (name, entries) in sizes {
            loader.map_max_entries(name, entries);
        }
        let mut ebpf = loader
            .override_global(constant::KNOWN_MASK, &known_mask, true)
            .override_global(constant::METER_MASK, &meter_mask, true)
            .override_global(constant::SOURCE_BUCKETS, &shape.buckets, true)
            .override_global(constant::SOURCE_SEEDS, &shape.seeds[..], true)
            .override_global(constant::PERIOD_SHIFT, &period_shift, true)
            .override_global("AYA_LOG_LEVEL", &log_level, true)
            .load(OBJECT)
            .map_err(|error| load_error("create the program's maps", error.into()))?;
        let program = attach::program(&mut ebpf)?;
        program.load().map_err(load_refused)?;
        let sources = Mapped::new::<SourceLine>(map_data(&ebpf, map::SOURCES)?, lines)?;
        let known = Mapped::new::<WordLine>(map_data(&ebpf, map::KNOWN)?, known_lines)?;
        let hits = Mapped::new::<xdp_common::abi::Hit>(map_data(&ebpf, map::HITS)?, rings)?;
        let Some(aya::maps::Map::ArrayOfMaps(outer)) = ebpf.take_map(map::LISTS) else {
            return Err(missing(map::LISTS));
        };
        let lists = KernelLists::new(outer, map_data(&ebpf, map::LIST_HEADS)?)?;
        let known = KnownFilter::new(known, known_mask);
        known.note_seeds(shape.seeds);
        let mut datapath = Self {
            capacity,
            pins,
            continuity,
            pin_trouble: None,
            policy: take(&mut ebpf, map::POLICY)?,
            active: take(&mut ebpf, map::ACTIVE)?,
            counters: take(&mut ebpf, map::COUNTERS)?,
            faults: take(&mut ebpf, map::FAULTS)?,
            classes: Classes::take(&mut ebpf)?,
            lists: Lists::new(lists, capacity),
            limits: Tries::take(&mut ebpf, map::LIMITS_V4, map::LIMITS_V6, "overrides")?,
            hits: Hits::new(hits, take(&mut ebpf, map::HIT_WRITERS)?),
            sources: SourceTable::new(sources, shape),
            known,
            meters: take(&mut ebpf, map::METERS)?,
            lengths: Lengths(32, 64),
            bans: Table::take(&mut ebpf, map::BANS)?,
            events: Some(take(&mut ebpf, map::EVENTS)?),
            samples: Some(take(&mut ebpf, map::SAMPLES)?),
            links: std::collections::HashMap::new(),
            was: [0; MAX_INTERFACES],
            tended: 0,
            protected: 0,
            ebpf,
        };
        datapath.go_on()?;
        Ok(datapath)
    }

    /// Goes on where the policy in force has come to: a bank and a slot that packets look at are not
    /// written to, and what is known of sources stays.
    fn go_on(&mut self) -> Result<()> {
        if self.continuity == Continuity::TookOver {
            self.lists.hold();
        }
        let active = self.active.get(&0, 0);
        let active = active.map_err(|e| failed("read the active policy", e))?;
        let policy = self.policy.get(&active, 0);
        let policy = policy.map_err(|e| failed("read a policy", e))?;
        if policy.version != 0 {
            self.classes.go_on(policy.class_bank);
            self.lengths = Lengths(policy.source_len_v4, policy.source_len_v6);
            self.was = policy.interfaces;
        }
        self.hits.go_on()
    }
}

/// Whether the pinned maps are used. The seeds are theirs then. Maps that don't fit lose their pins:
/// what is attached keeps them.
fn take_over(pins: &Pins, sizes: &[(&str, u32)], seeds: &mut [u64; 2]) -> Result<Continuity> {
    let pinned = pins.fit(sizes).and_then(|()| {
        let known = pins.map(map::KNOWN).map(aya::maps::Map::Array);
        let known = known.and_then(|map| Array::<_, WordLine>::try_from(map).ok());
        let first = known.and_then(|known| known.get(&0, 0).ok());
        let [_, _, first, second, ..] = first.map_or([0; 8], |line| line.words);
        if first == 0 || second == 0 {
            return Err(Unfit::Other("the pinned maps were never in use".to_owned()));
        }
        *seeds = [first, second];
        Ok(())
    });
    let continuity = match pinned {
        Ok(()) => return Ok(Continuity::TookOver),
        Err(Unfit::None) => Continuity::Fresh,
        Err(Unfit::Other(why)) => Continuity::Refilled(why),
    };
    pins.forget_maps()
        .map_err(|e| failed("take the pins of old maps away", e))?;
    Ok(continuity)
}

/// Timer ticks are shifted by this to periods of about a second: the kernel's coarse clocks have
/// the length of a tick as their resolution.
fn period_shift() -> u32 {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map(std::time::Duration::from);
    let tick_ns = tick.map_or(4_000_000, |tick| tick.as_nanos().max(1));
    (1_000_000_000 / tick_ns).max(1).ilog2()
}

pub(super) fn map_data<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a aya::maps::MapData> {
    ebpf.map(name).and_then(data).ok_or_else(|| missing(name))
}

pub(super) fn take<M>(ebpf: &mut Ebpf, name: &str) -> Result<M>
where
    M: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| {
        failed(
            "find a map",
            anyhow::anyhow!("the object holds no map named {name}"),
        )
    })?;
    M::try_from(map).map_err(|error| failed(&format!("open the map {name}"), error))
}

/// Brings the verifier's own words to where they are seen.
fn load_refused(error: ProgramError) -> DatapathError {
    let what = "load the program";
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return load_error(what, error.into());
    };
    let log = verifier_log.to_string();
    let error = anyhow::Error::new(io_error);
    if log.is_empty() {
        return load_error(what, error);
    }
    // What the verifier refuses is no question of rights, though it may answer EACCES.
    failed(what, error.context(format!("verifier: {log}")))
}

/// Tells a missing right from the rest.
fn load_error(what: &'static str, error: anyhow::Error) -> DatapathError {
    let code = error
        .chain()
        .find_map(|e| e.downcast_ref::<std::io::Error>())
        .and_then(std::io::Error::raw_os_error);
    match code {
        Some(code @ (libc::EPERM | libc::EACCES)) => DatapathError::Privilege {
            what,
            source: std::io::Error::from_raw_os_error(code),
        },
        _ => failed(what, error),
    }
}
