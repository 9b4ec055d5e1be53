//! Network namespaces that exist only as long as the process that made them.
//!
//! A [`Namespace`] is anonymous: it is held by file descriptors and by nothing in the file system,
//! so the kernel removes it, its interfaces and whatever is attached or pinned in it when the last
//! descriptor goes, also after a panic or `kill -9`. There are no leftovers of earlier runs to
//! look for. For a look inside while a test hangs:
//! `nsenter --net=/proc/PID/fd/N` with the path of [`Namespace::net_path`].
//!
//! Each one has a mount namespace of its own too, with a sysfs that shows its interfaces and an
//! empty bpffs on `/sys/fs/bpf`. Mounting either outside would hide the machine's own from
//! everybody, and pins of tests that run at once would meet.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

pub mod ethtool;
pub mod forward;
pub mod link;
pub mod offload;
pub mod privilege;
pub mod remains;
pub mod serving;
pub mod stats;
pub mod stranger;
pub mod tun;

/// A network namespace with its mount namespace. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    net: Arc<OwnedFd>,
    mount: Arc<OwnedFd>,
}

impl Namespace {
    /// Makes a namespace with `lo` up and no IPv6 chatter on the interfaces to come (no link-local
    /// address, no router solicitation, no duplicate address detection), so that a test can count
    /// packets exactly. `name` appears in error messages only.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN and CAP_NET_ADMIN, or without iproute2.
    pub fn new(name: &str) -> Result<Self> {
        let (net, mount) = thread::scope(|scope| join(scope.spawn(unshare_namespaces)))
            .with_context(|| format!("cannot make the network namespace {name}"))?;
        let namespace = Self {
            name: name.to_owned(),
            net: Arc::new(net),
            mount: Arc::new(mount),
        };
        namespace.ip(&["link", "set", "lo", "up"])?;
        for (key, value) in [
            ("addr_gen_mode", "1"),
            ("accept_ra", "0"),
            ("router_solicitations", "0"),
            ("dad_transmits", "0"),
        ] {
            namespace.sysctl(&format!("net/ipv6/conf/default/{key}"), value)?;
        }
        Ok(namespace)
    }

    /// The name given to [`Namespace::new`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path that other programs of this machine can open while this process lives.
    #[must_use]
    pub fn net_path(&self) -> PathBuf {
        descriptor_path(self.net.as_raw_fd())
    }

    /// Runs `work` in this namespace, on a thread of its own, and waits for it. Sockets opened
    /// there stay in the namespace wherever they are used later.
    ///
    /// # Errors
    /// When the thread can't enter the namespace. A panic of `work` goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            join(scope.spawn(|| {
                self.enter_with_thread()?;
                Ok(work())
            }))
        })
    }

    /// Starts `work` in this namespace on a thread that is named `thread_name`.
    ///
    /// # Errors
    /// When no thread can be started; what happens in it is what its handle returns.
    pub fn spawn<T: Send + 'static>(
        &self,
        thread_name: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let namespace = self.clone();
        thread::Builder::new()
            .name(thread_name.to_owned())
            .spawn(move || {
                namespace.enter_with_thread()?;
                work()
            })
            .with_context(|| format!("cannot start the thread {thread_name}"))
    }

    /// A command that will run in this namespace, and be killed when the thread that spawned it
    /// ends: don't spawn it inside [`Namespace::run`].
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let (net, mount) = (Arc::clone(&self.net), Arc::clone(&self.mount));
        let mut command = Command::new(program);
        let enter = move || {
            enter_namespaces(&net, &mount)?;
            die_with_parent()
        };
        // SAFETY: `enter` makes system calls only and allocates nothing, which is what a child
        // between fork and exec may do; both descriptors stay open in the captured `Arc`s.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Runs a command to its end and returns its standard output.
    ///
    /// # Errors
    /// When it can't be started or fails; then with its standard error.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let shown = || format!("{program} {} in {}", arguments.join(" "), self.name);
        let output = self
            .command(program)
            .args(arguments)
            .output()
            .with_context(|| format!("cannot run {}", shown()))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("{} failed, {}: {}", shown(), output.status, stderr.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs iproute2's `ip` here.
    ///
    /// # Errors
    /// As [`Namespace::output`].
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        self.output("ip", arguments)
    }

    /// Sets a network sysctl of this namespace, `key` relative to `/proc/sys`, with slashes.
    ///
    /// # Errors
    /// When the kernel doesn't know the key or refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.write(&format!("/proc/sys/{key}"), value)
    }

    /// Writes a file as seen from here, such as one below `/sys/class/net`.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, path: &str, value: &str) -> Result<()> {
        self.run(|| std::fs::write(path, value))?
            .with_context(|| format!("cannot write {value:?} to {path} in {}", self.name))
    }

    /// Reads a file as seen from here.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(&self, path: &str) -> Result<String> {
        self.run(|| std::fs::read_to_string(path))?
            .with_context(|| format!("cannot read {path} in {}", self.name))
    }

    fn enter_with_thread(&self) -> Result<()> {
        // setns(2) refuses a mount namespace while the thread shares its working directory.
        unshare(CloneFlags::CLONE_FS)
            .map_err(io::Error::from)
            .and_then(|()| enter_namespaces(&self.net, &self.mount))
            .with_context(|| format!("cannot enter the network namespace {}", self.name))
    }
}

