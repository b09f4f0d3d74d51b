//! Why the kernel would not run a file, in words: its bare answer ("No such file or directory") often names the wrong one.

use std::{
    env::consts::ARCH,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
};

use rustix::{
    fs::{Access, StatVfsMountFlags, access, statvfs},
    io::Errno,
};

use super::head::{Head, head, machine_name};
use crate::{Error, ErrorKind};

/// Why the kernel would not run this file, told without running it; `None` where nothing that can be seen stands in the
/// way. Links are followed.
pub fn refusal(exe: &Path) -> Option<Error> {
    foreseen(exe).map(|errno| explain(exe, errno.into()))
}

/// The kernel's answer, foreseen.
fn foreseen(exe: &Path) -> Option<Errno> {
    let executable = |path: &Path| access(path, Access::EXEC_OK).is_ok();
    match fs::metadata(exe) {
        Ok(meta) if meta.is_file() && executable(exe) => {}
        Ok(_) => return Some(Errno::ACCESS),
        Err(error) => return Errno::from_io_error(&error),
    }
    match head(exe)? {
        Head::Script { interpreter, .. } if interpreter.as_os_str().is_empty() => Some(Errno::NOEXEC),
        Head::Script { interpreter, .. } => match fs::metadata(&interpreter) {
            Err(error) => Errno::from_io_error(&error),
            Ok(meta) if !meta.is_file() || !executable(&interpreter) => Some(Errno::ACCESS),
            Ok(_) if foreign(&head(&interpreter)?) => Some(Errno::NOEXEC),
            Ok(_) => None,
        },
        elf @ Head::Elf { .. } if foreign(&elf) => Some(Errno::NOEXEC),
        Head::Elf { loader: Some(loader), .. } => fs::metadata(loader).err().and_then(|e| Errno::from_io_error(&e)),
        Head::Elf { loader: None, .. } => None,
        Head::Empty | Head::MarkedScript | Head::Other => Some(Errno::NOEXEC),
    }
}

/// A program that this kind of processor does not run.
fn foreign(head: &Head) -> bool {
    match head {
        // A 64-bit kernel often runs the 32-bit programs of its family.
        Head::Elf { machine, .. } => machine_name(*machine) != ARCH && !matches!(machine, 3 | 40),
        Head::Empty | Head::Script { .. } | Head::MarkedScript | Head::Other => false,
    }
}

/// Turns the error of an exec into one that says what is wrong with which file and what to do.
pub(crate) fn explain(exe: &Path, error: io::Error) -> Error {
    let shown = exe.display();
    let found = match Errno::from_io_error(&error) {
        Some(Errno::NOENT) => missing(exe),
        Some(Errno::ACCESS) => forbidden(exe),
        Some(Errno::NOEXEC) => unknown_format(exe),
        Some(Errno::TXTBSY) => Some(why(
            ErrorKind::Busy,
            "somebody has the file open for writing",
            "install it under another name in the same directory and rename it into place",
        )),
        Some(Errno::TOOBIG) => Some(why(
            ErrorKind::Invalid,
            "its arguments and environment are longer than the kernel takes (128 KiB for one argument)",
            "make the volume's options smaller",
        )),
        Some(_) => None,
        None if error.kind() == io::ErrorKind::InvalidInput => {
            return Error::new(
                ErrorKind::Invalid,
                format!("cannot start {shown}: an argument or variable holds a NUL"),
            );
        }
        None => None,
    };
    match found {
        Some((kind, why, hint)) => {
            Error::os(format!("cannot start {shown}: {why}"), error).with_kind(kind).with_hint(hint)
        }
        None => Error::os(format!("cannot start {shown}"), error),
    }
}

type Why = (ErrorKind, String, String);

fn why(kind: ErrorKind, why: impl Into<String>, hint: impl Into<String>) -> Why {
    (kind, why.into(), hint.into())
}

/// ENOENT: the file, or what it needs to be run.
fn missing(exe: &Path) -> Option<Why> {
    if fs::metadata(exe).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Some(match fs::read_link(exe) {
            Ok(target) => why(
                ErrorKind::NotFound,
                format!("it is a link to {}, which does not exist", target.display()),
                "install the file that the link names, or mend the link",
            ),
            Err(_) => why(ErrorKind::NotFound, "there is no such file", "look at the path, or install the driver"),
        });
    }
    match head(exe)? {
        Head::Script { interpreter, .. } if interpreter.as_os_str().as_bytes().ends_with(b"\r") => Some(why(
            ErrorKind::Invalid,
            "its first line ends with a carriage return, which the kernel takes for a part of the interpreter's name",
            format!("save it with Unix line ends; run: sed -i 's/\\r$//' '{}'", exe.display()),
        )),
        Head::Script { interpreter, .. } => Some(why(
            ErrorKind::NotFound,
            format!("its interpreter {} (named in its first line) does not exist", interpreter.display()),
            format!("install {}, or change the first line", interpreter.display()),
        )),
        Head::Elf { loader: Some(loader), .. } => Some(why(
            ErrorKind::NotFound,
            format!("its loader {} does not exist", loader.display()),
            "it was built for another C library or architecture: take a static build, or one for this system",
        )),
        Head::Elf { loader: None, .. } | Head::Empty | Head::MarkedScript | Head::Other => None,
    }
}

