//! Is a file system sound? By what the kernel noted while it was mounted, and by the type's own checker, which changes
//! nothing.

use std::{fs, path::Path};

use flexvolume_linux::{
    fs::{Content, content},
    process::{How, on_path},
};
use flexvolume_protocol::Dir;

use crate::{
    bed::{Bed, Volume},
    stop::{Stop, Verdict, fault},
};

/// The file system mounted there has met no error; `when` is for the words.
pub(crate) fn mounted(bed: &Bed<'_>, dir: &Dir, when: &str) -> Verdict {
    let Some(mounted) = bed.mounted(dir)? else { return Ok(()) };
    let Some(device) = mounted.source.strip_prefix("/dev/") else { return Ok(()) };
    // ext4 counts them; others stop at the first one, and cannot be read.
    let noted = fs::read_to_string(format!("/sys/fs/{}/{device}/errors_count", mounted.fs_type)).unwrap_or_default();
    match noted.trim() {
        "" | "0" => Ok(()),
        many => fault(format!("{when} the kernel has noted {many} errors of the file system")),
    }
}

/// The volume's device, attached and not mounted, holds a sound file system; for drivers that attach, the others show no
/// device then.
pub(crate) fn unmounted(bed: &mut Bed<'_>, volume: &Volume, when: &str) -> Verdict {
    if !bed.attaches() && !bed.has(flexvolume_protocol::Extension::Staged) {
        return Ok(());
    }
    let device = bed.attach(volume)?;
    let device = bed.wait(volume, &device)?;
    let verdict = checked(bed, Path::new(&device.0), when);
    bed.unstage(volume)?;
    verdict
}

fn checked(bed: &Bed<'_>, device: &Path, when: &str) -> Verdict {
    let Some((tool, words, faulty)) = checker(device) else { return Ok(()) };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(exe) = on_path(tool, &path) else { return Ok(()) };
    let name = device.display().to_string();
    let words: Vec<&str> = words.iter().copied().chain([name.as_str()]).collect();
    let heard = bed.caller.ask_program(exe, &words)?;
    if heard.how != How::Exited(faulty) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&heard.raw).lines().last().unwrap_or_default().to_owned();
    Err(Stop::Fault(format!("{when} {tool} finds {name} faulty: {said}")))
}

/// The program that looks and changes nothing, and the exit by which it says that there is something to be mended.
fn checker(device: &Path) -> Option<(&'static str, &'static [&'static str], i32)> {
    let fs_type = match content(device).ok()? {
        Content::Filesystem { fs_type, .. } => fs_type,
        Content::Empty | Content::Unsigned { .. } | Content::Unknown { .. } => return None,
    };
    match fs_type.as_str() {
        "ext2" | "ext3" | "ext4" => Some(("e2fsck", &["-fn"], 4)),
        "xfs" => Some(("xfs_repair", &["-n"], 1)),
        _ => None,
    }
}
