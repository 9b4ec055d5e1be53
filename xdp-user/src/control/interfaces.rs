//! The interfaces of the configuration: by which name each is known, which are attached, and which are
//! waited for.
//!
//! An interface that can't be attached yet is no failure: the others are protected, and it is attached
//! as soon as it can be ([`super::watch`]). One that is attached is followed by its index: whatever it
//! is called, it is the one that the configuration named when it was attached.

use anyhow::{Context, Result};
use xdp_common::abi::MAX_INTERFACES;

use super::Control;
use crate::api::types::{DetachCause, Happening, InterfaceAttached, WaitReason};
use crate::config::{self, Config};
use crate::datapath::{Attached, DatapathError};
use crate::domain::IfName;
use crate::failure::{Failure, FailureKind};

/// An interface that the daemon looks after.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    /// The name that the configuration has for it, by which the datapath knows it.
    pub(super) configured: IfName,
    /// The kernel's name now; the configuration's while there is no such interface.
    pub(super) name: IfName,
    pub(super) attached: Option<Attached>,
    /// Why it is not attached.
    pub(super) waiting: Option<Waiting>,
    pub(super) slot: usize,
}

/// What an interface waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) reason: WaitReason,
    /// In words.
    pub(super) why: String,
}

impl Waiting {
    /// What an error is to an interface that is attached as soon as it can be.
    pub(super) fn after(error: &DatapathError) -> Self {
        let mut why = error.to_string();
        let source = std::error::Error::source(error);
        if let Some(source) = source {
            why += &format!(": {source}");
        }
        Self {
            reason: error.wait_reason().unwrap_or(WaitReason::Refused),
            why,
        }
    }
}

impl Control {
    /// Gives each interface of the configuration its counter slot and the kernel's name, before
    /// anything is attached.
    pub(super) fn name_interfaces(&mut self) -> Result<()> {
        let config = self.config.clone();
        self.refuse_one_by_two_names(&config)?;
        // What an earlier daemon counted for an interface goes on, so no other one gets its slot.
        let counted = config.interfaces.iter();
        let counted = counted.map(|one| (one.name.clone(), self.datapath.slot_of(&one.name)));
        let counted: Vec<(IfName, Option<usize>)> = counted.collect();
        let taken: Vec<usize> = counted.iter().filter_map(|(_, slot)| *slot).collect();
        for (name, counted) in counted {
            let slot = match counted.filter(|slot| self.is_free(*slot)) {
                Some(slot) => slot,
                None => self.new_slot(&taken)?,
            };
            self.know(name, slot);
        }
        Ok(())
    }

    fn know(&mut self, configured: IfName, slot: usize) {
        let device = self.datapath.device_of(&configured);
        self.interfaces.push(Interface {
            name: device.map_or_else(|| configured.clone(), |(_, name)| name),
            configured,
            attached: None,
            waiting: None,
            slot,
        });
    }

    /// Attaches every interface of the configuration at start.
    pub(super) fn attach_configured(&mut self) -> Result<()> {
        for wanted in self.config.interfaces.clone() {
            self.attach_or_wait(&wanted)?;
        }
        Ok(())
    }

    /// Attaches the interfaces that are new in a configuration, or waits for them; all of them or none.
    /// Says which, by the configuration's names.
    pub(super) fn attach_new(&mut self, config: &Config) -> Result<Vec<IfName>> {
        let mut added: Vec<IfName> = Vec::new();
        for wanted in &config.interfaces {
            if self
                .interfaces
                .iter()
                .any(|known| known.configured == wanted.name)
            {
                continue;
            }
            let slot = self.new_slot(&[]);
            let done = slot.and_then(|slot| {
                self.know(wanted.name.clone(), slot);
                added.push(wanted.name.clone());
                self.attach_or_wait(wanted)
            });
            if let Err(error) = done {
                self.detach_named(&added);
                return Err(error);
            }
        }
        for wanted in &added {
            self.note_attached(wanted);
        }
        Ok(added)
    }