/// EACCES: the file, its interpreter, its file system or its path.
fn forbidden(exe: &Path) -> Option<Why> {
    let shown = exe.display();
    let metadata = fs::metadata(exe).ok()?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "it is a directory" } else { "it is not a regular file" };
        return Some(why(ErrorKind::Invalid, what, "the driver must be a file that can be run"));
    }
    if metadata.permissions().mode() & 0o111 == 0 || access(exe, Access::EXEC_OK).is_err() {
        if statvfs(exe).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::NOEXEC)) {
            let hint = "remount that file system with `exec`, or install the driver elsewhere";
            return Some(why(ErrorKind::Refused, "its file system is mounted `noexec`", hint));
        }
        return Some(why(ErrorKind::Refused, "it is not executable", format!("run: chmod 0755 '{shown}'")));
    }
    match head(exe)? {
        Head::Script { interpreter, .. } => Some(why(
            ErrorKind::Refused,
            format!("its interpreter {} (named in its first line) is not executable", interpreter.display()),
            format!("change the first line, or run: chmod 0755 '{}'", interpreter.display()),
        )),
        Head::Elf { .. } | Head::Empty | Head::MarkedScript | Head::Other => None,
    }
}

/// ENOEXEC: nothing this kernel knows how to run.
fn unknown_format(exe: &Path) -> Option<Why> {
    let first_line = "make `#!/bin/sh` (or the interpreter it is written for) its first line";
    Some(match head(exe)? {
        Head::Empty => why(ErrorKind::Invalid, "the file is empty", "install it again"),
        Head::MarkedScript => why(
            ErrorKind::Invalid,
            "a byte-order mark stands before its `#!`",
            format!("remove it; run: sed -i '1s/^\\xEF\\xBB\\xBF//' '{}'", exe.display()),
        ),
        Head::Elf { machine, .. } if machine != 0 && machine_name(machine) != ARCH => why(
            ErrorKind::Unsupported,
            format!("it is built for {}, this machine is {ARCH}", machine_name(machine)),
            format!("install its build for {ARCH}"),
        ),
        Head::Elf { .. } => why(ErrorKind::Invalid, "it is a damaged or unfinished program file", "install it again"),
        Head::Script { interpreter, .. } => match head(&interpreter) {
            Some(Head::Elf { machine, .. }) if machine_name(machine) != ARCH => why(
                ErrorKind::Unsupported,
                format!(
                    "its interpreter {} is built for {}, this machine is {ARCH}",
                    interpreter.display(),
                    machine_name(machine)
                ),
                format!("install {} for {ARCH}", interpreter.display()),
            ),
            _ => why(ErrorKind::Invalid, "its first line names no interpreter that can be run", first_line),
        },
        Head::Other => why(ErrorKind::Invalid, "it is no program, and has no `#!` as its first line", first_line),
    })
}

