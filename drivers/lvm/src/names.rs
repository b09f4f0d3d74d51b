//! The names that LVM knows: of volume groups, of logical volumes, its own ids, and texts made fit for a tag.

use std::{fmt, str::FromStr};

use flexvolume::{Code, Failure};
use serde::{Deserialize, Serialize};

/// LVM keeps names in 128 bytes, with a NUL at the end.
const LONGEST: usize = 127;

/// What names of logical volumes must not begin with: LVM has its own of that kind.
const RESERVED_BEGINNINGS: [&str; 2] = ["pvmove", "snapshot"];

/// What names of logical volumes must not hold: the parts of which LVM builds others.
const RESERVED_PARTS: [&str; 17] = [
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog", "_pmspare", "_rimage",
    "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig",
];

/// A name was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameError {
    what: &'static str,
    text: String,
    why: &'static str,
}

impl NameError {
    fn new(what: &'static str, text: &str, why: &'static str) -> Self {
        Self { what, text: text.chars().take(80).collect(), why }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no name of a {}: {}", self.text, self.what, self.why)
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::new(Code::Invalid, error.to_string())
    }
}

/// LVM's rule for both kinds of names; one that it has said itself is no option of a command and no path.
fn check(what: &'static str, text: &str) -> Result<(), NameError> {
    let wrong = |why| Err(NameError::new(what, text, why));
    match text {
        "" => wrong("it is empty"),
        "." | ".." => wrong("it is a directory's"),
        _ if text.len() > LONGEST => wrong("it is longer than 127 characters"),
        _ if text.starts_with('-') => wrong("it must not begin with a hyphen"),
        _ if !text.bytes().all(is_plain) => wrong("it may hold only A-Z, a-z, 0-9, `+`, `_`, `.` and `-`"),
        _ => Ok(()),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'_' | b'.' | b'-')
}

macro_rules! text_type {
    ($Name:ident) => {
        impl $Name {
            /// As LVM writes it.
            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $Name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }
        impl TryFrom<String> for $Name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }
        impl From<$Name> for String {
            fn from(name: $Name) -> Self {
                name.0
            }
        }
    };
}

/// The name of a volume group: it can be one component of a path, and is no option.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct VgName(String);
text_type!(VgName);

impl VgName {
    /// Checks `text` by LVM's rule.
    pub(crate) fn parse(text: &str) -> Result<Self, NameError> {
        check("volume group", text).map(|()| Self(text.to_owned()))
    }
}

/// The name of a logical volume that people may name: it can be one component of a path, is no option, and none that
/// LVM keeps for the inner parts of others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct LvName(String);
text_type!(LvName);

impl LvName {
    const KIND: &str = "logical volume";

