//! Waiting for a condition instead of sleeping for a guess.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is asked again.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Asks `condition` every few milliseconds until it holds.
///
/// # Errors
/// After `timeout`, naming `what` was waited for.
pub fn wait_until(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    wait_for(what, timeout, || condition().then_some(()))
}

/// Asks `probe` every few milliseconds until it has a value, and returns that.
///
/// # Errors
/// After `timeout`, naming `what` was waited for.
pub fn wait_for<T>(
    what: &str,
    timeout: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        if started.elapsed() >= timeout {
            bail!("waited {timeout:?} for {what}, and it did not happen");
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_becomes_true_ends_the_wait() {
        let mut left = 3;
        wait_until("three polls", Duration::from_secs(5), || {
            left -= 1;
            left == 0
        })
        .unwrap();
        assert_eq!(left, 0);
    }

    #[test]
    fn a_condition_that_stays_false_is_named_in_the_error() {
        let error = wait_until("the impossible", Duration::from_millis(20), || false).unwrap_err();
        assert!(error.to_string().contains("the impossible"));
    }
}
