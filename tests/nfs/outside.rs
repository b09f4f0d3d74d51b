//! Cases that run on the host and start two machines on one wire: `right` is an NFS server, `left` a node with the driver. There the
//! same case of the same executable runs on, as the node.

mod far;
mod gone;
mod replaced;
mod stopped;
mod writer;

use std::io::Write;

use crate::{door::Door, server, tools::text};
use far::Far;

/// What a case is told on the machine `left`.
const NODE: &str = "left";

/// Has a case of this module, by its name, done on two machines.
fn on_two_machines(case: &str, story: fn(&Far)) {
    if server::place() == NODE {
        // The harness has begun a line of its own.
        let _ = writeln!(std::io::stderr());
        return story(&Far::new());
    }
    let Some(door) = Door::new() else { return };
    let exe = std::env::current_exe().unwrap();
    let program = text(exe.file_name().unwrap().as_ref());
    let run = format!(
        "FLEXVOL_GUEST={NODE} exec /vm/bin/{program} --exact outside::{case} --nocapture --test-threads=1 2>&1"
    );
    let said = door.run(&["--program", text(&exe), "--beside", far::CONSOLE], &run);
    assert!(said.contains(" 1 passed"), "{said}");
    for line in said.lines().filter_map(|line| line.strip_prefix("left: note: ")) {
        note(line);
    }
}

/// Says something that is part of the result, past the capture of the test harness.
fn note(words: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "note: {words}");
}
