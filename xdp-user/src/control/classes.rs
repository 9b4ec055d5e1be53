//! Service classes: what the program is told of them, and the states that they are in.

pub(super) mod alone;
mod build;
mod escalation;
mod numbers;

use std::collections::VecDeque;

use anyhow::Result;
use xdp_common::abi::{ClassCounter, MAX_CLASSES, MAX_INTERFACES, Plain};
use xdp_common::packet::Packet;

use super::Control;
use super::clock::Moment;
use crate::api::types::{
    AsideStatus, ClassChanged, ClassCounts, ClassList, ClassStatus, ClassView, Family, Happening,
    MitigationStatus, StateChange, StateChanges,
};
use crate::config::{Class, Forwarding};
use crate::datapath::{ClassReading, ClassSet};
use crate::domain::{ClassState, IfName};
pub(super) use build::limits;
use escalation::{Escalation, Look, Step};
use numbers::Numbers;

/// Changes of states that `status` shows.
const CHANGES_KEPT: usize = 64;

/// On this interface packets of this family may be for somebody else than this host's sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// The interface.
    pub interface: IfName,
    /// Which packets.
    pub family: Family,
    /// Why, as a sentence.
    pub reason: String,
    /// Whether a complete flow memory tells these packets, so that classes need not stand aside then.
    pub told_by_flows: bool,
}

/// What is kept of the classes.
pub(super) struct Classes {
    numbers: Numbers,
    /// What the program was told last.
    stored: Option<ClassSet>,
    /// By number.
    kept: [Kept; MAX_CLASSES],
    asides: Vec<Aside>,
    changes: VecDeque<StateChange>,
}

/// What is kept of a number.
#[derive(Clone, Copy)]
struct Kept {
    escalation: Escalation,
    changes: StateChanges,
    /// What a class counted that had the number before.
    before: ClassCounter,
}

/// A class with what is going on in it.
struct Seen<'a> {
    number: usize,
    class: &'a Class,
    kept: Kept,
    reading: &'a ClassReading,
}

impl Kept {
    fn new(state: ClassState, reading: &ClassReading, now: Moment) -> Self {
        Self {
            escalation: Escalation::new(state, look(reading, now)),
            changes: StateChanges::default(),
            before: ClassCounter::ZERO,
        }
    }
}

impl Classes {
    pub(super) fn new(now: Moment) -> Self {
        let kept = Kept::new(ClassState::Normal, &ClassReading::default(), now);
        Self {
            numbers: Numbers::default(),
            stored: None,
            kept: [kept; MAX_CLASSES],
            asides: Vec::new(),
            changes: VecDeque::new(),
        }
    }

    /// The set that the program was told last.
    pub(super) fn stored(&self) -> Option<&ClassSet> {
        self.stored.as_ref()
    }

    /// The classes of a configuration with what is going on in them, in the order of their numbers.
    fn seen<'a>(&self, classes: &'a [Class], readings: &'a [ClassReading]) -> Vec<Seen<'a>> {
        let seen = classes.iter().filter_map(|class| {
            let number = self.numbers.of(&class.name)?;
            Some(Seen {
                number,
                class,
                kept: *self.kept.get(number)?,
                reading: readings.get(number)?,
            })
        });
        let mut seen: Vec<_> = seen.collect();
        seen.sort_by_key(|seen| seen.number);
        seen
    }

    fn note(&mut self, change: StateChange) {
        if self.changes.len() >= CHANGES_KEPT {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }
}

fn look(reading: &ClassReading, now: Moment) -> Look {
    Look {
        now_ns: now.boot_ns,
        over: reading.counter.over,
        pressure_until_ns: reading.pressure_until_ns,
    }
}

impl Control {
    /// Writes the configuration's classes beside those in force; the next policy puts them in force.
    pub(super) fn store_classes(&mut self) -> Result<()> {
        let used_before = self.classes.numbers.give(&self.config.classes);
        if !used_before.is_empty() {
            self.start_anew(&used_before)?;
        }
        let config = &self.config;
        let set = build::class_set(&config.classes, &config.mitigation, &self.classes.numbers);
        if self.classes.stored.as_ref() != Some(&set) {
            self.datapath.set_classes(&set)?;
            self.classes.stored = Some(set);
        }
        Ok(())
    }

