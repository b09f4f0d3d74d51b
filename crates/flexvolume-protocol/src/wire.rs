//! A call as it crosses the process border: argv, perhaps standard input, and how each kind of argument goes in and out.

use std::fmt;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::names::NameError;
use crate::options::{Options, OptionsError};

/// One rendered call. It may hold secrets, so it has no `Debug` and is zeroed on drop.
pub struct Wire {
    /// The arguments after the executable, the verb first.
    pub argv: Vec<Zeroizing<String>>,
    /// What goes to standard input; `None` means nothing does.
    pub stdin: Option<Zeroizing<String>>,
    by_stdin: bool,
}

/// A device as a driver names it: opaque, perhaps no path at all, `""` when there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Device(pub String);

/// An absolute path of a directory below the root, without `..` and NUL, in UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Dir(String);

/// A size in bytes, decimal on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bytes(pub u64);

impl Wire {
    /// A call of `verb` that still lacks its arguments.
    pub(crate) fn begin(verb: &str, by_stdin: bool) -> Self {
        Self { argv: vec![Zeroizing::new(verb.to_owned())], stdin: None, by_stdin }
    }

    /// Whether options were asked to go by standard input.
    pub fn by_stdin(&self) -> bool {
        self.by_stdin
    }
}

impl Dir {
    /// Checks that `path` is absolute, is not `/` itself and holds neither `..` nor NUL. It is not made canonical.
    ///
    /// # Errors
    /// [`NameError`] when it breaks the rule above.
    pub fn parse(path: &str) -> Result<Self, NameError> {
        let wrong = |why| Err(NameError::new("directory", path, why));
        if !path.starts_with('/') {
            return wrong("it must be an absolute path");
        }
        if path.contains('\0') {
            return wrong("it may not hold NUL");
        }
        let mut parts = Path::new(path).components().skip(1).peekable();
        if parts.peek().is_none() {
            return wrong("it is the root, where no volume can be");
        }
        if parts.any(|part| part == Component::ParentDir) {
            return wrong("it may not hold `..`");
        }
        Ok(Self(path.to_owned()))
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Dir {
    type Error = NameError;
    fn try_from(path: String) -> Result<Self, NameError> {
        Self::parse(&path)
    }
}

impl TryFrom<&Path> for Dir {
    type Error = NameError;
    fn try_from(path: &Path) -> Result<Self, NameError> {
        match path.to_str() {
            Some(text) => Self::parse(text),
            None => Err(NameError::new("directory", &path.to_string_lossy(), "it must be UTF-8")),
        }
    }
}

impl From<Dir> for String {
    fn from(dir: Dir) -> Self {
        dir.0
    }
}

impl AsRef<Path> for Dir {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

impl fmt::Display for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One kind of argument: how it is written into a call and read back.
pub(crate) trait Arg: Sized {
    const IS_OPTIONS: bool = false;
    fn put(&self, wire: &mut Wire);
    /// `Err` says why and never shows the text: whoever mistook the order of the arguments gave the options here.
    fn take(text: &str, stdin: &str) -> Result<Self, String>;
    fn as_options(&self) -> Option<&Options> {
        None
    }
}

impl Arg for String {
    fn put(&self, wire: &mut Wire) {
        wire.argv.push(Zeroizing::new(self.clone()));
    }
    fn take(text: &str, _: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Arg for Device {
    fn put(&self, wire: &mut Wire) {
        self.0.put(wire);
    }
    fn take(text: &str, _: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

impl Arg for Dir {
    fn put(&self, wire: &mut Wire) {
        self.0.put(wire);
    }
    fn take(text: &str, _: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.why.to_owned())
    }
}

impl Arg for Bytes {
    fn put(&self, wire: &mut Wire) {
        self.0.to_string().put(wire);
    }
    fn take(text: &str, _: &str) -> Result<Self, String> {
        // `parse` alone would let a plus sign pass.
        match text.parse() {
            Ok(number) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(Self(number)),
            _ => Err("it is no decimal number of bytes".to_owned()),
        }
    }
}

/// What stands in argv where the options would, when they come by standard input.
const BY_STDIN: &str = "-";

impl Arg for Options {
    const IS_OPTIONS: bool = true;
    // The one place that joins secrets in and knows of standard input.
    fn put(&self, wire: &mut Wire) {
        let json = self.render();
        if wire.by_stdin {
            wire.stdin = Some(json);
            wire.argv.push(Zeroizing::new(BY_STDIN.to_owned()));
        } else {
            wire.argv.push(json);
        }
    }
    fn take(text: &str, stdin: &str) -> Result<Self, String> {
        let json = if text == BY_STDIN { stdin } else { text };
        Self::parse(json).map_err(|error: OptionsError| error.to_string())
    }
    fn as_options(&self) -> Option<&Options> {
        Some(self)
    }
}
