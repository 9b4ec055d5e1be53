//! A disk that is full, that doesn't read, or that stops somewhere while a damaged database is mended:
//! nothing is lost. System calls on a thread of the test's own are refused, as the disk would.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::recover::tests::{ROWS, damage, filled};
use super::*;

/// Refuses a system call whose argument of this number is at least a value.
struct Refusal {
    call: i64,
    argument: u8,
    from: u64,
    error: i32,
}

/// Reads at an offset or behind it fail.
fn unreadable(from: u64) -> Refusal {
    Refusal {
        call: libc::SYS_pread64,
        argument: 3,
        from,
        error: libc::EIO,
    }
}

/// There is no room for what is written at an offset or behind it.
fn full(from: u64) -> Refusal {
    Refusal {
        call: libc::SYS_pwrite64,
        error: libc::ENOSPC,
        ..unreadable(from)
    }
}

/// What is written can't be made durable.
fn unsynced(call: i64) -> Refusal {
    Refusal {
        call,
        argument: 0,
        from: 0,
        error: libc::EIO,
    }
}

fn opened_under(refusal: &Refusal, directory: &Path) -> Result<usize> {
    let at_least = SeccompCondition::new(
        refusal.argument,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::Ge,
        refusal.from,
    );
    let rule = SeccompRule::new(vec![at_least.unwrap()]).unwrap();
    let filter = SeccompFilter::new(
        BTreeMap::from([(refusal.call, vec![rule])]),
        SeccompAction::Allow,
        SeccompAction::Errno(refusal.error.cast_unsigned()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    let work = || {
        seccompiler::apply_filter(&program).unwrap();
        Ok(State::open(directory)?.entries()?.0.len())
    };
    // The thread takes the refusal with it.
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// Names of the files, and the database itself.
fn files(directory: &Path) -> (BTreeSet<String>, Vec<u8>) {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // What SQLite keeps beside the database comes and goes with each look.
    let names = names.filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"));
    (names.collect(), fs::read(directory.join(FILE)).unwrap())
}

#[test]
fn a_disk_that_does_not_read_is_no_damage_and_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    let before = files(directory.path());
    // From the first page on, in the middle, and the end only.
    for from in [
        0,
        4096,
        before.1.len() as u64 / 2,
        before.1.len() as u64 - 4096,
    ] {
        let refused = opened_under(&unreadable(from), directory.path());
        let text = format!("{:#}", refused.unwrap_err());
        assert!(text.contains("could not open the state in"), "{text}");
        assert!(
            text.contains("the file itself may be well"),
            "{from}: {text}"
        );
        assert_eq!(files(directory.path()), before, "{from}: {text}");
    }
    let state = State::open(directory.path()).unwrap();
    assert_eq!(state.recovered(), None);
    assert_eq!(state.entries().unwrap().0.len(), ROWS);
}

#[test]
fn a_disk_that_is_full_while_a_damaged_database_is_mended_loses_nothing_of_it() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    damage(directory.path());
    let before = files(directory.path());
    let refusals = [
        full(0),
        full(4096),
        full(50_000),
        full(before.1.len() as u64 / 2),
        unsynced(libc::SYS_fsync),
    ];
    for (number, refusal) in refusals.iter().enumerate() {
        let refused = opened_under(refusal, directory.path()).err();
        let text = refused.map_or_else(String::new, |error| format!("{error:#}"));
        assert!(text.contains("could not be written"), "{number}: {text}");
        assert!(text.contains("nothing was changed"), "{number}: {text}");
        assert_eq!(
            text.contains("make room"),
            refusal.error == libc::ENOSPC,
            "{text}"
        );
        assert_eq!(files(directory.path()), before, "{number}: {text}");
    }
    let state = State::open(directory.path()).unwrap();
    assert!(state.recovered().is_some());
    assert!(state.entries().unwrap().0.len() > ROWS / 2);
}

#[test]
fn a_sound_database_on_a_full_disk_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    assert_eq!(opened_under(&full(0), directory.path()).unwrap(), ROWS);
}

#[test]
fn what_ended_between_two_steps_is_brought_to_its_end() {
    // How far the start before came: nothing moved, the WAL moved, the database moved.
    for step in 0..3 {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        filled(directory.path());
        fs::rename(file(FILE), file("state.sqlite.recovered-17")).unwrap();
        let places = match step {
            0 => ["state.sqlite-wal", "state.sqlite"],
            1 => ["state.sqlite.damaged-17-wal", "state.sqlite"],
            _ => ["state.sqlite.damaged-17-wal", "state.sqlite.damaged-17"],
        };
        fs::write(file(places[0]), "the WAL of the damaged one").unwrap();
        fs::write(file(places[1]), "the damaged one").unwrap();
        // Of an even earlier start, which did not come that far.
        fs::write(file("state.sqlite.recovering"), "half of it").unwrap();

        let state = State::open(directory.path()).unwrap();
        assert_eq!(state.entries().unwrap().0.len(), ROWS, "step {step}");
        let kept = |name: &str| fs::read_to_string(file(name)).unwrap();
        assert_eq!(kept("state.sqlite.damaged-17"), "the damaged one");
        assert_eq!(
            kept("state.sqlite.damaged-17-wal"),
            "the WAL of the damaged one"
        );
        assert!(!file("state.sqlite.recovered-17").exists());
    }
}
