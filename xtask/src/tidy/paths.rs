//! Nothing in the repository names a place that only one machine has.

use super::{Problem, source::Tree};

/// First parts of paths that somebody's home or checkout has.
const PLACES: [&str; 4] = ["home", "root", "Users", "work"];

pub(crate) fn no_place_on_a_machine(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in &tree.files {
        for (line, text) in file.lines() {
            problems.extend(place_in(text).map(|place| Problem {
                path: file.path.clone(),
                line,
                text: format!("names /{place}/, which other machines don't have"),
            }));
        }
    }
    problems
}

/// The first such place, where it begins a path: `docs/work/` and `https://host/work/` don't.
fn place_in(line: &str) -> Option<&'static str> {
    let part_of_a_path = |c: char| c.is_alphanumeric() || "/._-~}".contains(c);
    PLACES.into_iter().find(|place| {
        let path = format!("/{place}/");
        line.match_indices(&path)
            .any(|(at, _)| !line[..at].ends_with(part_of_a_path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(place: &str) -> String {
        format!("cd /{place}/somebody")
    }

    #[test]
    fn a_place_on_a_machine_is_found() {
        for place in PLACES {
            assert_eq!(place_in(&path(place)), Some(place));
        }
    }

    #[test]
    fn a_place_inside_a_longer_path_is_not_one() {
        assert_eq!(place_in("see docs/home/list and $HOME/root/x"), None);
        assert_eq!(place_in("/usr/lib, /run/xdp-throttle"), None);
    }
}
