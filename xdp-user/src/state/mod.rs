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
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

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
        Self::open_or_recover(&path).map_err(|error| {
            let next = next_step(&error);
            error.context(format!(
                "could not open the state in {}: {next}",
                path.display()
            ))
        })
    }

    fn open_or_recover(path: &Path) -> Result<Self> {
        recover::finish(path)?;
        match Self::open_file(path) {
            Err(error) if recover::is_damage(&error) => {}
            opened => return opened,
        }
        recover::read_whole(path)?;
        // The disk gives all of it: what is wrong now is the content.
        match Self::open_file(path) {
            Err(error) if recover::is_damage(&error) => recover::recover(path),
            opened => opened,
        }
    }

    fn open_file(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::ZERO)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        // No other process writes here; a second daemon finds the lock and says so. Set before the WAL is
        // opened, so that its index is in memory: a file of it would need room on the disk, and a start
        // on a full disk writes nothing else.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // The daemon can write to its own directories only, not to /tmp.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
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

    /// Ends with the database in its one file, with nothing beside it.
    fn into_one_file(self) -> Result<()> {
        let busy: bool =
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        ensure!(!busy, "the database is in use");
        self.connection
            .close()
            .map_err(|(_, error)| anyhow::Error::from(error))
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

/// What to do about a database that can't be opened.
fn next_step(error: &anyhow::Error) -> &'static str {
    let code = recover::code_of(error);
    if code == Some(ErrorCode::DatabaseBusy) || code == Some(ErrorCode::DatabaseLocked) {
        return "another daemon uses it: stop that one first, or give this one another [state] \
                directory";
    }
    if code == Some(ErrorCode::DiskFull) {
        return "make room on its file system and start again";
    }
    let of_the_host = matches!(
        code,
        Some(
            ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
        )
    );
    if of_the_host || error.chain().any(|cause| cause.is::<std::io::Error>()) {
        return "the file itself may be well: look at its file system and its rights, and start again";
    }
    "move the file away to start without it"
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
mod disk_tests;
#[cfg(test)]
mod tests;
