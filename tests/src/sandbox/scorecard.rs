//! What was promised against what was measured, a line each.

use std::fmt;

use serde::Serialize;

/// One promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Was it kept?
    pub ok: bool,
    /// Its name.
    pub name: &'static str,
    /// What was measured, with its unit.
    pub measured: String,
    /// What was asked for, with its unit.
    pub target: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = if self.ok { "ok" } else { "short" };
        let Self {
            name,
            measured,
            target,
            ..
        } = self;
        write!(f, "{result} {name} {measured} {target}")
    }
}

/// All promises of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Scorecard(Vec<Line>);

impl Scorecard {
    pub(super) fn add(
        &mut self,
        ok: bool,
        name: &'static str,
        measured: impl Into<String>,
        target: impl Into<String>,
    ) {
        self.0.push(Line {
            ok,
            name,
            measured: measured.into(),
            target: target.into(),
        });
    }

    /// Was every promise kept?
    #[must_use]
    pub fn all_ok(&self) -> bool {
        self.0.iter().all(|line| line.ok)
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_short_line_spoils_the_whole() {
        let mut card = Scorecard::default();
        card.add(true, "speed", "10", ">=9");
        assert!(card.all_ok());
        card.add(false, "leak", "3", "<=2");
        assert!(!card.all_ok());
        assert_eq!(card.lines()[1].to_string(), "short leak 3 <=2");
    }
}
