//! The events file: one JSON object a line, and older files with a number at their end.
//!
//! A thread of its own writes it, so that nothing waits for the disk. What comes while it is
//! [`BACKLOG`] behind, and what can't be written, is lost and counted.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use super::mask;
use crate::api::types::Event;
use crate::config::Outlets;

/// Events on their way to the disk.
const BACKLOG: usize = 4096;
/// Addresses are in it: for its owner, and a group that the directory's owner chose.
const MODE: u32 = 0o640;

/// The thread, and the way to it.
type Thread = (SyncSender<Arc<Event>>, JoinHandle<()>);

/// Gives events to the thread that writes them.
pub(super) struct EventsFile {
    thread: Mutex<Option<Thread>>,
    lost: Arc<AtomicU64>,
}

impl EventsFile {
    /// Opens the file and starts the thread.
    pub(super) fn open(path: &Path, outlets: &Outlets) -> Result<Self> {
        let rotating = Rotating::open(path, outlets.file_size.bytes(), outlets.file_count)
            .with_context(|| {
                format!(
                    "could not open events.file {}: make its directory, or name another file",
                    path.display()
                )
            })?;
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            file: rotating,
            masked: outlets.mask_addresses,
            lost: lost.clone(),
            complained: false,
        };
        let (sender, receiver) = sync_channel(BACKLOG);
        let thread = std::thread::Builder::new()
            .name("events-file".into())
            .spawn(move || writer.run(&receiver))
            .context("could not start the thread that writes events.file")?;
        Ok(Self {
            thread: Mutex::new(Some((sender, thread))),
            lost,
        })
    }

    /// Has an event written, or counts it as lost.
    pub(super) fn write(&self, event: &Arc<Event>) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = thread
            .as_ref()
            .is_some_and(|(sender, _)| sender.try_send(event.clone()).is_ok());
        if !sent {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything so far is written; what comes later is lost.
    pub(super) fn close(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((sender, thread)) = thread.take() {
            drop(sender);
            if thread.join().is_err() {
                tracing::error!("the thread that writes events.file ended early");
            }
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

struct Writer {
    file: Rotating,
    masked: bool,
    lost: Arc<AtomicU64>,
    complained: bool,
}

impl Writer {
    fn run(mut self, events: &Receiver<Arc<Event>>) {
        while let Ok(first) = events.recv() {
            let batch = std::iter::once(first).chain(events.try_iter().take(BACKLOG));
            let (mut written, mut count) = (self.file.begin(), 0);
            for event in batch {
                count += 1;
                written = written.and_then(|()| self.append(&event));
            }
            match written.and_then(|()| self.file.flush()) {
                Ok(()) => self.complained = false,
                Err(error) => {
                    // Some of them may be there; better too many counted than too few.
                    self.lost.fetch_add(count, Ordering::Relaxed);
                    if !std::mem::replace(&mut self.complained, true) {
                        tracing::error!("events.file could not be written: {error}");
                    }
                }
            }
        }
    }

    fn append(&mut self, event: &Event) -> io::Result<()> {
        let mut line = if self.masked {
            serde_json::to_vec(&mask::event(event))?
        } else {
            serde_json::to_vec(event)?
        };
        line.push(b'\n');
        self.file.append(&line)
    }
}

/// A file that is renamed before it becomes too large, by this daemon or by somebody else, such as
/// logrotate.
///
/// Before each batch the file that has the path is compared with the one that is open, which costs one
/// stat(2) for a batch and not for an event. After a rename or a removal a new one is opened; after a
/// truncation (`copytruncate`) the next line stands at its beginning, as the file is open for
/// appending, and its size is counted anew.
struct Rotating {
    path: PathBuf,
    file: File,
    /// Lines of this batch that are not in the file yet.
    pending: Vec<u8>,
    /// Bytes in the file, without the pending ones.
    size: u64,
    most: u64,
    keep: u32,
}

impl Rotating {
    fn open(path: &Path, most: u64, keep: u32) -> io::Result<Self> {
        let file = open(path)?;
        Ok(Self {
            path: path.to_owned(),
            size: file.metadata()?.len(),
            file,
            pending: Vec::new(),
            most,
            keep,
        })
    }

    /// Finds out what others did to the file since the last batch. What can't be opened anew is no
    /// loss as long as the old file has a name.
    fn begin(&mut self) -> io::Result<()> {
        // What a failed batch left is counted as lost already.
        self.pending.clear();
        let ours = self.file.metadata()?;
        self.size = ours.len();
        match std::fs::metadata(&self.path) {
            Ok(named) if is_same(&named, &ours) => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound && ours.nlink() > 0 => Ok(()),
            Ok(_) | Err(_) => match self.open_again() {
                Err(_) if ours.nlink() > 0 => Ok(()),
                opened => opened,
            },
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let size = self.size + self.pending.len() as u64;
        if size > 0 && size + line.len() as u64 > self.most {
            self.rotate()?;
        }
        self.pending.extend_from_slice(line);
        Ok(())
    }

    /// Writes what is pending. If the file was removed meanwhile, so was what was just written to it:
    /// it is written once more, to a file that has a name.
    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.pending)?;
        if !self.pending.is_empty() && self.file.metadata()?.nlink() == 0 {
            self.open_again()?;
            self.file.write_all(&self.pending)?;
        }
        self.size += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn open_again(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.flush()?;
        for number in (1..self.keep).rev() {
            rename(&self.numbered(number), &self.numbered(number + 1))?;
        }
        rename(&self.path, &self.numbered(1))?;
        self.open_again()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(MODE).open(path)
}

/// A file that isn't there needs no other name.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
