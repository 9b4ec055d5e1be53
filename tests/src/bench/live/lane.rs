//! A wire to one receiver: a veth pair whose receiving end is processed on a CPU of its own.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::Pid;

use crate::netns::Namespace;
use crate::netns::link::{End, veth_pair};
use crate::netns::offload::{Priority, napi_threads};
use crate::packet::DEFAULT_DESTINATION_MAC;
use crate::wait::wait_for;

/// For the receiver to work off its ring, and to be seen asleep.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The wire, with a namespace for the receiver alone: what one receiver leaves behind is never in
/// another's way.
#[derive(Debug)]
pub(super) struct Lane {
    /// Where the packets arrive.
    pub(super) host: Namespace,
    /// On this interface.
    pub(super) interface: String,
    /// Index of the sender's end.
    pub(super) sender_end: u32,
    /// Kernel threads that process what arrives.
    threads: Vec<Pid>,
}

/// What the receiver had done when it last fell asleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Packets taken from the ring.
    pub(super) handled: u64,
    /// CPU time for that, in nanoseconds.
    pub(super) cpu_ns: u64,
}

impl Lane {
    /// Makes the pair. `number` is the receiver's.
    pub(super) fn new(sender: &Namespace, number: usize) -> Result<Self> {
        let host = Namespace::new("receiver")?;
        // The kernel lists its threads by interface for all namespaces together, so the name is
        // one that no other run has.
        let interface = format!("b{:x}x{number}", std::process::id());
        let ends = (End::new(&host, &interface), End::new(sender, &interface));
        veth_pair(ends.0.mac(DEFAULT_DESTINATION_MAC), ends.1, 1500)?;
        let sender_end = sender.interface_index(&interface)?;
        Ok(Self {
            host,
            interface,
            sender_end,
            threads: Vec::new(),
        })
    }

    /// Has a kernel thread on `cpu` process the packets; a native program must be attached.
    ///
    /// Before all ordinary processes, as a card's softirq would be, the sender among them: it has its turn
    /// when the ring is empty.
    pub(super) fn process_on(&mut self, cpu: usize) -> Result<()> {
        self.host
            .process_on_cpu(&self.interface, cpu, Priority::BeforeUserSpace)?;
        self.threads = napi_threads(&self.interface);
        Ok(())
    }

    /// Waits until the receiver sleeps, when the kernel's account of its CPU time is exact.
    pub(super) fn reading(&self) -> Result<Reading> {
        let mut last = None;
        wait_for("the receiver to be done", IDLE_TIMEOUT, || {
            let now = self.at_rest().transpose()?;
            let now = match now {
                Ok(now) => now,
                Err(error) => return Some(Err(error)),
            };
            let settled = last.replace(now) == Some(now);
            settled.then_some(Ok(now))
        })?
    }

    /// Nothing while a thread runs.
    fn at_rest(&self) -> Result<Option<Reading>> {
        let mut cpu_ns = 0;
        for thread in &self.threads {
            if !sleeps(*thread)? {
                return Ok(None);
            }
            cpu_ns += thread_cpu_ns(*thread)?;
        }
        let handled = self.host.link_counters(&self.interface)?.rx_packets;
        Ok(Some(Reading { handled, cpu_ns }))
    }
}

/// As `/proc/PID/stat` says behind the name, which is in parentheses.
fn sleeps(thread: Pid) -> Result<bool> {
    let path = format!("/proc/{thread}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let state = text
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    Ok(state == Some('S'))
}

/// The first number of `/proc/PID/schedstat`: time on the CPU, in nanoseconds.
fn thread_cpu_ns(thread: Pid) -> Result<u64> {
    let path = format!("/proc/{thread}/schedstat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let first = text.split_whitespace().next().unwrap_or_default();
    first
        .parse()
        .with_context(|| format!("{path} begins with {first:?}, no number"))
}
