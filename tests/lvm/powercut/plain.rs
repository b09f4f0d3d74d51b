//! The tool itself, put to the test: a writer that syncs loses nothing, and one that does not is found out.

use std::fs;
use std::path::Path;
use std::time::Duration;

use flexvolume_testkit::powercut::{Range, Recorder, Source};

use super::node::{Node, content, mounted, run, write_durably};
use super::sweep::{Outcome, Part, sweep};
use crate::tools::text;

const FILES: usize = 12;

/// A writer, and what is read after each crash.
fn write(name: &str, part: Part, writer: fn(&Path, &[u8])) -> Option<Outcome> {
    let node = Node::new("loopback")?;
    let dir = node.lasting();
    let image = node.image("data", 32);
    run("mkfs.ext4", &["-q", text(&image)]).unwrap();

    let recorder =
        Recorder::start(&node.work("logs"), &[Source { name: "data", image: &image, ordered: Range::NONE }]).unwrap();
    mounted(recorder.device(0), &dir).unwrap();
    for n in 0..FILES {
        let file = format!("file-{n}");
        recorder.begin(&file).unwrap();
        writer(&dir.join(&file), &content("a", &file, 20));
        recorder.done(&file).unwrap();
    }
    node.halt();
    let recording = recorder.stop().unwrap();

    Some(sweep(name, part, &recording, &node, |crash| {
        mounted(crash.disks[0].device(), &dir)?;
        for n in 0..FILES {
            let (file, story) = (format!("file-{n}"), crash.story);
            let found = fs::read(dir.join(&file)).unwrap_or_default();
            if story.done(&file) && found != content("a", &file, 20) {
                return Err(format!("{file} was acknowledged and is lost"));
            }
            if !story.begun(&file) && !found.is_empty() {
                return Err(format!("{file} was never written and is there"));
            }
        }
        Ok(())
    }))
}

#[test]
fn a_writer_that_syncs_loses_nothing() {
    let part = Part { time: Duration::from_secs(15), ..Part::ALL };
    let Some(outcome) = write("plain", part, write_durably) else { return };
    outcome.is_well();
}

#[test]
fn a_writer_that_does_not_sync_is_found_out() {
    let writer = |file: &Path, data: &[u8]| fs::write(file, data).unwrap();
    let Some(outcome) = write("plain-unsynced", Part::CONTROL, writer) else { return };
    outcome.is_found_out("a writer that does not sync");
}
