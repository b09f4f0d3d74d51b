//! `mountdevice` and `unmountdevice`, of the first volume of a share, and of one beside another.

use std::{fs, path::Path};

use flexvolume_testkit::killat::Part;

use super::{
    field::{ALL_DIE, Field, THE_ACTING_DIES, THE_CALLED_DIES, Way},
    tried::Tried,
};
use crate::{bed::Node, tools::text};

#[track_caller]
fn holds(place: &Path, words: &str, about: &str) {
    let found = fs::read_to_string(place.join("file")).unwrap_or_else(|error| panic!("{about}: data lost: {error}"));
    assert_eq!(found, words, "{about}");
}

fn sweep(name: &'static str, protocol: &str, beside: bool, way: Way, usual: Part) {
    let Some(node) = Node::new() else { return };
    let field = Field::new(node, way);
    let (place, other, j) = (field.place("pod"), field.place("other"), field.j("pv").with("protocol", protocol));
    let (first, words) = (field.j("first").with("protocol", protocol), j.text());
    let (mount, unmount) = (["mountdevice", text(&place), "", &words], ["unmountdevice", text(&place)]);
    let attach = || field.call(&["attach", &words, "node"]).ok();
    let detach = || field.call(&["detach", "pv", "node"]).ok();
    // The very first call makes folders besides.
    field.up(&first, &other);
    if !beside {
        field.down(&first, &other);
    }
    let up = |about: &str| {
        let both = [place.as_path(), other.as_path()];
        field.assert_up(if beside { &both } else { &both[..1] }, about);
    };
    let down = |about: &str| {
        if beside { field.assert_up(&[&other], about) } else { field.assert_down() }
    };
    let mut tried = Tried::new(name, usual).least(2);
    attach();
    tried.has("mountdevice", field.count(&mount));
    tried.has("unmountdevice", field.count(&unmount));
    detach();
    down("counted");
    for (turn, at) in tried.turns() {
        attach();
        let about = tried.note("mountdevice", &field.killed(&mount, at));
        // The pod may be gone meanwhile, and its host takes back what it did not get.
        if turn % 3 == 0 {
            field.call(&unmount).ok();
            detach();
            down(&about);
            attach();
        }
        field.call(&mount).ok();
        up(&about);
        fs::write(place.join("file"), &about).unwrap();
        let then = tried.note("unmountdevice", &field.killed(&unmount, tried.within("unmountdevice", at)));
        // Or a new pod of the same volume comes at once.
        if turn % 3 == 1 {
            field.call(&mount).ok();
            up(&then);
            holds(&place, &about, &then);
        }
        field.call(&unmount).ok();
        detach();
        down(&then);
        assert_eq!(fs::read_to_string(field.on_server("file")).unwrap(), about, "{then}");
    }
    if beside {
        field.down(&first, &other);
    }
    field.assert_down();
    tried.tell();
}

#[test]
fn all_die_at_every_effect() {
    sweep("all die, staging", "4.2", false, ALL_DIE, Part::ALL);
}

#[test]
fn the_acting_dies_at_every_effect_with_nfs_3() {
    sweep("the acting process dies, staging with NFS 3", "3", false, THE_ACTING_DIES, Part::every(2, 1));
}

#[test]
fn the_driver_dies_at_every_effect_beside_another_volume() {
    sweep("the driver dies, staging beside another volume", "4.2", true, THE_CALLED_DIES, Part::ALL);
}
