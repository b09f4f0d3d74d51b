//! The bed every case lies in: a sandbox with the command and drivers, disks of its own, and nothing left of them afterwards.
//!
//! A case that builds on device-mapper begins with `let Some(bed) = Bed::new() else { return };`. What it puts on the bed's disks, be it
//! a volume group, a thin pool or a bare target, is taken away from the top down when the bed is dropped, also if the case failed in the
//! middle of it.

use std::{
    fs::File,
    ops::Deref,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use flexvolume_testkit::{binary, driver::Driver, skip};

use crate::{
    command,
    group::{self, Disk, Group},
    tools::{text, tool},
};

/// A sandbox, with all that [`command::Bed`] has, and disks.
pub struct Bed {
    command: command::Bed,
    disks: AtomicU32,
}

/// Where the suite runs. The door says so.
fn place() -> String {
    std::env::var("FLEXVOL_GUEST").unwrap_or_default()
}

/// `None`, with the reason printed, where there can be no bed: its cases are for a guest, or for who asks for them by name.
pub fn device_mapper() -> Option<()> {
    if !["guest", "here"].contains(&place().as_str()) {
        skip("it is for a guest: `cargo xtask guest lvm` runs it in one");
        return None;
    }
    // The node may be there without the driver, which comes with a module where it is not built in.
    let has_mapper = || File::open("/dev/mapper/control").is_ok();
    if !has_mapper() {
        let _ = Command::new("modprobe").arg("dm-mod").output();
    }
    if !has_mapper() {
        skip("this kernel has no device-mapper");
        return None;
    }
    Some(())
}

impl Bed {
    /// A bed, or `None` with the reason printed where there can be none.
    pub fn new() -> Option<Bed> {
        device_mapper()?;
        Some(Bed { command: command::Bed::new()?, disks: AtomicU32::new(0) })
    }

    /// The bed with a driver of this build installed under a name: `bed.install("lvm", "kubernetes.io/lvm")`.
    pub fn install(&self, driver: &str, name: &str) {
        let exe = binary(driver).unwrap();
        self.ok(["install", exe.to_str().unwrap(), "--as", name]);
    }

    /// A driver of this build, to be called by hand.
    pub fn driver(&self, name: &str) -> Driver {
        Driver::new(&binary(name).unwrap(), self.sandbox.path())
    }

    /// A blank disk of so many MiB.
    pub fn disk(&self, mib: u64) -> Disk {
        let number = self.disks.fetch_add(1, Ordering::Relaxed);
        let file = self.sandbox.dir("disks").unwrap().join(format!("{number}.raw"));
        File::create_new(&file).unwrap().set_len(mib << 20).unwrap();
        Disk { device: tool("losetup", &["--find", "--show", text(&file)]).into(), file }
    }

    /// A volume group over new disks of so many MiB. Its name is of this bed alone.
    pub fn group(&self, disks: &[u64]) -> Group {
        self.group_over(disks.iter().map(|mib| self.disk(*mib)).collect())
    }

    /// The same over these disks.
    pub fn group_over(&self, disks: Vec<Disk>) -> Group {
        let number = self.disks.fetch_add(1, Ordering::Relaxed);
        let tag = self.sandbox.tag().trim_start_matches("flexvol-").trim_start_matches('.');
        Group::new(&format!("vg{number}_{tag}"), disks)
    }

    /// The same with a name that a case is about; no other group may have it.
    pub fn group_named(&self, name: &str, disks: &[u64]) -> Group {
        Group::new(name, disks.iter().map(|mib| self.disk(*mib)).collect())
    }

    /// A name for a device of this bed that device-mapper has not got.
    pub fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.sandbox.tag())
    }
}

impl Deref for Bed {
    type Target = command::Bed;

    fn deref(&self) -> &command::Bed {
        &self.command
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let loops = self.sandbox.loops().unwrap_or_default();
        // What is mounted holds its devices; the loop devices go when the last thing above them has.
        let mut troubles: Vec<_> =
            self.sandbox.unmount_all().err().map(|error| error.to_string()).into_iter().collect();
        troubles.extend(loops.iter().flat_map(|it| group::remove_above(&it.device)));
        // A case that leaves something behind has failed; one that failed has said so already.
        if !std::thread::panicking() {
            assert_eq!(troubles, Vec::<String>::new(), "not taken away");
        }
    }
}
