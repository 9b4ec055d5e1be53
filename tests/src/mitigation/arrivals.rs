//! What comes through to the host's stack, counted behind XDP by a program that takes no packet
//! and has nothing to do with the one that is measured.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::SocketFilter;
use aya::{Ebpf, EbpfLoader};
use nix::libc;
use nix::time::{ClockId, clock_gettime};

use crate::bench::abi::{Arrived, HONEST_V4, HONEST_V6, SLOT_NS, SLOTS};
use crate::bench::stand::{OBJECT, take};
use crate::netns::Namespace;
use crate::packet::ether_type;
use crate::traffic::slots::SLOT;
use crate::traffic::socket;

const PROGRAM: &str = "bench_arrivals";

const _: () = assert!(SLOT.as_nanos() == SLOT_NS as u128);

/// The longest time that it can count by slots.
pub(super) const LONGEST: Duration = Duration::from_nanos((SLOTS as u64 - 1) * SLOT_NS);

// SAFETY: `repr(C)`, words only, no padding.
unsafe impl aya::Pod for Arrived {}

/// The attached counter. Dropped, it is gone.
pub(super) struct Arrivals {
    arrivals: PerCpuArray<MapData, Arrived>,
    origin: Array<MapData, u64>,
    // Hold the program and what it is attached to.
    _ebpf: Ebpf,
    _socket: OwnedFd,
}

/// Packets in all slots together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) forged: u64,
    pub(super) honest: u64,
    pub(super) other: u64,
}

impl Total {
    pub(super) fn all(self) -> u64 {
        self.forged + self.honest + self.other
    }
}

impl Arrivals {
    /// Counts what comes into an interface from now on.
    pub(super) fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .load(OBJECT)
            .context("loading the counter's maps")?;
        let arrivals = take(&mut ebpf, "ARRIVALS")?;
        let mut origin: Array<MapData, u64> = take(&mut ebpf, "ORIGIN")?;
        // Not yet.
        origin.set(0, u64::MAX, 0).context("setting the counter")?;
        let program: &mut SocketFilter = ebpf
            .program_mut(PROGRAM)
            .with_context(|| format!("the bench's object has no program {PROGRAM}"))?
            .try_into()?;
        program
            .load()
            .map_err(|error| anyhow!("loading {PROGRAM}: {error}"))?;
        // Attached before the socket hears anything, so that nothing is kept in its buffer.
        let socket = socket::open(namespace, interface, false)?;
        socket::set_option(&socket, libc::PACKET_IGNORE_OUTGOING, 1)
            .context("leaving the host's own packets out")?;
        program
            .attach(&socket)
            .context("attaching the counter of arrivals")?;
        socket::listen(&socket, namespace, interface)?;
        Ok(Self {
            arrivals,
            origin,
            _ebpf: ebpf,
            _socket: socket,
        })
    }

    /// Has the first slot begin now, and says when that is.
    pub(super) fn begin(&mut self) -> Result<Instant> {
        let clock = clock_gettime(ClockId::CLOCK_MONOTONIC).context("reading the clock")?;
        let now = Instant::now();
        let nanoseconds = u64::try_from(Duration::from(clock).as_nanos())?;
        self.origin
            .set(0, nanoseconds, 0)
            .context("starting the counter's slots")?;
        Ok(now)
    }

    /// Forged packets by slot, from the first slot on.
    pub(super) fn forged(&self, slots: usize) -> Result<Vec<u64>> {
        let slots = u32::try_from(slots)?;
        ensure!(slots < SLOTS, "more time than the counter has slots for");
        (0..slots).map(|slot| Ok(self.slot(slot)?.forged)).collect()
    }

    /// Everything since the start.
    pub(super) fn total(&self) -> Result<Total> {
        let mut total = Total::default();
        for slot in 0..SLOTS {
            let arrived = self.slot(slot)?;
            total.forged += arrived.forged;
            total.honest += arrived.honest;
            total.other += arrived.other;
        }
        Ok(total)
    }

    fn slot(&self, slot: u32) -> Result<Total> {
        let by_cpu = self.arrivals.get(&slot, 0);
        let by_cpu = by_cpu.context("reading the counter of arrivals")?;
        let sum = |of: fn(&Arrived) -> u64| by_cpu.iter().map(of).sum();
        Ok(Total {
            forged: sum(|arrived| arrived.forged),
            honest: sum(|arrived| arrived.honest),
            other: sum(|arrived| arrived.other),
        })
    }
}

/// Whether the counter takes a frame for one of an honest host.
pub(super) fn is_honest(frame: &[u8]) -> bool {
    let kind = frame.get(12..14).unwrap_or_default();
    if kind == ether_type::IPV4.to_be_bytes() {
        frame.get(26..28) == Some(&HONEST_V4)
    } else {
        frame.get(22..24) == Some(&HONEST_V6)
    }
}
