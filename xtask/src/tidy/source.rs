//! The repository's texts, as the rules see them.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// Every text file of the repository.
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

pub(crate) struct File {
    /// From the top of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Not ours: cargo's and git's own.
const SKIPPED: [&str; 3] = ["target", ".git", "Cargo.lock"];

impl Tree {
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        collect(root, "", &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    /// The file at exactly this path.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Rust sources whose path starts with `prefix`.
    pub(crate) fn rust(&self, prefix: &str) -> impl Iterator<Item = &File> {
        self.files
            .iter()
            .filter(move |file| file.path.starts_with(prefix) && file.path.ends_with(".rs"))
    }

    /// All that tests say: the tests package and the test modules of the product's crates. This
    /// crate's own are left out; they speak of made-up names.
    pub(crate) fn test_text(&self) -> String {
        let mut text = String::new();
        for file in self.rust("tests/") {
            text.push_str(&file.text);
        }
        for prefix in ["xdp-common/", "xdp-ebpf/", "xdp-user/"] {
            for file in self.rust(prefix) {
                text.push_str(file.split().1);
            }
        }
        text
    }
}

impl File {
    #[cfg(test)]
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The text in two: what ships, and what is compiled for tests only. By this repository's
    /// habit a test module is the last thing in its file, or a file or directory `tests`.
    pub(crate) fn split(&self) -> (&str, &str) {
        if self.path.ends_with("/tests.rs") || self.path.contains("/tests/") {
            return ("", &self.text);
        }
        match self.text.find("#[cfg(test)]\nmod ") {
            Some(at) => self.text.split_at(at),
            None => (&self.text, ""),
        }
    }

    /// Lines with their number, counted from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(&self.text)
    }

    /// Lines of what ships.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(self.split().0)
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

fn collect(root: &Path, dir: &str, files: &mut Vec<File>) -> Result<()> {
    let full = root.join(dir);
    let entries = fs::read_dir(&full).with_context(|| format!("reading {}", full.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {}", full.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        let path = if dir.is_empty() {
            name
        } else {
            format!("{dir}/{name}")
        };
        let kind = entry
            .file_type()
            .with_context(|| format!("reading {path}"))?;
        if kind.is_dir() {
            collect(root, &path, files)?;
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).with_context(|| format!("reading {path}"))?;
            // Not text, not for these rules.
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(File { path, text });
            }
        }
    }
    Ok(())
}

/// Whether `name` stands in `text` with no letter, digit or underscore on either side.
pub(crate) fn has_word(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + name.len()..].starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_split_at_its_test_module() {
        let file = File::new("a/src/b.rs", "fn b() {}\n#[cfg(test)]\nmod tests {\n}\n");
        assert_eq!(
            file.split(),
            ("fn b() {}\n", "#[cfg(test)]\nmod tests {\n}\n")
        );
        assert_eq!(file.product_lines().count(), 1);
    }

    #[test]
    fn a_file_of_tests_ships_nothing() {
        assert_eq!(File::new("a/src/b/tests.rs", "x").split(), ("", "x"));
        assert_eq!(File::new("a/tests/b.rs", "x").split(), ("", "x"));
    }

    #[test]
    fn a_word_is_not_a_part_of_another() {
        assert!(has_word("(land)", "land"));
        assert!(!has_word("landing island land_ip", "land"));
    }

    #[test]
    fn test_text_comes_from_the_products_crates() {
        let test = "#[cfg(test)]\nmod tests { fn t() {} }\n";
        let tree = Tree {
            files: vec![
                File::new("xdp-user/src/a.rs", &format!("fn shipped() {{}}\n{test}")),
                File::new(
                    "xtask/src/a.rs",
                    "#[cfg(test)]\nmod tests { fn own() {} }\n",
                ),
            ],
        };
        assert_eq!(tree.test_text(), test);
    }
}
