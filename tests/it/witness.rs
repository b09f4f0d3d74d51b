//! The original as witness: Kubernetes' own FlexVolume host, asked what it makes of our drivers, and what it says where we read,
//! render and compose.
//!
//! The program in `tests/witness` holds it. `cargo xtask test` builds that where Go is to be had; without it these tests are
//! skipped, all but the one that needs its record alone.

mod answers;
mod argv;
mod deviations;
mod found;
mod hosts;
mod life;
mod manifests;
mod options;
mod original;

use flexvolume_testkit::scripted::{Answer, Script, Scripted};
use serde_json::json;

use crate::bed::Bed;
use original::{Reply, Witness, inline, persistent, pod};

/// A difference that is meant, and where the page about deviations says so. A test that lists one fails when it is gone.
struct Known {
    name: &'static str,
    line: &'static str,
}

/// What a scripted driver does at the directory that it is given.
const MOUNT: &str = r#"mount -t tmpfs none "$2""#;
const UNMOUNT: &str = r#"umount "$2""#;

/// Installs a scripted driver with our own command. Its record lies elsewhere: whatever happens in the plugin directory makes the
/// original ask for `init` again, and forget what is not supported.
fn install(bed: &Bed, name: &str, script: Script) -> Scripted {
    let scripts = bed.sandbox.dir("scripts").unwrap();
    let driver = script.install(&scripts, name).unwrap();
    bed.ok(["install", driver.exe().to_str().unwrap(), "--as", name]);
    driver
}

/// A driver that does every verb and names this device. It mounts at the node's directory alone: without a mount there the
/// original would not have it unmounted.
fn recorder(device: &str) -> Script {
    let named = json!({"status": "Success", "device": device});
    Script::sh()
        .on("attach", Answer::json(&named))
        .on("waitforattach", Answer::json(&named))
        .on("isattached", Answer::json(&json!({"status": "Success", "attached": true})))
        .on("mountdevice", Answer::success().run(MOUNT))
        .on("unmountdevice", Answer::success().run(UNMOUNT))
        .otherwise(Answer::success())
}

/// Insists that the page about deviations has the line of each.
fn assert_written(known: &[Known]) {
    let page = include_str!("../../docs/deviations.md");
    for Known { name, line } in known {
        assert!(page.contains(line), "{name}: the page about deviations does not say {line:?}");
    }
}
