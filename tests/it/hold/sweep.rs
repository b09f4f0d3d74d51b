//! A hold, a growth and a release killed before every effect, and asked for again: nothing lost, nothing doubled, nothing left.
//! In two ways only: what dies one by one in a pod's volume is the same here.

use std::io::Write;

use flexvolume_testkit::killat::{self, Orphans, Plan, Report, Spec, Victim};

use super::*;

#[derive(Clone, Copy, Debug)]
struct Way {
    victim: Victim,
    after: Orphans,
}

fn trace(bed: &Bed, wish: &Value, plan: Plan, after: Orphans) -> Report {
    let spec = Spec::new(binary("hold-helper").unwrap()).args([wish.to_string()]).after(after);
    let spec = bed.env().into_iter().fold(spec, |spec, (name, value)| spec.env(name, value));
    let report = killat::run(&spec, plan).unwrap();
    assert!(!report.timed_out, "{wish} hung: {:?}", report.effects.last());
    report
}

/// Kills before the `at`-th effect and asks again: that must succeed, whatever was left.
fn killed(bed: &Bed, wish: &Value, way: Way, at: u64) -> (bool, Value) {
    let report = trace(bed, wish, Plan::Kill { victim: way.victim, at }, way.after);
    (report.struck.is_some(), ok(bed, wish))
}

fn sweep(way: Way) {
    let Some(bed) = Bed::with_drivers() else { return };
    let hold = growing(&bed);
    let grow = and(&verb(&hold, "grow"), json!({ "capacity": 480 * MIB }));
    let release = verb(&hold, "release");
    let count = |wish: &Value| trace(&bed, wish, Plan::Count, Orphans::Await).effects.len() as u64;
    let (holds, grows, releases) = (count(&hold), count(&grow), count(&release));
    assert!(holds > 30 && grows > 8 && releases > 15, "the tracer sees {holds}, {grows} and {releases} effects");
    let mut kills = 0;
    for at in 1..=holds.max(grows).max(releases) {
        let about = format!("{way:?} at {at}");
        for entry in fs::read_dir(bed.sandbox.path().join("images")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let (struck, held) = killed(&bed, &hold, way, at);
        kills += u32::from(struck);
        let is_up = || {
            assert_eq!(bed.sandbox.mounts().unwrap().len(), 1, "{about}");
            assert_eq!(bed.sandbox.loops().unwrap().len(), 1, "{about}");
            assert_eq!(and(&ok(&bed, &verb(&hold, "held")), json!({"changed": held["changed"]})), held, "{about}");
        };
        is_up();
        fs::write(path(&held).join("file"), &about).unwrap();
        let small = size(path(&held));
        let (struck, grown) = killed(&bed, &grow, way, at);
        kills += u32::from(struck);
        assert_eq!(grown, 480 * MIB, "{about}");
        assert!(size(path(&held)) > small + 100 * MIB, "{about}: {small} and now {}", size(path(&held)));
        is_up();
        let (struck, _) = killed(&bed, &release, way, at);
        kills += u32::from(struck);
        bed.assert_clean();
        let held = ok(&bed, &hold);
        assert_eq!(fs::read_to_string(path(&held).join("file")).unwrap(), about, "data lost");
        ok(&bed, &release);
        bed.assert_clean();
    }
    let counted = format!("{holds}, {grows} and {releases} effects, {kills} kills");
    assert!(u64::from(kills) > (holds + grows + releases) * 3 / 4, "{way:?}: only {counted}");
    let _ = writeln!(std::io::stderr(), "{way:?}: {counted}");
}

#[test]
fn the_host_dies_and_is_restarted_while_orphans_run() {
    sweep(Way { victim: Victim::Host, after: Orphans::Leave });
}

#[test]
fn everything_dies() {
    sweep(Way { victim: Victim::Tree, after: Orphans::Await });
}
