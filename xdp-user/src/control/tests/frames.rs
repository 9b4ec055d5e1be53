//! Frames of one packet, written without a look at the code that `explain` builds its own with.

use std::net::IpAddr;

/// One packet to a documentation address.
pub(super) struct Frame {
    pub(super) source: IpAddr,
    /// Protocol number.
    pub(super) protocol: u8,
    pub(super) port: u16,
    /// TCP only.
    pub(super) flags: u8,
    /// Of the frame; never less than its headers.
    pub(super) length: usize,
}

impl Frame {
    pub(super) fn syn(source: &str) -> Self {
        Self {
            source: source.parse().unwrap(),
            protocol: 6,
            port: 443,
            flags: 2,
            length: 64,
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let transport = self.transport();
        let header_len = if self.source.is_ipv4() { 20 } else { 40 };
        let length = self.length.max(14 + header_len + transport.len());
        let behind_ethernet = u16::try_from(length - 14).unwrap();
        let mut frame = vec![0x02; 12];
        match self.source {
            IpAddr::V4(source) => {
                let [high, low] = behind_ethernet.to_be_bytes();
                frame.extend([
                    0x08,
                    0x00,
                    0x45,
                    0,
                    high,
                    low,
                    0,
                    0,
                    0x40,
                    0,
                    64,
                    self.protocol,
                ]);
                frame.extend([0, 0]);
                frame.extend(source.octets());
                frame.extend([203, 0, 113, 250]);
            }
            IpAddr::V6(source) => {
                let [high, low] = (behind_ethernet - 40).to_be_bytes();
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, high, low, self.protocol, 64]);
                frame.extend(source.octets());
                frame.extend("3fff::250".parse::<std::net::Ipv6Addr>().unwrap().octets());
            }
        }
        let transport_at = frame.len();
        frame.extend(transport);
        frame.resize(length, 0);
        if self.protocol == 17 {
            let udp_len = u16::try_from(length - transport_at).unwrap();
            frame[transport_at + 4..transport_at + 6].copy_from_slice(&udp_len.to_be_bytes());
        }
        frame
    }

    fn transport(&self) -> Vec<u8> {
        let [high, low] = self.port.to_be_bytes();
        match self.protocol {
            6 => {
                let mut tcp = vec![0x80, 0x01, high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0x50];
                tcp.push(self.flags);
                tcp.extend([0xff, 0xff, 0, 0, 0, 0]);
                tcp
            }
            17 => vec![0x80, 0x01, high, low, 0, 0, 0, 0],
            1 => vec![8, 0, 0, 0, 0, 1, 0, 1],
            58 => vec![128, 0, 0, 0, 0, 1, 0, 1],
            _ => Vec::new(),
        }
    }
}
