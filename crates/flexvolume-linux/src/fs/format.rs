//! From a device to a mounted file system: look, decide, record, mkfs, record, check, mount.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    check::{self, Depth},
    decide::{Asked, Step, decide},
    device::Device,
    intent::{Intent, Intents, Phase, fresh_uuid},
    kind::FsType,
    options::{MountOption, check_mkfs_options, mount_options},
    probe::{Content, Glance, full, glance, zero_from},
    tool::{MKFS_BTRFS, MKFS_EXT3, MKFS_EXT4, MKFS_XFS},
};
use crate::{
    Error, ErrorKind, Result,
    mount::{Flags, FsMount, mount},
};

/// What is wanted of a device.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The block device.
    pub device: &'a Path,
    /// A name of the storage itself, the same after detach, attach and reboot: an image's path and inode, a logical
    /// volume's UUID. A device's name is none.
    pub identity: &'a str,
    /// What it shall hold.
    pub fs_type: FsType,
    /// Mount read-only; then nothing is formatted or mended either.
    pub read_only: bool,
    /// The caller made this storage, blank, and it has never been handed out: it is *this* volume's creation that goes
    /// on. Then the in-process probe alone proves emptiness, without blkid and without the scan of both ends. Say so
    /// only on the strength of a mark of your own that you set when you make the storage and take away after the first
    /// success; that you made it once, some time, is no proof.
    pub made_by_us: bool,
    /// Arguments for mkfs, held against a list.
    pub mkfs_options: &'a [String],
    /// Options for the mount, held against a list; suid, dev and exec are not on it.
    pub mount_options: &'a [(String, Option<String>)],
    /// The administrator's flags for the mount.
    pub flags: Flags,
    /// The durable record of this volume's format.
    pub intents: &'a Intents,
}

/// What had to be done for a device to hold the file system that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Made {
    /// It was empty and is formatted.
    Formatted,
    /// It holds it already.
    Already,
    /// An earlier format was cut off; it was done again.
    Redone,
}

/// A device that is formatted and mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// What had to be done.
    pub made: Made,
    /// What a person should hear of: errors that were mended, a check that could not be made.
    pub notes: Vec<String>,
}

/// Sees to it that the device holds the file system that is wanted, and formats it only if it is proven empty.
///
/// Under the device's lock, which a running mkfs goes on holding if we die. When this returns success the record says
/// that the device may hold data, durably: it is never formatted again while that record exists. Call it again after
/// any failure or crash; it takes up where the last call was cut off, provided that call's processes are gone (else:
/// `Busy`).
///
/// # Errors
/// `Refused`: the device holds anything foreign, or is unformatted and wanted read-only. `Corrupted`: it was formatted
/// and is no longer. `Busy`: another call works on it, or it is in use and cannot be formatted. `Unsupported`: mkfs
/// or blkid is not installed. `Io`: as it says.
pub fn make_ready(wanted: &Wanted<'_>) -> Result<Made> {
    check_mkfs_options(wanted.fs_type, wanted.mkfs_options)?;
    prepare(wanted, &Device::lock(wanted.device)?).map(|(made, _)| made)
}

/// [`make_ready`], then checks what was there already and mounts it at `target`: type named, nosuid and nodev by
/// default, ext3 and ext4 with `errors=remount-ro`. A device that is mounted elsewhere is mounted once more, unchecked.
///
/// # Errors
/// Those of [`make_ready`]; `Refused` for an option that is not on the list; `Corrupted` if the check leaves errors
/// or the kernel finds some; and those of the mount.
pub fn format_and_mount(wanted: &Wanted<'_>, target: &Path) -> Result<Ready> {
    check_mkfs_options(wanted.fs_type, wanted.mkfs_options)?;
    let (options, mut flags) = mount_options(wanted.fs_type, wanted.mount_options, wanted.flags)?;
    flags.read_only |= wanted.read_only;
    let wanted = Wanted { read_only: flags.read_only, ..*wanted };
    let device = Device::lock(wanted.device)?;
    let (made, in_use) = prepare(&wanted, &device)?;
    let notes = match made {
        Made::Already if !in_use && !wanted.read_only && device.is_free()? => {
            check::repair(&device, wanted.fs_type, Depth::Needed)?
        }
        Made::Already | Made::Formatted | Made::Redone => Vec::new(),
    };
    if !in_use {
        device.is_free()?;
    }
    mount_it(&device, wanted.fs_type, &options, flags, target)?;
    Ok(Ready { made, notes })
}

fn mount_it(device: &Device, fs_type: FsType, options: &[MountOption], flags: Flags, target: &Path) -> Result<()> {
    let source = device.path().to_string_lossy();
    mount(&FsMount { fs_type: fs_type.as_str(), source: Some(&source), options, flags }, target).map_err(|error| {
        if error.kind() == ErrorKind::Corrupted { error.with_hint(check::advice(fs_type, &source)) } else { error }
    })
}

