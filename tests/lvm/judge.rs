//! The LVM driver, judged: whatever the judge demands of a driver that does all of that is done, by thin volumes and by thick ones.

use flexvol_tests::judged;
use serde_json::{Value, json};

use crate::{
    group::POOL,
    life::home::{DRIVER, Home},
};

/// What is not asked of it: it leaves nothing out that it announces, and does not announce these.
const NOT_ITS: [&str; 0] = [];

/// Judged by volumes that it makes of these parameters; in the end nothing is left but what was there.
fn fit(home: &Home, create: &Value, there: &[&str]) {
    let sandbox = &home.bed.sandbox;
    let volume = json!({"create": create, "bytes": 32 << 20});
    let report = judged::report(&volume, DRIVER, sandbox, |args| home.bed.command(args));
    judged::assert_fit(&report, &NOT_ITS);
    assert_eq!(home.vg.volumes(), there);
    home.bed.assert_clean();
}

#[test]
fn by_thin_volumes() {
    let Some(home) = Home::with_pool(&[700], 600) else { return };
    home.set(&json!({"volumegroup": home.vg.name, "thinOvercommit": 10}).to_string());
    fit(&home, &json!({"volumegroup": home.vg.name, "thinpool": POOL}), &[POOL]);
}

#[test]
fn by_thick_volumes() {
    let Some(home) = Home::new(&[700]) else { return };
    home.set(&json!({"volumegroup": home.vg.name}).to_string());
    fit(&home, &json!({"volumegroup": home.vg.name}), &[]);
}