    /// Interfaces that a configuration names otherwise than the one before, such as by the name that
    /// they were given meanwhile: the name before and the name to be.
    pub(super) fn names_to_change(&self, config: &Config) -> Vec<(IfName, IfName)> {
        let wanted = config.interfaces.iter();
        let pairs = wanted.filter_map(|wanted| {
            let (index, _) = self.device_by(config, &wanted.name)?;
            let mut known = self.interfaces.iter();
            let held = known.find(|one| one.attached.is_some_and(|one| one.index == index))?;
            (held.configured != wanted.name).then(|| (held.configured.clone(), wanted.name.clone()))
        });
        pairs.collect()
    }

    /// From now on interfaces are known by other names of the configuration's.
    pub(super) fn change_names(&mut self, pairs: &[(IfName, IfName)]) {
        if pairs.is_empty() {
            return;
        }
        self.datapath.rename(pairs);
        // One that is waited for under such a name makes way.
        let changing = |name: &IfName| pairs.iter().any(|(from, _)| from == name);
        let taken = |name: &IfName| pairs.iter().any(|(_, to)| to == name);
        self.interfaces
            .retain(|one| changing(&one.configured) || !taken(&one.configured));
        for interface in &mut self.interfaces {
            if let Some((from, to)) = pairs.iter().find(|(from, _)| *from == interface.configured) {
                tracing::info!(interface = %interface.name, "the configuration calls it {to}, no longer {from}");
                interface.configured = to.clone();
            }
        }
    }

    fn attach_or_wait(&mut self, wanted: &config::Interface) -> Result<()> {
        let attached = self.datapath.attach(&wanted.name, wanted.attach);
        let now = self.datapath.attached_name(&wanted.name);
        let mut interfaces = self.interfaces.iter_mut();
        let Some(interface) = interfaces.find(|one| one.configured == wanted.name) else {
            return Ok(());
        };
        match attached {
            Ok(attached) => {
                interface.attached = Some(attached);
                interface.name = now.unwrap_or_else(|| interface.name.clone());
            }
            Err(error) if error.wait_reason().is_some() && !wanted.required => {
                let waiting = Waiting::after(&error);
                tracing::warn!(
                    interface = %wanted.name,
                    "not attached, and attached as soon as it can be: {}",
                    waiting.why
                );
                interface.waiting = Some(waiting);
            }
            Err(error) => {
                let name = &wanted.name;
                let what = match wanted.required {
                    true => format!(
                        "could not attach to {name}, which is required (`required = true` of its [[interface]])"
                    ),
                    false => format!("could not attach to {name}"),
                };
                return Err(anyhow::Error::new(error).context(what));
            }
        }
        Ok(())
    }

    /// Tells of what a start attached, once it is in force.
    pub(super) fn note_start(&mut self) {
        for name in self
            .interfaces
            .iter()
            .map(|one| one.configured.clone())
            .collect::<Vec<_>>()
        {
            self.note_attached(&name);
        }
        if self.interfaces.iter().all(|one| one.attached.is_none()) && !self.interfaces.is_empty() {
            tracing::warn!("no interface is protected yet: all of them are waited for");
        }
        self.tell_protection();
    }

    pub(super) fn note_attached(&self, configured: &IfName) {
        let mut interfaces = self.interfaces.iter();
        let Some(interface) = interfaces.find(|one| one.configured == *configured) else {
            return;
        };
        let Some(attached) = interface.attached else {
            return;
        };
        let mode = if attached.native { "native" } else { "generic" };
        let name = &interface.name;
        tracing::info!(interface = %name, mode, "attached");
        if name != configured {
            tracing::info!(
                interface = %name,
                "the configuration calls it {configured}: taken for the kernel's name, {name}"
            );
        }
        self.note(Happening::Attach(InterfaceAttached {
            interface: name.to_string(),
            mode: mode.to_owned(),
        }));
    }

    /// Two names for one interface are a mistake: which settings would count?
    pub(super) fn refuse_one_by_two_names(&self, config: &Config) -> Result<()> {
        let mut seen: Vec<(u32, &IfName)> = Vec::new();
        for wanted in &config.interfaces {
            let Some((index, name)) = self.device_by(config, &wanted.name) else {
                continue;
            };
            if let Some((_, other)) = seen.iter().find(|(other, _)| *other == index) {
                let message = format!(
                    "{other} and {} are names of one interface, {name}: leave one of them out",
                    wanted.name
                );
                return Err(Failure::new(FailureKind::Invalid, message).into());
            }
            seen.push((index, &wanted.name));
        }
        Ok(())
    }

