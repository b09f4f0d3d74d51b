//! What was begun is undone, backwards: by the driver first, by the judge where that does not help; and what cannot be undone is
//! told with what a person would type.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use flexvolume_linux::{mount, process, tree};
use flexvolume_protocol::{
    Came, CreateSnapshot, CreateVolume, DeleteSnapshot, DeleteVolume, Detach, Dir, Id, Options, Unmount as UnmountVerb,
    UnmountDevice, VerbName, keys,
};

use crate::{
    bed::{Bed, ROOTS, Up},
    going::Going,
    ledger::{Made, Thing},
    life::{by_default, remove},
    proof,
    shown::typed,
    stop::{Verdict, fault},
};

/// How long processes of the driver's get to end by themselves.
const PARTING: Duration = Duration::from_secs(2);

/// How long the judge's own folder may take to be removed.
const FOLDER: Duration = Duration::from_secs(60);

/// How long mounts are unmounted by force: all of one part, and one.
const FORCED: Duration = Duration::from_secs(60);
const FORCED_ONE: Duration = Duration::from_secs(15);

/// Why what has no id is not asked for once more.
const CUT: &str = "what was asked for is not known any more";

/// How often it is looked whether a call still goes on.
const AGAIN: Duration = Duration::from_millis(200);

impl Bed<'_> {
    /// In the middle of a check or after one: what is mounted and attached goes down.
    pub(crate) fn sweep(&mut self) {
        self.caller.set_undoing(true);
        self.take_down();
        self.caller.set_undoing(false);
    }

    /// After a check: the same, and what it made goes, but for the volume that everything is tried with.
    pub(crate) fn tidy(&mut self) {
        self.caller.set_undoing(true);
        if self.take_down() {
            let kept = self.volume.as_ref().and_then(|volume| volume.id.clone());
            self.delete_made(kept.as_ref());
        }
        self.caller.set_undoing(false);
    }

    /// At the end: everything, the driver's processes and the judge's own folder.
    pub(crate) fn finish(&mut self) {
        self.caller.set_undoing(true);
        self.volume = None;
        if self.take_down() {
            self.delete_made(None);
        }
        if let Some(Going { verb, id }) = self.caller.going() {
            let home = self.home().display();
            let left = format!(
                "the call {verb} of this driver, which has not ended and is not ended by force since that may cost what the volume holds: ps -p {}; \
                 when it has ended, the next check of this driver with the same --scratch takes away what is in {home}",
                id.pid
            );
            self.left.push(left);
        }
        for thing in self.caller.begun() {
            let left = self.told(&thing);
            self.leave(left);
        }
        if self.caller.going().is_none() {
            self.end_processes();
            // Whoever comes next tries again what a dead judge had begun.
            match self.caller.is_of_the_dead() && !self.caller.begun().is_empty() {
                true => {
                    let home = self.home().display().to_string();
                    self.leave(format!(
                        "the notes of that in {home}; when it is gone: {}",
                        typed(&["rm", "-r", &home])
                    ));
                }
                false => self.remove_folder(),
            }
        }
    }

    pub(crate) fn leave(&mut self, left: String) {
        let left = self.caller.clean(&left);
        if !self.left.contains(&left) {
            self.left.push(left);
        }
    }

    /// Nothing is taken away beneath a call that goes on. It is waited for as long as a call may take.
    fn is_free(&self) -> bool {
        let until = Instant::now() + self.caller.limit();
        while self.caller.going().is_some() {
            if Instant::now() > until {
                return false;
            }
            thread::sleep(AGAIN);
        }
        true
    }

    /// Whatever is up goes down, pods first. Whether nothing is up any more.
    fn take_down(&mut self) -> bool {
        if !self.is_free() {
            return false;
        }
        self.up = Up::default();
        for thing in self.caller.begun() {
            if let Thing::Mount(dir) = &thing
                && let Ok(dir) = Dir::parse(dir)
            {
                let done = self.caller.ask(&UnmountVerb { dir: dir.clone() }).map(|heard| heard.came);
                if let Ok(Ok(Came::NotSupported)) = done {
                    let _ = by_default(&dir);
                }
                remove(&dir);
            }
        }
        // Nothing is detached beneath what is mounted.
        if !self.force(&self.root.join("pods")) {
            return false;
        }
        for thing in self.caller.begun() {
            match &thing {
                Thing::Mount(_) => self.caller.strike(&thing),
                Thing::MountDevice(dir) => {
                    let Ok(dir) = Dir::parse(dir) else { continue };
                    // Hosts do not call where nothing is mounted.
                    if !matches!(self.mounted(&dir), Ok(None)) {
                        let done = self.caller.ask(&UnmountDevice { dir: dir.clone() }).map(|heard| heard.came);
                        if let Ok(Ok(Came::NotSupported)) = done {
                            let _ = by_default(&dir);
                        }
                    }
                    remove(&dir);
                }
                Thing::Attached { .. } | Thing::Volume(_) | Thing::Snapshot(_) => {}
            }
        }
        // What a host of another root has mounted is the last.
        if !self.force(&self.root.join("plugins")) || !self.force(&self.home().join(ROOTS)) {
            return false;
        }
        for thing in self.caller.begun() {
            match &thing {
                Thing::Attached { name, node } => {
                    // What came of it the ledger reads itself.
                    let _ = self.caller.ask(&Detach { name: name.clone(), node: node.clone() });
                }
                Thing::MountDevice(_) => self.caller.strike(&thing),
                Thing::Mount(_) | Thing::Volume(_) | Thing::Snapshot(_) => {}
            }
        }
        true
    }

    /// What is still mounted beneath `home`, a part of the judge's own folder, is unmounted, the deepest first, as far as that comes to
    /// an end: each mount is tried once, and all together have a bounded time. Whether nothing is left of it.
    fn force(&mut self, home: &Path) -> bool {
        let end = Instant::now() + FORCED;
        let mut tried = BTreeSet::new();
        loop {
            let Ok(mut there) = mount::table::beneath(home) else { return false };
            there.retain(|mounted| mounted.point != home);
            if there.is_empty() {
                return true;
            }
            there.retain(|mounted| tried.insert(mounted.id));
            if there.is_empty() {
                return false;
            }
            there.sort_by_key(|mounted| Reverse(mounted.point.components().count()));
            for mounted in there {
                let point = mounted.point.clone();
                let unmount =
                    move || mount::unmount_ladder(&point, &[]).map_err(|error| io::Error::other(error.to_string()));
                let left = FORCED_ONE.min(end.saturating_duration_since(Instant::now()));
                if left.is_zero() || !matches!(self.reach_within(left, "unmounting", unmount), Ok(Ok(_))) {
                    let point = mounted.point.display().to_string();
                    self.leave(format!("{} mounted at {point}: {}", mounted.source, typed(&["umount", "-l", &point])));
                }
            }
        }
    }

    /// Volumes and snapshots that the judge had made go, but for the one that is kept.
    fn delete_made(&mut self, kept: Option<&Id>) {
        for thing in self.caller.begun() {
            match &thing {
                Thing::Volume(made) if kept.is_none() || made.id.as_ref() != kept => drop(self.delete_volume(made)),
                Thing::Snapshot(made) => drop(self.delete_snapshot(made)),
                Thing::Volume(_) | Thing::Mount(_) | Thing::MountDevice(_) | Thing::Attached { .. } => {}
            }
        }
    }

    fn delete_volume(&mut self, made: &Made) -> Verdict {
        let (id, options) = match &made.id {
            Some(id) => (id.clone(), made.options.clone()),
            None if made.is_cut => return fault(CUT),
            // Asked once more it says what it made.
            None => {
                let call = CreateVolume { options: options(&made.asked) };
                let created = self.patiently(&call)?.success("createvolume")?;
                (created.id, created.options)
            }
        };
        let mut options = self::options(&options);
        options.insert(keys::ID, id.as_str());
        self.patiently(&DeleteVolume { options })?.success("deletevolume")
    }

    fn delete_snapshot(&mut self, made: &Made) -> Verdict {
        let snapshot = match &made.id {
            Some(id) => id.clone(),
            None if made.is_cut => return fault(CUT),
            None => {
                self.patiently(&CreateSnapshot { options: options(&made.asked) })?.success("createsnapshot")?.snapshot
            }
        };
        let mut options = Options::default();
        options.insert(keys::SNAPSHOT, snapshot.as_str());
        self.patiently(&DeleteSnapshot { options })?.success("deletesnapshot")
    }

    /// What is left, and what a person would type to be rid of it.
    fn told(&self, thing: &Thing) -> String {
        let exe = self.caller.exe();
        let type_it = |verb: VerbName, word: &str, more: &[&str]| {
            typed(&[&[exe.as_str(), verb.as_str(), word][..], more].concat())
        };
        let made = |made: &Made, verb: VerbName, key: &str| {
            let id = made.id.as_ref().map_or("the id", Id::as_str);
            let mut options = options(&made.options);
            options.insert(key, id);
            type_it(verb, &options.render(), &[])
        };
        let name = |made: &Made| made.asked.get(keys::NAME).cloned().unwrap_or_default();
        match thing {
            Thing::Mount(dir) => format!("what is mounted at {dir}: {}", type_it(VerbName::Unmount, dir, &[])),
            Thing::MountDevice(dir) => {
                format!("what is mounted at {dir}: {}", type_it(VerbName::UnmountDevice, dir, &[]))
            }
            Thing::Attached { name, node } => {
                format!("the volume {name:?}, which is attached: {}", type_it(VerbName::Detach, name, &[node]))
            }
            Thing::Volume(it) if it.id.is_none() => {
                let typed = made(it, VerbName::DeleteVolume, keys::ID);
                format!("a volume of the name {:?}, which the driver may have made; if it did: {typed}", name(it))
            }
            Thing::Volume(it) => {
                let typed = made(it, VerbName::DeleteVolume, keys::ID);
                format!("the volume {:?}, which the judge had made: {typed}", name(it))
            }
            Thing::Snapshot(it) if it.id.is_none() => {
                let typed = made(it, VerbName::DeleteSnapshot, keys::SNAPSHOT);
                format!("a snapshot of the name {:?}, which the driver may have made; if it did: {typed}", name(it))
            }
            Thing::Snapshot(it) => {
                let typed = made(it, VerbName::DeleteSnapshot, keys::SNAPSHOT);
                format!("the snapshot {:?}, which the judge had made: {typed}", name(it))
            }
        }
    }

    /// The driver's processes that are there for nothing else are ended.
    fn end_processes(&mut self) {
        let Ok(living) = self.processes() else { return };
        let ours = proof::ours(&living, &self.caller.groups(), self.home());
        let others = living.into_iter().filter(|id| !ours.contains(id));
        let ours: Vec<_> = ours.iter().copied().collect();
        let name = |id: &process::ProcessId| process::describe(id).map(|(name, _)| name).unwrap_or_default();
        for id in process::end(&ours, PARTING, true) {
            self.leave(format!("the process {} ({}), which cannot be ended", id.pid, name(&id)));
        }
        for id in others.filter(process::alive) {
            let pid = id.pid.to_string();
            let left = format!(
                "the process {pid} ({}), which a call began and which may serve others by now; if not: {}",
                name(&id),
                typed(&["kill", &pid])
            );
            self.leave(left);
        }
    }

    /// The judge's own folder goes, with files that drivers left beside their targets; nothing of another file system.
    fn remove_folder(&mut self) {
        let home = self.home().to_owned();
        let removed = match (home.parent(), home.file_name()) {
            (Some(parent), Some(name)) => removed(parent, name),
            (Some(_) | None, _) => fault("it has no name"),
        };
        if removed.is_err() || fs::symlink_metadata(&home).is_ok() {
            let text = home.display().to_string();
            self.leave(format!("files in {text}: {}", typed(&["rm", "-r", &text])));
        }
    }
}

fn removed(parent: &Path, name: &OsStr) -> Verdict {
    let folder = tree::Folder::open(parent)?;
    match tree::remove(&folder, name, Instant::now() + FOLDER)? {
        true => Ok(()),
        false => fault("there is too much of it"),
    }
}

fn options(all: &BTreeMap<String, String>) -> Options {
    let mut options = Options::default();
    all.iter().for_each(|(key, value)| options.insert(key, value));
    options
}
