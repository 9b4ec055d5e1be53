//! The egress program at the interfaces: it notes what leaves in the flow memory.
//!
//! It goes wherever the XDP program goes, a step behind it: it is put in place once a start is in force
//! or an interface is attached, and a failure to do so is told and tried again each second, but is never
//! a failure of the start. Filtering goes on without it.
//!
//! - **tcx** (kernel 6.6): a link, first in order, pinned by the interface's index. A newer daemon puts
//!   its program into the link that is there.
//! - **clsact** before: a filter of the interface, which stays without a pin, and is known again by its
//!   name. A newer daemon's program takes its place in one step.
//!
//! The program looks at no stages, so the one that is there stays when the XDP program is replaced by one
//! with other stages: both look at the same maps.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use aya::Ebpf;
use aya::programs::SchedClassifier;
use aya::util::KernelVersion;
use nix::libc;
use xdp_common::abi::{EgressCounter, Plain as _, map};

use super::super::{Egress, EgressHook, Result};
use super::continuity::Held;
use super::link::Link;
use super::pins::Pins;
use super::{KernelDatapath, failed, stages, variant};
use crate::domain::IfName;
use crate::host::filter;
use crate::host::framing::Framing;

/// Under this name the filter is found again.
const FILTER: &str = "xdp-throttle egress";
/// Names the hook in place of the one that the kernel's version decides: for tests of the older one.
const FORCED: &str = "XDP_THROTTLE_EGRESS_HOOK";

/// The egress side of an interface that is attached.
pub(super) enum Leaving {
    /// The program isn't there, for this reason.
    Missing(String),
    /// An earlier daemon's program is there, until the start is in force.
    Left(EgressHook),
    /// This process's program is there.
    Own(Hook),
}

/// The hook that the running kernel has, by its version: who asks doesn't try.
pub(crate) fn hook_of_this_kernel() -> EgressHook {
    let has_tcx = KernelVersion::current().is_ok_and(|now| now >= KernelVersion::new(6, 6, 0));
    if has_tcx && !clsact_is_forced() {
        EgressHook::Tcx
    } else {
        EgressHook::Clsact
    }
}

/// What holds the program.
pub(super) enum Hook {
    Tcx(Link),
    Clsact(Filter),
}

/// A filter of the clsact qdisc. Dropped it is taken away, unless it is to stay without this process.
pub(super) struct Filter {
    interface: u32,
    stays: bool,
}

impl Drop for Filter {
    fn drop(&mut self) {
        if !self.stays
            && let Err(error) = filter::remove(self.interface, FILTER)
        {
            tracing::warn!("the egress program stays on an interface: {error}");
        }
    }
}

impl Leaving {
    /// Of an interface that nothing was looked for on.
    pub(super) fn not_yet() -> Self {
        Self::Missing("it is attached as soon as the start is in force".to_owned())
    }

    /// What an earlier daemon left at an interface.
    pub(super) fn left(pins: &Pins, interface: u32) -> Self {
        match pins.egress_link(interface) {
            Ok(Some(_)) => return Self::Left(EgressHook::Tcx),
            Ok(None) => {}
            Err(error) => tracing::debug!("what is pinned for an interface's egress: {error}"),
        }
        match filter::find(interface, FILTER) {
            Ok(Some(_)) => Self::Left(EgressHook::Clsact),
            Ok(None) => Self::not_yet(),
            Err(error) => Self::Missing(error.to_string()),
        }
    }

    fn told(&self) -> Egress {
        match self {
            Self::Missing(why) => Egress::Missing(why.clone()),
            Self::Left(hook) => Egress::Attached(*hook),
            Self::Own(Hook::Tcx(_)) => Egress::Attached(EgressHook::Tcx),
            Self::Own(Hook::Clsact(_)) => Egress::Attached(EgressHook::Clsact),
        }
    }

