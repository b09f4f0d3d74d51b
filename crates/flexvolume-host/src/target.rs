//! Where somebody else wants a volume seen: paths that he names, beneath one folder that was agreed on.
//!
//! Nothing is written down of them. What is mounted at a target the mount table says, and what is asked for twice is done once.

use std::{
    fs,
    os::fd::AsFd,
    path::{Component, Path, PathBuf},
};

pub use flexvolume_linux::mount::{AccessTimes, Flags};
use flexvolume_linux::{
    ErrorKind,
    beneath::{Pinned, Root, Trust, trusted_chain},
    fs::Usage,
    mount::{self, MountId, Mounted, Presence, Tree, table},
};

use flexvolume_protocol::excerpt;

pub use crate::volume::trace::Trace;
use crate::{
    error::{Error, Kind, Result},
    layout::MODE,
    task::{Done, LAYERS, PROBE, Task, UNMOUNT},
    volume::trace::is_of_nodes,
    workers::Workers,
};

/// The longest name of a file, in bytes.
const NAME: usize = 255;

/// The folder that targets are beneath.
#[derive(Debug)]
pub struct Targets {
    given: PathBuf,
    real: PathBuf,
    workers: Workers,
}

/// What is to be seen.
#[derive(Clone, Copy, Debug)]
pub enum Shown<'a> {
    /// The directory that a volume is mounted at.
    Tree(&'a Path),
    /// A block device, by its path.
    Device(&'a Path),
}

/// What a target forbids, and which reads it writes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// What its client wants forbidden.
    pub flags: Flags,
    /// Set-uid files and devices have no power in any case, by the settings of who runs this node. Those may change beneath a pod: that
    /// is no other wish of its client's, and holds for what is shown from then on.
    pub is_weak: bool,
    /// Which access times are written; `None` as the volume's own mount has it.
    pub times: Option<AccessTimes>,
    /// Those of directories are not.
    pub no_directory_times: bool,
}

impl Manner {
    /// What is forbidden at a target that is made now.
    fn forbidden(self) -> Flags {
        let Flags { nosuid, nodev, .. } = self.flags;
        Flags { nosuid: nosuid || self.is_weak, nodev: nodev || self.is_weak, ..self.flags }
    }

    /// Whether a view of `own` that lies `there` is of this manner: what the volume's own mount forbids is forbidden wherever it is seen.
    fn is_so(self, there: &Mounted, own: &Mounted) -> Result<()> {
        let Flags { read_only, nosuid, nodev, noexec } = self.flags;
        let (times, no_directory_times) = match (self.times, self.no_directory_times) {
            (None, false) => (own.times, own.no_directory_times),
            (times, no_directories) => (times.unwrap_or(AccessTimes::Some), no_directories),
        };
        let say = |is: bool| if is { "on" } else { "off" };
        let flags = [
            ("read-only", there.read_only, read_only || own.read_only),
            // Where the settings want it, it is there unasked.
            ("nosuid", there.nosuid, nosuid || there.nosuid),
            ("nodev", there.nodev, nodev || there.nodev),
            ("noexec", there.noexec, noexec || own.noexec),
            ("nodiratime", there.no_directory_times, no_directory_times),
        ];
        let mut otherwise: Vec<_> = flags
            .into_iter()
            .filter(|(_, is, wanted)| is != wanted)
            .map(|(name, is, wanted)| format!("{name} is {}, and wanted {}", say(is), say(wanted)))
            .collect();
        if there.times != times {
            let name = |times| match times {
                AccessTimes::Some => "relatime",
                AccessTimes::Every => "strictatime",
                AccessTimes::None => "noatime",
            };
            otherwise.push(format!("it has {}, and {} is wanted", name(there.times), name(times)));
        }
        if otherwise.is_empty() {
            return Ok(());
        }
        let what = format!("the volume is mounted at {} otherwise: {}", there.point.display(), otherwise.join("; "));
        Err(Error::new(Kind::Refused, what).otherwise().hint("take it from there first"))
    }
}

/// What is bound, and what it shall turn out to be.
struct Source {
    path: PathBuf,
    trace: Trace,
    /// The mount that a directory lies in.
    own: Option<Mounted>,
}

impl Shown<'_> {
    /// A device may go by a link, as `/dev/VG/LV` does: it shall be the one that the volume was known by last, wherever its name
    /// leads by now.
    fn source(&self, ours: &[Trace]) -> Result<Source> {
        match self {
            Self::Tree(path) => {
                let (own, part) = mount::part(path)?;
                Ok(Source { path: path.to_path_buf(), trace: Trace::Part(part), own: Some(own) })
            }
            Self::Device(name) => {
                let unknown = || Error::new(Kind::NotFound, format!("the device {} is not there", name.display()));
                let path = fs::canonicalize(name).map_err(|error| unknown().because(error))?;
                let trace = ours.last().cloned().or_else(|| Trace::device(&path)).ok_or_else(unknown)?;
                Ok(Source { path, trace, own: None })
            }
        }
    }
}

