//! The real program, loaded into the running kernel and run over frames with
//! `BPF_PROG_TEST_RUN`: nothing is attached, no packet travels.
//!
//! Frames of such a run arrive on the loopback interface of the caller's namespace, index 1
//! (`bpf_prog_test_run_xdp`, net/bpf/test_run.c), have at least 14 bytes, and are counted on the
//! caller's CPU. A call costs about a microsecond besides the program; only `repeat > 1` pays for a
//! new dispatcher (an RCU grace period).

mod counters;
mod expect;
mod policy;
mod runner;
mod tables;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use aya::maps::{MapData, RingBuf};
use aya::programs::{ProgramError, TestRun, TestRunOptions, Xdp};
use xdp_common::abi::{Policy, map};
use xdp_common::reason::{Action, Reason};
use xdp_user::datapath::kernel::KernelDatapath;
use xdp_user::datapath::{Capacity, Datapath};

pub use counters::{Count, Counters, Slot};
pub use expect::UNNAMED_INTERFACE;
pub use policy::{ban_policy, counts, limits, policy};
pub use runner::Runner;
pub use tables::{ban_from, banned_from, source_from, source_key};

/// Index of the interface that frames of a test run arrive on.
pub const LOOPBACK: u32 = 1;

/// Fewest bytes that the kernel takes for a test run (`ETH_HLEN`).
pub const MIN_FRAME: usize = 14;

/// The loaded program and its tables.
pub struct Kernel {
    datapath: KernelDatapath,
    events: RingBuf<MapData>,
}

/// Sizes of the tables, where a test wants others.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Of the tables.
    pub capacity: Capacity,
    /// Of the ring buffer, in bytes.
    pub events: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            capacity: Capacity {
                allow: 1 << 20,
                block: 1 << 20,
                overrides: 1024,
                sources: 8192,
                bans: 1024,
                flows: 65_536,
            },
            events: 256 * 1024,
        }
    }
}

impl Sizes {
    /// So many sources, and as usual otherwise.
    #[must_use]
    pub fn sources(mut self, sources: u32) -> Self {
        self.capacity.sources = sources;
        self
    }

    /// So many bans.
    #[must_use]
    pub fn bans(mut self, bans: u32) -> Self {
        self.capacity.bans = bans;
        self
    }
}

/// What one frame did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What the program returned.
    pub action: Action,
    /// The one counter that moved.
    pub slot: Slot,
    /// By how much.
    pub count: Count,
}

impl Judged {
    /// Why.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.slot.reason
    }
}