/// Whether the kernel would answer ENOEXEC for this file. Off the vfork path std asks a function that then hands the file
/// to a shell, which nobody wants.
pub(super) fn shell_would_get(exe: &Path) -> bool {
    match head(exe) {
        Some(Head::Empty | Head::MarkedScript | Head::Other) => true,
        Some(Head::Script { interpreter, .. }) => interpreter.as_os_str().is_empty(),
        Some(elf @ Head::Elf { .. }) => foreign(&elf),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, os::unix::fs::symlink};

    use super::*;
    use crate::process::{Program, spawn};

    /// What `spawn` says of a file with this content and mode, and its hint.
    fn told(content: &[u8], mode: u32) -> (ErrorKind, String, String) {
        let dir = tempfile::tempdir().unwrap();
        let exe = dir.path().join("driver");
        fs::write(&exe, content).unwrap();
        fs::set_permissions(&exe, fs::Permissions::from_mode(mode)).unwrap();
        told_of(&exe)
    }

    fn told_of(exe: &Path) -> (ErrorKind, String, String) {
        let program = Program::new(exe);
        let error =
            spawn(&program).err().unwrap_or_else(|| panic!("{} must not start: {:?}", exe.display(), fs::read(exe)));
        // Two answers cannot be foreseen: a writer that may be gone a moment later, and a header that only seems whole.
        if exe.is_absolute() && error.kind() != ErrorKind::Busy && !error.to_string().contains("damaged") {
            assert_eq!(refusal(exe).map(|foreseen| foreseen.story()), Some(error.story()), "foreseen otherwise");
        }
        (error.kind(), error.to_string(), error.hint().unwrap_or_default().to_owned())
    }

    /// A program file of another kind, long enough for its header; nothing in it can be run.
    fn elf(machine: u16, loader: Option<&str>) -> Vec<u8> {
        let mut file = vec![0; 120];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..18].copy_from_slice(&2_u16.to_le_bytes());
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[20..24].copy_from_slice(&1_u32.to_le_bytes());
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[52..54].copy_from_slice(&64_u16.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        if let Some(loader) = loader {
            file[56..58].copy_from_slice(&1_u16.to_le_bytes());
            file[64..68].copy_from_slice(&3_u32.to_le_bytes());
            file[72..80].copy_from_slice(&120_u64.to_le_bytes());
            file[96..104].copy_from_slice(&(loader.len() as u64 + 1).to_le_bytes());
            file.extend_from_slice(loader.as_bytes());
            file.push(0);
        }
        file
    }

    /// This machine's number; others than these two are not tested on.
    fn own_machine() -> u16 {
        if ARCH == "aarch64" { 183 } else { 62 }
    }

    #[test]
    fn each_reason_is_told_in_words() {
        let not_executable = told(b"#!/bin/sh\n", 0o644);
        assert_eq!(not_executable.0, ErrorKind::Refused);
        assert!(not_executable.1.ends_with("driver: it is not executable"), "{not_executable:?}");
        assert!(not_executable.2.starts_with("run: chmod 0755 "), "{not_executable:?}");

        let rows: &[(&[u8], &str)] = &[
            (
                b"#! /usr/bin/python2 -u\nprint\n",
                "its interpreter /usr/bin/python2 (named in its first line) does not exist",
            ),
            (b"#!/bin/sh\r\necho\r\n", "carriage return"),
            (b"#!/etc/passwd\n", "its interpreter /etc/passwd (named in its first line) is not executable"),
            (b"", "the file is empty"),
            (b"echo hello\n", "no `#!`"),
            (b"\xEF\xBB\xBF#!/bin/sh\necho\n", "byte-order mark"),
            (b"#!\n", "names no interpreter"),
            (b"\x7fELF", "damaged"),
        ];
        for (content, words) in rows {
            let (_, text, hint) = told(content, 0o755);
            assert!(text.contains(words), "{text} should say {words}");
            assert!(!hint.is_empty(), "{text}");
        }
        let (kind, text, _) = told(&elf(if ARCH == "aarch64" { 62 } else { 183 }, None), 0o755);
        assert_eq!(kind, ErrorKind::Unsupported);
        let other = if ARCH == "aarch64" { "x86_64" } else { "aarch64" };
        assert!(text.ends_with(&format!("it is built for {other}, this machine is {ARCH}")), "{text}");
        let (kind, text, _) = told(&elf(own_machine(), Some("/lib/ld-none.so.1")), 0o755);
        assert_eq!(kind, ErrorKind::NotFound);
        assert!(text.ends_with("its loader /lib/ld-none.so.1 does not exist"), "{text}");
    }

    #[test]
    fn what_is_no_file_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(told_of(&dir.path().join("none")).1.ends_with("there is no such file"));
        let link = dir.path().join("link");
        symlink("/nowhere/driver", &link).unwrap();
        assert!(told_of(&link).1.ends_with("it is a link to /nowhere/driver, which does not exist"));
        assert!(told_of(dir.path()).1.ends_with("it is a directory"));
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o755.into(), 0).unwrap();
        assert!(told_of(&fifo).1.ends_with("it is not a regular file"));
        assert_eq!(told_of(Path::new("bin/true")).0, ErrorKind::Invalid);
    }

    #[test]
    fn what_runs_is_not_refused() {
        for exe in ["/bin/sh", "/proc/self/exe"] {
            assert!(refusal(Path::new(exe)).is_none(), "{exe}");
        }
        let dir = tempfile::tempdir().unwrap();
        let exe = dir.path().join("driver");
        fs::write(&exe, "#!/bin/sh -e\n").unwrap();
        fs::set_permissions(&exe, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(refusal(&exe).is_none());
    }

    #[test]
    fn a_file_being_written_is_busy() {
        let dir = tempfile::tempdir().unwrap();
        let exe = dir.path().join("driver");
        fs::copy("/bin/true", &exe).unwrap();
        let writer = OpenOptions::new().write(true).open(&exe).unwrap();
        let (kind, text, hint) = told_of(&exe);
        assert_eq!(kind, ErrorKind::Busy, "{text}");
        assert!(hint.contains("rename"), "{hint}");
        drop(writer);
    }

    #[test]
    fn arguments_the_kernel_refuses_are_told_without_being_shown() {
        let mut program = Program { args: vec!["secret\0text".to_owned().into()], ..Program::new("/bin/true") };
        let error = spawn(&program).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(!error.story().contains("secret"), "{}", error.story());
        program.args = vec!["x".repeat(200_000).into()];
        let error = spawn(&program).err().unwrap();
        assert!(error.to_string().contains("longer than the kernel takes"), "{error}");
    }
}
