//! Ctrl-C and its like end a run early, and everything is taken down on the way out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::libc;
use nix::sys::signal::{SigHandler, Signal, signal};

/// Longest time in which a signal is not seen.
const STEP: Duration = Duration::from_millis(20);

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_signal: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

/// Has SIGINT, SIGTERM and SIGHUP set a flag instead of killing this process.
///
/// # Errors
/// When the kernel refuses a handler.
pub fn on_signals() -> Result<&'static AtomicBool> {
    for which in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { signal(which, SigHandler::Handler(stop)) }
            .with_context(|| format!("cannot handle {which}"))?;
    }
    Ok(&STOP)
}

/// Returns at `until`.
///
/// # Errors
/// As soon as `stop` is set.
pub fn sleep_until(until: Instant, stop: &AtomicBool) -> Result<()> {
    loop {
        if stop.load(Ordering::Relaxed) {
            bail!("stopped before the end");
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(STEP));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_a_sleep() {
        let stop = AtomicBool::new(false);
        sleep_until(Instant::now() + Duration::from_millis(1), &stop).unwrap();
        stop.store(true, Ordering::Relaxed);
        let hour = Duration::from_secs(3600);
        assert!(sleep_until(Instant::now() + hour, &stop).is_err());
    }
}
