//! Files, with Landlock (landlock(7)): the daemon writes to its state, its runtime directory and its
//! pins, reads what a configuration may name, and starts no program.
//!
//! Landlock sees paths through mounts: what is allowed below a directory stays so when something is
//! mounted on a directory below it, but not for what is mounted on the directory itself. So pins are
//! allowed from `/sys/fs`, and a bpffs that is mounted anew is still theirs.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::config::{Config, ListSource};

/// How far files are restricted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// To what the daemon needs.
    Restricted,
    /// As far as this kernel can, and what it can't.
    Partly(String),
    /// Not at all, and why.
    Open(String),
}

/// The newest interface that rules are written for; [`Files::Partly`] with an older kernel.
const NEWEST: &str = "Linux 6.12 or later restricts all";
/// What the libraries and the daemon read whatever the configuration says: name service, time zones,
/// certificates, shared libraries, the kernel's figures, random numbers for SQLite.
const READ: [&str; 8] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/proc",
    "/sys",
    "/run",
    "/dev/urandom",
];
/// The files that the daemon needs, each with everything below it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Needed {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    pins: Vec<PathBuf>,
}

/// Above the bpffs, so that another one that is mounted there is theirs, too.
fn pins_below(config: &Config) -> Vec<PathBuf> {
    let Some(directory) = &config.pins.directory else {
        return Vec::new();
    };
    let is_bpffs = |path: &Path| {
        !path.exists() || statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
    };
    let above = directory.ancestors().find(|path| !is_bpffs(path));
    above.map(PathBuf::from).into_iter().collect()
}

impl Needed {
    /// `path` is the configuration's file, empty without one.
    pub(super) fn of(config: &Config, path: &str) -> Self {
        // Editors put a new file in place of the old one: its directory, not the file.
        let own = Path::new(path).parent().map(PathBuf::from);
        let mut read: Vec<PathBuf> = READ.map(PathBuf::from).to_vec();
        read.extend(own);
        read.extend(config.daemon.readable.iter().cloned());
        let tcp = config.control.tcp.iter();
        let tls = tcp.flat_map(|tcp| [&tcp.files.certificate, &tcp.files.key]);
        let tls = tls.chain(config.metrics.web_config.as_ref());
        read.extend(tls.filter_map(|path| path.parent()).map(PathBuf::from));
        for list in &config.lists {
            // A new file takes the place of the old one here, too.
            let file = match &list.source {
                ListSource::File(path) => path.parent(),
                ListSource::Url(_) => None,
            };
            let authorities = list.ca_file.as_deref().and_then(Path::parent);
            read.extend(file.into_iter().chain(authorities).map(PathBuf::from));
        }
        let mut write = vec![config.state.directory.clone()];
        write.extend(config.control.socket.parent().map(PathBuf::from));
        let events = config.events.outlets.file.as_deref();
        write.extend(events.and_then(Path::parent).map(PathBuf::from));
        Self {
            read,
            write,
            pins: pins_below(config),
        }
    }
}

/// Restricts this process as far as the kernel can; what it can't is in the answer.
///
/// # Errors
/// When a directory to write to can't be made: a rule takes one that is there.
pub(super) fn restrict(needed: &Needed) -> Result<Files> {
    for directory in &needed.write {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("could not make {}", directory.display()))?;
    }
    // A container may forbid it where the kernel doesn't.
    Ok(rules(needed).unwrap_or_else(|error| Files::Open(format!("the kernel refused: {error}"))))
}

fn rules(needed: &Needed) -> Result<Files, RulesetError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .scope(Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(&needed.read, reading()))?
        .add_rules(path_beneath_rules(&needed.write, writing()))?
        .add_rules(path_beneath_rules(&needed.pins, pinning()))?;
    let status = rules.restrict_self()?;
    Ok(outcome(&status.ruleset, status.landlock))
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

