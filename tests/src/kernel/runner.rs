//! Runs the loaded program from other threads while one changes its tables.

use anyhow::{Context, Result};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use xdp_common::abi::map;
use xdp_common::reason::Action;

use super::{Kernel, action};

/// The loaded program and nothing of its tables.
pub struct Runner(Xdp);

impl Kernel {
    /// Another handle of the loaded program.
    ///
    /// # Errors
    /// When the kernel doesn't give one: it takes root.
    pub fn runner(&self) -> Result<Runner> {
        let info = self.program()?.info().context("asking for the program")?;
        let program = Xdp::from_program_info(info, map::PROGRAM.into(), XdpAttachType::Interface);
        Ok(Runner(program.context("opening the program again")?))
    }
}

impl Runner {
    /// Runs one frame so many times within one call, and says the last action; more than one time
    /// pays for a new dispatcher.
    ///
    /// # Errors
    /// When the run fails or returns another action than pass or drop.
    pub fn run(&self, frame: &[u8], times: u32) -> Result<Action> {
        let result = self.0.test_run(TestRunOptions {
            data_in: Some(frame),
            repeat: times,
            ..TestRunOptions::new()
        });
        let result = result.with_context(|| format!("running over {} bytes", frame.len()))?;
        action(result.return_value)
    }
}
