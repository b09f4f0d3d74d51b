//! The LVM driver, judged: whatever the judge demands of a driver is done, by thin volumes and by thick ones.
//!
//! A call takes a second where the processor is emulated, and a whole judgement some hundreds of them: each case has a part of it,
//! and all parts together are the whole. Calls that are killed in their middle are for the sweeps, which meet every point of them.

use flexvol_tests::judged;
use serde_json::{Value, json};

use crate::{
    group::POOL,
    life::home::{DRIVER, Home},
};

/// What has cases of its own here.
const KILLS: &str = "kill";

/// The parts: what is asked for, what is left out, and what the driver has no part in.
const MOUNTS: (&[&str], &[&str]) = (
    &[
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
        "data",
        "leftovers",
    ],
    &[],
);
const VALUES: (&[&str], &[&str]) = (&["options", "secrets", "together", "answer"], &[]);
const VOLUMES: (&[&str], &[&str]) =
    (&["extensions", "provision", "capacity", "list", "health", "expand", "modify"], &["modify.all-or-nothing"]);
const COPIES: (&[&str], &[&str]) = (&["snapshot", "clone"], &[]);

/// Judged by volumes that it makes of these parameters; in the end nothing is left but what was there.
fn fit(home: &Home, create: &Value, there: &[&str], (only, not_its): (&[&str], &[&str])) {
    let volume = json!({"create": create, "bytes": 32 << 20});
    let chosen = judged::only(only, &[KILLS]);
    let report = judged::report(&volume, DRIVER, &chosen, &home.bed.sandbox, |args| home.bed.command(args));
    judged::assert_fit(&report, not_its);
    assert_eq!(home.vg.volumes(), there);
    home.bed.assert_clean();
}

fn thin(part: (&[&str], &[&str])) {
    let Some(home) = Home::with_pool(&[700], 600) else { return };
    home.set(&json!({"volumegroup": home.vg.name, "thinOvercommit": 10}).to_string());
    fit(&home, &json!({"volumegroup": home.vg.name, "thinpool": POOL}), &[POOL], part);
}

fn thick(part: (&[&str], &[&str])) {
    let Some(home) = Home::new(&[700]) else { return };
    home.set(&json!({"volumegroup": home.vg.name}).to_string());
    fit(&home, &json!({"volumegroup": home.vg.name}), &[], part);
}

#[test]
fn thin_volumes_are_attached_and_mounted() {
    thin(MOUNTS);
}

#[test]
fn thin_volumes_take_every_option() {
    thin(VALUES);
}

#[test]
fn thin_volumes_are_made_grown_and_deleted() {
    thin(VOLUMES);
}

#[test]
fn thin_volumes_are_copied() {
    thin(COPIES);
}

#[test]
fn thick_volumes_are_attached_and_mounted() {
    thick(MOUNTS);
}

#[test]
fn thick_volumes_are_made_grown_and_deleted() {
    thick(VOLUMES);
}

#[test]
fn thick_volumes_are_copied() {
    thick(COPIES);
}
