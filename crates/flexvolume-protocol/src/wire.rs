//! A call as it crosses the process border: argv, perhaps standard input, and how each kind of argument goes in and out.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::call::{Verb, VerbName};
use crate::names::NameError;
use crate::options::{Options, OptionsError};
use crate::text::excerpt;

/// One rendered call. It may hold secrets, so it has no `Debug` and is zeroed on drop.
pub struct Wire {
    /// The arguments after the executable, the verb first.
    pub argv: Vec<Zeroizing<String>>,
    /// What goes to standard input; `None` means nothing does.
    pub stdin: Option<Zeroizing<String>>,
    by_stdin: bool,
}

/// What a driver was called with: the arguments after the verb, and standard input as read.
pub struct Args<'a> {
    argv: std::vec::IntoIter<&'a str>,
    stdin: &'a str,
    taken: usize,
}

/// A device as a driver names it: opaque, perhaps no path at all, `""` when there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Device(pub String);

/// An absolute path without NUL, in UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Dir(String);

/// A size in bytes, decimal on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bytes(pub u64);

/// A known verb was called with arguments that do not fit it. No secret is in here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Arguments are missing.
    #[error("{verb} was called without its {argument} (argument {position}); the call is `{}`", .verb.usage())]
    Missing {
        /// The verb called.
        verb: VerbName,
        /// The first argument missing.
        argument: &'static str,
        /// Its place, the first after the verb being 1.
        position: usize,
    },
    /// There are more arguments than the verb has.
    #[error("{verb} was called with {given} arguments; the call is `{}`", .verb.usage())]
    Extra {
        /// The verb called.
        verb: VerbName,
        /// How many came after the verb.
        given: usize,
    },
    /// One argument cannot be read.
    #[error("{verb} was called with a bad {argument} (argument {position}): {why}")]
    Bad {
        /// The verb called.
        verb: VerbName,
        /// Which argument.
        argument: &'static str,
        /// Its place, the first after the verb being 1.
        position: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl Wire {
    /// Renders one call. With `by_stdin` the options go to standard input and `-` stands in their place, so that
    /// secrets never show in a process list; only for drivers that announce the extension `stdin`.
    pub fn render<V: Verb>(verb: &V, by_stdin: bool) -> Self {
        let mut wire = Self { argv: vec![Zeroizing::new(V::NAME.as_str().to_owned())], stdin: None, by_stdin };
        verb.put(&mut wire);
        wire
    }

    /// Whether options were asked to go by standard input.
    pub fn by_stdin(&self) -> bool {
        self.by_stdin
    }
}

impl<'a> Args<'a> {
    /// The arguments after the verb, and standard input (`""` when it was not read).
    pub fn new<S: AsRef<str>>(argv: &'a [S], stdin: &'a str) -> Self {
        let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        Self { argv: argv.into_iter(), stdin, taken: 0 }
    }

    pub(crate) fn take<A: Arg>(&mut self, verb: VerbName, argument: &'static str) -> Result<A, CallError> {
        self.taken += 1;
        let position = self.taken;
        let text = self.argv.next().ok_or(CallError::Missing { verb, argument, position })?;
        A::take(text, self.stdin).map_err(|why| CallError::Bad { verb, argument, position, why })
    }

    pub(crate) fn end(&mut self, verb: VerbName) -> Result<(), CallError> {
        match self.argv.len() {
            0 => Ok(()),
            more => Err(CallError::Extra { verb, given: self.taken + more }),
        }
    }
}

impl Dir {
    /// Checks that `path` is absolute and holds no NUL. It is not made canonical.
    ///
    /// # Errors
    /// [`NameError`] when it is relative, empty or holds NUL.
    pub fn parse(path: &str) -> Result<Self, NameError> {
        if !path.starts_with('/') {
            return Err(NameError::new("directory", path, "it must be an absolute path"));
        }
        if path.contains('\0') {
            return Err(NameError::new("directory", path, "it may not hold NUL"));
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
    /// `Err` says why, without the text where that may be secret.
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
        Self::parse(text).map_err(|error| error.to_string())
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
            _ => Err(format!("{:?} is no decimal number of bytes", excerpt(text, 40))),
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
