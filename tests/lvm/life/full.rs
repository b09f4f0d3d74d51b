//! A thin pool that is filled by a writer: it is said before, the writer waits or gets an error, and with room it goes on.

use std::fs;

use serde_json::json;

use super::{
    home::Home,
    writer::{Writer, check},
};
use crate::{
    bed,
    group::{POOL, lvm},
    tools::until,
};

/// How long the kernel lets writers wait for room before they get errors.
const TIMEOUT: &str = "/sys/module/dm_thin_pool/parameters/no_space_timeout";

/// Puts the kernel's own value back.
struct Timeout(String);

impl Timeout {
    fn set(seconds: u32) -> Timeout {
        let before = fs::read_to_string(TIMEOUT).unwrap();
        fs::write(TIMEOUT, seconds.to_string()).unwrap();
        Timeout(before)
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

fn percent(home: &Home) -> f64 {
    home.vg.row(POOL, "data_percent")["data_percent"].parse().unwrap()
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
    let source = home.source("ext4", "vol1", &[("create", "true"), ("size", "200m"), ("thinpool", POOL)]);
    let pod = home.pod("web", &[("data", &source)]);
    home.bed.ok(["up", &pod]);

    // Nearly full: everybody is told, nobody is refused.
    until("a pool that is nearly full", || {
        home.exec("web", "dd if=/dev/urandom bs=1M count=3 status=none >>/data/data/much; sync");
        percent(&home) >= 80.0
    });
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

    // Full: the writer waits, nothing new is made, and with more room it goes on where it was.
    let mut writer = Writer::start(&home, "web", "/data/data", 1024);
    until("a full pool", || is_full(&home));
    let said = home.call(&["createvolume", &another]);
    assert_eq!((said["status"].as_str(), said["code"].as_str()), (Some("Failure"), Some("exhausted")), "{said}");
    assert!(said["message"].as_str().unwrap().contains("out_of_data"), "{said}");
    assert!(!writer.has_ended());
    extend(&home, "+16m");
    writer.goes_on();

    // Full again, and nobody comes: it gets an error.
    let timeout = Timeout::set(3);
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
