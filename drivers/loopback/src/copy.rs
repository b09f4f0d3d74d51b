//! Images copied: at once by sharing blocks where the file system can, else slice by slice while nobody changes the original.
//!
//! ```text
//! mark "making" ──▶ .ID.img.new shared ─────────────────────────────▶ synced ──▶ mark "made" ──▶ rename to ID.img
//!                      └─ cannot be ─▶ slice, synced, noted in the mark ─▶ … ─▶┘      "In progress" between slices
//! ```
//! Sharing is of one moment, also of an image that is written to. Copying is not: an original that is in use is refused, and one
//! that was changed between two slices is copied from its beginning.

use std::{
    fs::File,
    io,
    time::{Instant, SystemTime},
};

use flexvolume::{Code, Failure, Result, Timestamp};
use flexvolume_linux::{
    Error, block,
    fs::Phase,
    tree::{Came, Identity, copy_content, share_content},
};
use rustix::fs::OFlags;

use crate::{
    device, image,
    mark::{Mark, Origin, gone},
    place::{Kind, Place},
    progress::Progress,
    unused::unused,
};

/// What is copied.
pub(crate) struct Source {
    pub(crate) place: Place,
    image: File,
    /// How much it holds.
    pub(crate) bytes: u64,
    /// Its file system is smaller than that.
    pub(crate) grow: bool,
    uuid: String,
}

impl Source {
    /// The volume or snapshot that lies there, if there is one. Its lock is held.
    ///
    /// # Errors
    /// `notFound`: it is lost, half-made or half-deleted. `busy`: its file system is half-made. `permission`: it is not ours.
    pub(crate) fn open(place: Place) -> Result<Option<Self>> {
        let mark = Mark::read(&place)?;
        if place.kind() == Kind::Snapshot && mark.is_none() {
            return Ok(None);
        }
        let Some(image) = image::open(&place, true)? else { return Ok(None) };
        if place.kind() == Kind::Volume && place.intents().read()?.is_some_and(|intent| intent.phase == Phase::Proven) {
            let message = format!(
                "the file system of {} is being made, or its making was cut off; mount it once",
                place.image().display()
            );
            return Err(Failure::new(Code::Busy, message));
        }
        let bytes = image.metadata().map_err(|error| Error::io("look at the image", place.image(), error))?.len();
        let grow = mark.as_ref().is_some_and(|mark| mark.grow);
        let uuid = mark.map(|mark| mark.uuid).unwrap_or_default();
        Ok(Some(Self { place, image, bytes, grow, uuid }))
    }

    /// What a copy of it says that it was made of.
    pub(crate) fn origin(&self, id: String) -> Origin {
        Origin { kind: self.place.kind(), id, storage: self.place.storage(), uuid: self.uuid.clone() }
    }
}

/// Makes what the mark says, of which the mark may have been written already; goes on where an earlier call ended. The mark that it
/// then has. Both places are locked.
///
/// # Errors
/// In progress: call again. `busy`: it cannot be shared, and the original is in use. `exhausted`: no room. Nothing is left of it
/// after any failure.
pub(crate) fn make(place: &Place, mark: Mark, source: &Source, until: Instant) -> Result<Mark> {
    let begun = Mark { making: Some(mark.making.clone().unwrap_or_default()), ..mark };
    let made = fill(place, begun, source, until).and_then(|mark| {
        mark.write(place)?;
        Ok(mark)
    });
    match made {
        Ok(mark) => image::finish(place).map(|()| mark),
        Err(failure) if failure.is_in_progress() => Err(failure),
        Err(failure) => match undo(place) {
            Ok(()) => Err(failure),
            Err(left) => Err(failure.within(&format!("what was copied is still there ({left})"))),
        },
    }
}

/// Takes away what was begun and is not whole; the mark last.
pub(crate) fn undo(place: &Place) -> Result<()> {
    gone(place, &place.unborn())?;
    Mark::remove(place)
}

/// The copy with all that is to be in it, durably, and the mark that it is to have.
fn fill(place: &Place, mut mark: Mark, source: &Source, until: Instant) -> Result<Mark> {
    let unborn = place.unborn();
    let failed = |what: &str, error: io::Error| -> Failure { Error::io(what, &unborn, error).into() };
    let original = Identity::of_file(&source.image).map_err(|error| failed("look at the original of", error))?;
    let there = match place.folder().stat(&unborn) {
        Ok(stat) => stat.st_size.unsigned_abs(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(failed("look at", error)),
    };
    let at = mark.making.as_ref().map_or(0, |making| making.at(original, there));
    if at == 0 {
        gone(place, &unborn)?;
        mark.making = Some(Progress { of: Some(original), done: 0 });
        mark.taken = Some(Timestamp::from(SystemTime::now()));
        mark.write(place)?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE;
    let copy = place.folder().open(&unborn, flags).map_err(|error| failed("make", error))?;
    if at > 0 || !share(source, &copy)? {
        copy_on(place, &mut mark, source, (&copy, at, original), until)?;
    } else {
        mark.taken = Some(Timestamp::from(SystemTime::now()));
    }
    if mark.bytes > source.bytes {
        image::resize(&copy, mark.bytes, "grow the image", &place.image())?;
    }
    copy.sync_all().map_err(|error| failed("flush", error))?;
    // A snapshot is of when it was taken; a volume is its own from its beginning.
    let taken = mark.taken.filter(|_| place.kind() == Kind::Snapshot);
    Ok(Mark { making: None, taken, ..mark })
}

/// Whether the copy has all of it now, at no cost. What programs wrote to the volume before is in it.
fn share(source: &Source, copy: &File) -> Result<bool> {
    if let Some(user) = device::user(&source.place, Some(&source.image))? {
        block::flush(&user.device)?;
    }
    let shared = share_content(&source.image, copy);
    Ok(shared.map_err(|error| Error::io("share the blocks of", source.place.image(), error))?)
}

/// Copies from `at` on while time is left.
fn copy_on(
    place: &Place,
    mark: &mut Mark,
    source: &Source,
    (copy, at, original): (&File, u64, Identity),
    until: Instant,
) -> Result<()> {
    let _unused = unused(&source.place).map_err(|failure| match failure.code() {
        Some(Code::Busy) => failure.within("its file system cannot share blocks (xfs and btrfs can)"),
        _ => failure,
    })?;
    let unborn = place.unborn();
    let failed = |what: &str, error| -> Failure { Error::io(what, &unborn, error).into() };
    match copy_content(&source.image, copy, source.bytes, at, until).map_err(|error| failed("copy to", error))? {
        Came::Whole => {}
        Came::To(done) => {
            copy.sync_all().map_err(|error| failed("flush", error))?;
            mark.making = Some(Progress { of: Some(original), done });
            mark.write(place)?;
            return Err(Failure::in_progress());
        }
    }
    // Whoever writes without asking the kernel's lock: a program that has the image open.
    if Identity::of_file(&source.image).map_err(|error| failed("look at the original of", error))? == original {
        return Ok(());
    }
    let message = format!("{} was written to while it was copied; end who does that", source.place.image().display());
    Err(Failure::new(Code::Busy, message))
}
