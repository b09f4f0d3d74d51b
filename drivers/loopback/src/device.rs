//! The loop device of an image: one at most, found by the file behind it, formatted only if it is proven empty.

use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use flexvolume::{Attachment, Code, Failure, Options, Result, VolumeName};
use flexvolume_linux::{
    Error,
    fs::{FsType, Wanted, format_and_mount, make_ready},
    loopdev::{self, Loop},
    mount::{self, Flags, Presence, Unmount, table},
};
use rustix::fs::{fstat, major, minor};

use crate::{
    digest::digest,
    image::{self, reads_only},
    mark::Mark,
    place::{Place, name_in},
};

/// For whoever still has the device open, such as a prober of the system's own.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the kernel's list calls all devices of this driver begins so.
const OURS: &str = "flexvol:";

/// How much of a volume's name fits beside its digest.
const READABLE: usize = 38;

/// Attaches the image, or finds it attached, and says as which device.
pub(crate) fn attach(place: &Place, image: File, read_only: bool) -> Result<String> {
    let attached = match sole(place, &image)? {
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
        Some(image) => sole(place, &image),
        None => Ok(None),
    }
}

/// The image's device; not being attached is a failure. It has no code: the volume itself may be well.
pub(crate) fn expect(place: &Place) -> Result<Loop> {
    find(place)?.ok_or_else(|| {
        Failure::internal(format!("{} is not attached on this node; attach comes first", place.image().display()))
    })
}

/// Whether a device of ours is attached for this volume; also one whose image is gone.
pub(crate) fn is_attached(place: &Place) -> Result<bool> {
    let tag = tag(place);
    Ok(loopdev::list()?.iter().any(|one| one.tag == tag))
}

/// What keeps the volume from being deleted: a device of ours, even if its image is gone, or anybody's on the image.
pub(crate) fn user(place: &Place, image: Option<&File>) -> Result<Option<Loop>> {
    let (tag, behind) = (tag(place), image.map(file_of).transpose()?);
    Ok(loopdev::list()?.into_iter().find(|one| one.tag == tag || Some(one.file) == behind))
}

/// The device that is ours and has this very image; anything else on either is a failure, since two devices on one
/// image destroy each other's data, and those of one volume on two images leave a pod with the wrong one.
///
/// A device made by hand is refused too: it may begin anywhere in the image, goes away when its maker pleases, and
/// holds no lock.
fn sole(place: &Place, image: &File) -> Result<Option<Loop>> {
    let (tag, behind) = (tag(place), file_of(image)?);
    let mut found = None;
    for one in loopdev::list()?.into_iter().filter(|one| one.tag == tag || one.file == behind) {
        let (device, image) = (one.device.display(), place.image());
        let why = match (one.tag == tag, one.file == behind) {
            (true, true) if found.is_none() => {
                found = Some(one);
                continue;
            }
            (true, false) => format!("{device} still has an earlier file of the name {}", image.display()),
            (_, _) => format!("{} is attached already, as {device} and not by this driver", image.display()),
        };
        return Err(Failure::new(Code::Busy, format!("{why}; end who uses it, then: losetup -d {device}")));
    }
    Ok(found)
}

/// As the kernel names the file behind a device: the numbers of its file system, and its inode.
fn file_of(image: &File) -> Result<((u32, u32), u64)> {
    let stat = fstat(image).map_err(|error| Error::os("cannot look at the image", error))?;
    Ok(((major(stat.st_dev), minor(stat.st_dev)), stat.st_ino))
}

fn tag(place: &Place) -> String {
    tag_of(place.name(), &place.storage())
}

/// What the device is called in the kernel's list: readable, and no other volume's.
fn tag_of(name: &VolumeName, storage: &str) -> String {
    let name = name.as_str();
    format!("{OURS}{}:{:016x}", &name[..name.len().min(READABLE)], digest(storage.as_bytes()))
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
    let mut wanted = Wanted {
        device: &device,
        identity: &identity,
        fs_type: FsType::parse(options.fs_type())?,
        read_only: true,
        made_by_us: false,
        mkfs_options: &[],
        mount_options: &[],
        flags: Flags { read_only: options.read_only(), ..Flags::default() },
        intents: &place.intents(),
    };
    if reads_only(options) {
        make_ready(&wanted)?;
    }
    wanted.read_only = options.read_only();
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

/// Takes away whatever is mounted at `dir`; nothing there is as good. One that is in use stays: taken out of sight, its
/// device would be held by nobody knows whom.
pub(crate) fn unmount(dir: &Path) -> Result<()> {
    loop {
        match mount::look(dir)? {
            Presence::Absent | Presence::Plain => return Ok(()),
            Presence::Mount(_) | Presence::Corrupted(_) => mount::unmount(dir, Unmount::Plain)?,
            Presence::Symlink | Presence::Other => {
                return Err(Failure::new(Code::Invalid, format!("{} is no directory", dir.display())));
            }
        };
    }
}

/// Detaches what was attached. The device is found by the volume, for the name of the device may have gone to another;
/// only where nothing but the device is known, the device is believed, if it is one of ours.
pub(crate) fn detach(attachment: &Attachment) -> Result<()> {
    let tag = name_in(&attachment.storage)?.map(|name| tag_of(&name, &attachment.storage));
    for one in loopdev::list()? {
        let meant = match &tag {
            Some(tag) => one.tag == *tag,
            None => one.device == Path::new(&attachment.device) && one.tag.starts_with(OURS),
        };
        if meant {
            loopdev::detach_this(&one, PATIENCE)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_volume_has_a_tag_of_its_own_that_fits() {
        let long = "x".repeat(250);
        let tags = ["/a/v", "/b/v", "/a/w", &format!("/a/{long}"), &format!("/a/{long}y")]
            .map(|it| tag_of(&name_in(it).unwrap().unwrap(), it));
        for (n, one) in tags.iter().enumerate() {
            assert!(one.starts_with(OURS) && one.len() <= loopdev::LONGEST_TAG, "{one}");
            assert!(!tags[..n].contains(one), "{one}");
        }
    }
}
