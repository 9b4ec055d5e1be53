//! Captures for `replay`: pcap and pcapng files of any kind of network, cut or damaged anywhere.

use std::io::Cursor;
use std::time::Duration;

use xdp_user::config::Config;
use xdp_user::replay::Engine;
use xdp_user::replay::file::Packets;

/// A file of a few kilobytes holds no more records than this.
const MOST_PACKETS: usize = 4096;

/// Every packet that a file gives can be judged; a file that can't be read gives an error and ends.
pub fn run(input: &[u8]) {
    let Ok(packets) = Packets::read(Cursor::new(input.to_vec())) else {
        return;
    };
    let Ok(mut engine) = Engine::new(&Config::default()) else {
        panic!("the default configuration has tables");
    };
    let mut errors = 0;
    for captured in packets.take(MOST_PACKETS) {
        let Ok(captured) = captured else {
            errors += 1;
            assert!(errors < 2, "the reader goes on after an error");
            continue;
        };
        let at = captured.at.min(Duration::from_secs(1 << 32));
        if let Some(frame) = captured.into_frame() {
            assert!(engine.judge(&frame, at).is_ok(), "a frame can't be judged");
        }
    }
}
