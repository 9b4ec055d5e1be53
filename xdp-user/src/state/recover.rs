//! A database that is damaged: what can be read of it goes into a new one, which takes its place once it
//! is whole, and the damaged one is kept under another name.
//!
//! Only a content that is wrong counts as damage. A disk that is full, or that doesn't read, says nothing
//! about the database: then nothing is changed, and the next start tries again. The steps are such that
//! a process that ends between any two of them loses nothing:
//!
//! 1. `state.sqlite.recovering` is filled from the damaged database, which stays where it is;
//! 2. its new name, `state.sqlite.recovered-TIME`, says that it is whole;
//! 3. the damaged database gets the name `state.sqlite.damaged-TIME`, and what SQLite keeps beside it goes
//!    with it; then the new one takes its place. The next start does what is left of this.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params_from_iter};

use super::{EntryChange, State, decode_ban, decode_entry, decode_limit};

/// The end of the name of a new database that is not whole yet.
const UNFINISHED: &str = ".recovering";
/// The same of one that is whole, before the time.
const WHOLE: &str = ".recovered-";
/// The same of a damaged one.
const DAMAGED: &str = ".damaged-";
/// What SQLite keeps beside a database.
const BESIDE: [&str; 2] = ["-wal", "-shm"];
/// Bytes that are read at once.
const CHUNK: usize = 1 << 16;

/// What became of a damaged database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where it is kept.
    pub kept: PathBuf,
    /// Entries, bans and limits that could be read.
    pub rows: usize,
    /// Whether some could not.
    pub partly: bool,
}

