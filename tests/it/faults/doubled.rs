//! Killed, and the recovery killed too; and commands that work on the same volumes at the same time.

use flexvolume_testkit::killat::{Plan, Victim};

use super::{Field, Started};

/// A sequence that is the same in every run and repeats no pair for long.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[test]
fn a_recovery_that_is_killed_too_loses_nothing() {
    let Some(field) = Field::new() else { return };
    field.plant();
    let ups = field.trace("up", Plan::Count).count();
    let downs = field.trace("down", Plan::Count).count();
    let mut dice = Dice(1);
    let mut struck = 0;
    for pair in 0..20 {
        for (verb, count) in [("up", ups), ("down", downs)] {
            let victims = [Victim::Host, Victim::Actor, Victim::Tree];
            let [first, second] = [(); 2].map(|()| (victims[dice.below(3) as usize], 1 + dice.below(count)));
            let about = format!("pair {pair}: {verb} killed at {first:?}, then at {second:?}");
            for (victim, at) in [first, second] {
                struck += u32::from(field.trace(verb, Plan::Kill { victim, at }).struck.is_some());
            }
            if verb == "up" { field.settle_up(&about) } else { field.settle_down(&about) }
        }
    }
    assert!(struck > 60, "only {struck} of 80 kills struck");
}

/// Whoever comes last wins; on the way each may be told that the volume is in use, and none may hang, panic or damage.
#[test]
fn commands_at_the_same_volumes_at_once_end_clean() {
    let Some(field) = Field::new() else { return };
    field.plant();
    // Each has a file of its own, since a command under way is known by its arguments.
    let copies: Vec<_> = (0..6).map(|n| field.pods.replace(".yaml", &format!("-{n}.yaml"))).collect();
    for copy in &copies {
        std::fs::copy(&field.pods, copy).unwrap();
    }
    for round in 0..4 {
        let both = copies.iter().flat_map(|pods| ["up", "down"].map(|verb| (verb, pods)));
        let mut all: Vec<_> = both.map(|(verb, pods)| (verb, Started::new(&field.bed, &[verb, pods]))).collect();
        for (verb, started) in &mut all {
            let ran = started.end();
            assert!([0, 1, 5].contains(&ran.code), "round {round}, {verb}: {ran:?}");
            assert!(ran.code == 0 || ran.stderr.contains("error:"), "round {round}, {verb}: {ran:?}");
            assert!(!ran.stderr.contains("panicked"), "round {round}, {verb}: {ran:?}");
        }
        field.settle_down(&format!("round {round}"));
        field.settle_up(&format!("round {round}"));
        field.settle_down(&format!("round {round}"));
    }
}
