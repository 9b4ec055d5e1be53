//! Interfaces that stay attached without this process, and what an earlier one left.

use std::io;
use std::os::fd::AsFd;

use super::super::{Attached, Continuity, DatapathError, Result};
use super::egress::Leaving;
use super::link::Link;
use super::pins::name_of;
use super::{KernelDatapath, attach, failed, variant};
use crate::domain::{AttachMode, IfName};
use crate::host::device::{self, index_of};
use crate::host::framing::Framing;

/// An interface that is attached.
pub(super) struct Held {
    pub(super) link: Link,
    pub(super) attached: Attached,
    /// What its frames begin with, which decides which of the object's programs it gets.
    pub(super) framing: Framing,
    pub(super) pin: Pin,
    /// The egress program beside it.
    pub(super) leaving: Leaving,
    /// How it is to be attached, where the link that was left is in another mode.
    other_mode: Option<AttachMode>,
}

/// What keeps an interface attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pin {
    /// This process alone.
    None,
    /// This process, until the start that attached it is in force: a start that fails takes off what
    /// it attached.
    WithStart,
    /// A pin of this name, with the program of the daemon that left it, which stays until the start
    /// is in force.
    Left(IfName),
    /// A pin, with the program of this process.
    Own,
}

impl Held {
    /// Whether packets meet the program of this process here.
    pub(super) fn is_ours(&self) -> bool {
        !matches!(self.pin, Pin::Left(_))
    }
}

impl KernelDatapath {
    /// Finds what an earlier daemon left for an interface, or attaches it. Nothing that was left is
    /// changed before the start is in force.
    pub(super) fn hold(&mut self, interface: &IfName, mode: AttachMode) -> Result<Held> {
        let index = index_of(interface);
        if let Some(left) = self.left(interface, index, mode)? {
            return Ok(left);
        }
        let index = index.ok_or_else(|| DatapathError::NoInterface {
            interface: interface.clone(),
        })?;
        let name = name_of(index).unwrap_or_else(|| interface.clone());
        let framing = variant::framing_of(&name)?;
        let program = variant::program(&mut self.ebpf, framing)?.fd();
        let program = program.map_err(|error| failed("use the program", error))?;
        let (link, attached) = attach::attach(program.as_fd(), &name, index, mode)?;
        if framing == Framing::Bare {
            tracing::info!(
                %interface,
                "no Ethernet header here: packets are judged from the IP header on; no SYN cookies are \
                 sent, new connections over a class's budget are refused"
            );
        }
        let mut held = Held {
            link,
            attached,
            framing,
            pin: match &self.pins {
                None => Pin::None,
                Some(_) => Pin::WithStart,
            },
            leaving: Leaving::not_yet(),
            other_mode: None,
        };
        if self.start.is_none() {
            self.pin(interface, &mut held);
        }
        Ok(held)
    }

    fn left(
        &self,
        interface: &IfName,
        index: Option<u32>,
        mode: AttachMode,
    ) -> Result<Option<Held>> {
        let Some(pins) = &self.pins else {
            return Ok(None);
        };
        let left = pins.left_for(interface, index);
        let left = left
            .map_err(|error| failed(&format!("look at what is pinned for {interface}"), error))?;
        let Some((pinned_as, link, between)) = left else {
            return Ok(None);
        };
        let Some(name) = name_of(between.interface) else {
            return Ok(None);
        };
        let device = device::look(&name).ok().flatten();
        let Some(native) = device.and_then(|device| device.program_native) else {
            return Ok(None);
        };
        let framing = variant::framing_of(&name)?;
        Ok(Some(Held {
            link,
            attached: Attached {
                index: between.interface,
                native,
            },
            framing,
            pin: Pin::Left(pinned_as),
            leaving: Leaving::left(pins, between.interface),
            other_mode: (!attach::fits(mode, native)).then_some(mode),
        }))
    }

    /// Pins a link. What can't be pinned is attached all the same, and each second tries again.
    fn pin(&self, interface: &IfName, held: &mut Held) {
        let Some(pins) = &self.pins else { return };
        held.pin = Pin::Own;
        let pinned = pins.make().and_then(|()| {
            // What is there is of a device that has gone, or that has another name now.
            pins.forget_link(interface)?;
            held.link.pin(&pins.link(interface))
        });
        if let Err(error) = pinned {
            tracing::warn!(%interface, "the link can't be pinned: {error}");
        }
    }

    /// Puts this process's program into the links that were left, and pins those that were made. An
    /// interface that refuses keeps the program and the policy that it has.
    pub(super) fn take_links(&mut self, is_first: bool) {
        let left = self
            .links
            .iter()
            .filter_map(|(name, held)| match &held.pin {
                Pin::Left(from) => Some((from.clone(), name.clone())),
                Pin::None | Pin::WithStart | Pin::Own => None,
            });
        let left: Vec<(IfName, IfName)> = left.collect();
        for (from, name) in &left {
            if let Err(error) = self.take_link(name) {
                if is_first {
                    tracing::warn!(
                        interface = %name,
                        "the program of the daemon before stays, and is replaced as soon as the \
                         kernel lets it: {error}"
                    );
                }
                continue;
            }
            tracing::info!(interface = %name, pinned_as = %from, "took over what was attached, without a gap");
        }
        let moved: Vec<(IfName, IfName)> =
            left.into_iter().filter(|(from, to)| from != to).collect();
        if let Some(pins) = &self.pins
            && let Err(error) = pins.rename_links(&moved)
        {
            tracing::warn!("pins keep the names that interfaces had before: {error}");
        }
        let mut made: Vec<(IfName, Held)> = self
            .links
            .extract_if(|_, held| held.pin == Pin::WithStart)
            .collect();
        for (name, held) in &mut made {
            self.pin(name, held);
        }
        self.links.extend(made);
        self.change_modes();
        self.tend_egress();
    }

