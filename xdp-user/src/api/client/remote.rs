//! A daemon on another host: where, with which token, and whom to trust.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use reqwest::header::HeaderValue;
use reqwest::{Certificate, Url};

/// A token has 78 bytes.
const MAX_TOKEN: u64 = 4096;
const MAX_AUTHORITIES: u64 = 4 << 20;

/// Where a daemon serves the API over TCP.
#[derive(Clone, Debug)]
pub struct Remote {
    pub(super) url: Url,
    pub(super) authorization: HeaderValue,
    pub(super) authorities: Vec<Certificate>,
}

impl Remote {
    /// Reads the token, and the only authorities to trust, if any are named.
    ///
    /// # Errors
    /// When a file can't be read or is something else, or the address isn't `https`.
    pub fn new(url: &str, token: &Path, authorities: Option<&Path>) -> Result<Self> {
        let url: Url = url.parse().with_context(|| {
            format!("{url:?} is no address: for example https://192.0.2.1:9778")
        })?;
        ensure!(
            url.scheme() == "https" && url.username().is_empty() && url.password().is_none(),
            "the address starts with https:// and has no user: the token says who you are"
        );
        let text = read(token, MAX_TOKEN)?;
        let text = String::from_utf8(text).unwrap_or_default();
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", text.trim()))
            .with_context(|| format!("{} has no token", token.display()))?;
        authorization.set_sensitive(true);
        let of_authorities = |path: &Path| {
            let pem = read(path, MAX_AUTHORITIES)?;
            let found = Certificate::from_pem_bundle(&pem);
            found.with_context(|| format!("no certificate in {}", path.display()))
        };
        Ok(Self {
            url,
            authorization,
            authorities: authorities
                .map(of_authorities)
                .transpose()?
                .unwrap_or_default(),
        })
    }
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let of = || format!("can't read {}", path.display());
    let size = std::fs::metadata(path).with_context(of)?.len();
    ensure!(size <= most, "{} has over {most} bytes", path.display());
    std::fs::read(path).with_context(of)
}
