//! The real program, loaded into the running kernel and run over frames with
//! `BPF_PROG_TEST_RUN`: nothing is attached, no packet travels.
//!
//! Frames of such a run arrive on the loopback interface of the caller's namespace, index 1
//! (`bpf_prog_test_run_xdp`, net/bpf/test_run.c), have at least 14 bytes, and are counted on the
//! caller's CPU. A call costs about a microsecond besides the program; only `repeat > 1` pays for a
//! new dispatcher (an RCU grace period).

mod counters;
mod expect;
mod object;
mod policy;
mod tables;

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use aya::maps::{Array, HashMap, LpmTrie, MapData, PerCpuArray, RingBuf};
use aya::programs::{ProgramError, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use xdp_common::abi::{Ban, Counter, Entry, Limits, POLICY_SLOTS, Policy, Source, SourceKey, map};
use xdp_common::reason::{Action, Reason};

pub use counters::{Count, Counters, Slot};
pub use expect::UNNAMED_INTERFACE;
pub use policy::{ban_policy, limits, policy};
pub use tables::{ban_from, banned_from, source_from, source_key};

/// Index of the interface that frames of a test run arrive on.
pub const LOOPBACK: u32 = 1;

/// Fewest bytes that the kernel takes for a test run (`ETH_HLEN`).
pub const MIN_FRAME: usize = 14;

type Trie<K, V> = LpmTrie<MapData, K, V>;

/// The loaded program and its maps.
pub struct Kernel {
    /// Owns the program; the maps are taken out of it.
    ebpf: Ebpf,
    active: Array<MapData, u32>,
    policies: Array<MapData, Policy>,
    counters: PerCpuArray<MapData, Counter>,
    faults: PerCpuArray<MapData, u64>,
    allow_v4: Trie<[u8; 4], Entry>,
    allow_v6: Trie<[u8; 16], Entry>,
    block_v4: Trie<[u8; 4], Entry>,
    block_v6: Trie<[u8; 16], Entry>,
    limits_v4: Trie<[u8; 4], Limits>,
    limits_v6: Trie<[u8; 16], Limits>,
    sources: HashMap<MapData, SourceKey, Source>,
    bans: HashMap<MapData, SourceKey, Ban>,
    events: RingBuf<MapData>,
}

/// Sizes of the maps, where a test wants others.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    /// Maps by name, with their entries (the ring buffer: bytes).
    pub entries: Vec<(&'static str, u32)>,
    /// Make the source table a plain hash, which can be full, unlike the real one that evicts.
    pub sources_never_evicted: bool,
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
        let object = if sizes.sources_never_evicted {
            object::with_sources_never_evicted()?
        } else {
            object::shipped()
        };
        let mut loader = EbpfLoader::new();
        loader.override_global("AYA_LOG_LEVEL", &0u8, true);
        for (name, entries) in &sizes.entries {
            loader.map_max_entries(name, *entries);
        }
        let mut ebpf = loader.load(&object).context("loading the program's maps")?;
        program_mut(&mut ebpf)?
            .load()
            .context("loading the program")?;
        Self::take_maps(ebpf)
    }

    fn take_maps(mut ebpf: Ebpf) -> Result<Self> {
        macro_rules! take {
            ($kind:ident, $name:expr) => {
                $kind::try_from(
                    ebpf.take_map($name)
                        .ok_or_else(|| anyhow!("the object has no map {}", $name))?,
                )
                .with_context(|| format!("map {} has another shape than the ABI says", $name))?
            };
        }
        Ok(Self {
            active: take!(Array, map::ACTIVE),
            policies: take!(Array, map::POLICY),
            counters: take!(PerCpuArray, map::COUNTERS),
            faults: take!(PerCpuArray, map::FAULTS),
            allow_v4: take!(LpmTrie, map::ALLOW_V4),
            allow_v6: take!(LpmTrie, map::ALLOW_V6),
            block_v4: take!(LpmTrie, map::BLOCK_V4),
            block_v6: take!(LpmTrie, map::BLOCK_V6),
            limits_v4: take!(LpmTrie, map::LIMITS_V4),
            limits_v6: take!(LpmTrie, map::LIMITS_V6),
            sources: take!(HashMap, map::SOURCES),
            bans: take!(HashMap, map::BANS),
            events: take!(RingBuf, map::EVENTS),
            ebpf,
        })
    }

    /// Puts a policy into the slot after the active one and makes that active, as the controller
    /// does.
    ///
    /// # Errors
    /// When the kernel refuses a write.
    pub fn set_policy(&mut self, policy: &Policy) -> Result<()> {
        let slot = (self.active.get(&0, 0)? + 1) % POLICY_SLOTS;
        self.policies.set(slot, policy, 0)?;
        self.active.set(0, slot, 0)?;
        Ok(())
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
        let program = self
            .ebpf
            .program(map::PROGRAM)
            .ok_or_else(|| anyhow!("the object has no program {}", map::PROGRAM))?;
        Ok(program.try_into()?)
    }
}

fn program_mut(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    let program = ebpf
        .program_mut(map::PROGRAM)
        .ok_or_else(|| anyhow!("the object has no program {}", map::PROGRAM))?;
    Ok(program.try_into()?)
}

/// Of `enum xdp_action` (include/uapi/linux/bpf.h) the program knows two.
fn action(returned: u32) -> Result<Action> {
    match returned {
        1 => Ok(Action::Drop),
        2 => Ok(Action::Pass),
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
