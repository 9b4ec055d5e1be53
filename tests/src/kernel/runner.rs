//! Runs the loaded program from other threads while one changes its tables.

use anyhow::{Context, Result, bail};
use aya::maps::{Map, MapData, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use xdp_common::abi::{Counter, map};
use xdp_common::reason::{Action, Reason};
use xdp_user::datapath::kernel::KernelDatapath;

use super::{Kernel, UNNAMED_INTERFACE, action};

/// The loaded program and its counters.
pub struct Runner {
    program: Xdp,
    counters: PerCpuArray<MapData, Counter>,
}

impl Kernel {
    /// Another handle of the loaded program.
    ///
    /// # Errors
    /// When the kernel doesn't give one: it takes root.
    pub fn runner(&self) -> Result<Runner> {
        Runner::of(&self.datapath)
    }
}

impl Runner {
    /// A handle of a datapath's loaded program.
    ///
    /// # Errors
    /// When the kernel doesn't give one: it takes root.
    pub fn of(datapath: &KernelDatapath) -> Result<Self> {
        let program = datapath.loaded_program().context("no program is loaded")?;
        let info = program.info().context("asking for the program")?;
        let ids = info
            .map_ids()?
            .context("the kernel doesn't tell the maps")?;
        let program = Xdp::from_program_info(info, map::PROGRAM.into(), XdpAttachType::Interface);
        Ok(Self {
            program: program.context("opening the program again")?,
            counters: counters(&ids)?,
        })
    }

    /// Packets of each reason that came in on an interface that the policy doesn't name, as frames of
    /// a test run do, whatever was done with them.
    ///
    /// # Errors
    /// When a counter can't be read.
    pub fn reasons(&self) -> Result<Vec<(Reason, u64)>> {
        let first = UNNAMED_INTERFACE * Reason::SLOTS * 2;
        let packets = |index: u32| -> Result<u64> {
            let values = self.counters.get(&index, 0)?;
            Ok(values.iter().map(|counter| counter.packets).sum())
        };
        let of = |reason: &Reason| {
            let at = first + u32::from(reason.code()) * 2;
            Ok((*reason, packets(at)? + packets(at + 1)?))
        };
        Reason::ALL.iter().map(of).collect()
    }

    /// Runs one frame so many times within one call, and says the last action; more than one time
    /// pays for a new dispatcher.
    ///
    /// # Errors
    /// When the run fails or returns another action than pass or drop.
    pub fn run(&self, frame: &[u8], times: u32) -> Result<Action> {
        let result = self.program.test_run(TestRunOptions {
            data_in: Some(frame),
            repeat: times,
            ..TestRunOptions::new()
        });
        let result = result.with_context(|| format!("running over {} bytes", frame.len()))?;
        action(result.return_value)
    }
}

/// The counters among a program's maps.
fn counters(ids: &[u32]) -> Result<PerCpuArray<MapData, Counter>> {
    for id in ids {
        let map = MapData::from_id(*id).context("opening a map of the program")?;
        if map.info()?.name_as_str() == Some(map::COUNTERS) {
            return Ok(PerCpuArray::try_from(Map::PerCpuArray(map))?);
        }
    }
    bail!("the program has no map {}", map::COUNTERS)
}
