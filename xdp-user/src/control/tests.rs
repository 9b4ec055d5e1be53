//! The controller over the datapath in memory.

mod bans;
mod classes;
mod events;
mod explain;
mod flow_memory;
mod frames;
mod imports;
mod kernel;
mod limits;
mod lists;
mod reload;
mod restart;
mod status;
mod trouble;
mod watch;

use std::cell::Cell;
use std::path::Path;

use rusqlite::Connection;
use tempfile::TempDir;
use xdp_common::abi::Policy;
use xdp_common::reason::Action;
use xdp_common::verdict::{Tables, Verdict};

use super::*;
use crate::api::types::{
    AddEntries, Apply, ApplyReport, ChangeReport, EntryQuery, EntryView, ListStatus,
};
use crate::datapath::Capacity;
use crate::domain::{ListName, Span};
use frames::Frame;
use kernel::TestKernel;

/// A controller with what it stands on: a state directory and a kernel's stand-in.
struct World {
    control: Control,
    kernel: TestKernel,
    directory: TempDir,
    /// When the next packet comes in: a microsecond apart, however slow the machine is.
    packet_ns: Cell<u64>,
}

fn config(text: &str) -> Config {
    match Config::parse(text, "test.toml") {
        Ok(loaded) => loaded.config,
        Err(error) => panic!("{error}"),
    }
}

fn capacity(config: &Config) -> Capacity {
    Capacity {
        allow: config.capacity.allow,
        block: config.capacity.block,
        overrides: config.capacity.overrides,
        sources: config.capacity.sources,
        bans: config.capacity.bans,
        flows: config.capacity.flows,
    }
}

fn start(text: &str, directory: &Path, overrides: Overrides) -> Result<(Control, TestKernel)> {
    let kernel = TestKernel::new(capacity(&config(text)));
    start_over(kernel, text, directory, overrides)
}

fn start_over(
    kernel: TestKernel,
    text: &str,
    directory: &Path,
    overrides: Overrides,
) -> Result<(Control, TestKernel)> {
    let config = config(text);
    let state = State::open(directory)?;
    let path = directory.join("config.toml").display().to_string();
    let datapath = Box::new(kernel.clone());
    let control = Control::start(
        datapath,
        state,
        overrides.over(config),
        overrides,
        path,
        |_| crate::control::Seen::default(),
    )?;
    Ok((control, kernel))
}

impl World {
    fn new(text: &str) -> Self {
        Self::in_directory(text, tempfile::tempdir().unwrap())
    }

    fn in_directory(text: &str, directory: TempDir) -> Self {
        let (control, kernel) = start(text, directory.path(), Overrides::default()).unwrap();
        Self {
            control,
            kernel,
            directory,
            packet_ns: Cell::new(Moment::now().boot_ns),
        }
    }

    /// With a database that refuses what `triggers` say, as a full or broken disk would.
    fn with_triggers(text: &str, triggers: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        drop(State::open(directory.path()).unwrap());
        let file = directory.path().join("state.sqlite");
        Connection::open(file)
            .unwrap()
            .execute_batch(triggers)
            .unwrap();
        Self::in_directory(text, directory)
    }

    /// As after `kill -9` and with a new kernel: no clean stop, and empty tables.
    fn restarted(self, text: &str) -> Self {
        drop(self.control);
        Self::in_directory(text, self.directory)
    }

    fn add(&mut self, kind: ListKind, prefixes: &[&str]) -> ChangeReport {
        self.control.add_entries(kind, adding(prefixes)).unwrap()
    }

    fn block(&mut self, prefixes: &[&str]) -> ChangeReport {
        self.add(ListKind::Block, prefixes)
    }

    fn entries(&mut self, kind: ListKind) -> Vec<EntryView> {
        let query = EntryQuery::default();
        self.control.list_entries(kind, &query).unwrap().entries
    }

    /// Prefixes of one list, as text.
    fn list(&mut self, kind: ListKind, list: &str) -> Vec<String> {
        let in_list = |entry: &EntryView| entry.list.as_str() == list;
        let entries = self.entries(kind).into_iter();
        entries
            .filter(in_list)
            .map(|e| e.prefix.to_string())
            .collect()
    }

    fn reload(&mut self, text: &str) -> Result<ApplyReport> {
        self.control.apply(&Apply {
            path: Some("next.toml".into()),
            text: Some(text.into()),
            ..Apply::default()
        })
    }

    /// What happens to a SYN from `source`.
    fn judge(&self, source: &str) -> Verdict {
        let frame = Frame::syn(source).bytes();
        let now_ns = self.packet_ns.replace(self.packet_ns.get() + 1000);
        self.kernel.memory().judge(&frame, now_ns)
    }

    fn drops(&self, source: &str) -> bool {
        self.judge(source).action == Action::Drop
    }

    fn policy(&self) -> Policy {
        *Tables::policy(&*self.kernel.memory()).unwrap()
    }

    fn list_sizes(&mut self) -> Vec<(String, u64)> {
        let lists = self.control.status().unwrap().lists.into_iter();
        lists
            .map(|ListStatus { name, entries, .. }| (name.to_string(), entries))
            .collect()
    }
}

fn adding(prefixes: &[&str]) -> AddEntries {
    AddEntries {
        prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect(),
        list: None,
        ttl: None,
        comment: None,
        force: false,
    }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn list_name(text: &str) -> Option<ListName> {
    Some(text.parse().unwrap())
}

fn ttl(text: &str) -> Option<Span> {
    Some(text.parse().unwrap())
}

/// The error with its causes.
fn words<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => format!("{error:#}"),
    }
}
