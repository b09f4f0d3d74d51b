//! The mount table by `/proc/thread-self/mountinfo`, for kernels before 6.8 and sandboxes that forbid `statmount`.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt, path::PathBuf};

use super::{AccessTimes, MountId, Mounted};
use crate::{Error, ErrorKind, Result};

const FILE: &str = "/proc/thread-self/mountinfo";
/// A table that changes faster than this many reads is taken as it was last seen.
const READS: usize = 5;

/// One line of the file: a mount, and the peer groups it belongs to.
pub(super) struct Row {
    pub(super) mounted: Mounted,
    /// Mounts made beneath it appear in every mount of this group.
    pub(super) peers: Option<u64>,
    /// Mounts made in this group appear beneath it.
    pub(super) follows: Option<u64>,
}

/// Every mount, in the kernel's order: of two at one point the later one lies on top.
pub(super) fn all() -> Result<Vec<Mounted>> {
    parse(&read()?)
}

/// The kernel hands the table out in pieces, between which it may change: read until two reads agree.
fn read() -> Result<Vec<u8>> {
    let once = || fs::read(FILE).map_err(|e| Error::io("read", FILE, e));
    let mut last = once()?;
    for _ in 1..READS {
        let again = once()?;
        if again == last {
            break;
        }
        last = again;
    }
    Ok(last)
}

/// Reads the text of a mountinfo file. A line that is not understood is an error, for a row left out would be a mount
/// that nobody knows of.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Mounted>> {
    Ok(rows(text)?.into_iter().map(|row| row.mounted).collect())
}

/// As [`parse`], with the peer groups.
pub(super) fn rows(text: &[u8]) -> Result<Vec<Row>> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| parse_line(line).ok_or_else(|| strange(line))).collect()
}

fn strange(line: &[u8]) -> Error {
    Error::new(ErrorKind::Corrupted, format!("cannot understand this line of {FILE}: {}", line.escape_ascii()))
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG[:VALUE]]... - TYPE SOURCE SUPER_OPTIONS`
fn parse_line(line: &[u8]) -> Option<Row> {
    let mut words = line.split(|byte| *byte == b' ');
    let id = number(words.next()?)?;
    let parent = number(words.next()?)?;
    let (major, minor) = std::str::from_utf8(words.next()?).ok()?.split_once(':')?;
    let root = unescape(words.next()?);
    let point = unescape(words.next()?);
    let options = words.next()?;
    let (mut peers, mut follows) = (None, None);
    loop {
        match words.next()? {
            b"-" => break,
            tag => {
                peers = peers.or(tag.strip_prefix(b"shared:").and_then(number));
                follows = follows.or(tag.strip_prefix(b"master:").and_then(number));
            }
        }
    }
    let fs_type = lossy(unescape(words.next()?));
    let source = lossy(unescape(words.next()?));
    let super_options = words.next()?;
    let has = |option: &[u8]| options.split(|byte| *byte == b',').any(|word| word == option);
    let mounted = Mounted {
        id: MountId(id),
        parent: MountId(parent),
        point: PathBuf::from(OsString::from_vec(point)),
        source,
        fs_type,
        root: PathBuf::from(OsString::from_vec(root)),
        dev: (major.parse().ok()?, minor.parse().ok()?),
        read_only: has(b"ro") || super_options.split(|byte| *byte == b',').any(|word| word == b"ro"),
        nosuid: has(b"nosuid"),
        nodev: has(b"nodev"),
        noexec: has(b"noexec"),
        times: match (has(b"noatime"), has(b"relatime")) {
            (true, _) => AccessTimes::None,
            (false, true) => AccessTimes::Some,
            (false, false) => AccessTimes::Every,
        },
        no_directory_times: has(b"nodiratime"),
        shared: peers.is_some(),
    };
    Some(Row { mounted, peers, follows })
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Undoes the kernel's `\ooo`, which stands for blank, tab, newline, backslash and `#`.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, tail @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                plain.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = &rest[4..];
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_blanks_newlines_backslashes_and_optional_fields() {
        let text =
            b"36 35 98:0 /mnt1 /a\\040b\\012c\\134040d rw,noatime,nosuid shared:7 master:1 - ext3 /dev/r\\011t rw\n\
            37 36 0:40 / /x ro,nodev,noexec - fuse.a\\043b  rw,user_id=0\n\
            38 36 0:41 / /y rw - tmpfs none ro\n";
        let table = parse(text).unwrap();
        assert_eq!(table[0].point, Path::new("/a b\nc\\040d"));
        assert_eq!(table[0].root, Path::new("/mnt1"));
        assert_eq!(table[0].source, "/dev/r\tt");
        assert_eq!(table[0].dev, (98, 0));
        assert!(table[0].shared && table[0].nosuid && !table[0].read_only && !table[0].nodev);
        assert_eq!((table[1].fs_type.as_str(), table[1].source.as_str()), ("fuse.a#b", ""), "an empty source");
        assert!(table[1].read_only && table[1].nodev && table[1].noexec && !table[1].shared);
        assert!(table[2].read_only, "the file system's own ro counts");
    }

    #[test]
    fn a_line_that_is_not_understood_is_an_error() {
        for line in ["36 35 98:0 / /a rw ext3 x rw", "x 35 98:0 / /a rw - ext3 x rw", "36 35 98 / /a rw - e x rw", "36"]
        {
            let error = parse(line.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupted, "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_the_kernel_escapes_comes_back(name in proptest::collection::vec(1_u8.., 0..40)) {
            let escape = |byte: &u8| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                byte => vec![*byte],
            };
            let escaped: Vec<u8> = name.iter().flat_map(escape).collect();
            prop_assert_eq!(unescape(&escaped), name);
        }

        #[test]
        fn no_text_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text);
        }
    }
}
