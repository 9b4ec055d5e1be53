//! Putting another configuration in force, all of it or none.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow, bail};
use jiff::Timestamp;

use super::lists::refuse_unknown;
use super::{Control, Overrides};
use crate::api::types::{Apply, ApplyReport, Happening, ListKind, Reloaded};
use crate::config::{Config, Loaded, Problem};
use crate::domain::{AttachMode, Mode, Prefix};

impl Overrides {
    /// A configuration with the command line's choices over it.
    pub fn over(&self, mut config: Config) -> Config {
        if !self.interfaces.is_empty() {
            let attach = self.attach.unwrap_or(AttachMode::Auto);
            config.interfaces = self
                .interfaces
                .iter()
                .map(|name| crate::config::Interface {
                    name: name.clone(),
                    attach,
                    required: false,
                })
                .collect();
        } else if let Some(attach) = self.attach {
            config
                .interfaces
                .iter_mut()
                .for_each(|interface| interface.attach = attach);
        }
        if self.observe {
            config.mode = Mode::Observe;
        }
        config
    }
}

impl Control {
    /// Checks a configuration and puts it in force; when anything is wrong with it, the one in
    /// force stays.
    pub fn apply(&mut self, request: &Apply) -> Result<ApplyReport> {
        if request.dry_run {
            return self.would_change(request);
        }
        let before = self.config.clone();
        let waits = self.may_apply(request.confirm_within);
        let applied = waits.and_then(|waits| {
            let report = self
                .load_for(request)
                .and_then(|loaded| self.put_in_force(loaded))?;
            Ok((report, waits))
        });
        let applied = applied.map(|(report, waits)| {
            if let Some(time) = waits {
                let path = request.path.clone();
                let path = path.unwrap_or_else(|| self.reloads.path.clone());
                self.await_confirmation(before, path, time);
            }
            report
        });
        let path = match &request.path {
            Some(path) => path.clone(),
            None => self.reloads.path.clone(),
        };
        let (changes, refused) = match &applied {
            Ok(report) => {
                self.reloads.done += 1;
                self.reloads.loaded = Timestamp::now();
                self.reloads.last_error = None;
                tracing::info!(path = self.reloads.path, "configuration in force");
                (report.changes.clone(), None)
            }
            Err(error) => {
                self.reloads.refused += 1;
                self.reloads.last_error = Some(format!("{error:#}"));
                tracing::error!("configuration refused, the one in force stays: {error:#}");
                (Vec::new(), Some(format!("{error:#}")))
            }
        };
        self.note(Happening::Reload(Reloaded {
            path,
            changes,
            error: refused,
        }));
        applied
    }

    /// What a configuration would change, without that.
    fn would_change(&mut self, request: &Apply) -> Result<ApplyReport> {
        let loaded = self.load_for(request)?;
        let next = self.overrides.over(loaded.config.clone());
        let mut report = self.report_on(&next, &loaded);
        let next = self.keep_what_needs_restart(next, &mut report);
        self.refuse_cutting_off(&next)?;
        self.wanted_limits(&next)?;
        self.refuse_one_by_two_names(&next)?;
        Ok(report)
    }

    fn report_on(&self, next: &Config, loaded: &Loaded) -> ApplyReport {
        ApplyReport {
            changes: self.changes_to(next),
            needs_restart: Vec::new(),
            warnings: loaded
                .warnings
                .iter()
                .map(|w: &Problem| format!("line {}: {}", w.line, w.message))
                .collect(),
        }
    }

    fn load_for(&self, request: &Apply) -> Result<Loaded> {
        match (&request.text, &request.path) {
            (Some(text), path) => {
                let name = path.as_deref().unwrap_or("configuration");
                Ok(Config::parse(text, name)?)
            }
            (None, Some(path)) => Err(anyhow!("the text of {path} is missing")),
            (None, None) if self.reloads.path.is_empty() => Err(anyhow!(
                "the daemon was started without a file: give one to apply"
            )),
            (None, None) => Ok(Config::load(self.reloads.path.as_ref())?),
        }
    }

    pub(super) fn put_in_force(&mut self, loaded: Loaded) -> Result<ApplyReport> {
        let next = self.overrides.over(loaded.config.clone());
        let mut report = self.report_on(&next, &loaded);
        let next = self.keep_what_needs_restart(next, &mut report);
        self.refuse_cutting_off(&next)?;
        // What can fail comes first and can be taken back.
        self.wanted_limits(&next)?;
        self.refuse_one_by_two_names(&next)?;
        let renamed = self.names_to_change(&next);
        self.change_names(&renamed);
        let back: Vec<_> = renamed.into_iter().map(|(from, to)| (to, from)).collect();
        let added = self.attach_new(&next);
        let added = added.inspect_err(|_refused| self.change_names(&back))?;
        let before = std::mem::replace(&mut self.config, next);
        if let Err(error) = self.settle_config(&before) {
            // Detached first, so that the policy no longer names them.
            self.detach_named(&added);
            self.change_names(&back);
            let next = std::mem::replace(&mut self.config, before);
            if let Err(second) = self.settle_config(&next) {
                tracing::error!("could not take back a refused configuration: {second:#}");
            }
            return Err(error);
        }
        self.detach_unnamed();
        self.tell_protection();
        self.settle_feeds(&before);
        if let Err(error) = self.publish_policy() {
            // In force all the same: only counter slots of interfaces that went are still named.
            report.warnings.push(format!("{error:#}"));
        }
        Ok(report)
    }

