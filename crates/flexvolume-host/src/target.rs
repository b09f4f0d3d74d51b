//! Where somebody else wants a volume seen: paths that he names, beneath one folder that was agreed on.
//!
//! Nothing is written down of them. What is mounted at a target the mount table says, and what is asked for twice is done once.

use std::{
    fs,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Component, Path, PathBuf},
    time::Duration,
};

pub use flexvolume_linux::mount::{AccessTimes, Flags};
use flexvolume_linux::{
    ErrorKind,
    beneath::{Pinned, Root, Trust, trusted_chain},
    fs::Usage,
    mount::{Mounted, Presence, Tree, table},
};

use crate::{
    error::{Error, Kind, Result},
    task::{Done, Task},
    workers::Workers,
};

/// Mode of the directories we make.
const MODE: u32 = 0o750;

/// The longest name of a file, in bytes.
const NAME: usize = 255;
/// For an unmount, which may have to write back.
const UNMOUNT: Duration = Duration::from_secs(120);
/// A file system that has not said by then how full it is, is left alone.
const PROBE: Duration = Duration::from_secs(5);

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
    /// What is forbidden.
    pub flags: Flags,
    /// Which access times are written; `None` as the volume's own mount has it.
    pub times: Option<AccessTimes>,
    /// Those of directories are not.
    pub no_directory_times: bool,
}

impl Shown<'_> {
    fn source(&self) -> &Path {
        match self {
            Self::Tree(path) | Self::Device(path) => path,
        }
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

    /// Makes a volume seen at `target`; false if it was so before. Folders above the target that are missing are made.
    ///
    /// # Errors
    /// [`Kind::Refused`]: something else is mounted there, or the same in another manner, or files lie there; [`Kind::Invalid`] as
    /// [`Targets::relative`].
    pub fn show(&self, what: Shown<'_>, target: &Path, manner: Manner) -> Result<bool> {
        let rel = self.relative(target)?;
        let root = Root::open(&self.real)?;
        if let Some(parent) = rel.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            root.make_dirs(parent, MODE)?;
        }
        let pinned = root.pin(&rel)?;
        let path = self.real.join(&rel);
        match pinned.look()? {
            Presence::Mount(_) => return self.is_same(what, &pinned, manner).map(|()| false),
            Presence::Corrupted(_) => self.break_up(&path)?,
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
        let judged = bind(what.source(), &pinned, manner).and_then(|()| self.is_same(what, &pinned, manner));
        if judged.is_err() && matches!(pinned.look(), Ok(Presence::Plain | Presence::Other)) {
            let _ = remove(&pinned);
        }
        judged.map(|()| true)
    }

    /// Takes what is seen at `target` away, and the empty file or directory beneath it; false if nothing was there.
    ///
    /// # Errors
    /// [`Kind::Busy`]: somebody uses it. Files lie where nothing is mounted.
    pub fn hide(&self, target: &Path) -> Result<bool> {
        let rel = self.relative(target)?;
        let root = Root::open(&self.real)?;
        let pinned = match root.pin(&rel) {
            Ok(pinned) => pinned,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let path = self.real.join(&rel);
        match pinned.look()? {
            Presence::Absent => return Ok(false),
            Presence::Mount(_) => self.work(&Task::Unmount { target: path }, UNMOUNT).map(drop)?,
            Presence::Corrupted(_) => self.break_up(&path)?,
            Presence::Plain | Presence::Other => {}
            Presence::Symlink => return Err(in_the_way(target, "a symbolic link")),
        }
        remove(&pinned)?;
        Ok(true)
    }

    /// What is mounted on top at a target.
    ///
    /// # Errors
    /// As [`Targets::relative`]; what the kernel says.
    pub fn at(&self, target: &Path) -> Result<Option<Mounted>> {
        let rel = self.relative(target)?;
        match Root::open(&self.real)?.pin(&rel) {
            Ok(pinned) => Ok(pinned.mounted()?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Where a volume is seen, beneath the folder.
    ///
    /// # Errors
    /// The mount table cannot be read.
    pub fn of(&self, what: Shown<'_>) -> Result<Vec<PathBuf>> {
        let all = match what {
            Shown::Tree(path) => match table::at(path)? {
                Some(own) => {
                    let mut same = table::of_device(own.dev)?;
                    same.retain(|one| one.is_same_tree(&own));
                    same
                }
                None => Vec::new(),
            },
            Shown::Device(path) => {
                let Some(device) = device_at(path) else { return Ok(Vec::new()) };
                let mut all = table::beneath(&self.real)?;
                all.retain(|one| is_of_nodes(one) && device_at(&one.point) == Some(device));
                all
            }
        };
        Ok(all.into_iter().map(|one| one.point).filter(|point| point.starts_with(&self.real)).collect())
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
        let Some(device) = device_at(path) else { return Ok(None) };
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
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
        match self.work(&Task::Usage { path: path.to_owned() }, PROBE)? {
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

    fn break_up(&self, path: &Path) -> Result<()> {
        self.work(&Task::Break { target: path.to_owned(), idle: Vec::new() }, UNMOUNT).map(drop)
    }

    fn work(&self, task: &Task, limit: Duration) -> Result<Done> {
        self.workers.ask(task, limit)
    }

    /// Whether what is mounted at a target is this volume, in this manner.
    fn is_same(&self, what: Shown<'_>, pinned: &Pinned, manner: Manner) -> Result<()> {
        let Some(there) = pinned.mounted()? else {
            return Err(Error::new(Kind::Refused, format!("the mount at {} is gone again", pinned.path()?.display())));
        };
        let same = match what {
            Shown::Tree(path) => table::at(path)?.is_some_and(|own| own.is_same_tree(&there)),
            Shown::Device(path) => {
                is_of_nodes(&there) && device_at(path).is_some_and(|own| device_at(&there.point) == Some(own))
            }
        };
        let point = there.point.display();
        if !same {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "{} is mounted at {point}, which is another volume or an older mount of this one",
                    there.source
                ),
            )
            .hint(format!("see who uses it, then: umount {point}")));
        }
        if let Shown::Tree(path) = what {
            // What is read-only itself is so wherever it is seen.
            let wanted = manner.flags.read_only || table::at(path)?.is_some_and(|own| own.read_only);
            let said = |read_only| if read_only { "read-only" } else { "read-write" };
            if there.read_only != wanted {
                let (is, wanted) = (said(there.read_only), said(wanted));
                let what = format!("the volume is mounted {is} at {point}, and wanted {wanted}");
                return Err(Error::new(Kind::Refused, what).hint("take it from there first"));
            }
        }
        Ok(())
    }
}

/// Whether a mount is of a file system that device nodes lie on, and that always answers.
fn is_of_nodes(mounted: &Mounted) -> bool {
    matches!(mounted.fs_type.as_str(), "devtmpfs" | "tmpfs")
}

/// The number of the block device whose node that is.
fn device_at(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().filter(|meta| meta.file_type().is_block_device()).map(|meta| meta.rdev())
}

/// A view of the source, whole before anybody sees it. It reaches into no file system, so nothing holds it up.
fn bind(source: &Path, target: &Pinned, manner: Manner) -> Result<()> {
    let tree = Tree::of(source, manner.flags)?;
    let tree = match (manner.times, manner.no_directory_times) {
        (None, false) => tree,
        (times, no_directories) => tree.access_times(times.unwrap_or(AccessTimes::Some), no_directories)?,
    };
    Ok(tree.attach_to(target.open()?.as_fd())?)
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
