//! A volume group of a case, and LVM itself, asked and told by the case and not by a driver.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use flexvolume_testkit::skip;
use serde_json::Value;

use crate::tools::{kernel_name, run, text};

/// A disk that a file stands for.
pub struct Disk {
    /// The file.
    pub file: PathBuf,
    /// The loop device over it.
    pub device: PathBuf,
}

/// The thin pool of a group that has one.
pub const POOL: &str = "pool";

/// A volume group over disks of the bed, which takes it away.
pub struct Group {
    pub name: String,
    pub disks: Vec<Disk>,
}

/// One row of a report: `lv_name`, `lv_size` … as LVM has them, sizes in bytes.
pub type Row = BTreeMap<String, String>;

impl Group {
    pub(crate) fn new(name: &str, disks: Vec<Disk>) -> Group {
        let devices = disks.iter().map(|disk| text(&disk.device));
        lvm(["vgcreate", "--quiet", name].into_iter().chain(devices));
        Group { name: name.to_owned(), disks }
    }

    /// `vg/lv`, as LVM's commands take it.
    pub fn of(&self, volume: &str) -> String {
        format!("{}/{volume}", self.name)
    }

    /// A linear volume, `lvcreate` with more words.
    #[track_caller]
    pub fn create(&self, volume: &str, size: &str, more: &[&str]) -> PathBuf {
        let words = ["lvcreate", "--yes", "--size", size, "--name", volume, &self.name];
        lvm(words.iter().chain(more));
        self.device(volume)
    }

    /// A thin pool.
    #[track_caller]
    pub fn pool(&self, pool: &str, size: &str) {
        lvm(["lvcreate", "--yes", "--type", "thin-pool", "--size", size, "--name", pool, &self.name]);
    }

    /// A thin volume in a pool.
    #[track_caller]
    pub fn thin(&self, pool: &str, volume: &str, size: &str) -> PathBuf {
        lvm(["lvcreate", "--yes", "--virtualsize", size, "--thinpool", pool, "--name", volume, &self.name]);
        self.device(volume)
    }

    /// The device of a volume that is active.
    #[track_caller]
    pub fn device(&self, volume: &str) -> PathBuf {
        self.row(volume, "lv_dm_path")["lv_dm_path"].clone().into()
    }

    /// One volume, with these fields and no others.
    #[track_caller]
    pub fn row(&self, volume: &str, fields: &str) -> Row {
        let rows = report("lvs", fields, &self.of(volume));
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.into_iter().next().unwrap()
    }

    /// Whether the volume has a device.
    #[track_caller]
    pub fn is_active(&self, volume: &str) -> bool {
        self.row(volume, "lv_active")["lv_active"] == "active"
    }

    /// What stands on the volume.
    #[track_caller]
    pub fn tags(&self, volume: &str) -> Vec<String> {
        let tags = &self.row(volume, "lv_tags")["lv_tags"];
        tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
    }

    /// The names of all volumes, hidden ones apart.
    #[track_caller]
    pub fn volumes(&self) -> Vec<String> {
        let mut names: Vec<String> =
            report("lvs", "lv_name", &self.name).into_iter().map(|mut row| row.remove("lv_name").unwrap()).collect();
        names.sort();
        names
    }
}

/// LVM, ready to run with these words.
pub fn command<'a>(words: impl IntoIterator<Item = impl AsRef<str> + 'a>) -> Command {
    let tool = ["/usr/sbin/lvm", "/sbin/lvm"].into_iter().find(|path| Path::new(path).exists());
    let mut lvm = Command::new(tool.unwrap_or("lvm"));
    lvm.args(words.into_iter().map(|word| word.as_ref().to_owned()));
    lvm.env("LC_ALL", "C").env("LVM_SUPPRESS_FD_WARNINGS", "1");
    lvm
}

/// Runs LVM, whatever comes of it.
pub fn try_lvm<'a>(words: impl IntoIterator<Item = impl AsRef<str> + 'a>) -> Output {
    command(words).output().unwrap()
}

/// Runs LVM and insists on success.
#[track_caller]
pub fn lvm<'a>(words: impl IntoIterator<Item = impl AsRef<str> + 'a>) -> String {
    let mut lvm = command(words);
    let ran = lvm.output().unwrap();
    assert!(ran.status.success(), "{lvm:?}: {ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

/// A report of `lvs`, `vgs` or `pvs` about `what`, with these fields and no others.
#[track_caller]
pub fn report(command: &str, fields: &str, what: &str) -> Vec<Row> {
    let said = lvm([command, "-o", fields, "--reportformat", "json", "--units", "b", "--nosuffix", what]);
    let json: Value = serde_json::from_str(&said).unwrap();
    let kind = command.trim_end_matches('s');
    let rows = json["report"][0][kind].as_array().unwrap_or_else(|| panic!("no {kind} in {said}"));
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    rows.iter()
        .map(|row| row.as_object().unwrap().iter().map(|(key, value)| (key.clone(), word(value))).collect())
        .collect()
}

/// `dmsetup`, which here makes and removes its nodes itself, whether udev runs or not.
pub fn dmsetup() -> Command {
    let mut command = Command::new("dmsetup");
    command.env("DM_DISABLE_UDEV", "1");
    command
}

/// Loads the modules of these targets; `None`, with the reason printed, where the kernel has one of them not.
#[must_use]
pub fn targets(names: &[&str]) -> Option<()> {
    for name in names {
        let has = || run(dmsetup().arg("targets")).lines().any(|line| line.split_whitespace().next() == Some(name));
        if !has() {
            let _ = Command::new("modprobe").arg(format!("dm-{name}")).output();
        }
        if !has() {
            skip(&format!("this kernel has no device-mapper target {name}"));
            return None;
        }
    }
    Some(())
}

/// Removes every device that stands on this one, from the top down, whatever made it; gives what would not go, and why. No command of LVM
/// is asked, for each costs a scan, and what a case left may be in no state for LVM.
pub fn remove_above(device: &Path) -> Vec<String> {
    let holders = format!("/sys/class/block/{}/holders", kernel_name(device));
    let mut troubles = Vec::new();
    for holder in fs::read_dir(holders).into_iter().flatten().flatten() {
        let holder = Path::new("/dev").join(holder.file_name());
        // It may have gone with one that stood on it and on this one too.
        if holder.exists() {
            troubles.extend(remove_above(&holder));
            troubles.extend(remove(&holder).err());
        }
    }
    troubles
}

fn remove(device: &Path) -> Result<(), String> {
    let name = fs::read_to_string(format!("/sys/class/block/{}/dm/name", kernel_name(device))).unwrap_or_default();
    let name = name.trim();
    let mut command = if name.is_empty() {
        let mut command = Command::new("mdadm");
        command.arg("--stop").arg(device);
        command
    } else {
        // Forced, what is still in use answers with errors from now on, and one that was suspended goes on.
        let mut command = dmsetup();
        command.args(["remove", "--force", "--retry", name]);
        command
    };
    match command.output() {
        Ok(ran) if ran.status.success() => Ok(()),
        Ok(ran) => Err(format!("{}: {}", device.display(), String::from_utf8_lossy(&ran.stderr).trim())),
        Err(error) => Err(format!("{}: {error}", device.display())),
    }
}
