//! What a stranger calls of a staged driver: real mounts, and every point at which a call can be cut off.

use std::{fs, path::Path};

use flexvolume_linux::mount::{Flags, FsMount, mount};

use crate::disk::{Disk, Machine, bytes, ok};

#[test]
fn strangers_are_told_attach_false() {
    let answered = flexvolume::Dispatcher::new(["/exec/test~disk/disk", "init"]).dispatch(&Disk::default());
    assert!(answered.text.contains(r#""attach":false"#) && answered.text.contains("staged"), "{}", answered.text);
}

#[test]
fn a_mount_is_composed_and_an_unmount_leaves_nothing() {
    let Some(machine) = Machine::new() else { return };
    let (disk, place) = (Disk::default(), machine.place("a", "pv"));
    let options = machine.options("pv", &machine.image("one"), &[]);
    for _ in 0..2 {
        ok(&machine.mount(&disk, &place, &options));
        assert_eq!(disk.told(), ["attach", "waitforattach", "mountdevice rw"]);
        let there = machine.mounted(&place);
        assert!(there.len() == 1 && there[0].fs_type == "ext4" && !there[0].read_only, "{there:?}");
        ok(&machine.mount(&disk, &place, &options));
        assert_eq!((disk.told(), machine.mounted(&place)), (vec![], there), "again: nothing to do");
        ok(&machine.unmount(&disk, &place));
        assert_eq!(disk.told(), ["unmountdevice", "detach"]);
        machine.assert_clean("after unmount");
        ok(&machine.unmount(&disk, &place));
        assert_eq!(disk.told(), Vec::<String>::new());
        assert!(place.is_dir(), "the directory is the host's");
    }
    fs::remove_dir(&place).unwrap();
    ok(&machine.unmount(&disk, &place));
}

#[test]
fn two_pods_share_a_volume_and_read_only_is_each_ones_own() {
    let Some(machine) = Machine::new() else { return };
    let (disk, image) = (Disk::default(), machine.image("one"));
    let (a, b) = (machine.place("a", "pv"), machine.place("b", "pv"));
    ok(&machine.mount(&disk, &a, &machine.options("pv", &image, &[("kubernetes.io/readwrite", "ro")])));
    ok(&machine.mount(&disk, &b, &machine.options("pv", &image, &[])));
    assert_eq!(machine.loops(), 1);
    assert!(machine.mounted(&a)[0].read_only && !machine.mounted(&b)[0].read_only);
    assert!(fs::write(a.join("x"), "").is_err());
    fs::write(b.join("x"), "data").unwrap();
    assert_eq!(fs::read_to_string(a.join("x")).unwrap(), "data");
    disk.told();
    ok(&machine.unmount(&disk, &b));
    assert_eq!(disk.told(), ["unmountdevice"], "the other pod still has it");
    assert!(a.join("x").exists());
    ok(&machine.unmount(&disk, &a));
    assert_eq!(disk.told(), ["unmountdevice", "detach"]);
    machine.assert_clean("after both");
}

#[test]
fn one_name_for_two_volumes_and_two_names_for_one() {
    let Some(machine) = Machine::new() else { return };
    let (disk, one, two) = (Disk::default(), machine.image("one"), machine.image("two"));
    let places = [machine.place("a", "data"), machine.place("b", "data"), machine.place("c", "other")];
    ok(&machine.mount(&disk, &places[0], &machine.options("data", &one, &[])));
    ok(&machine.mount(&disk, &places[1], &machine.options("data", &two, &[])));
    ok(&machine.mount(&disk, &places[2], &machine.options("other", &one, &[])));
    assert_eq!(machine.loops(), 2);
    fs::write(places[0].join("x"), "").unwrap();
    assert!(places[2].join("x").exists() && !places[1].join("x").exists());
    ok(&machine.unmount(&disk, &places[0]));
    assert_eq!(machine.loops(), 2);
    ok(&machine.unmount(&disk, &places[1]));
    assert_eq!(machine.loops(), 1);
    assert!(places[2].join("x").exists());
    ok(&machine.unmount(&disk, &places[2]));
    machine.assert_clean("after all");
}

#[test]
fn a_failed_mountdevice_undoes_mount_and_attach() {
    let Some(machine) = Machine::new() else { return };
    let (disk, place) = (Disk::default(), machine.place("a", "pv"));
    let options = machine.options("pv", &machine.image("one"), &[("wrong", "mountdevice")]);
    let answered = machine.mount(&disk, &place, &options);
    assert!(!answered.success && answered.text.contains("it broke after the mount"), "{}", answered.text);
    assert_eq!(disk.told(), ["attach", "waitforattach", "mountdevice rw", "unmountdevice", "detach"]);
    machine.assert_clean("after the failure");
}

#[test]
fn without_records_the_mount_table_is_enough() {
    let Some(machine) = Machine::new() else { return };
    let (disk, image) = (Disk::default(), machine.image("one"));
    let (a, b) = (machine.place("a", "pv"), machine.place("b", "pv"));
    let options = machine.options("pv", &image, &[]);
    ok(&machine.mount(&disk, &a, &options));
    let before = machine.mounted(&a);
    machine.lose_records();
    ok(&machine.mount(&disk, &a, &options));
    assert_eq!(machine.mounted(&a), before, "it is recognised by its device");
    ok(&machine.mount(&disk, &b, &options));
    machine.lose_records();
    ok(&machine.unmount(&disk, &b));
    assert_eq!(machine.loops(), 1, "an exclusive open says that the device is in use");
    ok(&machine.unmount(&disk, &a));
    machine.assert_clean("after both");
}

#[test]
fn what_is_not_ours_is_not_taken_for_ours() {
    let Some(machine) = Machine::new() else { return };
    let (disk, place) = (Disk::default(), machine.place("a", "pv"));
    let options = machine.options("pv", &machine.image("one"), &[]);
    let tmpfs = FsMount { fs_type: "tmpfs", source: Some("foreign"), options: &[], flags: Flags::default() };
    mount(&tmpfs, &place).unwrap();
    for _ in 0..2 {
        let answered = machine.mount(&disk, &place, &options);
        assert!(!answered.success && answered.text.contains("foreign"), "{}", answered.text);
        assert_eq!((machine.mounted(&place).len(), machine.loops()), (1, 0));
    }
}

#[test]
fn a_stranger_expands_by_the_place_alone() {
    let Some(machine) = Machine::new() else { return };
    let (disk, place, image) = (Disk::default(), machine.place("a", "pv"), machine.image("one"));
    let options = machine.options("pv", &image, &[]);
    let expand = |new: &str| machine.call(&disk, &["expandfs", &options, "", place.to_str().unwrap(), new, "0"]);
    assert!(!expand(&bytes(32)).success, "nothing is mounted");
    ok(&machine.mount(&disk, &place, &options));
    disk.told();
    ok(&expand(&bytes(64)));
    assert_eq!(disk.told(), [format!("expandvolume {}", bytes(64)), "expandfs".into()]);
    let device = machine.mounted(&place)[0].source.replace("/dev/", "");
    let sectors = fs::read_to_string(format!("/sys/block/{device}/size")).unwrap();
    assert_eq!(sectors.trim(), (64 * 2048).to_string(), "the driver was told the device");
    ok(&machine.unmount(&disk, &place));
}

/// Every step of mount and of unmount at which the driver can die, and what hosts do afterwards.
#[test]
fn cut_off_at_any_step_nothing_is_lost_or_doubled() {
    let Some(machine) = Machine::new() else { return };
    let image = machine.image("one");
    let options = machine.options("pv", &image, &[]);
    let other = machine.options("other", &machine.image("two"), &[]);
    let (place, elsewhere) = (machine.place("a", "pv"), machine.place("b", "other"));
    let dies = |verb: &str, step: u32| {
        let disk = Disk::default();
        disk.dies_at.set(Some(step));
        let answered = match verb {
            "mount" => machine.mount(&disk, &place, &options),
            _ => machine.unmount(&disk, &place),
        };
        !answered.success
    };
    let disk = Disk::default();
    let check = |verb: &str, steps: u32| {
        for step in 1..=steps {
            let when = format!("killed at step {step} of {verb}");
            for after in ["mount", "unmount", "never asked again"] {
                if verb == "unmount" {
                    ok(&machine.mount(&disk, &place, &options));
                }
                assert!(dies(verb, step), "{when}: it has that many steps");
                match after {
                    "mount" => {
                        ok(&machine.mount(&disk, &place, &options));
                        assert_eq!((machine.mounted(&place).len(), machine.loops()), (1, 1), "{when}, then {after}");
                        fs::write(place.join("x"), "").unwrap();
                        ok(&machine.unmount(&disk, &place));
                    }
                    "unmount" => ok(&machine.unmount(&disk, &place)),
                    _ => {
                        // The host takes the directory away where it can; the next call of any volume cleans up.
                        if fs::remove_dir(&place).is_err() {
                            ok(&machine.unmount(&disk, &place));
                        }
                        ok(&machine.mount(&disk, &elsewhere, &other));
                        assert_eq!(machine.loops(), 1, "{when}, then {after}");
                        ok(&machine.unmount(&disk, &elsewhere));
                        fs::create_dir_all(&place).unwrap();
                    }
                }
                machine.assert_clean(&format!("{when}, then {after}"));
            }
        }
        steps
    };
    assert_eq!(check("mount", 6) + check("unmount", 4), 10);
    for verb in ["mount", "unmount"] {
        assert!(!dies(verb, 7), "there are no more steps than were tried");
    }
    machine.assert_clean("in the end");
}

#[test]
fn a_mount_left_by_a_call_without_an_outcome_is_redone_not_adopted() {
    let Some(machine) = Machine::new() else { return };
    let (disk, place) = (Disk::default(), machine.place("a", "pv"));
    let options = machine.options("pv", &machine.image("one"), &[]);
    disk.dies_at.set(Some(6));
    assert!(!machine.mount(&disk, &place, &options).success);
    assert_eq!(machine.mounted(&place).len(), 1, "it died after its mount");
    disk.told();
    ok(&machine.mount(&disk, &place, &options));
    assert_eq!(disk.told(), ["unmountdevice", "attach", "waitforattach", "mountdevice rw"]);
    ok(&machine.unmount(&disk, &place));
}

#[test]
fn calls_at_once_end_as_calls_in_turn() {
    let Some(machine) = Machine::new() else { return };
    let options = machine.options("pv", &machine.image("one"), &[]);
    let places: Vec<_> = (0..4).map(|pod| machine.place(&format!("p{pod}"), "pv")).collect();
    let each = |work: &(dyn Fn(&Path) + Sync)| {
        std::thread::scope(|scope| places.iter().for_each(|place| drop(scope.spawn(move || work(place)))));
    };
    let machine = &machine;
    for _ in 0..3 {
        each(&|place| ok(&machine.mount(&Disk::default(), place, &options)));
        assert_eq!((machine.loops(), machine.sandbox.mounts().unwrap().len()), (1, 4));
        each(&|place| ok(&machine.unmount(&Disk::default(), place)));
        machine.assert_clean("after all");
    }
}
