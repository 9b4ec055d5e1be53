//! A directory per daemon, with the process in its name, so that those of killed test runs are
//! found and removed by the next.

use std::path::Path;
use std::sync::Once;

use anyhow::{Context, Result};
use tempfile::TempDir;

const PREFIX: &str = "xdp-throttle-test-";

pub(super) fn make() -> Result<TempDir> {
    static LEFTOVERS: Once = Once::new();
    LEFTOVERS.call_once(|| remove_leftovers(&std::env::temp_dir()));
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir()
        .context("cannot make a directory for the daemon")
}

/// What can't be removed isn't ours, or is being removed by another test.
fn remove_leftovers(parent: &Path) {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        if owner(&entry.file_name().to_string_lossy()).is_some_and(is_dead) {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

fn is_dead(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_dead_processes_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let alive = format!("{PREFIX}{}-abc", std::process::id());
        let dead = format!("{PREFIX}{}-abc", u32::MAX);
        for name in [&*alive, &*dead, "another"] {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        remove_leftovers(parent.path());
        assert!(parent.path().join(alive).exists());
        assert!(parent.path().join("another").exists());
        assert!(!parent.path().join(dead).exists());
    }
}