impl Source {
    /// Whether that is what is mounted at a target, in this manner.
    fn is_at(&self, pinned: &Pinned, manner: Manner) -> Result<()> {
        let Some(there) = pinned.mounted()? else {
            return Err(Error::new(Kind::Refused, format!("the mount at {} is gone again", pinned.path()?.display())));
        };
        if Trace::of(&there) != self.trace {
            let point = there.point.display();
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "{} is mounted at {point}, which is another volume or an older mount of this one",
                    there.source
                ),
            )
            .hint(format!("see who uses it, then: umount {point}")));
        }
        self.own.as_ref().map_or(Ok(()), |own| manner.is_so(&there, own))
    }
}

impl Targets {
    /// Beneath `folder`, which only we and those in `trust` may change; `worker` is our own executable.
    ///
    /// # Errors
    /// [`Kind::Refused`] if others can write there, [`Kind::NotFound`] if it is not there.
    pub fn beneath(folder: &Path, trust: &Trust, worker: PathBuf) -> Result<Self> {
        let real = fs::canonicalize(folder).map_err(|error| {
            let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::System };
            Error::new(kind, format!("cannot resolve {}", folder.display())).because(error)
        })?;
        trusted_chain(&real, trust)?;
        Ok(Self { given: folder.to_owned(), real, workers: Workers::new(worker) })
    }

    /// A target's path beneath the folder.
    ///
    /// # Errors
    /// [`Kind::Invalid`]: it is not absolute, leads out, is the folder itself, or nothing can be called so.
    pub fn relative(&self, target: &Path) -> Result<PathBuf> {
        let invalid = |why: &str| {
            let folder = self.given.display();
            Err(Error::new(Kind::Invalid, format!("the path {} {why}", target.display()))
                .hint(format!("give an absolute path beneath {folder}, without . and ..")))
        };
        let plain =
            |path: &Path| path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !target.is_absolute() || !plain(target) {
            return invalid("is not absolute and plain");
        }
        let Ok(rel) = target.strip_prefix(&self.given).or_else(|_| target.strip_prefix(&self.real)) else {
            return invalid("is somewhere else");
        };
        if rel.as_os_str().is_empty() {
            return invalid("is the folder itself");
        }
        if rel.components().any(|part| part.as_os_str().len() > NAME) {
            return invalid("has a part that is longer than any name can be");
        }
        Ok(rel.to_owned())
    }

    /// The target's path with every link above the folder resolved: one spelling for each place.
    ///
    /// # Errors
    /// As [`Targets::relative`].
    pub fn resolved(&self, target: &Path) -> Result<PathBuf> {
        Ok(self.real.join(self.relative(target)?))
    }

    /// Makes a volume seen at `target`, with whatever is mounted in it; false if it was so before. Folders above the target that are missing are made. What is dead there
    /// is taken away if it is known by `ours`.
    ///
    /// # Errors
    /// [`Kind::Refused`]: something else is mounted there, or the same in another manner (which [`Error::is_otherwise`]), or files lie
    /// there; [`Kind::Invalid`] as [`Targets::relative`].
    pub fn show(&self, what: Shown<'_>, target: &Path, manner: Manner, ours: &[Trace]) -> Result<bool> {
        let rel = self.relative(target)?;
        let root = Root::open(&self.real)?;
        if let Some(parent) = rel.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            root.make_dirs(parent, MODE)?;
        }
        let pinned = root.pin(&rel)?;
        let path = self.real.join(&rel);
        let source = what.source(ours)?;
        match pinned.look()? {
            Presence::Mount(_) => return source.is_at(&pinned, manner).map(|()| false),
            Presence::Corrupted(_) => self.break_up(&path, ours)?,
            Presence::Absent | Presence::Plain | Presence::Other => {}
            Presence::Symlink => return Err(in_the_way(target, "a symbolic link")),
        }
        let is_bare = match what {
            Shown::Tree(_) => pinned.mkdir(MODE)? || pinned.is_empty()?,
            Shown::Device(_) => pinned.make_file()? || fs::symlink_metadata(&path).is_ok_and(|file| file.len() == 0),
        };
        if !is_bare {
            // They would be hidden, and nobody would know whose they are.
            return Err(in_the_way(target, "not empty"));
        }
        let now = Manner { flags: manner.forbidden(), ..manner };
        let judged = bind(&source.path, &pinned, now).and_then(|id| match source.is_at(&pinned, now) {
            Ok(()) => Ok(()),
            Err(error) => {
                // What we put there ourselves is nobody's yet.
                if matches!(pinned.look(), Ok(Presence::Mount(top)) if top == id) {
                    self.take_all(id, &path, &|_| Ok(()))?;
                }
                Err(error)
            }
        });
        if judged.is_err() && matches!(pinned.look(), Ok(Presence::Plain | Presence::Other)) {
            let _ = remove(&pinned);
        }
        judged.map(|()| true)
    }

    /// Takes what is seen at `target` away, as far as it is known by `ours`, with what is mounted in it as far as that is known by
    /// `inner`, and the empty file or directory beneath it; false if nothing was there.
    ///
    /// # Errors
    /// [`Kind::Refused`]: somebody else's is mounted there, or files lie where nothing is mounted. [`Kind::Busy`]: somebody uses it.
    pub fn hide(&self, target: &Path, ours: &[Trace], inner: &dyn Fn() -> Result<Vec<Trace>>) -> Result<bool> {
        let rel = self.relative(target)?;
        let root = Root::open(&self.real)?;
        let pinned = match root.pin(&rel) {
            Ok(pinned) => pinned,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let path = self.real.join(&rel);
        let mut took = false;
        // What lies beneath may be somebody else's.
        for _ in 0..LAYERS {
            match pinned.look()? {
                Presence::Absent => return Ok(took),
                Presence::Mount(_) => {
                    if let Some(there) = pinned.mounted()? {
                        is_ours(&there, ours)?;
                        self.take_all(there.id, &path, &|within| {
                            let known = inner()?;
                            within.iter().try_for_each(|there| is_ours(there, &known))
                        })?;
                    }
                }
                Presence::Corrupted(_) => self.break_up(&path, ours)?,
                // It holds nothing of anybody's, and whoever is told that all is gone finds nothing there.
                Presence::Plain | Presence::Other => {
                    remove(&pinned)?;
                    return Ok(true);
                }
                Presence::Symlink => return Err(in_the_way(target, "a symbolic link")),
            }
            took = true;
        }
        let what = format!("more than {LAYERS} mounts lie at {}, one on the other", target.display());
        Err(Error::new(Kind::Refused, what)
            .hint(format!("see who mounts there again and again, then: umount {}", target.display())))
    }

    /// What is mounted on top at a target.
    ///
    /// # Errors
    /// As [`Targets::relative`]; what the kernel says.
    pub fn at(&self, target: &Path) -> Result<Option<Mounted>> {
        let rel = self.relative(target)?;
        match Root::open(&self.real)?.pin(&rel) {
            Ok(pinned) => match pinned.look()? {
                // Some that have failed are known to the mount table alone.
                Presence::Corrupted(_) => Ok(table::stacked(&self.real.join(&rel))?.pop()),
                Presence::Mount(_) | Presence::Absent | Presence::Plain | Presence::Symlink | Presence::Other => {
                    Ok(pinned.mounted()?)
                }
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether something is mounted at a target that is known by `ours`.
    ///
    /// # Errors
    /// [`Kind::Refused`]: somebody else's is. As [`Targets::at`].
    pub fn has_ours(&self, target: &Path, ours: &[Trace]) -> Result<bool> {
        match self.at(target)? {
            Some(there) => is_ours(&there, ours).map(|()| true),
            None => Ok(false),
        }
    }

    /// Where that which is known by `traces` is seen, beneath the folder.
    ///
    /// # Errors
    /// The mount table cannot be read.
    pub fn of(&self, traces: &[Trace]) -> Result<Vec<PathBuf>> {
        if traces.is_empty() {
            return Ok(Vec::new());
        }
        let shows = |mounted: &Mounted| traces.contains(&Trace::of(mounted));
        Ok(table::beneath(&self.real)?.into_iter().filter(shows).map(|mounted| mounted.point).collect())
    }

    /// Whether a path, as the mount table has it, is beneath the folder.
    pub fn holds(&self, point: &Path) -> bool {
        point != self.real && point.starts_with(&self.real)
    }

    /// The first target at which something is mounted, of those that `is` holds of.
    ///
    /// # Errors
    /// The mount table cannot be read.
    pub fn find(&self, is: impl Fn(&Path) -> bool) -> Result<Option<PathBuf>> {
        Ok(table::beneath(&self.real)?.into_iter().map(|mounted| mounted.point).find(|point| is(point)))
    }

    /// Whether two paths name one target.
    pub fn is(&self, one: &Path, other: &Path) -> bool {
        matches!((self.relative(one), self.relative(other)), (Ok(one), Ok(other)) if one == other)
    }

    /// The size of the block device that is shown at `path`, in bytes; `None` if none is.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn device_size(&self, path: &Path) -> Result<Option<u64>> {
        if table::at(path)?.is_none_or(|mounted| !is_of_nodes(&mounted)) {
            return Ok(None);
        }
        let Some(Trace::Device(major, minor)) = Trace::device(path) else { return Ok(None) };
        let file = format!("/sys/dev/block/{major}:{minor}/size");
        let fail = || Error::new(Kind::System, format!("cannot read {file}"));
        let sectors = fs::read_to_string(&file).map_err(|error| fail().because(error))?;
        let sectors: u64 = sectors.trim().parse().map_err(|error: std::num::ParseIntError| fail().because(error))?;
        Ok(Some(sectors * 512))
    }

    /// How full the file system at `path` is, a target or a directory of our own.
    ///
    /// # Errors
    /// [`Kind::Stuck`] if it does not answer.
    pub fn usage(&self, path: &Path) -> Result<Usage> {
        // One is asked for each file system, wherever it is seen.
        let at = match table::at(path).ok().flatten() {
            Some(Mounted { dev: (major, minor), .. }) => format!("usage of {major}:{minor}"),
            None => format!("usage of {}", path.display()),
        };
        match self.workers.ask(&at, &Task::Usage { path: path.to_owned() }, PROBE)? {
            Done::Usage(usage) => Ok(usage),
            Done::Plainly
            | Done::Told(_)
            | Done::Unmounted(_)
            | Done::Owned(_)
            | Done::Seen(_)
            | Done::Free(_)
            | Done::Raw(_) => Err(Error::new(Kind::System, "a worker answered another question")),
        }
    }

    /// Takes away what is dead at a path, if it is ours.
    fn break_up(&self, path: &Path, ours: &[Trace]) -> Result<()> {
        // The mount table says what it was; it does not.
        if let Some(there) = table::stacked(path)?.pop() {
            is_ours(&there, ours)?;
        }
        self.workers.ask(&unmount_of(path), &Task::BreakTop { target: path.to_owned() }, UNMOUNT).map(drop)
    }

    /// Takes away a mount that lies at a path, and before it those in it that `may` go, the innermost first. Hardly a driver mounts
    /// anything there, and to look for it is to look at all mounts: that is done only where the kernel says that it does not go.
    fn take_all(&self, id: MountId, path: &Path, may: &dyn Fn(&[Mounted]) -> Result<()>) -> Result<()> {
        let busy = match self.take(path, id) {
            Err(error) if error.kind() == Kind::Busy => error,
            done => return done,
        };
        let mut inner = table::under(id)?;
        if inner.is_empty() {
            return Err(busy);
        }
        may(&inner)?;
        while let Some(at) = inner.iter().position(|it| inner.iter().all(|other| other.parent != it.id)) {
            let it = inner.swap_remove(at);
            self.take(&it.point, it.id)?;
        }
        self.take(path, id)
    }

    fn take(&self, path: &Path, id: MountId) -> Result<()> {
        let task = Task::TakeTop { target: path.to_owned(), id };
        self.workers.ask(&unmount_of(path), &task, UNMOUNT).map(drop)
    }
}

fn unmount_of(path: &Path) -> String {
    format!("unmount of {}", path.display())
}

/// Whether what is mounted somewhere is known by `ours`.
fn is_ours(there: &Mounted, ours: &[Trace]) -> Result<()> {
    if ours.contains(&Trace::of(there)) {
        return Ok(());
    }
    let (source, point) = (excerpt(&there.source, 200), there.point.display());
    let what =
        format!("{source} ({}) is mounted at {point}, and nothing shows that it is of this volume", there.fs_type);
    Err(Error::new(Kind::Refused, what).hint(format!(
        "see whose it is (flexvol ls shows what is flexvol's own, with its targets); if nobody needs it: umount {point}"
    )))
}

/// A view of the source, whole before anybody sees it. It reaches into no file system, so nothing holds it up.
/// What is mounted beneath the source is a part of it. Says which mount it made.
fn bind(source: &Path, target: &Pinned, manner: Manner) -> Result<MountId> {
    let tree = Tree::whole(source, manner.flags)?;
    let tree = match (manner.times, manner.no_directory_times) {
        (None, false) => tree,
        (times, no_directories) => tree.access_times(times.unwrap_or(AccessTimes::Some), no_directories)?,
    };
    tree.attach_to(target.open()?.as_fd())?;
    Ok(tree.id()?)
}

/// Takes away the empty directory, or the empty file.
fn remove(pinned: &Pinned) -> Result<()> {
    match pinned.look()? {
        Presence::Other => pinned.remove_empty_file().map(drop)?,
        Presence::Absent | Presence::Plain | Presence::Mount(_) | Presence::Corrupted(_) | Presence::Symlink => {
            pinned.rmdir().map(drop)?;
        }
    }
    Ok(())
}

fn in_the_way(target: &Path, what: &str) -> Error {
    Error::new(Kind::Refused, format!("{} is {what}", target.display())).hint("move it out of the way, then try again")
}
