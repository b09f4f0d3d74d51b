//! A node with a volume group on which calls are killed, and what has to be true of it afterwards.

use std::{
    fs::{self, File},
    ops::Deref,
    path::PathBuf,
    time::Duration,
};

use flexvolume_testkit::{
    driver::J,
    killat::{self, Orphans, Plan, Report, Spec, Victim},
};

use crate::{
    driver::node::Node,
    group::{Group, lvm, report},
    tools::{files, text, until},
};

/// No volume.
pub const NONE: [&str; 0] = [];

/// Who dies, and whether what outlives them is waited for. LVM's command never dies.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub victim: Victim,
    pub after: Orphans,
}

/// All die, and the next call comes at once, while a command of LVM's may be at work still.
pub const ALL_DIE: Way = Way { victim: Victim::Tree, after: Orphans::Leave };
/// Whoever is about to act dies, be it the driver or a tool of its.
pub const THE_ACTING_DIES: Way = Way { victim: Victim::Actor, after: Orphans::Await };
/// Who was called dies; what it has begun ends before the next call.
pub const THE_CALLED_DIES: Way = Way { victim: Victim::Host, after: Orphans::Await };
/// Who was called dies, and the next call comes at once.
pub const ORPHANS_WORK_ON: Way = Way { victim: Victim::Host, after: Orphans::Leave };

impl Way {
    /// The tracing of a program, such that LVM's command is spared. What it does where it changes something are points too, at which
    /// others die.
    pub fn spec(self, spec: Spec) -> Spec {
        let spec = spec.sparing("lvm").after(self.after);
        let changes: fn(&str) -> bool = |line| [" lvs ", " vgs ", " pvs "].iter().all(|asks| !line.contains(asks));
        Spec {
            spared_count: if self.victim == Victim::Actor { |_| false } else { changes },
            // Who passes it hangs, on a busy host too.
            limit: Some(Duration::from_secs(300)),
            ..spec
        }
    }
}

/// The node.
pub struct Field {
    pub node: Node,
    pub way: Way,
}

impl Field {
    /// `None`, with the reason printed, where there can be none.
    pub fn new(way: Way) -> Option<Field> {
        Some(Field { node: Node::new(&[512])?, way })
    }

    /// The options of a small volume that is made when it is first mounted.
    pub fn j(&self, id: &str) -> J {
        self.node.j(id).with("size", "8m")
    }

    fn traced(&self, args: &[&str], plan: Plan) -> Report {
        let spec = self.way.spec(Spec::new(self.exe()).args(args));
        let spec = self.env().iter().fold(spec, |spec, (name, value)| spec.env(name, value));
        killat::run(&spec, plan).unwrap()
    }

    /// Calls it to its end, and gives how many effects that has. It must be a call that succeeds.
    #[track_caller]
    pub fn count(&self, args: &[&str]) -> u64 {
        let report = self.traced(args, Plan::Count);
        assert_eq!(report.ended, killat::Ended::Exited(0), "{args:?}: {}", String::from_utf8_lossy(&report.stdout));
        report.count()
    }

    /// Who does what in a call that succeeds, LVM's command apart.
    #[track_caller]
    pub fn shape(&self, args: &[&str]) -> Vec<String> {
        let report = self.traced(args, Plan::Count);
        assert_eq!(report.ended, killat::Ended::Exited(0), "{args:?}: {}", String::from_utf8_lossy(&report.stdout));
        let ours = report.effects.iter().filter(|effect| !effect.spared);
        ours.map(|effect| format!("{} {}", effect.comm, effect.syscall)).collect()
    }

    pub fn killed(&self, args: &[&str], at: u64) -> Report {
        self.traced(args, Plan::Kill { victim: self.way.victim, at })
    }

    /// How many mounts are there, beneath the places of pods.
    pub fn mounts(&self) -> usize {
        let pods = self.bed.sandbox.path().join("pods");
        self.bed.sandbox.mounts().unwrap().iter().filter(|it| it.point.starts_with(&pods)).count()
    }

    /// Neither mount nor device nor a record of one is left, and nobody holds a lock.
    #[track_caller]
    pub fn assert_down(&self, about: &str) {
        assert_eq!(self.mounts(), 0, "{about}: mounts left");
        assert_eq!(active(&self.vg), Vec::<String>::new(), "{about}: devices left");
        let run = self.bed.sandbox.path().join("run");
        let (locks, mut records): (Vec<_>, Vec<_>) =
            files(&run).into_iter().partition(|path| text(path).contains("/locks/"));
        // A file that a killed call had not finished is no record; and the disks of the group are remembered.
        records.retain(|path| !text(path).contains("/.") && !text(path).contains("/groups/"));
        assert_eq!(records, Vec::<PathBuf>::new(), "{about}: records left");
        for lock in locks {
            let file = File::open(&lock).unwrap();
            // Where no record led to the volume, nobody could wait for the command that has just taken its device away.
            until(&format!("{about}: a free {}", lock.display()), || file.try_lock().is_ok());
        }
    }

    /// One device that works, and so many mounts of it.
    #[track_caller]
    pub fn assert_up(&self, mounts: usize, about: &str) {
        assert_eq!(self.mounts(), mounts, "{about}: mounts");
        assert_eq!(active(&self.vg).len(), 1, "{about}: {:?}", active(&self.vg));
    }

    /// These volumes are there and no others, and none of them is half-made.
    #[track_caller]
    pub fn assert_volumes(&self, names: &[impl AsRef<str>], about: &str) {
        let rows = report("lvs", "lv_name,lv_tags", &self.vg.name);
        let found: Vec<&str> = rows.iter().map(|row| row["lv_name"].as_str()).collect();
        let (mut found, mut names) = (found, names.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        found.sort_unstable();
        names.sort_unstable();
        assert_eq!(found, names, "{about}");
        assert!(rows.iter().all(|row| !row["lv_tags"].contains("state")), "{about}: half-made: {rows:?}");
    }

    /// Removes all volumes and what the driver remembers of them.
    pub fn clear(&self) {
        lvm(["lvremove", "--yes", "--force", &self.vg.name]);
        fs::remove_dir_all(self.bed.sandbox.path().join("state")).unwrap();
    }

    /// Files of lasting state, those apart that a killed call had not finished.
    pub fn lasting(&self) -> Vec<PathBuf> {
        let mut files = files(&self.bed.sandbox.path().join("state"));
        files.retain(|path| !text(path).contains("/."));
        files
    }
}

/// The group's devices by their names. None of them is suspended.
#[track_caller]
pub fn active(group: &Group) -> Vec<String> {
    let mut names = Vec::new();
    for device in fs::read_dir("/sys/block").unwrap().flatten().map(|entry| entry.path().join("dm")) {
        let read = |file: &str| fs::read_to_string(device.join(file)).unwrap_or_default().trim().to_owned();
        let name = read("name");
        if name.starts_with(&format!("{}-", group.name)) {
            assert_eq!(read("suspended"), "0", "{name} is suspended");
            names.push(name);
        }
    }
    names.sort();
    names
}

impl Deref for Field {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}
