//! Exports: all entries at one moment, copied at once and written away from the control task.

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::api::types::{ExportQuery, ListKind};
use crate::control::Control;
use crate::control::entries::{ListId, Member};
use crate::domain::{ListName, Prefix};
use crate::lists::export::{self, Row};

/// How long a piece of the text is, about.
const PIECE: usize = 64 << 10;

struct Copied {
    prefix: Prefix,
    list: ListId,
    expires: Option<Timestamp>,
    comment: Option<Box<str>>,
}

/// The entries of a list kind as they were at one moment, in the order of their prefixes and then of
/// their lists' names.
pub struct Snapshot {
    kind: ListKind,
    names: Vec<Option<ListName>>,
    rows: std::vec::IntoIter<Copied>,
    entries: u64,
    left_out: u64,
    state: Written,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Nothing,
    Head,
    All,
}

impl Control {
    /// Copies the entries of a list, or all that an operator added: those of the configuration and of
    /// `[[list]]` sections come back by themselves.
    pub fn snapshot(&mut self, kind: ListKind, query: &ExportQuery) -> Result<Snapshot> {
        let only = match &query.list {
            Some(name) => Some(self.names.find(name).with_context(|| {
                format!("there is no list {name}: `xdp-throttle status` shows those that there are")
            })?),
            None => None,
        };
        let is_wanted = |member: &Member| match only {
            Some(list) => member.list == list,
            None => member.added.is_some(),
        };
        let mut rows = Vec::new();
        let mut left_out = 0;
        let mut last = 0;
        for (prefix, members) in self.entries(kind).iter() {
            for member in members {
                if !is_wanted(member) {
                    left_out += u64::from(only.is_none());
                    continue;
                }
                last = last.max(member.list);
                rows.push(Copied {
                    prefix,
                    list: member.list,
                    expires: member.expires,
                    comment: member.comment.clone(),
                });
            }
        }
        let names: Vec<_> = (0..=last)
            .map(|list| self.names.name(list).cloned())
            .collect();
        // Those of one prefix stand together already, so this hardly moves anything.
        rows.sort_by(|a, b| {
            (a.prefix, &names[a.list as usize]).cmp(&(b.prefix, &names[b.list as usize]))
        });
        Ok(Snapshot {
            kind,
            names,
            entries: rows.len() as u64,
            rows: rows.into_iter(),
            left_out,
            state: Written::Nothing,
        })
    }
}

impl Iterator for Snapshot {
    type Item = String;

    /// The next piece of the text.
    fn next(&mut self) -> Option<String> {
        let mut text = String::with_capacity(PIECE + 4096);
        match self.state {
            Written::Nothing => {
                text += &export::head(self.kind);
                if self.left_out > 0 {
                    text += &format!(
                        "# {} entries of the configuration and of [[list]] sections are not in \
                         it; --list NAME exports those of one list\n",
                        self.left_out
                    );
                }
                self.state = Written::Head;
            }
            Written::Head => {}
            Written::All => return None,
        }
        while text.len() < PIECE {
            let Some(row) = self.rows.next() else {
                text += &export::end(self.entries);
                self.state = Written::All;
                break;
            };
            let name = self.names.get(row.list as usize).and_then(Option::as_ref);
            let row = Row {
                prefix: row.prefix,
                list: name.map_or("manual", ListName::as_str),
                expires: row.expires,
                comment: row.comment.as_deref(),
            };
            export::write_row(&mut text, row);
        }
        Some(text)
    }
}
