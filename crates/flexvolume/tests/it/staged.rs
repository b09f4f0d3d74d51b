//! What a host that knows `staged` calls: attachments are kept, and storage goes with its last user.

use flexvolume::{Attach, Device, Dispatcher, Driver, Extension, MountDevice, Result, World};

use crate::disk::{Disk, Machine, ok};

fn attach(machine: &Machine, disk: &Disk, name: &str, image: &std::path::Path) -> String {
    let answered = machine.call(disk, &["attach", &machine.options(name, image, &[]), "node"]);
    ok(&answered);
    answered.text.split('"').find(|word| word.starts_with("/dev/")).unwrap().to_owned()
}

#[test]
fn detach_finds_by_name_what_attach_left() {
    let Some(machine) = Machine::new() else { return };
    let (disk, image) = (Disk::default(), machine.image("one"));
    let device = attach(&machine, &disk, "pv", &image);
    assert_eq!(attach(&machine, &disk, "pv", &image), device, "again: the same");
    let gdir = machine.place("global", "pv");
    let gdir = gdir.to_str().unwrap();
    ok(&machine.call(&disk, &["mountdevice", gdir, &device, &machine.options("pv", &image, &[])]));
    let busy = machine.call(&disk, &["detach", "pv", "node"]);
    assert!(!busy.success && busy.text.contains("busy"), "{}", busy.text);
    ok(&machine.call(&disk, &["unmountdevice", gdir]));
    for _ in 0..2 {
        ok(&machine.call(&disk, &["detach", "pv", "node"]));
        machine.assert_clean("after detach");
    }
}

#[test]
fn what_no_detach_could_find_is_not_attached() {
    let Some(machine) = Machine::new() else { return };
    let (disk, image) = (Disk::default(), machine.image("one"));
    let named = machine.options("pv", &image, &[]);
    let unnamed = named.replace("kubernetes.io/pvOrVolumeName", "name");
    for options in [unnamed, machine.options("", &image, &[])] {
        let answered = machine.call(&disk, &["attach", &options, "node"]);
        assert!(!answered.success && answered.text.contains("kubernetes.io/pvOrVolumeName"), "{}", answered.text);
        machine.assert_clean("after a refusal");
    }
    ok(&machine.call(&disk, &["detach", "pv", "node"]));
}

#[test]
fn storage_under_two_names_goes_with_the_last() {
    let Some(machine) = Machine::new() else { return };
    let (disk, image) = (Disk::default(), machine.image("one"));
    assert_eq!(attach(&machine, &disk, "one", &image), attach(&machine, &disk, "two", &image));
    ok(&machine.call(&disk, &["detach", "one", "node"]));
    assert_eq!(machine.loops(), 1);
    // A stranger comes and goes meanwhile.
    let place = machine.place("a", "three");
    ok(&machine.mount(&disk, &place, &machine.options("three", &image, &[])));
    ok(&machine.unmount(&disk, &place));
    assert_eq!(machine.loops(), 1, "a host's attachment is a use of it");
    ok(&machine.mount(&disk, &place, &machine.options("three", &image, &[])));
    ok(&machine.call(&disk, &["detach", "two", "node"]));
    assert_eq!(machine.loops(), 1, "a stranger's mount is too");
    ok(&machine.unmount(&disk, &place));
    machine.assert_clean("after all three");
}

#[test]
fn a_name_means_one_storage_until_it_is_detached() {
    let Some(machine) = Machine::new() else { return };
    let (disk, one, two) = (Disk::default(), machine.image("one"), machine.image("two"));
    attach(&machine, &disk, "pv", &one);
    let answered = machine.call(&disk, &["attach", &machine.options("pv", &two, &[]), "node"]);
    assert!(!answered.success && answered.text.contains("conflict"), "{}", answered.text);
    ok(&machine.call(&disk, &["detach", "pv", "node"]));
    let missing = machine.sandbox.path().join("missing");
    assert!(!machine.call(&disk, &["attach", &machine.options("pv", &missing, &[]), "node"]).success);
    attach(&machine, &disk, "pv", &two);
    ok(&machine.call(&disk, &["detach", "pv", "node"]));
    machine.assert_clean("after detach");
}

#[test]
fn an_attach_that_was_cut_off_is_undone_by_name() {
    let Some(machine) = Machine::new() else { return };
    let (disk, image) = (Disk::default(), machine.image("one"));
    for step in 1..=2 {
        let dying = Disk::default();
        dying.dies_at.set(Some(step));
        assert!(!machine.call(&dying, &["attach", &machine.options("pv", &image, &[]), "node"]).success);
        ok(&machine.call(&disk, &["detach", "pv", "node"]));
        machine.assert_clean("after detach");
    }
}

/// Announces `staged` and leaves its verbs out, or serves them without mounting.
struct Hollow {
    mounts: bool,
}

impl Driver for Hollow {
    const EXTENSIONS: &'static [Extension] = &[Extension::Staged];

    fn attach(&self, _: &Attach, _: &World) -> Result<Device> {
        Ok(Device("nothing".into()))
    }

    fn mountdevice(&self, _: &MountDevice, _: &World) -> Result<()> {
        if self.mounts { Ok(()) } else { Err(flexvolume::Failure::not_supported()) }
    }
}

#[test]
fn a_driver_that_is_staged_in_name_only_fails_in_words() {
    let tmp = tempfile::tempdir().unwrap();
    for (mounts, word) in [(false, "does not implement mountdevice"), (true, "nothing is mounted")] {
        let argv = ["/exec/hollow/hollow", "mount", tmp.path().to_str().unwrap(), "{}"];
        let answered =
            Dispatcher::new(argv).with_env("FLEXVOL_RUN", tmp.path().join("run")).dispatch(&Hollow { mounts });
        assert!(!answered.success && answered.text.contains(word), "{}", answered.text);
    }
}
