//! What the daemon may do, and how it gives up the rest.
//!
//! In this order, before any other thread is there:
//! 1. [`user::become_user`]: directories and pins are made ready, then the process becomes the
//!    configured user and keeps its capabilities for what comes next;
//! 2. ports and the control socket are opened, by whoever starts the daemon;
//! 3. [`give_up`]: every capability but [`KEPT`] goes, and so do the ways to get one back, programs
//!    to start and most of the file system.
//!
//! Databases, the BPF program and lists are opened after that, so what works at the start works on
//! a reload, too.

mod capabilities;
mod files;
mod own;
pub mod user;

use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use nix::unistd::Uid;

pub use capabilities::{KEPT, missing};
pub use files::Files;
pub use own::current;

use crate::config::Config;
use crate::failure::{Failure, FailureKind};

/// Below this the program and its maps are pinned.
pub const PINS: &str = "/sys/fs/bpf/xdp-throttle";

/// How far files are restricted: set once, for the whole process.
static FILES: OnceLock<Files> = OnceLock::new();

/// Looks whether the configuration can be read again with what is left: a reload has no more.
fn look_at_config(path: &str) -> Result<()> {
    if path.is_empty() {
        return Ok(());
    }
    let Err(error) = std::fs::File::open(path) else {
        return Ok(());
    };
    if Uid::effective().is_root() {
        // It can be read at the start, and who runs it like this may not want reloads.
        tracing::warn!("no reload will be able to read {path}: {error}; chown root: {path}");
        return Ok(());
    }
    let message = format!(
        "the daemon's user can't read the configuration {path}, so no reload would work: {error}; \
         chgrp the file to that user's group, chmod 0640, and let it enter the directory"
    );
    Err(Failure::new(FailureKind::Privilege, message).into())
}

/// Gives up everything but [`KEPT`] and the files that `config`, read from `path`, needs. Threads
/// that are started later inherit that.
///
/// # Errors
/// When other threads are there already, which would keep what this one gives up, or when the kernel
/// refuses.
pub fn give_up(config: &Config, path: &str) -> Result<()> {
    let threads = std::fs::read_dir("/proc/self/task").context("could not count the threads")?;
    let threads = threads.count();
    ensure!(
        threads == 1,
        "{threads} threads are there before privileges were given up: this is a mistake in the \
         program, please report it"
    );
    // What is made from here on is the daemon's alone.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    capabilities::give_up()?;
    let files = if config.daemon.restrict_files {
        files::restrict(&files::Needed::of(config, path))?
    } else {
        Files::Open("switched off by daemon.restrict_files".to_owned())
    };
    look_at_config(path)?;
    match &files {
        Files::Restricted => tracing::debug!("files are restricted to what the daemon needs"),
        Files::Partly(why) | Files::Open(why) => {
            tracing::warn!("files are not fully restricted: {why}");
        }
    }
    FILES
        .set(files)
        .ok()
        .context("privileges are given up once")
}
