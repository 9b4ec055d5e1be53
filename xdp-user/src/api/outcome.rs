//! What came of a change, for the audit trail. An answer with status 200 may say that nothing was done:
//! every prefix of it was refused, say. What the trail says comes from the answer, not from its status.

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{self, Operation};
use axum::Json;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::refused::Refused;
use super::types::{ChangeReport, KeptLists, LiftReport};

/// In a response's extensions: what the audit trail says of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome(pub(super) String);

/// An answer that says what was done.
pub(super) trait Report: Serialize {
    fn outcome(&self) -> String;
}

/// An answer to a change, with what the audit trail says of it.
pub(super) struct Noted<T>(pub(super) T);

pub(super) type Change<T> = Result<Noted<T>, Refused>;

impl<T: Report> IntoResponse for Noted<T> {
    fn into_response(self) -> Response {
        let outcome = Outcome(self.0.outcome());
        let mut response = Json(self.0).into_response();
        response.extensions_mut().insert(outcome);
        response
    }
}

impl<T: JsonSchema> OperationOutput for Noted<T> {
    type Inner = T;

    fn operation_response(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Option<openapi::Response> {
        Json::<T>::operation_response(context, operation)
    }

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, openapi::Response)> {
        Json::<T>::inferred_responses(context, operation)
    }
}

impl Report for ChangeReport {
    fn outcome(&self) -> String {
        let changed = self.added + self.updated + self.removed;
        let done = changed + self.unchanged;
        let first = self.refusals.first();
        let why = first.map_or(String::new(), |one| format!(": {}: {}", one.text, one.why));
        match (done, self.refused, self.missing.first()) {
            (0, 1.., _) => format!("refused{why}"),
            (_, 1.., _) => format!("partly: {done} done, {} refused{why}", self.refused),
            (0, 0, Some(missing)) => format!("nothing to do: {missing}"),
            (0, 0, None) => "nothing to do".to_owned(),
            (_, 0, _) => "done".to_owned(),
        }
    }
}

impl Report for LiftReport {
    fn outcome(&self) -> String {
        match (self.lifted, self.missing.first()) {
            (0, Some(source)) => format!("nothing to do: {source} is not banned"),
            (0, None) => "nothing to do".to_owned(),
            (_, _) => "done".to_owned(),
        }
    }
}

impl Report for KeptLists {
    fn outcome(&self) -> String {
        let failed = self.lists.iter().filter(|list| list.last_error.is_some());
        let all = failed.clone().count();
        let first = failed
            .filter_map(|list| Some((&list.name, list.last_error.as_ref()?)))
            .next();
        match first {
            Some((name, error)) => {
                format!("{all} failed: {name}: {}: {}", error.cause, error.text)
            }
            None => "done".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::Refusal;

    fn report(added: u64, refused: u64) -> ChangeReport {
        ChangeReport {
            added,
            refused,
            refusals: (0..refused)
                .map(|_| Refusal {
                    line: None,
                    text: "0.0.0.0/0".into(),
                    why: "too wide".into(),
                })
                .collect(),
            ..ChangeReport::default()
        }
    }

    #[test]
    fn what_was_refused_is_never_called_done() {
        assert_eq!(report(1, 0).outcome(), "done");
        assert_eq!(report(0, 1).outcome(), "refused: 0.0.0.0/0: too wide");
        assert_eq!(
            report(2, 1).outcome(),
            "partly: 2 done, 1 refused: 0.0.0.0/0: too wide"
        );
        let absent = ChangeReport {
            missing: vec!["192.0.2.1: not there".into()],
            ..ChangeReport::default()
        };
        assert_eq!(absent.outcome(), "nothing to do: 192.0.2.1: not there");
        let none = LiftReport {
            lifted: 0,
            missing: vec!["192.0.2.1".into()],
        };
        assert_eq!(none.outcome(), "nothing to do: 192.0.2.1 is not banned");
    }
}
