//! When a class is elevated, when it is under attack, and when that is over.
//!
//! A pure state machine for one class, fed with what the program counted and when. Every step up needs
//! less than the step down: elevated at the first packet over the budget, normal only after a calm
//! while; under attack after a while far over the budget, and out of it only after a longer while
//! without. So a flood that comes in waves doesn't make the state flap.

use crate::config::Mitigation;
use crate::domain::ClassState;

const NS_PER_SECOND: u128 = 1_000_000_000;

/// What there is to see of a class at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// `CLOCK_BOOTTIME`.
    pub(super) now_ns: u64,
    /// Newcomers' packets over the budget, since the program was loaded.
    pub(super) over: u64,
    /// Until when the program holds the class for pressed.
    pub(super) pressure_until_ns: u64,
}

/// A step from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: ClassState,
    pub(super) to: ClassState,
    /// Packets over the budget per second, since the look before.
    pub(super) over_per_second: u64,
}

/// One class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Escalation {
    state: ClassState,
    since_ns: u64,
    last: Look,
    /// The last look that saw a packet over the budget.
    last_over_ns: u64,
    /// Since when it has been far over the budget.
    far_over_since_ns: Option<u64>,
    /// The last look that saw it far over the budget.
    last_far_over_ns: u64,
}

impl Escalation {
    /// In a state that the program has. Old pressure and old packets don't count again.
    pub(super) const fn new(state: ClassState, first: Look) -> Self {
        Self {
            state,
            since_ns: first.now_ns,
            last: first,
            last_over_ns: first.now_ns,
            far_over_since_ns: None,
            last_far_over_ns: first.now_ns,
        }
    }

    pub(super) const fn state(&self) -> ClassState {
        self.state
    }

    pub(super) const fn since_ns(&self) -> u64 {
        self.since_ns
    }

    /// Takes another look. `budget`: packets per second in normal times, `None` while it is off.
    pub(super) fn look(
        &mut self,
        look: Look,
        budget: Option<u64>,
        knobs: &Mitigation,
    ) -> Option<Step> {
        let elapsed_ns = look.now_ns.saturating_sub(self.last.now_ns);
        if elapsed_ns == 0 {
            return None;
        }
        // Fewer than before: counted anew.
        let over = look.over.saturating_sub(self.last.over);
        let over_per_second = per_second(over, elapsed_ns);
        let far_over = budget.is_some_and(|budget| {
            over > 0 && over_per_second >= budget.saturating_mul(knobs.attack_factor)
        });
        let pressed = look.pressure_until_ns > look.now_ns;
        if over > 0 {
            self.last_over_ns = look.now_ns;
        }
        if far_over {
            let began = self.last.now_ns;
            self.far_over_since_ns = self.far_over_since_ns.or(Some(began));
            self.last_far_over_ns = look.now_ns;
        } else {
            self.far_over_since_ns = None;
        }
        self.last = look;

        let from = self.state;
        let to = self.next(over > 0 || pressed, pressed, look.now_ns, knobs);
        if from == to {
            return None;
        }
        self.state = to;
        self.since_ns = look.now_ns;
        Some(Step {
            from,
            to,
            over_per_second,
        })
    }

    /// Back to normal at once, because nothing decides any more.
    pub(super) fn end(&mut self, look: Look) -> Option<Step> {
        let from = self.state;
        *self = Self::new(ClassState::Normal, look);
        (from != ClassState::Normal).then_some(Step {
            from,
            to: ClassState::Normal,
            over_per_second: 0,
        })
    }

    fn next(&self, over: bool, pressed: bool, now_ns: u64, knobs: &Mitigation) -> ClassState {
        let attacked = self
            .far_over_since_ns
            .is_some_and(|since| now_ns.saturating_sub(since) >= knobs.attack_after.as_nanos());
        match self.state {
            ClassState::Normal | ClassState::Elevated if attacked => ClassState::Attack,
            ClassState::Normal if over => ClassState::Elevated,
            ClassState::Elevated
                if !pressed
                    && now_ns.saturating_sub(self.last_over_ns) >= knobs.calm_after.as_nanos() =>
            {
                ClassState::Normal
            }
            ClassState::Attack
                if now_ns.saturating_sub(self.last_far_over_ns) >= knobs.attack_hold.as_nanos() =>
            {
                ClassState::Elevated
            }
            state @ (ClassState::Normal | ClassState::Elevated | ClassState::Attack) => state,
        }
    }
}

