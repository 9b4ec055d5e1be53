//! Tokens of the API: made, shown without their secrets, revoked.

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;

use super::Control;
use crate::api::types::{AddToken, NewToken, RevokeToken, TokenList, TokenView};
use crate::tokens::Token;

/// Each request compares with all of them.
const MOST: usize = 256;

impl Control {
    /// Makes a token. Its text is in the answer, and nowhere else.
    pub fn add_token(&mut self, asked: AddToken) -> Result<NewToken> {
        let tokens = self.tokens.all();
        ensure!(
            tokens.len() < MOST,
            "there are {MOST} tokens, the most: revoke one first"
        );
        ensure!(
            tokens.iter().all(|token| token.name != asked.name),
            "there is a token named {}: revoke it first, or take another name",
            asked.name
        );
        let expires = asked.ttl.map(|ttl| {
            let end = Timestamp::now().checked_add(ttl.as_duration());
            end.context("that is too far in the future")
        });
        let (token, text) = Token::new(asked.name, asked.role, expires.transpose()?)?;
        self.state.add_token(&token)?;
        let about = view(&token);
        let mut tokens = tokens;
        tokens.push(token);
        self.tokens.replace(tokens);
        Ok(NewToken { token: text, about })
    }

    /// All of them, without what is secret.
    pub fn list_tokens(&self) -> TokenList {
        let tokens = self.tokens.all();
        TokenList {
            tokens: tokens.iter().map(view).collect(),
        }
    }

    /// Ends a token now.
    pub fn revoke_token(&mut self, asked: &RevokeToken) -> Result<TokenView> {
        let mut tokens = self.tokens.all();
        let at = tokens.iter().position(|token| token.name == asked.name);
        let at = at.with_context(|| {
            format!(
                "there is no token named {}: see `xdp-throttle token list`",
                asked.name
            )
        })?;
        let token = tokens.remove(at);
        self.state.remove_token(&token)?;
        self.tokens.replace(tokens);
        Ok(view(&token))
    }
}

fn view(token: &Token) -> TokenView {
    TokenView {
        id: token.id.clone(),
        name: token.name.clone(),
        role: token.role,
        created: token.created,
        expires: token.expires,
    }
}
