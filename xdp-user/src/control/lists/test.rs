//! Whether addresses are on a list, and which entries hold them.

use anyhow::{Result, bail};

use crate::api::types::{EntryView, ListKind, TestQuery, TestReport, TestResult};
use crate::control::Control;
use crate::control::entries::Member;
use crate::domain::{GivenPrefix, Prefix};

/// Addresses of one question.
pub const MAX_TESTED: usize = 100;
/// Entries that one answer names for each address.
const MAX_MATCHES: usize = 100;

impl Control {
    /// The entries that hold each of the addresses.
    pub fn test_entries(&mut self, kind: ListKind, query: &TestQuery) -> Result<TestReport> {
        let asked: Vec<&str> = query.addresses.split(',').map(str::trim).collect();
        if asked.len() > MAX_TESTED {
            bail!(
                "{} addresses are too many at once: ask for at most {MAX_TESTED}",
                asked.len()
            );
        }
        let mut results = Vec::with_capacity(asked.len());
        for text in asked {
            let address = text
                .parse::<GivenPrefix>()
                .map_err(|error| anyhow::anyhow!("{}: {error}", text.escape_debug()))?
                .prefix();
            let matches = self.holding(kind, &address)?;
            results.push(TestResult { address, matches });
        }
        Ok(TestReport { results })
    }

    fn holding(&mut self, kind: ListKind, address: &Prefix) -> Result<Vec<EntryView>> {
        let holding: Vec<(Prefix, Member)> = self
            .entries(kind)
            .covering(address)
            .into_iter()
            .flat_map(|(prefix, members)| members.iter().map(move |one| (prefix, one.clone())))
            .take(MAX_MATCHES)
            .collect();
        let views = holding.into_iter();
        views
            .map(|(prefix, member)| self.view(kind, prefix, member))
            .collect()
    }
}
