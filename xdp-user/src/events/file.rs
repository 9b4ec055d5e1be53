//! The events file: one JSON object a line, and older files with a number at their end.
//!
//! A thread of its own writes it, so that nothing waits for the disk. What comes while it is
//! [`BACKLOG`] behind, and what can't be written, is lost and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
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
            let (mut written, mut count) = (Ok(()), 0);
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

/// A file that is renamed before it becomes too large.
struct Rotating {
    path: PathBuf,
    file: BufWriter<File>,
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
            file: BufWriter::new(file),
            most,
            keep,
        })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let size = line.len() as u64;
        if self.size > 0 && self.size + size > self.most {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.size += size;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        for number in (1..self.keep).rev() {
            rename(&self.numbered(number), &self.numbered(number + 1))?;
        }
        rename(&self.path, &self.numbered(1))?;
        self.file = BufWriter::new(open(&self.path)?);
        self.size = 0;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }
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
mod tests {
    use super::*;
    use crate::api::types::{BanEnded, Happening, UnbanCause};
    use tempfile::TempDir;

    fn outlets(mask_addresses: bool) -> Outlets {
        Outlets {
            file: None,
            file_size: "64KiB".parse().unwrap(),
            file_count: 2,
            mask_addresses,
        }
    }

    fn event(number: u64) -> Arc<Event> {
        Arc::new(Event {
            number,
            at: jiff::Timestamp::UNIX_EPOCH,
            what: Happening::Unban(BanEnded {
                source: "203.0.113.9".parse().unwrap(),
                cause: UnbanCause::Ended,
            }),
        })
    }

    fn write(path: &Path, outlets: &Outlets, numbers: impl Iterator<Item = u64>) {
        let file = EventsFile::open(path, outlets).unwrap();
        numbers.for_each(|number| file.write(&event(number)));
        file.close();
        assert_eq!(file.lost(), 0);
    }

    fn read(path: &Path) -> Vec<Event> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn events_are_appended_one_a_line() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("events.jsonl");
        write(&path, &outlets(false), 1..4);
        write(&path, &outlets(false), 4..6);
        let numbers: Vec<u64> = read(&path).iter().map(|event| event.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
        assert_eq!(read(&path)[0], *event(1));
    }

    #[test]
    fn a_file_that_is_full_gets_a_number_and_the_oldest_goes() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("events.jsonl");
        for first in (1..4000).step_by(1000) {
            write(&path, &outlets(false), first..first + 1000);
        }
        let mut names: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]);
        let mut numbers = Vec::new();
        for name in names.iter().rev() {
            let file = directory.path().join(name);
            assert!(std::fs::metadata(&file).unwrap().len() <= 64 * 1024);
            numbers.extend(read(&file).iter().map(|event| event.number));
        }
        let first = numbers[0];
        assert!(first > 1, "the oldest are gone");
        assert!(numbers.iter().copied().eq(first..=4000), "and no other");
    }

    #[test]
    fn addresses_are_masked_where_that_is_wished() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("events.jsonl");
        write(&path, &outlets(true), 1..2);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("203.0.113.0/24") && !text.contains("203.0.113.9"),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_cannot_be_is_refused_at_the_start_and_one_that_fills_up_is_counted() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("none").join("events.jsonl");
        let refused = EventsFile::open(&path, &outlets(false)).err().unwrap();
        assert!(
            refused.to_string().contains("make its directory"),
            "{refused}"
        );
        let full = EventsFile::open(Path::new("/dev/full"), &outlets(false)).unwrap();
        full.write(&event(1));
        full.close();
        assert_eq!(full.lost(), 1);
        full.write(&event(2));
        assert_eq!(full.lost(), 2, "nobody writes any more");
    }
}
