//! A hypothetical packet as bytes, so that the program's own parser reads it.

use std::net::IpAddr;
use std::ops::ControlFlow;

use anyhow::{Result, anyhow, bail};
use xdp_common::packet::{Packet, protocol, tcp_flags};

use crate::api::types::ExplainQuery;
use crate::datapath::memory::read;
use crate::host::framing::Framing;

const ETHERNET: usize = 14;
/// PPPoE's header and the PPP protocol (RFC 2516, section 4).
const PPPOE: usize = 8;
/// What an IPv4 packet's length field can say is nearly as much.
const MAX_FRAME: u32 = 65_535;
const DEFAULT_FRAME: u32 = 64;

/// A packet that somebody asks about.
pub(super) struct Hypothetical {
    pub(super) address: IpAddr,
    pub(super) frame: Vec<u8>,
    /// What the frame begins with.
    pub(super) framing: Framing,
    pub(super) description: String,
}

impl Hypothetical {
    /// As it arrives on an interface with such frames.
    pub(super) fn new(query: &ExplainQuery, framing: Framing) -> Result<Self> {
        let link = match (framing, query.pppoe.unwrap_or(false)) {
            (Framing::Ethernet, false) => Link::Ethernet,
            (Framing::Ethernet, true) => Link::Pppoe,
            (Framing::Bare, false) => Link::None,
            (Framing::Bare, true) => bail!(
                "a PPPoE session is in Ethernet frames, and this interface has no Ethernet header: ask \
                 without PPPoE, or name an interface with one"
            ),
        };
        let address = query.address.to_canonical();
        let number = protocol_number(query.protocol.as_deref().unwrap_or("tcp"), address)?;
        let flags = flags(query.flags.as_deref().unwrap_or("syn"))?;
        let port = query.port.unwrap_or(0);
        let length = query.length.unwrap_or(DEFAULT_FRAME);
        if length > MAX_FRAME {
            bail!("a frame of {length} bytes is longer than {MAX_FRAME}");
        }
        let transport = transport(number, port, flags);
        let frame = build(address, number, &transport, length, link);
        let what = match number {
            protocol::TCP => format!(
                "TCP to port {port}, flags {}",
                query.flags.as_deref().unwrap_or("syn")
            ),
            protocol::UDP => format!("UDP to port {port}"),
            protocol::ICMP | protocol::ICMPV6 => "ICMP echo request".to_owned(),
            other => format!("IP protocol {other}"),
        };
        let description = format!("{what}, {} bytes{}", frame.len(), link.words());
        Ok(Self {
            address,
            frame,
            framing,
            description,
        })
    }
}

impl Hypothetical {
    /// The packet as the program reads it.
    pub(super) fn parsed(&self) -> Option<Packet> {
        match read(self.framing, &self.frame) {
            ControlFlow::Continue(packet) => Some(packet),
            ControlFlow::Break(_) => None,
        }
    }
}

/// What is before the IP header.
#[derive(Clone, Copy)]
enum Link {
    Ethernet,
    Pppoe,
    None,
}

impl Link {
    /// Bytes.
    const fn len(self) -> usize {
        match self {
            Self::Ethernet => ETHERNET,
            Self::Pppoe => ETHERNET + PPPOE,
            Self::None => 0,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Ethernet => "",
            Self::Pppoe => ", in a PPPoE session",
            Self::None => ", without an Ethernet header",
        }
    }

    /// Before so many bytes of IP.
    fn write(self, address: IpAddr, packet: usize) -> Vec<u8> {
        let (ether_type, ppp) = match address {
            IpAddr::V4(_) => ([0x08, 0x00], 0x21),
            IpAddr::V6(_) => ([0x86, 0xdd], 0x57),
        };
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        match self {
            Self::None => return Vec::new(),
            Self::Ethernet => frame.extend(ether_type),
            Self::Pppoe => {
                let length = u16::try_from(packet + 2).unwrap_or(u16::MAX);
                frame.extend([0x88, 0x64, 0x11, 0, 0, 1]);
                frame.extend(length.to_be_bytes());
                frame.extend([0, ppp]);
            }
        }
        frame
    }
}

