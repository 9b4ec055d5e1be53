//! A database that is damaged: it is kept under another name, and what can be read of it goes into a
//! new one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Row};

use super::{EntryChange, State, decode_ban, decode_entry, decode_limit};

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
    let code = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<rusqlite::Error>())
        .and_then(rusqlite::Error::sqlite_error_code);
    matches!(
        code,
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
    )
}

/// Moves a damaged database away, with what SQLite keeps beside it, and begins a new one with what can
/// be read.
pub(super) fn recover(path: &Path) -> Result<State> {
    let kept = set_aside(path)?;
    let mut state = State::open_file(path)?;
    let (rows, partly) = salvage(&kept, &mut state).unwrap_or((0, true));
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

fn set_aside(path: &Path) -> Result<PathBuf> {
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let damaged = format!(".damaged-{}", Timestamp::now().as_second());
    let kept = named(&damaged);
    std::fs::rename(path, &kept)
        .with_context(|| format!("could not set {} aside", path.display()))?;
    for beside in ["-wal", "-shm"] {
        let file = named(beside);
        if file.exists() {
            std::fs::rename(&file, named(&format!("{damaged}{beside}")))?;
        }
    }
    Ok(kept)
}

/// Reads what there is, from both ends of each table: damage in the middle costs what lies there.
fn salvage(kept: &Path, state: &mut State) -> Result<(usize, bool)> {
    let old = Connection::open_with_flags(kept, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let (entries, first) = rows(&old, "entries", "kind, prefix, list", decode_entry);
    let (bans, second) = rows(&old, "bans", "source", decode_ban);
    let (limits, third) = rows(&old, "limits", "scope", decode_limit);
    let count = entries.len() + bans.len() + limits.len();
    let changes: Vec<EntryChange> = entries.into_iter().map(EntryChange::Put).collect();
    state.change_entries(&changes)?;
    state.put_bans(&bans)?;
    for (prefix, fields) in &limits {
        state.set_limits(prefix.as_ref(), Some(fields))?;
    }
    Ok((count, first || second || third))
}

/// The rows of a table, and whether some can't be read. A row that is read from both ends is written
/// twice, which changes nothing.
fn rows<T>(
    old: &Connection,
    table: &str,
    key: &str,
    decode: impl Fn(&Row<'_>) -> Result<Option<T>>,
) -> (Vec<T>, bool) {
    let mut found = Vec::new();
    let mut complete = false;
    for order in ["ASC", "DESC"] {
        let ordered: Vec<String> = key
            .split(", ")
            .map(|one| format!("{one} {order}"))
            .collect();
        let query = format!("SELECT * FROM {table} ORDER BY {}", ordered.join(", "));
        let Ok(mut statement) = old.prepare(&query) else {
            continue;
        };
        let Ok(mut rows) = statement.query([]) else {
            continue;
        };
        loop {
            match rows.next() {
                Ok(Some(row)) => found.extend(decode(row).ok().flatten()),
                Ok(None) => {
                    complete = true;
                    break;
                }
                Err(_) => break,
            }
        }
        if complete {
            break;
        }
    }
    (found, !complete)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::super::{EntryRow, FILE};
    use super::*;
    use crate::api::types::ListKind;

    fn filled(directory: &Path, count: u32) {
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
            .change_entries(&(0..count).map(row).collect::<Vec<_>>())
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
        filled(directory.path(), 20_000);
        let size = std::fs::metadata(directory.path().join(FILE))
            .unwrap()
            .len();
        overwrite(directory.path(), size / 2 / 4096 * 4096, &[0xa5; 8192]);
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
