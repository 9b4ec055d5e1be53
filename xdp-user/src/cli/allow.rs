//! `allow`: sources that always pass.

use clap::Subcommand;

use super::block::{flush, import};
use super::entries::{AddArgs, DelArgs, ListArgs};
use super::{Session, export, test};
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

One that isn't there is told and no mistake, unless --strict is given. Entries of the configuration
are removed there; see `xdp-throttle apply`.";

const TEST_EXAMPLES: &str = "\
Examples:
  xdp-throttle allow test 198.51.100.7
  xdp-throttle allow test -q 198.51.100.7 || echo 'not allowed'

Names the entries that hold each address. Exit code 1 if one of the addresses is on no list.";

const IMPORT_EXAMPLES: &str = "\
Examples:
  xdp-throttle allow import partners.txt --list partners --replace
  xdp-throttle allow import allowlist.export           what `allow export` wrote

As `block import`, with the same guards. Everything from an allowed prefix passes, so that those
wider than /16 (IPv6: /32) need --force.";

const EXPORT_EXAMPLES: &str = "\
Example:
  xdp-throttle allow export > allowlist.export

Every entry with its list, its end and its comment; `allow import` takes it back.";

const FLUSH_EXAMPLES: &str = "\
Examples:
  xdp-throttle allow flush --list partners
  xdp-throttle allow flush --yes

Asks first on a terminal. Without one, --yes has to say that it is meant.";

const LIST_EXAMPLES: &str = "\
Examples:
  xdp-throttle allow list
  xdp-throttle allow list --match 198.51.100.7 --output json";

/// Add, remove, list, import and export sources that always pass
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
    /// Say which entries hold an address
    #[command(after_help = TEST_EXAMPLES)]
    Test(test::Args),
    /// Import an allowlist, or what `allow export` wrote
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(import::Args),
    /// Write every entry, as `allow import` takes it
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(export::Args),
    #[command(after_help = FLUSH_EXAMPLES)]
    Flush(flush::Args),
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        match self.verb {
            Verb::Add(args) => args.run(ListKind::Allow, session).await,
            Verb::Del(args) => args.run(ListKind::Allow, session).await,
            Verb::List(args) => args.run(ListKind::Allow, session).await,
            Verb::Test(args) => args.run(ListKind::Allow, session).await,
            Verb::Import(args) => args.run(ListKind::Allow, session).await,
            Verb::Export(args) => args.run(ListKind::Allow, session).await,
            Verb::Flush(args) => args.run(ListKind::Allow, session).await,
        }
    }
}
