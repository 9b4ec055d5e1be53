//! Who changed what.

use anyhow::{Result, ensure};

use super::Control;
use crate::api::types::{AuditQuery, AuditTrail, AuditView};
use crate::state::AuditRow;

const MOST: u64 = 10_000;
const USUAL: u64 = 100;

impl Control {
    /// Adds to the audit trail.
    pub fn audit(&mut self, row: &AuditRow) -> Result<()> {
        self.state.audit(row)
    }

    /// The latest of it.
    pub fn audit_trail(&mut self, query: &AuditQuery) -> Result<AuditTrail> {
        let limit = query.limit.unwrap_or(USUAL);
        ensure!(
            limit <= MOST,
            "{limit} changes are too many at once: ask for at most {MOST}"
        );
        let rows = self.state.audit_trail(limit)?.into_iter();
        let changes = rows.map(|row| AuditView {
            at: row.at,
            uid: row.uid,
            user: row.user,
            pid: row.pid,
            what: row.what,
            outcome: row.outcome,
        });
        Ok(AuditTrail {
            changes: changes.collect(),
        })
    }
}