fn unshare_namespaces() -> Result<(OwnedFd, OwnedFd)> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("unshare refused; run as root")?;
    let nothing: Option<&str> = None;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )
    .context("cannot keep mounts from spreading")?;
    mount(
        Some("sysfs"),
        "/sys",
        Some("sysfs"),
        MsFlags::empty(),
        nothing,
    )
    .context("cannot mount sysfs")?;
    mount(
        Some("bpf"),
        "/sys/fs/bpf",
        Some("bpf"),
        MsFlags::empty(),
        nothing,
    )
    .context("cannot mount bpffs")?;
    let net = File::open("/proc/thread-self/ns/net")?;
    let mounts = File::open("/proc/thread-self/ns/mnt")?;
    Ok((net.into(), mounts.into()))
}

fn enter_namespaces(net: &OwnedFd, mount: &OwnedFd) -> io::Result<()> {
    setns(net.as_fd(), CloneFlags::CLONE_NEWNET)?;
    setns(mount.as_fd(), CloneFlags::CLONE_NEWNS)?;
    Ok(())
}

fn die_with_parent() -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    Ok(())
}

fn descriptor_path(descriptor: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{descriptor}", std::process::id()))
}

fn join<T>(handle: thread::ScopedJoinHandle<'_, T>) -> T {
    match handle.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require_kernel;

    #[test]
    fn a_namespace_sees_only_its_own_interfaces_and_pins() {
        require_kernel!("a_namespace_sees_only_its_own_interfaces_and_pins");
        let namespace = Namespace::new("own").unwrap();
        let links = namespace.output("ls", &["/sys/class/net"]).unwrap();
        assert_eq!(links.trim(), "lo");
        namespace.output("mkdir", &["/sys/fs/bpf/mine"]).unwrap();
        let pins = |namespace: &Namespace| namespace.output("ls", &["/sys/fs/bpf"]).unwrap();
        assert!(pins(&namespace).contains("mine"));
        assert!(!pins(&Namespace::new("other").unwrap()).contains("mine"));
        assert!(!std::fs::exists("/sys/fs/bpf/mine").unwrap());
    }

    #[test]
    fn the_machine_keeps_its_mounts_and_its_namespace() {
        require_kernel!("the_machine_keeps_its_mounts_and_its_namespace");
        // /proc/mounts would be the first thread's; a mount that leaked would be in both.
        let mounts = || std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let net = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let before = (mounts(), net());
        let namespace = Namespace::new("apart").unwrap();
        let inside = namespace.run(net).unwrap();
        assert_ne!(inside, before.1);
        assert_eq!((mounts(), net()), before);
    }

    #[test]
    fn a_command_that_fails_is_told_with_its_words() {
        require_kernel!("a_command_that_fails_is_told_with_its_words");
        let namespace = Namespace::new("words").unwrap();
        let error = namespace.ip(&["link", "show", "absent0"]).unwrap_err();
        assert!(error.to_string().contains("absent0"), "{error}");
    }
}
