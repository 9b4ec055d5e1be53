//! Loading the program with its maps.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use aya::Ebpf;
use aya::maps::{Array, MapError};
use xdp_common::abi::{
    FLAG_FLOW_MEMORY, MAX_INTERFACES, STAGES, SourceLine, WordLine, entries, hits, map,
};
use xdp_common::known;
use xdp_common::sources::Shape;

use super::super::cost::{EVENT_BYTES, SAMPLE_RING_BYTES};
use super::super::known_filter::KnownFilter;
use super::super::lists::Lists;
use super::super::source_table::{Lengths, SourceTable, buckets};
use super::super::{Capacity, Continuity, DatapathError, Result, flow_lines};
use super::classes::Classes;
use super::hits::Hits;
use super::list_tables::KernelLists;
use super::mapped::Mapped;
use super::pins::{Pins, Unfit};
use super::stages::Build;
use super::start::Start;
use super::tries::Tries;
use super::{KernelDatapath, Table, data, failed, features, missing};

impl KernelDatapath {
    /// Loads the program. `log_level` is that of its own diagnostics, 0 for none.
    pub fn load(capacity: Capacity, log_level: u8) -> Result<Self> {
        Self::load_with_events(capacity, log_level, EVENT_BYTES)
    }

    /// The same with a ring buffer of events of another size, for tests of a full one.
    #[doc(hidden)]
    pub fn load_with_events(capacity: Capacity, log_level: u8, event_bytes: u32) -> Result<Self> {
        Self::load_over(None, capacity, log_level, event_bytes, STAGES)
    }

    /// Loads the program over the maps that an earlier one left pinned, where they fit; else over new
    /// ones. What is attached goes on as it was until [`super::super::Datapath::go_live`], which pins new
    /// maps in the place of the old.
    ///
    /// Only these `stages` of [`xdp_common::abi::STAGES`] are in the program at first; each policy
    /// then brings those that it needs. With diagnostics all of them stay: who reads those has to go on.
    ///
    /// # Errors
    /// When `directory` is on no bpffs, or the kernel refuses.
    pub fn load_pinned(
        directory: &Path,
        capacity: Capacity,
        log_level: u8,
        stages: u32,
    ) -> Result<Self> {
        let pins = Pins::open(directory).map_err(|error| DatapathError::Pins {
            directory: directory.to_owned(),
            source: error,
        })?;
        let stages = if log_level == 0 { stages } else { STAGES };
        Self::load_over(Some(pins), capacity, log_level, EVENT_BYTES, stages)
    }

    /// The same, of which is known why nothing is pinned.
    #[must_use]
    pub fn unpinned(mut self, why: String) -> Self {
        self.continuity = Continuity::Unpinned(why);
        self
    }

    fn load_over(
        mut pins: Option<Pins>,
        capacity: Capacity,
        log_level: u8,
        event_bytes: u32,
        stages: u32,
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
        let known_mask = known::mask_for(capacity.sources, capacity.bans);
        let known_lines = known::all_lines(known_mask);
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
            (map::FLOWS, flow_lines(capacity.flows)),
        ];
        let continuity = match &pins {
            Some(pins) => find_left(pins, &sizes, &mut shape.seeds),
            None => Continuity::None,
        };
        let start = match (&mut pins, &continuity) {
            (None, _) => None,
            (Some(_), Continuity::TookOver) => Some(Start::Over(Box::default())),
            (Some(pins), _) => {
                let staged = pins.stage();
                let refused = |source| DatapathError::Pins {
                    directory: pins.directory().to_owned(),
                    source,
                };
                Some(Start::Beside(staged.map_err(refused)?))
            }
        };
        let build = Build {
            sizes,
            shape,
            known_mask,
            flow_mask: flow_lines(capacity.flows) - 1,
            log_level,
            stages,
        };
        let mut ebpf = build.load(pins.as_ref())?;
        let sources = Mapped::new::<SourceLine>(map_data(&ebpf, map::SOURCES)?, lines)?;
        let known = Mapped::new::<WordLine>(map_data(&ebpf, map::KNOWN)?, known_lines)?;
        let hits = Mapped::new::<xdp_common::abi::Hit>(map_data(&ebpf, map::HITS)?, rings)?;
        let Some(aya::maps::Map::ArrayOfMaps(outer)) = ebpf.take_map(map::LISTS) else {
            return Err(missing(map::LISTS));
        };
        let lists = KernelLists::new(outer, map_data(&ebpf, map::LIST_HEADS)?)?;
        let changes = lists.changes();
        let known = KnownFilter::new(known, known_mask);
        known.note_seeds(shape.seeds);
        let mut datapath = Self {
            capacity,
            pins,
            continuity,
            start,
            pin_trouble: None,
            policy: take(&mut ebpf, map::POLICY)?,
            active: take(&mut ebpf, map::ACTIVE)?,
            counters: take(&mut ebpf, map::COUNTERS)?,
            faults: take(&mut ebpf, map::FAULTS)?,
            not_ip: take(&mut ebpf, map::NOT_IP)?,
            egress: take(&mut ebpf, map::EGRESS)?,
            classes: Classes::take(&mut ebpf)?,
            lists: Lists::new(lists, capacity),
            changes,
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
            remembered: false,
            tended: 0,
            protected: 0,
            build,
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
            self.remembered = policy.flags & FLAG_FLOW_MEMORY != 0;
        }
        self.hits.go_on()
    }
}

/// Whether the pinned maps are used. The seeds are theirs then.
fn find_left(pins: &Pins, sizes: &[(&str, u32)], seeds: &mut [u64; 2]) -> Continuity {
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
    match pinned {
        Ok(()) => Continuity::TookOver,
        Err(Unfit::None) => Continuity::Fresh,
        Err(Unfit::Other(why)) => Continuity::Refilled(why),
    }
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
