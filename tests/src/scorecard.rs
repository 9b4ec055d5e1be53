//! What was promised against what was measured, a line each.

use std::fmt;

use serde::Serialize;

/// Stands in place of a measurement that is missing.
pub const NOT_MEASURED: &str = "not_measured";

/// One promise: `ok|short NAME MEASURED TARGET`, with ` floor FLOOR` behind where that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Was it kept? Not when it was not measured.
    pub ok: bool,
    /// Its name.
    pub name: String,
    /// What was measured, with its unit, or [`NOT_MEASURED`].
    pub measured: String,
    /// What was asked for, with its unit.
    pub target: String,
    /// What the same run shows for the least that could be done, with its unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<String>,
}

impl Line {
    /// A ratio of at most so much.
    #[must_use]
    pub fn ratio_at_most(name: String, measured: Option<f64>, most: f64) -> Self {
        let ok = measured.is_some_and(|ratio| ratio <= most);
        Self::of_ratio(ok, name, measured, format!("<={most}x"))
    }

    /// A ratio of at least so much.
    #[must_use]
    pub fn ratio_at_least(name: String, measured: Option<f64>, least: f64) -> Self {
        let ok = measured.is_some_and(|ratio| ratio >= least);
        Self::of_ratio(ok, name, measured, format!(">={least}x"))
    }

    fn of_ratio(ok: bool, name: String, measured: Option<f64>, target: String) -> Self {
        let measured = measured.map_or(NOT_MEASURED.into(), |ratio| format!("{ratio:.2}x"));
        Self {
            ok,
            name,
            measured,
            target,
            floor: None,
        }
    }

    /// With the ratio that the same run shows for the least that could be done.
    #[must_use]
    pub fn with_floor(self, floor: Option<f64>) -> Self {
        Self {
            floor: floor.map(|ratio| format!("{ratio:.2}x")),
            ..self
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = if self.ok { "ok" } else { "short" };
        let Self {
            name,
            measured,
            target,
            floor,
            ..
        } = self;
        write!(f, "{result} {name} {measured} {target}")?;
        floor
            .iter()
            .try_for_each(|floor| write!(f, " floor {floor}"))
    }
}

/// All promises of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Scorecard(Vec<Line>);

impl Scorecard {
    /// Adds a promise.
    pub fn add(
        &mut self,
        ok: bool,
        name: impl Into<String>,
        measured: impl Into<String>,
        target: impl Into<String>,
    ) {
        self.push(Line {
            ok,
            name: name.into(),
            measured: measured.into(),
            target: target.into(),
            floor: None,
        });
    }

    /// Adds the promise that nothing of a run is left on the machine.
    pub fn torn_down(&mut self, clean: bool) {
        let measured = if clean { "clean" } else { "leftovers" };
        self.add(clean, "torn_down", measured, "clean");
    }

    /// Adds a line.
    pub fn push(&mut self, line: Line) {
        self.0.push(line);
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

impl Extend<Line> for Scorecard {
    fn extend<I: IntoIterator<Item = Line>>(&mut self, lines: I) {
        self.0.extend(lines);
    }
}

impl FromIterator<Line> for Scorecard {
    fn from_iter<I: IntoIterator<Item = Line>>(lines: I) -> Self {
        Self(lines.into_iter().collect())
    }
}

impl IntoIterator for Scorecard {
    type Item = Line;
    type IntoIter = std::vec::IntoIter<Line>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A line for every promise, as it is printed.
impl fmt::Display for Scorecard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
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
        assert_eq!(card.to_string(), "ok speed 10 >=9\nshort leak 3 <=2\n");
    }
}