    fn take_link(&mut self, name: &IfName) -> Result<()> {
        let what = "put the program in the place of the one before";
        if let Some(held) = self.links.get_mut(name) {
            let program = variant::program(&mut self.ebpf, held.framing)?.fd();
            let program = program.map_err(|error| failed(what, error))?;
            let updated = held.link.update(program.as_fd());
            updated.map_err(|error| failed(what, error))?;
            held.pin = Pin::Own;
        }
        Ok(())
    }

    /// A link has one mode: for another one it is made anew. What can't be attached so is attached as
    /// it was.
    fn change_modes(&mut self) {
        let wanted = self.links.iter().filter(|(_, held)| held.is_ours());
        let wanted = wanted.filter_map(|(name, held)| Some((name.clone(), held.other_mode?)));
        for (name, mode) in wanted.collect::<Vec<_>>() {
            let Some(before) = self.links.remove(&name) else {
                continue;
            };
            tracing::warn!(
                interface = %name,
                "attached again for another mode: packets pass unfiltered for a moment"
            );
            let as_it_was = match before.attached.native {
                true => AttachMode::Native,
                false => AttachMode::Generic,
            };
            if let Some(pins) = &self.pins
                && let Err(error) = pins.forget_link(&name)
            {
                tracing::warn!(interface = %name, "the mode stays: {error}");
                self.links.insert(name, before);
                continue;
            }
            drop(before);
            let held = self.hold(&name, mode).or_else(|error| {
                let error = anyhow::Error::new(error);
                tracing::warn!(interface = %name, "attached as it was: {error:#}");
                self.hold(&name, as_it_was)
            });
            match held {
                Ok(held) => {
                    self.links.insert(name, held);
                }
                // It is found not to be attached within a second, and attached as soon as it can be.
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    tracing::error!(interface = %name, "no longer attached: {error:#}");
                }
            }
        }
    }

    pub(super) fn rename_held(&mut self, pairs: &[(IfName, IfName)]) {
        if let Some(pins) = &self.pins
            && let Err(error) = pins.rename_links(pairs)
        {
            tracing::warn!("pins keep the names that interfaces had before: {error}");
        }
        let held = pairs.iter().map(|(from, _)| self.links.remove(from));
        let held: Vec<Option<Held>> = held.collect();
        for ((_, to), held) in pairs.iter().zip(held) {
            self.links.extend(held.map(|held| (to.clone(), held)));
        }
    }

    pub(super) fn detach_and_unpin(&mut self, interface: &IfName) -> Result<()> {
        let Some(held) = self.links.remove(interface) else {
            return Ok(());
        };
        let detached = match (&held.pin, &self.pins) {
            (Pin::Own, Some(pins)) => pins
                .forget_link(interface)
                .map_err(|e| failed(&format!("detach {interface}"), e)),
            // The link ends with its descriptor; one that was left stays.
            (Pin::Own | Pin::None | Pin::WithStart | Pin::Left(_), _) => Ok(()),
        };
        self.detach_egress(held);
        detached
    }

    /// The counter slot that an interface had in the maps that were taken over.
    pub(super) fn counted_slot(&self, interface: &IfName) -> Option<usize> {
        if self.continuity != Continuity::TookOver {
            return None;
        }
        let pins = self.pins.as_ref()?;
        let (_, _, between) = pins.left_for(interface, index_of(interface)).ok()??;
        self.was.iter().position(|was| *was == between.interface)
    }

    /// The name that an attached interface has now; nothing once it is gone.
    pub(super) fn name_of_held(&self, interface: &IfName) -> Option<IfName> {
        let held = self.links.get(interface)?;
        // By index and not by name: a renamed device keeps its program, another one of the same name
        // has none. And by the link, which a stranger may have ended.
        let between = held.link.between().ok()?;
        name_of(held.attached.index).filter(|_| between.interface == held.attached.index)
    }

    /// Detaches pinned interfaces that are not among these.
    pub(super) fn forget_other_pins(&mut self, kept: &[IfName]) -> Result<Vec<IfName>> {
        let Some(pins) = &self.pins else {
            return Ok(Vec::new());
        };
        let refused = |error: io::Error| failed("take old pins away", error);
        pins.forget_other_versions().map_err(refused)?;
        let mut others = pins.interfaces().map_err(refused)?;
        others.retain(|name| !kept.contains(name));
        for name in &others {
            pins.detach(name).map_err(refused)?;
        }
        self.forget_other_egress(pins);
        Ok(others)
    }

    /// A bpffs that was unmounted takes the pins with it; the links are pinned again once there is one.
    /// Maps are not: the next start fills new ones.
    pub(super) fn watch_pins(&mut self) {
        if self.links.values().any(|held| !held.is_ours()) {
            self.take_links(false);
        }
        self.tend_egress();
        let Some(pins) = &self.pins else { return };
        let mut trouble = None;
        for (interface, held) in &self.links {
            let path = pins.link(interface);
            if held.pin == Pin::Own
                && !path.exists()
                && let Err(error) = pins.make().and_then(|()| held.link.pin(&path))
            {
                trouble.get_or_insert(format!(
                    "the pin of {interface} is gone, and no new one can be made ({error}): when the \
                     daemon ends, traffic passes unfiltered"
                ));
            }
        }
        self.pin_trouble = trouble;
    }
}
