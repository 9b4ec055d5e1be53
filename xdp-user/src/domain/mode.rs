//! Closed choices.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to a packet that the policy refuses.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Decide and count, drop nothing.
    Observe,
    /// Drop what the policy refuses.
    #[default]
    Enforce,
}

/// How the program is attached to an interface.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// In the driver where it can, else in the network stack, with a warning.
    #[default]
    Auto,
    /// In the driver (XDP_FLAGS_DRV_MODE) or not at all.
    Native,
    /// In the network stack (XDP_FLAGS_SKB_MODE): works everywhere, at a fraction of the speed.
    Generic,
}

/// A word that is not one of a closed set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {valid}")]
pub struct UnknownChoice {
    pub valid: String,
}

impl Mode {
    pub const ALL: [Self; 2] = [Self::Observe, Self::Enforce];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

impl AttachMode {
    pub const ALL: [Self; 3] = [Self::Auto, Self::Native, Self::Generic];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

macro_rules! text_by_name {
    ($type:ident) => {
        impl FromStr for $type {
            type Err = UnknownChoice;

            fn from_str(text: &str) -> Result<Self, UnknownChoice> {
                let found = Self::ALL.into_iter().find(|choice| choice.name() == text);
                found.ok_or_else(|| UnknownChoice {
                    valid: Self::ALL.map(Self::name).join(", "),
                })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(self.name())
            }
        }
    };
}

text_by_name!(Mode);
text_by_name!(AttachMode);

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as Words;

    #[test]
    fn text_serde_and_command_line_agree() {
        for mode in Mode::ALL {
            assert_eq!(mode.name().parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.name());
            assert_eq!(<Mode as Words>::from_str(mode.name(), false), Ok(mode));
        }
        for mode in AttachMode::ALL {
            assert_eq!(mode.name().parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.name());
            assert_eq!(
                <AttachMode as Words>::from_str(mode.name(), false),
                Ok(mode)
            );
        }
    }

    #[test]
    fn an_unknown_word_is_answered_with_the_known_ones() {
        let refused = "driver".parse::<AttachMode>().unwrap_err();
        assert_eq!(refused.to_string(), "expected one of auto, native, generic");
    }
}