    /// Numbers that go to another class: what they counted until now was not that one's.
    fn start_anew(&mut self, numbers: &[usize]) -> Result<()> {
        let now = Self::now();
        let readings = self.datapath.classes()?;
        for number in numbers {
            let reading = readings.get(*number).copied().unwrap_or_default();
            self.datapath
                .set_class_level(*number, ClassState::Normal.level())?;
            if let Some(kept) = self.classes.kept.get_mut(*number) {
                *kept = Kept {
                    before: reading.counter,
                    ..Kept::new(ClassState::Normal, &reading, now)
                };
            }
        }
        Ok(())
    }

    /// Takes over the states that the program has.
    pub(super) fn restore_class_states(&mut self) -> Result<()> {
        let now = Self::now();
        let readings = self.datapath.classes()?;
        for (kept, reading) in self.classes.kept.iter_mut().zip(&readings) {
            *kept = Kept::new(ClassState::of_level(reading.level), reading, now);
        }
        Ok(())
    }

    /// Looks at what the classes counted, several times a second, and sets the state of those whose
    /// has changed.
    pub(super) fn look_at_classes(&mut self, now: Moment) -> Result<()> {
        let enabled = self.config.mitigation.enabled;
        let at_rest = |kept: &Kept| kept.escalation.state() == ClassState::Normal;
        if !enabled && self.classes.kept.iter().all(at_rest) {
            return Ok(());
        }
        let readings = self.datapath.classes()?;
        for seen in self.classes.seen(&self.config.classes, &readings) {
            let Seen {
                number,
                class,
                kept,
                reading,
            } = seen;
            let mut escalation = kept.escalation;
            let look = look(reading, now);
            let step = if enabled {
                let limit = class.budget.filter(|_| class.enabled);
                let budget = limit.map(|limit| limit.rate.packets_per_second());
                escalation.look(look, budget, &self.config.mitigation)
            } else {
                escalation.end(look)
            };
            if let Some(step) = step {
                // When the kernel refuses, the next look sees the same again.
                self.datapath.set_class_level(number, step.to.level())?;
                tell(class, &step);
                let changed = class_changed(class, &step);
                self.journal.publish(now.wall, Happening::Class(changed));
                self.classes.note(StateChange {
                    at: now.wall,
                    class: class.name.to_string(),
                    from: step.from,
                    to: step.to,
                    over_per_second: step.over_per_second,
                });
            }
            if let Some(kept) = self.classes.kept.get_mut(number) {
                kept.escalation = escalation;
                if let Some(step) = step {
                    kept.changes.add(step.to);
                }
            }
        }
        Ok(())
    }

    /// Says where packets may be for somebody else than this host; classes stand aside there, unless
    /// the configuration says to ignore it.
    pub fn set_asides(&mut self, asides: Vec<Aside>) -> Result<()> {
        if self.classes.asides == asides {
            return Ok(());
        }
        let ignored = self.config.mitigation.forwarding == Forwarding::Ignore;
        let is_complete = self.flow_memory_is_complete();
        for aside in asides
            .iter()
            .filter(|one| !self.classes.asides.contains(one))
        {
            let (interface, family, reason) =
                (&aside.interface, aside.family.name(), &aside.reason);
            if ignored {
                tracing::info!(%interface, family, "mitigation.forwarding is ignore: {reason}");
            } else if is_complete && self.goes_by_flows(aside) {
                tracing::info!(%interface, family, "classes go by the flow memory alone: {reason}");
            } else {
                tracing::warn!(%interface, family, "service classes stand aside: {reason}");
            }
        }
        for aside in self
            .classes
            .asides
            .iter()
            .filter(|one| !asides.contains(one))
        {
            let (interface, family) = (&aside.interface, aside.family.name());
            tracing::info!(%interface, family, "no longer: {}", aside.reason);
        }
        let before = std::mem::replace(&mut self.classes.asides, asides);
        let published = self.publish_policy();
        if published.is_err() {
            // The next call tries again.
            self.classes.asides = before;
        }
        published
    }

