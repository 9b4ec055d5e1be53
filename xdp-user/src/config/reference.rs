//! The reference page and the example file, written from the schema.

use super::builtin::why;
use super::schema::SECTIONS;
use super::setting::{Default, Effect, Key, Section};
use super::{Config, Limit};
use crate::domain::{Burst, PacketRate};

/// Every key, as a page of Markdown.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         <!-- Written from the schema in xdp-user/src/config/schema.rs. -->\n\n\
         `xdp-throttle run --config FILE` reads one TOML file, commonly \
         `/etc/xdp-throttle/config.toml`. Every key has a default; an empty file is valid. \
         `xdp-throttle check FILE` reports every mistake at once. Unknown keys are mistakes.\n\n\
         Quantities carry their units: packets per second `\"20kpps\"`, bits per second \
         `\"200Mbps\"` (decimal), connections per second `\"100cps\"`, bytes `\"256KiB\"` or \
         `\"1MB\"`, time `\"100ms\"`, `\"30s\"`, `\"1h\"`, `\"7d\"`.\n\n\
         Keys marked *live* change on reload without a gap. The others take effect when the \
         daemon starts again.\n",
    );
    for section in SECTIONS {
        page += &section_markdown(section);
    }
    page
}

fn section_markdown(section: &Section) -> String {
    let title = if section.name.is_empty() {
        "Top of the file".to_owned()
    } else {
        format!("`{}`", section.header())
    };
    let keys: String = section.keys.iter().map(key_markdown).collect();
    format!(
        "\n## {title}\n\n{}\n\n| key | value | default | when |\n| --- | --- | --- | --- |\n{keys}",
        flowing(section.doc)
    )
}

fn key_markdown(key: &Key) -> String {
    let default = match key.default {
        Default::Is(literal) => format!("`{literal}`"),
        Default::Absent { meaning, .. } => meaning.to_owned(),
        Default::Required { .. } => "must be there".to_owned(),
    };
    let when = match key.effect {
        Effect::Live => "live",
        Effect::Restart => "restart",
    };
    let doc = flowing(key.doc);
    let kind = (key.kind)();
    format!(
        "| `{}` | {doc}<br>{kind} | {default} | {when} |\n",
        key.name
    )
}

/// The built-in classes, as a table of Markdown.
pub fn classes() -> String {
    let mut table = String::from(
        "| class | takes | budget | under attack | returning | flags | why |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for class in &Config::default().classes {
        let limit = |limit: Option<Limit<PacketRate, Burst>>| {
            limit.map_or_else(String::new, |l| format!("{} burst {}", l.rate, l.burst))
        };
        table += &format!(
            "| `{}` | {} | {} | {} | {} | {} | {} |\n",
            class.name,
            class.takes_in_words().join(", "),
            limit(class.budget),
            limit(class.attack_budget),
            limit(class.returning),
            class.flags().join(", "),
            why(class.name.as_str()).unwrap_or_default(),
        );
    }
    table
}

/// The example file: every key, commented out, with its default.
///
/// Without the `#` at the start of the lines that hold keys, it means the same as an empty file,
/// apart from its examples of `[[interface]]`, `[[override]]` and `[[class]]`.
pub fn example() -> String {
    let mut file = String::from(
        "# Example configuration of xdp-throttle. Every key is here, commented out, with its\n\
         # default. Remove the # from a line to change it, then: xdp-throttle check FILE\n",
    );
    for section in SECTIONS {
        file += "\n";
        file += &commented(section.doc);
        if section.repeated {
            file += &format!("#{}\n", section.header());
        } else if !section.name.is_empty() {
            file += &format!("{}\n", section.header());
        }
        let keys: Vec<String> = section.keys.iter().map(key_example).collect();
        file += &keys.join("\n");
    }
    file
}

fn key_example(key: &Key) -> String {
    let (literal, note) = match key.default {
        Default::Is(literal) => (literal, String::new()),
        Default::Absent { meaning, example } => (example, format!("Left out: {meaning}.")),
        Default::Required { example } => (example, "Must be there.".to_owned()),
    };
    let kind = (key.kind)().replace('`', "");
    let doc = format!("{} {note} ({kind})", flowing(key.doc));
    format!("{}#{} = {literal}\n", commented(&doc), key.name)
}

