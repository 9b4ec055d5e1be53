//! `block`: sources that are dropped.

mod flush;
mod import;

use clap::Subcommand;

use super::Session;
use super::entries::{AddArgs, DelArgs, ListArgs};
use crate::api::types::ListKind;

const EXAMPLES: &str = "\
Examples:
  xdp-throttle block add 203.0.113.9 --for 1h --comment 'scans'
  xdp-throttle block import spamhaus-drop.txt --list spamhaus-drop --replace
  xdp-throttle block list --match 203.0.113.9

Every protocol of a listed source is dropped, unless the allowlist has it. Entries outlive a
restart. Each belongs to a list, so that lists from several places can be replaced one by one.";

const ADD_EXAMPLES: &str = "\
Examples:
  xdp-throttle block add 203.0.113.9
  xdp-throttle block add 203.0.113.0/24 2001:db8:bad::/48 --for 1h --comment 'scans'
  xdp-throttle block add 203.0.113.9 --list incident-17

An entry that is there already gets the new end. Exit code 1 if a prefix was refused.";

const DEL_EXAMPLES: &str = "\
Examples:
  xdp-throttle block del 203.0.113.9
  xdp-throttle block del 203.0.113.0/24 --list incident-17

Exit code 1 if one of them isn't there. Entries of the configuration are removed there; see
`xdp-throttle apply`.";

const LIST_EXAMPLES: &str = "\
Examples:
  xdp-throttle block list
  xdp-throttle block list --match 203.0.113.9          who blocks this address?
  xdp-throttle block list --list spamhaus-drop --limit 1000 --offset 1000";

/// Add, remove, list and import sources that are dropped
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Drop sources from now on
    #[command(after_help = ADD_EXAMPLES)]
    Add(AddArgs),
    /// Remove sources from the blocklist
    #[command(after_help = DEL_EXAMPLES)]
    Del(DelArgs),
    /// Show the blocklist, with how much each entry has dropped
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
    Import(import::Args),
    Flush(flush::Args),
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        match self.verb {
            Verb::Add(args) => args.run(ListKind::Block, session).await,
            Verb::Del(args) => args.run(ListKind::Block, session).await,
            Verb::List(args) => args.run(ListKind::Block, session).await,
            Verb::Import(args) => args.run(session).await,
            Verb::Flush(args) => args.run(session).await,
        }
    }
}
