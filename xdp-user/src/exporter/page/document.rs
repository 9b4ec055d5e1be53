//! The page's text, whole, and the hashes by which a browser knows its style and script.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// HTML with style and script inside.
pub(super) static TEXT: LazyLock<String> = LazyLock::new(|| {
    HTML.replacen("<style></style>", &format!("<style>{STYLE}</style>"), 1)
        .replacen(
            "<script></script>",
            &format!("<script>{SCRIPT}</script>"),
            1,
        )
});

/// Of the style, as a Content-Security-Policy names it.
pub(super) static STYLE_HASH: LazyLock<String> = LazyLock::new(|| hash(STYLE));
/// Of the script.
pub(super) static SCRIPT_HASH: LazyLock<String> = LazyLock::new(|| hash(SCRIPT));

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_what_content_security_policy_says() {
        // https://www.w3.org/TR/CSP3/#external-hash, and as `openssl dgst -sha256` says.
        let expected = "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=";
        assert_eq!(hash("alert('Hello, world.');"), expected);
    }

    #[test]
    fn the_page_is_whole_and_names_nothing_outside() {
        let text = TEXT.as_str();
        assert!(text.starts_with("<!doctype html>"));
        assert_eq!(text.matches("<style>").count(), 1);
        assert_eq!(text.matches("<script>").count(), 1);
        assert!(text.contains(STYLE) && text.contains(SCRIPT));
        // The namespace of SVG is a name and is never fetched.
        let named = text.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "src=", "url(", "@import", "//cdn"] {
            assert!(!named.contains(outside), "{outside} in the page");
        }
        // Both would need 'unsafe-inline' or make markup of text.
        for unsafe_one in [" style=", " onclick=", "innerHTML", "eval("] {
            assert!(!text.contains(unsafe_one), "{unsafe_one} in the page");
        }
    }
}
