//! `allow`: sources that always pass.

use clap::Subcommand;

use super::Session;
use super::entries::{AddArgs, DelArgs, ListArgs};
use crate::api::types::ListKind;

const EXAMPLES: &str = "\
Examples:
  xdp-throttle allow add 198.51.100.7 --comment 'office'
  xdp-throttle allow list --match 198.51.100.7
  xdp-throttle allow del 198.51.100.7

The allowlist wins over everything: blocklists, bans, limits. Entries outlive a restart.";

const ADD_EXAMPLES: &str = "\
Examples:
  xdp-throttle allow add 198.51.100.7 --comment 'office'
  xdp-throttle allow add 2001:db8:7::/48 --for 8h";

const DEL_EXAMPLES: &str = "\
Example:
  xdp-throttle allow del 198.51.100.7

Entries of the configuration are removed there; see `xdp-throttle apply`.";

const LIST_EXAMPLES: &str = "\
Examples:
  xdp-throttle allow list
  xdp-throttle allow list --match 198.51.100.7 --output json";

/// Add, remove and list sources that always pass
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Let sources pass, whatever else says no
    #[command(after_help = ADD_EXAMPLES)]
    Add(AddArgs),
    /// Remove sources from the allowlist
    #[command(after_help = DEL_EXAMPLES)]
    Del(DelArgs),
    /// Show the allowlist
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        match self.verb {
            Verb::Add(args) => args.run(ListKind::Allow, session).await,
            Verb::Del(args) => args.run(ListKind::Allow, session).await,
            Verb::List(args) => args.run(ListKind::Allow, session).await,
        }
    }
}