    /// Checks `text` by LVM's rules.
    pub(crate) fn parse(text: &str) -> Result<Self, NameError> {
        check(Self::KIND, text)?;
        let reserved = RESERVED_BEGINNINGS.iter().any(|one| text.starts_with(one))
            || RESERVED_PARTS.iter().any(|one| text.contains(one));
        if reserved {
            return Err(NameError::new(Self::KIND, text, "LVM keeps names of that kind for itself"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The logical volume for a volume of any name: that very name where LVM takes it and it is short, else a readable
    /// beginning and a digest. The tag `flexvol.name` keeps the name, so of two that meet the second is refused.
    pub(crate) fn for_volume(name: &str) -> Self {
        const SHORT: usize = 63;
        if name.len() <= SHORT
            && let Ok(same) = Self::parse(name)
        {
            return same;
        }
        let readable: String = name.chars().filter(char::is_ascii_alphanumeric).take(30).collect();
        // Neither reserved beginning begins so, and all reserved parts have an underscore.
        Self(format!("v-{readable}-{:016x}", digest(name.as_bytes())))
    }
}

impl LvName {
    /// The logical volume for a snapshot of any name; volumes of the same name have another.
    pub(crate) fn for_snapshot(name: &str) -> Self {
        Self::for_volume(&format!("snap-{name}"))
    }

    /// The logical volume for the snapshot that is taken only in order to copy it to this volume.
    pub(crate) fn for_copy(&self) -> Self {
        Self::for_volume(&format!("copy-{self}"))
    }
}

/// FNV-1a: tells names apart, proves nothing.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What LVM calls a volume group or a logical volume for ever, whatever its name: 32 letters and digits in seven groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Uuid(String);
text_type!(Uuid);

impl Uuid {
    /// `4swbg6-XmD8-Vivq-AelE-8XO4-zsJ3-JdoK8j`.
    pub(crate) fn parse(text: &str) -> Result<Self, NameError> {
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if groups == [6, 4, 4, 4, 4, 4, 6] && plain {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError::new(
            "volume group or logical volume by UUID",
            text,
            "LVM writes one as 6-4-4-4-4-4-6 characters",
        ))
    }

    /// Without the hyphens, as device-mapper has it.
    fn bare(&self) -> String {
        self.0.replace('-', "")
    }
}

/// What device-mapper calls the device of a logical volume; layers beneath it have the same with something behind.
pub(crate) fn dm_uuid(vg: &Uuid, lv: &Uuid) -> String {
    format!("LVM-{}{}", vg.bare(), lv.bare())
}

/// Any text as what may stand in a tag: what LVM does not take there is written as `=` and two digits of hex.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) || matches!(byte, b'/' | b':') {
            out.push(byte.into());
        } else {
            out.push_str(&format!("={byte:02x}"));
        }
    }
    out
}

/// What [`encoded`] was made of; `None` if it is none of those.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'=' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            bytes.push(digit(rest.next())? << 4 | digit(rest.next())?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use flexvolume_testkit::hostile;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lvm_s_rules_are_ours() {
        for good in ["vol1", "a", "+a", "_a", ".a", "a.", "mlog", "kube-vg.1", "n--n", &"n".repeat(127)] {
            assert!(VgName::parse(good).is_ok() && LvName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", "a/b", "a b", "a:b", "ä", "a\n", "a\0", "@tag", &"n".repeat(128)] {
            assert!(VgName::parse(bad).is_err() && LvName::parse(bad).is_err(), "{bad}");
        }
        for kept in ["snapshot", "snapshot1", "pvmove0", "pool_tdata", "lvol0_pmspare", "a_vorigin", "x_rimage_0"] {
            assert!(VgName::parse(kept).is_ok() && LvName::parse(kept).is_err(), "{kept}");
        }
    }

    #[test]
    fn any_name_has_a_volume_of_its_own() {
        assert_eq!(LvName::for_volume("pvc-1").as_str(), "pvc-1");
        let long = "x".repeat(128);
        let names = ["a/b", "a\\b", "", "snapshot", "pool_tdata", &long, &format!("{long}y"), "-y", "ä"];
        let volumes = names.map(LvName::for_volume);
        for (n, one) in volumes.iter().enumerate() {
            assert_eq!(LvName::parse(one.as_str()).as_ref(), Ok(one), "{}", names[n]);
            assert!(!volumes[..n].contains(one) && one.as_str().len() <= 63, "{one}");
        }
    }

    #[test]
    fn uuids_are_as_device_mapper_has_them() {
        let uuid = |text| Uuid::parse(text).unwrap();
        let (vg, lv) = (uuid("4swbg6-XmD8-Vivq-AelE-8XO4-zsJ3-JdoK8j"), uuid("oMOPhg-WWsI-xLbP-RSh0-qno3-0AtJ-CotX4M"));
        assert_eq!(dm_uuid(&vg, &lv), "LVM-4swbg6XmD8VivqAelE8XO4zsJ3JdoK8joMOPhgWWsIxLbPRSh0qno30AtJCotX4M");
        for bad in ["", "x", "4swbg6-XmD8-Vivq-AelE-8XO4-zsJ3-JdoK8", "4swbg6-XmD8-Vivq-AelE-8XO4-zsJ3-../..k"] {
            assert!(Uuid::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_name_of_hostile_symbols_is_a_path_or_an_option() {
        for text in hostile::texts(4) {
            for name in [VgName::parse(&text).map(String::from), LvName::parse(&text).map(String::from)] {
                let Ok(name) = name else { continue };
                assert!(!name.contains(['/', '\0', '\n', ' ', '@']) && !name.starts_with('-'), "{text:?}");
                assert!(name != "." && name != "..", "{text:?}");
            }
            assert!(LvName::parse(LvName::for_volume(&text).as_str()).is_ok(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_goes_into_a_tag_and_comes_back(text in "\\PC{0,60}") {
            let tag = encoded(&text);
            prop_assert!(tag.bytes().all(|byte| is_plain(byte) || b"/:=".contains(&byte)));
            prop_assert_eq!(decoded(&tag), Some(text));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,20}|[=a-f0-9]{0,9}") {
            let _ = (decoded(&text), VgName::parse(&text), LvName::parse(&text), Uuid::parse(&text));
        }
    }
}
