//! Every name that an operator meets is named in a test.

use super::{
    Problem,
    source::{File, Tree, has_word},
};

const REASONS: &str = "xdp-common/src/reason.rs";

/// A reason counts as named by its variant (`Reason::Land`) or as text (`"land"`).
pub(crate) fn reasons_are_tested(tree: &Tree) -> Vec<Problem> {
    let tests = tree.test_text();
    let Some(file) = tree.file(REASONS) else {
        return vec![nothing_found(REASONS, "the file with the reasons is gone")];
    };
    let mut problems = Vec::new();
    let mut found = false;
    for (line, text) in file.product_lines() {
        let Some((variant, name)) = reason(text) else {
            continue;
        };
        found = true;
        let named = has_word(&tests, &format!("Reason::{variant}"))
            || tests.contains(&format!("\"{name}\""));
        if !named {
            problems.push(untested(file, line, "reason", name));
        }
    }
    if !found {
        problems.push(nothing_found(REASONS, "no reason found in the table"));
    }
    problems
}

/// A line of the table: `Variant = 7, "name", Pass;`
fn reason(line: &str) -> Option<(&str, &str)> {
    let (variant, rest) = line.trim().split_once(" = ")?;
    let mut columns = rest.strip_suffix(';')?.split(", ");
    columns.next()?.parse::<u8>().ok()?;
    let name = columns.next()?.strip_prefix('"')?.strip_suffix('"')?;
    Some((variant, name))
}

/// Metric names, as literals in the controller.
pub(crate) fn metrics_are_tested(tree: &Tree) -> Vec<Problem> {
    let tests = tree.test_text();
    let mut problems = Vec::new();
    for file in tree.rust("xdp-user/src/") {
        for (line, text) in file.product_lines() {
            for name in metrics(text) {
                if !has_word(&tests, name) {
                    problems.push(untested(file, line, "metric", name));
                }
            }
        }
    }
    problems
}

/// The string literals of a line that are a metric's name and nothing else.
fn metrics(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2).filter(|literal| {
        literal
            .strip_prefix("xdp_throttle_")
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(is_name))
    })
}

fn is_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

const SCHEMA: &str = "xdp-user/src/config/schema.rs";

/// A key counts as named where a test's TOML sets it: `key = value`.
pub(crate) fn config_keys_are_tested(tree: &Tree) -> Vec<Problem> {
    let tests = tree.test_text();
    let Some(file) = tree.file(SCHEMA) else {
        return vec![nothing_found(SCHEMA, "the schema is gone")];
    };
    let mut keys = file
        .product_lines()
        .filter_map(|(line, text)| Some((line, key(text)?)))
        .peekable();
    if keys.peek().is_none() {
        return vec![nothing_found(SCHEMA, "no key found in the schema")];
    }
    keys.filter(|(_, key)| !is_set(&tests, key))
        .map(|(line, key)| untested(file, line, "configuration key", key))
        .collect()
}

/// The key of a line of `section!`: `key: Type as Setting = Default::Is(..), Live;`
fn key(line: &str) -> Option<&str> {
    let line = line.trim();
    let (name, rest) = line.split_once(": ")?;
    let is_key = rest.contains(" as ")
        && rest.contains(" = Default::")
        && (rest.ends_with(", Live;") || rest.ends_with(", Restart;"));
    (is_key && name.chars().all(is_name)).then_some(name)
}

/// Whether TOML in the text sets the key; a `let` of the same name is Rust.
fn is_set(text: &str, key: &str) -> bool {
    text.match_indices(&format!("{key} = ")).any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        // In a literal of one line the key may follow an escaped end of line.
        before.ends_with("\\n")
            || !before.ends_with(is_name) && !before.ends_with("let ") && !before.ends_with("mut ")
    })
}

fn untested(file: &File, line: usize, kind: &str, name: &str) -> Problem {
    Problem {
        path: file.path.clone(),
        line,
        text: format!("no test names the {kind} {name}"),
    }
}

fn nothing_found(path: &str, text: &str) -> Problem {
    Problem {
        path: path.to_owned(),
        line: 1,
        text: format!("{text}: the rule in xtask/src/tidy/names.rs has to follow"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "reasons! {\n    /// A.\n    Accepted = 0, \"accepted\", Pass;\n    \
                         /// B.\n    NotIp = 2, \"not_ip\", Pass;\n}\n";

    fn tree(files: &[(&str, &str)]) -> Tree {
        Tree {
            files: files
                .iter()
                .map(|(path, text)| File::new(path, text))
                .collect(),
        }
    }

    #[test]
    fn a_reason_without_a_test_is_named_with_its_line() {
        let tests = "assert_eq!(r, Reason::Accepted); // not_ip";
        let problems = reasons_are_tested(&tree(&[(REASONS, TABLE), ("tests/tests/a.rs", tests)]));
        let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(
            texts,
            ["xdp-common/src/reason.rs:5: no test names the reason not_ip"]
        );
    }

    #[test]
    fn a_reason_may_be_named_as_text() {
        let tests = "(\"accepted\", \"not_ip\")";
        assert_eq!(
            reasons_are_tested(&tree(&[(REASONS, TABLE), ("tests/tests/a.rs", tests)])),
            []
        );
    }

    #[test]
    fn a_table_that_the_rule_cannot_read_is_a_problem() {
        assert_eq!(
            reasons_are_tested(&tree(&[(REASONS, "enum Reason {}")])).len(),
            1
        );
        assert_eq!(reasons_are_tested(&tree(&[])).len(), 1);
    }

    #[test]
    fn a_metric_without_a_test_is_named() {
        let code = "a(\"xdp_throttle_packets_total\"); b(\"xdp_throttle_bans\", \"help\");\n";
        let tests = "scrape().value(\"xdp_throttle_bans\")";
        let problems = metrics_are_tested(&tree(&[
            ("xdp-user/src/metrics.rs", code),
            ("tests/tests/a.rs", tests),
        ]));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].text.ends_with("xdp_throttle_packets_total"));
    }

    #[test]
    fn config_keys_are_read_from_the_schema() {
        let line = "  packets_burst: Option<Burst> as Optional<Text<Burst>> = Default::Absent { \
                    meaning: \"x\", example: \"y\" }, Live;";
        assert_eq!(key(line), Some("packets_burst"));
        assert_eq!(key("name: stringify!($key),"), None);
        assert_eq!(
            key("$key:ident: $type:ty as $setting:ty = $default:expr, $effect:ident;"),
            None
        );
    }

    #[test]
    fn a_config_key_is_named_where_toml_sets_it() {
        assert!(is_set("[limits]\npackets = \"1kpps\"", "packets"));
        assert!(is_set("\"[limits]\\npackets = 1\"", "packets"));
        assert!(!is_set("let packets = 1; max_packets = 2", "packets"));
    }

    #[test]
    fn a_config_key_without_a_test_is_named_with_its_line() {
        let schema = "section! {\n    rate: A as Text<A> = Default::Is(\"1\"), Live;\n}\n";
        let problems = config_keys_are_tested(&tree(&[(SCHEMA, schema)]));
        assert_eq!(problems[0].line, 2);
        let tests = ("tests/tests/a.rs", "\"rate = 2\"");
        assert_eq!(
            config_keys_are_tested(&tree(&[(SCHEMA, schema), tests])),
            []
        );
    }

    #[test]
    fn a_schema_that_the_rule_cannot_read_is_a_problem() {
        assert_eq!(config_keys_are_tested(&tree(&[(SCHEMA, "")])).len(), 1);
        assert_eq!(config_keys_are_tested(&tree(&[])).len(), 1);
    }
}
