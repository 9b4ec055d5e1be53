//! What outlives the daemon: SQLite in WAL mode, one file in the state directory.
//!
//! A change is on disk (`synchronous=FULL`) before its caller hears that it took effect.

mod audit;
mod recover;
mod tokens;

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::api::types::{LimitFields, ListKind};
use crate::domain::{ListName, Prefix};
pub use audit::AuditRow;
pub use recover::Recovered;

const FILE: &str = "state.sqlite";
/// `PRAGMA user_version` of this layout.
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
CREATE TABLE entries (
    kind TEXT NOT NULL, prefix TEXT NOT NULL, list TEXT NOT NULL,
    expires_ms INTEGER, comment TEXT, added_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, prefix, list)
) WITHOUT ROWID;
CREATE TABLE bans (
    source TEXT PRIMARY KEY, since_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL,
    level INTEGER NOT NULL, reason INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE limits (scope TEXT PRIMARY KEY, fields TEXT NOT NULL) WITHOUT ROWID;
";
/// Scope of the limits of every source without an override.
const DEFAULT_SCOPE: &str = "default";

/// An entry as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    /// Which list kind.
    pub kind: ListKind,
    /// The prefix.
    pub prefix: Prefix,
    /// The list's name.
    pub list: ListName,
    /// When it ends; `None` never.
    pub expires: Option<Timestamp>,
    /// Why it is there.
    pub comment: Option<String>,
    /// When it was added.
    pub added: Timestamp,
}

/// A change of the entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryChange {
    /// Write it, over an older one of the same list.
    Put(EntryRow),
    /// Remove it.
    Remove(ListKind, Prefix, ListName),
}

/// A ban as it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanRow {
    /// Who.
    pub source: Prefix,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// How often its length has grown.
    pub level: u32,
    /// Code of the reason.
    pub reason: u32,
}

/// The open database.
pub struct State {
    connection: Connection,
    recovered: Option<Recovered>,
    trouble: Option<String>,
}

impl State {
    /// Opens or makes the database in `directory`, which is made with mode 0700 if it is missing.
    pub fn open(directory: &Path) -> Result<Self> {
        make_directory(directory)?;
        let path = directory.join(FILE);
        let opened = match Self::open_file(&path) {
            Err(error) if recover::is_damage(&error) => recover::recover(&path),
            opened => opened,
        };
        opened.map_err(|error| {
            let next = if is_locked(&error) {
                "another daemon uses it: stop that one first, or give this one another [state] \
                 directory"
            } else {
                "move the file away to start without it"
            };
            error.context(format!(
                "could not open the state in {}: {next}",
                path.display()
            ))
        })
    }

