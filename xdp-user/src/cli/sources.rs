//! `sources`: who sends most.

use jiff::Timestamp;

use super::Session;
use super::format;
use super::table::{Table, numbers, words};
use crate::api::types::{SourceList, SourceQuery, SourceSort, SourceView};
use crate::domain::Prefix;

const EXAMPLES: &str = "\
Examples:
  xdp-throttle sources
  xdp-throttle sources --sort dropped --limit 5
  xdp-throttle sources --match 203.0.113.0/24 --output json

Shows sources that reached the limits. Allowlisted and blocklisted packets don't come that far:
see `allow list` and `block list`.";

/// Show the sources that send most, or lose most
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to sort by, most first
    #[arg(long, value_name = "COLUMN", value_enum, default_value_t)]
    sort: SourceSort,
    /// How many to show, at most 10,000
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
    /// Only sources in this prefix
    #[arg(long = "match", value_name = "PREFIX")]
    matching: Option<Prefix>,
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let query = SourceQuery {
            sort: Some(self.sort),
            limit: Some(self.limit),
            matching: self.matching,
            each: false,
        };
        let list = session.client.sources(&query).await?;
        let now = Timestamp::now();
        session.output.show(&list, |list| render(list, now))
    }
}

fn render(list: &SourceList, now: Timestamp) -> String {
    if list.sources.is_empty() {
        return "no sources\n".to_owned();
    }
    format!(
        "{}\n{} of {}\n",
        render_views(&list.sources, now),
        format::count(list.sources.len() as u64),
        format::plural(list.total, "source", "sources")
    )
}

/// Also for `explain`.
pub(crate) fn render_views(sources: &[SourceView], now: Timestamp) -> String {
    let mut table = Table::new([
        words("source"),
        numbers("packets"),
        numbers("bytes"),
        numbers("dropped"),
        numbers("share"),
        words("first seen"),
        words("last seen"),
        numbers("strikes"),
        words("ban ends"),
    ]);
    for source in sources {
        let banned = source.banned_until;
        table.row([
            source.source.to_string(),
            format::count(source.packets),
            format::bytes(source.bytes),
            format::count(source.dropped_packets),
            format::share(source.dropped_packets, source.packets),
            format::ago(source.first_seen, now),
            format::ago(source.last_seen, now),
            format::count(source.strikes),
            banned.map_or_else(String::new, |end| format::until(Some(end), now)),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn sources_show_what_they_sent_and_lost() {
        let text = render(&samples::sources(), samples::now());
        let line = text.lines().nth(1).unwrap();
        for part in [
            "203.0.113.9",
            "20,000",
            "1.3 MB",
            "15,000",
            "75.0%",
            "1h ago",
            "2s ago",
            "in 3m",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(text.ends_with("\n1 of 4,242 sources\n"), "{text}");
        let none = SourceList {
            sources: Vec::new(),
            total: 0,
        };
        assert_eq!(render(&none, samples::now()), "no sources\n");
    }
}
