//! `man`: manual pages.

use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;

use super::{Cli, output};

const EXAMPLES: &str = "\
Examples:
  xdp-throttle man | man -l -
  xdp-throttle man --dir /usr/local/share/man/man1";

/// Print the manual page, or write one for each command
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Directory for all pages: xdp-throttle.1, xdp-throttle-block.1, ...
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Some(dir) = self.dir else {
            return output::print(&page()?);
        };
        let written = std::fs::create_dir_all(&dir)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &dir));
        written.with_context(|| format!("can't write manual pages to {}", dir.display()))
    }
}

fn page() -> std::io::Result<String> {
    let mut bytes = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_has_a_page() {
        assert!(page().unwrap().starts_with(".ie"), "{}", page().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let args = Args {
            dir: Some(dir.path().join("man1")),
        };
        args.run().unwrap();
        for page in ["xdp-throttle.1", "xdp-throttle-block-import.1"] {
            assert!(dir.path().join("man1").join(page).exists(), "{page}");
        }
    }
}
