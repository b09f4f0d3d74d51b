//! What only a disposable worker process does: everything that can reach a volume's file system or device, and so can hang.

use std::{
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    time::Duration,
};

use flexvolume_linux::{
    ErrorKind, block,
    fs::{self, Applied, FsType, Intents, Usage, Wanted},
    mount::{self, Flags, MountId, Presence, Step, Unmount},
    worker,
};
use serde::{Deserialize, Serialize};

use crate::volume::trace::Trace;

/// For an unmount, which may have to write back.
pub(crate) const UNMOUNT: Duration = Duration::from_secs(120);
/// A file system that has not answered by then is left alone.
pub(crate) const PROBE: Duration = Duration::from_secs(5);
/// Several mounts may be stacked at one path; more than this many layers is a fault that no loop should chase.
pub(crate) const LAYERS: usize = 64;

/// One task; it runs in a process of its own and may never come back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    /// Bind `source` at `target`, read-only before anyone sees it.
    Bind {
        /// What.
        source: PathBuf,
        /// Where.
        target: PathBuf,
        /// How.
        power: Power,
    },
    /// Take away every layer mounted at `target`, as long as nobody uses it.
    Unmount {
        /// Where.
        target: PathBuf,
    },
    /// Take away the mount that was on top at `target` when it was judged, if it still is, as long as nobody uses it.
    TakeTop {
        /// Where.
        target: PathBuf,
        /// Which.
        id: MountId,
    },
    /// Take away what is mounted on top at `target`, whatever it takes: for what does not answer any more.
    BreakTop {
        /// Where.
        target: PathBuf,
    },
    /// Take away every layer mounted at `target`, whatever it takes: for what does not answer any more.
    Break {
        /// Where.
        target: PathBuf,
        /// Mounts there and below belong to the volume and nobody works through them.
        idle: Vec<PathBuf>,
    },
    /// Take set-uid, devices or write access from the mount at `target`.
    Restrict {
        /// Where.
        target: PathBuf,
        /// What is left.
        power: Power,
    },
    /// The default for a driver without mountdevice: format if the device is proven empty, check, mount.
    FormatAndMount {
        /// The block device.
        device: PathBuf,
        /// Whose device it is, so that an intent is never applied to another.
        identity: String,
        /// File system type; empty means ext4.
        fs_type: String,
        /// Where to mount.
        target: PathBuf,
        /// Where the durable intent lies.
        intent: PathBuf,
        /// For the file system; those that it may be given.
        options: Vec<(String, Option<String>)>,
        /// How.
        power: Power,
    },
    /// Give a tree to a group.
    FsGroup {
        /// The volume's root directory.
        dir: PathBuf,
        /// The group.
        gid: u32,
        /// Leave it alone when the root directory already has it.
        on_mismatch: bool,
    },
    /// Grow the file system to its device; nothing to do where that is no block device.
    Grow {
        /// The device, as its driver named it.
        device: PathBuf,
        /// Where it is mounted.
        at: PathBuf,
    },
    /// Look whether nobody holds a device; what is no block device is held by nobody.
    IsFree {
        /// The device, as its driver named it.
        device: PathBuf,
    },
    /// Look whether a device can be given away as it is.
    LookRaw {
        /// The device, as its driver named it.
        device: PathBuf,
    },
    /// Look whether a mount still answers.
    Probe {
        /// Where.
        path: PathBuf,
    },
    /// Ask a file system how full it is.
    Usage {
        /// Where.
        path: PathBuf,
    },
}

impl Task {
    /// What it is called in the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "bind",
            Self::Unmount { .. } => "unmount",
            Self::TakeTop { .. } => "take top",
            Self::BreakTop { .. } => "break top",
            Self::Break { .. } => "break",
            Self::Restrict { .. } => "restrict",
            Self::FormatAndMount { .. } => "format and mount",
            Self::FsGroup { .. } => "fsgroup",
            Self::Grow { .. } => "grow",
            Self::IsFree { .. } => "is free",
            Self::LookRaw { .. } => "look raw",
            Self::Probe { .. } => "probe",
            Self::Usage { .. } => "usage",
        }
    }
}

/// What a mount may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Power {
    /// Nothing can be written.
    pub read_only: bool,
    /// Set-uid files and device nodes work.
    pub suid_and_devices: bool,
}

impl Power {
    fn flags(self) -> Flags {
        Flags {
            read_only: self.read_only,
            nosuid: !self.suid_and_devices,
            nodev: !self.suid_and_devices,
            noexec: false,
        }
    }
}

