//! A stranger's calls: `mount` and `unmount`, and `expandfs` of what is mounted.

use std::{fs, path::Path};

use flexvolume_testkit::killat::Part;

use super::{
    field::{ALL_DIE, Field, THE_ACTING_DIES, THE_CALLED_DIES, Way},
    tried::Tried,
};
use crate::tools::text;

/// So many volumes are left behind before all are removed: they cost little, and each removal much.
const MANY: u64 = 16;

fn write(place: &Path, words: &str) {
    fs::write(place.join("file"), words).unwrap();
}

#[track_caller]
fn holds(place: &Path, words: &str, about: &str) {
    let found = fs::read_to_string(place.join("file")).unwrap_or_else(|error| panic!("{about}: data lost: {error}"));
    assert_eq!(found, words, "{about}: data lost");
}

/// The first mount of a volume that is made by it, and its last unmount.
fn alone(name: &'static str, way: Way, usual: Part) {
    let Some(field) = Field::new(way) else { return };
    let (place, mut tried) = (field.place("pod"), Tried::new(name, usual));
    let unmount = ["unmount", text(&place)];
    // The very first call makes folders besides.
    field.call(&["mount", text(&place), &field.j("first").text()]).ok();
    field.call(&unmount).ok();
    tried.has("mount", field.count(&["mount", text(&place), &field.j("second").text()]));
    tried.has("unmount", field.count(&unmount));
    field.clear();
    let mut volumes = Vec::new();
    for (turn, at) in tried.turns() {
        let id = format!("v{at}");
        let j = field.j(&id).text();
        let mount = ["mount", text(&place), &j];
        let about = tried.note("mount", &field.killed(&mount, at));
        // The pod may be gone meanwhile, and its host unmounts first.
        if turn % 3 == 0 {
            field.call(&unmount).ok();
            field.assert_down(&about);
        }
        field.call(&mount).ok();
        field.assert_up(1, &about);
        write(&place, &about);
        let then = tried.note("unmount", &field.killed(&unmount, tried.within("unmount", at)));
        // Or a new pod of the same volume comes at once.
        if turn % 3 == 1 {
            field.call(&mount).ok();
            field.assert_up(1, &then);
            holds(&place, &about, &then);
        }
        field.call(&unmount).ok();
        field.assert_down(&then);
        field.call(&mount).ok();
        holds(&place, &about, &then);
        field.call(&unmount).ok();
        field.assert_down(&then);
        volumes.push(id);
        field.assert_volumes(&volumes, &about);
        if turn % MANY == MANY - 1 {
            field.clear();
            volumes.clear();
        }
    }
    tried.tell();
}

/// The second pod's mount and the first one's unmount, while the other works on.
fn beside_another(name: &'static str, way: Way, usual: Part) {
    let Some(field) = Field::new(way) else { return };
    let (first, second, j) = (field.place("first"), field.place("second"), field.j("v").text());
    let (mount, unmount) = (["mount", text(&second), &j], ["unmount", text(&second)]);
    let mut tried = Tried::new(name, usual);
    field.call(&["mount", text(&first), &j]).ok();
    tried.has("mount", field.count(&mount));
    tried.has("unmount", field.count(&unmount));
    for (_, at) in tried.turns() {
        let about = tried.note("mount", &field.killed(&mount, at));
        write(&first, &about);
        field.call(&mount).ok();
        field.assert_up(2, &about);
        holds(&second, &about, &about);
        let about = tried.note("unmount", &field.killed(&unmount, tried.within("unmount", at)));
        write(&first, &about);
        field.call(&unmount).ok();
        field.assert_up(1, &about);
        holds(&first, &about, &about);
    }
    field.call(&["unmount", text(&first)]).ok();
    field.assert_down("after all");
    tried.tell();
}

#[test]
fn all_die_at_every_effect() {
    alone("all but LVM die", ALL_DIE, Part::every(19, 3));
}

#[test]
fn the_acting_dies_at_every_effect() {
    alone("the acting process dies", THE_ACTING_DIES, Part::every(17, 5));
}

#[test]
fn the_driver_dies_at_every_effect_and_its_tools_work_on() {
    alone("the driver dies and its tools end first", THE_CALLED_DIES, Part::every(43, 7));
}

#[test]
fn a_second_pods_calls_die_at_every_effect() {
    beside_another("all but LVM die, beside another pod", ALL_DIE, Part::every(11, 2));
}

/// The mount table alone leads from the place to the device; once unmounted, it does so no more.
#[test]
fn an_unmount_without_records_dies_at_every_effect() {
    let Some(field) = Field::new(ALL_DIE) else { return };
    let (place, j) = (field.place("pod"), field.j("v").text());
    let (mount, unmount) = (["mount", text(&place), &j], ["unmount", text(&place)]);
    let mounted = || {
        field.call(&mount).ok();
        fs::remove_dir_all(field.bed.sandbox.path().join("run")).unwrap();
    };
    let mut tried = Tried::new("all but LVM die, with no records", Part::every(13, 4));
    mounted();
    tried.has("unmount", field.count(&unmount));
    for (_, at) in tried.turns() {
        mounted();
        let about = tried.note("unmount", &field.killed(&unmount, at));
        field.call(&unmount).ok();
        field.assert_down(&about);
    }
    tried.tell();
}

/// A volume that is mounted and in use grows, and so does its file system.
#[test]
fn an_expansion_of_what_is_mounted_dies_at_every_effect() {
    const STEP: u64 = 4 << 20;
    let Some(field) = Field::new(ALL_DIE) else { return };
    let (place, j) = (field.place("pod"), field.j("v").text());
    let total = || {
        let size = rustix::fs::statvfs(&place).unwrap();
        size.f_blocks * size.f_frsize
    };
    let mut size = 8 << 20;
    let mut tried = Tried::new("all but LVM die, growing", Part::every(17, 6));
    field.call(&["mount", text(&place), &j]).ok();
    let mut turns = None;
    loop {
        let (old, new) = (size.to_string(), (size + STEP).to_string());
        let expand = ["expandfs", &j, "", text(&place), &new, &old];
        let before = total();
        let about = match &mut turns {
            None => {
                tried.has("expandfs", field.count(&expand));
                turns = Some(tried.turns());
                "counted".to_owned()
            }
            Some(turns) => {
                let Some((_, at)) = turns.next() else { break };
                write(&place, &format!("before {at}"));
                let about = tried.note("expandfs", &field.killed(&expand, at));
                holds(&place, &format!("before {at}"), &about);
                field.call(&expand).ok();
                holds(&place, &format!("before {at}"), &about);
                about
            }
        };
        size += STEP;
        assert!(total() > before + STEP / 2, "{about}: {before} became {}", total());
        assert_eq!(field.vg.row("v", "lv_size")["lv_size"], size.to_string(), "{about}");
        field.assert_up(1, &about);
    }
    field.call(&["unmount", text(&place)]).ok();
    field.assert_down("after all");
    tried.tell();
}

#[test]
fn the_same_call_has_the_same_effects() {
    let Some(field) = Field::new(ALL_DIE) else { return };
    let place = field.place("pod");
    let shape = |id: &str| {
        let up = field.shape(&["mount", text(&place), &field.j(id).text()]);
        (up, field.shape(&["unmount", text(&place)]))
    };
    // The first call of all makes the folders.
    shape("a");
    let first = shape("first");
    assert_eq!(shape("b"), first);
    assert_eq!(shape("c"), first);
}