    fn open_file(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::ZERO)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // The daemon can write to its own directories only, not to /tmp.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        // No other process writes here; a second daemon finds the lock and says so.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        ensure!(
            version <= SCHEMA_VERSION,
            "the state was written by a newer xdp-throttle (layout {version}, this one knows {SCHEMA_VERSION})"
        );
        if version == 0 {
            connection.execute_batch(&format!(
                "BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            ))?;
        }
        connection.execute_batch(audit::TABLE)?;
        connection.execute_batch(tokens::TABLE)?;
        let state = Self {
            connection,
            recovered: None,
            trouble: None,
        };
        if version != 0 && !state.is_sound()? {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
                None,
            )
            .into());
        }
        Ok(state)
    }

    /// What became of a database that was damaged.
    pub fn recovered(&self) -> Option<&Recovered> {
        self.recovered.as_ref()
    }

    /// Why the last change was not written, until one is.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// After a refused change: tries whether the disk takes one again.
    pub fn try_again(&mut self) {
        if self.trouble.is_some() {
            let written = self.connection.execute_batch(
                "BEGIN IMMEDIATE; CREATE TABLE trial (x); DROP TABLE trial; COMMIT;",
            );
            if written.is_err() && !self.connection.is_autocommit() {
                // What began is not to stay open.
                self.connection.execute_batch("ROLLBACK").ok();
            }
            if self.noted(written.map_err(anyhow::Error::from)).is_ok() {
                tracing::info!("the state on disk takes changes again");
            }
        }
    }

    fn noted<T>(&mut self, written: Result<T>) -> Result<T> {
        self.trouble = written.as_ref().err().map(|error| format!("{error:#}"));
        written
    }

    /// Writes changes of the entries, all or none.
    pub fn change_entries(&mut self, changes: &[EntryChange]) -> Result<()> {
        let written = self.write_entries(changes);
        self.noted(written)
    }

    fn write_entries(&mut self, changes: &[EntryChange]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut put = transaction
                .prepare("INSERT OR REPLACE INTO entries VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            let mut remove = transaction
                .prepare("DELETE FROM entries WHERE kind = ?1 AND prefix = ?2 AND list = ?3")?;
            for change in changes {
                match change {
                    EntryChange::Put(row) => put.execute(params![
                        row.kind.name(),
                        row.prefix.to_string(),
                        row.list.as_str(),
                        row.expires.map(Timestamp::as_millisecond),
                        row.comment,
                        row.added.as_millisecond(),
                    ])?,
                    EntryChange::Remove(kind, prefix, list) => {
                        remove.execute(params![kind.name(), prefix.to_string(), list.as_str()])?
                    }
                };
            }
        }
        transaction
            .commit()
            .context("could not write the change to the state on disk: nothing was changed")
    }

    /// All entries. Rows that no longer mean anything are left out and counted.
    pub fn entries(&self) -> Result<(Vec<EntryRow>, u64)> {
        let mut statement = self
            .connection
            .prepare("SELECT kind, prefix, list, expires_ms, comment, added_ms FROM entries")?;
        let mut rows = statement.query([])?;
        let (mut entries, mut damaged) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            match decode_entry(row)? {
                Some(entry) => entries.push(entry),
                None => damaged += 1,
            }
        }
        Ok((entries, damaged))
    }

    /// Writes bans over older ones of the same sources, all or none.
    pub fn put_bans(&mut self, bans: &[BanRow]) -> Result<()> {
        let written = self.write_bans(bans);
        self.noted(written)
    }

    fn write_bans(&mut self, bans: &[BanRow]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut put =
                transaction.prepare("INSERT OR REPLACE INTO bans VALUES (?1, ?2, ?3, ?4, ?5)")?;
            for ban in bans {
                put.execute(params![
                    ban.source.to_string(),
                    ban.since.as_millisecond(),
                    ban.until.as_millisecond(),
                    ban.level,
                    ban.reason,
                ])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Forgets bans.
    pub fn remove_bans(&mut self, sources: &[Prefix]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut remove = transaction.prepare("DELETE FROM bans WHERE source = ?1")?;
            for source in sources {
                remove.execute([source.to_string()])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// All bans.
    pub fn bans(&self) -> Result<Vec<BanRow>> {
        let mut statement = self
            .connection
            .prepare("SELECT source, since_ms, until_ms, level, reason FROM bans")?;
        let mut rows = statement.query([])?;
        let mut bans = Vec::new();
        while let Some(row) = rows.next()? {
            bans.extend(decode_ban(row)?);
        }
        Ok(bans)
    }

    /// Writes limits set at run time; `None` forgets them.
    pub fn set_limits(
        &mut self,
        prefix: Option<&Prefix>,
        fields: Option<&LimitFields>,
    ) -> Result<()> {
        let scope = prefix.map_or_else(|| DEFAULT_SCOPE.to_owned(), ToString::to_string);
        let written = match fields {
            Some(fields) => self.connection.execute(
                "INSERT OR REPLACE INTO limits VALUES (?1, ?2)",
                params![scope, serde_json::to_string(fields)?],
            ),
            None => self
                .connection
                .execute("DELETE FROM limits WHERE scope = ?1", [scope]),
        };
        self.noted(written.map(|_rows| ()).map_err(Into::into))
    }

    /// Removes every limit that was set at run time.
    pub fn forget_limits(&mut self) -> Result<()> {
        let written = self.connection.execute("DELETE FROM limits", []);
        self.noted(written.map(|_rows| ()).map_err(Into::into))
    }

    /// Limits set at run time: the default ones, if any, and by prefix.
    pub fn limits(&self) -> Result<Vec<(Option<Prefix>, LimitFields)>> {
        let mut statement = self
            .connection
            .prepare("SELECT scope, fields FROM limits")?;
        let mut rows = statement.query([])?;
        let mut limits = Vec::new();
        while let Some(row) = rows.next()? {
            limits.extend(decode_limit(row)?);
        }
        Ok(limits)
    }

    /// Whether the file passes SQLite's own check.
    pub fn is_sound(&self) -> Result<bool> {
        let verdict: Option<String> = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .optional()?;
        Ok(verdict.as_deref() == Some("ok"))
    }
}

fn is_locked(error: &anyhow::Error) -> bool {
    let code = error
        .downcast_ref::<rusqlite::Error>()
        .and_then(rusqlite::Error::sqlite_error_code);
    code == Some(rusqlite::ErrorCode::DatabaseBusy)
        || code == Some(rusqlite::ErrorCode::DatabaseLocked)
}

fn make_directory(directory: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("could not make the state directory {}", directory.display()))
}

fn decode_entry(row: &Row<'_>) -> Result<Option<EntryRow>> {
    let (kind, prefix, list): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let expires_ms: Option<i64> = row.get(3)?;
    let kind = match kind.as_str() {
        "allow" => ListKind::Allow,
        "block" => ListKind::Block,
        _ => return Ok(None),
    };
    let (Ok(prefix), Ok(list), Some(added)) =
        (prefix.parse(), list.parse(), timestamp(row.get(5)?))
    else {
        return Ok(None);
    };
    let expires = expires_ms.and_then(timestamp);
    Ok(Some(EntryRow {
        kind,
        prefix,
        list,
        expires,
        comment: row.get(4)?,
        added,
    }))
}

fn decode_ban(row: &Row<'_>) -> Result<Option<BanRow>> {
    let source: String = row.get(0)?;
    let (since, until) = (timestamp(row.get(1)?), timestamp(row.get(2)?));
    let (Ok(source), Some(since), Some(until)) = (source.parse(), since, until) else {
        return Ok(None);
    };
    Ok(Some(BanRow {
        source,
        since,
        until,
        level: row.get(3)?,
        reason: row.get(4)?,
    }))
}

fn decode_limit(row: &Row<'_>) -> Result<Option<(Option<Prefix>, LimitFields)>> {
    let (scope, fields): (String, String) = (row.get(0)?, row.get(1)?);
    let prefix = match scope.as_str() {
        DEFAULT_SCOPE => None,
        prefix => Some(prefix.parse()?),
    };
    Ok(Some((prefix, serde_json::from_str(&fields)?)))
}

fn timestamp(milliseconds: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(milliseconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(prefix: &str, expires: Option<i64>) -> EntryRow {
        EntryRow {
            kind: ListKind::Block,
            prefix: prefix.parse().unwrap(),
            list: "manual".parse().unwrap(),
            expires: expires.and_then(timestamp),
            comment: Some("seen in the log".into()),
            added: timestamp(1_700_000_000_123).unwrap(),
        }
    }

    #[test]
    fn what_was_written_is_there_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let entries = [
            row("192.0.2.0/24", None),
            row("2001:db8::1", Some(1_800_000_000_000)),
        ];
        let ban = BanRow {
            source: "198.51.100.7".parse().unwrap(),
            since: timestamp(1).unwrap(),
            until: timestamp(2).unwrap(),
            level: 3,
            reason: 37,
        };
        let fields = LimitFields {
            packets: Some("1kpps".into()),
            ..LimitFields::default()
        };
        {
            let mut state = State::open(directory.path()).unwrap();
            state
                .change_entries(&entries.clone().map(EntryChange::Put))
                .unwrap();
            state.put_bans(&[ban]).unwrap();
            state.set_limits(None, Some(&fields)).unwrap();
        }
        let mut state = State::open(directory.path()).unwrap();
        assert!(state.is_sound().unwrap());
        assert_eq!(state.entries().unwrap(), (entries.to_vec(), 0));
        assert_eq!(state.bans().unwrap(), [ban]);
        assert_eq!(state.limits().unwrap(), [(None, fields)]);

        let gone = EntryChange::Remove(ListKind::Block, entries[0].prefix, entries[0].list.clone());
        state.change_entries(&[gone]).unwrap();
        state.remove_bans(&[ban.source]).unwrap();
        state.set_limits(None, None).unwrap();
        assert_eq!(state.entries().unwrap().0, entries[1..]);
        assert!(state.bans().unwrap().is_empty());
        assert!(state.limits().unwrap().is_empty());
    }

    #[test]
    fn a_state_in_use_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = State::open(directory.path()).unwrap();
        first
            .change_entries(&[EntryChange::Put(row("192.0.2.0/24", None))])
            .unwrap();
        let error = State::open(directory.path()).err().unwrap();
        let text = format!("{error:#}");
        assert!(text.contains("another daemon uses it"), "{text}");
    }

    #[test]
    fn a_newer_layout_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let connection = Connection::open(directory.path().join(FILE)).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        let error = State::open(directory.path()).err().unwrap();
        assert!(
            format!("{error:#}").contains("newer xdp-throttle"),
            "{error:#}"
        );
    }
}
