//! The bed every case lies in: a sandbox with the command and drivers, disks of its own, and nothing left of them afterwards.
//!
//! A case that builds on device-mapper begins with `let Some(bed) = Bed::new() else { return };`. What it puts on the bed's disks, be it
//! a volume group, a thin pool or a bare target, is taken away from the top down when the bed is dropped, also if the case failed in the
//! middle of it.

use std::{
    fs::File,
    ops::Deref,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use flexvolume_testkit::{binary, driver::Driver, skip};

use crate::{
    command,
    group::{self, Disk, Group, dmsetup},
    tools::{run, text, tool},
};

/// A sandbox, with all that [`command::Bed`] has, and disks.
pub struct Bed {
    /// The command's own bed, for whoever starts something that uses it too.
    pub command: Arc<command::Bed>,
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

/// The same for a case that changes more of its machine than devices of its own: only where that ends with the case's machine.
pub fn throwaway() -> Option<()> {
    device_mapper()?;
    if place() != "guest" {
        skip("it changes the machine itself: `cargo xtask guest lvm` runs it in one to throw away");
        return None;
    }
    Some(())
}

/// What becomes of what is written to a disk, or read.
#[derive(Clone, Copy)]
pub enum Manner {
    Plain,
    /// A write takes so many milliseconds.
    Slow(u32),
    /// The disk was pulled out: errors.
    Gone,
}

/// A table of device-mapper's before a disk, by which a case changes its manner.
pub struct Front {
    name: String,
    below: PathBuf,
    sectors: u64,
}

impl Front {
    /// What is shown is not the beginning of the disk below, lest LVM finds its label there too.
    fn table(&self, manner: Manner) -> String {
        let (sectors, below) = (self.sectors, self.below.display());
        match manner {
            Manner::Plain => format!("0 {sectors} linear {below} 2048"),
            Manner::Slow(delay) => format!("0 {sectors} delay {below} 2048 0 {below} 2048 {delay}"),
            Manner::Gone => format!("0 {sectors} error"),
        }
    }

    pub fn becomes(&self, manner: Manner) {
        run(dmsetup().args(["suspend", "--nolockfs", "--noflush", &self.name]));
        run(dmsetup().args(["load", &self.name, "--table", &self.table(manner)]));
        run(dmsetup().args(["resume", &self.name]));
    }
}

impl Bed {
    /// A bed, or `None` with the reason printed where there can be none.
    pub fn new() -> Option<Bed> {
        device_mapper()?;
        Some(Bed { command: Arc::new(command::Bed::new()?), disks: AtomicU32::new(0) })
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

    /// A blank disk of so many MiB, and what stands before it; `None`, with the reason printed, where the kernel has nothing for that.
    pub fn front(&self, mib: u64, manner: Manner) -> Option<(Front, Disk)> {
        let target = match manner {
            Manner::Plain => "linear",
            Manner::Slow(_) => "delay",
            Manner::Gone => "error",
        };
        group::targets(&[target])?;
        let Disk { device: below, file } = self.disk(mib + 1);
        let front = Front { name: self.name("front").replace('.', "_"), below, sectors: mib << 11 };
        run(dmsetup().args(["create", &front.name, "--table", &front.table(manner)]));
        let device = PathBuf::from(format!("/dev/mapper/{}", front.name));
        Some((front, Disk { device, file }))
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
