//! Snapshots and clones where blocks cannot be shared: copied in slices, of what nobody uses, whole or not at all.

use std::{fs, thread};

use flexvolume_testkit::skip;

use crate::{
    bed::{Bed, run, text, write},
    copies::{check, clone, delete, delete_snapshot, in_small_slices, snapshot, taken, uuid},
};

const MIB: u64 = 1 << 20;

#[test]
fn a_snapshot_is_copied_in_slices_and_becomes_a_volume() {
    let Some(bed) = Bed::new() else { return };
    in_small_slices(&bed);
    bed.volume("v", "ext4", "64m", 24);
    let (slices, said) = bed.finish(&snapshot("monday", "v"));
    let said = said.ok();
    assert!(slices >= 2, "{slices}");
    assert_eq!(
        (said.word("snapshot"), said.word("id"), said.get("ready")),
        ("monday.snap".into(), "v".into(), &true.into())
    );
    assert_eq!(said.get("bytes"), 64 * MIB);
    let snap = bed.images().join("monday.snap");
    assert!(taken(&snap) < 40 * MIB, "holes stay");
    let again = bed.ask(&snapshot("monday", "v")).ok();
    assert_eq!(again.get("created"), said.get("created"), "the same one, not a newer");

    // The volume goes on, and may go.
    let before = bed.held("v", "ext4");
    let place = bed.place("pod");
    bed.mount(&place, &bed.j("v")).ok();
    write(&place.join("file"), "later");
    let (slices, made) = bed.finish(&clone("c", "monday.snap", ""));
    assert!(slices >= 2, "{slices}");
    assert_eq!((made.ok().word("id"), uuid(&bed.image("c"))), ("c".into(), uuid(&bed.image("v"))));
    assert_eq!(bed.held("c", "ext4"), before, "as it was, with its original mounted beside it");
    let renewed = uuid(&bed.image("c"));
    assert_ne!(renewed, uuid(&bed.image("v")));
    assert_eq!((bed.held("c", "ext4"), uuid(&bed.image("c"))), (before, renewed), "once and for all");
    let mark = fs::read_to_string(bed.images().join(".c.flexvol.json")).unwrap();
    assert!(mark.contains("monday") && !mark.contains("renew"), "{mark}");
    bed.unmount(&place).ok();
    assert_eq!(bed.held("v", "ext4").0, "later");

    // Nothing depends on anything.
    for call in [delete("v"), delete_snapshot("monday.snap"), delete("c")] {
        bed.twice(&[&call[0], &call[1]]);
    }
    assert_eq!(bed.names(), Vec::<String>::new());
    bed.assert_down("after all");
}

#[test]
fn what_is_in_use_is_not_copied_and_nothing_is_left_of_the_attempt() {
    let Some(bed) = Bed::new() else { return };
    bed.volume("v", "ext4", "8m", 1);
    let (place, names) = (bed.place("pod"), bed.names());
    bed.mount(&place, &bed.j("v")).ok();
    for call in [snapshot("s", "v"), clone("c", "v", "")] {
        bed.ask(&call).fails("busy", &["cannot share blocks", "in use, as /dev/loop", "detach it first"]);
        assert_eq!(bed.names(), names);
    }
    bed.unmount(&place).ok();
    // A program that locked it, as virtual machines do.
    let image = fs::File::open(bed.image("v")).unwrap();
    image.lock().unwrap();
    bed.ask(&snapshot("s", "v")).fails("busy", &["in use"]);
    image.unlock().unwrap();
    bed.ask(&snapshot("s", "v")).ok();
}

/// Torn in two it would hold the beginning of the old and the end of the new.
#[test]
fn what_is_used_between_two_slices_is_copied_anew() {
    let Some(bed) = Bed::new() else { return };
    in_small_slices(&bed);
    bed.volume("v", "ext4", "64m", 24);
    let place = bed.place("pod");
    for (name, call) in [("s.snap", snapshot("s", "v")), ("c.img", clone("c", "v", ""))] {
        assert_eq!(bed.ask(&call).get("status"), "In progress");
        bed.mount(&place, &bed.j("v")).ok();
        write(&place.join("file"), name);
        run(
            "dd",
            &["if=/dev/urandom", &format!("of={}", text(&place.join("ballast"))), "bs=1M", "count=24", "status=none"],
        );
        bed.unmount(&place).ok();
        bed.finish(&call).1.ok();
        check(&bed.images().join(name), "ext4");
        assert!(fs::read(bed.images().join(name)).unwrap() == fs::read(bed.image("v")).unwrap(), "{name}");
    }
    // In use when its turn comes: what there is of it goes.
    let names = bed.names();
    assert_eq!(bed.ask(&snapshot("t", "v")).get("status"), "In progress");
    bed.mount(&place, &bed.j("v")).ok();
    bed.ask(&snapshot("t", "v")).fails("busy", &["in use"]);
    assert_eq!(bed.names(), names);
    bed.unmount(&place).ok();
}

