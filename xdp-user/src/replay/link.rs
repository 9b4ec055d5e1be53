//! What the packets of a capture begin with, by its link type (draft-ietf-opsawg-pcaplinktype).

use pcap_parser::Linktype;

use crate::host::framing::Framing;

/// A packet as an interface hands it to the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it begins with.
    pub framing: Framing,
    /// Its bytes, at least as many as its first header has.
    pub bytes: Vec<u8>,
}

const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const PPPOE_SESSION: [u8; 2] = [0x88, 0x64];

/// The header of a kind of capture.
#[derive(Clone, Copy)]
enum Header {
    Ethernet,
    /// IP itself.
    None,
    /// Linux's own (LINKTYPE_LINUX_SLL and SLL2): where its EtherType is, and how long it is.
    Cooked {
        kind: usize,
        length: usize,
    },
    /// BSD's loopback and OpenBSD's IPsec: an address family in four bytes, of either order, and so many
    /// bytes altogether.
    Family(usize),
    /// OpenBSD's packet filter: its length, and the address family.
    Pflog,
    /// PPP, with so many bytes before its address and control field, if those are there.
    Ppp(usize),
    /// PPP as Linux's pppd writes it: whether it was sent takes the address field's place.
    Pppd,
    /// PPPoE from its own header on.
    Pppoe,
    /// Cisco's HDLC: two bytes, and an EtherType.
    Cisco,
}

const READ: [(i32, Header, &str); 18] = [
    (1, Header::Ethernet, "Ethernet"),
    (101, Header::None, "raw IP"),
    (12, Header::None, ""),
    (14, Header::None, ""),
    (228, Header::None, ""),
    (229, Header::None, ""),
    (
        113,
        Header::Cooked {
            kind: 14,
            length: 16,
        },
        "Linux cooked",
    ),
    (
        276,
        Header::Cooked {
            kind: 0,
            length: 20,
        },
        "",
    ),
    (0, Header::Family(4), "BSD loopback"),
    (108, Header::Family(4), ""),
    (109, Header::Family(12), ""),
    (117, Header::Pflog, "pflog"),
    (9, Header::Ppp(0), "PPP"),
    (50, Header::Ppp(0), ""),
    (204, Header::Ppp(1), ""),
    (166, Header::Pppd, ""),
    (51, Header::Pppoe, "PPPoE"),
    (104, Header::Cisco, "Cisco HDLC"),
];

/// Kinds that aren't read, as they are met.
const OTHERS: [(i32, &str); 21] = [
    (6, "token ring"),
    (7, "ARCNET"),
    (8, "SLIP"),
    (10, "FDDI"),
    (105, "802.11"),
    (107, "frame relay"),
    (119, "802.11 with a Prism header"),
    (127, "802.11 with a radiotap header"),
    (129, "ARCNET"),
    (163, "802.11 with an AVS header"),
    (187, "Bluetooth"),
    (189, "USB"),
    (192, "802.11 with a PPI header"),
    (195, "802.15.4"),
    (201, "Bluetooth"),
    (220, "USB"),
    (227, "a CAN bus"),
    (230, "802.15.4"),
    (239, "netfilter's log"),
    (247, "InfiniBand"),
    (253, "netlink"),
];

fn header_of(link: Linktype) -> Option<Header> {
    let found = READ.iter().find(|(number, ..)| *number == link.0);
    found.map(|(_, header, _)| *header)
}

/// Whether packets of this kind are read.
#[must_use]
pub fn is_read(link: Linktype) -> bool {
    header_of(link).is_some()
}

/// A kind that isn't, by number and, where it is known, by name.
#[must_use]
pub fn name(link: Linktype) -> String {
    match OTHERS.iter().find(|(number, _)| *number == link.0) {
        Some((number, name)) => format!("{number} ({name})"),
        None => link.0.to_string(),
    }
}

