//! A start that takes nothing away: what it changes of what an earlier daemon left, it changes at the
//! end, when nothing can fail any more.
//!
//! Until [`KernelDatapath::commit`] a start writes to memory that no packet looks at: maps of its own,
//! pinned beside those in force; or, where it takes the pinned maps over, lists beside the lists in
//! force, and a note of what is to be written to the rest. Links that were left keep their program,
//! links that it made are not pinned. A start that fails drops all that, and nothing has changed.

use std::collections::BTreeMap;

use xdp_common::abi::{Ban, Limits, POLICY_SLOTS, Policy, SourceKey};

use super::super::source_table::Lengths;
use super::super::{DatapathError, Result};
use super::pins::StagedMaps;
use super::{KernelDatapath, failed, full_or_failed};
use crate::domain::Prefix;

/// A start that is not in force yet.
pub(super) enum Start {
    /// In maps of its own: who fills them is seen by no packet of an interface that was left.
    Beside(StagedMaps),
    /// In the maps that were left, which packets look at.
    Over(Box<Noted>),
}

/// What is to be written to maps that were taken over.
#[derive(Default)]
pub(super) struct Noted {
    pub(super) policy: Option<Policy>,
    pub(super) limits: Vec<(Prefix, Limits)>,
    pub(super) bans: Vec<(SourceKey, Ban)>,
    pub(super) resets: Vec<usize>,
}

impl KernelDatapath {
    /// Where changes are noted and not made, if they are.
    pub(super) fn noted(&mut self) -> Option<&mut Noted> {
        match &mut self.start {
            Some(Start::Over(noted)) => Some(noted),
            Some(Start::Beside(_)) | None => None,
        }
    }

    /// Puts the start in force. Says what it could not do and goes on without.
    ///
    /// # Errors
    /// When it can't be; then what was in force is.
    pub(super) fn commit(&mut self, limited: &[Prefix]) -> Result<Vec<String>> {
        let mut told = Vec::new();
        match self.start.take() {
            None => return Ok(told),
            Some(Start::Beside(staged)) => {
                if let Some(pins) = &mut self.pins {
                    pins.settle()
                        .map_err(|e| failed("pin the new maps in the place of the old", e))?;
                }
                staged.settled();
            }
            Some(Start::Over(noted)) => told.extend(self.write(*noted, limited)?),
        }
        self.take_links(true);
        Ok(told)
    }

    /// Brings the maps that were taken over to what was noted.
    fn write(&mut self, noted: Noted, limited: &[Prefix]) -> Result<Option<String>> {
        let Noted {
            policy,
            limits,
            bans,
            resets,
        } = noted;
        // All that can fail, where no packet sees it.
        for slot in resets {
            self.reset_slot(slot)?;
        }
        let next = match &policy {
            Some(policy) => {
                self.add_stages(policy.flags)?;
                Some(self.write_policy(policy)?)
            }
            None => None,
        };
        self.lists.stage()?;
        // Packets see these: what was there before comes back if one is refused.
        let before = self.limits.all()?;
        for (prefix, new) in &limits {
            if let Err(error) = self.put_limits_for(prefix, new, limited) {
                self.restore_limits(&before);
                return Err(error);
            }
        }
        if let Some(next) = next
            && let Err(error) = self.active.set(0, next, 0)
        {
            self.restore_limits(&before);
            return Err(failed("activate a policy", error));
        }
        // From here on nothing fails.
        self.lists.publish_staged();
        if let Some(policy) = &policy {
            self.settle_policy(policy);
        }
        if let Err(error) = self.limits.retain(limited) {
            tracing::warn!("limits that are no longer configured stay in their table: {error}");
        }
        let (mut lost, mut why) = (0_u64, None);
        for (source, ban) in &bans {
            if let Err(error) = self.store_ban(source, ban) {
                lost += 1;
                why = Some(error);
            }
        }
        Ok(why.map(|error| format!("{lost} bans could not be restored: {error}")))
    }

    /// A full table loses what is not wanted any more, not before.
    fn put_limits_for(&mut self, prefix: &Prefix, new: &Limits, limited: &[Prefix]) -> Result<()> {
        match self.limits.put(prefix, *new) {
            Err(DatapathError::Full { .. }) => {
                self.limits.retain(limited)?;
                self.limits.put(prefix, *new)
            }
            done => done,
        }
    }

    fn restore_limits(&mut self, before: &BTreeMap<Prefix, Limits>) {
        let kept: Vec<Prefix> = before.keys().copied().collect();
        let mut restored = self.limits.retain(&kept);
        for (prefix, limits) in before {
            restored = restored.and(self.limits.put(prefix, *limits));
        }
        if let Err(error) = restored {
            tracing::error!("the limits of before could not be put back: {error}");
        }
    }

    /// Writes a policy where no packet looks, and says where.
    pub(super) fn write_policy(&mut self, policy: &Policy) -> Result<u32> {
        let active = self
            .active
            .get(&0, 0)
            .map_err(|e| failed("read the active policy", e))?;
        let next = (active + 1) % POLICY_SLOTS;
        let policy = &Policy {
            class_bank: self.classes.bank(),
            ..*policy
        };
        self.policy
            .set(next, policy, 0)
            .map_err(|e| failed("write a policy", e))?;
        Ok(next)
    }

    pub(super) fn store_ban(&mut self, source: &SourceKey, ban: &Ban) -> Result<()> {
        self.bans
            .map
            .insert(source, ban, 0)
            .map_err(|e| full_or_failed("bans", "store a ban", e))?;
        self.sources.mark_ban(source);
        self.known.add(self.sources.tag(source));
        Ok(())
    }

    /// What follows from a policy that packets see now.
    pub(super) fn settle_policy(&mut self, policy: &Policy) {
        self.changes.raise();
        let lengths = Lengths(policy.source_len_v4, policy.source_len_v6);
        if lengths != self.lengths {
            // What is known is of sources that no packet belongs to any more.
            self.lengths = lengths;
            self.sources.clear();
            self.protected = 0;
        }
        self.drop_stages(policy.flags);
    }
}
