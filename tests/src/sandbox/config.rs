//! The daemon's config for the run, and what it promises.

use std::time::Duration;

/// Packets per second that one source may send.
const PACKETS_PER_SECOND: u64 = 2_500;
/// Packets that one source may send at once.
const BURST: u64 = 2_500;

/// As [`enforce`], with nothing dropped.
pub(super) fn observe(interface: &str) -> String {
    with_mode("observe", interface)
}

/// The policy of the third phase. The honest client, at 200 pages a second and some 6 packets a
/// page, stays under it; each source of the attack is far above.
pub(super) fn enforce(interface: &str) -> String {
    with_mode("enforce", interface)
}

fn with_mode(mode: &str, interface: &str) -> String {
    format!(
        "mode = \"{mode}\"\n\n\
         [[interface]]\nname = \"{interface}\"\nattach = \"native\"\n\n\
         [limits]\npackets = \"{PACKETS_PER_SECOND}pps\"\npackets_burst = \"{BURST}\"\n\
         tcp_new = \"500cps\"\ntcp_new_burst = \"1000\"\n"
    )
}

/// The most packets that so many sources can get through in `time`: burst + rate · time each.
pub(super) fn most_passed(sources: u8, time: Duration) -> u64 {
    let earned = PACKETS_PER_SECOND as f64 * time.as_secs_f64();
    u64::from(sources) * (BURST + earned.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_burst_and_rate_of_every_source() {
        let time = Duration::from_secs(2);
        assert_eq!(most_passed(3, time), 3 * (2_500 + 5_000));
        assert_eq!(most_passed(3, Duration::ZERO), 3 * 2_500);
    }
}
