//! What a file begins with, as the kernel reads it before it runs it: a script's first line, or a program's header.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

/// As much as the kernel reads of a first line.
const HEAD: usize = 256;

/// What a file begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Head {
    /// Nothing: the file is empty.
    Empty,
    /// `#!`, with the interpreter as written, and the rest of the line, which the kernel hands over as one argument.
    Script {
        /// As written, a carriage return at its end included.
        interpreter: PathBuf,
        /// Without the blanks around it.
        argument: String,
    },
    /// A program for this kind of processor (0 if its header is cut off), with the loader it names.
    Elf {
        /// The number that ELF has for it.
        machine: u16,
        /// The content of its PT_INTERP segment; a static program has none.
        loader: Option<PathBuf>,
    },
    /// A byte-order mark before the `#!`.
    MarkedScript,
    /// None of these.
    Other,
}

/// What the file begins with; `None` if it cannot be read or is no regular file. Links are followed.
pub fn head(path: &Path) -> Option<Head> {
    // Opening anything but a regular file may wait for ever.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let file = File::open(path).ok()?;
    let mut bytes = Vec::with_capacity(HEAD);
    (&file).take(HEAD as u64).read_to_end(&mut bytes).ok()?;
    Some(read_head(&bytes, &|at, length| {
        let mut more = vec![0; length];
        file.read_exact_at(&mut more, at).ok()?;
        Some(more)
    }))
}

/// Whether this is a program file that this process may run, as far as its mode and its mount say.
pub fn runnable(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

/// The program of that name in the first directory of `path` (colons between) that has it, as a shell looks for it; `None`
/// for a name with a slash.
pub fn on_path(name: &str, path: &OsStr) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') {
        return None;
    }
    env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(|file| runnable(file))
}

/// `more(offset, length)` reads further into the file.
fn read_head(bytes: &[u8], more: &dyn Fn(u64, usize) -> Option<Vec<u8>>) -> Head {
    if bytes.is_empty() {
        Head::Empty
    } else if let Some(line) = bytes.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.trim_ascii_start();
        // The kernel ends the name at a blank or tab only; a carriage return belongs to it.
        let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let blank = |c: char| matches!(c, ' ' | '\t');
        let argument = String::from_utf8_lossy(rest).trim_matches(blank).to_owned();
        Head::Script { interpreter: PathBuf::from(OsStr::from_bytes(name)), argument }
    } else if bytes.starts_with(b"\xEF\xBB\xBF#!") {
        Head::MarkedScript
    } else if bytes.starts_with(b"\x7fELF") {
        read_elf(bytes, more).unwrap_or(Head::Elf { machine: 0, loader: None })
    } else {
        Head::Other
    }
}

/// The machine and the loader of an ELF file of either size and byte order.
fn read_elf(bytes: &[u8], more: &dyn Fn(u64, usize) -> Option<Vec<u8>>) -> Option<Head> {
    const PT_INTERP: u64 = 3;
    let wide = *bytes.get(4)? == 2;
    let little = *bytes.get(5)? == 1;
    let number = |from: &[u8], at: usize, length: usize| -> Option<u64> {
        let digits = from.get(at..at.checked_add(length)?)?;
        let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if little { digits.iter().rev().fold(0, add) } else { digits.iter().fold(0, add) })
    };
    let machine = u16::try_from(number(bytes, 18, 2)?).ok()?;
    let segments = || -> Option<PathBuf> {
        let (table, size_at, word) = if wide { (number(bytes, 32, 8)?, 54, 8) } else { (number(bytes, 28, 4)?, 42, 4) };
        let size = usize::try_from(number(bytes, size_at, 2)?).ok()?;
        let count = number(bytes, size_at + 2, 2)?;
        for index in 0..count.min(64) {
            let segment = more(table.checked_add(index * size as u64)?, size)?;
            if number(&segment, 0, 4)? == PT_INTERP {
                let (offset_at, length_at) = if wide { (8, 32) } else { (4, 16) };
                let length = usize::try_from(number(&segment, length_at, word)?).ok()?.min(4096);
                let name = more(number(&segment, offset_at, word)?, length)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                return Some(PathBuf::from(OsStr::from_bytes(name)));
            }
        }
        None
    };
    Some(Head::Elf { machine, loader: segments() })
}

/// The machine's name as Rust's targets have it.
pub(super) fn machine_name(machine: u16) -> &'static str {
    match machine {
        3 => "x86",
        8 => "mips",
        20 => "powerpc",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        258 => "loongarch64",
        _ => "another processor",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(line: &[u8]) -> (PathBuf, String) {
        let Head::Script { interpreter, argument } = read_head(line, &|_, _| None) else { panic!("{line:?}") };
        (interpreter, argument)
    }

    #[test]
    fn a_first_line_is_read_as_the_kernel_reads_it() {
        assert_eq!(script(b"#! /usr/bin/env  bash -e \necho\n"), ("/usr/bin/env".into(), "bash -e".into()));
        assert_eq!(script(b"#!/bin/sh\r\n"), ("/bin/sh\r".into(), String::new()));
        assert_eq!(script(b"#!/bin/sh -e\r\n"), ("/bin/sh".into(), "-e\r".into()));
        assert_eq!(script(b"#!"), (PathBuf::new(), String::new()));
    }

    #[test]
    fn programs_are_found_on_the_path_alone() {
        let path = OsStr::new("relative:/nowhere:/bin:/usr/bin");
        assert!(on_path("sh", path).is_some_and(|found| found.is_absolute()));
        for none in ["", "/bin/sh", "no-such-program", "../bin/sh"] {
            assert_eq!(on_path(none, path), None, "{none}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(tail in proptest::collection::vec(0_u8.., 0..200), wide in 1_u8..3, order in 1_u8..3) {
            let mut file = vec![0x7f, b'E', b'L', b'F', wide, order];
            file.extend(&tail);
            let more = |at: u64, length: usize| {
                let at = usize::try_from(at).ok()?;
                file.get(at..at.checked_add(length)?).map(<[u8]>::to_vec)
            };
            read_head(&file, &more);
            read_head(&tail, &more);
        }
    }
}
