//! Frames by hand: just enough of Ethernet, IP and transport headers to be judged.

use xdp_common::packet::{Address, Octets};

/// From this source to a fixed host, with this protocol and payload.
pub fn packet(source: &Address, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    match &source.octets() {
        Octets::V4(source) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            let total = 20 + payload.len() as u16;
            frame.extend(total.to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend(source);
            frame.extend([198, 51, 100, 1]);
        }
        Octets::V6(source) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((payload.len() as u16).to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(source);
            frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        }
    }
    frame.extend(payload);
    frame
}

/// UDP that makes a frame so long, at least its headers.
pub fn udp(source: &Address, length: usize) -> Vec<u8> {
    let headers = packet(source, 17, &[]).len();
    let mut payload = vec![0; length.saturating_sub(headers).max(8)];
    let stated = payload.len() as u16;
    payload[4..6].copy_from_slice(&stated.to_be_bytes());
    packet(source, 17, &payload)
}

/// TCP with these flags.
pub fn tcp(source: &Address, flags: u8) -> Vec<u8> {
    let mut header = [0; 20];
    header[12] = 5 << 4;
    header[13] = flags;
    packet(source, 6, &header)
}
