//! Rates per second.

use std::fmt;
use std::str::FromStr;

use super::quantity::{Notation, QuantityError, text_form};
use super::serde_as_text;

/// Packets per second, at least 1, at most 10⁹: "500pps", "20kpps", "1.5Mpps".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PacketRate(u64);

impl PacketRate {
    pub fn new(packets_per_second: u64) -> Result<Self, QuantityError> {
        PACKETS.check(packets_per_second).map(Self)
    }

    pub fn packets_per_second(self) -> u64 {
        self.0
    }
}

const PACKETS: Notation = Notation {
    units: &[
        ("pps", 1),
        ("kpps", 1_000),
        ("Kpps", 1_000),
        ("Mpps", 1_000_000),
        ("Gpps", 1_000_000_000),
    ],
    base: "packets per second",
    example: "20kpps",
    max: 1_000_000_000,
};

/// Bits per second on the wire's frames, a multiple of 8 bits, at most 10 Tbps: "64kbps", "1Gbps".
/// Decimal prefixes, as for links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BitRate(u64);

impl BitRate {
    pub fn new(bits_per_second: u64) -> Result<Self, QuantityError> {
        whole_bytes(BITS.check(bits_per_second)?).map(Self)
    }

    pub fn bits_per_second(self) -> u64 {
        self.0
    }

    pub fn bytes_per_second(self) -> u64 {
        self.0 / 8
    }
}

const BITS: Notation = Notation {
    units: &[
        ("bps", 1),
        ("kbps", 1_000),
        ("Kbps", 1_000),
        ("Mbps", 1_000_000),
        ("Gbps", 1_000_000_000),
        ("Tbps", 1_000_000_000_000),
    ],
    base: "bits per second",
    example: "200Mbps",
    max: 10_000_000_000_000,
};

/// The kernel side counts bytes; a rate that isn't whole bytes would be rounded silently.
fn whole_bytes(bits: u64) -> Result<u64, QuantityError> {
    if bits.is_multiple_of(8) {
        Ok(bits)
    } else {
        Err(QuantityError::Fraction {
            base: "bytes per second (8 bits each)",
        })
    }
}

impl FromStr for BitRate {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        whole_bytes(BITS.parse(text)?).map(Self)
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&BITS.text(self.0))
    }
}

serde_as_text!(BitRate, { "type": "string", "examples": ["10Mbps"] });

/// New TCP connections (SYN packets) per second, at least 1, at most 10⁹: "100cps" or "100/s".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionRate(u64);

impl ConnectionRate {
    pub fn new(connections_per_second: u64) -> Result<Self, QuantityError> {
        CONNECTIONS.check(connections_per_second).map(Self)
    }

    pub fn connections_per_second(self) -> u64 {
        self.0
    }
}

const CONNECTIONS: Notation = Notation {
    units: &[
        ("cps", 1),
        ("/s", 1),
        ("kcps", 1_000),
        ("k/s", 1_000),
        ("Mcps", 1_000_000),
    ],
    base: "connections per second",
    example: "100cps",
    max: 1_000_000_000,
};

text_form!(PacketRate, PACKETS);
text_form!(ConnectionRate, CONNECTIONS);

/// Samples per second, at least 1, at most 10,000: "10/s".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SampleRate(u64);

impl SampleRate {
    pub fn new(samples_per_second: u64) -> Result<Self, QuantityError> {
        SAMPLES.check(samples_per_second).map(Self)
    }

    pub fn samples_per_second(self) -> u64 {
        self.0
    }
}

const SAMPLES: Notation = Notation {
    units: &[("/s", 1), ("k/s", 1_000)],
    base: "samples per second",
    example: "10/s",
    max: 10_000,
};

text_form!(SampleRate, SAMPLES);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn packet_rates() {
        assert_eq!("20kpps".parse(), PacketRate::new(20_000));
        assert_eq!("500pps".parse(), PacketRate::new(500));
        assert_eq!("1.5Mpps".parse(), PacketRate::new(1_500_000));
        assert_eq!(PacketRate(1_500_000).to_string(), "1.5Mpps");
        "20".parse::<PacketRate>().unwrap_err();
        "0pps".parse::<PacketRate>().unwrap_err();
        "20kbps".parse::<PacketRate>().unwrap_err();
    }

    #[test]
    fn bit_rates_are_decimal() {
        let rate: BitRate = "200Mbps".parse().unwrap();
        assert_eq!(rate.bits_per_second(), 200_000_000);
        assert_eq!(rate.bytes_per_second(), 25_000_000);
        assert_eq!("1Gbps".parse(), BitRate::new(1_000_000_000));
        assert_eq!("64kbps".parse(), BitRate::new(64_000));
        assert_eq!(rate.to_string(), "200Mbps");
    }

    #[test]
    fn bytes_per_second_are_not_taken_for_bits() {
        let refused = "200MBps".parse::<BitRate>().unwrap_err();
        assert!(refused.to_string().contains("Mbps"), "{refused}");
        "12bps".parse::<BitRate>().unwrap_err();
    }

    #[test]
    fn connection_rates_have_two_spellings() {
        assert_eq!("100cps".parse(), ConnectionRate::new(100));
        assert_eq!("100/s".parse(), ConnectionRate::new(100));
        assert_eq!(
            "1k/s".parse::<ConnectionRate>().unwrap().to_string(),
            "1kcps"
        );
    }

    #[test]
    fn the_bound_is_named_in_the_answer() {
        let refused = "2Gpps".parse::<PacketRate>().unwrap_err();
        assert!(refused.to_string().contains("1Gpps"), "{refused}");
    }

    proptest! {
        #[test]
        fn every_rate_round_trips(packets in 1..=PACKETS.max, bytes in 1..=BITS.max / 8) {
            prop_assert_eq!(PacketRate(packets).to_string().parse(), Ok(PacketRate(packets)));
            let rate = ConnectionRate(packets);
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            prop_assert_eq!(BitRate(bytes * 8).to_string().parse(), Ok(BitRate(bytes * 8)));
        }
    }
}
