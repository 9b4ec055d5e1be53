//! `add`, `del` and `list`: what the allowlist and the blocklist share.

use std::io::Read;
use std::str::FromStr;

use anyhow::Context;
use jiff::Timestamp;

use super::change::{self, Tolerance};
use super::lifetime::Lifetime;
use super::table::{Table, numbers, words};
use super::{Output, Session, format};
use crate::api::types::{AddEntries, EntryPage, EntryQuery, ListKind, RemoveEntries};
use crate::domain::{GivenPrefix, ListName};
use crate::failure::{Failure, FailureKind};
use crate::lists::{self, Bounds, Options, RefusalReason};

#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// Addresses, prefixes and ranges: 203.0.113.9, 203.0.113.0/24, 2001:db8::/32,
    /// 203.0.113.9-203.0.113.20; `-` reads them from standard input
    #[arg(value_name = "PREFIX", required = true)]
    prefixes: Vec<Words>,
    /// List to add them to [default: manual]
    #[arg(long, value_name = "NAME")]
    list: Option<ListName>,
    /// For how long: 30m, 1h30m, 7d, or a number of seconds; for good if left out, and with -1, 0 and
    /// permanent
    #[arg(long = "for", value_name = "SPAN", allow_negative_numbers = true)]
    ttl: Option<Lifetime>,
    /// Why, for those who wonder later; at most 200 characters
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Take very wide prefixes, too, and blocks that would cut this host off
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DelArgs {
    /// Addresses and prefixes, just as `list` shows them
    #[arg(value_name = "PREFIX", required = true)]
    prefixes: Vec<GivenPrefix>,
    /// List to remove them from; all but the configuration's if left out
    #[arg(long, value_name = "NAME")]
    list: Option<ListName>,
    /// Fail if one of them isn't there
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Only the entries of this list
    #[arg(long, value_name = "NAME")]
    list: Option<ListName>,
    /// Only entries that cover this address or prefix, or lie in it; exit code 1 without any
    #[arg(long = "match", value_name = "PREFIX")]
    matching: Option<GivenPrefix>,
    /// How many to show, at most 10,000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
    /// How many to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u64,
}

/// What an argument names: an address or prefix, a range, or several of them.
#[derive(Clone, Debug)]
enum Words {
    Prefixes(Vec<GivenPrefix>),
    StandardInput,
}

impl FromStr for Words {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self::StandardInput);
        }
        let given = match text.parse::<GivenPrefix>() {
            Ok(given) => return Ok(Self::Prefixes(vec![given])),
            Err(error) => error,
        };
        let bounds = Bounds {
            accept_wide: true,
            ..Bounds::default()
        };
        let list = lists::read_words([text], bounds).map_err(|error| error.to_string())?;
        if list.entries.is_empty() || list.refused_count() > 0 {
            let reason = list.refused.first().map(|refused| refused.reason);
            return Err(match reason {
                Some(reason) if reason != RefusalReason::NotAnAddress => reason.to_string(),
                Some(_) | None => given.to_string(),
            });
        }
        let prefixes = list.entries.into_iter().map(GivenPrefix::from);
        Ok(Self::Prefixes(prefixes.collect()))
    }
}

/// The most that standard input may hold; long lists are for `import`.
const MAX_INPUT: u64 = 1 << 20;

/// Every prefix of the arguments and of standard input, which has to be free of mistakes.
fn prefixes_of(words: Vec<Words>, input: impl Read) -> anyhow::Result<Vec<GivenPrefix>> {
    let mut prefixes = Vec::new();
    let mut input = Some(input);
    for word in words {
        match word {
            Words::Prefixes(given) => prefixes.extend(given),
            Words::StandardInput => {
                let Some(input) = input.take() else { continue };
                let bounds = Bounds {
                    max_bytes: MAX_INPUT,
                    accept_wide: true,
                    ..Bounds::default()
                };
                let list = lists::read(input, &Options::default(), bounds)
                    .context("can't read the addresses on standard input: see `import`")?;
                if let Some(refused) = list.refused.first() {
                    let text = format::printable(&refused.text);
                    let (line, reason) = (refused.line, refused.reason);
                    let message = format!("standard input, line {line}: {text}: {reason}");
                    return Err(Failure::new(FailureKind::Invalid, message).into());
                }
                prefixes.extend(list.entries.into_iter().map(GivenPrefix::from));
            }
        }
    }
    if prefixes.is_empty() {
        let message = "standard input has no address: nothing to add";
        return Err(Failure::new(FailureKind::Invalid, message).into());
    }
    Ok(prefixes)
}

