//! A CPU that doesn't fall asleep.
//!
//! What it takes to wake a CPU, in a virtual machine above all, is more than an exchange between two
//! processes takes. Without an attack every packet would pay for it and under attack hardly one:
//! an attack would seem to cost less than it does, or more, as the machine pleases.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use nix::libc;

use crate::netns::offload::pin_current_thread;

/// The lowest of all priorities, and one that counts as nice(2) time in `/proc/stat`.
const NICE: i32 = 19;

/// Keeps a CPU awake until it is dropped, with a thread that runs when nobody else wants to.
pub(super) struct Wakefulness {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Wakefulness {
    pub(super) fn of(cpu: usize) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("awake".to_owned())
            .spawn(move || {
                pin_current_thread(cpu)?;
                give_way_to_all()?;
                while !seen.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
                Ok(())
            })
            .context("cannot start a thread that keeps the CPU awake")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Wakefulness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Nobody is left to tell: the owner is gone, often in a panic already.
            drop(thread.join());
        }
    }
}

fn give_way_to_all() -> Result<()> {
    // SAFETY: no pointer is passed.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0 {
        let error = std::io::Error::last_os_error();
        bail!("cannot lower a thread's priority: {error}");
    }
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a live `sched_param` that the call only reads.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter) } != 0 {
        let error = std::io::Error::last_os_error();
        bail!("cannot have a thread run only on an idle CPU: {error}");
    }
    Ok(())
}
