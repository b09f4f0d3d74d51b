//! The kill sweep: a stranger's `mount` and `unmount` killed before every effect and called again. Nothing is lost,
//! nothing is doubled, and what was written is there.

use std::{fs, path::Path};

use flexvolume_testkit::killat::{Plan, Report, Victim};

use crate::bed::{Bed, read, text, write};

/// Effects of one call must be at least so many, else the tracer is blind.
const LEAST: u64 = 8;

struct Field {
    bed: Bed,
    victim: Victim,
}

impl Field {
    fn killed(&self, args: &[&str], at: u64) -> Report {
        self.bed.traced(args, Plan::Kill { victim: self.victim, at })
    }

    fn about(&self, what: &str, report: &Report) -> String {
        let at = report.struck.unwrap_or_default();
        let effect = report.effects.iter().find(|it| it.n == at);
        format!("{what}, {:?} killed at {at}: {effect:?}", self.victim)
    }

    fn write(&self, place: &Path, text: &str) {
        write(&place.join("file"), text);
    }

    #[track_caller]
    fn holds(&self, place: &Path, text: &str, about: &str) {
        assert_eq!(read(&place.join("file")), text, "{about}: data lost");
    }
}

/// The first mount of a volume that is created by it, and its last unmount.
fn alone(victim: Victim) {
    let Some(bed) = Bed::new() else { return };
    let field = Field { bed, victim };
    let (bed, place) = (&field.bed, field.bed.place("pod"));
    let (mut up, mut down) = (0, 0);
    for at in 1.. {
        let id = format!("v{at}");
        let j = bed.j(&id);
        let (mount, unmount) = (["mount", text(&place), &j.text()], ["unmount", text(&place)]);
        let report = field.killed(&mount, at);
        let about = field.about("mount", &report);
        up += u64::from(report.struck.is_some());
        // The pod may be gone meanwhile, and the host unmounts first.
        if at % 3 == 0 {
            bed.call(&unmount).ok();
            bed.assert_down(&about);
        }
        bed.call(&mount).ok();
        bed.assert_up(1, &about);
        field.write(&place, &about);
        let report = field.killed(&unmount, at);
        let about_down = field.about("unmount", &report);
        down += u64::from(report.struck.is_some());
        // Or a new pod of the same volume comes at once.
        if at % 3 == 1 {
            bed.call(&mount).ok();
            bed.assert_up(1, &about_down);
            field.holds(&place, &about, &about_down);
        }
        bed.call(&unmount).ok();
        bed.assert_down(&about_down);
        bed.call(&mount).ok();
        field.holds(&place, &about, &about_down);
        bed.call(&unmount).ok();
        bed.assert_down(&about_down);
        let mut names = bed.names();
        names.retain(|name| name.contains(&id));
        assert_eq!(
            names,
            [format!(".{id}.flexvol.json"), format!(".{id}.format.json"), format!("{id}.img")],
            "{about}"
        );
        names.iter().for_each(|name| fs::remove_file(bed.images().join(name)).unwrap());
        if report.struck.is_none() && up < at {
            break;
        }
    }
    assert!(up >= LEAST && down >= LEAST, "{victim:?}: {up} and {down} effects");
}

/// The second pod's mount and unmount, while the first works on.
fn beside_another(victim: Victim) {
    let Some(bed) = Bed::new() else { return };
    let field = Field { bed, victim };
    let (bed, first, second) = (&field.bed, field.bed.place("first"), field.bed.place("second"));
    let j = bed.j("v");
    bed.mount(&first, &j).ok();
    let (mut up, mut down) = (0, 0);
    for at in 1.. {
        let (mount, unmount) = (["mount", text(&second), &j.text()], ["unmount", text(&second)]);
        let report = field.killed(&mount, at);
        let about = field.about("second mount", &report);
        up += u64::from(report.struck.is_some());
        field.write(&first, &about);
        bed.call(&mount).ok();
        bed.assert_up(2, &about);
        field.holds(&second, &about, &about);
        let report = field.killed(&unmount, at);
        let about = field.about("first unmount", &report);
        down += u64::from(report.struck.is_some());
        field.write(&first, &about);
        bed.call(&unmount).ok();
        bed.assert_up(1, &about);
        field.holds(&first, &about, &about);
        if report.struck.is_none() && up < at {
            break;
        }
    }
    bed.unmount(&first).ok();
    bed.assert_down("after all");
    assert!(up >= LEAST && down >= LEAST / 2, "{victim:?}: {up} and {down} effects");
}

#[test]
fn everything_dies_at_every_effect() {
    alone(Victim::Tree);
}

#[test]
fn the_acting_process_dies_at_every_effect() {
    alone(Victim::Actor);
}

#[test]
fn a_second_pods_calls_die_at_every_effect() {
    beside_another(Victim::Tree);
}

/// The mount table alone leads from the place to the device; once unmounted, it does so no more.
#[test]
fn an_unmount_without_records_dies_at_every_effect() {
    let Some(bed) = Bed::new() else { return };
    let place = bed.place("pod");
    for at in 1.. {
        bed.mount(&place, &bed.j("v")).ok();
        fs::remove_dir_all(bed.sandbox.path().join("run")).unwrap();
        let report = bed.traced(&["unmount", text(&place)], Plan::Kill { victim: Victim::Tree, at });
        bed.unmount(&place).ok();
        bed.assert_down(&format!("killed at {at}"));
        if report.struck.is_none() {
            assert!(at > LEAST, "{at} effects");
            break;
        }
    }
}

#[test]
fn the_same_call_has_the_same_effects() {
    let Some(bed) = Bed::new() else { return };
    let place = bed.place("pod");
    let once = |id: &str| {
        let up = bed.traced(&["mount", text(&place), &bed.j(id).text()], Plan::Count).shape();
        (up, bed.traced(&["unmount", text(&place)], Plan::Count).shape())
    };
    // The kernel names a free device, and whoever takes it first has it: if that was another test, the driver asks for the next one,
    // which is two effects more. Such a call is no measure.
    let was_late = |up: &[String]| up.windows(4).any(|four| four.iter().all(|effect| effect == "loopback ioctl"));
    let shape = |id: &str| {
        let tries = (0..10).map(|n| once(&format!("{id}-{n}")));
        tries.into_iter().find(|(up, _)| !was_late(up)).expect("a device that nobody else wants")
    };
    // The first call of all makes the folders.
    shape("a");
    let first = shape("first");
    assert_eq!(shape("b"), first);
    assert_eq!(shape("c"), first);
}
