//! Volumes that begin with the content of another, or of a snapshot.
//!
//! The file system comes with the UUID of its original, which may be mounted beside it. A new one is chosen here, and given
//! before the first mount (see [`renew`](crate::renew)).

use flexvolume::{Code, Created, Failure, Options, Result, Source as Of, World};
use flexvolume_linux::fs::fresh_uuid;

use crate::{
    copy::{self, Source},
    home::until,
    mark::{Mark, Origin},
    place::Place,
    provision::{ANOTHER_WAY, Wish, conflict, created, ours, same},
};

/// Makes the volume `flexvol/name` of a source; the same name, source and a fitting size again is the same volume.
///
/// # Errors
/// `notFound`: the source is not there. `invalid`: it is larger than the clone may be. `conflict`: there is another volume of that
/// name. And those of [`copy::make`].
pub(crate) fn create(options: &Options, of: &Of, world: &World) -> Result<Created> {
    let wish = Wish::of(options)?;
    let place = wish.place(world)?;
    let (id, original) = match of {
        Of::Volume(id) => (id, Place::of_id(id.as_str(), world)?),
        Of::Snapshot(id) => (id, Place::of_snapshot(id.as_str(), world)?),
    };
    let unknown = || Failure::new(Code::NotFound, format!("there is no source {id}"));
    let original = original.ok_or_else(unknown)?;
    if original.storage() == place.storage() {
        return Err(conflict(&place, "the content that it has: it cannot be its own clone"));
    }
    let _locks = place.lock_with(&original, world)?;
    let begun = ours(&place, &wish.name)?;
    if let Some(mark) = &begun {
        if !mark.origin.as_ref().is_some_and(|origin| is_of(origin, &original)) {
            return Err(conflict(&place, "the content of another, or none"));
        }
        if mark.making.is_none() {
            return created(&place, mark, same(&place, mark, &wish)?);
        }
        if !wish.fits(mark.bytes) {
            return Err(conflict(&place, "another size"));
        }
        if !wish.change.is_so(mark) {
            return Err(conflict(&place, ANOTHER_WAY));
        }
    }
    let source = Source::open(original).and_then(|source| source.ok_or_else(unknown));
    let sized = source.and_then(|source| size(&wish, source.bytes).map(|bytes| (source, bytes)));
    let (source, bytes) = sized.inspect_err(|_| {
        // Of what is half-made nothing can come any more. What is not removed now is when it is deleted.
        if begun.is_some() {
            let _ = copy::undo(&place);
        }
    })?;
    let begun = match begun {
        Some(begun) => begun,
        None => Mark { renew: Some(fresh_uuid()?), ..wish.mark(bytes)? },
    };
    let origin = Some(source.origin(id.to_string()));
    let mark = Mark { bytes, origin, grow: source.grow || bytes > source.bytes, ..begun };
    let made = copy::make(&place, mark, &source, until(world)?)?;
    created(&place, &made, made.bytes)
}

fn is_of(origin: &Origin, original: &Place) -> bool {
    origin.kind == original.kind() && origin.storage == original.storage()
}

/// How large a clone becomes: as wished, and never smaller than its source.
fn size(wish: &Wish, source: u64) -> Result<u64> {
    let bytes = match wish.required {
        Some(required) if required > source => wish.rounded(required)?,
        Some(_) | None => source,
    };
    match wish.limit {
        Some(limit) if limit < bytes => {
            let message = format!("its source has {source} bytes, and no more than {limit} are wanted");
            Err(Failure::new(Code::Invalid, message))
        }
        Some(_) | None => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modify::Change;

    #[test]
    fn a_clone_is_as_large_as_wished_and_no_smaller_than_its_source() {
        let size = |required: Option<u64>, limit: Option<u64>| {
            let wish = Wish { name: "c".into(), directory: None, required, limit, change: Change::default() };
            size(&wish, 100).map_err(|failure| failure.code())
        };
        assert_eq!(size(None, None), Ok(100));
        assert_eq!(size(Some(50), Some(100)), Ok(100));
        assert_eq!(size(Some(150), None), Ok(4096), "whole blocks");
        assert_eq!(size(Some(150), Some(4095)), Err(Some(Code::Invalid)));
        assert_eq!(size(None, Some(99)), Err(Some(Code::Invalid)));
        assert_eq!(size(Some(50), Some(99)), Err(Some(Code::Invalid)));
    }
}
