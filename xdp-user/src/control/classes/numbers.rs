//! Which number a class has in the program.
//!
//! What the program counts and the state that it has stay with a number, so a class keeps its own as
//! long as the daemon runs, also over reloads that leave it out for a while.

use xdp_common::abi::MAX_CLASSES;

use crate::config::Class;
use crate::domain::ClassName;

/// Names by number.
#[derive(Debug)]
pub(super) struct Numbers([Option<ClassName>; MAX_CLASSES]);

impl Default for Numbers {
    fn default() -> Self {
        Self([const { None }; MAX_CLASSES])
    }
}

impl Numbers {
    /// The number of a class that has one.
    pub(super) fn of(&self, name: &ClassName) -> Option<usize> {
        self.0.iter().position(|held| held.as_ref() == Some(name))
    }

    /// Gives each class that is new a number, and tells which of these another class had before. The
    /// first classes of all get the numbers of their order, so the class for the rest is number 0.
    pub(super) fn give(&mut self, classes: &[Class]) -> Vec<usize> {
        let mut used_before = Vec::new();
        for class in classes {
            if self.of(&class.name).is_some() {
                continue;
            }
            let fresh = self.0.iter().position(Option::is_none);
            let free = fresh.or_else(|| {
                let is_free = |held: &ClassName| classes.iter().all(|class| class.name != *held);
                self.0
                    .iter()
                    .position(|held| held.as_ref().is_some_and(is_free))
            });
            // There is one: no configuration has more than there are numbers.
            let Some(number) = free else { continue };
            if fresh.is_none() {
                used_before.push(number);
            }
            if let Some(held) = self.0.get_mut(number) {
                *held = Some(class.name.clone());
            }
        }
        used_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn classes(own: &[&str]) -> Vec<Class> {
        let section = |(port, name): (usize, &&str)| {
            format!("[[class]]\nname = \"{name}\"\ntcp_ports = [{port}]\n")
        };
        let text: String = (1..).zip(own).map(section).collect();
        Config::parse(&text, "test").unwrap().config.classes
    }

    fn number(numbers: &Numbers, name: &str) -> usize {
        numbers.of(&name.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_built_in_classes_have_their_order_and_the_files_come_after() {
        let mut numbers = Numbers::default();
        let all = classes(&["b", "a"]);
        assert!(numbers.give(&all).is_empty());
        assert_eq!(number(&numbers, "other"), 0);
        for (place, class) in all.iter().enumerate() {
            assert_eq!(numbers.of(&class.name), Some(place));
        }
    }

    #[test]
    fn a_class_keeps_its_number_while_others_come_and_go() {
        let mut numbers = Numbers::default();
        numbers.give(&classes(&["a", "b"]));
        let b = number(&numbers, "b");
        numbers.give(&classes(&["b"]));
        assert!(numbers.give(&classes(&["c", "b", "a"])).is_empty());
        assert_eq!(number(&numbers, "b"), b);
        assert_eq!(number(&numbers, "a"), b - 1, "it has its own again");
        assert_eq!(number(&numbers, "c"), b + 1);
    }

    #[test]
    fn numbers_are_used_again_only_when_none_is_fresh() {
        let mut numbers = Numbers::default();
        let own: Vec<String> = (0..MAX_CLASSES - classes(&[]).len())
            .map(|n| format!("c{n}"))
            .collect();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        assert!(numbers.give(&classes(&own)).is_empty());
        let first = number(&numbers, "c0");
        assert_eq!(numbers.give(&classes(&["c1", "new"])), [first]);
        assert_eq!(number(&numbers, "new"), first);
        assert_eq!(numbers.of(&"c0".parse().unwrap()), None);
    }
}