/// What came of a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Done {
    /// It is done.
    Plainly,
    /// It is done, and how is worth telling.
    Told(String),
    /// Nothing is mounted there any more; by these steps, layer by layer.
    Unmounted(Vec<Step>),
    /// Ownership was set.
    Owned(Applied),
    /// What was seen.
    Seen(Presence),
    /// How full.
    Usage(Usage),
    /// Whether nobody holds it.
    Free(bool),
    /// What a device is good for.
    Raw(Raw),
}

/// What a device is good for, given away as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Raw {
    /// It is no block device, or one without a byte.
    Nothing,
    /// It can be read: its major and minor number.
    ReadOnly(u32, u32),
    /// It can be written.
    Writable(u32, u32),
}

impl worker::Task for Task {
    type Answer = flexvolume_linux::Result<Done>;

    fn run(self) -> Self::Answer {
        match self {
            Self::Bind { source, target, power } => {
                mount::bind(&source, &target, power.flags()).map(|()| Done::Plainly)
            }
            Self::Unmount { target } => {
                every_layer(&target, |target| mount::unmount(target, Unmount::Plain).map(|()| vec![Step::Plain]))
            }
            Self::TakeTop { target, id } => take_top(&target, id).map(|()| Done::Unmounted(vec![Step::Plain])),
            Self::BreakTop { target } => mount::unmount_ladder(&target, &[]).map(Done::Unmounted),
            Self::Break { target, idle } => every_layer(&target, |target| mount::unmount_ladder(target, &idle)),
            Self::Restrict { target, power } => mount::set_flags(&target, power.flags()).map(|()| Done::Plainly),
            Self::FormatAndMount { device, identity, fs_type, target, intent, options, power } => {
                let made = fs::format_and_mount(
                    &Wanted {
                        device: &device,
                        identity: &identity,
                        fs_type: FsType::parse(&fs_type)?,
                        read_only: power.read_only,
                        made_by_us: false,
                        mkfs_options: &[],
                        mount_options: &options,
                        flags: power.flags(),
                        intents: &Intents::new(intent),
                    },
                    &target,
                )?;
                Ok(Done::Told(format!("{made:?}")))
            }
            Self::FsGroup { dir, gid, on_mismatch } => fs::apply_fs_group(&dir, gid, on_mismatch).map(Done::Owned),
            Self::Grow { device, at } if is_block(&device) => fs::grow_fs(&device, &at).map(|()| Done::Plainly),
            Self::Grow { .. } => Ok(Done::Plainly),
            Self::IsFree { device } if is_block(&device) => block::is_free(&device).map(Done::Free),
            Self::IsFree { .. } => Ok(Done::Free(true)),
            Self::LookRaw { device } => {
                let Some(Trace::Device(major, minor)) = Trace::device(&device) else {
                    return Ok(Done::Raw(Raw::Nothing));
                };
                // The node of a loop device outlives what it was bound to.
                let raw = match (block::size(&device)?, block::is_read_only(&device)?) {
                    (0, true | false) => Raw::Nothing,
                    (1.., true) => Raw::ReadOnly(major, minor),
                    (1.., false) => Raw::Writable(major, minor),
                };
                Ok(Done::Raw(raw))
            }
            Self::Probe { path } => mount::probe(&path).map(Done::Seen),
            Self::Usage { path } => fs::usage(&path).map(Done::Usage),
        }
    }
}

/// A driver may name as its device whatever it likes, on a file system of any kind: only a worker looks.
fn is_block(device: &Path) -> bool {
    std::fs::metadata(device).is_ok_and(|meta| meta.file_type().is_block_device())
}

fn take_top(target: &Path, id: MountId) -> flexvolume_linux::Result<()> {
    match mount::look(target)? {
        Presence::Mount(top) if top == id => mount::unmount(target, Unmount::Plain),
        Presence::Mount(_)
        | Presence::Corrupted(_)
        | Presence::Absent
        | Presence::Plain
        | Presence::Symlink
        | Presence::Other => {
            let what = format!("what was mounted at {} is not on top there any more", target.display());
            Err(flexvolume_linux::Error::new(ErrorKind::Busy, what).with_hint("see who mounts there, then try again"))
        }
    }
}

fn every_layer(
    target: &Path,
    take: impl Fn(&Path) -> flexvolume_linux::Result<Vec<Step>>,
) -> flexvolume_linux::Result<Done> {
    let mut steps = Vec::new();
    for _ in 0..LAYERS {
        match mount::look(target)? {
            Presence::Mount(_) | Presence::Corrupted(_) => {
                steps.extend(take(target)?);
            }
            Presence::Absent | Presence::Plain | Presence::Symlink | Presence::Other => break,
        }
    }
    Ok(Done::Unmounted(steps))
}
