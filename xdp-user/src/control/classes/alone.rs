//! Classes and their states without the rest of the controller: for a replay, whose clock is a
//! capture's.

use anyhow::Result;

use super::Look;
use super::build::class_set;
use super::escalation::Escalation;
use super::numbers::Numbers;
use crate::config::{Class, Config, Mitigation};
use crate::datapath::{ClassSet, Datapath};
use crate::domain::ClassState;

/// The classes of a configuration, with the state of each.
pub struct Escalations {
    set: ClassSet,
    mitigation: Mitigation,
    classes: Vec<(usize, Class, Escalation)>,
}

/// A class went from one state to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalated {
    /// Its number in the program.
    pub number: usize,
    /// Its name.
    pub class: String,
    /// Before.
    pub from: ClassState,
    /// After.
    pub to: ClassState,
}

impl Escalations {
    /// The classes as a daemon has them at its start, all in the normal state.
    #[must_use]
    pub fn new(config: &Config, now_ns: u64) -> Self {
        let mut numbers = Numbers::default();
        numbers.give(&config.classes);
        let first = Look {
            now_ns,
            over: 0,
            pressure_until_ns: 0,
        };
        let numbered = |class: &Class| {
            let number = numbers.of(&class.name)?;
            let escalation = Escalation::new(ClassState::Normal, first);
            Some((number, class.clone(), escalation))
        };
        Self {
            set: class_set(&config.classes, &config.mitigation, &numbers),
            mitigation: config.mitigation.clone(),
            classes: config.classes.iter().filter_map(numbered).collect(),
        }
    }

    /// What the program is told.
    #[must_use]
    pub fn set(&self) -> &ClassSet {
        &self.set
    }

    /// The name of a number.
    #[must_use]
    pub fn name(&self, number: u8) -> Option<&str> {
        let mut classes = self.classes.iter();
        let found = classes.find(|(held, _, _)| *held == usize::from(number));
        found.map(|(_, class, _)| class.name.as_str())
    }

    /// Looks at what the classes counted, as the controller does several times a second, and sets the
    /// state of those whose has changed.
    ///
    /// # Errors
    /// When the datapath refuses.
    pub fn look(&mut self, datapath: &mut impl Datapath, now_ns: u64) -> Result<Vec<Escalated>> {
        let mut changes = Vec::new();
        if !self.mitigation.enabled {
            return Ok(changes);
        }
        let readings = datapath.classes()?;
        for (number, class, escalation) in &mut self.classes {
            let Some(reading) = readings.get(*number) else {
                continue;
            };
            let look = Look {
                now_ns,
                over: reading.counter.over,
                pressure_until_ns: reading.pressure_until_ns,
            };
            let limit = class.budget.filter(|_| class.enabled);
            let budget = limit.map(|limit| limit.rate.packets_per_second());
            if let Some(step) = escalation.look(look, budget, &self.mitigation) {
                datapath.set_class_level(*number, step.to.level())?;
                changes.push(Escalated {
                    number: *number,
                    class: class.name.to_string(),
                    from: step.from,
                    to: step.to,
                });
            }
        }
        Ok(changes)
    }
}
