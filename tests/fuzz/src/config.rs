//! Configuration files: whatever a file holds, it is taken whole or refused with a place.

use xdp_tests::packet::Packet;
use xdp_user::config::Config;
use xdp_user::host::framing::Framing;
use xdp_user::replay::Engine;
use xdp_user::replay::link::Frame;

/// More than any file that a person writes; the parser's own bound is larger.
const MOST_BYTES: usize = 64 << 10;

/// A file that is taken makes tables that can judge a packet.
pub fn run(input: &[u8]) {
    let input = input.get(..MOST_BYTES).unwrap_or(input);
    match Config::parse_bytes(input, "fuzz.toml") {
        Ok(loaded) => taken(&loaded.config),
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.contains("fuzz.toml"),
                "a refusal names the file: {text}"
            );
        }
    }
}

fn taken(config: &Config) {
    // Large tables are asked of the kernel and cost nothing here; a refusal for want of room is an
    // answer, too.
    let Ok(mut engine) = Engine::new(config) else {
        return;
    };
    let frame = Frame {
        framing: Framing::Ethernet,
        bytes: Packet::v4("203.0.113.7", "198.51.100.1")
            .udp(40_000, 53)
            .build(),
    };
    assert!(
        engine.judge(&frame, std::time::Duration::ZERO).is_ok(),
        "a configuration that was taken can't judge a packet"
    );
}
