//! What a driver says beside a Success reaches whoever asked for it, if it says more than that it succeeded.

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::{Value, json};

use crate::{
    one::{MOUNT, One, UMOUNT},
    scripts::direct,
};

fn success(message: &str) -> Answer {
    Answer::json(&json!({"status": "Success", "message": message}))
}

fn script(mount: &str, unmount: &str) -> Script {
    direct().on("mount", success(mount).run(MOUNT)).on("unmount", success(unmount).run(UMOUNT))
}

#[test]
fn what_a_driver_did_by_force_is_told_without_asking() {
    let Some(one) = One::new(script("Volume mounted successfully", "taken away by force: \u{1b}[31mlost")) else {
        return;
    };
    let up = one.comes("up");
    assert!(!up.stderr.contains("successfully"), "{up:?}");
    let down = one.down();
    assert_eq!(down.code, 0, "{down:?}");
    let told: Vec<&str> = down.stderr.lines().filter(|line| line.contains("by force")).collect();
    assert_eq!(told.len(), 1, "{down:?}");
    // Under the volume's key, and with nothing that a terminal would obey.
    assert!(
        told[0].starts_with("v/d/")
            && told[0].contains(":data: v/d says to unmount: taken away by force: \\u{1b}[31mlost"),
        "{down:?}"
    );
    assert!(!down.stdout.contains("force"), "{down:?}");
    one.bed.assert_clean();
}

#[test]
fn programs_are_told_who_said_it() {
    let Some(one) = One::new(script("mounted read-only, for the server said so", "ok")) else { return };
    let ran = one.bed.run(["--log-format", "json", "up", &one.file]);
    let lines: Vec<Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = lines.iter().find(|line| line["message"].as_str().unwrap().contains("read-only")).unwrap();
    assert_eq!((&said["level"], &said["target"]), (&json!("info"), &json!("flexvol::call")), "{said}");
    assert_eq!((&said["fields"]["driver"], &said["fields"]["verb"]), (&json!("v/d"), &json!("mount")), "{said}");
    one.goes("down");
}
