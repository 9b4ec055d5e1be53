//! A flood that is to be dropped whatever happens to the daemon.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::scene::{PEER, Scene, from_v4, from_v6};
use crate::traffic::counter::Counter;
use crate::traffic::sender::{Load, Sender};
use crate::wait::wait_until;

const TIMEOUT: Duration = Duration::from_secs(20);
/// A source of the flood.
pub const LISTED: &str = "203.0.113.7";
/// The other one.
pub const LISTED_V6: &str = "2001:db8:bad::7";
/// The part of a configuration that has both on the blocklist.
pub const LISTS: &str = "[block]\nprefixes = [\"203.0.113.0/24\", \"2001:db8:bad::/48\"]\n";

/// Packets of listed sources without end, and how many got through.
#[derive(Debug)]
pub struct Flood {
    sender: Sender,
    through: Counter,
}

impl Flood {
    /// Begins one; half of it is of IPv6.
    ///
    /// # Errors
    /// When no socket can be had: it takes root.
    pub fn start(scene: &Scene) -> Result<Self> {
        let listed: [u8; 4] = LISTED.parse::<std::net::Ipv4Addr>()?.octets();
        let listed_v6 = LISTED_V6.parse::<std::net::Ipv6Addr>()?.octets();
        let through = scene.count(move |frame| {
            frame.get(26..30) == Some(&listed) || frame.get(22..38) == Some(&listed_v6)
        })?;
        let load = Load {
            rate: 5_000,
            count: u64::MAX,
            ..Load::once(vec![
                from_v4(LISTED).udp(1, 2).build(),
                from_v6(LISTED_V6).udp(1, 2).build(),
            ])
        };
        let sender = Sender::start(&scene.peer, PEER, load)?;
        Ok(Self { sender, through })
    }

    /// Waits until more was sent, so that whatever has happened meets packets.
    ///
    /// # Errors
    /// When nothing more is sent.
    pub fn goes_on(&self) -> Result<()> {
        let before = self.sender.sent_so_far();
        wait_until("more of the flood", TIMEOUT, || {
            self.sender.sent_so_far() > before + 200
        })
    }

    /// How many were sent and how many of them got through.
    ///
    /// # Errors
    /// When sending failed, or not all could be counted.
    pub fn stop(self) -> Result<(u64, u64)> {
        let sent = self.sender.stop()?;
        let through = self.through.stop()?;
        ensure!(through.lost == 0, "the counter lost {}", through.lost);
        Ok((sent.frames, through.matched))
    }
}
