//! A node with the LVM driver: one volume group, places of pods, and the driver's own folders.

use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
};

use flexvolume_testkit::driver::{Driver, J, Said};

use crate::{
    bed::Bed,
    group::{self, Group, POOL, lvm, report},
    tools::{ended, files, run, text},
};

/// The node.
pub struct Node {
    pub vg: Group,
    pub driver: Driver,
    // Last: it takes away what the others stand on.
    pub bed: Bed,
}

/// What volumes are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Thick,
    Thin,
}

impl Node {
    /// A node with a volume group over disks of so many MiB; `None`, with the reason printed, where there can be none.
    pub fn new(disks: &[u64]) -> Option<Node> {
        let bed = Bed::new()?;
        let (vg, driver) = (bed.group(disks), bed.driver("lvm"));
        Some(Node { vg, driver, bed })
    }

    /// The same with a thin pool of so many MiB.
    pub fn with_pool(disks: &[u64], mib: u64) -> Option<Node> {
        let node = Node::new(disks)?;
        group::targets(&["thin-pool", "thin"])?;
        node.vg.pool(POOL, &format!("{mib}m"));
        Some(node)
    }

    /// One that has what volumes of that kind need.
    pub fn of(kind: Kind, mib: u64) -> Option<Node> {
        match kind {
            Kind::Thick => Node::new(&[mib]),
            Kind::Thin => Node::with_pool(&[mib + 64], mib),
        }
    }

    /// Writes the driver's settings.
    pub fn set(&self, json: &str) {
        fs::write(self.bed.sandbox.path().join("settings.json"), json).unwrap();
    }

    /// The options of a volume that may be made, 16 MiB of ext4.
    pub fn j(&self, volume: &str) -> J {
        J::default()
            .with("volumeID", volume)
            .with("volumegroup", &self.vg.name)
            .with("create", "true")
            .with("size", "16m")
            .with("kubernetes.io/fsType", "ext4")
            .with("kubernetes.io/readwrite", "rw")
            .with("kubernetes.io/pvOrVolumeName", &format!("pv-{volume}"))
    }

    /// The same for a volume of that kind.
    pub fn j_of(&self, kind: Kind, volume: &str) -> J {
        match kind {
            Kind::Thick => self.j(volume),
            Kind::Thin => self.j(volume).with("thinpool", POOL),
        }
    }

    /// The options of a volume that is there already.
    pub fn j_found(&self, volume: &str) -> J {
        self.j(volume).without("create").without("size")
    }

    /// A place for a volume, made as a host makes it.
    pub fn place(&self, pod: &str) -> PathBuf {
        self.bed.sandbox.dir(&format!("pods/{pod}/volumes/kubernetes.io~lvm/data")).unwrap()
    }

    #[track_caller]
    pub fn attach(&self, j: &J) -> Said {
        self.call(&["attach", &j.text(), "node"])
    }

    #[track_caller]
    pub fn detach(&self, j: &J) -> Said {
        self.call(&["detach", j.name(), "node"])
    }

    /// Deletes by id, once.
    #[track_caller]
    pub fn delete_once(&self, volume: &str) -> Said {
        self.call(&["deletevolume", &J::default().with("flexvol/id", &self.vg.of(volume)).text()])
    }

    /// Calls as a host does: again as long as it is in progress.
    #[track_caller]
    pub fn ended(&self, args: &[&str]) -> Said {
        ended(args[0], || Some(self.call(args)).filter(|said| said.get("status") != "In progress"))
    }

    /// Deletes by id, however many calls that takes.
    #[track_caller]
    pub fn delete(&self, volume: &str) -> Said {
        self.ended(&["deletevolume", &J::default().with("flexvol/id", &self.vg.of(volume)).text()])
    }

    /// Asks for a volume by name.
    #[track_caller]
    pub fn make(&self, name: &str, bytes: &str, more: &[(&str, &str)]) -> Said {
        let j = J::default().with("flexvol/name", name).with("flexvol/requiredBytes", bytes);
        let j = j.with("volumegroup", &self.vg.name);
        let j = more.iter().fold(j, |j, (key, value)| j.with(key, value));
        self.call(&["createvolume", &j.text()])
    }

    /// The file that says that the volume was handed out here.
    pub fn seen(&self, volume: &str) -> PathBuf {
        self.bed.sandbox.path().join("state/lvm/seen").join(&self.vg.name).join(format!("{volume}.json"))
    }

    /// No volume but a pool has a device, and nothing is mounted or recorded as attached.
    #[track_caller]
    pub fn assert_down(&self, about: &str) {
        for row in report("lvs", "lv_name,lv_active", &self.vg.name) {
            assert!(row["lv_active"].is_empty() || row["lv_name"] == POOL, "{about}: {row:?}");
        }
        let below = self.bed.sandbox.path().join("pods");
        let mounts = self.bed.sandbox.mounts().unwrap();
        assert!(mounts.iter().all(|it| !it.point.starts_with(&below)), "{about}: {mounts:?}");
        let mut records = files(&self.bed.sandbox.path().join("run"));
        records.retain(|path| !text(path).contains("/locks/") && !text(path).contains("/groups/"));
        assert_eq!(records, Vec::<PathBuf>::new(), "{about}: records left");
    }

    /// Nothing of any volume is left but these, and no note of any other.
    #[track_caller]
    pub fn assert_only(&self, volumes: &[&str]) {
        assert_eq!(self.vg.volumes(), volumes);
        let notes = files(&self.bed.sandbox.path().join("state"));
        let seen = notes.iter().filter(|note| note.parent().is_some_and(|dir| dir.ends_with(&self.vg.name)));
        for note in seen {
            let of = note.file_stem().unwrap().to_str().unwrap();
            assert!(volumes.contains(&of), "{note:?} is left");
        }
        if volumes.is_empty() {
            assert_eq!(notes, Vec::<PathBuf>::new());
        }
    }
}

impl Deref for Node {
    type Target = Driver;

    fn deref(&self) -> &Driver {
        &self.driver
    }
}

/// What is in a file on a volume; read by a program, so that this process never has one open.
#[track_caller]
pub fn read(file: &Path) -> String {
    run(std::process::Command::new("cat").arg(file))
}

/// Tags as somebody else's driver, or an earlier call of ours, would have set them.
#[track_caller]
pub fn tag(vg: &Group, volume: &str, tags: &[&str]) {
    let words = ["lvchange"].into_iter().chain(tags.iter().flat_map(|tag| ["--addtag", *tag]));
    lvm(words.chain([vg.of(volume).as_str()]));
}
