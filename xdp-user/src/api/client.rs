//! The client's side of the control socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::types::{
    AddEntries, AddToken, Apply, ApplyReport, AuditQuery, AuditTrail, BanList, CaptureQuery,
    ChangeReport, ClassList, DiffList, EntryPage, EntryQuery, ErrorBody, Event, EventQuery,
    ExplainQuery, Explanation, ExportQuery, FlushEntries, ImportQuery, KeptLists, LiftBans,
    LiftReport, LimitList, ListDiff, ListKind, NewToken, PendingStatus, RefreshLists,
    RemoveEntries, RevokeToken, SetLimits, SourceList, SourceQuery, Status, TestQuery, TestReport,
    TokenList, TokenView,
};
use crate::failure::FailureKind;
pub use lines::{Lines, Pieces};
pub use remote::Remote;

/// How long an answer may take. Most take milliseconds; a change of a large list takes longest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long an import may take as a whole: the text may come from a slow pipe.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(3600);

/// How long somebody may follow what happens: as good as for ever.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Speaks to one daemon. Needs a tokio runtime.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// For messages.
    daemon: String,
}

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket is missing, or nobody listens on it.
    #[error(
        "no daemon answers on {daemon}: start one with `xdp-throttle run`, or name its socket with \
         --socket"
    )]
    NoDaemon { daemon: String },
    /// The socket is there and we may not write to it.
    #[error(
        "no permission to talk to the daemon on {daemon}: run as root, or as a user whom the socket's \
         mode lets write to it"
    )]
    Permission { daemon: String },
    /// The daemon was too slow.
    #[error("the daemon on {daemon} took too long to answer: its log may say why")]
    Timeout { daemon: String },
    /// The daemon said no.
    #[error("{}", with_details(body))]
    Refused { status: u16, body: ErrorBody },
    /// A line of the answer isn't one of ours.
    #[error("can't read a line of the daemon on {daemon}: is it the same version as this command?")]
    Line {
        daemon: String,
        #[source]
        source: serde_json::Error,
    },
    /// The answer isn't one of ours.
    #[error(
        "can't read the answer of the daemon on {daemon}: is it the same version as this command?"
    )]
    Answer {
        daemon: String,
        #[source]
        source: reqwest::Error,
    },
    /// Anything else between here and the daemon.
    #[error("talking to the daemon on {daemon} failed")]
    Transport {
        daemon: String,
        #[source]
        source: reqwest::Error,
    },
}

impl ClientError {
    /// What kind of failure it is.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Permission { .. } => FailureKind::Privilege,
            Self::Refused { status, .. } => match status {
                400 | 422 => FailureKind::Invalid,
                401 | 403 => FailureKind::Privilege,
                501 => FailureKind::Unsupported,
                _ => FailureKind::Failed,
            },
            Self::NoDaemon { .. }
            | Self::Timeout { .. }
            | Self::Answer { .. }
            | Self::Line { .. }
            | Self::Transport { .. } => FailureKind::Failed,
        }
    }
}

fn with_details(body: &ErrorBody) -> String {
    let details = body.details.iter().map(|detail| format!("\n  {detail}"));
    body.error.clone() + &details.collect::<String>()
}

