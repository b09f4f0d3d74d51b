//! Many calls held by the kernel at once, on file systems that never answer: other drivers' volumes go on, a new host too,
//! no more calls are begun of a driver of which too many hang, and when they end everything can be taken down.

use std::time::{Duration, Instant};

use flexvolume_testkit::{
    binary,
    hung::{HungFs, abort_at, waiting_at},
    scripted::{Answer, Scripted},
};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, pod},
    faults::{Started, calls},
    scripts::{direct, until},
};

/// One second is the aim; a busy machine gets ten.
const AT_ONCE: Duration = Duration::from_secs(10);
/// Of one driver, and of how many drivers: 64 in all.
const OF_DRIVER: usize = 16;
const DRIVERS: usize = 4;

struct Ward {
    bed: Bed,
    drivers: Vec<Scripted>,
    hung: String,
    well: String,
}

impl Ward {
    fn new() -> Option<Self> {
        let bed = Bed::new()?;
        let drivers = (0..DRIVERS).map(|n| hanging(&bed, &format!("v/hung-{n}"))).collect();
        bed.script("v/well", direct());
        let pods: Vec<_> = (0..DRIVERS * OF_DRIVER)
            .map(|n| pod(&format!("hung-{n}"), &[("data", &format!("{{driver: v/hung-{}}}", n % DRIVERS))]))
            .collect();
        let hung = bed.manifest("hung.yaml", &pods.join("---\n"));
        let well: Vec<_> = (0..3).map(|n| pod(&format!("well-{n}"), &[("data", "{driver: v/well}")])).collect();
        let well = bed.manifest("well.yaml", &well.join("---\n"));
        Some(Self { bed, drivers, hung, well })
    }

    /// Others come and go as if nothing were wrong.
    fn others_go_on(&self, when: &str) {
        let start = Instant::now();
        self.bed.ok(["up", &self.well]);
        self.bed.ok(["down", &self.well]);
        assert!(start.elapsed() < AT_ONCE, "{when}: other volumes took {:?}", start.elapsed());
    }

    /// From now on the drivers that hang are given up soon; nobody else is hurried.
    fn give_up_soon(&self) {
        let limits = json!({"limits": {"mount": {"answer": 0.2, "kill": 0.5}}});
        let drivers: serde_json::Map<_, _> = (0..=DRIVERS).map(|n| (format!("v/hung-{n}"), limits.clone())).collect();
        self.bed.manifest("flexvol.json", &json!({"drivers": drivers}).to_string());
    }

    fn points(&self) -> Vec<std::path::PathBuf> {
        self.bed.sandbox.mounts().unwrap().into_iter().map(|mount| mount.point).collect()
    }

    fn caught(&self) -> usize {
        self.points().iter().filter(|point| waiting_at(point).is_ok_and(|n| n > 0)).count()
    }

    fn mount_calls(&self) -> usize {
        self.drivers.iter().map(|driver| calls(driver, "mount").len()).sum()
    }

    fn rows(&self) -> Vec<Value> {
        self.bed.json(["ls"]).as_array().unwrap().clone()
    }
}

/// A driver whose mount succeeds and then looks into what it mounted, which never answers.
fn hanging(bed: &Bed, name: &str) -> Scripted {
    let mount = format!("{} \"$2\" 0; ls \"$2\"", binary("hungfs").unwrap().display());
    bed.script(name, direct().on("mount", Answer::success().run(mount)))
}

#[test]
fn a_mount_that_does_not_answer_costs_one_worker_however_often_it_is_asked() {
    let Some(bed) = Bed::new() else { return };
    let mount = format!("{} \"$2\" 0", binary("hungfs").unwrap().display());
    let init = json!({"status": "Success", "capabilities": {"attach": false, "supportsMetrics": true}});
    bed.script("v/frozen", direct().on("init", Answer::json(&init)).on("mount", Answer::success().run(mount)));
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/frozen}")]));
    bed.ok(["up", &file]);
    for _ in 0..3 {
        bed.run(["ls", "--usage"]).fails(5, &["pid ", "hint:"]);
        assert_eq!(bed.json(["up", &file])[0]["changed"], false);
        assert_eq!(bed.workers(), 1);
    }
    for mount in bed.sandbox.mounts().unwrap() {
        abort_at(&mount.point).unwrap();
    }
    until("the worker to end", || bed.workers() == 0);
    let again = bed.run(["up", &file]);
    assert!(again.stderr.contains("gone, replaced or dead"), "{again:?}");
    for mount in bed.sandbox.mounts().unwrap() {
        abort_at(&mount.point).unwrap();
    }
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

