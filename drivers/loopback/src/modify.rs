//! What can be changed of a volume that is there, in use or not: whether its device goes around the page cache. The mark keeps it for
//! the next attach.

use std::collections::BTreeMap;

use flexvolume::{Code, Failure, Options, OptionsExt, Result, World, keys};
use flexvolume_linux::Error;

use crate::{device, image, mark::Mark, place::Place};

const DIRECT_IO: &str = "directIO";

/// What is wanted of that which can be changed; what is not named is to stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    direct_io: Option<bool>,
}

impl Change {
    /// All of what `modifyvolume` names.
    ///
    /// # Errors
    /// `invalid`: something of it cannot be changed, or cannot be so.
    fn of(wanted: &BTreeMap<&str, &str>) -> Result<Self> {
        let mut change = Self::default();
        for (name, value) in wanted {
            match *name {
                DIRECT_IO => change.direct_io = Some(flag(name, value)?),
                other => {
                    let message = format!("{other:?} is nothing that can be changed of a volume; {DIRECT_IO:?} is");
                    return Err(Failure::new(Code::Invalid, message));
                }
            }
        }
        Ok(change)
    }

    /// What `createvolume` names, be it as a parameter that can be changed or as one for good.
    ///
    /// # Errors
    /// As [`Change::of`]; only what is said to be changeable must be.
    pub(crate) fn of_new(options: &Options) -> Result<Self> {
        let mut wanted = options.mutable()?;
        wanted.extend(options.get(DIRECT_IO).map(|value| (DIRECT_IO, value)));
        Self::of(&wanted)
    }

    /// Whether the volume of that mark is so already.
    pub(crate) fn is_so(self, mark: &Mark) -> bool {
        self.direct_io.is_none_or(|direct| direct != mark.buffered)
    }

    /// The mark of a volume that is so.
    pub(crate) fn on(self, mark: Mark) -> Mark {
        Mark { buffered: self.direct_io.map_or(mark.buffered, |direct| !direct), ..mark }
    }
}

fn flag(name: &str, value: &str) -> Result<bool> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Failure::new(Code::Invalid, format!("{name:?} must be \"true\" or \"false\""))),
    }
}

/// Changes the volume `flexvol/id`: first what its mark says, then its device if it has one.
///
/// # Errors
/// `notFound`: there is no such volume. `invalid`: as [`Change::of`]; then nothing is changed. `busy`: the image is attached by hand.
pub(crate) fn modify(options: &Options, world: &World) -> Result<()> {
    let place = Place::known(&options.required::<String>(keys::ID)?, world)?;
    let _lock = world.lock(&place.storage())?;
    let Some(image) = image::open(&place, true)? else {
        return Err(Failure::new(Code::NotFound, format!("there is no volume {}", place.image().display())));
    };
    let change = Change::of(&options.changes())?;
    let attached = device::sole(&place, &image)?;
    let mark = match Mark::read(&place)? {
        Some(mark) => mark,
        // Somebody else's image in a directory that the settings name, which nobody has used so far.
        None => {
            let meta = image.metadata().map_err(|error| Error::io("look at the image", place.image(), error))?;
            Mark::new(place.name().as_str(), meta.len(), false)?
        }
    };
    if !change.is_so(&mark) {
        change.on(mark.clone()).write(&place)?;
    }
    if let Some(attached) = attached
        && !device::lead(&attached, !change.on(mark).buffered)?
    {
        let (device, image) = (attached.device.display(), place.image());
        world.say(format_args!(
            "{device} goes through the page cache all the same: the disk of {} allows no other way",
            image.display()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(json: &str) -> Options {
        Options::parse(json).unwrap()
    }

    #[test]
    fn what_is_unknown_or_bad_is_refused_with_all_that_comes_with_it() {
        let of = |json: &str| Change::of(&options(json).changes()).map_err(|failure| failure.code());
        let direct = |direct| Ok(Change { direct_io: Some(direct) });
        assert_eq!(of(r#"{"flexvol/id":"v"}"#), Ok(Change::default()));
        assert_eq!((of(r#"{"directIO":"true"}"#), of(r#"{"directIO":"false"}"#)), (direct(true), direct(false)));
        for bad in [
            r#"{"directIO":"yes"}"#,
            r#"{"directIO":""}"#,
            r#"{"directIO":"False"}"#,
            r#"{"directio":"true"}"#,
            r#"{"directIO":"true","size":"1g"}"#,
            r#"{"directIO":"true","":""}"#,
        ] {
            assert_eq!(of(bad), Err(Some(Code::Invalid)), "{bad}");
        }
    }

    #[test]
    fn a_new_volume_may_have_unknown_parameters_but_none_that_are_to_be_changed() {
        let of = |json: &str| Change::of_new(&options(json)).map_err(|failure| failure.code());
        let buffered = Ok(Change { direct_io: Some(false) });
        assert_eq!(of(r#"{"class":"fast"}"#), Ok(Change::default()));
        assert_eq!(of(r#"{"class":"fast","directIO":"false"}"#), buffered);
        assert_eq!(of(r#"{"class":"fast","directIO":"false","flexvol/mutable":"directIO"}"#), buffered);
        assert_eq!(of(r#"{"class":"fast","flexvol/mutable":"class"}"#), Err(Some(Code::Invalid)));
        assert_eq!(of(r#"{"directIO":"maybe"}"#), Err(Some(Code::Invalid)));
    }

    #[test]
    fn what_is_not_named_stays() {
        let mark = Mark::new("v", 1, true).unwrap();
        assert!(!mark.buffered, "nobody asked");
        let [leave, direct, through] = [None, Some(true), Some(false)].map(|direct_io| Change { direct_io });
        assert!(leave.is_so(&mark) && direct.is_so(&mark) && !through.is_so(&mark));
        let mark = through.on(mark);
        assert!(mark.buffered && leave.is_so(&mark) && !direct.is_so(&mark) && through.is_so(&mark));
        assert_eq!(leave.on(mark.clone()), mark);
        assert!(!direct.on(mark).buffered);
    }
}
