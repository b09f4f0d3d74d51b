//! The rules about formatting, tried on real loop devices. Needs root, e2fsprogs, xfsprogs and btrfs-progs.

mod interrupted;
mod kept;
mod refused;
mod shut;

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::*;
use crate::{
    ErrorKind, Result,
    mount::{Flags, Unmount, testing::private_mounts, unmount},
};

/// Small enough to be quick, large enough for each type.
fn mib(fs_type: FsType) -> u64 {
    match fs_type {
        FsType::Ext3 | FsType::Ext4 => 64,
        FsType::Xfs => 320,
        FsType::Btrfs => 128,
    }
}

/// A loop device over a sparse file; detached when dropped.
struct Disk {
    dev: PathBuf,
    image: PathBuf,
    intents: Intents,
    /// The UUID that our records name.
    ours: String,
    /// Another.
    other: String,
}

impl Disk {
    fn new(dir: &Path, mib: u64) -> Self {
        let image = tempfile::Builder::new().prefix("disk").tempfile_in(dir).unwrap().into_temp_path().keep().unwrap();
        File::options().write(true).open(&image).unwrap().set_len(mib << 20).unwrap();
        let out = Command::new("losetup").args(["-f", "--show"]).arg(&image).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let dev = PathBuf::from(String::from_utf8(out.stdout).unwrap().trim());
        Self { dev, intents: Intents::new(image.with_extension("json")), image, ours: uuid(), other: uuid() }
    }

    fn wanted(&self, fs_type: FsType) -> Wanted<'_> {
        Wanted {
            device: &self.dev,
            identity: "the disk",
            fs_type,
            read_only: false,
            made_by_us: false,
            mkfs_options: &[],
            mount_options: &[],
            flags: Flags::default(),
            intents: &self.intents,
        }
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(&self.dev).unwrap();
        file.write_all_at(bytes, at).unwrap();
        file.sync_all().unwrap();
    }

    fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        File::open(&self.dev).unwrap().read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    fn size(&self) -> u64 {
        fs::metadata(&self.image).unwrap().len()
    }

    /// Both ends and the middle, to see that nothing was written.
    fn print(&self) -> Vec<u8> {
        [0, self.size() / 2, self.size() - (2 << 20)].into_iter().flat_map(|at| self.get(at, 2 << 20)).collect()
    }

    fn grow(&self, mib: u64) {
        File::options().write(true).open(&self.image).unwrap().set_len(mib << 20).unwrap();
        run("losetup", &["-c", self.dev.to_str().unwrap()]);
    }

    /// Puts a record in place, as a call that is dead now left it.
    fn record(&self, fs_type: FsType, phase: Phase) {
        let uuid = self.ours.clone();
        let intent = Intent { identity: "the disk".into(), size: self.size(), fs_type, uuid, phase };
        self.intents.write(&intent).unwrap();
    }

    fn phase(&self) -> Option<Phase> {
        self.intents.read().unwrap().map(|intent| intent.phase)
    }

    /// A whole file system by the usual program.
    fn mkfs(&self, fs_type: FsType, uuid: &str) {
        let status = self.mkfs_command(fs_type, uuid).status().unwrap();
        assert!(status.success());
    }

    fn mkfs_command(&self, fs_type: FsType, uuid: &str) -> Command {
        let mut command = Command::new(format!("mkfs.{fs_type}"));
        match fs_type {
            FsType::Ext3 | FsType::Ext4 => command.args(["-q", "-F", "-U", uuid]),
            FsType::Xfs => command.args(["-q", "-f", "-m", &format!("uuid={uuid}")]),
            FsType::Btrfs => command.args(["-q", "-f", "-U", uuid]),
        };
        command.arg(&self.dev).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Mounts what is wanted, writes `text` if given, says what lies there, unmounts.
    fn visit(&self, fs_type: FsType, write: Option<&str>) -> Result<(Ready, String)> {
        let point = self.image.with_extension("mnt");
        fs::create_dir_all(&point).unwrap();
        let ready = format_and_mount(&self.wanted(fs_type), &point)?;
        if let Some(text) = write {
            fs::write(point.join("data"), text).unwrap();
        }
        let there = fs::read_to_string(point.join("data")).unwrap_or_default();
        leave(&point);
        Ok((ready, there))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.dev).status();
        let _ = fs::remove_file(&self.image);
    }
}

fn run(program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Unmounts. A child that another test is starting has copies of our open files for a moment.
fn leave(point: &Path) {
    for _ in 0..500 {
        match unmount(point, Unmount::Plain) {
            Err(error) if error.kind() == ErrorKind::Busy => thread::sleep(Duration::from_millis(10)),
            done => return done.unwrap(),
        }
    }
    panic!("{} stays busy", point.display());
}

fn uuid() -> String {
    intent::fresh_uuid().unwrap()
}