#[test]
fn sixty_four_calls_held_by_the_kernel_hold_nobody_else() {
    let Some(ward) = Ward::new() else { return };
    let bed = &ward.bed;
    let all = DRIVERS * OF_DRIVER;
    let host = Started::new(bed, &["up", "--jobs", "16", &ward.hung]);
    until("all calls to be caught", || ward.caught() == all);
    ward.others_go_on("while the host waits");
    host.kill();
    ward.others_go_on("after the host was killed");
    ward.give_up_soon();

    // Each is told by its pid, and nothing more is begun for it.
    let began = ward.mount_calls();
    let start = Instant::now();
    let ran = bed.run(["up", "--jobs", "16", &ward.hung]);
    ran.fails(5, &["has not ended", "pid ", "cat /proc/", "pod default/hung-63"]);
    assert!(start.elapsed() < 6 * AT_ONCE, "{:?}", start.elapsed());
    assert_eq!(ward.mount_calls(), began);
    let rows = ward.rows();
    assert_eq!(rows.len(), all);
    for row in &rows {
        let state = row["state"].as_str().unwrap();
        assert!(state.starts_with("publish hangs: pid ") && state.ends_with("does not end"), "{row}");
    }
    let seen = bed.json(["inspect", "hung-7/data"]);
    let held: Vec<_> =
        seen["underWay"]["processes"].as_array().unwrap().iter().filter(|p| p["stuck"] == true).collect();
    assert_eq!((held.len(), &held[0]["name"], &held[0]["alive"]), (1, &json!("ls"), &json!(true)), "{seen}");

    // A driver of which a quarter of all hangs gets no more; one of which none hangs gets its first, whatever others do.
    for (name, calls_more, words) in [
        ("v/hung-0", 0, ["16 calls of driver v/hung-0 hang", "no more are begun", "/stack"]),
        ("v/hung-4", 1, ["1 calls of driver v/hung-4 hang, of 65 in all", "no more are begun", "/stack"]),
    ] {
        let driver = hanging(bed, name);
        let before = calls(&driver, "mount").len();
        let pods = ["more-0", "more-1"].map(|pod_name| pod(pod_name, &[("data", &format!("{{driver: {name}}}"))]));
        let more = bed.manifest("more.yaml", &pods.join("---\n"));
        bed.run(["up", "--jobs", "1", &more]).fails(5, &words);
        assert_eq!(calls(&driver, "mount").len(), before + calls_more, "{name}");
    }
    ward.others_go_on("with all of them known");

    // The file systems are given up: whoever was held gets an error, and all of it goes.
    for point in ward.points() {
        abort_at(&point).unwrap();
    }
    until("the held to end", || ward.rows().iter().all(|row| !row["state"].as_str().unwrap().contains("hangs")));
    bed.ok(["down", "--all", "--jobs", "8"]);
    bed.assert_clean();
}

/// Nothing of the volume hangs: whoever comes later is told so, and the op is in the history.
#[test]
fn an_init_that_hangs_while_a_volume_is_taken_down_is_not_the_volumes() {
    let Some(bed) = Bed::new() else { return };
    crate::faults::limit(&bed, &["init"], 0.2, 0.5);
    bed.script("v/d", direct());
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/d}")]));
    bed.ok(["up", &file]);
    let frozen = bed.sandbox.dir("frozen").unwrap();
    let hung = HungFs::mount(&frozen, 0).unwrap();
    bed.script("v/d", direct().on("init", Answer::success().run(format!("ls {}", frozen.display()))));
    bed.run(["down", "web"]).fails(5, &["has not answered init", "pid ", "/stack"]);
    let seen = bed.json(["inspect", "web/data"]);
    assert_eq!(seen["underWay"], Value::Null, "{seen}");
    let last = seen["history"].as_array().unwrap().last().unwrap();
    assert!(last["op"] == "unpublish" && last["verdict"].as_str().unwrap().contains("init"), "{seen}");
    drop(hung);
    bed.script("v/d", direct());
    bed.ok(["down", "web"]);
    bed.assert_clean();
}