    /// Counter slots on whose interface classes stand aside, for IPv4 and IPv6.
    pub(super) fn aside_masks(&self, flow_memory: bool) -> [u32; 2] {
        self.masks(|aside| !(flow_memory && self.goes_by_flows(aside)))
    }

    /// Counter slots on whose interface the flow memory tells what no socket does.
    pub(super) fn forwards_masks(&self, flow_memory: bool) -> [u32; 2] {
        self.masks(|aside| flow_memory && self.goes_by_flows(aside))
    }

    /// Whether the flow memory, once it is complete, is to tell what no socket does.
    fn goes_by_flows(&self, aside: &Aside) -> bool {
        aside.told_by_flows && self.config.mitigation.forwarding == Forwarding::FlowMemory
    }

    fn masks(&self, counts: impl Fn(&Aside) -> bool) -> [u32; 2] {
        if self.config.mitigation.forwarding == Forwarding::Ignore {
            return [0; 2];
        }
        Family::ALL.map(|family| {
            let asides = self.classes.asides.iter();
            let of_family = asides.filter(|aside| aside.family == family);
            let mut of_family = of_family.filter(|aside| counts(aside)).peekable();
            // The slot of interfaces that the policy doesn't name yet: they may be among these.
            let mut mask = match of_family.peek() {
                Some(_) => bit(MAX_INTERFACES - 1),
                None => 0,
            };
            for aside in of_family {
                let known = self.interfaces.iter().find(|i| i.name == aside.interface);
                mask |= known.map_or(0, |interface| bit(interface.slot));
            }
            mask
        })
    }

    /// The class of a number.
    pub(super) fn class_by_number(&self, number: usize) -> Option<&Class> {
        let mut classes = self.config.classes.iter();
        classes.find(|class| self.classes.numbers.of(&class.name) == Some(number))
    }

    /// What `explain` says of a frame's class, and of what nobody can know beforehand.
    pub(super) fn class_finding(&self, packet: Option<&Packet>, is_known: bool) -> String {
        let Some(packet) = packet else {
            return "not looked at".to_owned();
        };
        if !self.config.mitigation.enabled {
            return "mitigation is off".to_owned();
        }
        let class = self.class_of(packet);
        let number = class.and_then(|class| self.classes.numbers.of(&class.name));
        let kept = number.and_then(|number| self.classes.kept.get(number));
        let (Some(class), Some(kept)) = (class, kept) else {
            return "no classes".to_owned();
        };
        let who = if is_known {
            "a known source"
        } else {
            "a newcomer"
        };
        let aside = if self.aside_masks(self.flow_memory_is_complete()) == [0; 2] {
            ""
        } else {
            "; stands aside on some interfaces, see `status`"
        };
        let socket = if class.flags().contains(&"solicited") || class.flags().contains(&"proof") {
            "; a socket that waits for it is not asked for here"
        } else {
            ""
        };
        format!(
            "{} is {}, {who}{socket}{aside}",
            class.name,
            kept.escalation.state().name()
        )
    }

    /// Every class with its settings and what goes on in it.
    pub fn list_classes(&mut self) -> Result<ClassList> {
        let now = Self::now();
        let readings = self.datapath.classes()?;
        let seen = self.classes.seen(&self.config.classes, &readings);
        Ok(ClassList {
            enabled: self.config.mitigation.enabled,
            classes: seen.iter().map(|seen| seen.view(now)).collect(),
        })
    }