impl Client {
    /// Doesn't connect yet.
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        let builder = reqwest::Client::builder()
            // Nothing is encrypted on a Unix socket: no authorities are read.
            .tls_certs_only([])
            .unix_socket(socket.to_owned());
        // The host is only for the Host header: every connection goes to the socket.
        Self::of(
            builder,
            "http://localhost".to_owned(),
            socket.display().to_string(),
        )
    }

    /// To a daemon over TCP, with the token in every request. Doesn't connect yet.
    pub fn remote(remote: &Remote) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, remote.authorization.clone());
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .https_only(true)
            // A token goes to nobody else.
            .redirect(reqwest::redirect::Policy::none());
        if !remote.authorities.is_empty() {
            builder = builder.tls_certs_only(remote.authorities.clone());
        }
        let url = remote.url.as_str().trim_end_matches('/').to_owned();
        Self::of(builder, url.clone(), url)
    }

    fn of(
        builder: reqwest::ClientBuilder,
        base: String,
        daemon: String,
    ) -> Result<Self, ClientError> {
        crate::http::tls::choose_provider();
        match builder.timeout(ANSWER_TIMEOUT).build() {
            Ok(http) => Ok(Self { http, base, daemon }),
            Err(source) => Err(ClientError::Transport { daemon, source }),
        }
    }

    /// `GET /v1/status`.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status", &()).await
    }

    /// `GET /v1/allow`, `GET /v1/block`.
    pub async fn entries(
        &self,
        kind: ListKind,
        query: &EntryQuery,
    ) -> Result<EntryPage, ClientError> {
        self.get(&format!("/v1/{}", kind.name()), query).await
    }

    /// `POST /v1/allow`, `POST /v1/block`.
    pub async fn add(
        &self,
        kind: ListKind,
        entries: &AddEntries,
    ) -> Result<ChangeReport, ClientError> {
        self.post(&format!("/v1/{}", kind.name()), entries).await
    }

    /// `POST /v1/allow/remove`, `POST /v1/block/remove`.
    pub async fn remove(
        &self,
        kind: ListKind,
        entries: &RemoveEntries,
    ) -> Result<ChangeReport, ClientError> {
        self.post(&format!("/v1/{}/remove", kind.name()), entries)
            .await
    }

    /// `POST /v1/allow/import`, `POST /v1/block/import`: sends the text chunk by chunk, as it comes.
    pub async fn import(
        &self,
        kind: ListKind,
        query: &ImportQuery,
        text: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<ChangeReport, ClientError> {
        let request = self
            .request(Method::POST, &format!("/v1/{}/import", kind.name()))
            .query(query)
            .timeout(IMPORT_TIMEOUT)
            .body(reqwest::Body::wrap_stream(text));
        self.answer(request).await
    }

    /// `GET /v1/lists`.
    pub async fn kept_lists(&self) -> Result<KeptLists, ClientError> {
        self.get("/v1/lists", &()).await
    }

    /// `POST /v1/lists/refresh`.
    pub async fn refresh_lists(&self, which: &RefreshLists) -> Result<KeptLists, ClientError> {
        let request = self.request(Method::POST, "/v1/lists/refresh").json(which);
        self.answer(request.timeout(IMPORT_TIMEOUT)).await
    }

    /// `POST /v1/lists/diff`.
    pub async fn diff_list(&self, which: &DiffList) -> Result<ListDiff, ClientError> {
        let request = self.request(Method::POST, "/v1/lists/diff").json(which);
        self.answer(request.timeout(IMPORT_TIMEOUT)).await
    }

    /// `POST /v1/allow/flush`, `POST /v1/block/flush`.
    pub async fn flush(
        &self,
        kind: ListKind,
        entries: &FlushEntries,
    ) -> Result<ChangeReport, ClientError> {
        self.post(&format!("/v1/{}/flush", kind.name()), entries)
            .await
    }

    /// `GET /v1/allow/export`, `GET /v1/block/export`: the text in pieces, as it comes.
    pub async fn export(&self, kind: ListKind, query: &ExportQuery) -> Result<Pieces, ClientError> {
        let path = format!("/v1/{}/export", kind.name());
        let request = self.request(Method::GET, &path).query(query);
        let response = self.success(request.timeout(IMPORT_TIMEOUT)).await?;
        Ok(Pieces::new(response, self.daemon.clone()))
    }

    /// `GET /v1/allow/test`, `GET /v1/block/test`.
    pub async fn test(&self, kind: ListKind, query: &TestQuery) -> Result<TestReport, ClientError> {
        self.get(&format!("/v1/{}/test", kind.name()), query).await
    }

    /// `GET /v1/bans`.
    pub async fn bans(&self) -> Result<BanList, ClientError> {
        self.get("/v1/bans", &()).await
    }

    /// `POST /v1/bans/lift`.
    pub async fn lift(&self, bans: &LiftBans) -> Result<LiftReport, ClientError> {
        self.post("/v1/bans/lift", bans).await
    }

    /// `GET /v1/limits`.
    pub async fn limits(&self) -> Result<LimitList, ClientError> {
        self.get("/v1/limits", &()).await
    }

    /// `PUT /v1/limits`, whatever it answers when it succeeds; then `GET /v1/limits`.
    pub async fn set_limits(&self, limits: &SetLimits) -> Result<LimitList, ClientError> {
        let request = self.request(Method::PUT, "/v1/limits").json(limits);
        self.success(request).await?;
        self.limits().await
    }

    /// `GET /v1/classes`.
    pub async fn classes(&self) -> Result<ClassList, ClientError> {
        self.get("/v1/classes", &()).await
    }

    /// `GET /v1/sources`.
    pub async fn sources(&self, query: &SourceQuery) -> Result<SourceList, ClientError> {
        self.get("/v1/sources", query).await
    }

    /// `GET /v1/explain`.
    pub async fn explain(&self, packet: &ExplainQuery) -> Result<Explanation, ClientError> {
        self.get("/v1/explain", packet).await
    }

    /// `GET /v1/events`: each event as it comes, a line each. Followed, they end when the daemon does.
    pub async fn events(&self, query: &EventQuery) -> Result<Lines<Event>, ClientError> {
        let request = self.request(Method::GET, "/v1/events").query(query);
        self.lines(request).await
    }

    /// `GET /v1/capture`: each sample as it comes.
    pub async fn capture(&self, query: &CaptureQuery) -> Result<Lines<Event>, ClientError> {
        let request = self.request(Method::GET, "/v1/capture").query(query);
        self.lines(request).await
    }

    /// `GET /v1/audit`.
    pub async fn audit(&self, query: &AuditQuery) -> Result<AuditTrail, ClientError> {
        self.get("/v1/audit", query).await
    }

    /// `GET /v1/tokens`.
    pub async fn tokens(&self) -> Result<TokenList, ClientError> {
        self.get("/v1/tokens", &()).await
    }

    /// `POST /v1/tokens`.
    pub async fn add_token(&self, token: &AddToken) -> Result<NewToken, ClientError> {
        self.post("/v1/tokens", token).await
    }

    /// `POST /v1/tokens/revoke`.
    pub async fn revoke_token(&self, token: &RevokeToken) -> Result<TokenView, ClientError> {
        self.post("/v1/tokens/revoke", token).await
    }

    /// `POST /v1/confirm`.
    pub async fn confirm(&self) -> Result<PendingStatus, ClientError> {
        self.post("/v1/confirm", &()).await
    }

    /// `POST /v1/rollback`.
    pub async fn roll_back(&self) -> Result<ApplyReport, ClientError> {
        self.post("/v1/rollback", &()).await
    }

    /// `POST /v1/apply`.
    pub async fn apply(&self, config: &Apply) -> Result<ApplyReport, ClientError> {
        self.post("/v1/apply", config).await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &(impl Serialize + ?Sized),
    ) -> Result<T, ClientError> {
        self.answer(self.request(Method::GET, path).query(query))
            .await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.answer(self.request(Method::POST, path).json(body))
            .await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    async fn lines<T>(&self, request: RequestBuilder) -> Result<Lines<T>, ClientError> {
        let response = self.success(request.timeout(FOLLOW_TIMEOUT)).await?;
        Ok(Lines::new(response, self.daemon.clone()))
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.success(request).await?;
        response.json().await.map_err(|source| {
            if source.is_timeout() {
                self.transport(source)
            } else {
                let daemon = self.daemon.clone();
                ClientError::Answer { daemon, source }
            }
        })
    }

    async fn success(&self, request: RequestBuilder) -> Result<reqwest::Response, ClientError> {
        let response = request
            .send()
            .await
            .map_err(|source| self.transport(source))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(refusal(response).await)
        }
    }

    fn transport(&self, source: reqwest::Error) -> ClientError {
        let daemon = self.daemon.clone();
        if source.is_timeout() {
            return ClientError::Timeout { daemon };
        }
        let connecting = source.is_connect().then(|| io_kind(&source)).flatten();
        if let Some(io::ErrorKind::PermissionDenied) = connecting {
            ClientError::Permission { daemon }
        } else if let Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) = connecting
        {
            ClientError::NoDaemon { daemon }
        } else {
            ClientError::Transport { daemon, source }
        }
    }
}

/// The error of the system call at the bottom, if there was one.
fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    anyhow::Chain::new(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .last()
        .map(io::Error::kind)
}

async fn refusal(response: reqwest::Response) -> ClientError {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    let body = serde_json::from_str(&text).unwrap_or_else(|_| ErrorBody {
        error: plain_refusal(status, &text),
        cause: None,
        details: Vec::new(),
    });
    ClientError::Refused {
        status: status.as_u16(),
        body,
    }
}

/// For answers that no handler of ours wrote: an unknown path, a body over the bound.
fn plain_refusal(status: StatusCode, text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        format!("the daemon answered {status}")
    } else {
        format!("the daemon answered {status}: {text}")
    }
}

mod lines;
mod remote;
#[cfg(test)]
mod tests;
