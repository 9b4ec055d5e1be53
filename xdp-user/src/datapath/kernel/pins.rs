//! Where the maps and the links are pinned, so that the last policy stays in force without a daemon.
//!
//! ```text
//! DIRECTORY/links/eth0     the link to an interface; a "." of its name is a ":"
//! DIRECTORY/egress/2       the link of the egress program, by the interface's index (tcx)
//! DIRECTORY/v7/SOURCES     the maps, by the version of the border
//! DIRECTORY/v7-next        maps of a start that is not in force yet
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

use super::link::{Between, Link};
use crate::domain::IfName;

/// The maps that are worth keeping. What else there is a program keeps for itself.
const MAPS: [&str; 24] = [
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
    map::FLOWS,
    map::EGRESS,
    map::FRAGMENTS,
    map::EVENTS,
    map::SAMPLES,
];

/// A directory on a bpffs.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    directory: PathBuf,
    /// The maps are those of a start that is not in force yet, and beside those that are.
    staged: bool,
}

/// Maps that were pinned beside those in force. Dropped, it takes them away again.
#[derive(Debug)]
pub(super) struct StagedMaps(Option<Pins>);

impl StagedMaps {
    /// They are in their place: nothing is taken away.
    pub(super) fn settled(mut self) {
        self.0 = None;
    }
}

impl Drop for StagedMaps {
    fn drop(&mut self) {
        let Some(pins) = &self.0 else { return };
        // What is left is taken away by the next start.
        if let Err(error) = remove_directory(&pins.staging()) {
            tracing::warn!("pins of a start that failed are left: {error}");
        }
        // Empty directories only: those that this start made.
        for directory in [pins.settled_maps(), pins.links(), pins.directory.clone()] {
            if let Err(error) = fs::remove_dir(&directory) {
                tracing::debug!("{} stays: {error}", directory.display());
            }
        }
    }
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
            staged: false,
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

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn maps(&self) -> PathBuf {
        match self.staged {
            true => self.staging(),
            false => self.settled_maps(),
        }
    }

    fn settled_maps(&self) -> PathBuf {
        self.directory.join(format!("v{ABI_VERSION}"))
    }

    fn staging(&self) -> PathBuf {
        self.directory.join(format!("v{ABI_VERSION}-next"))
    }

    fn replaced(&self) -> PathBuf {
        self.directory.join(format!("v{ABI_VERSION}-last"))
    }

    /// From now on maps are pinned beside those in force, until [`Pins::settle`].
    pub(super) fn stage(&mut self) -> io::Result<StagedMaps> {
        remove_directory(&self.staging())?;
        self.staged = true;
        let staged = StagedMaps(Some(self.clone()));
        self.make()?;
        Ok(staged)
    }

    /// Puts the staged maps in the place of those that were in force. The programs that use the old
    /// ones keep them.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        remove_directory(&self.replaced())?;
        let there = self.settled_maps().exists();
        if there {
            fs::rename(self.settled_maps(), self.replaced())?;
        }
        if let Err(error) = fs::rename(self.staging(), self.settled_maps()) {
            if there {
                fs::rename(self.replaced(), self.settled_maps())?;
            }
            return Err(error);
        }
        self.staged = false;
        if let Err(error) = remove_directory(&self.replaced()) {
            tracing::warn!("pins of maps that were replaced are left: {error}");
        }
        Ok(())
    }

    fn links(&self) -> PathBuf {
        self.directory.join("links")
    }

    /// Links of the egress program.
    pub(super) fn egress(&self) -> PathBuf {
        self.directory.join("egress")
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
        let own = [
            self.settled_maps(),
            self.staging(),
            self.links(),
            self.egress(),
        ];
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

    /// Takes away the maps of other versions.
    pub(super) fn forget_other_versions(&self) -> io::Result<()> {
        for path in self.others()? {
            remove_directory(&path)?;
        }
        Ok(())
    }

    /// The link that an earlier daemon left for an interface, by its index and not by the name that it
    /// was pinned under: the interface may have another name since. Where no interface has the wanted
    /// name now, it is the one that this name was for, which may be called something else.
    pub(super) fn left_for(
        &self,
        wanted: &IfName,
        index: Option<u32>,
    ) -> io::Result<Option<(IfName, Link, Between)>> {
        let mut names = self.interfaces()?;
        // The one of this name first.
        names.sort_by_key(|name| name != wanted);
        for name in names {
            if index.is_none() && name != *wanted {
                continue;
            }
            let Some(link) = Link::open(&self.link(&name))? else {
                continue;
            };
            let between = link.between()?;
            let is_it = match index {
                Some(index) => between.interface == index,
                None => name_of(between.interface).is_some(),
            };
            if is_it {
                return Ok(Some((name, link, between)));
            }
        }
        Ok(None)
    }

    /// The name under which an interface is pinned that has this index.
    pub(crate) fn left_at(&self, index: u32) -> io::Result<Option<IfName>> {
        for name in self.interfaces()? {
            if self
                .between(&name)?
                .is_some_and(|(other, _)| other == index)
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Gives pins of links these names, in the place of what is pinned there: pairs of the name before
    /// and the name to be.
    pub(super) fn rename_links(&self, pairs: &[(IfName, IfName)]) -> io::Result<()> {
        let aside = |name: &IfName| {
            let mut path = self.link(name).into_os_string();
            // No interface has a colon in its name, and none ends with a dot of another one's.
            path.push("::");
            PathBuf::from(path)
        };
        // All out of the way first: two may have changed names with each other.
        for (from, _) in pairs {
            fs::rename(self.link(from), aside(from))?;
        }
        for (from, to) in pairs {
            self.forget_link(to)?;
            fs::rename(aside(from), self.link(to))?;
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

    /// The same, and takes the egress program off it.
    pub(crate) fn detach(&self, interface: &IfName) -> io::Result<()> {
        let between = self.between(interface)?;
        self.forget_link(interface)?;
        match between {
            Some((index, _)) if index != 0 => self.forget_egress(index),
            Some(_) | None => Ok(()),
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
        for directory in [
            self.links(),
            self.egress(),
            self.settled_maps(),
            self.staging(),
        ] {
            remove_directory(&directory)?;
        }
        match fs::remove_dir(&self.directory) {
            // Somebody else's, such as a service manager's, who made it: it is empty, which is as good.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            done => done,
        }
    }
}

/// Removes a directory of pins, if it is there.
fn remove_directory(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        fs::remove_file(entry?.path())?;
    }
    fs::remove_dir(directory)
}

/// The name that an interface has now; nothing where there is none with this index.
pub(crate) fn name_of(index: u32) -> Option<IfName> {
    // An index that is gone has an empty name (nix 0.31 misses the error).
    let name = nix::net::if_::if_indextoname(index).ok()?;
    name.to_str().ok()?.parse().ok()
}
