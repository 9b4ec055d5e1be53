//! The text of the last good fetch, on disk.
//!
//! `lists/NAME.list` in the state directory is the text as it came, `lists/NAME.json` what is known of
//! it. Both are replaced by renaming, mode 0600; a text whose checksum isn't the noted one is not
//! used, so a crash between the two costs a fetch and nothing else.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{FeedCause, FeedError};
use crate::config::KeptList;
use crate::domain::ListName;

const MAX_META: u64 = 64 << 10;

/// What is known of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The section's source.
    pub source: String,
    /// For the next conditional request.
    pub etag: Option<String>,
    /// As `etag`.
    pub last_modified: Option<String>,
    /// Of the text as it came, lower-case hex.
    pub sha256: String,
    /// When the text came.
    pub fetched: Timestamp,
}

/// A text on disk. A fresh one is removed with this value unless it becomes the copy.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    fresh: bool,
}

impl Part {
    /// An empty one, of its own whatever else is fetched for the same list.
    pub(super) fn create(directory: &Path, name: &ListName) -> Result<(Self, File), FeedError> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let directory = folder(directory);
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory);
        made.map_err(|error| on_disk("make", &directory, &error))?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // A list's name starts with a letter or digit: no text is ever taken for another list's.
        let path = directory.join(format!(".{name}.{number}.part"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options
            .open(&path)
            .map_err(|error| on_disk("write", &path, &error))?;
        Ok((Self { path, fresh: true }, file))
    }

    /// Its bytes from the start.
    pub(super) fn reader(&self) -> Result<File, FeedError> {
        File::open(&self.path).map_err(|error| on_disk("read", &self.path, &error))
    }

    /// Makes it the copy.
    pub fn keep(&self, directory: &Path, name: &ListName, meta: &Meta) -> Result<(), FeedError> {
        let (text, about) = paths(directory, name);
        let sync = File::open(&self.path).and_then(|file| file.sync_all());
        sync.map_err(|error| on_disk("write", &self.path, &error))?;
        std::fs::rename(&self.path, &text).map_err(|error| on_disk("write", &text, &error))?;
        write_meta(&about, meta)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.fresh
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!("{} stays: {error}", self.path.display());
        }
    }
}

fn write_meta(path: &Path, meta: &Meta) -> Result<(), FeedError> {
    let fresh = path.with_extension("json-part");
    let written = serde_json::to_vec_pretty(meta)
        .map_err(std::io::Error::other)
        .and_then(|json| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&fresh)?;
            file.write_all(&json)?;
            file.sync_all()?;
            std::fs::rename(&fresh, path)
        });
    written.map_err(|error| on_disk("write", path, &error))
}

/// The copy of a list, if there is one that came whole from the section's source.
pub(super) fn open(directory: &Path, list: &KeptList) -> Result<Option<(Part, Meta)>, FeedError> {
    let (path, about) = paths(directory, &list.name);
    let Ok(file) = File::open(&about) else {
        return Ok(None);
    };
    let mut json = Vec::new();
    let read = file.take(MAX_META).read_to_end(&mut json);
    read.map_err(|error| on_disk("read", &about, &error))?;
    let meta: Option<Meta> = serde_json::from_slice(&json).ok();
    let Some(meta) = meta.filter(|meta| meta.source == list.source.to_string()) else {
        return Ok(None);
    };
    let part = Part { path, fresh: false };
    let mut hash = Sha256::new();
    let mut file = part.reader()?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hash.update(buffer.get(..read).unwrap_or_default()),
            Err(error) => return Err(on_disk("read", &part.path, &error)),
        }
    }
    if hex::encode(hash.finalize()) != meta.sha256 {
        return Ok(None);
    }
    Ok(Some((part, meta)))
}

/// Removes what is no copy of a configured list: of lists that went, and texts that a daemon left
/// when it ended in the middle of a fetch.
pub fn sweep(directory: &Path, known: &[&ListName]) {
    let Ok(files) = std::fs::read_dir(folder(directory)) else {
        return;
    };
    let kept: Vec<PathBuf> = known
        .iter()
        .flat_map(|name| <[PathBuf; 2]>::from(paths(directory, name)))
        .collect();
    for file in files.flatten() {
        let path = file.path();
        if !kept.contains(&path)
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!("could not remove {}: {error}", path.display());
        }
    }
}

/// Removes the copy of a list that is no longer configured.
pub fn remove(directory: &Path, name: &ListName) {
    let (text, about) = paths(directory, name);
    for path in [about, text] {
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("could not remove {}: {error}", path.display()),
        }
    }
}

fn folder(directory: &Path) -> PathBuf {
    directory.join("lists")
}

fn paths(directory: &Path, name: &ListName) -> (PathBuf, PathBuf) {
    let folder = folder(directory);
    (
        folder.join(format!("{name}.list")),
        folder.join(format!("{name}.json")),
    )
}

pub(super) fn on_disk(verb: &str, path: &Path, error: &std::io::Error) -> FeedError {
    let text = format!("could not {verb} {}: {error}", path.display());
    FeedError::new(FeedCause::NotApplied, text)
}
