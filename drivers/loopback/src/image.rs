//! Image files: made whole or not at all, found again, grown, never replaced.
//!
//! ```text
//! .ID.img.new (sized, synced) ──▶ .ID.flexvol.json (the mark, synced) ──▶ rename to ID.img
//! ```
//! Cut off after the first step, the unborn image is nothing and is made again; after the second, the rename is owed. A mark
//! without any image means that the image was lost.

use std::{fs::File, io, path::Path};

use flexvolume::{Code, Failure, ONLY_READER, Options, OptionsExt, Result, Size};
use flexvolume_linux::Error;
use rustix::fs::OFlags;

use crate::{
    mark::{Mark, gone},
    place::Place,
};

/// Whether the volume is for reading alone: then nothing is made or formatted for it.
pub(crate) fn reads_only(options: &Options) -> bool {
    options.read_only() || options.get(ONLY_READER).is_some()
}

/// Opens the image that the options name; makes it if it was never there and they say `create: "true"`. From now on its
/// absence is a loss.
pub(crate) fn open_or_make(place: &Place, options: &Options) -> Result<File> {
    let read_only = options.read_only();
    if let Some(image) = open(place, read_only)? {
        if !read_only && Mark::read(place)?.is_none() {
            Mark::new(place.name().as_str(), length_of(&image, place)?, false)?.write(place)?;
        }
        return Ok(image);
    }
    if reads_only(options) {
        let message = format!("there is no image {}, and none is made for a reader alone", place.image().display());
        return Err(Failure::new(Code::NotFound, message));
    }
    if !options.flag("create")? {
        let message = format!(
            "there is no image {}; make it, or let it be made with the options create: \"true\" and size",
            place.image().display()
        );
        return Err(Failure::new(Code::NotFound, message));
    }
    let size: Size = options.required("size")?;
    make(place, Mark::new(place.name().as_str(), size.bytes(), true)?)?;
    open(place, read_only)?.ok_or_else(|| lost(place))
}

/// Opens the image; `None` if there never was one.
pub(crate) fn open(place: &Place, read_only: bool) -> Result<Option<File>> {
    let mark = Mark::read(place)?;
    if mark.as_ref().is_some_and(|mark| mark.deleting) {
        let (kind, image) = (place.kind().word(), place.image());
        let message =
            format!("the {kind} of {} is being deleted; call delete{kind} again to end that", image.display());
        return Err(Failure::new(Code::NotFound, message));
    }
    if mark.as_ref().is_some_and(|mark| mark.making.is_some()) {
        let (kind, image) = (place.kind().word(), place.image());
        let message = format!("{} is still being copied; call create{kind} again to end that", image.display());
        return Err(Failure::new(Code::NotFound, message));
    }
    if mark.is_some() {
        finish(place)?;
    }
    match (open_file(place, read_only)?, mark) {
        (Some(image), mark) if place.vouched() || mark.as_ref().is_some_and(|mark| mark.made) => Ok(Some(image)),
        (Some(_), _) => {
            let message = format!(
                "{} was not made by this driver; to have it used, name its directory in the driver's settings (directories)",
                place.image().display()
            );
            Err(Failure::new(Code::Permission, message))
        }
        (None, Some(_)) => Err(lost(place)),
        (None, None) => Ok(None),
    }
}

/// It was there and is gone.
pub(crate) fn lost(place: &Place) -> Failure {
    let message = format!(
        "the image {} was there and is gone; restore it from a backup, or, to begin with an empty volume, remove {}",
        place.image().display(),
        place.mark().display()
    );
    Failure::new(Code::NotFound, message)
}

/// Makes the image, sparse and empty, as its mark will say. Nothing of it is left if that fails. Neither image nor mark may be
/// there.
pub(crate) fn make(place: &Place, mark: Mark) -> Result<()> {
    let unborn = place.unborn();
    gone(place, &unborn)?;
    // It may tell of an image that is gone, and whose mark somebody took away to begin anew.
    place.intents().clear()?;
    let made = make_file(place, &unborn, mark.bytes).and_then(|()| mark.write(place));
    if let Err(failure) = made {
        // In this order: a mark without an image would be a loss.
        let _ = Mark::remove(place);
        let _ = gone(place, &unborn);
        return Err(failure);
    }
    finish(place)
}

fn make_file(place: &Place, path: &Path, bytes: u64) -> Result<()> {
    const WHAT: &str = "make the image";
    let failed = |error| Error::io(WHAT, place.image(), error);
    let file = place.folder().open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL).map_err(failed)?;
    resize(&file, bytes, WHAT, &place.image())?;
    Ok(file.sync_all().map_err(failed)?)
}

/// Gives the file so many bytes; `what` is done with the image.
///
/// # Errors
/// `invalid`: no file can be so large there. That is no lack of room: none that is freed would help.
pub(crate) fn resize(file: &File, bytes: u64, what: &str, image: &Path) -> Result<()> {
    file.set_len(bytes).map_err(|error| {
        // The latter is a number that the kernel has no room for.
        if !matches!(error.kind(), io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput) {
            return Error::io(what, image, error).into();
        }
        let message = format!(
            "cannot {what} {}: ask for less than {bytes} bytes, this file system's files cannot be so large",
            image.display()
        );
        Failure::new(Code::Invalid, message)
    })
}

/// Gives a marked image its name, if that is still owed; never in the place of another.
pub(crate) fn finish(place: &Place) -> Result<()> {
    let (from, to) = (place.unborn(), place.image());
    match place.folder().rename(&from, &to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("give its name to the image", &to, error).into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn open_file(place: &Place, read_only: bool) -> Result<Option<File>> {
    let path = &place.image();
    let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
    let file = match place.folder().open(path, access | OFlags::NONBLOCK) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open the image", path, error).into()),
    };
    let meta = file.metadata().map_err(|error| Error::io("look at the image", path, error))?;
    if meta.is_file() {
        Ok(Some(file))
    } else {
        Err(Failure::new(Code::Invalid, format!("{} is not a regular file", path.display())))
    }
}

/// Grows the image to `bytes`, never shrinks it; the size it then has.
pub(crate) fn grow(place: &Place, bytes: u64) -> Result<u64> {
    let Some(mark) = Mark::read(place)?.filter(|mark| mark.made) else {
        let message = format!("{} was not made by this driver, so it is not grown", place.image().display());
        return Err(Failure::new(Code::Permission, message));
    };
    let image = open(place, false)?.ok_or_else(|| lost(place))?;
    let now = length_of(&image, place)?;
    if now < bytes {
        resize(&image, bytes, "grow the image", &place.image())?;
        image.sync_all().map_err(|error| Error::io("grow the image", place.image(), error))?;
    }
    let now = now.max(bytes);
    if mark.bytes < now {
        Mark { bytes: now, ..mark }.write(place)?;
    }
    Ok(now)
}

fn length_of(image: &File, place: &Place) -> Result<u64> {
    let meta = image.metadata().map_err(|error| Error::io("look at the image", place.image(), error))?;
    Ok(meta.len())
}

/// The image's length in bytes.
pub(crate) fn length(place: &Place) -> Result<Option<u64>> {
    match place.folder().stat(&place.image()) {
        Ok(stat) => Ok(Some(stat.st_size.unsigned_abs())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at the image", place.image(), error).into()),
    }
}
