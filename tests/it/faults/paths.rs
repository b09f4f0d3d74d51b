//! Fault 6: paths swapped while a driver works, mounts with more power than they should have, and roots that others can
//! write to.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use flexvolume_linux::mount::table;
use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::json;

use super::{Started, called, swaps::Swapper};
use crate::{
    bed::{Bed, pod},
    scripts::{attachable, image, tool},
};

/// attach:false; waits for a word before it mounts, so that a test can act in between.
fn waiting() -> Script {
    Script::sh()
        .on("init", Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}})))
        .on(
            "mount",
            Answer::success().run("while [ ! -e \"$_d/../go\" ]; do sleep 0.05; done; mount -t tmpfs none \"$2\""),
        )
        .on("unmount", Answer::success().run(r#"umount "$2""#))
}

/// A pod about to be mounted, the directory above its volume, and the path that the driver was given.
struct Caught {
    bed: Bed,
    file: String,
    go: PathBuf,
    above: PathBuf,
    host: Started,
}

impl Caught {
    fn new() -> Option<Self> {
        let bed = Bed::new()?;
        let driver = bed.script("v/slow", waiting());
        let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/slow}")]));
        let host = Started::new(&bed, &["up", &file]);
        called(&driver, "mount", 1);
        let call = driver.calls().unwrap().into_iter().find(|call| call.verb() == "mount").unwrap();
        let above = Path::new(&call.argv[1]).parent().unwrap().to_owned();
        Some(Self { go: driver.exe().with_file_name("go"), bed, file, above, host })
    }

    fn aside(&self) -> PathBuf {
        self.above.with_extension("aside")
    }

    fn swap(&self, to: &Path) {
        fs::rename(&self.above, self.aside()).unwrap();
        symlink(to, &self.above).unwrap();
    }

    fn put_back(&self) {
        fs::remove_file(&self.above).unwrap();
        fs::rename(self.aside(), &self.above).unwrap();
    }

    /// Lets the driver mount and waits for the command to fail with these words.
    fn fails(&mut self, words: &[&str]) {
        fs::write(&self.go, "").unwrap();
        self.host.end().fails(4, words);
        let rows = self.bed.json(["ls"]);
        assert!(rows.as_array().unwrap().iter().all(|row| row["state"] != "mounted"), "{rows}");
    }

    /// Once the cause is gone the next try works.
    fn works(&self) {
        self.bed.ok(["up", &self.file]);
        assert_eq!(self.bed.sandbox.mounts().unwrap().len(), 1);
        self.bed.ok(["down", &self.file]);
        self.bed.assert_clean();
    }
}

#[test]
fn a_mount_that_was_led_elsewhere_is_not_accepted() {
    let Some(mut caught) = Caught::new() else { return };
    let elsewhere = caught.bed.sandbox.dir("elsewhere").unwrap();
    let astray = caught.bed.sandbox.dir("elsewhere/data").unwrap();
    caught.swap(&elsewhere);
    caught.fails(&["was moved to", "while the driver worked", "hint:"]);
    assert!(table::at(&astray).unwrap().is_some(), "the driver was to be led astray");
    tool("umount", &[astray.to_str().unwrap()]);
    caught.put_back();
    caught.works();
}

/// The link leads back to the very directory: the mount lies in it, but not at the path that pods are given.
#[test]
fn a_mount_in_the_held_directory_under_another_name_is_not_accepted() {
    let Some(mut caught) = Caught::new() else { return };
    let aside = caught.aside();
    caught.swap(&aside);
    caught.fails(&["was moved to", "hint:"]);
    assert!(table::at(&aside.join("data")).unwrap().is_some());
    caught.put_back();
    caught.works();
}

/// Swapped back in time, nothing shows but that nothing is mounted; and what lies at the link's end is not looked into.
#[test]
fn a_parent_swapped_there_and_back_is_judged_by_what_is_mounted() {
    let Some(mut caught) = Caught::new() else { return };
    let elsewhere = caught.bed.sandbox.dir("elsewhere").unwrap();
    let astray = caught.bed.sandbox.dir("elsewhere/data").unwrap();
    let Caught { above, go, host, .. } = &mut caught;
    let swapper = Swapper::new(above, &elsewhere);
    fs::write(go, "").unwrap();
    let ran = host.end();
    swapper.end();
    if table::at(&astray).unwrap().is_some() {
        assert_ne!(ran.code, 0, "{ran:?}");
        tool("umount", &[astray.to_str().unwrap()]);
    } else if ran.code == 0 {
        assert!(table::at(&caught.above.join("data")).unwrap().is_some(), "{ran:?}");
    }
    caught.works();
}

#[test]
fn power_is_taken_from_whatever_a_driver_mounts() {
    let Some(bed) = Bed::new() else { return };
    let disk = bed.sandbox.path().join("disk");
    image(&disk, 16);
    bed.script("v/direct", {
        Script::sh()
            .on("init", Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}})))
            .on("mount", Answer::success().run(r#"mount -t tmpfs -o suid,dev none "$2""#))
            .on("unmount", Answer::success().run(r#"umount "$2""#))
    });
    let mount = r#"mkfs.ext4 -q -F "$3" && mount -o suid,dev "$3" "$2""#;
    bed.script("v/disk", attachable(&disk).on("mountdevice", Answer::success().run(mount)));
    let volumes =
        [("direct", "{driver: v/direct}"), ("disk", "{driver: v/disk}"), ("ro", "{driver: v/direct, readOnly: true}")];
    let file = bed.manifest("pod.yaml", &pod("web", &volumes));
    bed.ok(["up", &file]);
    for mount in bed.sandbox.mounts().unwrap() {
        let seen = table::at(&mount.point).unwrap().unwrap();
        assert!(seen.nosuid && seen.nodev, "{seen:?}");
        assert_eq!(seen.read_only, mount.point.ends_with("ro"), "{seen:?}");
    }
    assert_eq!(bed.sandbox.mounts().unwrap().len(), 4);
    bed.ok(["down", &file]);
    bed.assert_clean();
    // Only an administrator may leave it to them.
    bed.manifest("flexvol.json", r#"{"drivers": {"v/direct": {"allowSuidAndDevices": true}}}"#);
    bed.ok(["up", &file]);
    let seen = table::at(&bed.path_of("web", "direct")).unwrap().unwrap();
    assert!(!seen.nosuid && !seen.nodev, "{seen:?}");
    bed.ok(["down", &file]);
}

#[test]
fn a_chain_that_others_can_write_to_is_refused() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/well", crate::scripts::direct());
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/well}")]));
    let base = bed.sandbox.path().to_owned();
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for folder in [base.clone(), bed.sandbox.root(), bed.sandbox.plugins(), bed.sandbox.plugins().join("v~well")] {
        for mode in [0o775, 0o757] {
            chmod(&folder, mode);
            let ran = bed.run(["up", &file]);
            ran.fails(4, &["cannot trust", folder.to_str().unwrap(), "hint:", "chmod go-w"]);
            chmod(&folder, 0o755);
        }
    }
    bed.ok(["up", &file]);
    bed.ok(["down", &file]);
    bed.assert_clean();
}
