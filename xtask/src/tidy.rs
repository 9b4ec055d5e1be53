//! `cargo xtask tidy`: rules of this repository that no linter knows.
//!
//! Each rule is a function from the repository's texts to the problems it finds.

mod layout;
mod names;
mod paths;
mod source;

use std::fmt;

use anyhow::{Result, bail};

use source::Tree;

use crate::workspace;

/// Check the rules of this repository that no linter knows.
///
/// Source files stay short, every crate inherits the lints, every reason, metric and configuration
/// key is named in a test, and nothing names a place on somebody's machine.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> Result<()> {
    check()
}

/// The rules. A new one is a line here.
const RULES: [fn(&Tree) -> Vec<Problem>; 6] = [
    layout::files_are_short,
    layout::members_inherit_the_lints,
    names::reasons_are_tested,
    names::metrics_are_tested,
    names::config_keys_are_tested,
    paths::no_place_on_a_machine,
];

/// Prints every problem and fails when there is one.
pub(crate) fn check() -> Result<()> {
    let tree = Tree::read(&workspace::root())?;
    let problems: Vec<Problem> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        bail!("tidy found {} problems, listed above", problems.len());
    }
    Ok(())
}

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// From the top of the repository.
    pub(crate) path: String,
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}
