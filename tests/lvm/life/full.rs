//! A thin pool that is filled by a writer: it is said before, the writer waits or gets an error, and with room it goes on.

use std::fs;

use serde_json::json;

use super::{
    home::Home,
    writer::{Writer, check},
};
use crate::{
    bed,
    group::{POOL, dmsetup, lvm},
    tools::{run, until},
};

/// How long the kernel lets writers wait for room before they get errors.
const TIMEOUT: &str = "/sys/module/dm_thin_pool/parameters/no_space_timeout";

/// Puts the kernel's own value back. With 0 they wait for ever. What is set counts from the next time that a pool gets full.
struct Timeout(String);

impl Timeout {
    fn set(seconds: u32) -> Timeout {
        let before = fs::read_to_string(TIMEOUT).unwrap();
        fs::write(TIMEOUT, seconds.to_string()).unwrap();
        Timeout(before)
    }

    fn change(&self, seconds: u32) {
        fs::write(TIMEOUT, seconds.to_string()).unwrap();
    }
}

impl Drop for Timeout {
    fn drop(&mut self) {
        fs::write(TIMEOUT, &self.0).unwrap();
    }
}

fn is_full(home: &Home) -> bool {
    home.vg.row(POOL, "lv_health_status")["lv_health_status"] == "out_of_data"
}

/// How much of its data the pool has given away. What `lvs` shows may be a second old, and a second of a slow machine is a lot of
/// writing: asked without `--noflush` the kernel counts anew.
fn percent(home: &Home) -> f64 {
    let name = format!("{}-{POOL}-tpool", home.vg.name.replace('-', "--"));
    let status = run(dmsetup().args(["status", &name]));
    // START LENGTH thin-pool TRANSACTION USED/TOTAL of metadata, USED/TOTAL of data
    let data = status.split_whitespace().nth(5).and_then(|data| data.split_once('/'));
    let (used, total) = data.unwrap_or_else(|| panic!("{status}"));
    100.0 * used.parse::<f64>().unwrap() / total.parse::<f64>().unwrap()
}

fn extend(home: &Home, size: &str) {
    lvm(["lvextend", "--quiet", "--size", size, &home.vg.of(POOL)]);
}

#[test]
fn under_a_writer() {
    let Some(()) = bed::throwaway() else { return };
    let Some(home) = Home::with_pool(&[300], 48) else { return };
    let log = home.bed.sandbox.path().join("driver.log");
    home.set(&json!({"thinOvercommit": 10, "log": log}).to_string());
    // All of the file system is written when it is made: else the kernel does that later, whenever it likes, and fills the pool by itself.
    let mkfs = ("mkfsOptions", "-E lazy_itable_init=0");
    let source = home.source("ext4", "vol1", &[("create", "true"), ("size", "200m"), ("thinpool", POOL), mkfs]);
    let pod = home.pod("web", &[("data", &source)]);
    home.bed.ok(["up", &pod]);

    // Nearly full: everybody is told, nobody is refused.
    until("a pool that is nearly full", || {
        home.exec("web", "dd if=/dev/urandom bs=1M count=1 status=none >>/data/data/much; sync");
        percent(&home) >= 80.0
    });
    assert!(percent(&home) < 95.0, "nobody else writes");
    let another = format!(
        "{{\"flexvol/name\":\"v\",\"flexvol/requiredBytes\":\"4194304\",\"volumegroup\":\"{}\",\"thinpool\":\"{POOL}\"}}",
        home.vg.name
    );
    assert_eq!(home.call(&["createvolume", &another])["status"], "Success");
    let said = fs::read_to_string(&log).unwrap_or_default();
    assert!(said.contains("% of its data in use"), "{said}");
    home.deleted("v");
    let health = format!("{{\"flexvol/id\":\"{}\"}}", home.vg.of("vol1"));
    let told = || home.call(&["gethealth", &health]);
    assert_eq!(told()["condition"], "degraded", "{}", told());

    // Full: the writer waits, however long we take to look, nothing new is made, and with more room it goes on where it was.
    let timeout = Timeout::set(0);
    let mut writer = Writer::start(&home, "web", "/data/data", 1024);
    until("a full pool", || is_full(&home));
    let said = home.call(&["createvolume", &another]);
    assert_eq!((said["status"].as_str(), said["code"].as_str()), (Some("Failure"), Some("exhausted")), "{said}");
    assert!(said["message"].as_str().unwrap().contains("out_of_data"), "{said}");
    assert!(!writer.has_ended());
    extend(&home, "+16m");
    // Files of a MiB: before, there was room for a fifth of the pool.
    until("more files than there was room for", || {
        assert!(!writer.has_ended(), "the writer has ended");
        writer.count() > 10
    });

    // Full again, and nobody comes: it gets an error.
    timeout.change(3);
    // It may be full already, from when there was no limit.
    extend(&home, "+4m");
    until("the end of the writer", || writer.has_ended());
    let ran = writer.end();
    assert!(ran.code != 0 && !ran.stderr.is_empty(), "{ran:?}");
    home.bed.ok(["down", "web"]);
    home.assert_down();
    extend(&home, "+64m");
    drop(timeout);
    home.bed.ok(["up", &pod]);
    // What the file system had acknowledged is there.
    check(&home, "web", "/data/data");
    home.exec("web", "dd if=/dev/urandom of=/data/data/more bs=1M count=8 conv=fsync status=none");
    home.bed.ok(["down", "web"]);
    home.assert_down();
    home.deleted("vol1");
    assert_eq!(home.vg.volumes(), [POOL]);
}
