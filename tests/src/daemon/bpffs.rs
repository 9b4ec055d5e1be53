//! A bpffs of a test's own, in a namespace: nobody else sees it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use crate::netns::Namespace;

/// Mounted in a directory that goes with it, and all pins in it.
#[derive(Debug)]
pub struct Bpffs {
    namespace: Namespace,
    directory: TempDir,
}

impl Bpffs {
    /// Mounts one.
    ///
    /// # Errors
    /// When the kernel refuses: it takes root.
    pub fn mount(namespace: &Namespace) -> Result<Self> {
        let bpffs = Self {
            namespace: namespace.clone(),
            directory: super::directory::make()?,
        };
        std::fs::create_dir(bpffs.path()).context("making a mount point")?;
        bpffs.mount_again()?;
        Ok(bpffs)
    }

    /// Mounts another one in its place.
    ///
    /// # Errors
    /// As [`Bpffs::mount`].
    pub fn mount_again(&self) -> Result<()> {
        let (kind, options) = (Some("bpf"), Some("mode=0700"));
        let mounted = || mount(kind, &self.path(), kind, MsFlags::empty(), options);
        self.namespace.run(mounted)?.context("mounting a bpffs")
    }

    /// Takes it away under whoever uses it.
    ///
    /// # Errors
    /// When it isn't mounted.
    pub fn unmount(&self) -> Result<()> {
        let unmounted = || umount2(&self.path(), MntFlags::MNT_DETACH);
        self.namespace
            .run(unmounted)?
            .context("unmounting the bpffs")
    }

    /// Makes it read-only for everybody, or writable again.
    ///
    /// # Errors
    /// When it isn't mounted.
    pub fn read_only(&self, read_only: bool) -> Result<()> {
        let mut flags = MsFlags::MS_REMOUNT;
        flags.set(MsFlags::MS_RDONLY, read_only);
        let nothing: Option<&str> = None;
        let mounted = || mount(nothing, &self.path(), nothing, flags, nothing);
        self.namespace.run(mounted)?.context("mounting it again")
    }

    /// Mounts it elsewhere, or back in its place: it goes on, and nobody finds it.
    ///
    /// # Errors
    /// When it isn't mounted.
    pub fn hide(&self, hidden: bool) -> Result<()> {
        let elsewhere = self.directory.path().join("elsewhere");
        let (from, to) = match hidden {
            true => (self.path(), elsewhere.clone()),
            false => (elsewhere.clone(), self.path()),
        };
        if hidden {
            std::fs::create_dir_all(&elsewhere).context("making a mount point")?;
        }
        let nothing: Option<&str> = None;
        let moved = || mount(Some(&from), &to, nothing, MsFlags::MS_MOVE, nothing);
        self.namespace.run(moved)?.context("moving the bpffs")
    }

    /// Whether nothing of ours is in it. The kernel may have files of its own there.
    ///
    /// # Errors
    /// When it can't be looked at.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(!self.namespace.run(|| std::fs::exists(self.pins()))??)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("bpf")
    }

    /// A directory for pins in it.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.path().join("xdp-throttle")
    }

    /// The section of a configuration that has its pins here.
    #[must_use]
    pub fn section(&self) -> String {
        format!("[pins]\ndirectory = {:?}\n", self.pins())
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // It may be unmounted already.
        drop(self.unmount());
    }
}
