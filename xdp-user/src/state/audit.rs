//! The audit trail: the last requests that changed something, or wanted to.

use anyhow::Result;
use jiff::Timestamp;
use rusqlite::params;

use super::{State, timestamp};

pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, uid INTEGER NOT NULL,
    user TEXT, pid INTEGER NOT NULL, what TEXT NOT NULL, outcome TEXT NOT NULL
);";

/// Something that somebody changed, or wanted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// When.
    pub at: Timestamp,
    /// The user's number; `None` for a token.
    pub uid: Option<u32>,
    /// The user's name where it has one, or whose token and from where.
    pub user: Option<String>,
    /// The process; 0 where it isn't one of this host.
    pub pid: i32,
    /// What was asked for.
    pub what: String,
    /// `done`, or why not.
    pub outcome: String,
}

/// In place of a user's number.
const NO_USER: i64 = -1;

/// Changes that are kept; the oldest go first.
const AUDIT_ROWS: u32 = 10_000;

impl State {
    /// Adds to the audit trail.
    pub fn audit(&mut self, row: &AuditRow) -> Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT INTO audit (at_ms, uid, user, pid, what, outcome) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                row.at.as_millisecond(),
                row.uid.map_or(NO_USER, i64::from),
                row.user,
                row.pid,
                row.what,
                row.outcome
            ],
        )?;
        transaction.execute(
            "DELETE FROM audit WHERE number <= (SELECT MAX(number) FROM audit) - ?1",
            [AUDIT_ROWS],
        )?;
        Ok(transaction.commit()?)
    }

    /// The audit trail, the latest first.
    pub fn audit_trail(&self, limit: u64) -> Result<Vec<AuditRow>> {
        let mut statement = self.connection.prepare(
            "SELECT at_ms, uid, user, pid, what, outcome FROM audit ORDER BY number DESC LIMIT ?1",
        )?;
        let mut rows = statement.query([i64::try_from(limit)?])?;
        let mut trail = Vec::new();
        while let Some(row) = rows.next()? {
            trail.push(AuditRow {
                at: timestamp(row.get(0)?).unwrap_or(Timestamp::UNIX_EPOCH),
                uid: u32::try_from(row.get::<_, i64>(1)?).ok(),
                user: row.get(2)?,
                pid: row.get(3)?,
                what: row.get(4)?,
                outcome: row.get(5)?,
            });
        }
        Ok(trail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_the_trail_go_first() {
        let directory = tempfile::tempdir().unwrap();
        let mut state = State::open(directory.path()).unwrap();
        let row = |n: u32| AuditRow {
            at: timestamp(1_700_000_000_000 + i64::from(n)).unwrap(),
            uid: n.checked_sub(1),
            user: n.is_multiple_of(2).then(|| "alice".to_owned()),
            pid: 7,
            what: "POST /v1/block".into(),
            outcome: "done".into(),
        };
        // As if so many had come before.
        state.audit(&row(0)).unwrap();
        let skip = format!("UPDATE sqlite_sequence SET seq = {AUDIT_ROWS} WHERE name = 'audit'");
        state.connection.execute_batch(&skip).unwrap();
        state.audit(&row(1)).unwrap();
        state.audit(&row(2)).unwrap();
        assert_eq!(state.audit_trail(10).unwrap(), [row(2), row(1)]);
        assert_eq!(state.audit_trail(1).unwrap(), [row(2)]);
    }
}
