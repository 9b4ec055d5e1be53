//! Tokens for the API over TCP.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Role;
use crate::domain::{ListName, Span};

/// Makes a token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddToken {
    /// Whose it is to be; like the name of a list.
    pub name: ListName,
    /// What it is to allow.
    pub role: Role,
    /// How long it is good for; without, until it is revoked.
    pub ttl: Option<Span>,
}

/// A token, with what is secret: shown once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NewToken {
    /// What goes into `Authorization: Bearer`.
    pub token: String,
    /// About it.
    pub about: TokenView,
}

/// Every token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TokenList {
    /// By name.
    pub tokens: Vec<TokenView>,
}

/// A token, without what is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// The part of it that isn't secret, after `xdpt_`.
    pub id: String,
    /// Whose it is.
    pub name: ListName,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends; null: when it is revoked.
    pub expires: Option<Timestamp>,
}

/// Ends a token now.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeToken {
    /// Whose.
    pub name: ListName,
}
