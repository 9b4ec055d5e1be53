//! Limits: the configuration's, and those set at run time over them.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};

use super::Control;
use super::policy;
use crate::api::types::{LimitFields, LimitList, LimitView, SetLimits};
use crate::config::{Config, Limits};
use crate::domain::Prefix;

const CONFIG: &str = "config";
const RUNTIME: &str = "runtime";

impl Control {
    /// The default limits and every override.
    pub fn list_limits(&mut self) -> Result<LimitList> {
        let mut limits = vec![LimitView {
            prefix: None,
            limits: fields(&self.default_limits()?),
            origin: self.origin(None),
        }];
        for (prefix, stored) in &self.stored_limits {
            let origin = self.origin(Some(*prefix));
            limits.push(LimitView {
                prefix: Some(*prefix),
                limits: fields(stored),
                origin,
            });
        }
        Ok(LimitList { limits })
    }

    /// Changes the limits of everybody or of a prefix, or forgets such a change: that of a prefix, or
    /// without one all of them.
    pub fn set_limits(&mut self, request: SetLimits) -> Result<LimitList> {
        let before = self.runtime_limits.clone();
        if request.reset && request.prefix.is_none() {
            self.runtime_limits.clear();
        } else if request.reset {
            self.runtime_limits.remove(&request.prefix);
        } else {
            if request.limits == LimitFields::default() {
                bail!("nothing to change: give at least one limit, or reset");
            }
            let merged = merge(self.runtime_limits.get(&request.prefix), request.limits);
            self.runtime_limits.insert(request.prefix, merged);
        }
        if let Err(error) = self
            .wanted_limits(&self.config)
            .and_then(|_valid| self.default_limits())
        {
            self.runtime_limits = before;
            return Err(error);
        }
        let kept = self.runtime_limits.get(&request.prefix).cloned();
        let written = match self.runtime_limits.is_empty() {
            true => self.state.forget_limits(),
            false => self
                .state
                .set_limits(request.prefix.as_ref(), kept.as_ref()),
        };
        if let Err(error) = written {
            self.runtime_limits = before;
            return Err(error);
        }
        self.store_limits()?;
        self.publish_policy()?;
        self.list_limits()
    }

    /// The limits of every source without an override.
    pub(super) fn default_limits(&self) -> Result<Limits> {
        resolve(&self.config.limits, self.runtime_limits.get(&None))
    }

    /// The limits that a source is under, with the prefix of the override.
    pub(super) fn limits_of(&self, source: &Prefix) -> Result<LimitView> {
        let longest = self
            .stored_limits
            .iter()
            .filter(|(prefix, _)| prefix.covers(source))
            .max_by_key(|(p, _)| p.prefix_len());
        Ok(match longest {
            Some((prefix, stored)) => LimitView {
                prefix: Some(*prefix),
                limits: fields(stored),
                origin: self.origin(Some(*prefix)),
            },
            None => LimitView {
                prefix: None,
                limits: fields(&self.default_limits()?),
                origin: self.origin(None),
            },
        })
    }

    pub(super) fn restore_limits(&mut self) -> Result<()> {
        self.runtime_limits = self.state.limits()?.into_iter().collect();
        if let Err(error) = self
            .wanted_limits(&self.config)
            .and_then(|_valid| self.default_limits())
        {
            self.warnings.push(format!(
                "limits set at run time no longer fit the configuration and are ignored: {error:#}"
            ));
            self.runtime_limits.clear();
        }
        self.store_limits()
    }

    /// Every override of a configuration with the changes at run time over it.
    pub(super) fn wanted_limits(&self, config: &Config) -> Result<BTreeMap<Prefix, Limits>> {
        let default = resolve(&config.limits, self.runtime_limits.get(&None))?;
        let mut wanted = BTreeMap::new();
        for entry in &config.overrides {
            wanted.extend(entry.prefixes.iter().map(|prefix| (*prefix, entry.limits)));
        }
        for (prefix, changed) in &self.runtime_limits {
            if let Some(prefix) = prefix {
                let base = wanted.get(prefix).copied().unwrap_or(default);
                wanted.insert(*prefix, resolve(&base, Some(changed))?);
            }
        }
        // Each family has a table of its own.
        let capacity = self.config.capacity.overrides;
        let ipv4 = wanted.keys().filter(|prefix| prefix.is_ipv4()).count();
        let most = ipv4.max(wanted.len() - ipv4);
        if most > capacity as usize {
            bail!(
                "{most} overrides of one family don't fit: raise capacity.overrides (now \
                 {capacity}) and restart"
            );
        }
        Ok(wanted)
    }