/// One paragraph on one line.
fn flowing(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Comment lines of at most 100 characters.
fn commented(doc: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in doc.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > 100 {
            lines += &line;
            lines += "\n";
            line = String::from("#");
        }
        line += " ";
        line += word;
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE_FILE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../packaging/config.example.toml"
    );

    /// With XDP_THROTTLE_BLESS set, writes the file instead.
    #[test]
    fn the_example_file_is_up_to_date() {
        if std::env::var_os("XDP_THROTTLE_BLESS").is_some() {
            std::fs::write(EXAMPLE_FILE, example()).unwrap();
        }
        let file = std::fs::read_to_string(EXAMPLE_FILE).unwrap();
        assert!(
            file == example(),
            "packaging/config.example.toml differs from the schema; run this test with \
             XDP_THROTTLE_BLESS=1 to write it again"
        );
    }

    const MITIGATION_PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/mitigation.md");

    /// With XDP_THROTTLE_BLESS set, writes the table instead.
    #[test]
    fn the_page_about_mitigation_has_the_built_in_classes() {
        const FROM: &str = "<!-- built-in classes -->\n";
        const TO: &str = "<!-- end of built-in classes -->\n";
        let page = std::fs::read_to_string(MITIGATION_PAGE).unwrap();
        let (head, rest) = page.split_once(FROM).unwrap();
        let (_, tail) = rest.split_once(TO).unwrap();
        let fresh = format!("{head}{FROM}\n{}\n{TO}{tail}", classes());
        if std::env::var_os("XDP_THROTTLE_BLESS").is_some() {
            std::fs::write(MITIGATION_PAGE, &fresh).unwrap();
        }
        let page = std::fs::read_to_string(MITIGATION_PAGE).unwrap();
        assert!(
            page == fresh,
            "docs/mitigation.md differs from the built-in classes; run this test with \
             XDP_THROTTLE_BLESS=1 to write the table again"
        );
    }

    /// What the page says of knobs is what they are.
    #[test]
    fn the_page_about_mitigation_names_every_knob_with_its_default() {
        let page = std::fs::read_to_string(MITIGATION_PAGE).unwrap();
        let section = SECTIONS.iter().find(|s| s.name == "mitigation").unwrap();
        for key in section.keys {
            let Default::Is(default) = key.default else {
                panic!("{} has no default", key.name);
            };
            let row = format!("| `{}` | `{default}` |", key.name);
            assert!(page.contains(&row), "no {row}");
        }
    }

    #[test]
    fn the_example_as_it_stands_means_the_defaults() {
        let loaded = Config::parse(&example(), "example").unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(loaded.warnings, []);
    }

    /// A key's line starts with `#` and a letter or bracket, prose with `# `.
    #[test]
    fn the_example_with_every_key_enabled_means_the_defaults() {
        let enabled: Vec<String> = example()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if key.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => {
                    key.to_owned()
                }
                Some(_) | None => line.to_owned(),
            })
            .collect();
        let loaded = Config::parse(&enabled.join("\n"), "example").unwrap();
        assert_eq!(loaded.config.interfaces.len(), 1);
        assert_eq!(loaded.config.overrides.len(), 1);
        assert_eq!(loaded.config.lists.len(), 1);
        let default = Config::default();
        assert_eq!(loaded.config.classes.len(), default.classes.len() + 1);
        let without_examples = Config {
            interfaces: Vec::new(),
            overrides: Vec::new(),
            lists: Vec::new(),
            classes: default.classes,
            ..loaded.config
        };
        assert_eq!(without_examples, Config::default());
    }

    #[test]
    fn every_key_is_in_reference_and_example_with_its_section() {
        let (page, file) = (markdown(), example());
        for section in SECTIONS {
            assert!(page.contains(&format!(
                "## {}",
                if section.name.is_empty() {
                    "Top of the file".to_owned()
                } else {
                    format!("`{}`", section.header())
                }
            )));
            for key in section.keys {
                assert!(
                    page.contains(&format!("| `{}` |", key.name)),
                    "{}",
                    key.name
                );
                assert!(
                    file.contains(&format!("\n#{} = ", key.name)),
                    "{}",
                    key.name
                );
                assert!(key.doc.trim().ends_with('.'), "{}", key.name);
            }
        }
    }
}
