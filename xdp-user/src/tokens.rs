//! Bearer tokens of the API over TCP (RFC 6750): who has which role, by what only they know.
//!
//! A token is `xdpt_`, eight hexadecimal digits that name it, `_`, and 64 that are secret: 256 bits from
//! the kernel. At rest there is its SHA-256 only; a secret that can't be guessed needs no salt and no
//! slow hash. It is shown once, to whoever asked for it, and is in no log.

use std::sync::{PoisonError, RwLock};

use anyhow::{Context, Result};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::api::types::Role;
use crate::domain::ListName;

const PREFIX: &str = "xdpt_";
const ID_BYTES: usize = 4;
const SECRET_BYTES: usize = 32;

/// A token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The part that isn't secret.
    pub id: String,
    /// Whose it is, in the audit trail.
    pub name: ListName,
    /// What it allows.
    pub role: Role,
    /// SHA-256 of the whole text.
    pub hash: [u8; 32],
    /// When it was made.
    pub created: Timestamp,
    /// When it ends; `None` never.
    pub expires: Option<Timestamp>,
}

impl Token {
    /// A new one, and the text that its owner gets.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn new(name: ListName, role: Role, expires: Option<Timestamp>) -> Result<(Self, String)> {
        let mut bytes = [0; ID_BYTES + SECRET_BYTES];
        getrandom::fill(&mut bytes).context("the kernel gives no random bytes")?;
        let (id, secret) = bytes.split_at(ID_BYTES);
        let id = hex::encode(id);
        let text = format!("{PREFIX}{id}_{}", hex::encode(secret));
        let token = Self {
            id,
            name,
            role,
            hash: digest(&text),
            created: Timestamp::now(),
            expires,
        };
        Ok((token, text))
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The tokens in force: written by the control task, read where requests come in.
#[derive(Debug, Default)]
pub struct Tokens(RwLock<Vec<Token>>);

impl Tokens {
    /// Puts others in force.
    pub fn replace(&self, tokens: Vec<Token>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    /// All of them.
    pub fn all(&self) -> Vec<Token> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whose token a text is. Takes as long for a wrong secret as for the right one.
    pub fn find(&self, text: &str, now: Timestamp) -> Option<(ListName, Role)> {
        let given = digest(text);
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for token in tokens.iter() {
            if bool::from(token.hash.ct_eq(&given)) {
                found = Some(token);
            }
        }
        let token = found.filter(|token| token.expires.is_none_or(|end| now < end))?;
        Some((token.name.clone(), token.role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_text_is_the_token_and_only_until_it_ends() {
        let name: ListName = "grafana".parse().unwrap();
        let now = Timestamp::now();
        let later = now + jiff::SignedDuration::from_secs(60);
        let (token, text) = Token::new(name.clone(), Role::Viewer, Some(later)).unwrap();
        assert_eq!(text.len(), 5 + 8 + 1 + 64);
        assert!(
            !format!("{token:?}").contains(&text[14..]),
            "a secret in a log"
        );
        let tokens = Tokens::default();
        assert_eq!(tokens.find(&text, now), None);
        tokens.replace(vec![token]);
        assert_eq!(tokens.find(&text, now), Some((name, Role::Viewer)));
        assert_eq!(tokens.find(&text, later), None);
        for wrong in [
            "",
            &text[..text.len() - 1],
            &text.to_uppercase(),
            &format!("{text} "),
        ] {
            assert_eq!(tokens.find(wrong, now), None, "{wrong}");
        }
        let (_, other) = Token::new("x".parse().unwrap(), Role::Admin, None).unwrap();
        assert_ne!(text, other);
    }
}
