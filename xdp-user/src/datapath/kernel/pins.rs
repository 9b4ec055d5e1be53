//! Where the maps and the links are pinned, so that the last policy stays in force without a daemon.
//!
//! ```text
//! DIRECTORY/links/eth0     the link to an interface; a "." of its name is a ":"
//! DIRECTORY/v7/SOURCES     the maps, by the version of the border
//! ```
//!
//! Links have no version: a newer daemon puts its own program into the link that is there. Maps of
//! another version, or of other sizes, are not used: new ones are filled, and the link then gets the
//! program that looks at those.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aya::EbpfLoader;
use aya::maps::MapData;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use xdp_common::abi::{ABI_VERSION, map};

use super::link::Link;
use crate::domain::IfName;

/// The maps that are worth keeping. What else there is a program keeps for itself.
const MAPS: [&str; 22] = [
    map::ACTIVE,
    map::POLICY,
    map::COUNTERS,
    map::FAULTS,
    map::NOT_IP,
    map::LISTS,
    map::LIST_HEADS,
    map::HITS,
    map::HIT_WRITERS,
    map::LIMITS_V4,
    map::LIMITS_V6,
    map::SOURCES,
    map::BANS,
    map::CLASS_TABLE,
    map::CLASSES,
    map::CLASS_STATES,
    map::CLASS_COUNTERS,
    map::KNOWN,
    map::METERS,
    map::FRAGMENTS,
    map::EVENTS,
    map::SAMPLES,
];

/// A directory on a bpffs.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    directory: PathBuf,
}

/// Why the maps that are pinned, if there are any, aren't used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// There are none.
    None,
    /// They are of other sizes or of another version, or not all of them are there.
    Other(String),
}

impl Pins {
    /// Makes the directories.
    ///
    /// # Errors
    /// When it is on no bpffs, or can't be made.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let pins = Self {
            directory: directory.to_owned(),
        };
        let mut above = directory;
        while !above.exists() {
            above = above.parent().unwrap_or(Path::new("/"));
        }
        if statfs(above)?.filesystem_type() != BPF_FS_MAGIC {
            return Err(io::Error::other(format!(
                "{} is on no bpffs: mount one with `mount -t bpf bpf /sys/fs/bpf`",
                directory.display()
            )));
        }
        pins.make()?;
        Ok(pins)
    }

    /// Makes the directories, where they aren't there.
    pub(super) fn make(&self) -> io::Result<()> {
        for directory in [self.maps(), self.links()] {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700).create(directory)?;
        }
        Ok(())
    }

    fn maps(&self) -> PathBuf {
        self.directory.join(format!("v{ABI_VERSION}"))
    }

    fn links(&self) -> PathBuf {
        self.directory.join("links")
    }

    /// bpffs keeps names with a dot for itself (kernel/bpf/inode.c), and no interface has a colon.
    pub(super) fn link(&self, interface: &IfName) -> PathBuf {
        self.links().join(interface.as_str().replace('.', ":"))
    }

    /// Whether the maps that are there have these sizes, by name.
    pub(super) fn fit(&self, wanted: &[(&str, u32)]) -> Result<(), Unfit> {
        let there = MAPS.iter().filter(|name| self.maps().join(name).exists());
        match there.count() {
            0 => return Err(self.other_version().map_or(Unfit::None, Unfit::Other)),
            count if count < MAPS.len() => {
                let missing = MAPS.len() - count;
                return Err(Unfit::Other(format!(
                    "{missing} of the pinned maps are missing"
                )));
            }
            _ => {}
        }
        for (name, entries) in wanted {
            let pinned = MapData::from_pin(self.maps().join(name)).and_then(|map| map.info());
            match pinned {
                Ok(info) if info.max_entries() == *entries => {}
                Ok(info) => {
                    return Err(Unfit::Other(format!(
                        "the map {name} has {} entries and not {entries}",
                        info.max_entries()
                    )));
                }
                Err(error) => return Err(Unfit::Other(format!("the map {name}: {error}"))),
            }
        }
        Ok(())
    }

    /// Says whose maps are there, where they are of another version only.
    fn other_version(&self) -> Option<String> {
        let other = self.others().ok()?.into_iter().next()?;
        let other = other.file_name()?.to_string_lossy().into_owned();
        Some(format!(
            "the pinned maps are of another build, {other} and not v{ABI_VERSION}: counters and what \
             was known of sources begin anew"
        ))
    }

    /// Directories of maps of other versions.
    fn others(&self) -> io::Result<Vec<PathBuf>> {
        let own = [self.maps(), self.links()];
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.is_dir() && !own.contains(&path) {
                others.push(path);
            }
        }
        Ok(others)
    }

    /// A pinned map.
    pub(super) fn map(&self, name: &str) -> Option<MapData> {
        MapData::from_pin(self.maps().join(name)).ok()
    }

    /// Has the loader open the maps that are pinned, and pin those that it makes.
    pub(super) fn tell<'a>(&self, loader: &mut EbpfLoader<'a>) {
        for name in MAPS {
            loader.map_pin_path(name, self.maps().join(name));
        }
    }

    /// Takes the pins of maps away; who uses the maps keeps them.
    pub(super) fn forget_maps(&self) -> io::Result<()> {
        remove_files(&self.maps())
    }

    /// Takes away the maps of other versions.
    pub(super) fn forget_other_versions(&self) -> io::Result<()> {
        for path in self.others()? {
            remove_files(&path)?;
            fs::remove_dir(&path)?;
        }
        Ok(())
    }

    /// Interfaces with a link here.
    pub(crate) fn interfaces(&self) -> io::Result<Vec<IfName>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.links())? {
            let name = entry?.file_name().to_string_lossy().replace(':', ".");
            names.extend(name.parse::<IfName>());
        }
        names.sort();
        Ok(names)
    }

    /// Detaches an interface, unless a daemon holds its link.
    pub(crate) fn forget_link(&self, interface: &IfName) -> io::Result<()> {
        match fs::remove_file(self.link(interface)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The index of the interface that a link is for, and the number of its program.
    pub(crate) fn between(&self, interface: &IfName) -> io::Result<Option<(u32, u32)>> {
        let Some(link) = Link::open(&self.link(interface))? else {
            return Ok(None);
        };
        let between = link.between()?;
        Ok(Some((between.interface, between.program)))
    }

    /// Takes everything away.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.forget_other_versions()?;
        for directory in [self.links(), self.maps()] {
            remove_files(&directory)?;
            fs::remove_dir(&directory)?;
        }
        match fs::remove_dir(&self.directory) {
            // Somebody else's, such as a service manager's, who made it: it is empty, which is as good.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            done => done,
        }
    }
}

fn remove_files(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}
