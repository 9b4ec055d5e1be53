//! What wasn't judged, in words.

use super::format;
use super::table::{Table, numbers, words};
use crate::api::types::NotIpCount;

/// Nothing where everything was IP.
pub(super) fn render(counts: &[NotIpCount]) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let mut table = Table::new([words("not judged"), words("ether type"), numbers("packets")]);
    for count in counts {
        table.row([
            format::printable(&count.kind),
            format::printable(count.ether_type.as_deref().unwrap_or_default()),
            format::count(count.packets),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_and_other_ether_types_numbered() {
        let count = |kind: &str, ether_type: Option<&str>, packets| NotIpCount {
            kind: kind.into(),
            ether_type: ether_type.map(Into::into),
            packets,
        };
        let text = render(&[count("arp", None, 1200), count("other", Some("0x88b5"), 3)]);
        assert!(text.contains("arp") && text.contains("1,200"), "{text}");
        let other = text.lines().find(|line| line.starts_with("other")).unwrap();
        assert!(other.contains("0x88b5") && other.ends_with('3'), "{text}");
        assert_eq!(render(&[]), "");
    }
}