    /// The device that a name of a configuration is for: the one that is followed under this name,
    /// unless the configuration has another name for that; or the one that has the name.
    fn device_by(&self, config: &Config, configured: &IfName) -> Option<(u32, IfName)> {
        let named = self.datapath.device_of(configured);
        let mut followed = self.interfaces.iter();
        let followed = followed.find(|one| one.configured == *configured);
        let followed = followed.and_then(|one| Some((one.attached?.index, one.name.clone())));
        let Some((index, name)) = followed else {
            return named;
        };
        let mut others = config
            .interfaces
            .iter()
            .filter(|one| one.name != *configured);
        let is_of_another = others.any(|other| {
            let device = self.datapath.device_of(&other.name);
            device.is_some_and(|(other, _)| other == index)
        });
        match named {
            Some((named, _)) if named == index => Some((index, name)),
            named if is_of_another => named,
            _followed => Some((index, name)),
        }
    }

    /// A slot that no interface has, whose counters are zero.
    fn new_slot(&mut self, taken: &[usize]) -> Result<usize> {
        let mut free = (0..MAX_INTERFACES - 1).filter(|slot| self.is_free(*slot));
        // One that an earlier daemon counted in last of all: its interface may come yet.
        let slot = free.clone().find(|slot| !taken.contains(slot));
        let slot = slot.or_else(|| free.next());
        let slot = slot.context("too many interfaces")?;
        self.datapath.reset_counters(slot)?;
        Ok(slot)
    }

    fn is_free(&self, slot: usize) -> bool {
        self.interfaces.iter().all(|known| known.slot != slot)
    }

    /// Lets go of interfaces that the configuration in force doesn't name.
    pub(super) fn detach_unnamed(&mut self) {
        let named: Vec<IfName> = {
            let named = self.config.interfaces.iter();
            named.map(|one| one.name.clone()).collect()
        };
        let gone = self.interfaces.iter();
        let gone = gone.filter(|known| !named.contains(&known.configured));
        let gone: Vec<IfName> = gone.map(|known| known.configured.clone()).collect();
        self.detach_named(&gone);
    }

    /// Detaches interfaces, by the configuration's names.
    pub(super) fn detach_named(&mut self, names: &[IfName]) {
        let (gone, kept) = std::mem::take(&mut self.interfaces)
            .into_iter()
            .partition(|known| names.contains(&known.configured));
        self.interfaces = kept;
        for interface in gone {
            if interface.attached.is_none() {
                continue;
            }
            match self.datapath.detach(&interface.configured) {
                Ok(()) => self.note_detached(&interface.name, DetachCause::Config),
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    tracing::error!(interface = %interface.name, "could not detach: {error:#}");
                }
            }
        }
    }

    /// Says that another device has taken the name that the configuration has for an interface.
    pub(super) fn other_of_that_name(&self, interface: &Interface) -> Option<String> {
        let Interface {
            configured, name, ..
        } = interface;
        let (index, _) = self.datapath.device_of(configured)?;
        let held = interface.attached?.index;
        (held != index).then(|| {
            format!(
                "another interface is called {configured} now, and is not protected: the one that \
                 was is {name}, and goes on being protected. Name both in the configuration as they \
                 are called now"
            )
        })
    }

    /// Says in a line what is protected, for the service manager.
    pub(super) fn tell_protection(&self) {
        let (mut protected, mut waiting) = (Vec::new(), Vec::new());
        for interface in &self.interfaces {
            match &interface.waiting {
                Some(waits) => {
                    waiting.push(format!("{} ({})", interface.name, waits.reason.name()))
                }
                None => protected.push(interface.name.to_string()),
            }
        }
        let mut line = match protected.is_empty() {
            true => "filtering on no interface".to_owned(),
            false => format!("filtering on {}", protected.join(", ")),
        };
        if !waiting.is_empty() {
            line += &format!("; waiting for {}", waiting.join(", "));
        }
        self.protection.send_if_modified(|told| {
            let changed = *told != line;
            *told = line;
            changed
        });
    }

    /// What is protected and what is waited for, in a line that changes with it.
    pub fn protection(&self) -> tokio::sync::watch::Receiver<String> {
        self.protection.subscribe()
    }
}
