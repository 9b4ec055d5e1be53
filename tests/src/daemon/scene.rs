//! The usual place of an end-to-end test: a host to protect, a peer that sends, a wire between.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Daemon;
use crate::netns::Namespace;
use crate::netns::link::{End, Mac, veth_pair};
use crate::packet::{Packet, ether_type};
use crate::traffic::counter::Counter;
use crate::traffic::sender::{Load, Sender};

/// The protected host's interface.
pub const HOST: &str = "host0";
/// The peer's interface.
pub const PEER: &str = "peer0";
/// The protected host's addresses.
pub const HOST_V4: &str = "10.77.0.1";
/// See [`HOST_V4`].
pub const HOST_V6: &str = "fd77::1";
/// The peer's addresses.
pub const PEER_V4: &str = "10.77.0.2";
/// See [`PEER_V4`].
pub const PEER_V6: &str = "fd77::2";

const HOST_MAC: Mac = [2, 0, 0, 0, 0x77, 1];
const PEER_MAC: Mac = [2, 0, 0, 0, 0x77, 2];
/// Local experimental EtherType 1 (IEEE 802): not IP, so it passes every policy.
const MARK: u16 = 0x88b5;
/// For a frame to go over the wire, on a busy machine.
const WIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Two namespaces joined by a veth pair. Everything is gone when it is dropped.
#[derive(Debug)]
pub struct Scene {
    /// Where the daemon runs; has [`HOST`].
    pub host: Namespace,
    /// Where traffic comes from; has [`PEER`].
    pub peer: Namespace,
}

impl Scene {
    /// The scene with Ethernet's usual MTU.
    ///
    /// # Errors
    /// When namespaces or interfaces can't be made.
    pub fn new() -> Result<Self> {
        Self::with_mtu(1500)
    }

    /// The scene with an MTU in bytes.
    ///
    /// # Errors
    /// When namespaces or interfaces can't be made.
    pub fn with_mtu(mtu: u32) -> Result<Self> {
        let (host, peer) = (Namespace::new("host")?, Namespace::new("peer")?);
        let ends = (End::new(&host, HOST), End::new(&peer, PEER));
        veth_pair(ends.0.mac(HOST_MAC), ends.1.mac(PEER_MAC), mtu)?;
        for (namespace, interface, v4, v6) in [
            (&host, HOST, HOST_V4, HOST_V6),
            (&peer, PEER, PEER_V4, PEER_V6),
        ] {
            namespace.add_address(interface, &format!("{v4}/24"))?;
            namespace.add_address(interface, &format!("{v6}/64"))?;
        }
        Ok(Self { host, peer })
    }

    /// Starts the daemon on [`HOST`]; `rest` follows the interface's section in its config.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn protect(&self, rest: &str) -> Result<Daemon> {
        Daemon::start(&self.host, &protecting(rest))
    }

    /// Sends frames once each from the peer.
    ///
    /// # Errors
    /// When the interface doesn't take all of them.
    pub fn send(&self, frames: Vec<Vec<u8>>) -> Result<()> {
        let wanted = frames.len() as u64;
        let sent = Sender::start(&self.peer, PEER, Load::once(frames))?.wait()?;
        ensure!(
            sent.frames == wanted && sent.refused == 0,
            "{wanted} frames to send, but {sent:?}"
        );
        Ok(())
    }

    /// Sends frames that differ from each other from the peer, and tells of each whether the
    /// host's network stack got it. A marked frame that no policy drops is sent after them: when
    /// it has come, what hasn't come never will.
    ///
    /// # Errors
    /// When the frames can't be sent or the marked one doesn't come.
    pub fn passed(&self, frames: &[Vec<u8>]) -> Result<Vec<bool>> {
        let mark = mark();
        let seen = Arc::new(Mutex::new(HashSet::new()));
        let (kept, wanted) = (Arc::clone(&seen), mark.clone());
        let counter = Counter::start(&self.host, HOST, move |frame| {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert(frame.to_vec());
            frame == wanted
        })?;
        // A part at a time, far less than a veth ring holds.
        for part in frames.chunks(64) {
            self.send(part.to_vec())?;
        }
        self.send(vec![mark])?;
        counter.wait_for(1, WIRE_TIMEOUT)?;
        let lost = counter.stop()?.lost;
        ensure!(lost == 0, "the counter lost {lost} frames");
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(frames.iter().map(|frame| seen.contains(frame)).collect())
    }

    /// [`Scene::passed`] for one packet.
    ///
    /// # Errors
    /// As there.
    pub fn passes(&self, packet: &Packet) -> Result<bool> {
        Ok(self.passed(&[packet.build()])? == [true])
    }

    /// Counts the wanted frames that reach the host's network stack.
    ///
    /// # Errors
    /// As [`Counter::start`].
    pub fn count(&self, wanted: impl Fn(&[u8]) -> bool + Send + 'static) -> Result<Counter> {
        Counter::start(&self.host, HOST, wanted)
    }

    /// Counts frames that reach the host's network stack from an IPv4 source, untagged.
    ///
    /// # Errors
    /// As [`Counter::start`].
    pub fn count_from(&self, source: &str) -> Result<Counter> {
        let source: std::net::Ipv4Addr = source.parse()?;
        self.count(move |frame| {
            frame.get(12..14) == Some(&ether_type::IPV4.to_be_bytes())
                && frame.get(26..30) == Some(&source.octets())
        })
    }
}

/// A config that protects [`HOST`], with more after the interface's section.
#[must_use]
pub fn protecting(rest: &str) -> String {
    format!("[[interface]]\nname = \"{HOST}\"\n{rest}")
}

/// A packet over the wire to the host from an IPv4 source.
#[must_use]
pub fn from_v4(source: &str) -> Packet {
    Packet::v4(source, HOST_V4).ethernet(PEER_MAC, HOST_MAC)
}

/// A packet over the wire to the host from an IPv6 source.
#[must_use]
pub fn from_v6(source: &str) -> Packet {
    Packet::v6(source, HOST_V6).ethernet(PEER_MAC, HOST_MAC)
}

/// A frame of 60 bytes, the least that Ethernet carries, that no other is equal to.
fn mark() -> Vec<u8> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(46, 0);
    Packet::other(MARK)
        .ethernet(PEER_MAC, HOST_MAC)
        .payload(payload)
        .build()
}
