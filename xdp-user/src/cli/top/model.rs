//! What the view knows and shows: changed by answers of the daemon here, by keys in `keys`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::meters::{Flow, Meter, Meters};
use super::poll::Poll;
use super::standing::{self, Before, Sort, SourceRow};
use crate::api::types::{
    AddEntries, ChangeReport, ClassList, ClassView, ListKind, ReasonCount, SourceSort, Status,
};
use crate::cli::format;
use crate::cli::status::{action, is_refused};
use crate::domain::{ClassState, Prefix, Span};

/// Comment of the entries that are added from here.
const COMMENT: &str = "from xdp-throttle top";

/// What fills the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    /// Some of everything.
    #[default]
    Overview,
    Reasons,
    Classes,
    Sources,
}

impl View {
    pub(super) const ALL: [Self; 4] = [Self::Overview, Self::Reasons, Self::Classes, Self::Sources];
}

/// A change of a list that waits for a yes, or is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) kind: ListKind,
    pub(super) source: Prefix,
    /// Seconds.
    pub(super) length: u64,
}

impl Change {
    /// What the daemon is asked.
    pub(super) fn request(&self) -> AddEntries {
        AddEntries {
            prefixes: vec![self.source.into()],
            list: None,
            ttl: Some(Span::from_secs(self.length)),
            comment: Some(COMMENT.to_owned()),
            force: false,
        }
    }
}

/// What lies over the view and takes the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Overlay {
    Help,
    Warnings,
    /// The filter as far as it is typed, and what is wrong with it.
    Filter {
        text: String,
        wrong: Option<String>,
    },
    Confirm(Change),
    /// What would happen to a packet of a source, and the first line shown.
    Explained {
        title: String,
        text: String,
        line: u16,
    },
}

/// What the last action came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) text: String,
    pub(super) is_error: bool,
}

/// Whether the daemon answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Link {
    /// Not asked yet.
    #[default]
    Unknown,
    Up,
    /// Since when it doesn't, and why.
    Down {
        since: Timestamp,
        error: String,
    },
}

/// What has to be done outside the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Quit,
    /// Ask now, not only at the next interval.
    Poll,
    Change(Change),
    Explain(IpAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// What the host got.
    Passed,
    /// Of that: what it wouldn't have got if it weren't for observe mode.
    Observed,
    /// Dropped, or answered in the host's place.
    Refused,
}

/// A reason and what was done: `passed`, `dropped`, `answered` or `observed`.
type ReasonKey = (String, String);

/// What was counted on one interface, or on all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) sides: Meters<Side>,
    reasons: Meters<ReasonKey>,
}

/// One reason.
#[derive(Clone, Debug)]
pub(super) struct ReasonRow<'m> {
    pub(super) reason: &'m str,
    pub(super) action: &'m str,
    pub(super) meter: &'m Meter,
}

/// One class.
#[derive(Clone, Debug)]
pub(super) struct ClassRow<'m> {
    pub(super) class: &'m ClassView,
    /// What came in.
    pub(super) taken: &'m Meter,
    /// Packets that didn't get through: refused, answered with a cookie, unsolicited.
    pub(super) refused: &'m Meter,
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) status: Option<Status>,
    classes: Option<ClassList>,
    /// In the order shown.
    pub(super) sources: Vec<SourceRow>,
    /// How many there are under the filter.
    pub(super) sources_total: u64,
    /// When the last answer came, and how long after the one before.
    pub(super) at: Option<Timestamp>,
    taken: Option<Instant>,
    pub(super) elapsed: Option<Duration>,
    all: Scope,
    interfaces: BTreeMap<String, Scope>,
    class_meters: Meters<(String, Side)>,
    before: Before,
    pub(super) link: Link,
    /// Name of the interface whose counters are shown; all of them together if none.
    pub(super) tab: Option<String>,
    pub(super) view: View,
    pub(super) sort: Sort,
    pub(super) filter: Option<Prefix>,
    pub(super) paused: bool,
    pub(super) selected: Option<Prefix>,
    pub(super) overlay: Option<Overlay>,
    pub(super) message: Option<Message>,
    /// For how long the next ban or permission is meant, in seconds; 0 until one was chosen.
    pub(super) length: u64,
}

impl Model {
    pub(super) fn new(sort: Sort, filter: Option<Prefix>) -> Self {
        Self {
            sort,
            filter,
            ..Self::default()
        }
    }

    /// How sources are to be asked for.
    pub(super) fn asked(&self) -> (SourceSort, Option<Prefix>) {
        (self.sort.of_daemon(), self.filter)
    }

    /// The daemon answered, or didn't.
    pub(super) fn polled(&mut self, answer: Result<Poll, String>, now: Timestamp) {
        match answer {
            Ok(poll) => {
                if matches!(self.link, Link::Down { .. }) {
                    self.say("the daemon answers again".to_owned());
                }
                self.link = Link::Up;
                self.take(poll);
            }
            Err(error) => {
                let since = match &self.link {
                    Link::Down { since, .. } => *since,
                    Link::Unknown | Link::Up => now,
                };
                self.link = Link::Down { since, error };
            }
        }
    }

