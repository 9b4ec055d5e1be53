//! Tokens of the API, hashed.

use anyhow::Result;
use jiff::Timestamp;
use rusqlite::{Row, params};

use super::{State, timestamp};
use crate::api::types::Role;
use crate::tokens::Token;

pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS tokens (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL, hash BLOB NOT NULL,
    created_ms INTEGER NOT NULL, expires_ms INTEGER
) WITHOUT ROWID;";

impl State {
    /// Adds a token; its name must be new.
    pub fn add_token(&mut self, token: &Token) -> Result<()> {
        self.connection.execute(
            "INSERT INTO tokens (id, name, role, hash, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                token.id,
                token.name.as_str(),
                token.role.name(),
                token.hash,
                token.created.as_millisecond(),
                token.expires.map(|end| end.as_millisecond())
            ],
        )?;
        Ok(())
    }

    /// Removes one.
    pub fn remove_token(&mut self, token: &Token) -> Result<()> {
        self.connection
            .execute("DELETE FROM tokens WHERE id = ?1", [&token.id])?;
        Ok(())
    }

    /// All of them. One that can't be read allows nothing.
    pub fn tokens(&self) -> Result<Vec<Token>> {
        let mut statement = self.connection.prepare(
            "SELECT id, name, role, hash, created_ms, expires_ms FROM tokens ORDER BY name",
        )?;
        let tokens = statement.query_map([], |row| Ok(decode(row)))?;
        let mut readable = Vec::new();
        for token in tokens {
            match token?? {
                Some(token) => readable.push(token),
                None => tracing::warn!("a token in the state can't be read: it allows nothing"),
            }
        }
        Ok(readable)
    }
}

fn decode(row: &Row<'_>) -> Result<Option<Token>> {
    let (name, role): (String, String) = (row.get(1)?, row.get(2)?);
    let hash: Vec<u8> = row.get(3)?;
    let expires: Option<i64> = row.get(5)?;
    let (Ok(name), Some(role), Ok(hash)) = (name.parse(), Role::from_name(&role), hash.try_into())
    else {
        return Ok(None);
    };
    Ok(Some(Token {
        id: row.get(0)?,
        name,
        role,
        hash,
        created: timestamp(row.get(4)?).unwrap_or(Timestamp::UNIX_EPOCH),
        // An end that can't be read is over.
        expires: expires.map(|end| timestamp(end).unwrap_or(Timestamp::UNIX_EPOCH)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_what_is_damaged_allows_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut state = State::open(directory.path()).unwrap();
        let (mut token, _) = Token::new("ci".parse().unwrap(), Role::Operator, None).unwrap();
        token.created = timestamp(1_700_000_000_000).unwrap();
        state.add_token(&token).unwrap();
        assert!(state.add_token(&token).is_err());
        assert_eq!(state.tokens().unwrap(), [token.clone()]);
        state
            .connection
            .execute_batch("UPDATE tokens SET role = 'king'")
            .unwrap();
        assert_eq!(state.tokens().unwrap(), []);
        state.remove_token(&token).unwrap();
        assert_eq!(state.tokens().unwrap(), []);
    }
}
