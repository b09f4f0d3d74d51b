//! What drivers in the wild do, and what the host makes of it: lenient where that hides no failure, strict where it could.
//!
//! Each trait has a number in the book's list of cases and tests of that number, in the shells where it was seen.

mod answers;
mod calls;
mod daemons;
mod init;
mod mounts;
mod share;
mod surroundings;
mod undone;

use flexvolume_testkit::{
    scripted::{Answer, Script},
    skip,
};
use serde_json::json;

use crate::{
    one::{MOUNT, UMOUNT},
    scripts::tool,
};

/// The two shells that drivers are written for: Debian's `sh`, which is dash, and bash.
fn shells() -> [(&'static str, Script); 2] {
    [("dash", Script::sh()), ("bash", Script::bash())]
}

/// Whether `sh` is dash, as on Debian; else says that the test does not run.
fn sh_is_dash() -> bool {
    let dash = tool("sh", &["-c", "echo -ne x"]).starts_with("-ne");
    if !dash {
        skip("sh is not dash here");
    }
    dash
}

/// attach:false, a tmpfs per pod, in this shell.
fn direct_in(shell: Script) -> Script {
    shell
        .on("init", Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}})))
        .on("mount", Answer::success().run(MOUNT))
        .on("unmount", Answer::success().run(UMOUNT))
        .otherwise(Answer::failure("not for this driver"))
}

/// The usage text and the trace of drivers that were not prepared for a verb.
const UNPREPARED: [&str; 3] = [
    "echo 'Usage: d init|mount|unmount'; exit 1",
    "echo \"$0: line 12: $1: unbound variable\" >&2; exit 127",
    "printf 'panic: runtime error: index out of range [1] with length 1\\n\\ngoroutine 1 [running]:\\nmain.main()\\n\\t/src/main.go:42 +0x1d\\nexit status 2\\n' >&2; exit 2",
];
