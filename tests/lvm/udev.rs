//! What is true without udev is true with it. The door runs these cases in a machine where it does.

use std::{fs, path::Path};

use flexvolume_testkit::skip;

use crate::{
    bed,
    group::POOL,
    life::{home::Home, inside, whole},
};

fn has_udev() -> Option<()> {
    bed::throwaway()?;
    if !Path::new("/run/udev/control").exists() {
        skip("udev does not run here");
        return None;
    }
    Some(())
}

#[test]
fn volumes_live() {
    let Some(()) = has_udev() else { return };
    let Some(home) = Home::with_pool(&[560], 480) else { return };
    whole::life(&home, &[("ext4", "24m"), ("xfs", "300m")], &[("thinpool", POOL)]);
    whole::life(&home, &[("ext4", "24m")], &[]);
}

/// Makes LVM look into logical volumes, as some administrators do, for as long as it lives.
struct Looking(String);

impl Looking {
    const FILE: &str = "/etc/lvm/lvmlocal.conf";

    fn start() -> Looking {
        let before = fs::read_to_string(Self::FILE).unwrap();
        fs::write(Self::FILE, format!("{before}\ndevices {{\n scan_lvs=1\n}}\n")).unwrap();
        Looking(before)
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        fs::write(Self::FILE, &self.0).unwrap();
    }
}

#[test]
fn nothing_inside_a_volume_is_started() {
    let Some(()) = has_udev() else { return };
    let Some(home) = Home::new(&[200]) else { return };
    assert!(inside::starts_by_itself(&home), "a machine that would start nothing proves nothing");
    let _looking = Looking::start();
    inside::never_started(&home);
}
