//! `list`: lists that keep themselves.

use std::fmt::Write;

use jiff::Timestamp;

use super::table::{Table, numbers, words};
use super::{Session, format};
use crate::api::types::{DiffList, KeptListStatus, KeptLists, ListDiff, RefreshLists};
use crate::domain::ListName;

const EXAMPLES: &str = "\
Examples:
  xdp-throttle list show                       every list: how old, when it is asked next, what failed
  xdp-throttle list show spamhaus-drop         one of them with its checksum and refused lines
  xdp-throttle list diff spamhaus-drop         what the next refresh would change
  xdp-throttle list refresh                    ask every source now
  xdp-throttle list refresh spamhaus-drop --force
                                               accept the text however much it changes

A list has a `[[list]]` section in the configuration; docs/lists.md says how they work. A text that
fails a check changes nothing.";

/// Look at lists that keep themselves, and refresh them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show lists: entries, age, the next try and the last error
    #[command(
        after_help = "Examples:\n  xdp-throttle list show\n  xdp-throttle list show spamhaus-drop"
    )]
    Show {
        /// Only this one, with everything known of it
        name: Option<ListName>,
    },
    /// Ask sources now; exit code 1 if one of them failed
    #[command(
        after_help = "Examples:\n  xdp-throttle list refresh\n  xdp-throttle list refresh spamhaus-drop --force"
    )]
    Refresh {
        /// Only this one
        name: Option<ListName>,
        /// Accept the text however much it changes
        #[arg(long, requires = "name")]
        force: bool,
    },
    /// Fetch a list and show what a refresh would change
    #[command(after_help = "Example:\n  xdp-throttle list diff spamhaus-drop")]
    Diff {
        /// Which one
        name: ListName,
    },
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        match self.verb {
            Verb::Show { name } => {
                let lists = session.client.kept_lists().await?;
                show(session, only(lists, name.as_ref())?, name.is_some())
            }
            Verb::Refresh { name, force } => {
                let named = name.is_some();
                let which = RefreshLists { name, force };
                let lists = session.client.refresh_lists(&which).await?;
                let failed = lists
                    .lists
                    .iter()
                    .filter(|list| list.last_error.is_some())
                    .count();
                show(session, lists, named)?;
                anyhow::ensure!(failed == 0, "{failed} of the lists stay as they were");
                Ok(())
            }
            Verb::Diff { name } => {
                let diff = session.client.diff_list(&DiffList { name }).await?;
                session.output.show(&diff, render_diff)
            }
        }
    }
}

fn only(mut lists: KeptLists, name: Option<&ListName>) -> anyhow::Result<KeptLists> {
    if let Some(name) = name {
        lists.lists.retain(|list| list.name == *name);
        anyhow::ensure!(
            !lists.lists.is_empty(),
            "there is no [[list]] named {name}: see `xdp-throttle list show`"
        );
    }
    Ok(lists)
}

fn show(session: &Session, lists: KeptLists, in_full: bool) -> anyhow::Result<()> {
    let now = Timestamp::now();
    session.output.show(&lists, |lists| match in_full {
        true => lists
            .lists
            .iter()
            .map(|list| render_one(list, now))
            .collect(),
        false => render(lists, now),
    })
}

fn render(lists: &KeptLists, now: Timestamp) -> String {
    if lists.lists.is_empty() {
        return "no list keeps itself: add a [[list]] section to the configuration\n".to_owned();
    }
    let mut table = Table::new([
        words("list"),
        words("kind"),
        words("format"),
        numbers("entries"),
        words("confirmed"),
        words("next try"),
        words("last error"),
    ]);
    for list in &lists.lists {
        let error = list.last_error.as_ref();
        table.row([
            list.name.to_string(),
            list.kind.name().to_owned(),
            list.format.clone().unwrap_or_else(|| "-".to_owned()),
            format::count(list.entries),
            confirmed(list, now),
            next_try(list, now),
            error.map_or_else(|| "-".to_owned(), |e| format!("{}: {}", e.cause, e.text)),
        ]);
    }
    table.render()
}

