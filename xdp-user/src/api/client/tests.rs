//! Against a small server on a real socket.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;

use axum::extract::Query;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};

use super::*;
use crate::api::types::{LimitFields, SourceSort};
use crate::cli::samples;

struct Served {
    client: Client,
    server: tokio::task::JoinHandle<io::Result<()>>,
    _directory: tempfile::TempDir,
}

impl Served {
    fn with(routes: Router) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        Self {
            client: Client::new(&socket).unwrap(),
            server: tokio::spawn(async move { axum::serve(listener, routes).await }),
            _directory: directory,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[tokio::test]
async fn queries_and_answers_cross_as_the_types_say() {
    let echo = |Query(query): Query<SourceQuery>| async move {
        assert_eq!(query.sort, Some(SourceSort::LastSeen));
        assert_eq!(query.limit, None);
        assert!(query.each);
        assert_eq!(query.matching, Some("2001:db8::/32".parse().unwrap()));
        Json(json!({"sources": [], "total": 7}))
    };
    let served = Served::with(Router::new().route("/v1/sources", get(echo)));
    let query = SourceQuery {
        sort: Some(SourceSort::LastSeen),
        limit: None,
        matching: Some("2001:db8::/32".parse().unwrap()),
        each: true,
    };
    assert_eq!(served.client.sources(&query).await.unwrap().total, 7);
}

#[tokio::test]
async fn classes_cross_with_their_settings_and_their_state() {
    let list = || async { Json(serde_json::to_value(samples::classes()).unwrap()) };
    let served = Served::with(Router::new().route("/v1/classes", get(list)));
    let read = served.client.classes().await.unwrap();
    assert_eq!(read.classes, samples::classes().classes);
}

#[tokio::test]
async fn an_import_streams_its_text_with_its_query() {
    let import = |Query(query): Query<HashMap<String, String>>, text: String| async move {
        assert_eq!(query["list"], "bad");
        assert_eq!(query["replace"], "true");
        assert_eq!(query.get("ttl"), None);
        let report = ChangeReport {
            added: text.lines().count() as u64,
            ..ChangeReport::default()
        };
        Json(report)
    };
    let served = Served::with(Router::new().route("/v1/block/import", post(import)));
    let query = ImportQuery {
        list: Some("bad".parse().unwrap()),
        replace: true,
        ..ImportQuery::default()
    };
    let chunks = ["192.0.2.1\n192.", "0.2.2\n", "192.0.2.3\n"];
    let text = stream::iter(chunks.map(|chunk| Ok(Bytes::from(chunk))));
    assert_eq!(
        served
            .client
            .import(ListKind::Block, &query, text)
            .await
            .unwrap()
            .added,
        3
    );
}

#[tokio::test]
async fn a_text_that_breaks_off_fails_with_its_own_error() {
    let import = |text: String| async move { text };
    let served = Served::with(Router::new().route("/v1/block/import", post(import)));
    let broken = Err(io::Error::other("the list is larger than 5 bytes"));
    let text = stream::iter([Ok(Bytes::from("192.0.2.1\n")), broken]);
    let failed = served
        .client
        .import(ListKind::Block, &ImportQuery::default(), text)
        .await;
    let text = format!("{:#}", anyhow::Error::from(failed.unwrap_err()));
    assert!(text.contains("the list is larger than 5 bytes"), "{text}");
}

#[tokio::test]
async fn limits_are_set_and_then_read() {
    let set = |Json(limits): Json<Value>| async move {
        assert_eq!(limits["packets"], "20kpps");
        assert_eq!(limits["reset"], false);
        "whatever"
    };
    let show = || async { Json(json!({"limits": [{"origin": "runtime", "packets": "20kpps"}]})) };
    let served = Served::with(Router::new().route("/v1/limits", put(set).get(show)));
    let limits = SetLimits {
        prefix: None,
        limits: LimitFields {
            packets: Some("20kpps".into()),
            ..LimitFields::default()
        },
        reset: false,
    };
    let list = served.client.set_limits(&limits).await.unwrap();
    assert_eq!(list.limits[0].origin, "runtime");
}

#[tokio::test]
async fn a_refusal_carries_message_details_and_kind() {
    let refuse = || async {
        let body =
            json!({"error": "2 mistakes in c.toml", "details": ["c.toml:1:1: a", "c.toml:2:1: b"]});
        (axum::http::StatusCode::UNPROCESSABLE_ENTITY, Json(body))
    };
    let served = Served::with(Router::new().route("/v1/apply", post(refuse)));
    let apply = Apply {
        path: None,
        text: None,
        ..Apply::default()
    };
    let refused = served.client.apply(&apply).await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::Invalid);
    assert_eq!(
        refused.to_string(),
        "2 mistakes in c.toml\n  c.toml:1:1: a\n  c.toml:2:1: b"
    );
    let unknown = served.client.bans().await.unwrap_err();
    assert_eq!(unknown.to_string(), "the daemon answered 404 Not Found");
    assert_eq!(unknown.kind(), FailureKind::Failed);
}

#[tokio::test]
async fn an_answer_of_another_version_is_told_apart() {
    let served = Served::with(Router::new().route("/v1/bans", get(|| async { "{}" })));
    let odd = served.client.bans().await.unwrap_err();
    assert!(matches!(odd, ClientError::Answer { .. }), "{odd:?}");
}

#[tokio::test]
async fn a_missing_and_a_dead_socket_mean_no_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let dead = directory.path().join("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    for socket in [missing, dead] {
        let refused = Client::new(&socket).unwrap().status().await.unwrap_err();
        assert!(
            matches!(refused, ClientError::NoDaemon { .. }),
            "{refused:?}"
        );
        let text = refused.to_string();
        assert!(text.contains(&*socket.to_string_lossy()), "{text}");
    }
}

/// On the runtime's only thread, which gives up root's way past permissions: the kernel checks
/// paths with the thread's file-system user (setfsuid(2)).
#[tokio::test]
async fn a_socket_that_is_closed_to_us_is_a_matter_of_privilege() {
    let served = Served::with(Router::new());
    let socket = std::path::PathBuf::from(&served.client.daemon);
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o000)).unwrap();
    nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
    let refused = served.client.status().await.unwrap_err();
    nix::unistd::setfsuid(nix::unistd::getuid());
    assert!(
        matches!(refused, ClientError::Permission { .. }),
        "{refused:?}"
    );
    assert_eq!(refused.kind(), FailureKind::Privilege);
    assert!(refused.to_string().contains("root"), "{refused}");
}
