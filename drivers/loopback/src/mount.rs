//! The file system on a volume: formatted only if proven empty, mounted, unmounted.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use flexvolume::{Code, Failure, Options, Result, World};
use flexvolume_linux::{
    fs::{FsType, Wanted, format_and_mount, make_ready},
    mount::{self, Flags, Presence, Unmount, table},
};

use crate::{device::expect, image::reads_only, mark::Mark, place::Place, renew};

/// Mounts the volume's device at `dir`, formatted first if it is proven empty. Gives what a person should hear of.
pub(crate) fn mount(place: &Place, dir: &Path, options: &Options, world: &World) -> Result<Vec<String>> {
    let device = expect(place)?.device;
    let fs_type = FsType::parse(options.fs_type())?;
    let mut notes = Vec::new();
    if !is_mounted(&device, dir)? {
        notes.extend(renew::before_mount(place, &device, fs_type, world)?);
        notes.extend(mount_it(place, &device, fs_type, dir, options)?);
    }
    if !reads_only(options) {
        renew::after_mount(place, &device, dir, world)?;
    }
    Ok(notes)
}

fn mount_it(place: &Place, device: &Path, fs_type: FsType, dir: &Path, options: &Options) -> Result<Vec<String>> {
    let identity = match Mark::read(place)? {
        Some(mark) => mark.uuid,
        None => place.storage(),
    };
    let mut wanted = Wanted {
        device,
        identity: &identity,
        fs_type,
        read_only: true,
        made_by_us: false,
        mkfs_options: &[],
        mount_options: &[],
        flags: Flags { read_only: options.read_only(), ..Flags::default() },
        intents: &place.intents(),
    };
    if reads_only(options) {
        make_ready(&wanted)?;
    }
    wanted.read_only = options.read_only();
    Ok(format_and_mount(&wanted, dir)?.notes)
}

/// Whether this very device is what is mounted there; anything else there is a failure.
fn is_mounted(device: &Path, dir: &Path) -> Result<bool> {
    match mount::look(dir)? {
        Presence::Absent | Presence::Plain => return Ok(false),
        Presence::Mount(_) => {}
        Presence::Corrupted(_) | Presence::Symlink | Presence::Other => return Err(occupied(dir)),
    }
    // The device is named by number, since btrfs shows one of its own as the file system's.
    let source = table::at(dir)?.map(|mounted| PathBuf::from(mounted.source));
    let number = |path: &Path| std::fs::metadata(path).map(|meta| meta.rdev()).ok();
    match source.as_deref().and_then(number) {
        Some(theirs) if Some(theirs) == number(device) => Ok(true),
        Some(_) | None => Err(occupied(dir)),
    }
}

fn occupied(dir: &Path) -> Failure {
    Failure::new(Code::Conflict, format!("something else is mounted at {}; it is left alone", dir.display()))
}

/// Takes away whatever is mounted at `dir`; nothing there is as good. One that is in use stays: taken out of sight, its
/// device would be held by nobody knows whom.
pub(crate) fn unmount(dir: &Path) -> Result<()> {
    loop {
        match mount::look(dir)? {
            Presence::Absent | Presence::Plain => return Ok(()),
            Presence::Mount(_) | Presence::Corrupted(_) => mount::unmount(dir, Unmount::Plain)?,
            Presence::Symlink | Presence::Other => {
                return Err(Failure::new(Code::Invalid, format!("{} is no directory", dir.display())));
            }
        };
    }
}