    fn take(&mut self, poll: Poll) {
        let same_daemon = self.status.as_ref().is_some_and(|before| {
            (before.pid, before.started) == (poll.status.pid, poll.status.started)
        });
        if !same_daemon {
            self.before.forget();
            self.taken = None;
        }
        let elapsed = self.taken.map(|before| poll.taken.duration_since(before));
        self.sources = self.before.rows(&poll);
        standing::sort(&mut self.sources, self.sort);
        self.sources_total = poll.sources.total;
        self.all.feed(&poll.status.reasons, elapsed);
        let mut before = std::mem::take(&mut self.interfaces);
        for interface in &poll.status.interfaces {
            let mut scope = before.remove(&interface.name).unwrap_or_default();
            scope.feed(&interface.reasons, elapsed);
            self.interfaces.insert(interface.name.clone(), scope);
        }
        self.class_meters.feed(class_counts(&poll.classes), elapsed);
        if self
            .tab
            .as_ref()
            .is_some_and(|tab| !self.interfaces.contains_key(tab))
        {
            self.tab = None;
        }
        (self.at, self.taken, self.elapsed) = (Some(poll.at), Some(poll.taken), elapsed);
        (self.status, self.classes) = (Some(poll.status), Some(poll.classes));
    }

    /// The daemon changed a list, or refused.
    pub(super) fn changed(&mut self, change: Change, answer: Result<ChangeReport, String>) {
        let (verb, source) = (change.kind.name(), change.source);
        match answer {
            Err(error) => self.complain(format!("{verb} {source}: {error}")),
            Ok(report) => match report.refusals.first() {
                Some(refusal) => self.complain(format!("{verb} {source}: {}", refusal.why)),
                None => self.say(format!(
                    "{source} is {verb}ed for {}; undo: xdp-throttle {verb} del {source}",
                    format::span(change.length)
                )),
            },
        }
    }

    /// The daemon explained a packet, or refused.
    pub(super) fn explained(&mut self, address: IpAddr, answer: Result<String, String>) {
        match answer {
            Ok(text) => {
                self.overlay = Some(Overlay::Explained {
                    title: format!("a TCP SYN from {address}"),
                    text,
                    line: 0,
                });
            }
            Err(error) => self.complain(format!("explain {address}: {error}")),
        }
    }

    pub(super) fn say(&mut self, text: String) {
        self.message = Some(Message {
            text,
            is_error: false,
        });
    }

    pub(super) fn complain(&mut self, text: String) {
        self.message = Some(Message {
            text,
            is_error: true,
        });
    }

    /// Puts the sources in another order.
    pub(super) fn sort_by(&mut self, sort: Sort) {
        self.sort = sort;
        standing::sort(&mut self.sources, sort);
    }

    /// The row of the selected source, if it is shown.
    pub(super) fn selected_row(&self) -> Option<usize> {
        let selected = self.selected?;
        self.sources.iter().position(|row| row.source == selected)
    }

    /// What is counted under the tab.
    pub(super) fn scope(&self) -> &Scope {
        let tab = self.tab.as_ref().and_then(|tab| self.interfaces.get(tab));
        tab.unwrap_or(&self.all)
    }

    /// The reasons of the scope that packets had, most packets of late first.
    pub(super) fn reasons(&self) -> Vec<ReasonRow<'_>> {
        let mut rows: Vec<ReasonRow> = self
            .scope()
            .reasons
            .iter()
            .filter(|(_, meter)| meter.total.packets > 0)
            .map(|((reason, action), meter)| ReasonRow {
                reason,
                action,
                meter,
            })
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.meter.recent(), row.meter.total.packets)));
        rows
    }

    /// The classes that decide anything, the hardest pressed first.
    pub(super) fn classes(&self) -> Vec<ClassRow<'_>> {
        let Some(list) = self.classes.as_ref().filter(|list| list.enabled) else {
            return Vec::new();
        };
        let meter =
            |class: &ClassView, side| self.class_meters.get(&(class.status.name.clone(), side));
        let enabled = list.classes.iter().filter(|class| class.enabled);
        let mut rows: Vec<ClassRow> = enabled
            .filter_map(|class| {
                let taken = meter(class, Side::Passed)?;
                let refused = meter(class, Side::Refused)?;
                Some(ClassRow {
                    class,
                    taken,
                    refused,
                })
            })
            .collect();
        rows.sort_by_key(|row| {
            let pressed = (
                row.class.status.state,
                row.taken.recent(),
                row.taken.total.packets,
            );
            std::cmp::Reverse(pressed)
        });
        rows
    }

    /// Whether classes decide anything; unknown before the first answer.
    pub(super) fn classes_enabled(&self) -> Option<bool> {
        self.classes.as_ref().map(|list| list.enabled)
    }

    /// The worst state of any class.
    pub(super) fn worst(&self) -> ClassState {
        let rows = self.classes();
        rows.first()
            .map(|row| row.class.status.state)
            .unwrap_or_default()
    }
}

impl Scope {
    fn feed(&mut self, counts: &[ReasonCount], elapsed: Option<Duration>) {
        let flow = |count: &ReasonCount| Flow::new(count.packets, count.bytes);
        let sum = |is_in: fn(&ReasonCount) -> bool| {
            let counted = counts.iter().filter(|count| is_in(count));
            counted.map(flow).fold(Flow::default(), Flow::plus)
        };
        let sides = [
            (Side::Passed, sum(|count| !is_refused(count))),
            (Side::Observed, sum(|count| action(count) == "observed")),
            (Side::Refused, sum(is_refused)),
        ];
        self.sides.feed(sides, elapsed);
        let reasons = counts
            .iter()
            .map(|count| ((count.reason.clone(), action(count)), flow(count)));
        self.reasons.feed(reasons, elapsed);
    }
}

fn class_counts(list: &ClassList) -> impl Iterator<Item = ((String, Side), Flow)> {
    list.classes.iter().flat_map(|class| {
        let (name, counts) = (&class.status.name, &class.status.counts);
        let refused = counts.refused_in_all();
        [
            (
                (name.clone(), Side::Passed),
                Flow::new(counts.packets, counts.bytes),
            ),
            ((name.clone(), Side::Refused), Flow::new(refused, 0)),
        ]
    })
}