/// Whether SQLite says that the file isn't what it should be.
pub(super) fn is_damage(error: &anyhow::Error) -> bool {
    matches!(
        code_of(error),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// What SQLite says, if it is SQLite that does.
pub(super) fn code_of(error: &anyhow::Error) -> Option<ErrorCode> {
    let mut causes = error.chain();
    causes
        .find_map(|cause| cause.downcast_ref::<rusqlite::Error>())
        .and_then(rusqlite::Error::sqlite_error_code)
}

/// Reads every byte of a database. SQLite's own check calls a page that the disk doesn't give damaged,
/// too.
pub(super) fn read_whole(path: &Path) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    for file in [path.to_owned(), with_end(path, "-wal")] {
        let failed = || format!("could not read all of {}", file.display());
        let opened = match File::open(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.with_context(failed)?,
        };
        let mut at = 0;
        loop {
            let read = opened.read_at(&mut buffer, at).with_context(failed)?;
            if read == 0 {
                break;
            }
            at += u64::try_from(read)?;
        }
    }
    Ok(())
}

/// Fills a new database with what can be read of a damaged one, and puts it in its place.
///
/// # Errors
/// When there is no room for it, or the disk refuses otherwise. Then nothing has changed.
pub(super) fn recover(path: &Path) -> Result<State> {
    let unfinished = with_end(path, UNFINISHED);
    remove_database(&unfinished)?;
    let salvaged = salvage_into(&unfinished, path);
    let (rows, partly) = match salvaged {
        Ok(salvaged) => salvaged,
        Err(error) => {
            if let Err(left) = remove_database(&unfinished) {
                tracing::warn!("{left:#}");
            }
            return Err(error.context(
                "the database is damaged, and what can be read of it could not be written to a new \
                 one: nothing was changed",
            ));
        }
    };
    let time = Timestamp::now().as_second();
    fs::rename(&unfinished, with_end(path, &format!("{WHOLE}{time}")))
        .context("could not rename the new database")?;
    finish(path)?;
    let mut state = State::open_file(path)?;
    let kept = with_end(path, &format!("{DAMAGED}{time}"));
    let recovered = Recovered { kept, rows, partly };
    tracing::error!(
        "the state on disk was damaged: {rows} entries, bans and limits could be read{}; the damaged \
         file is {}",
        if partly { ", others could not" } else { "" },
        recovered.kept.display()
    );
    state.recovered = Some(recovered);
    Ok(state)
}

/// Puts new databases that are whole in the place of the damaged ones that they were filled from, where an
/// earlier start did not come to the end of it.
pub(super) fn finish(path: &Path) -> Result<()> {
    let directory = path.parent().context("the state has no directory")?;
    let Some(begin) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(());
    };
    let begin = format!("{begin}{WHOLE}");
    for entry in fs::read_dir(directory)? {
        let whole = entry?.path();
        let name = whole.file_name().and_then(|name| name.to_str());
        let Some(time) = name.and_then(|name| name.strip_prefix(&begin)) else {
            continue;
        };
        let failed = || format!("could not put {} in its place", whole.display());
        let damaged = with_end(path, &format!("{DAMAGED}{time}"));
        // What SQLite keeps beside a database goes first: it must never meet the new one.
        for end in BESIDE.into_iter().chain([""]) {
            let (from, to) = (with_end(path, end), with_end(&damaged, end));
            if from.exists() {
                fs::rename(from, to).with_context(failed)?;
            }
        }
        fs::rename(&whole, path).with_context(failed)?;
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .with_context(failed)?;
    }
    Ok(())
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn remove_database(path: &Path) -> Result<()> {
    for end in BESIDE.into_iter().chain([""]) {
        let file = with_end(path, end);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context(format!("could not remove {}", file.display()));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Makes a new database of one file from a damaged one.
fn salvage_into(new: &Path, damaged: &Path) -> Result<(usize, bool)> {
    let mut state = State::open_file(new)?;
    let salvaged = salvage(damaged, &mut state)?;
    state.into_one_file()?;
    for end in BESIDE {
        let left = fs::metadata(with_end(new, end)).is_ok_and(|left| left.len() > 0);
        ensure!(!left, "the new database isn't in one file");
    }
    Ok(salvaged)
}

/// Reads what there is, from both ends of each table: damage in the middle costs what lies there.
fn salvage(damaged: &Path, state: &mut State) -> Result<(usize, bool)> {
    let old = Connection::open_with_flags(damaged, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // It is kept as it is.
    old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // In memory in the place of a file beside it.
    old.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    let (entries, first) = rows(&old, "entries", "kind, prefix, list", decode_entry)?;
    let (bans, second) = rows(&old, "bans", "source", decode_ban)?;
    let (limits, third) = rows(&old, "limits", "scope", decode_limit)?;
    let count = entries.len() + bans.len() + limits.len();
    let changes: Vec<EntryChange> = entries.into_iter().map(EntryChange::Put).collect();
    state.change_entries(&changes)?;
    state.put_bans(&bans)?;
    for (prefix, fields) in &limits {
        state.set_limits(prefix.as_ref(), Some(fields))?;
    }
    let fourth = copy(&old, "tokens", "id", state)?;
    let fifth = copy(&old, "audit", "number", state)?;
    Ok((count, first || second || third || fourth || fifth))
}

/// Copies the rows of a table as they are, and says whether some can't be read.
fn copy(old: &Connection, table: &str, key: &str, state: &mut State) -> Result<bool> {
    let values = |row: &Row<'_>| -> Result<Option<Vec<Value>>> {
        let columns = row.as_ref().column_count();
        let values = (0..columns).map(|column| row.get(column));
        Ok(Some(values.collect::<rusqlite::Result<_>>()?))
    };
    let (rows, partly) = rows(old, table, key, values)?;
    let transaction = state.connection.transaction()?;
    let places = vec!["?"; rows.first().map_or(0, Vec::len)].join(", ");
    let put = format!("INSERT OR REPLACE INTO {table} VALUES ({places})");
    for row in &rows {
        transaction.execute(&put, params_from_iter(row))?;
    }
    transaction.commit()?;
    Ok(partly)
}

/// The rows of a table, and whether some can't be read. A row that is read from both ends is written
/// twice, which changes nothing.
///
/// # Errors
/// When it is not for the content that a row can't be read.
fn rows<T>(
    old: &Connection,
    table: &str,
    key: &str,
    decode: impl Fn(&Row<'_>) -> Result<Option<T>>,
) -> Result<(Vec<T>, bool)> {
    let mut found = Vec::new();
    let (mut complete, mut undecoded) = (false, false);
    for order in ["ASC", "DESC"] {
        let ordered: Vec<String> = key
            .split(", ")
            .map(|one| format!("{one} {order}"))
            .collect();
        let query = format!("SELECT * FROM {table} ORDER BY {}", ordered.join(", "));
        let Some(mut statement) = content(old.prepare(&query))? else {
            continue;
        };
        let Some(mut rows) = content(statement.query([]))? else {
            continue;
        };
        complete = loop {
            match content(rows.next())? {
                Some(Some(row)) => {
                    let decoded = decode(row).ok().flatten();
                    undecoded |= decoded.is_none();
                    found.extend(decoded);
                }
                Some(None) => break true,
                None => break false,
            }
        };
        if complete {
            break;
        }
    }
    Ok((found, !complete || undecoded))
}

/// What was read; nothing where the content is damaged, and an error where the host is to blame.
fn content<T>(read: rusqlite::Result<T>) -> Result<Option<T>> {
    let error = match read {
        Ok(read) => return Ok(Some(read)),
        Err(error) => error,
    };
    match error.sqlite_error_code() {
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::OutOfMemory
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OperationInterrupted,
        ) => Err(error.into()),
        Some(_) | None => Ok(None),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::super::{EntryRow, FILE};
    use super::*;
    use crate::api::types::{ListKind, Role};
    use crate::tokens::Token;

    /// Entries of a database that is [`filled`].
    pub(in crate::state) const ROWS: usize = 20_000;

    pub(in crate::state) fn filled(directory: &Path) {
        let mut state = State::open(directory).unwrap();
        let row = |n: u32| {
            EntryChange::Put(EntryRow {
                kind: ListKind::Block,
                prefix: format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)
                    .parse()
                    .unwrap(),
                list: "manual".parse().unwrap(),
                expires: None,
                comment: Some("a comment that takes some room on its page".into()),
                added: Timestamp::UNIX_EPOCH,
            })
        };
        state
            .change_entries(&(0..ROWS as u32).map(row).collect::<Vec<_>>())
            .unwrap();
    }

    fn overwrite(directory: &Path, at: u64, bytes: &[u8]) {
        let mut file = std::fs::File::options()
            .write(true)
            .open(directory.join(FILE))
            .unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    }

    /// In the middle, two pages.
    pub(in crate::state) fn damage(directory: &Path) {
        let size = fs::metadata(directory.join(FILE)).unwrap().len();
        overwrite(directory, size / 2 / 4096 * 4096, &[0xa5; 8192]);
    }

    fn kept(directory: &Path) -> usize {
        let names = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().contains("damaged"))
            .count()
    }

    #[test]
    fn what_lies_on_whole_pages_is_read_and_the_damaged_file_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path());
        let (token, _) = Token::new("ci".parse().unwrap(), Role::Operator, None).unwrap();
        State::open(directory.path())
            .unwrap()
            .add_token(&token)
            .unwrap();
        damage(directory.path());
        let state = State::open(directory.path()).unwrap();
        let recovered = state.recovered().unwrap().clone();
        assert!(recovered.partly && recovered.kept.exists(), "{recovered:?}");
        let (entries, _) = state.entries().unwrap();
        assert!(
            (10_000..20_000).contains(&entries.len()),
            "{}",
            entries.len()
        );
        assert!(state.is_sound().unwrap());
        assert_eq!(state.tokens().unwrap().len(), 1);
        drop(state);
        // Once: the new one is sound.
        let again = State::open(directory.path()).unwrap();
        assert_eq!(again.recovered(), None);
        assert_eq!(again.entries().unwrap().0.len(), entries.len());
        assert!(kept(directory.path()) >= 1);
    }

    #[test]
    fn what_is_no_database_at_all_is_kept_too() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), vec![b'x'; 5000]).unwrap();
        let state = State::open(directory.path()).unwrap();
        assert!(
            state
                .recovered()
                .is_some_and(|it| it.rows == 0 && it.partly)
        );
        assert!(state.entries().unwrap().0.is_empty());
        assert_eq!(kept(directory.path()), 1);
    }
}
