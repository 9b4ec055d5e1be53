//! `classes`: what is in each service class, what strangers may send, and how it is now.

use jiff::Timestamp;

use super::Session;
use super::format;
use super::table::{Table, numbers, words};
use crate::api::types::{ClassList, ClassStatus, ClassView, MitigationStatus};
use crate::domain::ClassState;

const EXAMPLES: &str = "\
Examples:
  xdp-throttle classes                       every class with its state and what it counted
  xdp-throttle classes --settings            what each one takes, its budget, limits and flags
  xdp-throttle classes --output json | jq '.classes[] | select(.state == \"attack\").name'
  watch -n1 xdp-throttle classes

Every packet is in one class, by what it is for. A class has a budget for all sources together that
aren't known yet: `newcomers` were within it, `over` found it spent. Of those, `cookies` were
answered with a SYN cookie, `refused` and `unsolicited` were dropped. `first` were dropped and
remembered: who sends the same again in its protocol's time gets in, and is among `returned`. The rest
passed because a local socket waits for them. `elevated` is over the budget, `attack` far over it for a while.
Change a class with a `[[class]]` section of its name, then `xdp-throttle apply`.";

/// Show the service classes: who is flooded, and what is done about it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Show what each class takes, its budgets, limits and flags
    #[arg(long)]
    settings: bool,
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let list = session.client.classes().await?;
        let now = Timestamp::now();
        session.output.show(&list, |list| {
            if self.settings {
                render_settings(list)
            } else {
                render(list, now)
            }
        })
    }
}

const SWITCHED_OFF: &str = "mitigation is switched off: no class decides anything\n";

fn render(list: &ClassList, now: Timestamp) -> String {
    let statuses = list.classes.iter().map(|class| &class.status);
    let table = table_of(statuses, now);
    if list.enabled {
        table
    } else {
        format!("{SWITCHED_OFF}\n{table}")
    }
}

fn table_of<'s>(classes: impl Iterator<Item = &'s ClassStatus>, now: Timestamp) -> String {
    let mut table = Table::new([
        words("class"),
        words("state"),
        words("since"),
        numbers("packets"),
        numbers("newcomers"),
        numbers("over"),
        numbers("proven"),
        numbers("cookies"),
        numbers("first"),
        numbers("returned"),
        numbers("refused"),
        numbers("unsolicited"),
        words("switched on"),
    ]);
    for class in classes {
        let counts = &class.counts;
        table.row([
            class.name.clone(),
            class.state.to_string(),
            format::ago(class.since, now),
            format::count(counts.packets),
            format::count(counts.newcomers),
            format::count(counts.over),
            format::count(counts.proven),
            format::count(counts.cookies),
            format::count(counts.first_packets),
            format::count(counts.returned),
            format::count(counts.refused + counts.too_soon + counts.over_returning),
            format::count(counts.unsolicited),
            class.switched_on.join(", "),
        ]);
    }
    table.render()
}

fn render_settings(list: &ClassList) -> String {
    let mut table = Table::new([
        numbers("no"),
        words("class"),
        words("budget"),
        words("under attack"),
        words("returning"),
        words("each source"),
        words("flags"),
        // The longest stands last.
        words("takes"),
    ]);
    for class in &list.classes {
        let limits = &class.limits;
        let [budget, attack, returning] = if class.enabled {
            [
                limit(&limits.budget, limits.budget_burst.as_deref()),
                limit(&limits.attack_budget, limits.attack_budget_burst.as_deref()),
                limit(&limits.returning, limits.returning_burst.as_deref()),
            ]
        } else {
            ["not enabled".to_owned(), String::new(), String::new()]
        };
        table.row([
            format::count(class.number.into()),
            class.status.name.clone(),
            budget,
            attack,
            returning,
            each_source(class),
            class.flags.join(", "),
            class.takes.join(", "),
        ]);
    }
    let text = table.render();
    if list.enabled {
        text
    } else {
        format!("{SWITCHED_OFF}\n{text}")
    }
}

fn limit(rate: &str, burst: Option<&str>) -> String {
    burst.map_or_else(|| rate.to_owned(), |burst| format!("{rate} burst {burst}"))
}

/// Limits of one source, those that there are.
fn each_source(class: &ClassView) -> String {
    let limits = &class.limits;
    [
        (&limits.packets, &limits.packets_burst),
        (&limits.bytes, &limits.bytes_burst),
    ]
    .into_iter()
    .filter(|(_, burst)| burst.is_some())
    .map(|(rate, burst)| limit(rate, burst.as_deref()))
    .collect::<Vec<_>>()
    .join(", ")
}

