//! The directories mounts lie at: made beneath the root, held while a driver works, judged afterwards, taken away empty.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use flexvolume_linux::{
    ErrorKind,
    beneath::{Pinned, Root},
    mount::{self, Presence, Step, table},
};

use flexvolume_protocol::excerpt;
use rustix::io::Errno;

use super::Hands;
use crate::{
    error::{Error, Kind, Result},
    layout::MODE,
    task::{Done, Power, Task, UNMOUNT},
    volume::{record::Made, state::Seen, trace::Trace},
};

/// For a system call on a mount that should answer at once.
pub(super) const SOON: Duration = Duration::from_secs(30);

/// A directory of ours, its parent held open so that nobody can swap the path beneath us.
pub(super) struct Target {
    pub(super) path: PathBuf,
    pinned: Pinned,
}

impl Target {
    pub(super) fn look(&self) -> Result<Presence> {
        Ok(self.pinned.look()?)
    }

    /// What the machine is told: anything mounted, or nothing.
    pub(super) fn seen(&self) -> Seen {
        match self.pinned.look() {
            Ok(Presence::Mount(_) | Presence::Corrupted(_)) => Seen::Mounted,
            Ok(Presence::Absent | Presence::Plain | Presence::Symlink | Presence::Other) => Seen::Nothing,
            // What cannot be looked at is not known to be gone.
            Err(_) => Seen::Mounted,
        }
    }

    /// Takes the directory away if it is empty and unmounted; a filled one is an error that names what is in it.
    pub(super) fn remove(&self) -> Result<()> {
        match self.pinned.rmdir() {
            Ok(_) => Ok(()),
            Err(error) => {
                let error = Error::from(error);
                let Some(left) = self.left() else { return Err(error) };
                Err(error.hint(format!(
                    "left in it: {left}; keep or delete that by hand, then try again: flexvol never deletes files there"
                )))
            }
        }
    }

    /// The first few names in a directory that nothing is mounted at.
    fn left(&self) -> Option<String> {
        match self.pinned.look() {
            Ok(Presence::Plain) => {}
            Ok(Presence::Symlink | Presence::Other) => return Some("something that is no directory".to_owned()),
            Ok(Presence::Absent | Presence::Mount(_) | Presence::Corrupted(_)) | Err(_) => return None,
        }
        let mut names: Vec<_> = std::fs::read_dir(&self.path)
            .ok()?
            .take(6)
            .filter_map(|entry| Some(excerpt(&entry.ok()?.file_name().to_string_lossy(), 60)))
            .collect();
        if names.len() > 5 {
            names[5] = "…".to_owned();
        }
        (!names.is_empty()).then(|| names.join(", "))
    }
}

