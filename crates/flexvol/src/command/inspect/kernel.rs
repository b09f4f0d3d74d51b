//! What the kernel says of a volume: its mounts, devices and processes, asked of nothing that may hang.

use std::{
    collections::BTreeSet,
    fs,
    os::{linux::fs::MetadataExt, unix::fs::FileTypeExt},
    path::{Component, Path, PathBuf},
};

use flexvolume_host::{
    Host,
    volume::record::{Made, Record},
};
use flexvolume_linux::{
    mount::{self, Presence, table},
    process::{self, ProcessId},
};
use flexvolume_protocol::excerpt;
use serde::Serialize;

/// The device as the driver named it, and what is known of it if it is a block device here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    name: String,
    bytes: Option<u64>,
    backing: Option<String>,
}

/// A directory of ours, what was recorded there, and what is there now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount {
    pub(super) path: PathBuf,
    /// The pod's uid; none for the global mount.
    pub(super) uid: Option<String>,
    /// The number of the mount that was recorded.
    recorded: Option<u64>,
    pub(super) seen: &'static str,
    fs_type: Option<String>,
    source: Option<String>,
    read_only: Option<bool>,
}

/// A process.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) alive: bool,
    name: String,
    /// The kernel's letter: `D` is held by the kernel.
    state: String,
    /// It was told to end and has not.
    stuck: bool,
}

impl Device {
    pub(super) fn words(&self) -> String {
        let bytes = self.bytes.map(|bytes| format!(", {bytes} bytes"));
        let backing = self.backing.as_ref().map(|file| format!(", of {file}"));
        format!("{}{}{}", self.name, bytes.unwrap_or_default(), backing.unwrap_or_default())
    }
}

impl Mount {
    pub(super) fn whose(&self) -> &str {
        self.uid.as_deref().unwrap_or("the node")
    }

    pub(super) fn what(&self) -> String {
        let read_only = if self.read_only == Some(true) { ", read-only" } else { "" };
        match (&self.fs_type, &self.source) {
            (Some(fs_type), Some(source)) => format!("{fs_type} of {}{read_only}", excerpt(source, 120)),
            (None, _) | (_, None) => String::new(),
        }
    }
}

impl Process {
    pub(super) fn of(id: &ProcessId, stuck: Option<ProcessId>) -> Self {
        let (name, state) = process::describe(id).map_or((String::new(), String::new()), |(n, s)| (n, s.to_string()));
        Self { pid: id.pid, alive: process::alive(id), name: excerpt(&name, 40), state, stuck: stuck == Some(*id) }
    }

    pub(super) fn words(&self) -> String {
        let held = if self.state == "D" { ", held by the kernel" } else { "" };
        let stuck = if self.stuck { ", told to end in vain" } else { "" };
        format!("pid {} {}, state {}{held}{stuck}", self.pid, self.name, self.state)
    }
}

/// The global mount first, then the pods'.
pub(super) fn mounts(host: &Host, record: &Record) -> Vec<Mount> {
    let layout = &host.ground().layout;
    let global = record.stage.iter().map(|made| (layout.global(&record.driver, &record.name), None, made));
    let places = record
        .places
        .iter()
        .map(|(uid, made)| (layout.place(uid, &record.driver, &record.name), Some(uid.clone()), made));
    global.chain(places).map(|(relative, uid, made)| mount(&layout.root().join(relative), uid, *made)).collect()
}

fn mount(path: &Path, uid: Option<String>, made: Made) -> Mount {
    let recorded = match made {
        Made::Mount(id) => Some(id),
        Made::NoMount => None,
    };
    let (seen, now) = match (mount::look(path), recorded) {
        (Ok(Presence::Mount(now)), Some(id)) if now == id => ("mounted", Some(now)),
        (Ok(Presence::Mount(now)), _) => ("another mount", Some(now)),
        (Ok(Presence::Corrupted(_)), _) => ("dead", None),
        (Ok(Presence::Plain | Presence::Symlink | Presence::Other), None) => ("no mount, as recorded", None),
        (Ok(Presence::Plain | Presence::Symlink | Presence::Other), Some(_)) => ("not mounted", None),
        (Ok(Presence::Absent), _) => ("gone", None),
        (Err(_), _) => ("cannot be seen", None),
    };
    let there = now.and_then(|id| table::by_id(id).ok().flatten());
    Mount {
        path: path.to_owned(),
        uid,
        recorded: recorded.map(|id| id.0),
        seen,
        fs_type: there.as_ref().map(|mounted| mounted.fs_type.clone()),
        source: there.as_ref().map(|mounted| mounted.source.clone()),
        read_only: there.as_ref().map(|mounted| mounted.read_only),
    }
}

/// Where else in this namespace its file system is mounted.
pub(super) fn elsewhere(mounts: &[Mount]) -> Vec<PathBuf> {
    let ours: BTreeSet<&Path> = mounts.iter().map(|mount| mount.path.as_path()).collect();
    let all = table::all().unwrap_or_default();
    let devices: BTreeSet<_> =
        all.iter().filter(|one| ours.contains(one.point.as_path())).map(|mounted| mounted.dev).collect();
    let other = all.into_iter().filter(|one| devices.contains(&one.dev) && !ours.contains(one.point.as_path()));
    other.map(|mounted| mounted.point).collect()
}

/// The devices the driver named: what `attach` answered, and what `waitforattach` made of it.
pub(super) fn devices(record: &Record) -> Vec<Device> {
    let names: BTreeSet<&str> = [record.state.rung.device(), record.attached.as_str()].into_iter().collect();
    names.into_iter().filter(|name| !name.is_empty()).map(device).collect()
}

/// Any other path may lie on a file system that hangs.
fn is_below_dev(path: &Path) -> bool {
    path.starts_with("/dev") && path.components().all(|part| part != Component::ParentDir)
}

fn device(name: &str) -> Device {
    let meta = is_below_dev(Path::new(name)).then(|| fs::metadata(name).ok()).flatten();
    let number = meta.filter(|meta| meta.file_type().is_block_device()).map(|meta| meta.st_rdev());
    let about = |file: &str| {
        let (major, minor) = number.map(|dev| (rustix::fs::major(dev), rustix::fs::minor(dev)))?;
        let text = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/{file}")).ok()?;
        Some(text.trim().to_owned())
    };
    let sectors = about("size").and_then(|text| text.parse::<u64>().ok());
    Device {
        name: excerpt(name, 200),
        bytes: sectors.map(|sectors| sectors * 512),
        backing: about("loop/backing_file").map(|file| excerpt(&file, 200)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_that_a_driver_names_leads_out_of_dev() {
        for (path, is) in [
            ("/dev/loop1", true),
            ("/dev/disk/by-id/x", true),
            ("/dev/../mnt/x", false),
            ("/dev/a/../../mnt", false),
            ("/device", false),
            ("dev/x", false),
        ] {
            assert_eq!(is_below_dev(Path::new(path)), is, "{path}");
        }
    }
}
