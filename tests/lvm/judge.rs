//! The LVM driver, judged: whatever the judge demands of a driver is done, by thin volumes; and by thick ones where they are made otherwise.

use flexvol_tests::judged;
use serde_json::{Value, json};

use crate::{
    group::POOL,
    life::home::{DRIVER, Home},
};

/// Judged by volumes that it makes of these parameters; in the end nothing is left but what was there. `not_its` is what the driver has no
/// part in.
fn fit(home: &Home, create: &Value, there: &[&str], asked: &[&str], not_its: &[&str]) {
    let volume = json!({"create": create, "bytes": 16 << 20});
    let chosen = judged::only(asked);
    let report = judged::report(&volume, DRIVER, &chosen, &home.bed.sandbox, |args| home.bed.command(args));
    judged::assert_fit(&report, not_its);
    assert_eq!(home.vg.volumes(), there);
    home.bed.assert_down();
}

fn thin(asked: &[&str], not_its: &[&str]) {
    let Some(home) = Home::with_pool(&[700], 600) else { return };
    home.set(&json!({"volumegroup": home.vg.name, "thinOvercommit": 10}).to_string());
    fit(&home, &json!({"volumegroup": home.vg.name, "thinpool": POOL}), &[POOL], asked, not_its);
}

#[test]
fn thin_volumes_are_attached_and_mounted() {
    thin(judged::MOUNTS, &[]);
}

#[test]
fn thin_volumes_take_every_value_and_keep_bytes_alone() {
    thin(judged::VALUES, &[]);
}

/// It changes nothing of a volume but its size, and does not announce `modify`.
#[test]
fn thin_volumes_are_made_grown_copied_and_deleted() {
    thin(judged::VOLUMES, &["modify.all-or-nothing"]);
}

#[test]
fn thin_volumes_outlive_kills() {
    thin(judged::KILLS, &[]);
}

#[test]
fn thin_volumes_are_made_and_grown_in_spite_of_kills() {
    thin(judged::KILLS_OF_VOLUMES, &[]);
}

/// What they are made of is theirs alone; all else they have in common with thin ones. Kills while they are made are for the sweeps.
#[test]
fn thick_volumes_are_made_grown_copied_and_deleted() {
    let Some(home) = Home::new(&[700]) else { return };
    home.set(&json!({"volumegroup": home.vg.name}).to_string());
    let theirs = [
        "data",
        "provision.again",
        "provision.conflict",
        "provision.size",
        "provision.deletes-again",
        "capacity",
        "snapshot.creates",
        "clone",
        "expand.",
    ];
    fit(&home, &json!({"volumegroup": home.vg.name}), &[], &theirs, &[]);
}
