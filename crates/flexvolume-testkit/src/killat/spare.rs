//! Who is spared: recognised by the file it runs, since a name says little and a driver may be called as its tool is.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The programs that are left alone, by device and inode of their files.
#[derive(Default)]
pub(super) struct Spared {
    files: Vec<(u64, u64)>,
}

impl Spared {
    pub(super) fn new(programs: &[PathBuf]) -> io::Result<Spared> {
        let file = |program: &PathBuf| {
            let path = find(program)?;
            let about = |e: io::Error| io::Error::new(e.kind(), format!("cannot spare {}: {e}", path.display()));
            identity(&path).map_err(about)
        };
        Ok(Spared { files: programs.iter().map(file).collect::<io::Result<_>>()? })
    }

    /// Whether this process runs one of the programs, or descends from one that does.
    pub(super) fn is(&self, pid: u32) -> bool {
        if self.files.is_empty() {
            return false;
        }
        let line = std::iter::successors(Some(pid), |pid| parent(*pid));
        line.take_while(|pid| *pid > 1)
            .any(|pid| identity(Path::new(&format!("/proc/{pid}/exe"))).is_ok_and(|file| self.files.contains(&file)))
    }
}

/// One path, so that the start is one exec and not one for each folder of PATH.
pub(super) fn find(exe: &Path) -> io::Result<PathBuf> {
    if exe.as_os_str().as_encoded_bytes().contains(&b'/') {
        return Ok(exe.to_path_buf());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(exe)).find(|file| file.is_file());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no {} in PATH", exe.display())))
}

fn identity(file: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(file).map(|meta| (meta.dev(), meta.ino()))
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}
