//! The loopback driver: images, marks and records on one file system, and under it one disk.

use std::fs;
use std::path::Path;

use flexvolume_testkit::powercut::{Range, Source};
use serde_json::{Value, json};

use super::life::{Disks, Life};
use super::node::{Node, Omitted, mounted, nothing, run};
use super::sweep::{Outcome, Part, sweep};
use crate::tools::text;

struct OneDisk;

impl Disks for OneDisk {
    fn up(&self, node: &Node, devices: &[&Path]) -> Result<(), String> {
        mounted(devices[0], &node.lasting())?;
        let images = node.lasting().join("images");
        if !images.exists() {
            fs::create_dir(&images).map_err(|e| e.to_string())?;
        }
        node.set(&json!({"directory": images}));
        Ok(())
    }

    fn parameters(&self) -> Value {
        json!({})
    }

    fn sizes(&self) -> (u64, u64) {
        (8 << 20, 12 << 20)
    }
}

fn live(name: &str, part: Part, omitted: Omitted) -> Option<Outcome> {
    let node = Node::new("loopback")?;
    let image = node.image("disk", 48);
    run("mkfs.ext4", &["-q", text(&image)]).unwrap();
    let life = Life { node: &node, disks: &OneDisk };
    let lived = life.record(&[Source { name: "disk", image: &image, ordered: Range::NONE }], omitted);
    Some(sweep(name, part, &lived.recording, &node, |crash| lived.recover(crash)))
}

#[test]
fn the_power_goes_at_any_moment_of_an_image() {
    let Some(outcome) = live("loopback", Part::ALL, nothing) else { return };
    outcome.is_well();
}

#[test]
fn a_driver_of_images_that_does_not_sync_is_found_out() {
    let Some(outcome) =
        live("loopback-unsynced", Part::during("done write"), |effect| effect.syscall.ends_with("sync"))
    else {
        return;
    };
    outcome.is_found_out("a driver that does not sync");
}
