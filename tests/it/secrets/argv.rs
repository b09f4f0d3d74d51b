//! Drivers of other people take secrets in argv, where every user of the machine can read them: warned of, or refused by the
//! settings.

use serde_json::json;

use super::{Case, direct, six};
use crate::bed::{Bed, pod};

#[test]
fn a_driver_that_takes_secrets_in_argv_is_warned_of() {
    for case in Case::all() {
        case.bed.script("v/direct", direct(&case, &[]));
        let file = case.manifest("v/direct");
        let ran = case.run(["up", &file]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stderr.contains("warning:") && ran.stderr.contains("takes secrets in argv"), "{ran:?}");
        assert_eq!(case.run(["down", &file]).code, 0);
        // Nor is there a warning where there is nothing to warn of.
        let other = case.bed.manifest("other.yaml", &pod("other", &[("data", "{driver: v/direct}")]));
        let ran = case.run(["up", &other]);
        assert!(ran.code == 0 && !ran.stderr.contains("warning:"), "{ran:?}");
        assert_eq!(case.run(["down", "--all"]).code, 0);
        case.bed.script("v/direct", direct(&case, &["stdin"]));
        let ran = case.run(["up", &file]);
        assert!(ran.code == 0 && !ran.stderr.contains("warning:"), "{ran:?}");
        assert_eq!(case.run(["down", &file]).code, 0);
        case.bed.assert_clean();
    }
}

#[test]
fn settings_refuse_secrets_in_argv() {
    let Some(bed) = Bed::new() else { return };
    let [_, (name, secret), ..] = six();
    let case = Case::new(name, secret, bed);
    let bed = &case.bed;
    bed.manifest("flexvol.json", &json!({"drivers": {"v/direct": {"secrets": "refuse"}}}).to_string());
    let driver = bed.script("v/direct", direct(&case, &[]));
    let file = case.manifest("v/direct");
    case.run(["up", &file]).fails(4, &["takes secrets in argv", "settings refuse", "hint:"]);
    assert!(!driver.verbs().unwrap().contains(&"mount".to_owned()), "it was called all the same");
    // A volume without secrets is not concerned, and neither is a driver that spares them.
    let other = bed.manifest("other.yaml", &pod("other", &[("data", "{driver: v/direct}")]));
    bed.ok(["up", &other]);
    bed.ok(["down", "--all"]);
    bed.assert_clean();
    bed.script("v/direct", direct(&case, &["stdin"]));
    assert_eq!(case.run(["up", &file]).code, 0);
    bed.ok(["down", &file]);
    bed.script("v/direct", direct(&case, &[]));
    std::fs::remove_file(bed.sandbox.path().join("flexvol.json")).unwrap();
    bed.ok(["up", &file]);
    bed.ok(["down", &file]);
    bed.assert_clean();
}