fn confirmed(list: &KeptListStatus, now: Timestamp) -> String {
    let ago = list
        .confirmed
        .map_or_else(|| "never".to_owned(), |at| format::ago(at, now));
    match list.stale {
        true => format!("{ago}, stale"),
        false => ago,
    }
}

fn next_try(list: &KeptListStatus, now: Timestamp) -> String {
    if list.running {
        return "now".to_owned();
    }
    let seconds = format::seconds_between(now, list.next_try.max(now));
    format!("in {}", format::span(seconds))
}

/// Entries that the text holds and the list leaves out, by kind.
fn skipped(list: &KeptListStatus) -> String {
    let kinds = list.skipped.iter();
    let kinds: Vec<String> = kinds
        .map(|kind| format!("{} {}", format::count(kind.count), kind.name))
        .collect();
    match kinds.is_empty() {
        true => "0".to_owned(),
        false => kinds.join(", "),
    }
}

fn render_one(list: &KeptListStatus, now: Timestamp) -> String {
    let absent = || "-".to_owned();
    let mut rows = vec![
        ("list", list.name.to_string()),
        ("kind", list.kind.name().to_owned()),
        ("source", list.source.clone()),
        ("format", list.format.clone().unwrap_or_else(absent)),
        ("entries", format::count(list.entries)),
        (
            "left out",
            format!(
                "{}, allowed or needed to reach this host",
                format::count(list.left_out)
            ),
        ),
        ("skipped", skipped(list)),
        (
            "fetched",
            list.fetched.map_or_else(absent, |at| format::ago(at, now)),
        ),
        ("confirmed", confirmed(list, now)),
        (
            "tried",
            list.tried.map_or_else(absent, |at| format::ago(at, now)),
        ),
        ("next try", next_try(list, now)),
        ("sha256", list.sha256.clone().unwrap_or_else(absent)),
        ("refused lines", format::count(list.refused)),
    ];
    for refused in &list.refusals {
        rows.push((
            "",
            format!(
                "line {}: {}: {}",
                refused.line, refused.text, refused.reason
            ),
        ));
    }
    if let Some(error) = &list.last_error {
        rows.push(("last error", format!("{}: {}", error.cause, error.text)));
    }
    for failure in list.failures.iter().filter(|failure| failure.count > 0) {
        rows.push((
            "failures",
            format!("{} {}", format::count(failure.count), failure.name),
        ));
    }
    let mut text = String::new();
    for (what, value) in rows {
        // Writing to a string can't fail.
        writeln!(text, "{what:<14} {}", format::printable(&value)).ok();
    }
    text
}

fn render_diff(diff: &ListDiff) -> String {
    let mut text = format!(
        "{}: {} entries, {} would come and {} go\n",
        diff.name,
        format::count(diff.entries),
        format::count(diff.added),
        format::count(diff.removed)
    );
    for (sign, shown, all) in [("+", &diff.come, diff.added), ("-", &diff.go, diff.removed)] {
        for prefix in shown {
            writeln!(text, "{sign} {prefix}").ok();
        }
        if all > shown.len() as u64 {
            let more = format::count(all - shown.len() as u64);
            writeln!(text, "{sign} and {more} more").ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::ListFailure;
    use crate::cli::samples;

    #[test]
    fn a_failed_refresh_shows_its_cause() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut list = samples::kept_list(now);
        list.last_error = Some(ListFailure {
            cause: "http_status".into(),
            text: "the server answered 404 Not Found".into(),
        });
        let text = render(
            &KeptLists {
                lists: vec![list.clone()],
            },
            now,
        );
        assert!(
            text.contains("http_status: the server answered 404"),
            "{text}"
        );
        assert!(
            render_one(&list, now).contains("last error     http_status"),
            "{text}"
        );
    }

    #[test]
    fn a_long_diff_says_how_much_more_there_is() {
        let diff = ListDiff {
            name: "drop".parse().unwrap(),
            entries: 7,
            added: 3,
            come: vec!["192.0.2.1".parse().unwrap()],
            removed: 0,
            go: Vec::new(),
        };
        let wanted = "drop: 7 entries, 3 would come and 0 go\n+ 192.0.2.1\n+ and 2 more\n";
        assert_eq!(render_diff(&diff), wanted);
    }
}
