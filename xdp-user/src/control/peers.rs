//! The addresses that must stay reachable, and what of the host packets reach, for the lock-out guard
//! and for `status`.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::Control;
use super::surroundings::Lifelines;
use crate::api::types::{PeerStatus, ReachStatus, ReachedStatus};
use crate::host::{HostSnapshot, PeerRole, ProtectedPeers, Watched};

/// So many times as long as a look took, its answer is used: whoever sends many changes pays a tenth
/// for it, on a router with a million routes as well.
const WORTH: u32 = 10;
/// No answer is older: somebody may have logged in since.
const OLDEST: Duration = Duration::from_secs(1);
/// Peers that an answer spells out.
const SHOWN: usize = 64;

/// The last look.
#[derive(Debug, Default)]
pub(super) struct LastLook(RefCell<Option<Found>>);

#[derive(Debug)]
struct Found {
    of: Vec<Watched>,
    lifelines: Lifelines,
    until: Instant,
    peers: ProtectedPeers,
}

impl Control {
    /// The addresses that this host must hear from to stay reachable, as of a moment ago.
    pub(in crate::control) fn protected_peers(&self) -> ProtectedPeers {
        let (of, lifelines) = (self.watched(), self.lifelines);
        let mut last = self.last_look.0.borrow_mut();
        if let Some(found) = last.as_ref()
            && found.of == of
            && found.lifelines == lifelines
            && Instant::now() < found.until
        {
            return found.peers.clone();
        }
        let started = Instant::now();
        let peers = lifelines.find(&of);
        let until = Instant::now() + (started.elapsed() * WORTH).min(OLDEST);
        *last = Some(Found {
            of,
            lifelines,
            until,
            peers: peers.clone(),
        });
        peers
    }

    /// What of this host the packets of its protected interfaces reach, and who must stay reachable.
    pub fn reach(&self) -> ReachStatus {
        if self.lifelines == Lifelines::Nobodys {
            return ReachStatus::default();
        }
        let mut reach = ReachStatus::default();
        for of in HostSnapshot::take(&self.watched()).reach() {
            match of.devices {
                Ok(devices) => {
                    reach
                        .devices
                        .extend(devices.into_iter().map(|device| ReachedStatus {
                            interface: of.interface.to_string(),
                            name: device.name,
                            kind: device.kind,
                            how: device.how,
                        }))
                }
                Err(why) => reach.unknown.push(format!("{}: {why}", of.interface)),
            }
        }
        let peers = self.protected_peers();
        for peer in peers.iter() {
            // Who is logged in is nobody's business who may look at counters.
            if peer.role == PeerRole::Session {
                reach.sessions += 1;
            } else if reach.protected.len() < SHOWN {
                reach.protected.push(PeerStatus {
                    prefix: peer.prefix,
                    role: peer.role.name().to_owned(),
                    what: peer.to_string(),
                });
            } else {
                reach.more_protected += 1;
            }
        }
        reach.unknown.extend(peers.unknown);
        reach
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_lasts_ten_times_as_long_as_the_look_and_at_most_a_second() {
        let lasts = |took: Duration| (took * WORTH).min(OLDEST);
        assert_eq!(lasts(Duration::from_millis(3)), Duration::from_millis(30));
        assert_eq!(lasts(Duration::from_secs(2)), OLDEST);
    }
}
