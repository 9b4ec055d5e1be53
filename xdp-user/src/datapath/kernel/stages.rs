//! The program as it is loaded: with the constants of this start, and without the stages that aren't
//! configured.

use std::io;

use aya::programs::ProgramError;
use aya::{Ebpf, EbpfLoader};
use nix::libc;
use nix::time::{ClockId, clock_getres};
use xdp_common::abi::{STAGES, constant, entries, map};
use xdp_common::sources::Shape;

use super::super::{DatapathError, OBJECT, Result};
use super::continuity::Held;
use super::load::map_data;
use super::pins::{Pins, Unfit};
use super::{KernelDatapath, attach, failed, variant};
use crate::host::framing::Framing;

/// What one start makes of the object.
#[derive(Clone, Copy)]
pub(super) struct Build {
    /// Entries of the maps whose size is chosen.
    pub(super) sizes: [(&'static str, u32); 10],
    pub(super) shape: Shape,
    pub(super) known_mask: u32,
    pub(super) flow_mask: u32,
    pub(super) log_level: u8,
    /// Of [`STAGES`].
    pub(super) stages: u32,
}

impl Build {
    /// Makes the maps, or opens those that are pinned, and loads the program.
    pub(super) fn load(&self, pins: Option<&Pins>) -> Result<Ebpf> {
        let mut loader = EbpfLoader::new();
        if let Some(pins) = pins {
            pins.tell(&mut loader);
        }
        for (name, entries) in self.sizes {
            loader.map_max_entries(name, entries);
        }
        let (meter_mask, period_shift) = (entries::METERS - 1, period_shift());
        // What is no stage is looked at whatever is configured.
        let flags = self.stages | !STAGES;
        let mut ebpf = loader
            .override_global(constant::KNOWN_MASK, &self.known_mask, true)
            .override_global(constant::FLOW_MASK, &self.flow_mask, true)
            .override_global(constant::METER_MASK, &meter_mask, true)
            .override_global(constant::SOURCE_BUCKETS, &self.shape.buckets, true)
            .override_global(constant::SOURCE_SEEDS, &self.shape.seeds[..], true)
            .override_global(constant::PERIOD_SHIFT, &period_shift, true)
            .override_global(constant::STAGES, &flags, true)
            .override_global("AYA_LOG_LEVEL", &self.log_level, true)
            .load(OBJECT)
            .map_err(|error| load_error("create the program's maps", error.into()))?;
        attach::program(&mut ebpf)?.load().map_err(load_refused)?;
        Ok(ebpf)
    }
}

impl KernelDatapath {
    /// The stages that the program has, of [`STAGES`].
    pub(super) const fn compiled(&self) -> u32 {
        self.build.stages
    }

    /// Has a policy's stages in the program before the policy is in force.
    pub(super) fn add_stages(&mut self, flags: u32) -> Result<()> {
        let stages = self.compiled() | flags & STAGES;
        if stages == self.compiled() {
            return Ok(());
        }
        self.rebuild(stages)
    }

    /// Takes out of the program what the policy in force has no use for. What can't be is tried again
    /// with the next policy: a stage whose flag is off costs a look at the flag.
    pub(super) fn drop_stages(&mut self, flags: u32) {
        let stages = flags & STAGES;
        if self.pins.is_none() || self.build.log_level > 0 || stages == self.compiled() {
            return;
        }
        if let Err(error) = self.rebuild(stages) {
            let error = anyhow::Error::new(error);
            tracing::warn!("stages that aren't configured stay in the program: {error:#}");
        }
    }

    /// Loads the program anew over the maps in use and puts it in the place of the one before, each
    /// interface with one step: each packet meets the one or the other, which look at the same maps.
    fn rebuild(&mut self, stages: u32) -> Result<()> {
        let what = "replace the program by one with other stages";
        let gone = || {
            failed(
                what,
                anyhow::anyhow!("the maps are no longer pinned: restart the daemon"),
            )
        };
        let pins = self.pins.as_ref().ok_or_else(gone)?;
        match pins.fit(&self.build.sizes) {
            Ok(()) => {}
            Err(Unfit::None) => return Err(gone()),
            Err(Unfit::Other(why)) => return Err(failed(what, anyhow::anyhow!(why))),
        }
        let build = Build {
            stages,
            ..self.build
        };
        let mut ebpf = build.load(Some(pins))?;
        if sources_of(&ebpf)? != sources_of(&self.ebpf)? {
            return Err(failed(
                what,
                anyhow::anyhow!("the pinned maps are another daemon's"),
            ));
        }
        let ours = || self.links.values().filter(|held| held.is_ours());
        if ours().any(|held| held.framing == Framing::Bare) {
            variant::program(&mut ebpf, Framing::Bare)?;
        }
        let put = |ebpf: &Ebpf, held: &Held| {
            let program = variant::descriptor(ebpf, held.framing)
                .ok_or_else(|| io::Error::other("the program for this interface isn't loaded"))?;
            held.link.update(program)
        };
        let mut replaced: Vec<&Held> = Vec::new();
        for held in ours() {
            if let Err(error) = put(&ebpf, held) {
                for held in replaced {
                    if let Err(error) = put(&self.ebpf, held) {
                        tracing::warn!("the newer program stays on an interface: {error}");
                    }
                }
                return Err(failed(what, error));
            }
            replaced.push(held);
        }
        (self.build, self.ebpf) = (build, ebpf);
        Ok(())
    }
}

/// The number of the map of sources.
fn sources_of(ebpf: &Ebpf) -> Result<u32> {
    let info = map_data(ebpf, map::SOURCES)?.info();
    Ok(info.map_err(|e| failed("look at a map", e))?.id())
}

/// Timer ticks are shifted by this to periods of about a second: the kernel's coarse clocks have
/// the length of a tick as their resolution.
fn period_shift() -> u32 {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map(std::time::Duration::from);
    let tick_ns = tick.map_or(4_000_000, |tick| tick.as_nanos().max(1));
    (1_000_000_000 / tick_ns).max(1).ilog2()
}

/// Brings the verifier's own words to where they are seen.
pub(super) fn load_refused(error: ProgramError) -> DatapathError {
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
