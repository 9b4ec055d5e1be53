//! The dashboards in packaging/grafana, written from what is said of them here: a panel is a line or
//! two, and what all panels share stands once.
//!
//! A selector is short in a query: `{@host}` follows the variables of the data source's hosts,
//! `{@port}` also that of the interface, `[@rate]` and `[@range]` are the spans that Grafana sets.

mod attack;
mod board;
mod health;
mod lists;
mod overview;
mod panel;

use std::{fs, path::Path};

use anyhow::{Context, Result};

use board::Board;

/// The directory that provisioning reads, from the top of the repository.
pub(crate) const DIRECTORY: &str = "packaging/grafana/dashboards";

fn boards() -> [Board; 4] {
    [
        overview::board(),
        attack::board(),
        lists::board(),
        health::board(),
    ]
}

/// Every dashboard's file name and text.
pub(crate) fn files() -> Result<Vec<(String, String)>> {
    let file = |board: Board| {
        let text = serde_json::to_string_pretty(&board.json())?;
        Ok((format!("{}.json", board.name), text + "\n"))
    };
    boards().into_iter().map(file).collect()
}

/// Writes them below the top of the repository.
pub(crate) fn write(root: &Path) -> Result<()> {
    let directory = root.join(DIRECTORY);
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    for (name, text) in files()? {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Names of those that aren't committed as they would be written now.
pub(crate) fn stale(root: &Path) -> Result<Vec<String>> {
    let differs = |(name, text): &(String, String)| {
        let committed = fs::read_to_string(root.join(DIRECTORY).join(name));
        committed.ok().as_ref() != Some(text)
    };
    let stale = files()?.into_iter().filter(differs);
    Ok(stale
        .map(|(name, _)| format!("{DIRECTORY}/{name}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dashboard_has_a_file_of_its_own() {
        let mut names: Vec<String> = files().unwrap().into_iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(
            names,
            ["attack.json", "health.json", "lists.json", "overview.json"]
        );
    }

    #[test]
    fn a_file_that_was_changed_by_hand_is_stale() {
        let root = std::env::temp_dir().join(format!("dashboards-{}", std::process::id()));
        write(&root).unwrap();
        assert!(stale(&root).unwrap().is_empty());
        fs::write(root.join(DIRECTORY).join("attack.json"), "{}").unwrap();
        let found = stale(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, [format!("{DIRECTORY}/attack.json")]);
    }
}
