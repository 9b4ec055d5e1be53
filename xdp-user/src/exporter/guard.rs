//! TLS and passwords for who scrapes, by the file that Prometheus's own exporters take
//! (`--web.config.file`; github.com/prometheus/exporter-toolkit, docs/web-configuration.md).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bcrypt::HashParts;
use headers::authorization::Basic;
use headers::{Authorization, HeaderMapExt};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::http::tls;

const MAX_FILE: u64 = 1 << 20;
/// Of a password for a user that isn't there, so that a refusal takes as long: cost 10, as
/// `htpasswd -B -C 10` would make it.
const NOBODYS: &str = "$2b$10$7EqJtq98hPqEX7fNZaFWoOhi5Mo2o9n0fs1f3tL2d0eBzQqJ0b8lW";

/// The file, as far as it is known here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebFile {
    tls_server_config: Option<TlsFile>,
    #[serde(default)]
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFile {
    cert_file: String,
    key_file: String,
}

/// What stands before the figures and the page.
#[derive(Debug, Default)]
pub struct Guard {
    pub(super) tls: Option<Arc<tls::Acceptor>>,
    pub(super) users: Option<Arc<Users>>,
}

impl Guard {
    /// Reads the file and what it names. Not async: it happens at the start.
    ///
    /// # Errors
    /// When a file can't be read, or says something that isn't known here.
    pub fn load_blocking(path: &Path) -> Result<Self> {
        let of = || format!("metrics.web_config: {}", path.display());
        let size = std::fs::metadata(path).with_context(of)?.len();
        ensure!(size <= MAX_FILE, "{} has over {MAX_FILE} bytes", of());
        let text = std::fs::read_to_string(path).with_context(of)?;
        let file: WebFile =
            serde_saphyr::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {error}", of()))?;
        for (name, hash) in &file.basic_auth_users {
            hash.parse::<HashParts>().with_context(|| {
                format!("{}: the password of {name} is no bcrypt hash: `htpasswd -nBC 10 {name}` makes one", of())
            })?;
        }
        // As there: relative to the file's own place.
        let beside = |name: &str| path.parent().unwrap_or(Path::new("/")).join(name);
        let tls = file.tls_server_config.map(|tls| {
            let files = tls::Files {
                certificate: beside(&tls.cert_file),
                key: beside(&tls.key_file),
            };
            tls::Acceptor::load_blocking(files)
                .with_context(of)
                .map(Arc::new)
        });
        let users = (!file.basic_auth_users.is_empty()).then(|| Users::new(file.basic_auth_users));
        Ok(Self {
            tls: tls.transpose()?,
            users: users.map(Arc::new),
        })
    }
}

/// Who may read, and with which password.
pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    /// SHA-256 of the password that was right last time: a scrape needn't pay for bcrypt each time.
    right: Mutex<BTreeMap<String, [u8; 32]>>,
    /// Guessing takes one CPU at most.
    guess: Semaphore,
}

impl std::fmt::Debug for Users {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.hashes.keys()).finish()
    }
}

impl Users {
    fn new(hashes: BTreeMap<String, String>) -> Self {
        Self {
            hashes,
            right: Mutex::default(),
            guess: Semaphore::new(1),
        }
    }

    async fn has(&self, name: &str, password: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(password.as_bytes()).into();
        let was_right = {
            let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            right
                .get(name)
                .is_some_and(|known| bool::from(known.ct_eq(&digest)))
        };
        if was_right {
            return true;
        }
        let Ok(_turn) = self.guess.acquire().await else {
            return false;
        };
        let hash = self
            .hashes
            .get(name)
            .map_or(NOBODYS, String::as_str)
            .to_owned();
        let password = password.to_owned();
        let checked = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash)).await;
        let is_right = matches!(checked, Ok(Ok(true))) && self.hashes.contains_key(name);
        if is_right {
            let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            right.insert(name.to_owned(), digest);
        }
        is_right
    }
}

/// Lets a request through that has the right password.
pub(super) async fn check(
    State(users): State<Arc<Users>>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().typed_get::<Authorization<Basic>>();
    if let Some(Authorization(basic)) = given
        && users.has(basic.username(), basic.password()).await
    {
        return next.run(request).await;
    }
    let realm = HeaderValue::from_static("Basic realm=\"xdp-throttle\"");
    let headers = [(header::WWW_AUTHENTICATE, realm)];
    (
        StatusCode::UNAUTHORIZED,
        headers,
        "a user and a password are needed\n",
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        std::fs::write(&path, text).unwrap();
        format!("{:#}", Guard::load_blocking(&path).unwrap_err())
    }

    #[test]
    fn a_file_that_cannot_work_is_refused_with_the_reason() {
        for (text, why) in [
            (
                "basic_auth_users:\n  prometheus: secret\n",
                "prometheus is no bcrypt hash",
            ),
            (
                "tls_server_config:\n  cert_file: c.pem\n  key_file: k.pem\n",
                "c.pem",
            ),
            ("tls_server_config:\n  cert_file: c.pem\n", "key_file"),
            ("http_server_config:\n  http2: true\n", "http_server_config"),
            ("- 1\n", "web.yml"),
        ] {
            let error = refused(text);
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn only_the_right_password_of_the_right_user_passes() {
        let hash = bcrypt::hash("right", 4).unwrap();
        let users = Users::new(BTreeMap::from([("prometheus".to_owned(), hash)]));
        for _first_and_from_memory in 0..2 {
            assert!(users.has("prometheus", "right").await);
            assert!(!users.has("prometheus", "wrong").await);
            assert!(!users.has("somebody", "right").await);
            assert!(!users.has("", "").await);
        }
        NOBODYS.parse::<HashParts>().unwrap();
    }
}
