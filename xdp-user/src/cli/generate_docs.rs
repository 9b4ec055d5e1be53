//! `generate-docs`: the pages of `docs/` that the program writes about itself.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Command, CommandFactory};
use xdp_common::reason::{Class, Reason};

use super::Cli;
use crate::api::openapi;
use crate::{config, exporter};

/// Write configuration.md, metrics.md, cli.md, reasons.md and openapi.json
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let pages = [
            ("configuration.md", config::reference::markdown()),
            ("metrics.md", exporter::reference::markdown()),
            ("cli.md", cli()),
            ("reasons.md", reasons()),
            ("openapi.json", openapi::document()),
        ];
        std::fs::create_dir_all(&self.dir)
            .with_context(|| format!("can't make the directory {}", self.dir.display()))?;
        for (name, text) in pages {
            let path = self.dir.join(name);
            std::fs::write(&path, text)
                .with_context(|| format!("can't write {}", path.display()))?;
        }
        Ok(())
    }
}

fn cli() -> String {
    let mut root = Cli::command().term_width(100);
    // Fills in each verb's full name and the global options.
    root.build();
    let mut page = String::from(
        "# Command line\n\n<!-- Written from the definitions in xdp-user/src/cli/. -->\n",
    );
    add_help(&mut root, "xdp-throttle", &mut page);
    page
}

fn add_help(command: &mut Command, name: &str, page: &mut String) {
    let help = command.render_long_help().to_string();
    let lines = help.lines().map(|line| line.trim_end().to_owned() + "\n");
    let help: String = lines.collect();
    *page += &format!("\n## {name}\n\n```text\n{}\n```\n", help.trim_end());
    for verb in command.get_subcommands_mut() {
        if verb.is_hide_set() || verb.get_name() == "help" {
            continue;
        }
        let name = format!("{name} {}", verb.get_name());
        add_help(verb, &name, page);
    }
}

fn reasons() -> String {
    let mut page = String::from(
        "# Reasons\n\n<!-- Written from xdp-common/src/reason.rs. -->\n\n\
         Every packet leaves with exactly one reason, and is counted under it: in \
         `xdp-throttle status`, in the metrics, in saved output. A number is never reused.\n\n\
         In observe mode, and for reasons named in `observe_reasons`, a packet whose reason says \
         drop is counted and passes.\n\n\
         | number | name | verdict | meaning |\n| --: | --- | --- | --- |\n",
    );
    for reason in Reason::ALL {
        let class = match reason.class() {
            Class::Pass => "pass",
            Class::Drop => "drop",
            Class::Answer => "answer",
        };
        page += &format!(
            "| {} | `{}` | {class} | {} |\n",
            reason.code(),
            reason.name(),
            reason.description().trim()
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_verb_with_its_examples() {
        let page = cli();
        for verb in [
            "run",
            "check",
            "block import",
            "limit set",
            "ban lift",
            "man",
        ] {
            assert!(
                page.contains(&format!("\n## xdp-throttle {verb}\n")),
                "{verb}"
            );
            assert!(
                page.contains(&format!("Usage: xdp-throttle {verb}")),
                "{verb}"
            );
        }
        assert!(!page.contains("generate-docs"));
        assert!(!page.contains("\n## xdp-throttle help"));
        assert!(!page.contains('\u{1b}'));
    }

    #[test]
    fn every_reason_has_a_row() {
        let page = reasons();
        assert_eq!(page.matches("\n| ").count(), Reason::ALL.len() + 2);
        assert!(page.contains("| 32 | `blocklisted` | drop | The source is on a blocklist. |"));
    }

    #[test]
    fn all_four_pages_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let args = Args {
            dir: dir.path().join("docs"),
        };
        args.run().unwrap();
        for page in ["configuration.md", "metrics.md", "cli.md", "reasons.md"] {
            let text = std::fs::read_to_string(dir.path().join("docs").join(page)).unwrap();
            assert!(text.starts_with("# "), "{page}");
        }
    }
}
