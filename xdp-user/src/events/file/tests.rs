//! The events file, and what others do to it.

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

fn numbers(path: &Path) -> Vec<u64> {
    read(path).iter().map(|event| event.number).collect()
}

/// Writes some events and waits until they are in the file that has the name.
fn write_on(file: &EventsFile, path: &Path, numbers: std::ops::Range<u64>) {
    let last = numbers.end - 1;
    numbers.for_each(|number| file.write(&event(number)));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let there = || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.contains(&format!("\"number\":{last},")) && text.ends_with('\n')
    };
    while !there() {
        assert!(std::time::Instant::now() < deadline, "{last} isn't written");
        std::thread::yield_now();
    }
}

#[test]
fn a_file_that_somebody_renamed_or_removed_is_opened_anew() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("events.jsonl");
    let old = directory.path().join("events.jsonl-20261130");
    let file = EventsFile::open(&path, &outlets(false)).unwrap();
    write_on(&file, &path, 0..10);
    std::fs::rename(&path, &old).unwrap();
    write_on(&file, &path, 10..20);
    assert_eq!(numbers(&old), (0..10).collect::<Vec<_>>());
    assert_eq!(numbers(&path), (10..20).collect::<Vec<_>>());
    std::fs::remove_file(&path).unwrap();
    write_on(&file, &path, 20..30);
    // `create` of logrotate: there is another one already.
    std::fs::rename(&path, &old).unwrap();
    std::fs::write(&path, "").unwrap();
    write_on(&file, &path, 30..40);
    file.close();
    assert_eq!(numbers(&old), (20..30).collect::<Vec<_>>());
    assert_eq!(numbers(&path), (30..40).collect::<Vec<_>>());
    assert_eq!(file.lost(), 0);
}

#[test]
fn a_file_that_somebody_truncated_goes_on_at_its_beginning() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("events.jsonl");
    let file = EventsFile::open(&path, &outlets(false)).unwrap();
    // Most of what it may hold.
    write_on(&file, &path, 0..400);
    let copy = std::fs::read(&path).unwrap();
    assert!(copy.len() > 32 << 10, "{}", copy.len());
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    write_on(&file, &path, 400..800);
    file.close();
    assert_eq!(numbers(&path), (400..800).collect::<Vec<_>>());
    let rotated = directory.path().join("events.jsonl.1");
    assert!(!rotated.exists(), "what was truncated counts no longer");
}

#[test]
fn nothing_is_lost_or_doubled_while_the_file_is_renamed_again_and_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("events.jsonl");
    let many = Outlets {
        file_size: "100MiB".parse().unwrap(),
        ..outlets(false)
    };
    let file = EventsFile::open(&path, &many).unwrap();
    let mut names = Vec::new();
    for round in 0..50_u64 {
        (round * 40..round * 40 + 40).for_each(|number| file.write(&event(number)));
        let name = directory.path().join(format!("old.{round}"));
        if std::fs::rename(&path, &name).is_ok() {
            names.push(name);
        }
    }
    file.close();
    names.push(path);
    let mut found: Vec<u64> = names
        .iter()
        .filter(|name| name.exists())
        .flat_map(|name| numbers(name))
        .collect();
    found.sort_unstable();
    assert_eq!(found, (0..2000).collect::<Vec<_>>());
    assert_eq!(file.lost(), 0);
}

#[test]
fn a_directory_that_takes_no_new_file_costs_no_event_while_the_old_one_has_a_name() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("events.jsonl");
    let old = directory.path().join("old");
    let file = EventsFile::open(&path, &outlets(false)).unwrap();
    write_on(&file, &path, 0..10);
    std::fs::rename(&path, &old).unwrap();
    // A directory of that name can't be opened for writing, by root neither.
    std::fs::create_dir(&path).unwrap();
    write_on(&file, &old, 10..20);
    std::fs::remove_dir(&path).unwrap();
    write_on(&file, &path, 20..30);
    file.close();
    assert_eq!(numbers(&old), (0..20).collect::<Vec<_>>());
    assert_eq!(file.lost(), 0);
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
