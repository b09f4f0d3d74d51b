//! The loop device of an image: one at most, found by the file behind it.

use std::{fs::File, path::Path, time::Duration};

use flexvolume::{Attachment, Code, Failure, Result, VolumeName};
use flexvolume_linux::{
    Error,
    loopdev::{self, Loop},
};
use rustix::fs::{fstat, major, minor};

use crate::{
    digest::digest,
    image,
    mark::Mark,
    place::{Place, name_in},
};

/// For whoever still has the device open, such as a prober of the system's own.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the kernel's list calls all devices of this driver begins so.
const OURS: &str = "flexvol:";

/// And those that are ours for as long as a call lasts begin so.
const PASSING: &str = "flexuid:";

/// How much of a volume's name fits beside its digest.
const READABLE: usize = 38;

/// Attaches the image, or finds it attached, and says as which device. What is to be read only is behind a device that nobody can
/// write to: a pod may be given it as it is.
pub(crate) fn attach(place: &Place, image: File, read_only: bool) -> Result<String> {
    let direct = Mark::read(place)?.is_none_or(|mark| !mark.buffered);
    let mut there = sole(place, &image)?;
    // One that was told to go, while somebody looked at it, goes from beneath whoever is told that it is attached.
    if there.as_ref().is_some_and(|one| one.autoclear && loopdev::detach_this(one, PATIENCE).is_ok()) {
        there = None;
    }
    let attached = match there {
        Some(found) if found.read_only != read_only => {
            let how = if found.read_only { "read-only" } else { "for writing, and is wanted read-only" };
            let message = format!("{} is attached {how}; take down who has it so", place.image().display());
            return Err(Failure::new(Code::Busy, message));
        }
        Some(found) => {
            // A call that changed the way may have been cut off before it came to the device.
            lead(&found, direct)?;
            found.device
        }
        None => {
            let device = loopdev::attach(image, &tag(place), read_only)?;
            if !direct {
                // It was attached for the other way.
                loopdev::set_direct_io(&device, false)?;
            }
            device
        }
    };
    Ok(attached.display().to_string())
}

/// Has a device of ours go to its image around the page cache or through it, in use or not. Whether it does: not every file system
/// allows the way around.
///
/// # Errors
/// It is attached no longer.
pub(crate) fn lead(attached: &Loop, direct: bool) -> Result<bool> {
    Ok(attached.direct_io == direct || loopdev::set_direct_io(&attached.device, direct)? == direct)
}

/// Has the image behind a device for as long as `work` lasts. The place is locked, and nobody has the image attached.
///
/// # Errors
/// Those of `work`; the image is in use.
pub(crate) fn for_a_moment<T>(place: &Place, image: File, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let device = loopdev::attach(image, &tag_of(PASSING, place.name(), &place.storage()), false)?;
    let done = work(&device);
    let detached = loopdev::detach(&device, PATIENCE);
    done.and_then(|done| Ok(detached.map(|()| done)?))
}

/// Detaches what a call left that was cut off while it had the image for a moment. The place is locked.
///
/// # Errors
/// `busy`: a program that it started is still at work.
pub(crate) fn end_moment(place: &Place) -> Result<()> {
    let tag = tag_of(PASSING, place.name(), &place.storage());
    for one in loopdev::list()?.into_iter().filter(|one| one.tag == tag) {
        loopdev::detach_this(&one, PATIENCE)?;
    }
    Ok(())
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
pub(crate) fn sole(place: &Place, image: &File) -> Result<Option<Loop>> {
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
    tag_of(OURS, place.name(), &place.storage())
}

/// What the device is called in the kernel's list: readable, and no other volume's.
fn tag_of(whose: &str, name: &VolumeName, storage: &str) -> String {
    let name = name.as_str();
    format!("{whose}{}:{:016x}", &name[..name.len().min(READABLE)], digest(storage.as_bytes()))
}

/// Detaches what was attached. The device is found by the volume, for the name of the device may have gone to another;
/// only where nothing but the device is known, the device is believed, if it is one of ours.
pub(crate) fn detach(attachment: &Attachment) -> Result<()> {
    let tag = name_in(&attachment.storage)?.map(|name| tag_of(OURS, &name, &attachment.storage));
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
            .map(|it| tag_of(OURS, &name_in(it).unwrap().unwrap(), it));
        assert_eq!((OURS.len(), PASSING.len()), (8, 8));
        for (n, one) in tags.iter().enumerate() {
            assert!(one.starts_with(OURS) && one.len() <= loopdev::LONGEST_TAG, "{one}");
            assert!(!tags[..n].contains(one), "{one}");
        }
    }
}
