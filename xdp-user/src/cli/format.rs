//! Numbers, spans and times as people read them.

use jiff::Timestamp;

/// 1234567 as "1,234,567".
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place != 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// At most five characters: "999", "1.2k", "12.3k", "123k", "1.2M".
pub(crate) fn short(number: u64) -> String {
    const UNITS: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    if number < 1000 {
        return number.to_string();
    }
    let number = u128::from(number);
    let mut size = 1000;
    for unit in UNITS {
        // What would round to 100.0 has no tenths, what would round to 1000 is of the next unit.
        if number < size * 100 - size / 20 {
            let tenths = (number * 10 + size / 2) / size;
            return format!("{}.{}{unit}", tenths / 10, tenths % 10);
        }
        if number < size * 1000 - size / 2 {
            return format!("{}{unit}", (number + size / 2) / size);
        }
        size *= 1000;
    }
    // A u64 ends at 18.4E.
    format!("{number}")
}

/// Decimal units, as for links and disks: "999 B", "1.2 MB".
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    // Tenths of the unit, so that no floating point is needed. 999,950 would round to 1000.0 kB.
    let mut tenths = bytes.saturating_add(50) / 100;
    for unit in UNITS {
        if tenths < 10_000 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        tenths = (tenths + 500) / 1000;
    }
    format!("{} EB", tenths * 100)
}

/// "12.3%"; "-" of nothing. What is there never shows as "0.0%", and only all of it as "100.0%".
pub(crate) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let permille = u128::from(part) * 1000 / u128::from(whole);
    if part != 0 && permille == 0 {
        "<0.1%".to_owned()
    } else {
        format!("{}.{}%", permille / 10, permille % 10)
    }
}

/// The two largest units: "3h12m", "45s".
pub(crate) fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut parts = Vec::new();
    let mut rest = seconds;
    for (size, unit) in UNITS {
        if rest >= size || !parts.is_empty() {
            parts.push((rest / size, unit));
            rest %= size;
        }
    }
    parts.truncate(2);
    match parts.as_slice() {
        [] => "0s".to_owned(),
        parts => parts
            .iter()
            .filter(|(number, _)| *number != 0)
            .map(|(number, unit)| format!("{number}{unit}"))
            .collect(),
    }
}

/// "3h12m ago".
pub(crate) fn ago(time: Timestamp, now: Timestamp) -> String {
    format!("{} ago", span(seconds_between(time, now)))
}

/// "in 59m"; "never" without an end, "over" after it.
pub(crate) fn until(end: Option<Timestamp>, now: Timestamp) -> String {
    match end {
        None => "never".to_owned(),
        Some(end) if end <= now => "over".to_owned(),
        Some(end) => format!("in {}", span(seconds_between(now, end))),
    }
}

/// "2026-11-22 20:49:24Z".
pub(crate) fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// From `start` to `end`; 0 if the clock went back.
pub(crate) fn seconds_between(start: Timestamp, end: Timestamp) -> u64 {
    u64::try_from(end.as_second().saturating_sub(start.as_second())).unwrap_or(0)
}

/// Without what would move a terminal's cursor or break a row: comments and list lines are
/// other people's text.
pub(crate) fn printable(text: &str) -> String {
    let escaped = text.chars().flat_map(|c| {
        let control = c.is_control().then(|| c.escape_default());
        let plain = (!c.is_control()).then_some(c);
        control.into_iter().flatten().chain(plain)
    });
    escaped.collect()
}

/// "1 entry", "2 entries".
pub(crate) fn plural(number: u64, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{} {noun}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_thousands_separators() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (120_430, "120,430"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn short_numbers_take_five_places_at_most() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0k"),
            (12_345, "12.3k"),
            (99_949, "99.9k"),
            (99_950, "100k"),
            (123_456, "123k"),
            (999_449, "999k"),
            (999_500, "1.0M"),
            (1_250_000, "1.3M"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(short(number), text, "{number}");
        }
    }

    #[test]
    fn bytes_keep_one_decimal() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_250_000, "1.3 MB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (3_000_000_000, "3.0 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(number), text, "{number}");
        }
    }

    #[test]
    fn shares_never_hide_what_is_there() {
        assert_eq!(share(0, 0), "-");
        assert_eq!(share(0, 10), "0.0%");
        assert_eq!(share(1, 1_000_000), "<0.1%");
        assert_eq!(share(1, 3), "33.3%");
        assert_eq!(share(999_999, 1_000_000), "99.9%");
        assert_eq!(share(u64::MAX, u64::MAX), "100.0%");
    }

    #[test]
    fn spans_show_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (45, "45s"),
            (60, "1m"),
            (3600, "1h"),
            (11_520, "3h12m"),
            (3605, "1h"),
            (90_061, "1d1h"),
        ] {
            assert_eq!(span(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn times_are_relative_and_utc() {
        let now: Timestamp = "2026-11-22T20:49:24.5Z".parse().unwrap();
        let earlier: Timestamp = "2026-11-22T20:49:00Z".parse().unwrap();
        assert_eq!(ago(earlier, now), "24s ago");
        assert_eq!(until(Some(now), earlier), "in 24s");
        assert_eq!(until(Some(earlier), now), "over");
        assert_eq!(until(None, now), "never");
        assert_eq!(time(now), "2026-11-22 20:49:24Z");
        assert_eq!(seconds_between(now, earlier), 0);
    }

    #[test]
    fn terminals_get_no_control_characters() {
        assert_eq!(printable("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
        assert_eq!(printable("Grüße"), "Grüße");
    }
}