#[test]
fn what_is_half_made_is_nobodys_and_goes_with_its_source() {
    let Some(bed) = Bed::new() else { return };
    in_small_slices(&bed);
    bed.volume("v", "ext4", "64m", 24);
    let names = bed.names();
    let list = |verb: &str| bed.call(&[verb, "{}"]).ok();
    let (copy, snap) = (clone("c", "v", ""), snapshot("s", "v"));
    assert_eq!(bed.ask(&copy).get("status"), "In progress");
    assert_eq!(bed.ask(&snap).get("status"), "In progress");
    assert_eq!(list("listvolumes").get("volumes").as_array().unwrap().len(), 1, "v alone");
    assert_eq!(list("listsnapshots").get("snapshots").as_array().unwrap().len(), 0);
    let place = bed.place("pod");
    bed.mount(&place, &bed.of_host("c", "ext4")).fails("notFound", &["still being copied"]);
    // Not even one that may be created is put in its place.
    bed.mount(&place, &bed.j("c")).fails("notFound", &["still being copied"]);
    bed.ask(&clone("d", "c", "")).fails("notFound", &["still being copied"]);
    bed.ask(&clone("d", "s.snap", "")).fails("notFound", &["still being copied"]);
    bed.ask(&clone("c", "s.snap", "")).fails("conflict", &["of another"]);
    bed.call(&["createvolume", r#"{"flexvol/name":"c"}"#]).fails("conflict", &["of another"]);
    bed.call(&["gethealth", r#"{"flexvol/id":"c"}"#]).fails("notFound", &["being made"]);
    // What was begun can be given up.
    bed.ask(&delete("c")).ok();
    bed.ask(&delete_snapshot("s.snap")).ok();
    assert_eq!(bed.names(), names);
    for call in [&copy, &snap] {
        assert_eq!(bed.ask(call).get("status"), "In progress");
    }
    bed.ask(&delete("v")).ok();
    for call in [&copy, &snap] {
        bed.ask(call).fails("notFound", &["there is no"]);
    }
    assert_eq!(bed.names(), Vec::<String>::new());
}

#[test]
fn the_same_name_means_the_same_copy() {
    let Some(bed) = Bed::new() else { return };
    for id in ["v", "w"] {
        bed.volume(id, "ext4", "8m", 1);
        bed.ask(&snapshot(&format!("of-{id}"), id)).ok();
    }
    bed.ask(&snapshot("of-v", "w")).fails("conflict", &["another volume"]);
    let more = format!(r#","flexvol/requiredBytes":"{}","flexvol/limitBytes":"{}""#, 9 * MIB, 20 * MIB);
    let made = bed.twice(&["createvolume", &clone("larger", "of-v.snap", &more)[1]]);
    assert_eq!((made.get("bytes"), fs::metadata(bed.image("larger")).unwrap().len()), (&(9 * MIB).into(), 9 * MIB));
    bed.ask(&clone("larger", "of-v.snap", "")).ok();
    bed.ask(&clone("larger", "of-v.snap", r#","flexvol/limitBytes":"8388608""#)).fails("conflict", &["another size"]);
    bed.twice(&["createvolume", &clone("c", "of-v.snap", "")[1]]);
    for of in ["of-w.snap", "v", "w"] {
        bed.ask(&clone("c", of, "")).fails("conflict", &["of another"]);
    }
    bed.call(&["createvolume", r#"{"flexvol/name":"c"}"#]).fails("conflict", &["of another"]);
    bed.ask(&clone("v", "v", "")).fails("conflict", &["its own clone"]);
    bed.ask(&clone("d", "v", r#","flexvol/limitBytes":"100""#)).fails("invalid", &["its source has 8388608"]);
    for (of, name) in [("none", "none"), ("none.snap", "none"), ("v.snap", "v"), ("a/b/.snap", "b")] {
        assert_eq!(bed.ask(&clone("d", of, "")).get("code"), "notFound", "{of}");
        bed.ask(&delete_snapshot(&format!("{name}.snap"))).ok();
    }
    bed.ask(&snapshot("s", "none")).fails("notFound", &["none"]);
    // The id of a snapshot is no volume's.
    bed.ask(&delete("of-v.snap")).ok();
    bed.ask(&snapshot("s", "of-v.snap")).fails("notFound", &["of-v.snap"]);
    assert!(bed.images().join("of-v.snap").exists());
    // A volume that is made anew has new snapshots.
    bed.ask(&delete("v")).ok();
    bed.ask(&snapshot("of-v", "v")).ok();
    bed.call(&["createvolume", r#"{"flexvol/name":"v","flexvol/requiredBytes":"8388608"}"#]).ok();
    bed.ask(&snapshot("of-v", "v")).fails("conflict", &["another volume"]);
    // A source that goes leaves what was made of it.
    bed.ask(&delete_snapshot("of-v.snap")).ok();
    bed.ask(&clone("c", "of-v.snap", "")).ok();
    assert_eq!(bed.held("c", "ext4").0, "v");
}

#[test]
fn files_of_others_are_left_alone() {
    let Some(bed) = Bed::new() else { return };
    bed.volume("v", "ext4", "8m", 1);
    for theirs in ["s.snap", "c.img"] {
        fs::write(bed.images().join(theirs), "theirs").unwrap();
    }
    bed.ask(&snapshot("s", "v")).fails("conflict", &["another maker"]);
    bed.ask(&clone("c", "v", "")).fails("conflict", &["another maker"]);
    bed.ask(&clone("d", "s.snap", "")).fails("notFound", &["s.snap"]);
    bed.ask(&delete_snapshot("s.snap")).fails("permission", &["not deleted"]);
    assert_eq!(bed.call(&["listsnapshots", "{}"]).ok().get("snapshots").as_array().unwrap().len(), 0);
    for theirs in ["s.snap", "c.img"] {
        assert_eq!(fs::read(bed.images().join(theirs)).unwrap(), b"theirs");
    }
}

#[test]
fn calls_at_once_make_one_copy() {
    let Some(bed) = Bed::new() else { return };
    in_small_slices(&bed);
    bed.volume("v", "ext4", "64m", 16);
    let before = bed.held("v", "ext4");
    let calls = [snapshot("s", "v"), clone("c", "v", ""), snapshot("t", "v"), clone("d", "v", "")];
    thread::scope(|scope| {
        for call in calls.iter().chain(&calls) {
            let bed = &bed;
            scope.spawn(move || bed.finish(call).1.ok());
        }
    });
    bed.finish(&clone("e", "s.snap", "")).1.ok();
    for id in ["c", "d", "e"] {
        assert_eq!(bed.held(id, "ext4"), before, "{id}");
    }
    thread::scope(|scope| {
        for _ in 0..3 {
            for call in [delete("v"), delete_snapshot("s.snap"), delete_snapshot("t.snap"), delete("c"), delete("d")] {
                let bed = &bed;
                scope.spawn(move || bed.ask(&call).ok());
            }
        }
    });
    bed.ask(&delete("e")).ok();
    assert_eq!(bed.names(), Vec::<String>::new());
}

#[test]
fn no_room_for_a_copy_is_said_and_leaves_nothing() {
    let Some(bed) = Bed::new() else { return };
    bed.volume("v", "ext4", "32m", 8);
    let full = bed.sandbox.dir("full").unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=4m,mode=0755", "tmpfs", text(&full)]);
    let more = format!(r#","directory":{full:?}"#);
    bed.ask(&clone("c", "v", &more)).fails("exhausted", &["No space left"]);
    assert_eq!(fs::read_dir(&full).unwrap().count(), 0);
    run("mount", &["-o", "remount,size=64m", text(&full)]);
    let made = bed.ask(&clone("c", "v", &more)).ok();
    assert_eq!(made.get("options")["directory"], text(&full), "a clone lies where it is asked for");
    bed.ask(&delete(&made.word("id"))).ok();
    assert_eq!(fs::read_dir(&full).unwrap().count(), 0);
}

/// After an attachment for reading alone nothing could be written any more.
#[test]
fn a_clone_that_is_read_first_has_its_uuid_and_a_read_only_device() {
    let Some(bed) = Bed::new() else { return };
    bed.volume("v", "ext4", "8m", 1);
    bed.ask(&clone("c", "v", "")).ok();
    let ro = bed.of_host("c", "ext4").read_only();
    let gdir = bed.sandbox.dir("pods/global/data").unwrap();
    let device = bed.attach(&ro);
    assert_eq!(run("blockdev", &["--getro", &device]), "1");
    assert_ne!(uuid(&bed.image("c")), uuid(&bed.image("v")));
    bed.twice(&["mountdevice", text(&gdir), &device, &ro.text()]);
    assert_eq!(crate::bed::read(&gdir.join("file")), "v");
    bed.call(&["unmountdevice", text(&gdir)]).ok();
    bed.call(&["detach", ro.name(), "node"]).ok();
    let given = uuid(&bed.image("c"));
    assert_eq!(bed.held("c", "ext4").0, "v");
    assert_eq!(uuid(&bed.image("c")), given);
    bed.assert_down("after all");
}

/// Whoever asked for a larger clone gets what he asked for.
#[test]
fn a_larger_clone_has_a_larger_file_system() {
    let Some(bed) = Bed::new() else { return };
    for (id, fs_type, size) in [("x", "xfs", "300m"), ("e", "ext4", "64m")] {
        bed.volume(id, fs_type, size, 1);
        let name = format!("c{id}");
        bed.ask(&clone(&name, id, &format!(r#","flexvol/requiredBytes":"{}""#, 512 * MIB))).ok();
        let (place, j) = (bed.place("pod"), bed.of_host(&name, fs_type));
        let said = bed.mount(&place, &j);
        if said.message().contains("CAP_SYS_RESOURCE") {
            skip("growing a mounted ext4 needs CAP_SYS_RESOURCE, which not every root has");
            continue;
        }
        said.ok();
        assert!(flexvolume_linux::fs::usage(&place).unwrap().total > 400 * MIB, "{fs_type}");
        bed.unmount(&place).ok();
        assert_eq!(bed.held(&name, fs_type).0, id);
    }
}
