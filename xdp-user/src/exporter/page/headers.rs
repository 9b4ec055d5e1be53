//! Whom a request was meant for, and what a browser may do with the answer.

use std::net::IpAddr;
use std::sync::LazyLock;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::document;

/// Whether the request names this host by a loopback address or `localhost`, any port: through a
/// tunnel (`ssh -L`) the port is another one. No name that somebody else could point at loopback
/// passes (DNS rebinding).
pub(super) fn names_loopback(request: &Request) -> bool {
    // RFC 9112, section 3.2: a full address in the request's line outranks the header, of which
    // there is exactly one.
    if let Some(host) = request.uri().host() {
        return is_loopback(host);
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let authority = host.to_str().ok().and_then(|host| host.parse().ok());
    authority.is_some_and(|authority: Authority| is_loopback(authority.host()))
}

fn is_loopback(host: &str) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    bare.parse()
        .is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

/// `Content-Security-Policy` of everything here: the page's own style and script by their hashes,
/// its own origin to ask, nothing else, in nobody's frame; no text becomes markup.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let text = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        document::SCRIPT_HASH.as_str(),
        document::STYLE_HASH.as_str()
    );
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

pub(super) fn restrict(headers: &mut HeaderMap) {
    let fixed: [(HeaderName, &'static str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // For browsers that don't know frame-ancestors.
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(uri: &str, hosts: &[&str]) -> Request {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn loopback_is_named_by_its_addresses_and_localhost_on_any_port() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9777",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:9777",
            "[::ffff:127.0.0.1]:80",
            "localhost",
            "LocalHost:8080",
        ] {
            assert!(names_loopback(&request("/", &[host])), "{host}");
        }
    }

    #[test]
    fn names_and_addresses_of_others_are_not_loopback() {
        for host in [
            "",
            "rebound.example",
            "rebound.example:9777",
            "localhost.rebound.example",
            "127.0.0.1.rebound.example",
            "notlocalhost",
            "192.0.2.1:9777",
            "0.0.0.0:9777",
            "[::]:9777",
            "[2001:db8::1]",
            "::1",
            "user@rebound.example",
        ] {
            assert!(!names_loopback(&request("/", &[host])), "{host}");
        }
        assert!(!names_loopback(&request("/", &[])));
        let two = ["127.0.0.1", "rebound.example"];
        assert!(!names_loopback(&request("/", &two)));
        let full = request("http://rebound.example/", &["127.0.0.1"]);
        assert!(!names_loopback(&full));
    }
}
