//! The API's own description, OpenAPI 3.1: from the routes' types, with what is the same for all of them
//! added here.

use aide::openapi::{
    Info, License, MediaType, OpenApi, Operation, ReferenceOr, Response, SchemaObject,
    SecurityScheme, StatusCode,
};
use aide::transform::TransformOperation;
use axum::Router;
use schemars::JsonSchema;

use super::server::routes;
use super::types::ErrorBody;
use crate::control::Handle;

const DESCRIPTION: &str = "What `xdp-throttle` talks to the daemon over: on a Unix socket, where the \
    kernel tells who asks, and on a TCP port with TLS, where a token does. See docs/api.md.";

/// Every answer but a good one, with when it comes; the first group for all requests, the second for
/// those with a body.
const REFUSALS: [(u16, &str); 11] = [
    (400, "The request can't be meant: nothing was changed."),
    (
        401,
        "No token, or one that isn't known or has ended (TCP only).",
    ),
    (
        403,
        "The caller's role doesn't allow it, or the daemon lacks a right.",
    ),
    (405, "The path has no such method."),
    (408, "The request took too long to come."),
    (
        409,
        "What it is about is used otherwise; or a guard refused a list, and `cause` says which.",
    ),
    (
        429,
        "Too much at once: `Retry-After` says when to come again.",
    ),
    (500, "The kernel or the disk refused."),
    (501, "The kernel or a driver lacks something."),
    (503, "The daemon is busy, or stopping."),
    (507, "A table is full."),
];
const REFUSALS_OF_BODIES: [(u16, &str); 3] = [
    (413, "The body is too large."),
    (415, "The body isn't called JSON."),
    (
        422,
        "The body is JSON, but of another shape; or the configuration in it has mistakes.",
    ),
];

/// Names an operation and says what it does.
pub(super) fn about<'t>(
    operation: TransformOperation<'t>,
    id: &str,
    text: &str,
) -> TransformOperation<'t> {
    operation.id(id).summary(text)
}

/// The routes, and the document of them.
pub(super) fn described() -> (Router<Handle>, OpenApi) {
    let mut api = OpenApi {
        info: Info {
            title: "xdp-throttle".to_owned(),
            description: Some(DESCRIPTION.to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            license: Some(License {
                name: "MIT OR Apache-2.0".to_owned(),
                identifier: Some("MIT OR Apache-2.0".to_owned()),
                ..License::default()
            }),
            ..Info::default()
        },
        ..OpenApi::default()
    };
    let routes = routes().finish_api_with(&mut api, |api| {
        let bearer = SecurityScheme::Http {
            scheme: "bearer".to_owned(),
            bearer_format: None,
            description: Some("Of `xdp-throttle token add`; TCP only.".to_owned()),
            extensions: Default::default(),
        };
        api.security_scheme("token", bearer)
            .security_requirement("token")
    });
    add_refusals(&mut api);
    (routes, api)
}

/// The document, as it is served and as docs/openapi.json has it.
pub fn document() -> String {
    let (_, api) = described();
    let text = serde_json::to_string_pretty(&api);
    // A document of strings and maps with text keys always has a JSON form.
    text.unwrap_or_default() + "\n"
}

fn add_refusals(api: &mut OpenApi) {
    let schema = {
        let mut generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
        ErrorBody::json_schema(&mut generator)
    };
    let components = api.components.get_or_insert_default();
    let of_schema = |json_schema| SchemaObject {
        json_schema,
        external_docs: None,
        example: None,
    };
    let name = ErrorBody::schema_name().into_owned();
    let reference = schemars::json_schema!({ "$ref": format!("#/components/schemas/{name}") });
    components.schemas.insert(name, of_schema(schema));
    let paths = api
        .paths
        .iter_mut()
        .flat_map(|paths| paths.paths.values_mut());
    for path in paths {
        let ReferenceOr::Item(path) = path else {
            continue;
        };
        let operations = [&mut path.get, &mut path.post, &mut path.put];
        for operation in operations.into_iter().flatten() {
            let has_body = operation.request_body.is_some();
            let of_bodies = REFUSALS_OF_BODIES.iter().filter(|_| has_body);
            for (status, text) in REFUSALS.iter().chain(of_bodies) {
                add_refusal(operation, *status, text, of_schema(reference.clone()));
            }
        }
    }
}

fn add_refusal(operation: &mut Operation, status: u16, text: &str, schema: SchemaObject) {
    let response = Response {
        description: text.to_owned(),
        content: [(
            "application/json".to_owned(),
            MediaType {
                schema: Some(schema),
                ..MediaType::default()
            },
        )]
        .into_iter()
        .collect(),
        ..Response::default()
    };
    let responses = operation.responses.get_or_insert_default();
    let status = StatusCode::Code(status);
    responses
        .responses
        .insert(status, ReferenceOr::Item(response));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_says_what_it_does_takes_and_answers() {
        let (_, api) = described();
        let mut ids = std::collections::BTreeSet::new();
        for (path, item) in &api.paths.as_ref().unwrap().paths {
            let ReferenceOr::Item(item) = item else {
                panic!("{path}");
            };
            for operation in [&item.get, &item.post, &item.put].into_iter().flatten() {
                assert!(
                    ids.insert(operation.operation_id.clone().unwrap()),
                    "{path}"
                );
                assert!(operation.summary.is_some(), "{path}");
                let responses = &operation.responses.as_ref().unwrap().responses;
                assert!(responses.contains_key(&StatusCode::Code(200)), "{path}");
                assert!(responses.contains_key(&StatusCode::Code(403)), "{path}");
                assert_eq!(
                    responses.contains_key(&StatusCode::Code(413)),
                    operation.request_body.is_some(),
                    "{path}"
                );
            }
        }
        assert!(ids.len() > 25, "{ids:?}");
    }
}