fn per_second(count: u64, elapsed_ns: u64) -> u64 {
    let rate = u128::from(count) * NS_PER_SECOND / u128::from(elapsed_ns.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const MS: u64 = 1_000_000;
    const START: u64 = 1_000_000 * MS;
    const BUDGET: u64 = 100;

    /// A class that is looked at every 250 ms, under the default knobs: four times the budget for a
    /// second, 30 s, 10 s, and 3 s of pressure.
    struct Class {
        escalation: Escalation,
        knobs: Mitigation,
        look: Look,
        steps: Vec<(u64, ClassState)>,
    }

    impl Class {
        fn new() -> Self {
            Self::starting_in(ClassState::Normal)
        }

        fn starting_in(state: ClassState) -> Self {
            let look = Look {
                now_ns: START,
                over: 0,
                pressure_until_ns: 0,
            };
            Self {
                escalation: Escalation::new(state, look),
                knobs: Config::default().mitigation,
                look,
                steps: Vec::new(),
            }
        }

        /// Looks after `ms` in which packets came in over the budget at a rate.
        fn after(&mut self, ms: u64, over_per_second: u64) -> Option<Step> {
            self.look.now_ns += ms * MS;
            let over = over_per_second * ms / 1000;
            self.look.over += over;
            if over > 0 {
                self.look.pressure_until_ns = self.look.now_ns + self.knobs.hold.as_nanos();
            }
            let step = self.escalation.look(self.look, Some(BUDGET), &self.knobs);
            if let Some(step) = step {
                self.steps.push(((self.look.now_ns - START) / MS, step.to));
            }
            step
        }

        fn for_ms(&mut self, ms: u64, over_per_second: u64) {
            for _ in 0..ms / 250 {
                self.after(250, over_per_second);
            }
        }

        fn state(&self) -> ClassState {
            self.escalation.state()
        }
    }

    use ClassState::{Attack, Elevated, Normal};

    #[test]
    fn a_class_within_its_budget_stays_normal() {
        let mut class = Class::new();
        class.for_ms(60_000, 0);
        assert_eq!(class.steps, []);
    }

    #[test]
    fn one_packet_over_the_budget_elevates_and_calm_brings_it_back() {
        let mut class = Class::new();
        let step = class.after(250, 4).unwrap();
        assert_eq!(
            (step.from, step.to, step.over_per_second),
            (Normal, Elevated, 4)
        );
        class.for_ms(9_750, 0);
        assert_eq!(class.state(), Elevated);
        class.after(250, 0);
        assert_eq!(class.steps, [(250, Elevated), (10_250, Normal)]);
    }

    #[test]
    fn pressure_alone_elevates_and_keeps_elevated() {
        let mut class = Class::new();
        class.look.pressure_until_ns = START + 20_000 * MS;
        class.for_ms(19_750, 0);
        assert_eq!(class.steps, [(250, Elevated)]);
        class.after(250, 0);
        assert_eq!(class.state(), Normal, "calm long enough, and no pressure");
    }

    #[test]
    fn far_over_the_budget_for_a_second_is_an_attack() {
        let mut class = Class::new();
        class.for_ms(750, 400);
        assert_eq!(class.state(), Elevated, "not long enough");
        class.after(250, 400);
        assert_eq!(class.steps, [(250, Elevated), (1000, Attack)]);
    }

    #[test]
    fn just_under_the_factor_is_never_an_attack() {
        let mut class = Class::new();
        class.for_ms(60_000, 396);
        assert_eq!(class.steps, [(250, Elevated)]);
    }

    #[test]
    fn a_pause_starts_the_second_anew() {
        let mut class = Class::new();
        for _ in 0..10 {
            class.for_ms(750, 4000);
            class.after(250, 0);
        }
        assert_eq!(
            class.steps,
            [(250, Elevated)],
            "the budget holds all the same"
        );
    }

    #[test]
    fn a_late_look_counts_for_the_whole_time_that_it_covers() {
        let mut class = Class::new();
        let step = class.after(2000, 400).unwrap();
        assert_eq!(
            (step.from, step.to, step.over_per_second),
            (Normal, Attack, 400)
        );
        let mut class = Class::new();
        assert_eq!(class.after(2000, 300).unwrap().to, Elevated);
    }

    #[test]
    fn an_attack_is_over_after_its_hold_and_normal_after_calm() {
        let mut class = Class::new();
        class.for_ms(2000, 4000);
        class.for_ms(29_750, 0);
        assert_eq!(class.state(), Attack);
        class.for_ms(60_000, 0);
        let steps = [
            (250, Elevated),
            (1000, Attack),
            (32_000, Elevated),
            (32_250, Normal),
        ];
        assert_eq!(class.steps, steps);
    }

    #[test]
    fn an_attack_that_goes_on_a_little_over_the_budget_stays_elevated() {
        let mut class = Class::new();
        class.for_ms(2000, 4000);
        class.for_ms(60_000, 100);
        assert_eq!(class.state(), Elevated);
        assert_eq!(class.steps.len(), 3);
    }

    #[test]
    fn a_flood_in_waves_does_not_flap() {
        let mut class = Class::new();
        for _ in 0..20 {
            class.for_ms(2000, 4000);
            class.for_ms(25_000, 0);
        }
        assert_eq!(class.steps, [(250, Elevated), (1000, Attack)]);
        let mut class = Class::new();
        for _ in 0..20 {
            class.after(250, 40);
            class.for_ms(9_000, 0);
        }
        assert_eq!(class.steps, [(250, Elevated)]);
    }

    #[test]
    fn a_state_that_the_program_has_is_taken_over() {
        let mut class = Class::starting_in(Attack);
        class.for_ms(29_750, 0);
        assert_eq!(class.steps, [], "its hold begins with the first look");
        class.after(250, 0);
        assert_eq!(class.steps, [(30_000, Elevated)]);
    }

    #[test]
    fn old_counts_and_counts_that_begin_anew_are_no_packets() {
        let mut class = Class::new();
        class.look.over = 1_000_000;
        class.escalation = Escalation::new(Normal, class.look);
        class.for_ms(1000, 0);
        class.look.over = 5;
        class.for_ms(1000, 0);
        assert_eq!(class.steps, []);
    }

    #[test]
    fn a_budget_that_is_switched_off_ends_an_attack() {
        let mut class = Class::starting_in(Attack);
        let mut look = class.look;
        let mut last = None;
        for _ in 0..200 {
            look.now_ns += 250 * MS;
            last = class.escalation.look(look, None, &class.knobs).or(last);
        }
        assert_eq!(last.map(|step| step.to), Some(Normal));
    }

    #[test]
    fn two_looks_at_one_time_are_one() {
        let mut class = Class::new();
        class.look.over = 50;
        let same = class.look;
        assert_eq!(
            class.escalation.look(same, Some(BUDGET), &class.knobs),
            None
        );
        assert_eq!(class.after(250, 0).map(|step| step.to), Some(Elevated));
    }
}
