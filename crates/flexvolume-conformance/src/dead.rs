//! A mount that is dead: what served it is gone, and whoever looks at it is told so.

use std::{fs::File, os::fd::AsRawFd, path::Path};

use flexvolume_linux::mount::{Flags, FsMount, Tree};

/// The device by which FUSE is served.
const FUSE: &str = "/dev/fuse";

/// Mounts at `dir` what nobody serves: a FUSE whose daemon has died. Why not, if this machine cannot.
pub(crate) fn put(dir: &Path) -> Result<(), String> {
    let daemon = File::options().read(true).write(true).open(FUSE).map_err(|error| format!("{FUSE}: {error}"))?;
    let option = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
    let options = [
        option("fd", &daemon.as_raw_fd().to_string()),
        option("rootmode", "40000"),
        option("user_id", "0"),
        option("group_id", "0"),
    ];
    let wanted =
        FsMount { fs_type: "fuse", source: Some("flexvol-check-dead"), options: &options, flags: Flags::default() };
    Tree::new(&wanted).and_then(|tree| tree.attach(dir)).map_err(|error| error.to_string())
    // With the file the daemon goes, and it was the only one.
}
