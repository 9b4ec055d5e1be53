//! Where the packets of an interface are processed: a NAPI thread of its own, bound to one CPU.
//!
//! Without it a veth end is polled in the sender's softirq, on the sender's CPU: a flood would
//! then slow down its own sender and not the host it is aimed at.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::Namespace;
use crate::wait::wait_for;

/// How long the threads sleep on after a packet, in nanoseconds. Far less than the 256 slots of a
/// veth ring take to fill, and it saves the sender a wake-up of another CPU for each packet, as
/// the interrupt moderation of a network card does.
const MODERATION_NANOSECONDS: &str = "50000";

/// Looks at an empty ring before the interface waits for a wake-up again: a second's.
const STEADY_LOOKS: &str = "20000";

/// How long the kernel may take to start the threads.
const START_TIMEOUT: Duration = Duration::from_secs(2);

/// How a NAPI thread is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// As any other process.
    Normal,
    /// Before all ordinary processes, which is what softirq work of a real network card gets.
    /// The kernel still leaves ordinary processes 5 % of the time (`sched_rt_runtime_us`).
    BeforeUserSpace,
}

/// Binds the calling thread to one CPU.
///
/// # Errors
/// When there is no such CPU.
pub fn pin_current_thread(cpu: usize) -> Result<()> {
    pin(Pid::from_raw(0), cpu)
}

impl Namespace {
    /// Has the interface's packets processed in kernel threads of their own, bound to `cpu`.
    ///
    /// Wake-ups are moderated (50 µs), so a packet may wait that long.
    ///
    /// On veth the queues have NAPI only while an XDP program is attached (or GRO is on), and the
    /// kernel answers EIO or ENODEV before: attach first. Threads are made anew when a program is
    /// attached to an end that had none: call again then.
    ///
    /// # Errors
    /// When the interface has no NAPI, or the threads can't be bound.
    pub fn process_on_cpu(&self, interface: &str, cpu: usize, priority: Priority) -> Result<()> {
        for (attribute, value) in [
            ("gro_flush_timeout", MODERATION_NANOSECONDS),
            ("napi_defer_hard_irqs", "2"),
            ("threaded", "1"),
        ] {
            self.write(&format!("/sys/class/net/{interface}/{attribute}"), value)?;
        }
        let what = format!("the NAPI threads of {interface}");
        let threads = wait_for(&what, START_TIMEOUT, || {
            let threads = napi_threads(interface);
            (!threads.is_empty()).then_some(threads)
        })?;
        for thread in threads {
            pin(thread, cpu)?;
            if priority == Priority::BeforeUserSpace {
                run_before_user_space(thread)?;
            }
        }
        Ok(())
    }

    /// Has an interface that is processed on a CPU ([`Namespace::process_on_cpu`]) looked at every
    /// 50 µs for a second after each packet, and not only while many come: a packet then waits as
    /// long without a flood as under one. It costs a fifth of a CPU.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn moderate_steadily(&self, interface: &str) -> Result<()> {
        let path = format!("/sys/class/net/{interface}/napi_defer_hard_irqs");
        self.write(&path, STEADY_LOOKS)
    }
}

/// The kernel names them `napi/INTERFACE-NUMBER`, for all namespaces in one list: interface names
/// should be unusual ones.
pub(crate) fn napi_threads(interface: &str) -> Vec<Pid> {
    let prefix = format!("napi/{interface}-");
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name.starts_with(&prefix))
        })
        .map(Pid::from_raw)
        .collect()
}

fn pin(thread: Pid, cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)
        .and_then(|()| sched_setaffinity(thread, &cpus))
        .with_context(|| format!("cannot bind thread {thread} to CPU {cpu}"))
}

/// Has a thread (0: the calling one) run before all ordinary processes.
pub(crate) fn run_before_user_space(thread: Pid) -> Result<()> {
    let parameter = libc::sched_param { sched_priority: 1 };
    // SAFETY: the pointer is to a live `sched_param` that the call only reads.
    let result = unsafe {
        libc::sched_setscheduler(thread.as_raw(), libc::SCHED_FIFO, &raw const parameter)
    };
    if result != 0 {
        let error = std::io::Error::last_os_error();
        bail!("cannot raise the priority of thread {thread}: {error}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::link::{End, veth_pair};
    use crate::require_kernel;

    #[test]
    fn a_veth_end_without_a_program_has_no_napi_threads() {
        require_kernel!("a_veth_end_without_a_program_has_no_napi_threads");
        let namespace = Namespace::new("plain").unwrap();
        let ends = (
            End::new(&namespace, "plain0"),
            End::new(&namespace, "plain1"),
        );
        veth_pair(ends.0, ends.1, 1500).unwrap();
        let refused = namespace.process_on_cpu("plain0", 0, Priority::Normal);
        assert!(refused.is_err());
    }

    #[test]
    fn a_pinned_thread_runs_on_its_cpu_only() {
        std::thread::spawn(|| {
            pin_current_thread(0).unwrap();
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
        })
        .join()
        .unwrap();
    }
}
