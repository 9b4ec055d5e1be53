//! `cargo xtask docs`: the pages that the program writes about itself, and the dashboards.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    dashboards, process,
    setup::{self, Purpose},
    workspace,
};

/// The pages that `xdp-throttle generate-docs` writes.
const PAGES: [&str; 5] = [
    "configuration.md",
    "metrics.md",
    "cli.md",
    "reasons.md",
    "openapi.json",
];

/// Write docs/{configuration,metrics,cli,reasons}.md and openapi.json from the program itself, and the dashboards in
/// packaging/grafana from xtask/src/dashboards.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only compare, and fail when a page differs from what the program would write.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(Purpose::Build)?;
    if arguments.check {
        return check();
    }
    dashboards::write(&workspace::root())?;
    generate(&pages_dir())
}

/// Fails when a committed page isn't what the program writes now.
pub(crate) fn check() -> Result<()> {
    let fresh = workspace::target_dir()?.join("generated-docs");
    fs::create_dir_all(&fresh).with_context(|| format!("creating {}", fresh.display()))?;
    generate(&fresh)?;
    let mut stale = differing(&pages_dir(), &fresh)?;
    stale.extend(dashboards::stale(&workspace::root())?);
    if !stale.is_empty() {
        bail!(
            "{} would be written otherwise: run `cargo xtask docs` and commit the result",
            stale.join(", ")
        );
    }
    Ok(())
}

fn pages_dir() -> PathBuf {
    workspace::root().join("docs")
}

fn generate(dir: &Path) -> Result<()> {
    let mut command = process::command(workspace::cargo());
    command.args(["run", "--quiet", "--package", "xdp-user"]);
    command.args(["--bin", "xdp-throttle", "--", "generate-docs", "--dir"]);
    process::run(command.arg(dir))
}

fn differing(committed: &Path, fresh: &Path) -> Result<Vec<String>> {
    let mut stale = Vec::new();
    for page in PAGES {
        let path = fresh.join(page);
        let new = fs::read(&path)
            .with_context(|| format!("reading {}, which generate-docs writes", path.display()))?;
        // A page that was never committed differs, too.
        if fs::read(committed.join(page)).ok() != Some(new) {
            stale.push(format!("docs/{page}"));
        }
    }
    Ok(stale)
}
