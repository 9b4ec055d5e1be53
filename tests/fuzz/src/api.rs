//! Bodies and queries of the API, as an operator's client might send them, through the real routes to
//! a real control task over tables in memory and a database of its own.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::LazyLock;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, Uri};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;
use xdp_user::api::rights::Rights;
use xdp_user::api::serve::guarded;
use xdp_user::config::Config;
use xdp_user::control::{Control, Handle, Overrides};
use xdp_user::daemon::capacity;
use xdp_user::datapath::memory::MemoryDatapath;
use xdp_user::http::Peer;
use xdp_user::state::State;

/// What is asked; the first byte of an input chooses. Streams are left out: they go on for as long as
/// somebody reads.
const ROUTES: [(Method, &str); 24] = [
    (Method::POST, "/v1/block"),
    (Method::POST, "/v1/block/remove"),
    (Method::POST, "/v1/block/flush"),
    (Method::POST, "/v1/block/import"),
    (Method::POST, "/v1/allow"),
    (Method::POST, "/v1/allow/remove"),
    (Method::POST, "/v1/bans/lift"),
    (Method::PUT, "/v1/limits"),
    (Method::POST, "/v1/apply"),
    (Method::POST, "/v1/confirm"),
    (Method::POST, "/v1/rollback"),
    (Method::POST, "/v1/lists/refresh"),
    (Method::POST, "/v1/lists/diff"),
    (Method::POST, "/v1/tokens"),
    (Method::POST, "/v1/tokens/revoke"),
    (Method::GET, "/v1/block"),
    (Method::GET, "/v1/allow"),
    (Method::GET, "/v1/bans"),
    (Method::GET, "/v1/limits"),
    (Method::GET, "/v1/classes"),
    (Method::GET, "/v1/sources"),
    (Method::GET, "/v1/explain"),
    (Method::GET, "/v1/audit"),
    (Method::GET, "/v1/status"),
];

/// Small tables, so that a few requests fill them.
const CONFIG: &str = "\
[capacity]
allow = 64
block = 256
overrides = 16
sources = 1024
bans = 16
";

/// Largest answer that is looked at.
const MOST_ANSWER: usize = 64 << 20;

struct World {
    runtime: Runtime,
    routes: Router,
    control: Handle,
    _directory: TempDir,
}

static WORLD: LazyLock<World> = LazyLock::new(|| match World::new() {
    Ok(world) => world,
    Err(error) => panic!("no daemon to ask: {error:#}"),
});

impl World {
    fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        // In memory where there is such a place: each change is written through.
        let memory = PathBuf::from("/dev/shm");
        let directory = match memory.is_dir() {
            true => tempfile::tempdir_in(memory)?,
            false => tempfile::tempdir()?,
        };
        let config = Config::parse(CONFIG, "fuzz.toml")?.config;
        let control = Control::start(
            Box::new(MemoryDatapath::new(capacity(&config))),
            State::open(directory.path())?,
            config,
            Overrides::default(),
            String::new(),
            |_| xdp_user::control::Seen::default(),
        )?;
        let (control, _ended) = control.spawn()?;
        let rights = Rights::of(&Config::default().control);
        let routes = guarded(control.clone(), rights, NonZeroU32::MAX);
        Ok(Self {
            runtime,
            routes,
            control,
            _directory: directory,
        })
    }
}

/// An input is the number of a route, and a query and a body with a line end between them.
pub fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let (method, path) = &ROUTES[usize::from(*first) % ROUTES.len()];
    let at = rest.iter().position(|byte| *byte == b'\n');
    let (query, body) = match at {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (&[][..], rest),
    };
    let world = &*WORLD;
    let query = String::from_utf8_lossy(query);
    let Ok(uri) = format!("{path}?{query}").parse::<Uri>() else {
        return;
    };
    // A path would have the daemon read a file of this machine.
    if *path == "/v1/apply" && contains(body, b"path") {
        return;
    }
    world.runtime.block_on(ask(world, method, uri, body));
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

async fn ask(world: &World, method: &Method, uri: Uri, body: &[u8]) {
    let request = Request::builder()
        .method(method)
        .uri(uri.clone())
        .header("content-type", "application/json")
        .extension(Peer::Process {
            uid: 0,
            gid: 0,
            pid: 0,
        })
        .body(Body::from(body.to_vec()));
    let Ok(request) = request else { return };
    let Ok(answer) = world.routes.clone().oneshot(request).await;
    let status = answer.status();
    let Ok(text) = to_bytes(answer.into_body(), MOST_ANSWER).await else {
        panic!("{method} {uri}: an answer without an end");
    };
    let text = String::from_utf8_lossy(&text);
    assert!(
        !status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE,
        "{method} {uri}: {status} {text}"
    );
    assert!(
        world.control.call(|_| Ok(())).await.is_ok(),
        "{method} {uri}: the control task has ended"
    );
}