impl AddArgs {
    pub(crate) async fn run(self, kind: ListKind, session: &Session) -> anyhow::Result<()> {
        let prefixes = prefixes_of(self.prefixes, std::io::stdin().lock())?;
        if kind == ListKind::Block && !self.force {
            refuse_own_session(&prefixes, std::env::var(SSH_CONNECTION).ok())?;
        }
        let entries = AddEntries {
            prefixes,
            list: self.list,
            ttl: self.ttl.and_then(Lifetime::span),
            comment: self.comment,
            force: self.force,
        };
        let report = session.client.add(kind, &entries).await?;
        change::show(session, &report, Tolerance::None)
    }
}

/// `CLIENT PORT SERVER PORT`, set by sshd(8).
const SSH_CONNECTION: &str = "SSH_CONNECTION";

/// The daemon knows sessions to the usual port; this one is known wherever it came in.
fn refuse_own_session(prefixes: &[GivenPrefix], connection: Option<String>) -> Result<(), Failure> {
    let connection = connection.unwrap_or_default();
    let client = connection.split(' ').next().unwrap_or_default();
    // Without a zone, which no packet has.
    let client = client.split('%').next().unwrap_or_default();
    let Ok(client) = client.parse::<std::net::IpAddr>() else {
        return Ok(());
    };
    let client = client.to_canonical();
    let mut prefixes = prefixes.iter().map(GivenPrefix::prefix);
    match prefixes.find(|prefix| prefix.contains(client)) {
        Some(prefix) => Err(Failure::new(
            FailureKind::Failed,
            format!(
                "{prefix} holds {client}, where you are logged in from: allow that first, or use --force"
            ),
        )),
        None => Ok(()),
    }
}

impl DelArgs {
    pub(crate) async fn run(self, kind: ListKind, session: &Session) -> anyhow::Result<()> {
        let entries = RemoveEntries {
            prefixes: self.prefixes,
            list: self.list,
        };
        let report = session.client.remove(kind, &entries).await?;
        let tolerance = match self.strict {
            true => Tolerance::None,
            false => Tolerance::Missing,
        };
        change::show(session, &report, tolerance)
    }
}

impl ListArgs {
    pub(crate) async fn run(self, kind: ListKind, session: &Session) -> anyhow::Result<()> {
        let offset = self.offset;
        let query = EntryQuery {
            list: self.list,
            matching: self.matching.clone(),
            offset,
            limit: Some(self.limit),
        };
        let page = session.client.entries(kind, &query).await?;
        let now = Timestamp::now();
        session
            .output
            .show(&page, |page| render(page, offset, now))?;
        let Some(matching) = self.matching else {
            return Ok(());
        };
        if session.output == Output::Table {
            change::note_cut(matching.cut_from(), &matching.prefix());
        }
        if page.total == 0 {
            let prefix = matching.prefix();
            let message = format!("nothing on the {}list matches {prefix}", kind.name());
            return Err(Failure::new(FailureKind::Failed, message).into());
        }
        Ok(())
    }
}

fn render(page: &EntryPage, offset: u64, now: Timestamp) -> String {
    if page.total == 0 {
        return "no entries\n".to_owned();
    }
    let mut table = Table::new([
        words("prefix"),
        words("list"),
        words("ends"),
        numbers("packets"),
        numbers("bytes"),
        words("comment"),
    ]);
    for entry in &page.entries {
        // Where a wider entry does the work, this one has no counters of its own.
        let counted = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
        table.row([
            entry.prefix.to_string(),
            entry.list.to_string(),
            format::until(entry.expires, now),
            counted(entry.packets.map(format::count)),
            counted(entry.bytes.map(format::bytes)),
            entry.comment.clone().unwrap_or_default(),
        ]);
    }
    table.render() + &place(page, offset)
}