    /// A configuration that newly blocks what this host must hear from, unless it allows it as well, is
    /// taken for a mistake.
    fn refuse_cutting_off(&mut self, next: &Config) -> Result<()> {
        let old: BTreeSet<&Prefix> = self.config.block.iter().collect();
        let new = next.block.iter().filter(|prefix| !old.contains(prefix));
        let new: Vec<Prefix> = new.copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut protected = self.protected_peers();
        refuse_unknown(
            &protected,
            "leave block.prefixes as it was, and use `xdp-throttle block add --force`",
        )?;
        protected.retain(|peer| !next.allow.iter().any(|allow| allow.covers(&peer.prefix)));
        for prefix in &new {
            if let Some(what) = self.cuts_off(&protected, prefix) {
                bail!(
                    "block.prefixes has {prefix}, which holds {what}, and would cut this host off: \
                     put that into allow.prefixes as well"
                );
            }
        }
        Ok(())
    }

    /// Brings entries, limits and policy from one configuration to the one now held.
    fn settle_config(&mut self, before: &Config) -> Result<()> {
        let (allow, block) = (self.config.allow.clone(), self.config.block.clone());
        // The allowlist grows before the blocklist changes and shrinks after it: who passes under
        // both configurations is not blocked for a moment in between.
        let both: BTreeSet<Prefix> = before.allow.iter().chain(&allow).copied().collect();
        let both: Vec<Prefix> = both.into_iter().collect();
        self.change_config_entries(ListKind::Allow, &before.allow, &both)?;
        self.change_config_entries(ListKind::Block, &before.block, &block)?;
        self.change_config_entries(ListKind::Allow, &both, &allow)?;
        self.store_limits()?;
        self.store_classes()?;
        self.publish_policy()
    }

    /// Sections that are read at start only keep their values, and the report says so.
    fn keep_what_needs_restart(&self, mut next: Config, report: &mut ApplyReport) -> Config {
        let old = &self.config;
        macro_rules! keep {
            ($($section:ident)+) => {$(
                if next.$section != old.$section {
                    report.needs_restart.push(concat!("[", stringify!($section), "]").to_owned());
                    next.$section = old.$section.clone();
                }
            )+};
        }
        keep!(capacity metrics control state pins daemon log);
        if next.events.outlets != old.events.outlets {
            let words = "[events] file, file_size, file_count and mask_addresses";
            report.needs_restart.push(words.to_owned());
            next.events.outlets = old.events.outlets.clone();
        }
        for wanted in &mut next.interfaces {
            if let Some(held) = old.interfaces.iter().find(|held| held.name == wanted.name)
                && held.attach != wanted.attach
            {
                report
                    .needs_restart
                    .push(format!("attach of {}", wanted.name));
                wanted.attach = held.attach;
            }
        }
        next
    }

    fn changes_to(&self, next: &Config) -> Vec<String> {
        let old = &self.config;
        let mut changes = Vec::new();
        if next.mode != old.mode {
            changes.push(format!("mode: {} to {}", old.mode, next.mode));
        }
        let names = |config: &Config| {
            config
                .interfaces
                .iter()
                .map(|i| i.name.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        };
        if names(next) != names(old) {
            changes.push(format!("interfaces: {} to {}", names(old), names(next)));
        }
        for (what, changed) in [
            (
                "observe_reasons",
                next.observe_reasons != old.observe_reasons,
            ),
            ("[source]", next.source != old.source),
            ("[limits]", next.limits != old.limits),
            ("[[override]]", next.overrides != old.overrides),
            ("[ban]", next.ban != old.ban),
            ("[sanity]", next.sanity != old.sanity),
            ("[mitigation]", next.mitigation != old.mitigation),
            ("[[class]]", next.classes != old.classes),
            ("[aggregate]", next.aggregate != old.aggregate),
            ("[allow]", next.allow != old.allow),
            ("[block]", next.block != old.block),
            ("[[list]]", next.lists != old.lists),
            ("[events]", next.events.sampling != old.events.sampling),
        ] {
            if changed {
                changes.push(format!("{what} changed"));
            }
        }
        changes
    }
}
