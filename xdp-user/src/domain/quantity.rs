//! Numbers with a unit: exact decimal arithmetic, no floating point.

use std::fmt;
use std::str::FromStr;

use super::serde_as_text;

/// Why a text isn't a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("expected a number with a unit, for example \"{example}\"")]
    NoNumber { example: &'static str },
    #[error("\"{unit}\" is not a unit here, use one of {valid}")]
    UnknownUnit { unit: String, valid: String },
    #[error("the unit is missing, use one of {valid}")]
    MissingUnit { valid: String },
    #[error("not a whole number of {base}")]
    Fraction { base: &'static str },
    #[error("must be at least 1")]
    Zero,
    #[error("too large, the most is {max}")]
    TooLarge { max: String },
}

/// How a quantity is written. The first unit of each scale is the one that `Display` uses.
pub(super) struct Notation {
    pub(super) units: &'static [(&'static str, u64)],
    pub(super) base: &'static str,
    pub(super) example: &'static str,
    pub(super) max: u64,
}

impl Notation {
    pub(super) fn parse(&self, text: &str) -> Result<u64, QuantityError> {
        let text = text.trim();
        let digits = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let (mantissa, decimals) = decimal(number).ok_or(QuantityError::NoNumber {
            example: self.example,
        })?;
        let scale = self.scale(unit.trim_start())?;
        let value = self.whole(mantissa, decimals, scale)?;
        self.check(value)
    }

    /// Refuses zero and what is over the bound.
    pub(super) fn check(&self, value: u64) -> Result<u64, QuantityError> {
        if value == 0 {
            Err(QuantityError::Zero)
        } else if value > self.max {
            Err(self.too_large())
        } else {
            Ok(value)
        }
    }

    fn scale(&self, unit: &str) -> Result<u64, QuantityError> {
        let found = self.units.iter().find(|(name, _)| *name == unit);
        match found {
            Some((_, scale)) => Ok(*scale),
            None if unit.is_empty() => Err(QuantityError::MissingUnit {
                valid: self.valid_units(),
            }),
            None => Err(QuantityError::UnknownUnit {
                unit: unit.chars().take(16).collect(),
                valid: self.valid_units(),
            }),
        }
    }

    fn whole(&self, mantissa: u128, decimals: u32, scale: u64) -> Result<u64, QuantityError> {
        let scaled = mantissa
            .checked_mul(u128::from(scale))
            .ok_or_else(|| self.too_large())?;
        let divisor = 10u128.pow(decimals);
        if !scaled.is_multiple_of(divisor) {
            return Err(QuantityError::Fraction { base: self.base });
        }
        u64::try_from(scaled / divisor).map_err(|_| self.too_large())
    }

    fn too_large(&self) -> QuantityError {
        QuantityError::TooLarge {
            max: self.text(self.max),
        }
    }

    fn valid_units(&self) -> String {
        let named: Vec<&str> = self
            .units
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !name.is_empty())
            .collect();
        named.join(", ")
    }

    /// The largest unit that needs at most three decimals: 1,500,000 is "1.5M".
    pub(super) fn text(&self, value: u64) -> String {
        let fits = |scale: u64| {
            scale <= value && (u128::from(value) * 1000).is_multiple_of(u128::from(scale))
        };
        let best = self
            .units
            .iter()
            .filter(|(_, scale)| fits(*scale))
            .rev()
            .max_by_key(|(_, scale)| *scale);
        let (unit, scale) = best.copied().unwrap_or((self.units[0].0, 1));
        let whole = value / scale;
        let thousandths = u128::from(value % scale) * 1000 / u128::from(scale);
        let mut text = whole.to_string();
        if thousandths != 0 {
            text = format!("{text}.{thousandths:03}");
            text.truncate(text.trim_end_matches('0').len());
        }
        text + unit
    }
}

/// "1_000.25" as (100025, 2). At most 18 digits and 9 decimals, so that nothing overflows.
fn decimal(number: &str) -> Option<(u128, u32)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.replace('_', "");
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let well_formed = !whole.is_empty()
        && whole.len() <= 18
        && fraction.len() <= 9
        && is_digits(&whole)
        && is_digits(fraction)
        && !number.ends_with('.')
        && !number.starts_with('_');
    if !well_formed {
        return None;
    }
    let mantissa = format!("{whole}{fraction}").parse().ok()?;
    let decimals = u32::try_from(fraction.len()).ok()?;
    Some((mantissa, decimals))
}

/// How many packets, or new connections, may come at once: at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Burst(u64);