/// For `status`: the classes that are pressed or have refused something, where classes stand aside,
/// and what changed last.
pub(crate) fn render_mitigation(
    mitigation: &MitigationStatus,
    all: bool,
    now: Timestamp,
) -> String {
    const CHANGES_SHOWN: usize = 5;
    if !mitigation.enabled {
        return SWITCHED_OFF.to_owned();
    }
    let in_need = |class: &&ClassStatus| {
        class.state != ClassState::Normal || class.counts.over > 0 || class.counts.unsolicited > 0
    };
    let classes = mitigation.classes.iter();
    let shown: Vec<&ClassStatus> = classes.filter(|class| all || in_need(class)).collect();
    let mut text = if shown.is_empty() {
        "every service class has been within its budget\n".to_owned()
    } else {
        table_of(shown.into_iter(), now)
    };
    for aside in &mitigation.asides {
        let what = if aside.in_force {
            "classes stand aside"
        } else if aside.told_by_flows {
            "classes go by the flow memory alone"
        } else {
            "ignored, as mitigation.forwarding says"
        };
        let (interface, family) = (format::printable(&aside.interface), aside.family.name());
        let reason = format::printable(&aside.reason);
        text += &format!("{interface} {family}: {what}: {reason}\n");
    }
    for change in mitigation.changes.iter().rev().take(CHANGES_SHOWN) {
        text += &format!(
            "{}  {} {} to {}, {} packets/s over the budget\n",
            format::time(change.at),
            format::printable(&change.class),
            change.from,
            change.to,
            format::count(change.over_per_second),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    fn line<'t>(text: &'t str, word: &str) -> &'t str {
        let found = text.lines().find(|line| line.contains(word));
        found.unwrap_or_else(|| panic!("no line with {word:?} in\n{text}"))
    }

    #[test]
    fn classes_show_their_state_and_what_they_counted() {
        let text = render(&samples::classes(), samples::now());
        let attacked = line(&text, "tcp-new");
        for part in [
            "attack",
            "2m ago",
            "5,000,000",
            "20,000",
            "4,900,000",
            "3,600,000",
            "654,321",
            "777",
            "1,234,619",
            "SYN cookies, budget 100pps burst 100",
        ] {
            assert!(attacked.contains(part), "{part} in {attacked}");
        }
        assert!(line(&text, "game").contains("normal"));
        assert!(!text.contains("switched off"));
        let off = ClassList {
            enabled: false,
            ..samples::classes()
        };
        assert!(render(&off, samples::now()).starts_with(SWITCHED_OFF));
        assert!(render_settings(&off).starts_with(SWITCHED_OFF));
    }

    #[test]
    fn settings_show_what_a_class_takes_and_allows() {
        let text = render_settings(&samples::classes());
        let first = line(&text, "tcp-new");
        for part in [
            "tcp rest",
            "500pps burst 2k",
            "100pps burst 100",
            "5Mbps burst 1MB",
            "syn_cookies, known_first",
        ] {
            assert!(first.contains(part), "{part} in {first}");
        }
        assert!(!first.contains("off"), "{first}");
        assert!(line(&text, "game").contains("not enabled"));
    }

    #[test]
    fn the_status_has_what_matters_now() {
        let mitigation = samples::status().mitigation;
        let text = render_mitigation(&mitigation, false, samples::now());
        let changes: Vec<&str> = text.lines().filter(|l| l.contains("packets/s")).collect();
        assert_eq!(changes.len(), 2);
        assert_eq!(
            changes[0],
            "2026-11-22 11:57:59Z  tcp-new elevated to attack, 91,000 packets/s over the budget"
        );
        let mut ignored = mitigation.clone();
        ignored.asides[0].in_force = false;
        let text = render_mitigation(&ignored, false, samples::now());
        assert!(text.contains("mitigation.forwarding"), "{text}");
        ignored.asides[0].told_by_flows = true;
        let text = render_mitigation(&ignored, false, samples::now());
        assert!(text.contains("by the flow memory alone"), "{text}");
        let off = MitigationStatus {
            enabled: false,
            ..mitigation
        };
        assert_eq!(render_mitigation(&off, true, samples::now()), SWITCHED_OFF);
        let calm = MitigationStatus {
            enabled: true,
            ..MitigationStatus::default()
        };
        let text = render_mitigation(&calm, false, samples::now());
        assert!(text.contains("within its budget"), "{text}");
    }
}