    /// Whether this process's program is still there: anybody may take it off.
    fn is_there(&self, interface: u32) -> bool {
        match self {
            Self::Missing(_) | Self::Left(_) => false,
            Self::Own(Hook::Tcx(link)) => link
                .between()
                .is_ok_and(|between| between.interface == interface),
            Self::Own(Hook::Clsact(Filter { interface, .. })) => {
                matches!(filter::find(*interface, FILTER), Ok(Some(_)) | Err(_))
            }
        }
    }
}

const fn name(framing: Framing) -> &'static str {
    match framing {
        Framing::Ethernet => map::PROGRAM_EGRESS,
        Framing::Bare => map::PROGRAM_EGRESS_IP,
    }
}

/// The program for such packets, loaded.
fn program(ebpf: &mut Ebpf, framing: Framing) -> Result<&mut SchedClassifier> {
    let program: &mut SchedClassifier = variant::named(ebpf, name(framing))?;
    if program.fd().is_err() {
        program.load().map_err(stages::load_refused)?;
    }
    Ok(program)
}

/// Whether the kernel has no tcx: its answer to a link of a kind that it doesn't know.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

fn clsact_is_forced() -> bool {
    std::env::var_os(FORCED).is_some_and(|hook| hook == "clsact")
}

/// Puts the program at an interface, in the place of one that an earlier daemon left.
fn put(program: BorrowedFd<'_>, interface: u32, pins: Option<&Pins>) -> io::Result<Hook> {
    let pinned = match pins {
        Some(pins) => pins.egress_link(interface)?,
        None => None,
    };
    if !clsact_is_forced() {
        let made = match pinned {
            Some(link) => link.update(program).map(|()| link),
            None => Link::create_tcx(program, interface).and_then(|link| {
                pins.map_or(Ok(()), |pins| pins.pin_egress(&link, interface))?;
                Ok(link)
            }),
        };
        match made {
            Ok(link) => {
                // One of an older kernel's way would note everything twice.
                filter::remove(interface, FILTER).map_err(io::Error::other)?;
                return Ok(Hook::Tcx(link));
            }
            Err(error) if is_unknown(&error) => {}
            Err(error) => return Err(error),
        }
    }
    filter::put(interface, FILTER, program).map_err(io::Error::other)?;
    if let Some(pins) = pins {
        pins.forget_egress_link(interface)?;
    }
    Ok(Hook::Clsact(Filter {
        interface,
        stays: pins.is_some(),
    }))
}

impl KernelDatapath {
    /// The egress program for such packets, for `BPF_PROG_TEST_RUN`.
    #[doc(hidden)]
    pub fn egress_program(&mut self, framing: Framing) -> Result<&mut SchedClassifier> {
        program(&mut self.ebpf, framing)
    }

    /// How the egress program is attached to an interface.
    pub(super) fn egress_of(&self, interface: &IfName) -> Egress {
        match self.links.get(interface) {
            Some(held) => held.leaving.told(),
            None => Egress::Missing("the interface isn't attached".to_owned()),
        }
    }

