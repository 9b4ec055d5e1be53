//! Service classes: their names and the states that they can be in.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xdp_common::abi::{LEVEL_ATTACK, LEVEL_ELEVATED, LEVEL_NORMAL};

use super::serde_as_text;

/// The name of a service class: 1 to 32 of `a-z 0-9 -`, a letter first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassName(String);

/// Why a text can't be a class's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassNameError {
    #[error("a class name has 1 to {} characters", ClassName::MAX_LEN)]
    BadLength,
    #[error("a class name starts with a lower-case letter")]
    BadStart,
    #[error("a class name consists of lower-case letters, digits and '-'")]
    BadCharacter,
}

impl ClassName {
    pub const MAX_LEN: usize = 32;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClassName {
    type Err = ClassNameError;

    fn from_str(text: &str) -> Result<Self, ClassNameError> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if text.is_empty() || text.len() > Self::MAX_LEN {
            Err(ClassNameError::BadLength)
        } else if !text.bytes().all(allowed) {
            Err(ClassNameError::BadCharacter)
        } else if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
            Err(ClassNameError::BadStart)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

impl fmt::Display for ClassName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

serde_as_text!(ClassName, { "type": "string", "examples": ["dns"] });

/// How hard pressed a class is.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ClassState {
    /// Within its budget.
    #[default]
    Normal,
    /// Newcomers are over the budget.
    Elevated,
    /// Far over the budget, for a while.
    Attack,
}

impl ClassState {
    pub const ALL: [Self; 3] = [Self::Normal, Self::Elevated, Self::Attack];

    /// The word in output and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Elevated => "elevated",
            Self::Attack => "attack",
        }
    }

    /// As the program takes it.
    pub const fn level(self) -> u64 {
        match self {
            Self::Normal => LEVEL_NORMAL,
            Self::Elevated => LEVEL_ELEVATED,
            Self::Attack => LEVEL_ATTACK,
        }
    }

    /// As the program has it; a level that nobody wrote is none.
    pub fn of_level(level: u64) -> Self {
        let found = Self::ALL.into_iter().find(|state| state.level() == level);
        found.unwrap_or_default()
    }
}

impl fmt::Display for ClassState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_stand_in_labels_and_are_never_addresses() {
        for good in ["dns", "tcp-syn-ack", "game2"] {
            assert_eq!(good.parse::<ClassName>().unwrap().as_str(), good);
        }
        for (bad, error) in [
            ("", ClassNameError::BadLength),
            ("x".repeat(33).as_str(), ClassNameError::BadLength),
            ("2game", ClassNameError::BadStart),
            ("-x", ClassNameError::BadStart),
            ("Dns", ClassNameError::BadCharacter),
            ("fe80::1", ClassNameError::BadCharacter),
            ("192.0.2.1", ClassNameError::BadCharacter),
        ] {
            assert_eq!(bad.parse::<ClassName>(), Err(error), "{bad}");
        }
    }

    #[test]
    fn levels_go_to_the_program_and_back() {
        for state in ClassState::ALL {
            assert_eq!(ClassState::of_level(state.level()), state);
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        assert_eq!(ClassState::of_level(99), ClassState::Normal);
    }
}