    pub(super) fn mitigation_status(&self, now: Moment) -> Result<MitigationStatus> {
        let mitigation = &self.config.mitigation;
        let readings = self.datapath.classes()?;
        let seen = self.classes.seen(&self.config.classes, &readings);
        let in_force = mitigation.enabled && mitigation.forwarding != Forwarding::Ignore;
        let asides = self.classes.asides.iter();
        let is_complete = self.flow_memory_is_complete();
        Ok(MitigationStatus {
            enabled: mitigation.enabled,
            forwarding: mitigation.forwarding.name().to_owned(),
            classes: seen.iter().map(|seen| seen.status(now)).collect(),
            asides: asides
                .map(|aside| AsideStatus {
                    interface: aside.interface.as_str().to_owned(),
                    family: aside.family,
                    reason: aside.reason.clone(),
                    in_force: in_force && !(is_complete && self.goes_by_flows(aside)),
                    told_by_flows: in_force && is_complete && self.goes_by_flows(aside),
                })
                .collect(),
            changes: self.classes.changes.iter().cloned().collect(),
        })
    }
}

impl Seen<'_> {
    fn view(&self, now: Moment) -> ClassView {
        let class = self.class;
        ClassView {
            status: self.status(now),
            number: u8::try_from(self.number).unwrap_or(u8::MAX),
            built_in: class.built_in,
            enabled: class.enabled,
            takes: class.takes_in_words(),
            limits: build::limit_words(class),
            flags: class.flags().into_iter().map(str::to_owned).collect(),
        }
    }

    fn status(&self, now: Moment) -> ClassStatus {
        let escalation = &self.kept.escalation;
        let state = escalation.state();
        ClassStatus {
            name: self.class.name.to_string(),
            state,
            since: now.to_wall(escalation.since_ns()),
            switched_on: build::switched_on(self.class, state),
            counts: counts(&self.reading.counter, &self.kept.before),
            state_changes: self.kept.changes,
        }
    }
}

fn bit(slot: usize) -> u32 {
    u32::try_from(slot).map_or(0, |slot| 1u32.checked_shl(slot).unwrap_or(0))
}

impl StateChanges {
    fn add(&mut self, state: ClassState) {
        *match state {
            ClassState::Normal => &mut self.normal,
            ClassState::Elevated => &mut self.elevated,
            ClassState::Attack => &mut self.attack,
        } += 1;
    }
}

/// What a class counted since it has its number.
fn counts(now: &ClassCounter, before: &ClassCounter) -> ClassCounts {
    ClassCounts {
        packets: now.packets.saturating_sub(before.packets),
        bytes: now.bytes.saturating_sub(before.bytes),
        newcomers: now.newcomers.saturating_sub(before.newcomers),
        over: now.over.saturating_sub(before.over),
        proven: now.proven.saturating_sub(before.proven),
        unsolicited: now.unsolicited.saturating_sub(before.unsolicited),
        refused: now.refused.saturating_sub(before.refused),
        cookies: now.cookies.saturating_sub(before.cookies),
        first_packets: now.first_packets.saturating_sub(before.first_packets),
        too_soon: now.too_soon.saturating_sub(before.too_soon),
        returned: now.returned.saturating_sub(before.returned),
        over_returning: now.over_returning.saturating_sub(before.over_returning),
    }
}

fn class_changed(class: &Class, step: &Step) -> ClassChanged {
    ClassChanged {
        class: class.name.to_string(),
        from: step.from,
        to: step.to,
        over_per_second: step.over_per_second,
        switched_on: build::switched_on(class, step.to),
    }
}

/// Into the log: one line for each change.
fn tell(class: &Class, step: &Step) {
    let (from, to) = (step.from.name(), step.to.name());
    let over_per_second = step.over_per_second;
    let budget = class
        .budget
        .map_or_else(|| "off".to_owned(), |limit| limit.rate.to_string());
    let switched_on = build::switched_on(class, step.to).join(", ");
    let class = class.name.as_str();
    match step.to {
        ClassState::Attack => tracing::warn!(
            class,
            from,
            to,
            over_per_second,
            budget,
            switched_on,
            "class under attack"
        ),
        ClassState::Normal | ClassState::Elevated => tracing::info!(
            class,
            from,
            to,
            over_per_second,
            budget,
            switched_on,
            "class changed its state"
        ),
    }
}