/// What is read, in words.
#[must_use]
pub fn readable() -> String {
    let names: Vec<&str> = READ
        .iter()
        .map(|(.., name)| *name)
        .filter(|name| !name.is_empty())
        .collect();
    match names.split_last() {
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// A packet as an interface would hand it over. Nothing for a kind of capture that isn't read, nor for a
/// packet that its header says to be of another protocol than IP where the program couldn't tell.
pub(super) fn frame(link: Linktype, bytes: Vec<u8>) -> Option<Frame> {
    let behind = |length: usize| bytes.get(length..).map(<[u8]>::to_vec);
    match header_of(link)? {
        Header::Ethernet => Some(ethernet(bytes)),
        Header::None => Some(bare(bytes)),
        Header::Cooked { kind, length } => {
            let of_network = bytes.get(kind..kind + 2)?.try_into().ok()?;
            Some(framed(of_network, bytes.get(length..)?))
        }
        Header::Family(length) => {
            let family: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
            let small = |family: u32| u8::try_from(family).ok();
            let both = [u32::from_le_bytes(family), u32::from_be_bytes(family)];
            let is_ip = both.into_iter().filter_map(small).any(is_ip_family);
            behind(length).filter(|_| is_ip).map(bare)
        }
        Header::Pflog => {
            let (length, family) = (*bytes.first()?, *bytes.get(1)?);
            // Words of four bytes, as the kernel aligns it.
            let length = usize::from(length).next_multiple_of(4);
            let is_sound = length >= PFLOG_LEAST && is_ip_family(family);
            behind(length).filter(|_| is_sound).map(bare)
        }
        Header::Ppp(before) => ppp(bytes.get(before..)?),
        Header::Pppd => ppp_protocol(bytes.get(2..)?),
        Header::Pppoe => Some(framed(PPPOE_SESSION, &bytes)),
        Header::Cisco => cisco(&bytes),
    }
}

/// Action, reason, names of interface and ruleset, and numbers: the oldest had this much.
const PFLOG_LEAST: usize = 28;

/// `AF_INET`, and what the systems call `AF_INET6`: Linux, NetBSD and OpenBSD, FreeBSD, Darwin.
fn is_ip_family(family: u8) -> bool {
    matches!(family, 2 | 10 | 24 | 28 | 30)
}

/// RFC 1662, section 3.1: all stations, unnumbered information; left out by agreement (RFC 1661, section
/// 6.6). Cisco's own begins with 0x0f to one and 0x8f to many.
fn ppp(bytes: &[u8]) -> Option<Frame> {
    match bytes {
        [0xff, 0x03, rest @ ..] => ppp_protocol(rest),
        [0x0f | 0x8f, ..] => cisco(bytes),
        _ => ppp_protocol(bytes),
    }
}

/// RFC 1661, sections 2 and 6.5: of one byte if that is odd.
fn ppp_protocol(bytes: &[u8]) -> Option<Frame> {
    let packet = match bytes {
        [0x21 | 0x57, packet @ ..] | [0x00, 0x21 | 0x57, packet @ ..] => packet,
        _ => return None,
    };
    Some(bare(packet.to_vec()))
}

fn cisco(bytes: &[u8]) -> Option<Frame> {
    match bytes {
        [_, _, a, b, packet @ ..] if [IPV4, IPV6].contains(&[*a, *b]) => {
            Some(bare(packet.to_vec()))
        }
        _ => None,
    }
}

fn ethernet(mut bytes: Vec<u8>) -> Frame {
    bytes.resize(bytes.len().max(ETHERNET), 0);
    Frame {
        framing: Framing::Ethernet,
        bytes,
    }
}

fn bare(bytes: Vec<u8>) -> Frame {
    Frame {
        framing: Framing::Bare,
        bytes,
    }
}

/// With an Ethernet header for the one that the capture left out.
fn framed(kind: [u8; 2], packet: &[u8]) -> Frame {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    bytes.extend(kind);
    bytes.extend(packet);
    ethernet(bytes)
}

/// Bits of a classic capture's link type (draft-ietf-opsawg-pcap, section 4): whether the next says how many
/// words of two bytes each packet has of its check sequence, and the type itself.
const HAS_CHECK: u32 = 1 << 26;
const CHECK_SHIFT: u32 = 28;
const TYPE_MASK: u32 = 0xffff;

/// The link type in a classic capture's header, and the bytes of check sequence at each packet's end.
pub(super) fn from_header(field: Linktype) -> (Linktype, usize) {
    let field = field.0.cast_unsigned();
    let words = match field & HAS_CHECK {
        0 => 0,
        _ => field >> CHECK_SHIFT,
    };
    let link = Linktype((field & TYPE_MASK).cast_signed());
    (link, words as usize * 2)
}

/// Bytes of `if_fcslen` (draft-ietf-opsawg-pcapng, section 4.2), which is to be in bits, and in bytes where a
/// writer took it so.
pub(super) const fn check_bytes(stated: u8) -> usize {
    match stated {
        0..8 => stated as usize,
        bits => bits as usize / 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(link: i32, bytes: &[u8]) -> Option<Frame> {
        frame(Linktype(link), bytes.to_vec())
    }

    const V4: [u8; 4] = [0x45, 0, 0, 20];
    const V6: [u8; 2] = [0x60, 0];

    #[track_caller]
    fn assert_bare(link: i32, header: &[u8], packet: &[u8]) {
        let frame = read(link, &[header, packet].concat());
        assert_eq!(frame, Some(bare(packet.to_vec())), "{link} {header:x?}");
    }

    #[test]
    fn raw_packets_are_read_as_they_are() {
        for link in [12, 14, 101, 228, 229] {
            assert_bare(link, &[], &V4);
            assert_bare(link, &[], &V6);
        }
        assert_eq!(read(1, &[]).unwrap().bytes.len(), ETHERNET);
    }

    #[test]
    fn cooked_packets_get_an_ethernet_header_of_their_protocol() {
        let mut cooked = vec![0; 14];
        cooked.extend([0x86, 0xdd, 0x60, 1, 2]);
        let frame = read(113, &cooked).unwrap();
        assert_eq!(frame.framing, Framing::Ethernet);
        assert_eq!(&frame.bytes[12..], &[0x86, 0xdd, 0x60, 1, 2]);
        assert_eq!(read(113, &[0; 15]), None);
        let mut second = vec![0x08, 0];
        second.extend([0; 18]);
        second.extend(V4);
        assert_eq!(
            &read(276, &second).unwrap().bytes[12..],
            [&[8, 0][..], &V4].concat()
        );
    }

    #[test]
    fn bsd_loopback_is_read_in_either_byte_order() {
        for link in [0, 108] {
            for (family, packet) in [(2_u32, &V4[..]), (24, &V6), (28, &V6), (30, &V6), (10, &V6)] {
                assert_bare(link, &family.to_le_bytes(), packet);
                assert_bare(link, &family.to_be_bytes(), packet);
            }
            // ISO.
            assert_eq!(read(link, &[7, 0, 0, 0, 0x45, 0]), None);
            assert_eq!(read(link, &[2, 0, 0]), None);
        }
        let encrypted = [2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_bare(109, &encrypted, &V4);
    }

    #[test]
    fn pflog_says_how_long_its_header_is() {
        for (length, aligned) in [(61_u8, 64), (64, 64), (45, 48), (100, 100)] {
            let mut header = vec![0xee; aligned];
            header[0] = length;
            for family in [2, 24, 28, 30] {
                header[1] = family;
                assert_bare(117, &header, &V4);
            }
            header[1] = 1;
            assert_eq!(read(117, &[&header[..], &V4].concat()), None, "no IP");
        }
        assert_eq!(read(117, &[61, 2, 0, 0]), None, "cut short");
        assert_eq!(read(117, &[&[4, 2, 0, 0][..], &V4].concat()), None);
    }

    #[test]
    fn ppp_is_read_with_and_without_its_address_field_and_a_compressed_protocol() {
        for link in [9, 50] {
            for (protocol, packet) in [(0x21, &V4[..]), (0x57, &V6)] {
                assert_bare(link, &[0xff, 0x03, 0, protocol], packet);
                assert_bare(link, &[0xff, 0x03, protocol], packet);
                assert_bare(link, &[0, protocol], packet);
                assert_bare(link, &[protocol], packet);
                assert_bare(204, &[1, 0xff, 0x03, 0, protocol], packet);
                assert_bare(166, &[0, 0x03, 0, protocol], packet);
                assert_bare(166, &[1, 0x03, protocol], packet);
            }
            assert_bare(link, &[0x0f, 0, 0x08, 0], &V4);
            assert_eq!(read(link, &[0xff, 0x03, 0xc0, 0x21, 1, 2]), None, "LCP");
            assert_eq!(read(link, &[]), None);
        }
        assert_bare(104, &[0x8f, 0, 0x86, 0xdd], &V6);
        assert_eq!(read(104, &[0x8f, 0, 0x20, 0, 1]), None);
        let session = read(51, &[0x11, 0, 0, 1, 0, 6, 0, 0x21, 0x45, 0, 0, 0]).unwrap();
        assert_eq!(&session.bytes[12..16], &[0x88, 0x64, 0x11, 0]);
    }

    #[test]
    fn what_is_not_read_has_a_number_and_a_name() {
        assert_eq!(read(105, &V4), None);
        assert_eq!(name(Linktype(127)), "127 (802.11 with a radiotap header)");
        assert_eq!(name(Linktype(299)), "299");
        for (number, _) in OTHERS {
            assert!(!is_read(Linktype(number)), "{number}");
        }
        let words = readable();
        assert!(words.starts_with("Ethernet, raw IP, "), "{words}");
        assert!(words.ends_with("PPPoE and Cisco HDLC"), "{words}");
    }

    #[test]
    fn the_bits_above_a_link_type_tell_the_check_sequence() {
        for (field, expected) in [
            (1_u32, (1, 0)),
            (0x2400_0001, (1, 4)),
            (0x3400_0065, (101, 6)),
            // Without the bit that says so, the number tells nothing.
            (0x2000_0001, (1, 0)),
            (0x0800_0001, (1, 0)),
            (0x03ff_0071, (113, 0)),
        ] {
            let (link, check) = from_header(Linktype(field.cast_signed()));
            assert_eq!((link.0, check), expected, "{field:#x}");
        }
        assert_eq!([0, 4, 32, 16].map(check_bytes), [0, 4, 4, 2]);
    }
}
