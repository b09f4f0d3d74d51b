//! The loop device of an image: one at most, found by the file behind it, formatted only if it is proven empty.

use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use flexvolume::{Code, Failure, Options, Result};
use flexvolume_linux::{
    Error,
    fs::{FsType, Wanted, format_and_mount},
    loopdev::{self, LONGEST_TAG, Loop},
    mount::{self, Flags, Presence, table},
};

use crate::{image, mark::Mark, place::Place};

/// For whoever still has the device open, such as a prober of the system's own.
const PATIENCE: Duration = Duration::from_secs(10);

/// Attaches the image, or finds it attached, and says as which device.
pub(crate) fn attach(place: &Place, image: File, read_only: bool) -> Result<String> {
    let attached = match only(place, loopdev::of_file(&image)?)? {
        Some(found) if found.read_only && !read_only => {
            let message = format!("{} is attached read-only; take down who has it so", place.image().display());
            return Err(Failure::new(Code::Busy, message));
        }
        Some(found) => found.device,
        None => loopdev::attach(image, &tag(place), read_only)?,
    };
    Ok(attached.display().to_string())
}

/// The image's device, if it is attached.
pub(crate) fn find(place: &Place) -> Result<Option<Loop>> {
    match image::open(place, true)? {
        Some(file) => only(place, loopdev::of_file(&file)?),
        None => Ok(None),
    }
}

/// The image's device; not being attached is a failure.
pub(crate) fn expect(place: &Place) -> Result<Loop> {
    find(place)?.ok_or_else(|| {
        Failure::new(Code::NotFound, format!("{} is not attached; attach comes first", place.image().display()))
    })
}

fn only(place: &Place, mut found: Vec<Loop>) -> Result<Option<Loop>> {
    let last = found.pop();
    match (last, found.is_empty()) {
        (last, true) => Ok(last),
        (_, false) => {
            let message = format!(
                "{} is behind several loop devices, and two of them would destroy each other's data; detach all but one (losetup -j, losetup -d)",
                place.image().display()
            );
            Err(Failure::new(Code::Conflict, message))
        }
    }
}

/// What the device is called in the kernel's list: for people; the file behind it decides.
fn tag(place: &Place) -> String {
    format!("flexvol:{}", place.name()).chars().take(LONGEST_TAG).collect()
}

/// Mounts the device at `dir`, formatted first if it is proven empty. Gives what a person should hear of.
pub(crate) fn mount(place: &Place, dir: &Path, options: &Options) -> Result<Vec<String>> {
    let device = expect(place)?.device;
    if is_mounted(&device, dir)? {
        return Ok(Vec::new());
    }
    let identity = match Mark::read(place)? {
        Some(mark) => mark.uuid,
        None => place.storage(),
    };
    let wanted = Wanted {
        device: &device,
        identity: &identity,
        fs_type: FsType::parse(options.fs_type())?,
        read_only: options.read_only(),
        made_by_us: false,
        mkfs_options: &[],
        mount_options: &[],
        flags: Flags { read_only: options.read_only(), ..Flags::default() },
        intents: &place.intents(),
    };
    Ok(format_and_mount(&wanted, dir)?.notes)
}

/// Whether this very device is what is mounted there; anything else there is a failure.
fn is_mounted(device: &Path, dir: &Path) -> Result<bool> {
    match mount::look(dir)? {
        Presence::Absent | Presence::Plain => return Ok(false),
        Presence::Mount(_) => {}
        Presence::Corrupted(_) | Presence::Symlink | Presence::Other => return Err(occupied(dir)),
    }
    // The device is named by number, since btrfs shows one of its own as the file system's.
    let source = table::at(dir)?.map(|mounted| PathBuf::from(mounted.source));
    let number = |path: &Path| std::fs::metadata(path).map(|meta| meta.rdev()).ok();
    match source.as_deref().and_then(number) {
        Some(theirs) if Some(theirs) == number(device) => Ok(true),
        Some(_) | None => Err(occupied(dir)),
    }
}

fn occupied(dir: &Path) -> Failure {
    Failure::new(Code::Conflict, format!("something else is mounted at {}; it is left alone", dir.display()))
}

/// Takes away whatever is mounted at `dir`; nothing there is as good.
pub(crate) fn unmount(dir: &Path) -> Result<()> {
    loop {
        match mount::look(dir)? {
            Presence::Absent | Presence::Plain => return Ok(()),
            Presence::Mount(_) | Presence::Corrupted(_) => mount::take_away(dir)?,
            Presence::Symlink | Presence::Other => {
                return Err(Failure::new(Code::Invalid, format!("{} is no directory", dir.display())));
            }
        };
    }
}

/// Detaches the image's device. `device` is what was recorded; it only matters where the image itself is gone.
pub(crate) fn detach(place: &Place, device: &str) -> Result<()> {
    let file = File::open(place.image()).ok();
    let found = match &file {
        Some(file) => loopdev::of_file(file)?,
        None => recorded(place, device)?.into_iter().collect(),
    };
    drop(file);
    for attached in found {
        loopdev::detach_this(&attached, PATIENCE).map_err(|error: Error| Failure::from(error))?;
    }
    Ok(())
}

/// The recorded device, if it still is this volume's: its name may have gone to another since.
fn recorded(place: &Place, device: &str) -> Result<Option<Loop>> {
    if device.is_empty() {
        return Ok(None);
    }
    Ok(loopdev::status_of(Path::new(device))?.filter(|attached| attached.tag == tag(place)))
}
