//! The rules in packaging/prometheus.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::packaging;
use crate::prometheus::RuleFile;

/// The files, recorded figures first.
const FILES: [&str; 2] = ["recording.yml", "alerts.yml"];

/// The directory that they are in.
#[must_use]
pub fn directory() -> PathBuf {
    packaging("prometheus")
}

/// The rules as they are.
///
/// # Errors
/// When a file can't be read.
pub fn files() -> Result<Vec<RuleFile>> {
    let read = |name: &str| {
        let path = directory().join(name);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(RuleFile {
            name: name.to_owned(),
            text,
        })
    };
    FILES.into_iter().map(read).collect()
}

/// The rules for a run of a minute: an alert fires after two seconds in the place of minutes, and a
/// list is compared with what it was some seconds ago in the place of an hour.
///
/// # Errors
/// As [`files`].
pub fn impatient() -> Result<Vec<RuleFile>> {
    let mut files = files()?;
    for file in &mut files {
        file.text = impatient_text(&file.text);
    }
    Ok(files)
}

fn impatient_text(text: &str) -> String {
    let line = |line: &str| match line.split_once("for: ") {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 2s\n"),
        Some(_) | None => line.replace("offset 1h", "offset 15s") + "\n",
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_patience_of_an_alert_is_changed() {
        let text = "- alert: A\n  expr: a offset 1h\n  for: 15m\n  text: looked for: it\n";
        assert_eq!(
            impatient_text(text),
            "- alert: A\n  expr: a offset 15s\n  for: 2s\n  text: looked for: it\n"
        );
    }
}
