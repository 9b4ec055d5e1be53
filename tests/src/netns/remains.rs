//! Is everything gone? Asked of the kernel, from outside.

use std::collections::BTreeSet;
use std::time::Duration;

use super::offload::napi_threads;
use crate::wait::wait_until;

/// The kernel removes a namespace in the background, after its last user.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What was there before the run.
#[derive(Debug)]
pub struct Remains {
    interfaces: BTreeSet<String>,
    pins: BTreeSet<String>,
}

impl Remains {
    /// What is there now.
    #[must_use]
    pub fn before() -> Self {
        Self {
            interfaces: entries("/sys/class/net"),
            pins: entries("/sys/fs/bpf"),
        }
    }

    /// Waits for the end of the protected host's interface, which is the end of its namespace and
    /// of what was attached there, and of all child processes; and looks whether this machine has
    /// the interfaces and pins that it had before.
    #[must_use]
    pub fn wait_until_gone(&self, uplink: &str) -> bool {
        wait_until("the end of the namespaces", TIMEOUT, || {
            napi_threads(uplink).is_empty()
                && children() == 0
                && entries("/sys/class/net") == self.interfaces
                && entries("/sys/fs/bpf") == self.pins
        })
        .is_ok()
    }
}

fn entries(directory: &str) -> BTreeSet<String> {
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Child processes of this one, running or not waited for.
fn children() -> usize {
    std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .map(|children| children.split_whitespace().count())
        .sum()
}
