//! The API as a whole: the routes behind their guard, and where they are served.

use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::guard::{self, Guard};
use super::openapi;
use super::refused::Refused;
use super::rights::Rights;
use crate::control::Handle;
use crate::http::Bounds;

/// What clients can take at most, of each place where the API is served.
pub const BOUNDS: Bounds = Bounds {
    connections: 64,
    head: 16 * 1024,
    patience: Duration::from_secs(10),
    connection: None,
};

static DOCUMENT: LazyLock<String> = LazyLock::new(openapi::document);

/// The routes for whoever has the right.
pub fn guarded(control: Handle, rights: Rights, requests_per_second: NonZeroU32) -> Router {
    let guard = Guard::new(control.clone(), rights, requests_per_second);
    let (routes, _) = openapi::described();
    routes
        .route("/v1/openapi.json", get(document))
        .fallback(nothing_here)
        .method_not_allowed_fallback(no_such_method)
        .with_state(control)
        .layer(axum::middleware::from_fn_with_state(guard, guard::check))
}

async fn document() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        DOCUMENT.as_str(),
    )
}

async fn nothing_here() -> Refused {
    Refused::new(
        StatusCode::NOT_FOUND,
        "no such path: /v1/openapi.json has all of them",
    )
}

async fn no_such_method() -> Refused {
    let error = "this path has no such method: /v1/openapi.json has all of them";
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, error)
}
