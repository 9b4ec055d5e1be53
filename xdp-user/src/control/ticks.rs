//! The kernel's timer ticks as a clock: `jiffies`, which the program reads for nothing and which this
//! process knows by `times(2)` only, in its units (a hundredth of a second).
//!
//! Ticks are counted by `CLOCK_MONOTONIC` (`tick_do_update_jiffies64`, kernel/time/tick-sched.c, 6.18), so
//! what `CLOCK_BOOTTIME` is ahead of them changes in suspend, and where a machine without a
//! high-resolution timer loses ticks.

use nix::libc;
use nix::time::{ClockId, clock_getres, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use super::policy::CoarseClock;

/// How long is waited for a unit that is seen to begin, not only to have begun.
const PATIENCE_NS: u64 = 200_000_000;
/// What the ticks may be off before they are measured again.
const WORTH_TELLING_NS: u64 = 100_000_000;

/// Measures the clock; takes a hundredth of a second or two, and reads clocks all that time. No clock
/// where the kernel doesn't tell, or where this thread isn't given the CPU for long enough: the program
/// then reads the exact one.
pub fn measure() -> CoarseClock {
    let tick_ns = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, nanoseconds);
    let measured = Units::new().filter(|_| tick_ns > 0).and_then(|units| {
        // The earliest of two: a tick that came late would put the program's clock ahead.
        let offsets = [(); 2].map(|()| units.beginning(tick_ns));
        offsets
            .into_iter()
            .flatten()
            .min_by_key(|offset| offset.cast_signed())
    });
    let Some(offset_ns) = measured else {
        tracing::warn!(
            "the kernel's timer ticks can't be measured: the program reads the exact clock, which costs \
             packets of limited sources some 40 ns"
        );
        return CoarseClock::default();
    };
    CoarseClock { tick_ns, offset_ns }
}

/// Whether a clock is still about right. A clock that isn't known is.
pub fn is_right(clock: &CoarseClock) -> bool {
    let Some(units) = Units::new().filter(|_| clock.tick_ns > 0) else {
        return true;
    };
    let by_ticks = units.now_ns().wrapping_add(clock.offset_ns);
    by_ticks.abs_diff(boot_ns()) <= WORTH_TELLING_NS
}

/// The time that a clock shows now.
pub fn shown(clock: &CoarseClock) -> Option<u64> {
    let tick = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map(nanoseconds);
    let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).map(nanoseconds);
    let suspended = boot_ns().checked_sub(monotonic.ok()?)?;
    let last_tick = tick.ok()?.checked_add(suspended)?;
    let counted = last_tick.wrapping_sub(clock.offset_ns);
    let half = clock.tick_ns / 2;
    let ticks = counted.wrapping_add(half).checked_div(clock.tick_ns)?;
    Some(
        ticks
            .wrapping_mul(clock.tick_ns)
            .wrapping_add(clock.offset_ns),
    )
}

/// What `times(2)` counts in.
struct Units {
    unit_ns: u64,
}

impl Units {
    fn new() -> Option<Self> {
        let per_second = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
        let unit_ns = 1_000_000_000_u64.checked_div(per_second)?;
        Some(Self { unit_ns })
    }

    /// The ticks until now, in nanoseconds and whole units.
    fn now_ns(&self) -> u64 {
        // SAFETY: the call takes a null pointer for "nothing else".
        let units = unsafe { libc::times(std::ptr::null_mut()) };
        units.cast_unsigned().wrapping_mul(self.unit_ns)
    }

    /// Waits for the beginning of a unit: what the boot clock was ahead of the ticks then.
    fn beginning(&self, tick_ns: u64) -> Option<u64> {
        let (mut before_ns, mut last) = (boot_ns(), self.now_ns());
        let until_ns = before_ns.saturating_add(PATIENCE_NS);
        while before_ns < until_ns {
            let counted = self.now_ns();
            let at_ns = boot_ns();
            let gap_ns = at_ns.saturating_sub(before_ns);
            if counted != last && gap_ns <= tick_ns / 8 {
                let ticks = counted.div_ceil(tick_ns);
                return Some(at_ns.wrapping_sub(ticks.wrapping_mul(tick_ns)));
            }
            (before_ns, last) = (at_ns, counted);
        }
        None
    }
}

fn boot_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, nanoseconds)
}

fn nanoseconds(time: nix::sys::time::TimeSpec) -> u64 {
    u64::try_from(std::time::Duration::from(time).as_nanos()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measured_clock_shows_the_time_within_a_few_ticks_and_is_right() {
        let clock = measure();
        assert!(clock.tick_ns > 0, "the kernel tells");
        assert!(is_right(&clock));
        let before = boot_ns();
        let shown = shown(&clock).unwrap();
        let after = boot_ns();
        // A tick before that moment, and what the measurement may be off to either side.
        let few = 3 * clock.tick_ns;
        let expected = before.saturating_sub(few)..=after.saturating_add(few);
        assert!(expected.contains(&shown), "{shown} of {expected:?}");
    }

    #[test]
    fn a_clock_that_stood_still_in_suspend_is_noticed() {
        let clock = measure();
        let behind = CoarseClock {
            offset_ns: clock.offset_ns.wrapping_sub(3_600_000_000_000),
            ..clock
        };
        assert!(!is_right(&behind));
        assert!(is_right(&CoarseClock::default()), "nothing is known of it");
    }
}
