//! The LVM driver, judged: whatever the judge demands of a driver that attaches and mounts is done, by thin volumes that the judge has made.
//!
//! A call takes a second where the processor is emulated, and a whole judgement many hundreds of them, so this is a part of it.

use flexvol_tests::judged;
use serde_json::json;

use crate::{
    group::POOL,
    life::home::{DRIVER, Home},
};

/// What is asked for; the driver has a part in all of it.
const ATTACHED: [&str; 10] = [
    "init",
    "verbs",
    "attach",
    "isattached",
    "waitforattach",
    "mountdevice",
    "unmountdevice",
    "detach",
    "mount.",
    "unmount.",
];

#[test]
fn thin_volumes_are_attached_and_mounted() {
    let Some(home) = Home::with_pool(&[700], 600) else { return };
    home.set(&json!({"volumegroup": home.vg.name, "thinOvercommit": 10}).to_string());
    let volume = json!({"create": {"volumegroup": home.vg.name, "thinpool": POOL}, "bytes": 32 << 20});
    let chosen = judged::only(&ATTACHED, &[]);
    let report = judged::report(&volume, DRIVER, &chosen, &home.bed.sandbox, |args| home.bed.command(args));
    judged::assert_fit(&report, &[]);
    assert_eq!(home.vg.volumes(), [POOL]);
    home.bed.assert_down();
}
