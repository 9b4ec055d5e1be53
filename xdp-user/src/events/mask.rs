//! Shorter addresses, for who may know what happened and not to whom. The one place that does it:
//! events go through [`event`] on their way to a file, lines of the log through [`text`].

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use crate::api::types::{Event, FrameBytes, Happening};
use crate::domain::Prefix;

/// Bits that stay of an IPv4 address.
const IPV4_BITS: u8 = 24;
/// Bits that stay of an IPv6 address: a site's, commonly.
const IPV6_BITS: u8 = 48;

/// A prefix that tells no more than may be told.
pub fn prefix(prefix: Prefix) -> Prefix {
    let most = if prefix.is_ipv4() {
        IPV4_BITS
    } else {
        IPV6_BITS
    };
    let length = prefix.prefix_len().min(most);
    Prefix::new(prefix.network(), length).unwrap_or(prefix)
}

fn address(address: IpAddr) -> IpAddr {
    prefix(Prefix::host(address)).network()
}

/// An event without whole addresses, and without bytes of packets, which hold more of them.
pub fn event(event: &Event) -> Event {
    let mut masked = event.clone();
    match &mut masked.what {
        Happening::Ban(ban) => ban.source = prefix(ban.source),
        Happening::Unban(ban) => ban.source = prefix(ban.source),
        Happening::List(list) => list.prefix = list.prefix.map(prefix),
        Happening::Sample(sample) => {
            sample.source = sample.source.map(address);
            sample.frame = FrameBytes::default();
        }
        Happening::Reload(reload) => {
            let texts = reload.changes.iter_mut().chain(&mut reload.error);
            texts.for_each(|words| *words = text(words).into_owned());
        }
        Happening::Class(_) | Happening::Attach(_) | Happening::Detach(_) | Happening::Lost(_) => {}
    }
    masked
}

/// A text in which every address that stands by itself is cut to its prefix: `203.0.113.9` becomes
/// `203.0.113.0/24`.
pub fn text(text: &str) -> Cow<'_, str> {
    let mut masked = String::new();
    let mut copied = 0;
    for (start, word) in words(text) {
        if let Some(short) = shortened(word) {
            masked += &text[copied..start];
            masked += &short;
            copied = start + word.len();
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    masked += &text[copied..];
    Cow::Owned(masked)
}

/// Everything that could be an address or a prefix, with its place: the longest runs of characters
/// that one consists of, unless a letter or digit is their neighbour.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let belongs = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '/');
    let mut rest = 0;
    std::iter::from_fn(move || {
        loop {
            let start = rest + text[rest..].find(belongs)?;
            let length = text[start..].find(|c| !belongs(c));
            let end = length.map_or(text.len(), |length| start + length);
            rest = end;
            let neighbour = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let alone = !neighbour(text[..start].chars().next_back())
                && !neighbour(text[end..].chars().next());
            if alone {
                return Some((start, &text[start..end]));
            }
        }
    })
}

/// The word with its address cut, if it is one; what a sentence puts behind it stays.
fn shortened(word: &str) -> Option<String> {
    let bare = word.trim_end_matches(['.', ':', '/']);
    for candidate in [word, bare] {
        let behind = &word[candidate.len()..];
        if let Ok(found) = candidate.parse::<Prefix>() {
            return Some(format!("{}{behind}", prefix(found)));
        }
        if let Ok(found) = candidate.parse::<SocketAddr>() {
            let short = prefix(Prefix::host(found.ip()));
            return Some(format!("{short}:{}{behind}", found.port()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{Reloaded, Sample};

    #[test]
    fn addresses_are_cut_wherever_they_stand_in_a_text() {
        for (before, after) in [
            (
                "banned source=203.0.113.9 level=2",
                "banned source=203.0.113.0/24 level=2",
            ),
            ("from 203.0.113.9: no", "from 203.0.113.0/24: no"),
            ("203.0.113.9.", "203.0.113.0/24."),
            ("203.0.113.9:443", "203.0.113.0/24:443"),
            ("\"2001:db8:1:2::7\",", "\"2001:db8:1::/48\","),
            ("[2001:db8:1:2::7]:53", "[2001:db8:1::/48]:53"),
            (
                "2001:db8:1:2::/64 and 10.1.2.0/25",
                "2001:db8:1::/48 and 10.1.2.0/24",
            ),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("2001:db8::", "2001:db8::/48"),
        ] {
            assert_eq!(text(before), after);
        }
    }

    #[test]
    fn what_is_no_address_stays_as_it_is() {
        for same in [
            "2026-11-25T05:03:06.123456Z  INFO xdp_user::control: ready",
            "kernel 6.18.5, version 0.1.0",
            "c.toml:3:1: mode: nonsense",
            "x::y x::1y 1::z",
            "",
            "äöü ::: ... /// 1.2.3.4.5",
        ] {
            assert_eq!(text(same), same);
            assert!(matches!(text(same), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn an_event_keeps_no_whole_address_and_no_bytes() {
        let whole = |what| Event {
            number: 1,
            at: jiff::Timestamp::UNIX_EPOCH,
            what,
        };
        let sample = event(&whole(Happening::Sample(Box::new(Sample {
            interface: None,
            reason: "land".into(),
            action: "dropped".into(),
            source: "2001:db8:1:2::7".parse().ok(),
            list: None,
            class: None,
            stands_for: 1,
            length: 60,
            frame: FrameBytes(vec![1; 60]),
            bare_ip: false,
        }))));
        let json = serde_json::to_value(&sample).unwrap();
        assert_eq!(
            (&json["source"], &json["frame"]),
            (&"2001:db8:1::".into(), &"".into())
        );
        let reload = event(&whole(Happening::Reload(Reloaded {
            path: "c.toml".into(),
            changes: vec!["allows 192.0.2.7".into()],
            error: Some("192.0.2.8 is there twice".into()),
        })));
        let json = serde_json::to_string(&reload).unwrap();
        assert!(
            json.contains("192.0.2.0/24") && !json.contains("192.0.2.8"),
            "{json}"
        );
    }
}
