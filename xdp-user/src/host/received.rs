//! What an interface received, and what its link and driver lost.

use nix::libc;

use super::netlink::number;
use crate::api::types::LinkState;

/// Where a frame was lost, by the interface's own statistics (linux/if_link.h,
/// `rtnl_link_stats64`). The kinds overlap: their sum says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLoss {
    /// Ring or host too slow.
    Missed,
    /// Buffer of the device.
    Fifo,
    /// Old name for either.
    Over,
    /// Checksum of the frame.
    Crc,
    /// Any bad frame.
    Errors,
    /// Driver or stack.
    Dropped,
    /// Nobody wanted it.
    NoHandler,
}

impl LinkLoss {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Missed,
        Self::Fifo,
        Self::Over,
        Self::Crc,
        Self::Errors,
        Self::Dropped,
        Self::NoHandler,
    ];

    /// The name in metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Fifo => "fifo",
            Self::Over => "over",
            Self::Crc => "crc",
            Self::Errors => "errors",
            Self::Dropped => "dropped",
            Self::NoHandler => "no_handler",
        }
    }

    /// One sentence about it.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Missed => {
                "Before the program: the interface had no free buffer because the host was too slow to take frames out of its rings."
            }
            Self::Fifo => "Before the program: a buffer of the interface itself overflowed.",
            Self::Over => {
                "Before the program: a ring overflowed, as drivers count it that don't use `missed`."
            }
            Self::Crc => {
                "Before the program: frames with a wrong checksum, from a bad cable, optic or port."
            }
            Self::Errors => "Before the program: bad frames of every kind, `crc` among them.",
            Self::Dropped => {
                "Behind the program, or in the driver for want of memory; some drivers, such as virtio_net, add what this program drops."
            }
            Self::NoHandler => {
                "Behind the program: frames of a protocol that nothing on this host takes, or on a slave that is not active."
            }
        }
    }

    /// Its place in the statistics, which are numbers of 64 bits.
    const fn place(self) -> usize {
        match self {
            Self::Missed => 15,
            Self::Fifo => 14,
            Self::Over => 11,
            Self::Crc => 12,
            Self::Errors => 4,
            Self::Dropped => 6,
            Self::NoHandler => 23,
        }
    }
}

const PACKETS: usize = 0;
const BYTES: usize = 2;

/// What an interface received and lost since it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Frames that it received, by its own count: whether those are in it that the program dropped
    /// differs by driver.
    pub packets: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Losses; kinds that the kernel has no count of are left out.
    pub lost: Vec<(LinkLoss, u64)>,
    /// Whether anything can come in.
    pub link: LinkState,
}

/// From an interface's flags (netdevice(7)).
pub(super) fn link_state(flags: u32) -> LinkState {
    let has = |flag: i32| flags & flag.cast_unsigned() != 0;
    match (has(libc::IFF_UP), has(libc::IFF_RUNNING)) {
        (false, _) => LinkState::Down,
        (true, false) => LinkState::NoCarrier,
        (true, true) => LinkState::Up,
    }
}

impl Received {
    pub(super) fn parse_stats64(stats: &[u8]) -> Option<Self> {
        let at = |place: usize| {
            let bytes = stats.get(place * size_of::<u64>()..)?;
            number(bytes).map(u64::from_ne_bytes)
        };
        let lost = LinkLoss::ALL.into_iter();
        Some(Self {
            packets: at(PACKETS)?,
            bytes: at(BYTES)?,
            lost: lost
                .filter_map(|loss| Some((loss, at(loss.place())?)))
                .collect(),
            link: LinkState::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(numbers: std::ops::Range<u64>) -> Vec<u8> {
        numbers.flat_map(u64::to_ne_bytes).collect()
    }

    #[test]
    fn each_number_is_taken_from_its_place() {
        let received = Received::parse_stats64(&stats(100..125)).unwrap();
        assert_eq!((received.packets, received.bytes), (100, 102));
        let expected = [
            (LinkLoss::Missed, 115),
            (LinkLoss::Fifo, 114),
            (LinkLoss::Over, 111),
            (LinkLoss::Crc, 112),
            (LinkLoss::Errors, 104),
            (LinkLoss::Dropped, 106),
            (LinkLoss::NoHandler, 123),
        ];
        assert_eq!(received.lost, expected);
    }

    #[test]
    fn a_link_that_is_up_may_have_nobody_at_the_other_end() {
        // UP, BROADCAST, RUNNING, MULTICAST, LOWER_UP; without carrier; switched off.
        assert_eq!(link_state(0x11043), LinkState::Up);
        assert_eq!(link_state(0x1003), LinkState::NoCarrier);
        assert_eq!(link_state(0x1002), LinkState::Down);
    }

    #[test]
    fn an_older_kernels_shorter_statistics_lack_the_newest_count() {
        let received = Received::parse_stats64(&stats(0..23)).unwrap();
        assert_eq!(received.lost.len(), LinkLoss::ALL.len() - 1);
        assert!(Received::parse_stats64(&stats(0..2)).is_none());
    }
}
