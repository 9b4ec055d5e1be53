//! Requests as they come in, and answers to those that are not carried out: always the same JSON.

use aide::generate::GenContext;
use aide::openapi::Operation;
use aide::{OperationInput, OperationOutput};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;

use super::outcome::Outcome;
use super::types::ErrorBody;
use crate::config::{ConfigError, LoadError};
use crate::control::{ImportRefused, Unavailable};
use crate::datapath::DatapathError;
use crate::events::TooMany;

pub(super) type Answer<T> = Result<Json<T>, Refused>;

/// A request that was not carried out.
pub(super) struct Refused {
    status: StatusCode,
    body: ErrorBody,
}

impl Refused {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        let body = ErrorBody {
            error: error.into(),
            cause: None,
            details: Vec::new(),
        };
        Self { status, body }
    }
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        if let Some(refused) = error.downcast_ref::<ImportRefused>() {
            let mut refusal = Self::new(StatusCode::CONFLICT, format!("{error:#}"));
            refusal.body.cause = Some(refused.name().to_owned());
            return refusal;
        }
        let Some(details) = problems(&error) else {
            return Self::new(status_of(&error), format!("{error:#}"));
        };
        let body = ErrorBody {
            error: "the configuration has mistakes; the one in force stays".to_owned(),
            cause: None,
            details,
        };
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            body,
        }
    }
}

impl From<JsonRejection> for Refused {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Refused {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<BytesRejection> for Refused {
    fn from(rejection: BytesRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let outcome = Outcome(format!("refused: {}: {}", self.status, self.body.error));
        let mut response = (self.status, Json(self.body)).into_response();
        response.extensions_mut().insert(outcome);
        response
    }
}

/// Which answers there are is said once for all routes ([`super::openapi`]).
impl OperationOutput for Refused {
    type Inner = ErrorBody;
}

/// The body, as JSON.
#[derive(FromRequest)]
#[from_request(via(Json), rejection(Refused))]
pub(super) struct Given<T>(pub(super) T);

impl<T: JsonSchema> OperationInput for Given<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Json::<T>::operation_input(context, operation);
    }
}

/// The parameters behind the path.
#[derive(FromRequestParts)]
#[from_request(via(Query), rejection(Refused))]
pub(super) struct Asked<T>(pub(super) T);

impl<T: JsonSchema> OperationInput for Asked<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Query::<T>::operation_input(context, operation);
    }
}

/// The body, as it comes.
pub(super) struct Text(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        Ok(Self(Bytes::from_request(request, state).await?))
    }
}

impl OperationInput for Text {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Bytes::operation_input(context, operation);
    }
}

/// Tells a request that can't be meant from one that the kernel or the disk refused.
fn status_of(error: &anyhow::Error) -> StatusCode {
    if error.is::<Unavailable>() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    if error.is::<TooMany>() {
        return StatusCode::TOO_MANY_REQUESTS;
    }
    let kernel = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<DatapathError>());
    match kernel {
        Some(DatapathError::Privilege { .. }) => StatusCode::FORBIDDEN,
        Some(
            DatapathError::NoNative { .. }
            | DatapathError::Framing { .. }
            | DatapathError::Unsupported { .. },
        ) => StatusCode::NOT_IMPLEMENTED,
        Some(DatapathError::Full { .. }) => StatusCode::INSUFFICIENT_STORAGE,
        Some(DatapathError::NoInterface { .. } | DatapathError::Occupied { .. }) => {
            StatusCode::CONFLICT
        }
        Some(DatapathError::Pins { .. } | DatapathError::Kernel { .. }) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        None if error.chain().any(|cause| cause.is::<rusqlite::Error>()) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        None => StatusCode::BAD_REQUEST,
    }
}

/// Every mistake of a refused configuration.
fn problems(error: &anyhow::Error) -> Option<Vec<String>> {
    let invalid = match (
        error.downcast_ref::<ConfigError>(),
        error.downcast_ref::<LoadError>(),
    ) {
        (Some(invalid), _) | (None, Some(LoadError::Invalid(invalid))) => invalid,
        (None, Some(LoadError::Read { .. }) | None) => return None,
    };
    Some(
        invalid
            .problems
            .iter()
            .map(|problem| problem.render(&invalid.file))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_takes_no_work_is_not_the_callers_mistake() {
        for error in [Unavailable::Busy, Unavailable::Stopping] {
            let status = status_of(&anyhow::Error::new(error));
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        }
        let mistake = anyhow::anyhow!("nothing to change");
        assert_eq!(status_of(&mistake), StatusCode::BAD_REQUEST);
    }
}