fn place(page: &EntryPage, offset: u64) -> String {
    let shown = page.entries.len() as u64;
    let all = format::plural(page.total, "entry", "entries");
    if shown == page.total {
        format!("\n{all}\n")
    } else if shown == 0 {
        format!(
            "\n{all} in all, none after the first {}\n",
            format::count(offset)
        )
    } else {
        format!(
            "\n{} to {} of {all}; see --limit, --offset and --match\n",
            format::count(offset + 1),
            format::count(offset + shown)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn entries_show_their_list_end_and_counters() {
        let text = render(&samples::entry_page(), 0, samples::now());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("PREFIX"), "{text}");
        for part in ["203.0.113.0/24", "manual", "in 59m", "1,234,567", "1.2 GB"] {
            assert!(lines[1].contains(part), "{part} in {}", lines[1]);
        }
        assert!(lines[1].ends_with("scans\\u{1b}[2J"), "{}", lines[1]);
        assert!(lines[2].contains("never"), "{}", lines[2]);
        assert!(text.ends_with("\n1 to 2 of 120,430 entries; see --limit, --offset and --match\n"));
    }

    #[test]
    fn ranges_and_standard_input_are_taken_and_mistakes_are_not() {
        let of = |words: &[&str], input: &str| {
            let words = words
                .iter()
                .map(|word| word.parse())
                .collect::<Result<_, _>>();
            let words = words.map_err(anyhow::Error::msg)?;
            let prefixes = prefixes_of(words, input.as_bytes())?;
            Ok::<Vec<String>, anyhow::Error>(
                prefixes
                    .iter()
                    .map(|given| given.prefix().to_string())
                    .collect(),
            )
        };
        let found = of(
            &["192.0.2.4-192.0.2.6", "-", "192.0.2.7/24"],
            "192.0.2.9 192.0.2.20\n",
        )
        .unwrap();
        assert_eq!(
            found,
            [
                "192.0.2.4/31",
                "192.0.2.6",
                "192.0.2.9",
                "192.0.2.20",
                "192.0.2.0/24"
            ]
        );
        for (words, input) in [
            (&["192.0.2.6-192.0.2.4"][..], ""),
            (&["host"], ""),
            (&["-"], ""),
            (&["-"], "192.0.2.1\nhost\n"),
            (&["-"], "<html>"),
        ] {
            of(words, input).unwrap_err();
        }
    }

    #[test]
    fn an_empty_list_says_so() {
        let none = EntryPage {
            entries: Vec::new(),
            total: 0,
        };
        assert_eq!(render(&none, 0, samples::now()), "no entries\n");
        let past = EntryPage {
            entries: Vec::new(),
            total: 3,
        };
        assert!(render(&past, 10, samples::now()).contains("none after the first 10"));
    }

    #[test]
    fn the_session_that_a_block_comes_from_is_not_blocked() {
        let prefixes = |text: &str| -> Vec<GivenPrefix> { vec![text.parse().unwrap()] };
        let session = |client: &str| Some(format!("{client} 52000 192.0.2.1 2222"));
        for (client, prefix, refused) in [
            ("198.51.100.7", "198.51.100.0/24", true),
            ("198.51.100.7", "198.51.100.8", false),
            ("::ffff:198.51.100.7", "198.51.100.7", true),
            ("fe80::7%eth0", "fe80::/10", true),
            ("nonsense", "0.0.0.0/0", false),
        ] {
            let result = refuse_own_session(&prefixes(prefix), session(client));
            assert_eq!(result.is_err(), refused, "{client} {prefix}");
        }
        assert!(refuse_own_session(&prefixes("0.0.0.0/0"), None).is_ok());
    }
}
