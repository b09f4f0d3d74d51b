//! Typed questions to a call's options, whose answers name the key when something is wrong with it.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use flexvolume_protocol::{Code, Id, Options, UserOptions, excerpt, keys};

use crate::{Failure, Result};

/// What an author asks of [`Options`]. `T` is anything that can be read from text: a `String`, a number,
/// [`Size`](crate::Size).
pub trait OptionsExt {
    /// The option's value; missing or empty is a failure that names the key.
    ///
    /// # Errors
    /// Code `invalid`.
    fn required<T: FromStr<Err: Display>>(&self, key: &str) -> Result<T>;

    /// The option's value, if there is one.
    ///
    /// # Errors
    /// Code `invalid` if it is there but cannot be read.
    fn optional<T: FromStr<Err: Display>>(&self, key: &str) -> Result<Option<T>>;

    /// `"true"` or `"false"`; missing means false.
    ///
    /// # Errors
    /// Code `invalid` for any other word.
    fn flag(&self, key: &str) -> Result<bool>;

    /// Of `createvolume`: whose content the new volume begins with; `None` is an empty one. A driver that does not
    /// announce `clone` must refuse a volume that has a source, not make it empty.
    ///
    /// # Errors
    /// Code `invalid` if there are two sources, or one that is no id.
    fn source(&self) -> Result<Option<Source>>;

    /// Of `createvolume`: the parameters that `modifyvolume` can change later, by their names. They stand among the other options too.
    ///
    /// # Errors
    /// Code `invalid` if one of them is named and not there.
    fn mutable(&self) -> Result<BTreeMap<&str, &str>>;

    /// Of `modifyvolume`: what shall be so from now on, by its name: all that is not written by hosts.
    fn changes(&self) -> BTreeMap<&str, &str>;
}

/// What a volume is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Another volume, as it is now.
    Volume(Id),
    /// A snapshot.
    Snapshot(Id),
}

impl OptionsExt for Options {
    fn required<T: FromStr<Err: Display>>(&self, key: &str) -> Result<T> {
        let given = if self.get(key) == Some("") { None } else { self.optional(key)? };
        given.ok_or_else(|| Failure::new(Code::Invalid, format!("the option {key:?} is missing; the volume needs it")))
    }

    fn optional<T: FromStr<Err: Display>>(&self, key: &str) -> Result<Option<T>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        text.parse()
            .map(Some)
            .map_err(|why| Failure::new(Code::Invalid, format!("the option {key:?} is {:?}: {why}", excerpt(text, 80))))
    }

    fn flag(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Failure::new(
                Code::Invalid,
                format!("the option {key:?} is {:?}; it must be \"true\" or \"false\"", excerpt(other, 80)),
            )),
        }
    }

    fn source(&self) -> Result<Option<Source>> {
        let of = |key: &str| if self.get(key) == Some("") { Ok(None) } else { self.optional::<Id>(key) };
        match (of(keys::SOURCE_VOLUME)?, of(keys::SOURCE_SNAPSHOT)?) {
            (None, None) => Ok(None),
            (Some(volume), None) => Ok(Some(Source::Volume(volume))),
            (None, Some(snapshot)) => Ok(Some(Source::Snapshot(snapshot))),
            (Some(_), Some(_)) => Err(Failure::new(
                Code::Invalid,
                format!(
                    "there are both {:?} and {:?}: a volume has one source",
                    keys::SOURCE_VOLUME,
                    keys::SOURCE_SNAPSHOT
                ),
            )),
        }
    }

    fn mutable(&self) -> Result<BTreeMap<&str, &str>> {
        let Some(names) = self.get(keys::MUTABLE).filter(|names| !names.is_empty()) else { return Ok(BTreeMap::new()) };
        let named = |name| {
            let missing =
                || format!("{:?} names the parameter {:?}, which is not there", keys::MUTABLE, excerpt(name, 80));
            Ok((name, self.get(name).ok_or_else(|| Failure::new(Code::Invalid, missing()))?))
        };
        names.split(',').map(named).collect()
    }

    fn changes(&self) -> BTreeMap<&str, &str> {
        let is_ours = |key: &str| key.starts_with("flexvol/") || UserOptions::is_reserved(key);
        self.iter().filter(|(key, _)| !is_ours(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Size;

    #[test]
    fn each_question_names_its_key() {
        let options = Options::parse(r#"{"size":"10m","bad":"x","on":"true","odd":"yes","empty":""}"#).unwrap();
        assert_eq!(options.required::<Size>("size").unwrap().bytes(), 10 << 20);
        assert_eq!(options.optional::<String>("none").unwrap(), None);
        assert!(options.flag("on").unwrap() && !options.flag("none").unwrap());
        for failure in [
            options.required::<Size>("bad").unwrap_err(),
            options.optional::<u32>("bad").unwrap_err(),
            options.flag("bad").unwrap_err(),
        ] {
            assert!(failure.to_string().contains("\"bad\"") && failure.code() == Some(Code::Invalid), "{failure}");
        }
        assert!(options.flag("odd").is_err());
        for key in ["none", "empty"] {
            assert!(options.required::<String>(key).unwrap_err().to_string().contains("missing"));
        }
    }

    #[test]
    fn what_can_be_changed_is_told_by_name_when_made_and_is_all_there_is_when_modified() {
        let options = Options::parse(
            r#"{"a":"1","b":"2","c":"","flexvol/mutable":"a,c","flexvol/id":"v","kubernetes.io/fsType":"xfs","kubernetes.io/secret/s":"eA=="}"#,
        );
        let options = options.unwrap();
        assert_eq!(options.mutable().unwrap(), BTreeMap::from([("a", "1"), ("c", "")]));
        assert_eq!(options.changes(), BTreeMap::from([("a", "1"), ("b", "2"), ("c", "")]));
        for none in ["{}", r#"{"a":"1","flexvol/mutable":""}"#] {
            assert!(Options::parse(none).unwrap().mutable().unwrap().is_empty(), "{none}");
        }
        for bad in [
            r#"{"a":"1","flexvol/mutable":"a,"}"#,
            r#"{"flexvol/mutable":"a"}"#,
            r#"{"a":"1","flexvol/mutable":"a, b"}"#,
        ] {
            assert_eq!(Options::parse(bad).unwrap().mutable().unwrap_err().code(), Some(Code::Invalid), "{bad}");
        }
    }

    #[test]
    fn a_volume_has_one_source_or_none() {
        let source = |text: &str| Options::parse(text).unwrap().source();
        let id = |text: &str| Id::parse(text).unwrap();
        assert_eq!(source("{}"), Ok(None));
        assert_eq!(source(r#"{"flexvol/sourceVolume":"","flexvol/sourceSnapshot":""}"#), Ok(None));
        assert_eq!(source(r#"{"flexvol/sourceVolume":"vg/a"}"#), Ok(Some(Source::Volume(id("vg/a")))));
        assert_eq!(source(r#"{"flexvol/sourceSnapshot":"vg/s"}"#), Ok(Some(Source::Snapshot(id("vg/s")))));
        for bad in [
            r#"{"flexvol/sourceVolume":"vg/a","flexvol/sourceSnapshot":"vg/s"}"#,
            r#"{"flexvol/sourceVolume":"/vg/a"}"#,
            r#"{"flexvol/sourceSnapshot":"vg/"}"#,
        ] {
            let failure = source(bad).unwrap_err();
            assert!(
                failure.code() == Some(Code::Invalid) && failure.to_string().contains("flexvol/source"),
                "{failure}"
            );
        }
    }
}
