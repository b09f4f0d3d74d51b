//! Whether anybody uses an image, be it through a loop device of whomever or by the kernel's lock on the file.

use std::fs::File;

use flexvolume::{Code, Failure, Result};
use flexvolume_linux::Error;
use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};

use crate::{device, place::Place};

/// The image, in nobody's use and locked as long as the answer lives, so that nobody can attach it; `None` if there is none. The
/// place is locked.
///
/// # Errors
/// `busy`: it is in use.
pub(crate) fn unused(place: &Place) -> Result<Option<File>> {
    device::end_moment(place)?;
    let busy =
        |who: &str| Failure::new(Code::Busy, format!("{} is in use{who}; detach it first", place.image().display()));
    let image = place.folder().open(&place.image(), OFlags::RDONLY | OFlags::NONBLOCK).ok();
    if let Some(user) = device::user(place, image.as_ref())? {
        return Err(busy(&format!(", as {}", user.device.display())));
    }
    if let Some(image) = &image {
        flock(image, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            Errno::WOULDBLOCK => busy(""),
            _ => Error::io("lock the image", place.image(), error).into(),
        })?;
    }
    Ok(image)
}