fn writing() -> BitFlags<AccessFs> {
    reading()
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSock
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

/// What makes and removes pins (kernel/bpf/inode.c). Nothing in `/sys` is opened for writing.
fn pinning() -> BitFlags<AccessFs> {
    reading()
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

fn outcome(ruleset: &RulesetStatus, landlock: LandlockStatus) -> Files {
    match (ruleset, landlock) {
        (RulesetStatus::FullyEnforced, _) => Files::Restricted,
        (RulesetStatus::PartiallyEnforced, _) => {
            Files::Partly(format!("this kernel's Landlock is an older one; {NEWEST}"))
        }
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => Files::Open(
            "Landlock is not among the kernel's security modules: add it with lsm=landlock,… on the \
             kernel's command line"
                .to_owned(),
        ),
        (
            RulesetStatus::NotEnforced,
            LandlockStatus::NotImplemented | LandlockStatus::Available { .. },
        ) => Files::Open(format!("this kernel has no Landlock; {NEWEST}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configurations_own_directories_are_among_those_needed() {
        let text = "[control]\nsocket = \"/run/x/c.sock\"\n[state]\ndirectory = \"/srv/s\"\n\
                    [daemon]\nreadable = [\"/srv/lists\"]\n";
        let config = Config::parse(text, "test").unwrap().config;
        let needed = Needed::of(&config, "/opt/x/config.toml");
        for read in ["/opt/x", "/srv/lists", "/etc", "/proc"] {
            assert!(needed.read.contains(&read.into()), "{read}: {needed:?}");
        }
        assert_eq!(needed.write, ["/srv/s", "/run/x"].map(PathBuf::from));
        assert_eq!(Needed::of(&config, "").read.len(), READ.len() + 1);
    }

    /// Landlock restricts the thread that asks for it.
    #[test]
    fn a_restricted_thread_writes_to_its_own_directories_and_starts_nothing() {
        let [state, lists, other] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        for directory in [&lists, &other] {
            std::fs::write(directory.path().join("there"), "x").unwrap();
        }
        let needed = Needed {
            read: vec![lists.path().into(), "/proc".into(), "/absent".into()],
            write: vec![state.path().into()],
            pins: Vec::new(),
        };
        let restricted = std::thread::spawn(move || {
            if let Files::Open(why) = restrict(&needed).unwrap() {
                eprintln!("skipped: {why}");
                return;
            }
            std::fs::write(state.path().join("a"), "x").unwrap();
            std::fs::rename(state.path().join("a"), state.path().join("b")).unwrap();
            std::fs::create_dir(state.path().join("lists")).unwrap();
            std::fs::remove_file(state.path().join("b")).unwrap();
            std::fs::read(lists.path().join("there")).unwrap();
            std::fs::read("/proc/self/status").unwrap();
            let denied = |result: std::io::Result<()>| {
                assert_eq!(
                    result.unwrap_err().kind(),
                    std::io::ErrorKind::PermissionDenied
                );
            };
            denied(std::fs::write(lists.path().join("new"), "x"));
            denied(std::fs::read(other.path().join("there")).map(drop));
            denied(std::fs::remove_file(other.path().join("there")));
            denied(std::process::Command::new("/bin/true").status().map(drop));
        });
        restricted.join().unwrap();
    }

    #[test]
    fn what_a_kernel_cannot_restrict_is_said() {
        let available = LandlockStatus::Available {
            effective_abi: ABI::V2,
            kernel_abi: None,
        };
        let full = outcome(&RulesetStatus::FullyEnforced, available);
        assert_eq!(full, Files::Restricted);
        let partly = outcome(&RulesetStatus::PartiallyEnforced, available);
        let Files::Partly(why) = partly else {
            panic!("not partly");
        };
        assert!(why.contains("6.12"), "{why}");
        for (landlock, word) in [
            (LandlockStatus::NotEnabled, "lsm="),
            (LandlockStatus::NotImplemented, "no Landlock"),
        ] {
            let Files::Open(why) = outcome(&RulesetStatus::NotEnforced, landlock) else {
                panic!("not open");
            };
            assert!(why.contains(word), "{why}");
        }
    }
}