    /// Brings the kernel's overrides to what is wanted: what comes before what goes.
    pub(super) fn store_limits(&mut self) -> Result<()> {
        let wanted = self.wanted_limits(&self.config)?;
        for (prefix, limits) in &wanted {
            if self.stored_limits.get(prefix) != Some(limits) {
                self.datapath.put_limits(prefix, &policy::limits(limits))?;
                self.stored_limits.insert(*prefix, *limits);
            }
        }
        let stored: Vec<Prefix> = self.stored_limits.keys().copied().collect();
        for prefix in stored.iter().filter(|prefix| !wanted.contains_key(prefix)) {
            self.datapath.remove_limits(prefix)?;
            self.stored_limits.remove(prefix);
        }
        Ok(())
    }

    fn origin(&self, prefix: Option<Prefix>) -> String {
        let set = self.runtime_limits.contains_key(&prefix);
        (if set { RUNTIME } else { CONFIG }).to_owned()
    }
}

/// Limits with some fields changed. The configuration's own parser judges the result, so that a
/// limit means the same in the file and on the command line.
fn resolve(base: &Limits, changed: Option<&LimitFields>) -> Result<Limits> {
    let Some(changed) = changed else {
        return Ok(*base);
    };
    let mut table = toml::Table::new();
    for (key, value) in pairs(&complete(base, changed)) {
        table.insert(key.to_owned(), toml::Value::String(value));
    }
    let mut root = toml::Table::new();
    root.insert("limits".to_owned(), toml::Value::Table(table));
    let text = toml::to_string(&root)?;
    let loaded = Config::parse(&text, "limits").map_err(|error| {
        let problems: Vec<String> = error
            .problems
            .iter()
            .map(|p| format!("{}: {}", p.key, p.message))
            .collect();
        anyhow!("{}", problems.join("; "))
    })?;
    Ok(loaded.config.limits)
}

/// Every field: the changed ones, and the base's where a change doesn't touch them. A new rate
/// without a burst takes the burst that the configuration derives from it.
fn complete(base: &Limits, changed: &LimitFields) -> LimitFields {
    let base = fields(base);
    let pick = |new: &Option<String>, old: Option<String>| new.clone().or(old);
    let burst = |rate: &Option<String>, new: &Option<String>, old: Option<String>| match (new, rate)
    {
        (Some(new), _) => Some(new.clone()),
        (None, Some(_)) => None,
        (None, None) => old,
    };
    LimitFields {
        packets: pick(&changed.packets, base.packets),
        packets_burst: burst(&changed.packets, &changed.packets_burst, base.packets_burst),
        bytes: pick(&changed.bytes, base.bytes),
        bytes_burst: burst(&changed.bytes, &changed.bytes_burst, base.bytes_burst),
        tcp_new: pick(&changed.tcp_new, base.tcp_new),
        tcp_new_burst: burst(&changed.tcp_new, &changed.tcp_new_burst, base.tcp_new_burst),
    }
}

/// A change over an earlier one. A new rate drops the burst that was given with the old one.
fn merge(old: Option<&LimitFields>, new: LimitFields) -> LimitFields {
    let old = old.cloned().unwrap_or_default();
    let burst = |rate: &Option<String>, new: Option<String>, old: Option<String>| {
        new.or(if rate.is_some() { None } else { old })
    };
    LimitFields {
        packets_burst: burst(&new.packets, new.packets_burst, old.packets_burst),
        packets: new.packets.or(old.packets),
        bytes_burst: burst(&new.bytes, new.bytes_burst, old.bytes_burst),
        bytes: new.bytes.or(old.bytes),
        tcp_new_burst: burst(&new.tcp_new, new.tcp_new_burst, old.tcp_new_burst),
        tcp_new: new.tcp_new.or(old.tcp_new),
    }
}

/// Limits as text, every field given but the bursts of limits that are off.
pub(super) fn fields(limits: &Limits) -> LimitFields {
    let off = || Some("off".to_owned());
    LimitFields {
        packets: limits
            .packets
            .map_or_else(off, |l| Some(l.rate.to_string())),
        packets_burst: limits.packets.map(|l| l.burst.to_string()),
        bytes: limits.bytes.map_or_else(off, |l| Some(l.rate.to_string())),
        bytes_burst: limits.bytes.map(|l| l.burst.to_string()),
        tcp_new: limits
            .tcp_new
            .map_or_else(off, |l| Some(l.rate.to_string())),
        tcp_new_burst: limits.tcp_new.map(|l| l.burst.to_string()),
    }
}

fn pairs(fields: &LimitFields) -> Vec<(&'static str, String)> {
    [
        ("packets", &fields.packets),
        ("packets_burst", &fields.packets_burst),
        ("bytes", &fields.bytes),
        ("bytes_burst", &fields.bytes_burst),
        ("tcp_new", &fields.tcp_new),
        ("tcp_new_burst", &fields.tcp_new_burst),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value.clone()?)))
    .collect()
}