impl Burst {
    /// The largest burst: 10⁹.
    pub const MAX: u64 = BURST.max;

    pub fn new(count: u64) -> Result<Self, QuantityError> {
        BURST.check(count).map(Self)
    }

    /// The nearest burst that is allowed.
    pub fn nearest(count: u64) -> Self {
        Self(count.clamp(1, Self::MAX))
    }

    pub fn get(self) -> u64 {
        self.0
    }
}

const BURST: Notation = Notation {
    units: &[
        ("", 1),
        ("k", 1_000),
        ("K", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
    ],
    base: "packets or connections",
    example: "20k",
    max: 1_000_000_000,
};

/// A number of bytes, at least 1. Decimal ("1MB") and binary ("256KiB") units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// The largest size: 1 TB.
    pub const MAX: u64 = BYTES.max;

    pub fn new(bytes: u64) -> Result<Self, QuantityError> {
        BYTES.check(bytes).map(Self)
    }

    /// The nearest size that is allowed.
    pub fn nearest(bytes: u64) -> Self {
        Self(bytes.clamp(1, Self::MAX))
    }

    pub fn bytes(self) -> u64 {
        self.0
    }
}

const BYTES: Notation = Notation {
    units: &[
        ("B", 1),
        ("", 1),
        ("kB", 1_000),
        ("KB", 1_000),
        ("KiB", 1 << 10),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("TB", 1_000_000_000_000),
    ],
    base: "bytes",
    example: "256KiB",
    max: 1_000_000_000_000,
};

/// `FromStr`, `Display` and serde for a newtype over `u64` with a notation.
macro_rules! text_form {
    ($type:ident, $notation:expr) => {
        impl FromStr for $type {
            type Err = QuantityError;

            fn from_str(text: &str) -> Result<Self, QuantityError> {
                $notation.parse(text).map(Self)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(&$notation.text(self.0))
            }
        }

        serde_as_text!($type, { "type": "string" });
    };
}
pub(super) use text_form;

text_form!(Burst, BURST);
text_form!(ByteSize, BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bursts_are_plain_numbers_or_thousands() {
        assert_eq!("2000".parse(), Burst::new(2000));
        assert_eq!("20k".parse(), Burst::new(20_000));
        assert_eq!("1.5M".parse(), Burst::new(1_500_000));
        assert_eq!("1_000".parse(), Burst::new(1_000));
        assert_eq!(Burst(20_000).to_string(), "20k");
        assert_eq!(Burst(1_234_567).to_string(), "1234.567k");
        assert_eq!(Burst(7).to_string(), "7");
    }

    #[test]
    fn byte_sizes_are_decimal_or_binary() {
        assert_eq!("256KiB".parse(), ByteSize::new(262_144));
        assert_eq!("1MB".parse(), ByteSize::new(1_000_000));
        assert_eq!("64 MB".parse(), ByteSize::new(64_000_000));
        assert_eq!("65535".parse(), ByteSize::new(65_535));
        assert_eq!(ByteSize(64_000_000).to_string(), "64MB");
        assert_eq!(ByteSize(1 << 20).to_string(), "1MiB");
    }

    #[test]
    fn each_mistake_has_its_own_answer() {
        let error = |text: &str| text.parse::<ByteSize>().unwrap_err();
        assert!(matches!(error(""), QuantityError::NoNumber { .. }));
        assert!(matches!(error("-1MB"), QuantityError::NoNumber { .. }));
        assert!(matches!(error("1.MB"), QuantityError::NoNumber { .. }));
        assert!(matches!(error("1..2MB"), QuantityError::NoNumber { .. }));
        assert!(matches!(error("1Mb"), QuantityError::UnknownUnit { .. }));
        assert!(matches!(error("0"), QuantityError::Zero));
        assert!(matches!(error("1.5B"), QuantityError::Fraction { .. }));
        assert!(matches!(error("2TB"), QuantityError::TooLarge { .. }));
        assert!(matches!(
            error("999999999999999999TB"),
            QuantityError::TooLarge { .. }
        ));
        assert!(matches!(
            error(&"9".repeat(500)),
            QuantityError::NoNumber { .. }
        ));
    }

    proptest! {
        #[test]
        fn every_quantity_round_trips(count in 1..=Burst::MAX, bytes in 1..=ByteSize::MAX) {
            prop_assert_eq!(Burst(count).to_string().parse(), Ok(Burst(count)));
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9._ kMGiBx-]{0,24}") {
            if let Ok(size) = text.parse::<ByteSize>() {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
        }
    }
}