fn protocol_number(name: &str, address: IpAddr) -> Result<u8> {
    match (name.to_ascii_lowercase().as_str(), address) {
        ("tcp", _) => Ok(protocol::TCP),
        ("udp", _) => Ok(protocol::UDP),
        ("icmp", IpAddr::V4(_)) => Ok(protocol::ICMP),
        ("icmp" | "icmpv6" | "icmp6", IpAddr::V6(_)) => Ok(protocol::ICMPV6),
        (other, _) => other.parse().map_err(|_| {
            anyhow!("unknown protocol \"{name}\": give tcp, udp, icmp or a number up to 255")
        }),
    }
}

fn flags(words: &str) -> Result<u8> {
    let mut flags = 0;
    for word in words
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        flags |= match word.to_ascii_lowercase().as_str() {
            "fin" => tcp_flags::FIN,
            "syn" => tcp_flags::SYN,
            "rst" => tcp_flags::RST,
            "psh" => tcp_flags::PSH,
            "ack" => tcp_flags::ACK,
            "urg" => tcp_flags::URG,
            // RFC 3168, section 6.1: no stage looks at these two.
            "ece" => 0x40,
            "cwr" => 0x80,
            "none" => 0,
            _ => bail!(
                "unknown TCP flag \"{word}\": give fin, syn, rst, psh, ack, urg, ece, cwr or none, \
                 joined by commas"
            ),
        };
    }
    Ok(flags)
}

fn transport(number: u8, port: u16, flags: u8) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let mut header = vec![0xc0, 0x00, high, low];
    match number {
        protocol::TCP => {
            header.resize(20, 0);
            header[12] = 5 << 4;
            header[13] = flags;
        }
        protocol::UDP => header.resize(8, 0),
        protocol::ICMP => header = vec![8, 0, 0, 0, 0, 0, 0, 0],
        protocol::ICMPV6 => header = vec![128, 0, 0, 0, 0, 0, 0, 0],
        _ => header.clear(),
    }
    header
}