/// The answer, and whether somebody else uses the device.
fn prepare(wanted: &Wanted<'_>, device: &Device) -> Result<(Made, bool)> {
    let intent = wanted.intents.read()?;
    // Somebody may have it mounted, and then it is whole; else nothing is judged that others could be changing.
    let claim = match glance(device)? {
        Glance::Whole { .. } => device.claim()?,
        Glance::Nothing | Glance::Doubt => device.claim_patiently()?,
    };
    let name = device.path().to_string_lossy();
    let record = wanted.intents.path().to_string_lossy();
    let asked = Asked { device: &name, identity: wanted.identity, fs_type: wanted.fs_type, record: &record };
    let step = decide(&look(wanted, device)?, intent.as_ref(), &asked)?;
    let in_use = claim.is_none();
    // Programs and mounts claim the device for themselves; the lock, which they inherit, keeps others of us out meanwhile.
    drop(claim);
    if step == Step::Keep {
        return Ok((Made::Already, in_use));
    }
    if (in_use && step != Step::Prove) || !device.is_free()? {
        let context = format!("cannot format or check {name}: something uses it");
        return Err(Error::new(ErrorKind::Busy, context).with_hint(format!("see what: lsblk {name}; fuser -vm {name}")));
    }
    let made = match (step, intent) {
        (Step::Prove, Some(intent)) => {
            if check::is_clean(device, wanted.fs_type)? {
                device.sync()?;
                wanted.intents.write(&Intent { phase: Phase::Formatted, ..intent })?;
                Made::Already
            } else {
                // The glance that led here was ours alone; before mkfs both probes have to say the same.
                match decide(&full(device)?, Some(&intent), &asked)? {
                    Step::Prove | Step::Again => format(wanted, device, Some(intent))?,
                    Step::Keep | Step::Format => return Err(changed(&name)),
                }
            }
        }
        (Step::Again, intent @ Some(_)) => format(wanted, device, intent)?,
        (Step::Format, None) => format(wanted, device, None)?,
        (Step::Keep | Step::Prove | Step::Format | Step::Again, _) => return Err(changed(&name)),
    };
    Ok((made, false))
}

fn changed(name: &str) -> Error {
    Error::new(ErrorKind::Busy, format!("{name} changed while it was looked at")).with_hint("try again")
}

/// What the device holds; by our own probe alone where nothing will be destroyed on the strength of it.
fn look(wanted: &Wanted<'_>, device: &Device) -> Result<Content> {
    match glance(device)? {
        Glance::Whole { name, uuid } => Ok(Content::Filesystem { fs_type: name.to_owned(), uuid, in_progress: false }),
        Glance::Nothing if wanted.made_by_us => Ok(Content::Empty),
        Glance::Nothing | Glance::Doubt => full(device),
    }
}

/// mkfs between its two records. `earlier` is the record of a format that was cut off.
fn format(wanted: &Wanted<'_>, device: &Device, earlier: Option<Intent>) -> Result<Made> {
    let name = device.path().to_string_lossy();
    if wanted.read_only {
        let context = format!("cannot use {name}: it is not formatted, and it is wanted read-only");
        return Err(Error::new(ErrorKind::Refused, context)
            .with_hint("mount it read-write once, or attach storage that holds a file system"));
    }
    let made = if earlier.is_some() { Made::Redone } else { Made::Formatted };
    let intent = match &earlier {
        Some(earlier) => {
            same_size(device, earlier, wanted.intents)?;
            Intent { size: device.size(), fs_type: wanted.fs_type, ..earlier.clone() }
        }
        None => Intent {
            identity: wanted.identity.to_owned(),
            size: device.size(),
            fs_type: wanted.fs_type,
            uuid: fresh_uuid()?,
            phase: Phase::Proven,
        },
    };
    if earlier.as_ref() != Some(&intent) {
        wanted.intents.write(&intent)?;
    }
    if earlier.is_some() {
        device.wipe_ends()?;
    }
    mkfs(wanted, device, &intent.uuid)?;
    device.sync()?;
    match glance(device)? {
        Glance::Whole { name: found, uuid } if found == wanted.fs_type.as_str() && uuid == intent.uuid => {}
        Glance::Whole { .. } | Glance::Nothing | Glance::Doubt => {
            let context = format!("mkfs reported success, but {name} does not hold {} {}", wanted.fs_type, intent.uuid);
            return Err(Error::new(ErrorKind::Io, context).with_hint("see the kernel's log for errors of the device"));
        }
    }
    wanted.intents.write(&Intent { phase: Phase::Formatted, ..intent })?;
    Ok(made)
}

/// A device that shrank is not what was proven empty; one that grew must be blank where it did.
fn same_size(device: &Device, earlier: &Intent, intents: &Intents) -> Result<()> {
    let now = device.size();
    if now == earlier.size || now > earlier.size && zero_from(device, earlier.size)? {
        return Ok(());
    }
    let context = format!(
        "{} is not touched: it has {now} bytes, by the record {} it had {} when it was proven empty",
        device.path().display(),
        intents.path().display(),
        earlier.size
    );
    Err(Error::new(ErrorKind::Refused, context)
        .with_hint("see that it is the right storage; if so, empty it by hand and remove the record"))
}

fn mkfs(wanted: &Wanted<'_>, device: &Device, uuid: &str) -> Result<()> {
    let name = device.path().to_string_lossy();
    let xfs_uuid = format!("uuid={uuid}");
    // xfs and btrfs want to be forced over the ruins of their own; that nothing else is there has been proven.
    let (tool, own): (_, &[&str]) = match wanted.fs_type {
        FsType::Ext3 => (MKFS_EXT3, &["-q", "-F", "-m0", "-U", uuid]),
        FsType::Ext4 => (MKFS_EXT4, &["-q", "-F", "-m0", "-U", uuid]),
        FsType::Xfs => (MKFS_XFS, &["-q", "-f", "-m", &xfs_uuid]),
        FsType::Btrfs => (MKFS_BTRFS, &["-q", "-f", "-U", uuid]),
    };
    let mut args = own.to_vec();
    args.extend(wanted.mkfs_options.iter().map(String::as_str));
    args.push(&name);
    tool.succeed(&format!("format {name} as {}", wanted.fs_type), &args, Some(device))?;
    Ok(())
}