impl Hands<'_> {
    /// Makes the directory `relative` to the root, and its parents.
    pub(super) fn make(&self, relative: &Path) -> Result<Target> {
        let root = Root::open(self.ground.layout.root())?;
        let pinned = root.make_dirs(relative, MODE)?;
        Ok(Target { path: self.absolute(relative), pinned })
    }

    /// The directory if its parents are there.
    pub(super) fn existing(&self, relative: &Path) -> Result<Option<Target>> {
        let root = Root::open(self.ground.layout.root())?;
        match root.pin(relative) {
            Ok(pinned) => Ok(Some(Target { path: self.absolute(relative), pinned })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What a driver's Success is worth: a mount of that very path, stripped of power before anybody uses it. What it is known by is
    /// noted: for that place, or for the node.
    pub(super) fn judge(
        &mut self,
        target: &Target,
        place: Option<&str>,
        read_only: bool,
        may_be_empty: bool,
    ) -> Result<Made> {
        let path = target.path.display();
        let now = target.pinned.path()?;
        if now != target.path {
            return Err(Error::new(
                Kind::Refused,
                format!("{path} was moved to {} while the driver worked", now.display()),
            )
            .hint("see who can write there, put it back, and look in the mount table for a mount that went astray"));
        }
        match target.look()? {
            Presence::Mount(id) => {
                let mounted = table::by_id(id)?;
                if mounted.as_ref().is_none_or(|mounted| mounted.point != target.path) {
                    let wrong = mounted.map_or_else(|| "nowhere".to_owned(), |m| m.point.display().to_string());
                    return Err(Error::new(Kind::Refused, format!("the mount for {path} lies at {wrong}"))
                        .hint("somebody changed the path while the driver worked; see who can write there"));
                }
                if let Some(mounted) = &mounted {
                    self.record.remember(place, Trace::of(mounted));
                    // What it has mounted in there it has mounted just now. What it moved in is known while its own mount stands.
                    for inner in table::later_under(mounted.id)? {
                        self.record.remember_inner(Trace::of(&inner));
                    }
                }
                let power = self.power(read_only)?;
                // Write access is taken from the mount itself, also where the file system has none for the time being.
                let restricted = mounted.is_some_and(|mounted| {
                    !power.read_only && (power.suid_and_devices || (mounted.nosuid && mounted.nodev))
                });
                if !restricted {
                    self.work(&Task::Restrict { target: target.path.clone(), power }, SOON)?;
                }
                Ok(Made::Mount(id))
            }
            Presence::Plain if may_be_empty => {
                self.remember_directory(target, place)?;
                Ok(Made::NoMount)
            }
            Presence::Plain if target.pinned.is_empty()? => Err(Error::new(
                Kind::Driver,
                format!("driver {} answered Success, but nothing is mounted at {path}", self.record.driver),
            )
            .hint(format!(
                "see the driver's own log; if it never mounts, allow that in the settings: drivers, {}, allowUnmounted",
                self.record.driver
            ))),
            Presence::Plain => {
                self.remember_directory(target, place)?;
                self.warn(format!(
                    "{path} is a plain directory with files, not a mount: its data lies on the host's own disk"
                ));
                Ok(Made::NoMount)
            }
            Presence::Symlink => {
                self.warn(format!("the driver replaced {path} by a symbolic link"));
                Ok(Made::NoMount)
            }
            Presence::Absent => Err(Error::new(
                Kind::Driver,
                format!("driver {} answered Success, but {path} is gone", self.record.driver),
            )),
            Presence::Corrupted(errno) => Err(Error::new(
                Kind::Driver,
                format!("driver {} answered Success, but the mount at {path} is dead", self.record.driver),
            )
            .because(std::io::Error::from_raw_os_error(errno))),
            Presence::Other => {
                Err(Error::new(Kind::Driver, format!("the driver replaced {path} by something that is no directory")))
            }
        }
    }

    /// Of a directory that a driver fills it is known which one it is, and what is mounted in it.
    fn remember_directory(&mut self, target: &Target, place: Option<&str>) -> Result<()> {
        let (_, part) = mount::part(&target.path)?;
        self.record.remember(place, Trace::Part(part));
        for inner in table::beneath(&target.path)? {
            self.record.remember_inner(Trace::of(&inner));
        }
        Ok(())
    }

    /// What mounts of this volume may do.
    pub(super) fn power(&self, read_only: bool) -> Result<Power> {
        Ok(Power { read_only, suid_and_devices: self.driver()?.config.allow_suid_and_devices })
    }

    /// After the driver's part of an unmount: every layer gone, the directory gone.
    ///
    /// A driver that failed is believed when something is still mounted; one that says Success is not.
    pub(super) fn clear(&mut self, target: &Target, driver_said: Result<()>) -> Result<()> {
        match (target.look()?, driver_said) {
            (Presence::Mount(_) | Presence::Corrupted(_), Err(error)) if error.next().is_none() => {
                let at = target.path.display();
                return Err(
                    error.hint(format!("if something uses it, end that, then try again; see who does: fuser -vm {at}"))
                );
            }
            (Presence::Mount(_) | Presence::Corrupted(_), Err(error)) => return Err(error),
            (Presence::Mount(_) | Presence::Corrupted(_), Ok(())) => {
                self.take_away(&target.path)?;
            }
            (Presence::Absent | Presence::Plain | Presence::Symlink | Presence::Other, Ok(())) => {}
            (Presence::Absent | Presence::Plain | Presence::Symlink | Presence::Other, Err(error)) => {
                // A process that still runs may mount yet; any other failure of an unmount is moot once nothing is mounted.
                if error.kind() == Kind::Stuck {
                    return Err(error);
                }
                self.warn(format!(
                    "nothing is mounted at {} any more, although: {}",
                    target.path.display(),
                    error.story()
                ));
            }
        }
        target.remove()
    }

    /// Takes away whatever is mounted at `target`. What is in use and answers stays; what is dead, or has not answered
    /// for as long as a person would wait, goes whatever it takes.
    pub(super) fn take_away(&mut self, target: &Path) -> Result<()> {
        let refused = match self.work(&Task::Unmount { target: target.to_owned() }, UNMOUNT) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == Kind::Busy => error,
            Err(error) => return Err(error),
        };
        match self.work(&Task::Probe { path: target.to_owned() }, SOON) {
            Ok(Done::Seen(Presence::Corrupted(_))) => {}
            Err(error) if error.kind() == Kind::Stuck => {}
            Ok(_) | Err(_) => {
                return Err(refused
                    .hint(format!("end what uses it, then try again; see who does: fuser -vm {}", target.display())));
            }
        }
        // What is mounted for the node alone serves the pods, and those have mounts of their own. What the driver does through its mounts
        // meanwhile it can do again.
        let mut idle = vec![self.absolute(&self.ground.layout.global(&self.record.driver, &self.record.name))];
        idle.extend(self.drivers_own());
        if let Done::Unmounted(steps) = self.work(&Task::Break { target: target.to_owned(), idle }, UNMOUNT)? {
            let lost = if steps.contains(&Step::Force) { "; what was being written to it may be lost" } else { "" };
            let steps: Vec<String> = steps.iter().map(|step| format!("{step:?}").to_lowercase()).collect();
            let steps = steps.join(", ");
            self.warn(format!("the mount at {} did not answer; it was taken away by: {steps}{lost}", target.display()));
        }
        Ok(())
    }

    /// After a failure with nothing mounted: takes the directory away again, and those above it. False if one of them
    /// stays that is owed an undoing; files that a driver left in it are not in the way of its next try.
    pub(super) fn cleared(&self, target: &Target, relative: &Path) -> bool {
        match target.remove() {
            Ok(()) => self.prune(relative).is_ok(),
            Err(_) => target.pinned.is_empty().is_ok_and(|empty| !empty),
        }
    }

    /// Takes away the empty directories above a pod's volume, up to the pod's own.
    pub(super) fn prune(&self, relative: &Path) -> Result<()> {
        let root = Root::open(self.ground.layout.root())?;
        // pods/<uid>/volumes/<driver>/<name>: three parents belong to the pod, and go when the last volume does.
        for parent in relative.ancestors().skip(1).take(3) {
            match root.pin(parent).and_then(|pinned| pinned.rmdir()) {
                Ok(_) => {}
                // Some of them may be gone already, by a run that was cut off here.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // Another volume of the pod is there.
                Err(error) if error.errno() == Some(Errno::NOTEMPTY.raw_os_error()) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
