//! A device given to a pod as it is: nobody formats it, and one that is for reading is read-only itself.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
};

use crate::{
    bed::{Bed, run, text},
    copies::{clone, snapshot},
};

/// Writes to a device through the page cache, as programs do that do not ask for better.
fn put(device: &str, word: &str) -> bool {
    let script = "printf %s \"$2\" | dd of=\"$1\" conv=notrunc status=none";
    Command::new("sh").args(["-c", script, "sh", device, word]).output().unwrap().status.success()
}

/// Has the device open, as a pod's program would: what was written is flushed when the last one closes it.
fn hold(device: &str) -> Child {
    let script = "exec 3<\"$1\"; echo; exec sleep 60";
    let mut child = Command::new("sh").args(["-c", script, "sh", device]).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 1]).unwrap();
    child
}

fn get(device: &str) -> String {
    run("dd", &[&format!("if={device}"), "bs=6", "count=1", "status=none"])
}

#[test]
fn a_raw_device_keeps_what_it_is_given() {
    let Some(bed) = Bed::on("xfs") else { return };
    let j = bed.j("v");
    let device = bed.attach(&j);
    assert_eq!(bed.call(&["waitforattach", "", &j.text()]).ok().word("device"), device);
    let found = Command::new("blkid").args(["-p", &device]).status().unwrap();
    assert_eq!(found.code(), Some(2), "nothing was made on it");
    let mut pod = hold(&device);
    assert!(put(&device, "before"));
    // In use, and not flushed by anybody.
    bed.ask(&snapshot("s", "v")).ok();
    pod.kill().unwrap();
    pod.wait().unwrap();
    assert!(put(&device, "after!"));
    bed.ask(&clone("c", "v", "")).ok();
    bed.ask(&clone("d", "s.snap", "")).ok();
    for (id, word) in [("c", "after!"), ("d", "before")] {
        let j = bed.of_host(id, "ext4");
        assert_eq!(get(&bed.attach(&j)), word);
        bed.call(&["detach", j.name(), "node"]).ok();
    }
    // What is on it is not overwritten by a pod that wants a file system.
    let gdir = bed.sandbox.dir("pods/global/data").unwrap();
    bed.call(&["mountdevice", text(&gdir), &device, &j.text()]).fails("", &["unknown data"]);
    assert_eq!(get(&device), "after!");
    bed.call(&["detach", j.name(), "node"]).ok();
    assert_eq!(get(&bed.attach(&j)), "after!");
    bed.call(&["detach", j.name(), "node"]).ok();
    bed.assert_down("after all");
}

#[test]
fn a_device_for_reading_is_read_only_or_refused() {
    let Some(bed) = Bed::new() else { return };
    let j = bed.j("v");
    let (ro, device) = (j.clone().read_only(), bed.attach(&j));
    assert!(put(&device, "before"));
    bed.call(&["attach", &ro.text(), "node"]).fails("busy", &["attached for writing"]);
    bed.call(&["detach", j.name(), "node"]).ok();
    let device = bed.attach(&ro);
    assert_eq!(run("blockdev", &["--getro", &device]), "1");
    assert!(!put(&device, "after!"));
    assert_eq!(get(&device), "before");
    bed.call(&["attach", &j.text(), "node"]).fails("busy", &["attached read-only"]);
    bed.call(&["detach", j.name(), "node"]).ok();
    bed.assert_down("after all");
}
