//! Preflight: what would go wrong with a configuration on this host, and the fix for each. Looks, and
//! changes nothing.

mod interface;
mod kernel;
mod memory;
mod rights;
mod surroundings;

use serde::Serialize;

use crate::config::Config;
use crate::host::device;

/// How bad a finding is. The order is that of badness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but less well, or not for all.
    Warn,
    /// It won't work.
    Fail,
}

impl Level {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at; the same word in every version.
    pub check: &'static str,
    /// The interface that it is about, if it is about one.
    pub interface: Option<String>,
    /// What was found.
    pub what: String,
    /// Why it matters; none where all is well.
    pub why: Option<String>,
    /// What to do, commonly a command to type.
    pub fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            check,
            interface: None,
            what: what.into(),
            why: None,
            fix: None,
        }
    }

    fn bad(
        level: Level,
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            level,
            why: Some(why.into()),
            fix: Some(fix.into()),
            ..Self::ok(check, what)
        }
    }

    fn warn(
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::bad(Level::Warn, check, what, why, fix)
    }

    fn fail(
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::bad(Level::Fail, check, what, why, fix)
    }
}

/// All findings, the host's first, then each interface's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst of the findings.
    pub level: Level,
    /// In the order that they were looked at.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings are this bad.
    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        let same = self.findings.iter().filter(|one| one.level == level);
        same.count()
    }
}

/// Looks at this host, with `config` in mind and at its interfaces.
#[must_use]
pub fn examine(config: &Config) -> Report {
    let mut findings = rights::look(config);
    findings.extend(kernel::look());
    findings.push(memory::look(config));
    for interface in &config.interfaces {
        let name = interface.name.as_str();
        let found = match device::look(&interface.name) {
            Ok(Some(device)) => interface::judge(interface, &device, &kernel::program_name),
            Ok(None) => vec![Finding::fail(
                "interface",
                "there is no such interface",
                "the daemon refuses to start without it",
                "ip link shows the names that there are",
            )],
            Err(error) => vec![Finding::warn(
                "interface",
                format!("could not be looked at: {error}"),
                "nothing is known of it",
                format!("ip -details link show dev {name}"),
            )],
        };
        let named = found.into_iter().map(|finding| Finding {
            interface: Some(name.to_owned()),
            ..finding
        });
        findings.extend(named);
    }
    if config.interfaces.is_empty() {
        findings.push(Finding::warn(
            "interface",
            "no interface was looked at",
            "what its driver can decides how fast packets are dropped",
            "xdp-throttle doctor --interface eth0",
        ));
    }
    findings.extend(surroundings::look(config));
    let level = findings.iter().map(|finding| finding.level).max();
    Report {
        level: level.unwrap_or(Level::Ok),
        findings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_reports() {
        let text = "[[interface]]\nname = \"absent0\"\n";
        let report = examine(&Config::parse(text, "test").unwrap().config);
        assert_eq!(report.level, Level::Fail);
        let absent = report.findings.iter().find(|one| one.check == "interface");
        let absent = absent.unwrap();
        assert_eq!(absent.interface.as_deref(), Some("absent0"));
        assert!(report.count(Level::Fail) >= 1);
        let without = examine(&Config::default());
        let named = |one: &&Finding| one.check == "interface";
        let hint = without.findings.iter().find(named).unwrap();
        assert_eq!(hint.level, Level::Warn);
    }

    #[test]
    fn every_finding_that_is_not_well_says_why_and_what_to_do() {
        let text = "[[interface]]\nname = \"lo\"\n[capacity]\nsources = 16777216\n";
        let report = examine(&Config::parse(text, "test").unwrap().config);
        for finding in report.findings {
            let told = finding.why.is_some() && finding.fix.is_some();
            assert_eq!(told, finding.level != Level::Ok, "{finding:?}");
        }
    }
}
