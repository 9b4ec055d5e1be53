//! Numbers as a person reads them.

/// A value in one of Grafana's units, as far as the dashboards use them.
pub(super) fn shown(value: f64, unit: &str) -> String {
    match unit {
        "percentunit" => format!("{} %", digits(value * 100.0)),
        "pps" => with_prefix(value, 1000.0, " ", "pps"),
        "Bps" => with_prefix(value, 1000.0, " ", "B/s"),
        "bytes" => with_prefix(value, 1024.0, " ", "B"),
        "cps" => with_prefix(value, 1000.0, " ", "c/s"),
        "reqps" => with_prefix(value, 1000.0, " ", "req/s"),
        "s" if value >= 60.0 => format!("{} min", digits(value / 60.0)),
        "s" if value > 0.0 && value < 1.0 => format!("{} ms", digits(value * 1000.0)),
        "s" => format!("{} s", digits(value)),
        _ => with_prefix(value, 1000.0, "", ""),
    }
}

fn with_prefix(value: f64, step: f64, space: &str, unit: &str) -> String {
    let prefixes = ["", "k", "M", "G"];
    let mut scaled = value;
    let mut prefix = 0;
    while scaled.abs() >= step && prefix + 1 < prefixes.len() {
        scaled /= step;
        prefix += 1;
    }
    let space = if prefix > 0 && space.is_empty() {
        " "
    } else {
        space
    };
    format!("{}{space}{}{unit}", digits(scaled), prefixes[prefix])
        .trim_end()
        .to_owned()
}

/// Three digits at most behind which nothing is missed.
fn digits(value: f64) -> String {
    let text = match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => return format!("{value:.0}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_their_unit() {
        assert_eq!(shown(0.0, "pps"), "0 pps");
        assert_eq!(shown(6_543.0, "pps"), "6.54 kpps");
        assert_eq!(shown(0.875, "percentunit"), "87.5 %");
        assert_eq!(shown(2_097_152.0, "bytes"), "2 MB");
        assert_eq!(shown(131_072.0, "short"), "131 k");
        assert_eq!(shown(0.0025, "s"), "2.5 ms");
        assert_eq!(shown(150.0, "s"), "2.5 min");
        assert_eq!(shown(16.0, "none"), "16");
    }
}
