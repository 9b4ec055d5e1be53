//! The reference page of the metrics.

use xdp_common::abi::Fault;
use xdp_common::reason::{Class, Reason};

use super::labels::{Label, fault_description};
use super::metrics::METRICS;
use crate::host::lost::{HostLoss, SynCookieEvent};
use crate::host::received::LinkLoss;

/// Every metric, label, reason and fault, as a page of Markdown.
pub fn markdown() -> String {
    [
        INTRODUCTION.to_owned(),
        metrics(),
        labels(),
        reasons(),
        faults(),
        losses(),
    ]
    .join("\n")
}

const INTRODUCTION: &str = "# Metrics\n\n\
    <!-- Written from the table in xdp-user/src/exporter/metrics.rs. -->\n\n\
    The daemon serves these for Prometheus at `/metrics`, on `127.0.0.1:9777` unless `[metrics]` \
    in the configuration says otherwise. Values are read at each scrape. Every series is there \
    from the start, at 0, but those of the host's own losses that its kernel doesn't count; no label holds an address. Dashboards, \
    alerts and how to set them up: [monitoring.md](monitoring.md).\n";

fn metrics() -> String {
    let mut text = String::from(
        "## What is told\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for metric in METRICS {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{}`", label.name()))
            .collect();
        text += &format!(
            "| `{}` | {} | {} | {} |\n",
            metric.name,
            metric.kind.name(),
            labels.join(", "),
            metric.help
        );
    }
    text
}

fn labels() -> String {
    let mut text = String::from("## Labels\n\n| label | meaning | values |\n| --- | --- | --- |\n");
    for label in Label::ALL {
        let values = match label {
            Label::Reason | Label::Fault | Label::Cause | Label::Event => "below".to_owned(),
            Label::Interface
            | Label::Action
            | Label::Mode
            | Label::Table
            | Label::Kind
            | Label::List
            | Label::Failure
            | Label::Class
            | Label::Outcome
            | Label::NotIp
            | Label::State
            | Label::Family
            | Label::Result
            | Label::EventKind
            | Label::Outlet
            | Label::Waiting
            | Label::Version
            | Label::Abi => label.values().map_or("open".to_owned(), |values| {
                format!("`{}`", values.join("`, `"))
            }),
        };
        text += &format!(
            "| `{}` | {} | {values} |\n",
            label.name(),
            label.description()
        );
    }
    text
}

fn reasons() -> String {
    let mut text = String::from(
        "## Reasons\n\n\
         Every packet leaves with exactly one. A packet with a reason to drop or to answer passes in \
         observe mode, and where `observe_reasons` names the reason; it counts as `passed` then.\n\n\
         | reason | asks to | meaning |\n| --- | --- | --- |\n",
    );
    for reason in Reason::ALL {
        let class = match reason.class() {
            Class::Pass => "pass",
            Class::Drop => "drop",
            Class::Answer => "answer",
        };
        let description = reason.description().trim();
        text += &format!("| `{}` | {class} | {description} |\n", reason.name());
    }
    text
}

fn faults() -> String {
    let mut text = String::from("## Faults\n\n| fault | meaning |\n| --- | --- |\n");
    for fault in Fault::ALL {
        text += &format!("| `{}` | {} |\n", fault.name(), fault_description(*fault));
    }
    text
}

fn losses() -> String {
    let link = LinkLoss::ALL.map(|loss| (loss.name(), loss.description()));
    let host = HostLoss::ALL.map(|loss| (loss.name(), loss.description()));
    let cookies = SynCookieEvent::ALL.map(|event| (event.name(), event.description()));
    [
        table_of(
            "## Losses before and behind the program\n\n\
             What link, driver and kernel count themselves, so that nobody takes a full link for the \
             program's doing or the other way round. The counts start with the interface or at boot, \
             not with the daemon, and are those of the daemon's network namespace.\n\n\
             | cause at an interface | meaning |\n| --- | --- |\n",
            &link,
        ),
        table_of("| cause in the kernel | meaning |\n| --- | --- |\n", &host),
        table_of("| event of a SYN cookie | meaning |\n| --- | --- |\n", &cookies),
    ]
    .join("\n")
}

fn table_of(head: &str, rows: &[(&str, &str)]) -> String {
    let rows = rows.iter();
    let rows = rows.map(|(name, meaning)| format!("| `{name}` | {meaning} |\n"));
    rows.fold(head.to_owned(), |text, row| text + &row)
}
