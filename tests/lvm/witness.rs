//! Kubernetes' own FlexVolume host drives the LVM driver, as it does the one for loop devices: what of volumes lives on this kernel alone.

#[path = "../it/witness/original.rs"]
#[allow(dead_code, reason = "the original, of which these cases ask for a part")]
mod original;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use flexvolume_linux::fs::usage;
use serde_json::{Value, json};

use crate::{
    life::home::{DRIVER, Home},
    sweep::field::active,
    tools::shell,
};
use original::{Witness, persistent, pod};

const MIB: u64 = 1 << 20;
const OLD: u64 = 320 * MIB;
const NEW: u64 = 480 * MIB;

/// The type of what is mounted there.
fn fs_type(place: &Path) -> String {
    shell("stat -f -c %T $1", &[place.to_str().unwrap()])
}

fn taken_down(pod: &str) -> Value {
    json!({"driver": DRIVER, "name": "pv", "uid": format!("uid-{pod}")})
}

/// Nothing is mounted or active, or kept as a directory of a pod.
#[track_caller]
fn assert_bare(home: &Home, dirs: &[&Path]) {
    assert_eq!(home.bed.sandbox.mounts().unwrap(), [], "mounts left");
    assert_eq!(active(&home.vg), Vec::<String>::new(), "devices left");
    for dir in dirs {
        assert!(!dir.exists(), "{} is left", dir.display());
    }
}

/// The cold life of a volume, from the first pod to the last, with a restart of the host in between, and growth while it is written to;
/// and then once more, with what the first life has left.
fn serves(fs: &str, shown: &str) {
    let Some(home) = Home::new(&[600]) else { return };
    let Some(mut witness) = Witness::start(&home.bed) else { return };
    let options = json!({"volumeID": "v", "volumegroup": home.vg.name, "size": "320m", "create": "true"});
    let source = json!({"driver": DRIVER, "fsType": fs, "options": options});
    let found = witness.found(DRIVER);
    assert_eq!((&found["attachable"], &found["requiresFSResize"]), (&json!(false), &json!(true)));
    for life in ["first", "second"] {
        let size = if life == "first" { OLD } else { NEW };
        let volume = persistent("pv", size, source.clone());
        let ask = |who: &str| {
            let mut pod = pod(who);
            pod["spec"]["securityContext"] = json!({"fsGroup": 4711});
            json!({"persistentVolume": volume, "pod": pod})
        };

        let one = PathBuf::from(witness.word("setup", ask("one")));
        assert_eq!(witness.word("setup", ask("one")), one.to_str().unwrap(), "asked twice");
        assert_eq!(one, home.bed.sandbox.root().join("pods/uid-one/volumes/kubernetes.io~lvm/pv"));
        assert_eq!(fs_type(&one), shown);
        assert_eq!(home.bed.sandbox.mounts().unwrap().len(), 1, "and mounted once");
        let root = fs::metadata(&one).unwrap();
        assert_eq!((root.gid(), root.mode() & 0o2070), (4711, 0o2070), "the group of the pod");
        if life == "second" {
            assert_eq!(fs::read_to_string(one.join("first")).unwrap(), "kept", "what the first life wrote");
        }
        fs::write(one.join(life), "kept").unwrap();
        let two = PathBuf::from(witness.word("setup", ask("two")));
        assert_eq!(fs::read_to_string(two.join(life)).unwrap(), "kept", "one volume, two pods");
        assert_eq!(active(&home.vg).len(), 1, "one device for both");

        if life == "first" {
            grows(&home, &mut witness, &source, &two);
        }

        witness.ok("teardown", taken_down("one"));
        assert!(!one.exists());
        assert_eq!(fs::read_to_string(two.join(life)).unwrap(), "kept", "the other pod keeps it");
        // A kubelet that was restarted knows driver and name alone.
        drop(witness);
        witness = Witness::start(&home.bed).unwrap();
        witness.found(DRIVER);
        witness.ok("teardown", taken_down("two"));
        witness.ok("teardown", taken_down("two"));
        assert_bare(&home, &[&one, &two]);
    }
    assert_eq!(home.vg.tags("v").iter().filter(|tag| tag.contains("state")).count(), 0, "{:?}", home.vg.tags("v"));
}

/// Grows the volume at `place` while somebody writes to it.
fn grows(home: &Home, witness: &mut Witness, source: &Value, place: &Path) {
    let before = usage(place).unwrap().total;
    let text = place.to_str().unwrap();
    shell(
        "(i=0; while [ -d $1 ] && [ ! -e $1/enough ]; do i=$((i+1)); echo line $i >>$1/written; done) >/dev/null 2>&1 &",
        &[text],
    );
    let grow = json!({
        "persistentVolume": persistent("pv", NEW, source.clone()),
        "path": place, "new": NEW, "old": OLD,
    });
    assert_eq!(witness.ok("nodeexpand", grow.clone()), true);
    assert_eq!(witness.ok("nodeexpand", grow), true, "asked twice");
    fs::write(place.join("enough"), "").unwrap();
    let after = usage(place).unwrap().total;
    assert!(after > before + 100 * MIB, "{before} became {after}");
    assert_eq!(home.vg.row("v", "lv_size")["lv_size"], NEW.to_string());
    // It has seen the word when no line comes any more.
    let lines = || shell("sleep 1; wc -l <$1/written", &[text]).parse::<usize>().unwrap();
    let mut last = lines();
    while lines() != last {
        last = lines();
    }
    let written = fs::read_to_string(place.join("written")).unwrap();
    assert!(last > 0);
    for (number, line) in (1..).zip(written.lines()) {
        assert_eq!(line, format!("line {number}"));
    }
}

#[test]
fn the_original_is_served_with_ext4() {
    serves("ext4", "ext2/ext3");
}

#[test]
fn the_original_is_served_with_xfs() {
    serves("xfs", "xfs");
}
