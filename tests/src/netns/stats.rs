//! What the kernel counted in a [`Namespace`], without a look into any packet.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::Namespace;

/// Protocol counters of one namespace: `snmp["Udp"]["NoPorts"]`, named as in `/proc/net/snmp`
/// (RFC 1213 and its successors).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snmp(BTreeMap<String, i64>);

impl Snmp {
    /// A counter such as `("Udp", "NoPorts")`; 0 when the kernel has none of that name.
    #[must_use]
    pub fn get(&self, protocol: &str, counter: &str) -> i64 {
        self.0
            .get(&format!("{protocol}.{counter}"))
            .copied()
            .unwrap_or(0)
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let mut counters = BTreeMap::new();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let Some((protocol, names)) = names.split_once(':') else {
                continue;
            };
            let values = values.split_whitespace().skip(1);
            for (name, value) in names.split_whitespace().zip(values) {
                counters.insert(format!("{protocol}.{name}"), value.parse().unwrap_or(0));
            }
        }
        Self(counters)
    }
}

/// Counters of one interface, as in `/sys/class/net/*/statistics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Frames received.
    pub rx_packets: u64,
    /// Frames received and dropped by the driver or the stack's entry.
    pub rx_dropped: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Frames that could not be sent; on veth also those that the peer's ring had no room for.
    pub tx_dropped: u64,
}

impl Namespace {
    /// Reads the protocol counters.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn snmp(&self) -> Result<Snmp> {
        // Not /proc/net, which shows the namespace of the process's first thread.
        Ok(Snmp::parse(&self.read("/proc/thread-self/net/snmp")?))
    }

    /// Reads the counters of one interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn link_counters(&self, interface: &str) -> Result<LinkCounters> {
        let one = |name: &str| -> Result<u64> {
            let path = format!("/sys/class/net/{interface}/statistics/{name}");
            std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {path}"))?
                .trim()
                .parse()
                .with_context(|| format!("{path} is no number"))
        };
        self.run(|| {
            Ok(LinkCounters {
                rx_packets: one("rx_packets")?,
                rx_dropped: one("rx_dropped")?,
                tx_packets: one("tx_packets")?,
                tx_dropped: one("tx_dropped")?,
            })
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require_kernel;
    use std::net::UdpSocket;

    #[test]
    fn names_and_values_are_paired() {
        let snmp = Snmp::parse("Ip: A B\nIp: 1 2\nTcp: MaxConn X\nTcp: -1 7\n");
        assert_eq!(snmp.get("Ip", "B"), 2);
        assert_eq!(snmp.get("Tcp", "MaxConn"), -1);
        assert_eq!(snmp.get("Tcp", "absent"), 0);
    }

    #[test]
    fn a_datagram_to_a_closed_port_is_counted_in_its_own_namespace() {
        require_kernel!("a_datagram_to_a_closed_port_is_counted_in_its_own_namespace");
        let namespace = Namespace::new("count").unwrap();
        let other = Namespace::new("other").unwrap();
        namespace
            .run(|| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.send_to(b"x", "127.0.0.1:9").unwrap();
            })
            .unwrap();
        assert_eq!(namespace.snmp().unwrap().get("Udp", "NoPorts"), 1);
        assert_eq!(other.snmp().unwrap().get("Udp", "NoPorts"), 0);
        let lo = namespace.link_counters("lo").unwrap();
        assert!(lo.rx_packets >= 1 && lo.rx_packets == lo.tx_packets);
    }
}
