//! Volumes as a host has them that knows the extensions: made and kept by their answers, mounted, looked into, gone again.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
};

use flexvolume_testkit::driver::{J, Said};

use super::node::Node;
use crate::{
    group::{self, POOL},
    tools::{shell, text},
};

/// A node whose host calls again and again while something is in progress.
pub struct Hosted(Node);

/// A volume as its host keeps it.
pub struct Volume {
    pub id: String,
    pub j: J,
}

impl Hosted {
    /// A node with a volume group over disks of so many MiB, and these settings of the driver.
    pub fn new(disks: &[u64], settings: &str) -> Option<Hosted> {
        let node = Node::new(disks)?;
        group::targets(&["snapshot"])?;
        node.set(settings);
        Some(Hosted(node))
    }

    /// The same with a thin pool of so many MiB.
    pub fn with_pool(disks: &[u64], mib: u64, settings: &str) -> Option<Hosted> {
        let node = Node::with_pool(disks, mib)?;
        node.set(settings);
        Some(Hosted(node))
    }

    /// Calls until it is no more "In progress".
    #[track_caller]
    pub fn end_of(&self, verb: &str, j: &J) -> Said {
        self.ended(&[verb, &j.text()])
    }

    #[track_caller]
    pub fn done(&self, verb: &str, j: &J) -> Said {
        self.end_of(verb, j).ok()
    }

    /// A volume made at its host's word, for a file system of this type.
    #[track_caller]
    pub fn volume(&self, name: &str, fs: &str, options: &[(&str, &str)]) -> Volume {
        let j = J::default().with("flexvol/name", name).with("volumegroup", &self.vg.name);
        Volume::of(&self.done("createvolume", &with(j, options)), fs)
    }

    /// The same in the pool.
    #[track_caller]
    pub fn thin(&self, name: &str, fs: &str, size: &str) -> Volume {
        self.volume(name, fs, &[("thinpool", POOL), ("size", size)])
    }

    /// A volume made of another, or of a snapshot.
    #[track_caller]
    pub fn clone_of(&self, name: &str, source: (&str, &str), fs: &str, options: &[(&str, &str)]) -> Volume {
        let j = J::default().with("flexvol/name", name).with(source.0, source.1);
        Volume::of(&self.done("createvolume", &with(j, options)), fs)
    }

    /// Takes a snapshot; asked for again it is the same.
    #[track_caller]
    pub fn snapshot(&self, name: &str, of: &Volume, options: &[(&str, &str)]) -> Said {
        let j = with(J::default().with("flexvol/name", name).with("flexvol/id", &of.id), options);
        let first = self.done("createsnapshot", &j).word("created");
        let again = self.done("createsnapshot", &j);
        assert_eq!(again.word("created"), first);
        again
    }

    /// Deletes it, and what is gone is gone.
    #[track_caller]
    pub fn unsnapshot(&self, snapshot: &Said) {
        let j = J::default().with("flexvol/snapshot", &snapshot.word("snapshot"));
        self.done("deletesnapshot", &j);
        self.done("deletesnapshot", &j);
    }

    fn dir(&self, volume: &Volume) -> PathBuf {
        self.bed.sandbox.dir(&format!("global/{}", volume.id.replace('/', "-"))).unwrap()
    }

    #[track_caller]
    pub fn device(&self, volume: &Volume) -> PathBuf {
        self.attach(&volume.j).ok().word("device").into()
    }

    /// Attached and mounted, twice as hosts do.
    #[track_caller]
    pub fn up(&self, volume: &Volume) -> PathBuf {
        let (device, dir) = (self.device(volume), self.dir(volume));
        self.twice(&["mountdevice", text(&dir), text(&device), &volume.j.text()]);
        dir
    }

    /// Unmounted and detached.
    #[track_caller]
    pub fn down(&self, volume: &Volume) {
        self.call(&["unmountdevice", text(&self.dir(volume))]).ok();
        self.detach(&volume.j).ok();
    }

    #[track_caller]
    pub fn drop_volume(&self, volume: &Volume) {
        self.done("deletevolume", &J::default().with("flexvol/id", &volume.id));
    }

    /// What the driver says of its health, or of all: the condition and the words.
    #[track_caller]
    pub fn health(&self, volume: Option<&Volume>) -> (String, String) {
        let j = volume.map_or_else(J::default, |volume| J::default().with("flexvol/id", &volume.id));
        let said = self.done("gethealth", &j);
        (said.word("condition"), said.message().to_owned())
    }

    /// Whether these bytes stand anywhere on the disks of the group.
    pub fn holds(&self, marker: &str) -> bool {
        shell("sync", &[]);
        let has = |file: &Path| shell("grep -aqF \"$2\" \"$1\" && echo yes || true", &[text(file), marker]) == "yes";
        self.vg.disks.iter().any(|disk| has(&disk.file))
    }
}

impl Volume {
    /// What a host keeps of an answer of createvolume.
    #[track_caller]
    pub fn of(said: &Said, fs: &str) -> Volume {
        let id = said.word("id");
        let j = J::default().with("flexvol/id", &id).with("kubernetes.io/fsType", fs);
        let j = j.with("kubernetes.io/readwrite", "rw");
        let j = j.with("kubernetes.io/pvOrVolumeName", &format!("pv-{}", id.replace('/', "-")));
        let kept = said.get("options").as_object().cloned().unwrap_or_default();
        Volume { id, j: kept.iter().fold(j, |j, (key, value)| j.with(key, value.as_str().unwrap())) }
    }
}

impl Deref for Hosted {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.0
    }
}

fn with(j: J, options: &[(&str, &str)]) -> J {
    options.iter().fold(j, |j, (key, value)| j.with(key, value))
}

/// One file of so many lines that say this word.
pub fn fill(dir: &Path, word: &str, kib: u32) {
    shell("yes \"$2\" | head -c $3 >$1/file; sync -f $1", &[text(dir), word, &(kib * 1024).to_string()]);
}

/// A sum over what [`fill`] wrote.
pub fn sum(dir: &Path) -> String {
    shell("sha256sum <$1/file", &[text(dir)])
}