impl Kernel {
    /// Loads the program with the sizes in its object; no policy is there yet.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn load() -> Result<Self> {
        Self::load_with(&Sizes::default())
    }

    /// Loads the program with maps of other sizes.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn load_with(sizes: &Sizes) -> Result<Self> {
        Self::of(KernelDatapath::load_with_events(
            sizes.capacity,
            0,
            sizes.events,
        )?)
    }

    /// Loads the program over pinned maps, with these stages only: see [`KernelDatapath::load_pinned`].
    ///
    /// # Errors
    /// As there.
    pub fn load_pinned(directory: &Path, stages: u32) -> Result<Self> {
        let capacity = Sizes::default().capacity;
        let mut datapath = KernelDatapath::load_pinned(directory, capacity, 0, stages)?;
        datapath.go_live(&[])?;
        Self::of(datapath)
    }

    fn of(mut datapath: KernelDatapath) -> Result<Self> {
        let events = datapath
            .take_events()
            .context("the events were taken already")?;
        Ok(Self { datapath, events })
    }

    /// Puts a policy in force, as the controller does.
    ///
    /// # Errors
    /// When the kernel refuses a write.
    pub fn set_policy(&mut self, policy: &Policy) -> Result<()> {
        Ok(self.datapath.set_policy(policy)?)
    }

    /// What the controller uses.
    pub fn datapath(&mut self) -> &mut KernelDatapath {
        &mut self.datapath
    }

    /// Runs one frame and says what it did, with exactly one counter moved on all CPUs together.
    /// Reads every counter twice: for single frames.
    ///
    /// # Errors
    /// When the run fails, returns another action than pass or drop, or not exactly one counter
    /// moved.
    pub fn judge(&self, frame: &[u8]) -> Result<Judged> {
        let before = self.counters()?;
        let action = self.run(frame)?;
        let moved = self.counters()?.since(&before);
        let mut moved = moved.iter();
        match (moved.next(), moved.next()) {
            (Some((slot, count)), None) => Ok(Judged {
                action,
                slot: *slot,
                count: *count,
            }),
            (first, second) => Err(anyhow!(
                "one frame must move one counter, moved {first:?}, {second:?}, …"
            )),
        }
    }

    /// Runs one frame.
    ///
    /// # Errors
    /// When the run fails or returns another action than pass or drop.
    pub fn run(&self, frame: &[u8]) -> Result<Action> {
        Ok(self.run_repeated(frame, 1)?.0)
    }

    /// As [`Kernel::judge`] by the program for interfaces without an Ethernet header, of a packet from its IP
    /// header on; of [`MIN_FRAME`] bytes at least.
    ///
    /// # Errors
    /// As there.
    pub fn judge_bare(&mut self, packet: &[u8]) -> Result<Judged> {
        let before = self.counters()?;
        let action = self.run_bare(packet)?;
        let moved = self.counters()?.since(&before);
        let mut moved = moved.iter();
        match (moved.next(), moved.next()) {
            (Some((slot, count)), None) => Ok(Judged {
                action,
                slot: *slot,
                count: *count,
            }),
            (first, second) => Err(anyhow!(
                "one packet must move one counter, moved {first:?}, {second:?}, …"
            )),
        }
    }

    /// Runs one packet through that program.
    ///
    /// # Errors
    /// When it can't be loaded, the run fails, or it returns another action than pass or drop.
    pub fn run_bare(&mut self, packet: &[u8]) -> Result<Action> {
        let result = self
            .datapath
            .bare_program()?
            .test_run(TestRunOptions {
                data_in: Some(packet),
                ..TestRunOptions::new()
            })
            .with_context(|| format!("running the program over {} bytes", packet.len()))?;
        action(result.return_value)
    }

    /// Runs one frame whose first `linear` bytes alone lie in the first buffer, as a driver may
    /// lay out a large frame; at least [`MIN_FRAME`]. Nothing when the kernel can't (before 6.18).
    ///
    /// # Errors
    /// When the run fails or returns another action than pass or drop.
    pub fn run_split(&self, frame: &[u8], linear: usize) -> Result<Option<Action>> {
        // `struct xdp_md` (include/uapi/linux/bpf.h): data, data_end, and four that stay 0.
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&u32::try_from(linear)?.to_ne_bytes());
        let result = self.program()?.test_run(TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        });
        match result {
            Ok(result) => Ok(Some(action(result.return_value)?)),
            Err(ProgramError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(nix::libc::EINVAL) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).context("running the program over a frame in two buffers"),
        }
    }

    /// Runs one frame so many times within one call, and says the last action and the mean time.
    /// The calling thread may move to another CPU between two runs unless it is pinned.
    ///
    /// # Errors
    /// When the run fails or returns another action than pass or drop.
    pub fn run_repeated(&self, frame: &[u8], times: u32) -> Result<(Action, Duration)> {
        let result = self
            .program()?
            .test_run(TestRunOptions {
                data_in: Some(frame),
                repeat: times,
                ..TestRunOptions::new()
            })
            .with_context(|| format!("running the program over {} bytes", frame.len()))?;
        Ok((action(result.return_value)?, result.duration))
    }

    /// The loaded program, for one that calls it.
    ///
    /// # Errors
    /// When it isn't loaded.
    pub fn program(&self) -> Result<&Xdp> {
        let program = self.datapath.loaded_program();
        program.ok_or_else(|| anyhow!("the object has no program {}", map::PROGRAM))
    }
}

/// Of `enum xdp_action` (include/uapi/linux/bpf.h) the program knows three.
fn action(returned: u32) -> Result<Action> {
    match returned {
        1 => Ok(Action::Drop),
        2 => Ok(Action::Pass),
        3 => Ok(Action::Answer),
        other => Err(anyhow!("the program returned XDP action {other}")),
    }
}

/// Nanoseconds of the clock that the program reads.
///
/// # Errors
/// When there is no such clock (Linux before 2.6.39).
pub fn boot_ns() -> Result<u64> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .context("reading the boot clock")?;
    let seconds = u64::try_from(now.tv_sec())?;
    let nanoseconds = u64::try_from(now.tv_nsec())?;
    Ok(seconds * 1_000_000_000 + nanoseconds)
}

/// Keeps the calling thread on one CPU.
///
/// # Errors
/// When there is no such CPU or the thread may not run there.
pub fn pin_to_cpu(cpu: usize) -> Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
        .with_context(|| format!("pinning a thread to CPU {cpu}"))
}