/// Destinations are documentation addresses (RFC 5737, RFC 3849) next to which no source is asked
/// about often; where one is, the neighbour is taken, so that it is no land attack.
fn build(address: IpAddr, number: u8, transport: &[u8], length: u32, link: Link) -> Vec<u8> {
    let header = match address {
        IpAddr::V4(source) => {
            let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, number, 0, 0];
            header.extend(source.octets());
            let last = if source.octets() == [192, 0, 2, 1] {
                2
            } else {
                1
            };
            header.extend([192, 0, 2, last]);
            header
        }
        IpAddr::V6(source) => {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, number, 64];
            header.extend(source.octets());
            header.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            header.push(if source.octets()[15] == 1 { 2 } else { 1 });
            header.remove(header.len() - 2);
            header
        }
    };
    let headers = link.len() + header.len() + transport.len();
    let total = headers.max(usize::try_from(length).unwrap_or(headers));
    let mut frame = link.write(address, total - link.len());
    let ip = frame.len();
    frame.extend(&header);
    frame.extend(transport);
    frame.resize(total, 0);
    let packet = u16::try_from(total - ip).unwrap_or(u16::MAX);
    let payload = u16::try_from(total - ip - header.len()).unwrap_or(u16::MAX);
    match address {
        IpAddr::V4(_) => frame[ip + 2..ip + 4].copy_from_slice(&packet.to_be_bytes()),
        IpAddr::V6(_) => frame[ip + 4..ip + 6].copy_from_slice(&payload.to_be_bytes()),
    }
    if number == protocol::UDP {
        let at = ip + header.len() + 4;
        frame[at..at + 2].copy_from_slice(&payload.to_be_bytes());
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use xdp_common::packet::{Address, Transport, parse};

    fn parsed(address: &str, protocol: &str) -> xdp_common::packet::Packet {
        let packet = Hypothetical::new(
            &ExplainQuery {
                address: address.parse().unwrap(),
                protocol: Some(protocol.into()),
                port: Some(443),
                flags: Some("syn,ack".into()),
                length: Some(90),
                interface: None,
                pppoe: None,
            },
            Framing::Ethernet,
        )
        .unwrap();
        match parse(&packet.frame[..]) {
            ControlFlow::Continue(parsed) => parsed,
            ControlFlow::Break(reason) => panic!("{address} {protocol}: {reason:?}"),
        }
    }

    #[test]
    fn the_parser_reads_the_packet_that_was_asked_about() {
        for address in ["198.51.100.7", "2001:db8::7", "192.0.2.1", "2001:db8::1"] {
            for protocol in ["tcp", "udp", "icmp", "47"] {
                let packet = parsed(address, protocol);
                assert_eq!(
                    packet.source,
                    Address::from(address.parse::<IpAddr>().unwrap())
                );
                assert_ne!(packet.source, packet.destination);
                assert_eq!(packet.frame_len, 90);
            }
        }
        let Transport::Tcp {
            destination, flags, ..
        } = parsed("198.51.100.7", "tcp").transport
        else {
            panic!("not TCP");
        };
        assert_eq!((destination, flags), (443, tcp_flags::SYN | tcp_flags::ACK));
    }

    #[test]
    fn every_flag_and_length_that_the_command_line_takes_is_taken() {
        let query = |flags: &str, length| ExplainQuery {
            address: "2001:db8::7".parse().unwrap(),
            protocol: None,
            port: None,
            flags: Some(flags.into()),
            length: Some(length),
            interface: None,
            pppoe: None,
        };
        for (flags, length) in [
            ("fin,syn,rst,psh,ack,urg,ece,cwr", 14),
            ("none", 1500),
            ("ece", 65_535),
        ] {
            let packet = Hypothetical::new(&query(flags, length), Framing::Ethernet).unwrap();
            assert!(parse(&packet.frame[..]).is_continue(), "{flags} {length}");
        }
        let all = Hypothetical::new(
            &query("fin,syn,rst,psh,ack,urg,ece,cwr", 90),
            Framing::Ethernet,
        )
        .unwrap();
        assert_eq!(all.frame[14 + 40 + 13], 0xff);
        assert!(Hypothetical::new(&query("ack", 65_536), Framing::Ethernet).is_err());
    }

    #[test]
    fn in_a_session_and_without_ethernet_the_parser_reads_the_same_packet() {
        for address in ["198.51.100.7", "2001:db8::7"] {
            for (framing, pppoe) in [
                (Framing::Ethernet, None),
                (Framing::Ethernet, Some(true)),
                (Framing::Bare, None),
            ] {
                let query = ExplainQuery {
                    address: address.parse().unwrap(),
                    protocol: Some("udp".into()),
                    port: Some(53),
                    flags: None,
                    length: Some(120),
                    interface: None,
                    pppoe,
                };
                let packet = Hypothetical::new(&query, framing).unwrap();
                let ControlFlow::Continue(parsed) = read(framing, &packet.frame) else {
                    panic!("{query:?} {framing:?}");
                };
                assert_eq!(parsed.source, Address::from(query.address));
                assert_eq!(parsed.frame_len, 120);
                let words = packet.description;
                assert_eq!(words.contains("PPPoE"), pppoe.is_some(), "{words}");
            }
        }
        let query = ExplainQuery {
            address: "2001:db8::7".parse().unwrap(),
            protocol: None,
            port: None,
            flags: None,
            length: None,
            interface: None,
            pppoe: Some(true),
        };
        assert!(Hypothetical::new(&query, Framing::Bare).is_err());
    }
}
