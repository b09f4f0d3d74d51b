//! Volumes and snapshots made, copied and deleted: each call killed and called again, one after the other.

use std::{fs, os::unix::fs::MetadataExt};

use flexvolume_testkit::{driver::J, killat::Part};

use super::{
    field::{ALL_DIE, Field, THE_ACTING_DIES, THE_CALLED_DIES, Way},
    tried::Tried,
};
use crate::{
    bed::Node,
    copies::picture,
    tools::{shell, text},
};

fn sweep(name: &'static str, way: Way, usual: Part) {
    let Some(node) = Node::with_pool("") else { return };
    let (field, mut tried) = (Field::new(node, way), Tried::new(name, usual));
    fs::create_dir(field.on_server("base/theirs")).unwrap();
    fs::write(field.on_server("base/theirs/file"), "theirs").unwrap();
    field.make("first", &[]);
    field.through("deletevolume", &J::default().with("flexvol/id", "p/first")).ok();
    turn(&field, &mut tried, None);
    for (_, at) in tried.turns() {
        turn(&field, &mut tried, Some(at));
    }
    tried.tell();
}

/// The whole life of a volume and of a snapshot of it. Kills a call each, or counts its effects where no point is given.
fn turn(field: &Field, tried: &mut Tried, at: Option<u64>) {
    let mut strike = |call: &'static str, j: &J| match at {
        None => {
            tried.has(call, field.count(&[call, &j.text()]));
            call.to_owned()
        }
        Some(at) => {
            let report = field.killed(&[call, &j.text()], tried.within(call, at));
            tried.note(call, &report)
        }
    };
    let wish = J::default().with("flexvol/name", "v").with("mode", "2750").with("gid", "2000");
    let (volume, snapshot) =
        (J::default().with("flexvol/id", "p/v"), J::default().with("flexvol/snapshot", "p/snap/s"));
    let dir = field.on_server("base/v");

    let about = strike("createvolume", &wish);
    let made = field.through("createvolume", &wish);
    assert_eq!(made.get("status"), "Success", "{about}: {made:?}");
    let meta = fs::metadata(&dir).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o2750, 2000), "{about}");
    field.assert_pool(&["v"], &[], &about);
    shell(
        "cd $1 && mkdir -p a/b && seq 9000 >a/b/numbers && ln a/b/numbers second && ln -s /etc/passwd link && \
         truncate -s 1M hole && chown 1:2 a && chmod 750 a",
        &[text(&dir)],
    );
    let before = picture(&dir);

    let ask = J::default().with("flexvol/name", "s").with("flexvol/id", "p/v");
    let about = strike("createsnapshot", &ask);
    let taken = field.through("createsnapshot", &ask);
    assert_eq!(taken.get("status"), "Success", "{about}: {taken:?}");
    assert_eq!(picture(&field.on_server("base/.flexvol/snapshots/s")), before, "{about}");
    field.assert_pool(&["v"], &["s"], &about);

    let about = strike("deletevolume", &volume);
    // It is whole where it can be seen, or it cannot.
    assert!(!dir.exists() || picture(&dir) == before, "{about}: half-deleted, and in its place");
    let gone = field.through("deletevolume", &volume);
    assert_eq!(gone.get("status"), "Success", "{about}: {gone:?}");
    assert!(!dir.exists(), "{about}");
    field.assert_pool(&[], &["s"], &about);
    assert_eq!(picture(&field.on_server("base/.flexvol/snapshots/s")), before, "{about}");

    let about = strike("deletesnapshot", &snapshot);
    let gone = field.through("deletesnapshot", &snapshot);
    assert_eq!(gone.get("status"), "Success", "{about}: {gone:?}");
    field.assert_pool(&[], &[], &about);
    assert_eq!(fs::read_to_string(field.on_server("base/theirs/file")).unwrap(), "theirs", "{about}");
    field.assert_down();
}

#[test]
fn all_die_at_every_effect() {
    sweep("all die, provisioning", ALL_DIE, Part::every(17, 1));
}

#[test]
fn the_acting_dies_at_every_effect() {
    sweep("the acting process dies, provisioning", THE_ACTING_DIES, Part::every(19, 4));
}

#[test]
fn the_driver_dies_at_every_effect() {
    sweep("the driver dies, provisioning", THE_CALLED_DIES, Part::every(19, 7));
}
