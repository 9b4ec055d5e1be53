//! `block`: sources that are dropped.

pub(crate) mod flush;
pub(crate) mod import;

use clap::Subcommand;

use super::entries::{AddArgs, DelArgs, ListArgs};
use super::{Session, export, test};
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
  xdp-throttle block add 203.0.113.9 --list incident-17 --for 3600

An entry that is there already gets the new end. Bits behind a prefix length are cut, with a note.
Exit code 1 if a prefix was refused.";

const DEL_EXAMPLES: &str = "\
Examples:
  xdp-throttle block del 203.0.113.9
  xdp-throttle block del 203.0.113.0/24 --list incident-17

One that isn't there is told and no mistake, unless --strict is given. Exit code 1 if one is there and
stays: entries of the configuration are removed there; see `xdp-throttle apply`.";

const TEST_EXAMPLES: &str = "\
Examples:
  xdp-throttle block test 203.0.113.9
  xdp-throttle block test -q 203.0.113.9 && echo blocked
  xdp-throttle block test - < addresses.txt

Names the entries that hold each address. Exit code 1 if one of the addresses is on no list. Whether
packets of it pass is more than that: `xdp-throttle explain` says it.";

const IMPORT_EXAMPLES: &str = "\
Examples:
  xdp-throttle block import spamhaus-drop.txt --list spamhaus-drop --replace
  curl -s https://example.org/list.txt | xdp-throttle block import - --list example --for 1d
  xdp-throttle block import blocklist.export           what `block export` wrote

One address or prefix on a line; what follows it, comments and empty lines are skipped. Says what
was added, was there already, lies in a wider entry, and was refused and why. A text that is mostly
something else is refused as a whole, and with --replace an empty one and a large change as well:
exit code 1, and nothing is changed. So it is if no line could be taken.";

const EXPORT_EXAMPLES: &str = "\
Examples:
  xdp-throttle block export > blocklist.export
  xdp-throttle block export --list spamhaus-drop | wc -l
  xdp-throttle block export --output json              an object on each line

Every entry with its list, its end and its comment, however many there are; `block import` takes it
back. Other programs read it as a plain list.";

const FLUSH_EXAMPLES: &str = "\
Examples:
  xdp-throttle block flush --list spamhaus-drop
  xdp-throttle block flush --yes

Asks first on a terminal. Without one, --yes has to say that it is meant.";

const LIST_EXAMPLES: &str = "\
Examples:
  xdp-throttle block list
  xdp-throttle block list --match 203.0.113.9          who blocks this address? 1 if nobody does
  xdp-throttle block list --list spamhaus-drop --limit 1000 --offset 1000";

/// Add, remove, list, import and export sources that are dropped
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
    /// Say which entries hold an address
    #[command(after_help = TEST_EXAMPLES)]
    Test(test::Args),
    /// Import a blocklist, or what `block export` wrote
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(import::Args),
    /// Write every entry, as `block import` takes it
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(export::Args),
    #[command(after_help = FLUSH_EXAMPLES)]
    Flush(flush::Args),
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        match self.verb {
            Verb::Add(args) => args.run(ListKind::Block, session).await,
            Verb::Del(args) => args.run(ListKind::Block, session).await,
            Verb::List(args) => args.run(ListKind::Block, session).await,
            Verb::Test(args) => args.run(ListKind::Block, session).await,
            Verb::Import(args) => args.run(ListKind::Block, session).await,
            Verb::Export(args) => args.run(ListKind::Block, session).await,
            Verb::Flush(args) => args.run(ListKind::Block, session).await,
        }
    }
}
