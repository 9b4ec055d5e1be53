use etherparse::{
    EtherType, Icmpv4Type, Icmpv6Type, InternetSlice, LaxSlicedPacket, LinkExtSlice, SlicedPacket,
    TransportSlice,
};

use super::*;

const V4: (&str, &str) = ("203.0.113.7", "198.51.100.1");
const V6: (&str, &str) = ("2001:db8::7", "2001:db8:1::1");

/// Cut from its front; every IP length and header checksum is checked on the way.
pub(crate) fn sliced(frame: &[u8]) -> SlicedPacket<'_> {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    if let Some(InternetSlice::Ipv4(ip)) = &packet.net {
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
    }
    packet
}

fn addresses(packet: &SlicedPacket<'_>) -> (String, String) {
    match packet.net.as_ref().unwrap() {
        InternetSlice::Ipv4(ip) => {
            let header = ip.header();
            (
                header.source_addr().to_string(),
                header.destination_addr().to_string(),
            )
        }
        InternetSlice::Ipv6(ip) => {
            let header = ip.header();
            (
                header.source_addr().to_string(),
                header.destination_addr().to_string(),
            )
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn transport_checksum_is_right(packet: &SlicedPacket<'_>) {
    let (stored, computed) = match (packet.net.as_ref().unwrap(), packet.transport.as_ref()) {
        (InternetSlice::Ipv4(ip), Some(TransportSlice::Tcp(tcp))) => (
            tcp.checksum(),
            tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination())
                .unwrap(),
        ),
        (InternetSlice::Ipv6(ip), Some(TransportSlice::Tcp(tcp))) => (
            tcp.checksum(),
            tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination())
                .unwrap(),
        ),
        (InternetSlice::Ipv4(ip), Some(TransportSlice::Udp(udp))) => (
            udp.checksum(),
            udp.to_header()
                .calc_checksum_ipv4_raw(
                    ip.header().source(),
                    ip.header().destination(),
                    udp.payload(),
                )
                .unwrap(),
        ),
        (InternetSlice::Ipv6(ip), Some(TransportSlice::Udp(udp))) => (
            udp.checksum(),
            udp.to_header()
                .calc_checksum_ipv6_raw(
                    ip.header().source(),
                    ip.header().destination(),
                    udp.payload(),
                )
                .unwrap(),
        ),
        (InternetSlice::Ipv4(_), Some(TransportSlice::Icmpv4(icmp))) => (
            icmp.checksum(),
            icmp.icmp_type().calc_checksum(icmp.payload()),
        ),
        (InternetSlice::Ipv6(ip), Some(TransportSlice::Icmpv6(icmp))) => {
            assert!(icmp.is_checksum_valid(ip.header().source(), ip.header().destination()));
            return;
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(stored, computed);
}

#[test]
fn a_syn_parses_back_in_both_families() {
    for packet in [
        Packet::v4(V4.0, V4.1).tcp(1234, 443, Flags::SYN),
        Packet::v6(V6.0, V6.1).tcp(1234, 443, Flags::SYN),
    ] {
        let frame = packet.build();
        let packet = sliced(&frame);
        transport_checksum_is_right(&packet);
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
            panic!("{packet:?}");
        };
        assert_eq!((tcp.source_port(), tcp.destination_port()), (1234, 443));
        assert!(tcp.syn() && !tcp.ack() && !tcp.fin() && !tcp.rst());
    }
}

#[test]
fn each_tcp_flag_is_where_it_belongs() {
    let frame = Packet::v4(V4.0, V4.1)
        .tcp(
            1,
            2,
            Flags::FIN | Flags::RST | Flags::PSH | Flags::URG | Flags::ECE | Flags::ACK,
        )
        .build();
    let packet = sliced(&frame);
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
        panic!("{packet:?}");
    };
    assert!(tcp.fin() && tcp.rst() && tcp.psh() && tcp.urg() && tcp.ece() && tcp.ack());
    assert!(!tcp.syn() && !tcp.cwr());
}

#[test]
fn udp_parses_back_with_its_payload_odd_lengths_included() {
    for payload in [&b""[..], b"a", b"abc", &[0xff; 1400]] {
        for packet in [Packet::v4(V4.0, V4.1), Packet::v6(V6.0, V6.1)] {
            let frame = packet.udp(53, 5353).payload(payload).build();
            let packet = sliced(&frame);
            transport_checksum_is_right(&packet);
            let Some(TransportSlice::Udp(udp)) = &packet.transport else {
                panic!("{packet:?}");
            };
            assert_eq!((udp.source_port(), udp.destination_port()), (53, 5353));
            assert_eq!(udp.payload(), payload);
        }
    }
}

#[test]
fn addresses_stand_where_they_were_asked_for() {
    let v4 = Packet::v4(V4.0, V4.1).build();
    assert_eq!(addresses(&sliced(&v4)), (V4.0.into(), V4.1.into()));
    let v6 = Packet::between(V6.0.parse().unwrap(), V6.1.parse().unwrap()).unwrap();
    assert_eq!(addresses(&sliced(&v6.build())), (V6.0.into(), V6.1.into()));
    assert!(Packet::between(V4.0.parse().unwrap(), V6.1.parse().unwrap()).is_none());
}

#[test]
fn icmp_is_of_the_family_of_its_packet() {
    let v4 = Packet::v4(V4.0, V4.1).icmp(8, 0).payload(*b"ping!").build();
    let packet = sliced(&v4);
    transport_checksum_is_right(&packet);
    let Some(TransportSlice::Icmpv4(icmp)) = &packet.transport else {
        panic!("{packet:?}");
    };
    assert!(matches!(icmp.icmp_type(), Icmpv4Type::EchoRequest(_)));

    let v6 = Packet::v6(V6.0, V6.1)
        .icmp(128, 0)
        .payload(*b"ping!")
        .build();
    let packet = sliced(&v6);
    transport_checksum_is_right(&packet);
    let Some(TransportSlice::Icmpv6(icmp)) = &packet.transport else {
        panic!("{packet:?}");
    };
    assert!(matches!(icmp.icmp_type(), Icmpv6Type::EchoRequest(_)));
}

#[test]
fn vlan_tags_nest_outermost_first() {
    let frame = Packet::v4(V4.0, V4.1)
        .service_vlan(100)
        .vlan(7)
        .udp(1, 2)
        .build();
    assert_eq!(frame[12..14], [0x88, 0xa8]);
    let packet = sliced(&frame);
    let identifiers: Vec<u16> = packet
        .link_exts
        .iter()
        .map(|extension| match extension {
            LinkExtSlice::Vlan(tag) => tag.vlan_identifier().value(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(identifiers, [100, 7]);
    transport_checksum_is_right(&packet);
}

#[test]
fn ipv4_options_are_padded_and_the_transport_follows_them() {
    let frame = Packet::v4(V4.0, V4.1)
        .options(&[0x94, 4, 0, 0, 1])
        .ttl(3)
        .tcp(1, 2, Flags::ACK)
        .build();
    let packet = sliced(&frame);
    let Some(InternetSlice::Ipv4(ip)) = &packet.net else {
        panic!("{packet:?}");
    };
    assert_eq!(ip.header().options(), [0x94, 4, 0, 0, 1, 0, 0, 0]);
    assert_eq!(ip.header().ttl(), 3);
    transport_checksum_is_right(&packet);
}

#[test]
fn an_ipv6_extension_chain_leads_to_the_transport() {
    let frame = Packet::v6(V6.0, V6.1)
        .extension(Extension::HopByHop(8))
        .extension(Extension::Routing(4))
        .extension(Extension::Destination(264))
        .extension(Extension::Authentication(9))
        .udp(1, 2)
        .payload(*b"after the chain")
        .build();
    let packet = sliced(&frame);
    transport_checksum_is_right(&packet);
    let Some(InternetSlice::Ipv6(ip)) = &packet.net else {
        panic!("{packet:?}");
    };
    assert_eq!(ip.extensions().slice().len(), 8 + 8 + 264 + 24);
    assert_eq!(ip.extensions().clone().into_iter().count(), 4);
}

#[test]
fn fragments_join_to_the_whole_again() {
    let payload: Vec<u8> = (0..=255).cycle().take(3001).collect();
    for packet in [Packet::v4(V4.0, V4.1), Packet::v6(V6.0, V6.1)] {
        let packet = packet.udp(7, 9).payload(payload.clone());
        let whole = packet.build();
        let whole = sliced(&whole);
        let mut joined = Vec::new();
        let frames = packet.build_fragments(77, 1400);
        assert_eq!(frames.len(), 3);
        for (index, frame) in frames.iter().enumerate() {
            let part = sliced(frame);
            let net = part.net.as_ref().unwrap();
            assert!(net.ip_payload_ref().unwrap().fragmented);
            let (offset, more) = match net {
                InternetSlice::Ipv4(ip) => (
                    ip.header().fragments_offset().byte_offset(),
                    ip.header().more_fragments(),
                ),
                InternetSlice::Ipv6(ip) => {
                    let slice = ip.extensions().slice();
                    let field = u16::from_be_bytes([slice[2], slice[3]]);
                    (field & !7, field & 1 == 1)
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(usize::from(offset), joined.len());
            assert_eq!(more, index + 1 < frames.len());
            joined.extend_from_slice(net.ip_payload_ref().unwrap().payload);
        }
        assert_eq!(joined, whole.net.unwrap().ip_payload_ref().unwrap().payload);
    }
}

#[test]
fn protocols_without_a_parser_have_their_number_and_their_bytes() {
    let base = || Packet::v4(V4.0, V4.1).payload(*b"x");
    for (packet, number, header) in [
        (base().gre(ether_type::IPV4), 47, vec![0, 0, 8, 0]),
        (base().esp(1, 2), 50, vec![0, 0, 0, 1, 0, 0, 0, 2]),
        (base().protocol(200), 200, vec![]),
    ] {
        let frame = packet.build();
        let packet = LaxSlicedPacket::from_ethernet(&frame).unwrap();
        let payload = packet.ip_payload().unwrap();
        assert_eq!(payload.ip_number.0, number);
        assert_eq!(payload.payload, [&header[..], b"x"].concat());
    }
    let sctp = Packet::v6(V6.0, V6.1).sctp(5, 6).build();
    assert_eq!(sctp[20], 132);
    let mut body = sctp[54..].to_vec();
    let sent = u32::from_le_bytes([body[8], body[9], body[10], body[11]]);
    body[8..12].fill(0);
    assert_eq!(sent, checksum::crc32c(&body));
}

#[test]
fn a_frame_that_is_not_ip_is_only_ethernet() {
    let frame = Packet::other(ether_type::ARP).payload([1, 2, 3]).build();
    let packet = LaxSlicedPacket::from_ethernet(&frame).unwrap();
    assert_eq!(
        packet
            .link
            .unwrap()
            .to_header()
            .unwrap()
            .ethernet2()
            .unwrap()
            .ether_type,
        EtherType(ether_type::ARP)
    );
    assert_eq!(frame[14..], [1, 2, 3]);
}

#[test]
fn padding_makes_the_frame_as_long_as_asked() {
    assert_eq!(
        Packet::v4(V4.0, V4.1).udp(1, 2).padded_to(60).build().len(),
        60
    );
    let short = Packet::v6(V6.0, V6.1).udp(1, 2).padded_to(10).build();
    assert_eq!(short.len(), 62);
}
