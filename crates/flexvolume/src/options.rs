//! Typed questions to a call's options, whose answers name the key when something is wrong with it.

use std::{fmt::Display, str::FromStr};

use flexvolume_protocol::{Code, Options, excerpt};

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
}
