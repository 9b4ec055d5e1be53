//! Precedence over the other work of a machine, which disturbs a measurement less then.

use std::fs;

use anyhow::{Result, bail};
use nix::libc;

/// nice(2) values go from -20 to 19; this leaves the others a tenth of a CPU that both want.
const NICE: i32 = -10;
/// The scheduler divides CPU time between sessions first, where it has this (sched(7)): then a
/// process's own nice value counts within its session only.
const AUTOGROUP: &str = "/proc/self/autogroup";

/// This thread, what it starts, and its session have precedence until this is dropped.
#[derive(Debug)]
pub struct Precedence {
    /// What the session had before.
    session: Option<String>,
}

impl Precedence {
    /// Takes it.
    ///
    /// # Errors
    /// Without CAP_SYS_NICE.
    pub fn take() -> Result<Self> {
        // SAFETY: no pointer is passed.
        if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0 {
            let error = std::io::Error::last_os_error();
            bail!("cannot take precedence over other processes: {error}");
        }
        let before = fs::read_to_string(AUTOGROUP).ok();
        let before = before.as_deref().and_then(nice_value).map(str::to_owned);
        let session = before.filter(|_| fs::write(AUTOGROUP, NICE.to_string()).is_ok());
        Ok(Self { session })
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        if let Some(before) = &self.session {
            // A session that keeps its precedence harms nobody who could be told here.
            drop(fs::write(AUTOGROUP, before));
        }
    }
}

/// Out of `/autogroup-25 nice 0`.
fn nice_value(text: &str) -> Option<&str> {
    let (_, value) = text.trim().rsplit_once(" nice ")?;
    value.parse::<i32>().is_ok().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sessions_nice_value_is_read_as_the_kernel_writes_it() {
        assert_eq!(nice_value("/autogroup-25 nice -5\n"), Some("-5"));
        assert_eq!(nice_value("/"), None);
    }
}
