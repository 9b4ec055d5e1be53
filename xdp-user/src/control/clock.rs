//! Between the kernel's clock and the calendar.

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use super::policy::CoarseClock;
use super::ticks;
use xdp_common::abi::{FLAG_COARSE_CLOCK, Policy};

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// `CLOCK_BOOTTIME` in nanoseconds: what the program calls now.
    pub boot_ns: u64,
    /// The same moment on the calendar.
    pub wall: Timestamp,
}

/// What the program calls now under a policy; `exact` is the exact clock's time.
pub fn as_program(policy: &Policy, exact: u64) -> u64 {
    if policy.flags & FLAG_COARSE_CLOCK == 0 {
        return exact;
    }
    let clock = CoarseClock {
        tick_ns: policy.tick_ns.into(),
        offset_ns: policy.clock_offset_ns,
    };
    ticks::shown(&clock).unwrap_or(exact)
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        // The clock exists on every kernel that can load the program (2.6.39).
        let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |t| {
            u64::try_from(t.tv_sec()).unwrap_or(0) * 1_000_000_000
                + u64::try_from(t.tv_nsec()).unwrap_or(0)
        });
        Self {
            boot_ns: boot,
            wall: Timestamp::now(),
        }
    }

    /// The kernel's time of a calendar time; at least 1, because 0 means never.
    pub fn to_boot_ns(self, at: Timestamp) -> u64 {
        let ahead_ns = at.as_nanosecond() - self.wall.as_nanosecond();
        let at_ns = i128::from(self.boot_ns) + ahead_ns;
        u64::try_from(at_ns.max(1)).unwrap_or(u64::MAX)
    }

    /// The calendar time of a kernel's time.
    pub fn to_wall(self, boot_ns: u64) -> Timestamp {
        let ahead_ns =
            i64::try_from(i128::from(boot_ns) - i128::from(self.boot_ns)).unwrap_or(i64::MAX);
        let ahead = jiff::SignedDuration::from_nanos(ahead_ns);
        self.wall.checked_add(ahead).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_to_the_kernel_and_back() {
        let now = Moment::now();
        assert!(now.boot_ns > 0);
        let later = now.wall + jiff::SignedDuration::from_secs(90);
        assert_eq!(now.to_boot_ns(later), now.boot_ns + 90_000_000_000);
        assert_eq!(now.to_wall(now.to_boot_ns(later)), later);
        assert_eq!(
            now.to_boot_ns(Timestamp::UNIX_EPOCH),
            1,
            "the past is over, not never"
        );
    }
}
