//! Fault 2: a file system that never answers. It costs a worker or a driver's process, never the host; all other volumes
//! go on, and when the connection is cut everything can be taken down. No test touches the mount itself.

use std::{
    fs,
    time::{Duration, Instant},
};

use flexvolume_testkit::{
    binary,
    hung::{Connection, abort_at, waiting_at},
    scripted::{Answer, Script},
};
use serde_json::json;

use super::{Started, limit};
use crate::{
    bed::{Bed, pod},
    scripts::{attachable, image, until},
};

/// One second is the aim; a busy machine gets ten.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Mounts the file system that never answers at `$2`, having answered as many questions.
fn frozen(answers: u32) -> String {
    format!("{} \"$2\" {answers}", binary("hungfs").unwrap().display())
}

fn direct(mount: Answer, unmount: Answer) -> Script {
    Script::sh()
        .on("init", Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}})))
        .on("mount", mount)
        .on("unmount", unmount)
}

/// A bed with the driver `v/hung`, a well one beside it, and manifests for a pod of each.
struct Ward {
    bed: Bed,
    hung: String,
    well: String,
}

impl Ward {
    fn new(script: Script) -> Option<Self> {
        let bed = Bed::new()?;
        limit(&bed, &["mount", "unmount", "unmountdevice"], 0.5, 1.0);
        bed.script("v/hung", script);
        bed.script("v/well", crate::scripts::direct());
        let hung = bed.manifest("hung.yaml", &pod("hung", &[("data", "{driver: v/hung}")]));
        let well = bed.manifest("well.yaml", &pod("well", &[("data", "{driver: v/well}")]));
        Some(Self { bed, hung, well })
    }

    /// Other volumes come and go, and the list is given, as if nothing were wrong.
    fn others_go_on(&self) {
        let start = Instant::now();
        self.bed.ok(["up", &self.well]);
        let listed = self.bed.json(["ls"]);
        assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
        self.bed.ok(["down", &self.well]);
        assert!(start.elapsed() < AT_ONCE, "another volume took {:?}", start.elapsed());
    }

    fn points(&self) -> Vec<std::path::PathBuf> {
        self.bed.sandbox.mounts().unwrap().into_iter().map(|mount| mount.point).collect()
    }

    /// Waits until the file system has caught a worker of this host, and gives its pid.
    fn catches(&self, host: &Started) -> u32 {
        let caught = || self.points().first().is_some_and(|point| waiting_at(point).is_ok_and(|n| n > 0));
        until("a worker to be caught", || caught() && worker_of(host).is_some());
        worker_of(host).unwrap()
    }

    /// Cuts the connection: whoever waits gets an error, and the mount is dead.
    fn abort(&self) {
        for point in self.points() {
            abort_at(&point).unwrap();
        }
    }

    /// Taken down at last, whatever it takes to get there: never a hang, and while it cannot be, the reason in words.
    fn goes_away(&self) {
        // Whoever is caught keeps a file system alive whose mount was taken away.
        let mounts = self.bed.sandbox.mounts().unwrap();
        let connections: Vec<_> =
            mounts.iter().filter(|mount| mount.is_fuse()).map(|mount| Connection::of(mount).unwrap()).collect();
        let first = self.bed.run(["down", &self.hung]);
        if first.code != 0 {
            first.fails(5, &["pid ", "hint:"]);
            self.abort();
            let last = self.bed.run(["down", &self.hung]);
            assert_eq!(last.code, 0, "first {first:?}, once the connection was cut {last:?}");
        }
        for connection in connections {
            connection.abort().unwrap();
        }
        until("the workers to end", || self.bed.workers() == 0);
        self.bed.assert_clean();
    }
}

/// The worker of this host, whichever of its threads began it.
fn worker_of(host: &Started) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{}/task", host.child.id())).ok()?.flatten();
    let children: String = threads.filter_map(|one| fs::read_to_string(one.path().join("children")).ok()).collect();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|name| name.starts_with("flexvol-worker"))
    })
}

#[test]
fn a_frozen_mount_at_the_pods_directory_hangs_nobody() {
    let Some(ward) = Ward::new(direct(Answer::success().run(frozen(0)), Answer::success().run(r#"umount "$2""#)))
    else {
        return;
    };
    let start = Instant::now();
    ward.bed.ok(["up", &ward.hung]);
    assert!(start.elapsed() < AT_ONCE);
    assert_eq!(ward.points().len(), 1);
    ward.others_go_on();
    // Again: whether it still answers is asked by a worker, which does not come back; we go on without.
    let again = ward.bed.run(["up", &ward.hung]);
    assert_eq!(again.code, 0, "{again:?}");
    ward.others_go_on();
    ward.goes_away();
}

#[test]
fn a_driver_that_hangs_in_its_own_mount_is_told_by_its_pid_and_the_host_can_be_killed() {
    let mount = format!("{}; ls \"$2\"", frozen(0));
    let Some(ward) = Ward::new(direct(Answer::success().run(mount), Answer::success().run(r#"umount "$2""#))) else {
        return;
    };
    let host = Started::new(&ward.bed, &["up", &ward.hung]);
    until("the mount", || ward.points().len() == 1);
    host.kill();
    ward.others_go_on();
    let ran = ward.bed.run(["up", &ward.hung]);
    ran.fails(5, &["pid ", "has not ended", "hint:"]);
    ward.others_go_on();
    ward.goes_away();
}

/// Beneath a driver without mount: bound for the pod by the host itself, without reaching into it.
#[test]
fn a_frozen_mount_at_the_global_directory_hangs_nobody() {
    let Some(ward) = Ward::new(Script::sh()) else { return };
    let disk = ward.bed.sandbox.path().join("disk");
    image(&disk, 16);
    ward.bed.script("v/hung", attachable(&disk).on("mountdevice", Answer::success().run(frozen(0))));
    let start = Instant::now();
    ward.bed.ok(["up", &ward.hung]);
    assert!(start.elapsed() < AT_ONCE);
    assert_eq!(ward.points().len(), 2);
    ward.others_go_on();
    // Somebody is caught in it: it cannot be unmounted plainly any more.
    let again = Started::new(&ward.bed, &["up", &ward.hung]);
    ward.catches(&again);
    again.kill();
    ward.others_go_on();
    ward.goes_away();
}

#[test]
fn a_worker_caught_in_the_walk_for_fs_group_is_left_behind() {
    let Some(ward) = Ward::new(direct(Answer::success().run(frozen(0)), Answer::success().run(r#"umount "$2""#)))
    else {
        return;
    };
    let grouped =
        fs::read_to_string(&ward.hung).unwrap().replace("spec:\n", "spec:\n  securityContext: {fsGroup: 777}\n");
    fs::write(&ward.hung, grouped).unwrap();
    let host = Started::new(&ward.bed, &["up", &ward.hung]);
    let worker = ward.catches(&host);
    host.kill();
    ward.others_go_on();
    let start = Instant::now();
    let ran = ward.bed.run(["down", &ward.hung]);
    ran.fails(5, &[&format!("pid {worker}"), "has not ended", "hint:"]);
    assert!(start.elapsed() < AT_ONCE, "the caught worker was waited for");
    ward.goes_away();
}
