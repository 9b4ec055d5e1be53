//! Threads that run the program all the time, and know every verdict.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use xdp_common::reason::{Action, Reason};
use xdp_tests::kernel::{Counters, Kernel, Runner};
use xdp_tests::packet::Packet;
use xdp_user::datapath::kernel::KernelDatapath;

/// Runs within one call, of what must not change.
const IN_A_ROW: u32 = 20_000;

/// How a source must be judged all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Always {
    Blocked,
    Accepted,
    /// On the blocklist, too.
    Allowed,
}

impl Always {
    fn action(self) -> Action {
        match self {
            Self::Blocked => Action::Drop,
            Self::Accepted | Self::Allowed => Action::Pass,
        }
    }
}

/// Packets of a thread by the reason that they must be counted under.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    blocked: u64,
    accepted: u64,
    allowed: u64,
}

impl Tally {
    fn add(&mut self, judged: Always, packets: u64) {
        match judged {
            Always::Blocked => self.blocked += packets,
            Always::Accepted => self.accepted += packets,
            Always::Allowed => self.allowed += packets,
        }
    }

    /// Runs a frame that isn't allowlisted and may be judged either way.
    pub(crate) fn is_dropped(&mut self, runner: &Runner, frame: &[u8]) -> bool {
        let dropped = runner.run(frame, 1).unwrap() == Action::Drop;
        let judged = if dropped {
            Always::Blocked
        } else {
            Always::Accepted
        };
        self.add(judged, 1);
        dropped
    }
}

/// Sources of which one entry comes and the other goes at once.
pub(crate) struct Pair {
    /// In force in even phases and after them, and in odd ones and after them.
    pub(crate) frames: [Vec<u8>; 2],
}

/// What runs all the time.
pub(crate) struct Traffic {
    pub(crate) always: Vec<(Always, IpAddr)>,
    pub(crate) pairs: Vec<Pair>,
    /// Raised before each change.
    pub(crate) phase: AtomicU32,
    is_over: AtomicBool,
}

impl Traffic {
    pub(crate) fn new(always: &[(Always, &str)]) -> Self {
        let parse = |(always, text): &(Always, &str)| (*always, text.parse().unwrap());
        Self {
            always: always.iter().map(parse).collect(),
            pairs: Vec::new(),
            phase: AtomicU32::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// One thread's packets until it is over.
    fn run(&self, runner: &Runner) -> Tally {
        let mut tally = Tally::default();
        let frames: Vec<_> = self
            .always
            .iter()
            .map(|(always, source)| (*always, *source, frame(*source)))
            .collect();
        for turn in 0.. {
            for (place, (always, source, frame)) in frames.iter().enumerate() {
                // Many in a row meet more moments of a change than single calls do.
                let is_turn = turn % 16 == 0 && turn / 16 % frames.len() == place;
                let times = if is_turn { IN_A_ROW } else { 1 };
                assert_eq!(
                    runner.run(frame, times).unwrap(),
                    always.action(),
                    "{source}"
                );
                tally.add(*always, times.into());
            }
            for pair in &self.pairs {
                self.alternate(runner, pair, &mut tally);
            }
            if self.is_over.load(Ordering::Acquire) {
                return tally;
            }
        }
        tally
    }

    /// Within one change whoever has met the new list doesn't meet the old one again.
    fn alternate(&self, runner: &Runner, pair: &Pair, tally: &mut Tally) {
        let phase = self.phase.load(Ordering::SeqCst);
        let [old, new] = if phase % 2 == 1 {
            [&pair.frames[0], &pair.frames[1]]
        } else {
            [&pair.frames[1], &pair.frames[0]]
        };
        for _ in 0..20 {
            let came = tally.is_dropped(runner, new);
            let stayed = tally.is_dropped(runner, old);
            if self.phase.load(Ordering::SeqCst) != phase {
                return;
            }
            assert!(
                phase == 0 || !(came && stayed),
                "new, then old, in phase {phase}"
            );
        }
    }
}

/// Ends the traffic also when the changing thread fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs the traffic on all CPUs but one while `change` works, and compares what was seen with what
/// was counted, to the packet.
pub(crate) fn under_traffic(
    kernel: &mut Kernel,
    traffic: &Traffic,
    change: impl FnOnce(&mut KernelDatapath, &Runner, &mut Tally),
) {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let runners: Vec<Runner> = (1..cpus.clamp(2, 4))
        .map(|_| kernel.runner().unwrap())
        .collect();
    let own = kernel.runner().unwrap();
    let before = kernel.counters().unwrap();
    let mut tally = Tally::default();
    let tallies = std::thread::scope(|scope| {
        let threads: Vec<_> = runners
            .iter()
            .map(|runner| scope.spawn(|| traffic.run(runner)))
            .collect();
        let ends = Ends(&traffic.is_over);
        change(kernel.datapath(), &own, &mut tally);
        drop(ends);
        let join = threads.into_iter().map(|thread| thread.join().unwrap());
        join.collect::<Vec<Tally>>()
    });
    for other in tallies {
        tally.blocked += other.blocked;
        tally.accepted += other.accepted;
        tally.allowed += other.allowed;
    }
    let counted = kernel.counters().unwrap().since(&before);
    println!("{tally:?}");
    let all: u64 = counted.iter().map(|(_, count)| count.packets).sum();
    assert_eq!(all, tally.blocked + tally.accepted + tally.allowed);
    assert_counted(&counted, &tally);
}

fn assert_counted(counted: &Counters, tally: &Tally) {
    let reasons = [Reason::Blocklisted, Reason::Accepted, Reason::Allowlisted];
    assert_eq!(
        reasons.map(|reason| counted.packets(reason)),
        [tally.blocked, tally.accepted, tally.allowed],
        "{counted:?}"
    );
}

pub(crate) fn frame(source: IpAddr) -> Vec<u8> {
    let packet = match source {
        IpAddr::V4(source) => Packet::v4(source, "198.51.100.1"),
        IpAddr::V6(source) => Packet::v6(source, "2001:db8:ffff::1"),
    };
    packet.udp(1, 2).build()
}