    /// Puts this process's egress program at every interface that has its XDP program, and pins again
    /// what is no longer pinned.
    pub(super) fn tend_egress(&mut self) {
        if let Some(pins) = &self.pins {
            for (interface, held) in &self.links {
                let index = held.attached.index;
                if let Leaving::Own(Hook::Tcx(link)) = &held.leaving
                    && !pins.egress_path(index).exists()
                    && let Err(error) = pins.pin_egress(link, index)
                {
                    tracing::debug!(%interface, "the egress program can't be pinned: {error}");
                }
            }
        }
        let ours = self.links.iter().filter(|(_, held)| held.is_ours());
        let open = ours.filter(|(_, held)| !held.leaving.is_there(held.attached.index));
        for name in open.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.attach_egress(&name);
        }
    }

    /// The same for one interface.
    pub(super) fn attach_egress(&mut self, interface: &IfName) {
        let Some(held) = self.links.get_mut(interface) else {
            return;
        };
        let index = held.attached.index;
        // What was lost is not taken away behind what takes its place.
        if let Leaving::Own(Hook::Clsact(lost)) = &mut held.leaving {
            lost.stays = true;
        }
        let put = program(&mut self.ebpf, held.framing).and_then(|program| {
            let what = "attach the egress program";
            let fd = program.fd().map_err(|error| failed(what, error))?;
            put(fd.as_fd(), index, self.pins.as_ref()).map_err(|error| failed(what, error))
        });
        match put {
            Ok(hook) => {
                held.leaving = Leaving::Own(hook);
                if let Egress::Attached(hook) = held.leaving.told() {
                    tracing::info!(%interface, hook = hook.name(), "what leaves is noted");
                }
            }
            Err(error) => {
                let why = format!("{:#}", anyhow::Error::new(error));
                if !matches!(&held.leaving, Leaving::Missing(told) if *told == why) {
                    tracing::warn!(
                        %interface,
                        "what leaves isn't noted, so classes ask sockets alone; tried again each \
                         second: {why}"
                    );
                }
                held.leaving = Leaving::Missing(why);
            }
        }
    }

    /// What the program saw, on all CPUs.
    pub(super) fn counted_egress(&self) -> Result<EgressCounter> {
        let each = self.egress.get(&0, 0);
        let each = each.map_err(|error| failed("read what left", error))?;
        Ok(each
            .iter()
            .fold(EgressCounter::ZERO, |all, one| EgressCounter {
                packets: all.packets.wrapping_add(one.packets),
                noted: all.noted.wrapping_add(one.noted),
                unread: all.unread.wrapping_add(one.unread),
            }))
    }

    /// Takes the egress program off an interface that is detached.
    pub(super) fn detach_egress(&self, held: Held) {
        let index = held.attached.index;
        let Some(pins) = self.pins.as_ref().filter(|_| held.is_ours()) else {
            // It ends with what holds it; one that was left stays.
            return;
        };
        drop(held.leaving);
        if let Err(error) = pins.forget_egress(index) {
            tracing::warn!("the egress program stays on an interface: {error}");
        }
    }

    /// Takes it off interfaces that no XDP program of ours is on.
    pub(super) fn forget_other_egress(&self, pins: &Pins) {
        let held = |index| {
            let mut links = self.links.values();
            links.any(|held| held.attached.index == index)
        };
        let forgotten: io::Result<()> = pins.egress_interfaces().and_then(|there| {
            let mut others = there.into_iter().filter(|index| !held(*index));
            others.try_for_each(|index| pins.forget_egress(index))
        });
        if let Err(error) = forgotten {
            tracing::warn!("pins of the egress program are left: {error}");
        }
    }
}

impl Pins {
    fn egress_path(&self, interface: u32) -> PathBuf {
        self.egress().join(interface.to_string())
    }

    /// The pinned link of the egress program for an interface; what is pinned there for a device that had
    /// this index before is taken away.
    fn egress_link(&self, interface: u32) -> io::Result<Option<Link>> {
        let Some(link) = Link::open(&self.egress_path(interface))? else {
            return Ok(None);
        };
        if link.between()?.interface == interface {
            return Ok(Some(link));
        }
        drop(link);
        self.forget_egress_link(interface)?;
        Ok(None)
    }

    fn pin_egress(&self, link: &Link, interface: u32) -> io::Result<()> {
        let directory = self.egress();
        if !directory.exists() {
            use std::os::unix::fs::DirBuilderExt as _;
            fs::DirBuilder::new().mode(0o700).create(directory)?;
        }
        link.pin(&self.egress_path(interface))
    }

    fn forget_egress_link(&self, interface: u32) -> io::Result<()> {
        match fs::remove_file(self.egress_path(interface)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Takes the egress program off an interface, whichever way it is there.
    pub(crate) fn forget_egress(&self, interface: u32) -> io::Result<()> {
        self.forget_egress_link(interface)?;
        filter::remove(interface, FILTER).map_err(io::Error::other)
    }

    /// Interfaces with a pinned link of the egress program, by index.
    fn egress_interfaces(&self) -> io::Result<Vec<u32>> {
        let entries = match fs::read_dir(self.egress()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut there = Vec::new();
        for entry in entries {
            there.extend(entry?.file_name().to_string_lossy().parse::<u32>());
        }
        Ok(there)
    }
}
