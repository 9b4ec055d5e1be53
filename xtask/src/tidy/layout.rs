//! Rules about files and manifests.

use super::{Problem, source::Tree};

const MOST_LINES: usize = 500;

/// A longer file does more than one thing.
pub(crate) fn files_are_short(tree: &Tree) -> Vec<Problem> {
    tree.rust("")
        .filter_map(|file| {
            let lines = file.lines().count();
            (lines > MOST_LINES).then(|| Problem {
                path: file.path.clone(),
                line: MOST_LINES,
                text: format!("{lines} lines, {MOST_LINES} at most: split it"),
            })
        })
        .collect()
}

/// The workspace's lints hold only where a member asks for them.
pub(crate) fn members_inherit_the_lints(tree: &Tree) -> Vec<Problem> {
    tree.files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
        .filter(|file| !file.text.contains("[lints]\nworkspace = true"))
        .map(|file| Problem {
            path: file.path.clone(),
            line: 1,
            text: "the crate does not inherit the lints: add `[lints]` with `workspace = true`"
                .to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::source::File, *};

    fn tree(path: &str, text: &str) -> Tree {
        Tree {
            files: vec![File::new(path, text)],
        }
    }

    #[test]
    fn a_file_of_500_lines_passes_and_one_of_501_does_not() {
        assert_eq!(files_are_short(&tree("a.rs", &"\n".repeat(500))), []);
        assert_eq!(files_are_short(&tree("a.rs", &"\n".repeat(501))).len(), 1);
        assert_eq!(files_are_short(&tree("a.md", &"\n".repeat(501))), []);
    }

    #[test]
    fn a_member_without_the_lints_is_named() {
        let without = tree("a/Cargo.toml", "[package]\nname = \"a\"\n");
        let problems = members_inherit_the_lints(&without);
        assert_eq!(problems[0].path, "a/Cargo.toml");
        let with = tree("a/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n");
        assert_eq!(members_inherit_the_lints(&with), []);
    }
}
