//! The file system on a volume: formatted only if proven empty, mounted, unmounted, grown.

use std::path::{Path, PathBuf};

use flexvolume::{Code, Failure, ONLY_READER, Options, Result, World};
use flexvolume_linux::{
    fs::{
        FsType, Wanted, check_mkfs_options, check_mount_options, format_and_mount, grow_fs, grow_unmounted, make_ready,
    },
    mount::{self, Flags, Presence, Unmount, table},
};

use crate::{
    active::{self, awake_number},
    held::Held,
    place::{Place, intents},
    renew,
};

/// A mount option: its name and, if it has one, its value.
type MountOption = (String, Option<String>);

/// Whether the volume is for reading alone: then nothing is made, adopted or formatted for it.
pub(crate) fn reads_only(options: &Options) -> bool {
    options.read_only() || options.get(ONLY_READER).is_some()
}

/// Whether the options about the file system make sense.
///
/// # Errors
/// `unsupported` or `invalid` type, or an option that is not on the list.
pub(crate) fn check(options: &Options) -> Result<()> {
    let fs_type = FsType::parse(options.fs_type())?;
    check_mkfs_options(fs_type, &mkfs_options(options))?;
    check_mount_options(fs_type, &mount_options(options))?;
    Ok(())
}

/// The option `mkfsOptions`: words, as a shell without quotes would take them.
fn mkfs_options(options: &Options) -> Vec<String> {
    options.get("mkfsOptions").unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// The option `mountOptions`: as `mount -o` takes them.
fn mount_options(options: &Options) -> Vec<MountOption> {
    let one = |text: &str| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    };
    let given = options.get("mountOptions").unwrap_or_default();
    given.split(',').map(str::trim).filter(|text| !text.is_empty()).map(one).collect()
}

/// Mounts the volume at `dir`, formatted first if it is proven empty.
///
/// # Errors
/// `conflict`: something else is mounted there. It is not attached; or what [`format_and_mount`] says.
pub(crate) fn mount(place: &Place, dir: &Path, options: &Options, world: &World) -> Result<()> {
    let held = active::expect(place, world)?;
    if is_mounted(&held.device, dir)? {
        return grown(place, held, dir, options, world);
    }
    let held = renew::before_mount(place, held, FsType::parse(options.fs_type())?, world)?;
    let (mkfs_options, mount_options) = (mkfs_options(options), mount_options(options));
    let mut wanted = Wanted {
        device: &held.device,
        identity: held.lv_uuid.as_str(),
        fs_type: FsType::parse(options.fs_type())?,
        read_only: true,
        made_by_us: false,
        mkfs_options: &mkfs_options,
        mount_options: &mount_options,
        flags: Flags { read_only: options.read_only(), ..Flags::default() },
        intents: &intents(&held.lv_uuid, world)?,
    };
    if reads_only(options) {
        make_ready(&wanted)?;
    }
    wanted.read_only = options.read_only();
    for note in format_and_mount(&wanted, dir)?.notes {
        world.log(format_args!("{}: {note}", place.storage()));
    }
    grown(place, held, dir, options, world)
}

/// A clone that is larger than its original fills what it has, once it is mounted for writing.
fn grown(place: &Place, held: Held, dir: &Path, options: &Options, world: &World) -> Result<()> {
    if reads_only(options) { Ok(()) } else { renew::after_mount(place, held, dir, world) }
}

/// Whether this very device is what is mounted there; anything else there is a failure.
fn is_mounted(device: &Path, dir: &Path) -> Result<bool> {
    match mount::look(dir)? {
        Presence::Absent | Presence::Plain => return Ok(false),
        Presence::Mount(_) => {}
        Presence::Corrupted(_) | Presence::Symlink | Presence::Other => return Err(occupied(dir)),
    }
    let theirs = table::at(dir)?.and_then(|mounted| number(Path::new(&mounted.source)));
    if theirs.is_some() && theirs == number(device) { Ok(true) } else { Err(occupied(dir)) }
}

/// The number of the device with that node: btrfs shows one of its own as the file system's.
fn number(node: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let meta = std::fs::metadata(node).ok().filter(|meta| meta.file_type().is_block_device())?;
    Some((rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev())))
}

fn occupied(dir: &Path) -> Failure {
    Failure::new(Code::Conflict, format!("something else is mounted at {}; it is left alone", dir.display()))
}

/// Takes away whatever is mounted at `dir`; nothing there is as good. One that is in use stays.
///
/// # Errors
/// `busy`: somebody uses it. `invalid`: it is no directory.
pub(crate) fn unmount(dir: &Path, world: &World) -> Result<()> {
    loop {
        match mount::look(dir)? {
            Presence::Absent | Presence::Plain => return Ok(()),
            Presence::Mount(_) | Presence::Corrupted(_) => {
                // Nothing is written to a device that is suspended, and unmounting writes.
                if let Some(number) = table::at(dir)?.and_then(|mounted| number(Path::new(&mounted.source))) {
                    awake_number(number, world)?;
                }
                mount::unmount(dir, Unmount::Plain)?;
            }
            Presence::Symlink | Presence::Other => {
                return Err(Failure::new(Code::Invalid, format!("{} is no directory", dir.display())));
            }
        }
    }
}

/// Makes the file system as large as its device: the mounted one at `dir`, or one that is not mounted there.
///
/// # Errors
/// What [`grow_fs`] and [`grow_unmounted`] say.
pub(crate) fn grow(place: &Place, dir: &Path, world: &World) -> Result<()> {
    let device: PathBuf = active::expect(place, world)?.device;
    match mount::look(dir)? {
        Presence::Mount(_) => Ok(grow_fs(&device, dir)?),
        Presence::Absent | Presence::Plain => Ok(grow_unmounted(&device)?),
        Presence::Corrupted(_) | Presence::Symlink | Presence::Other => Err(occupied(dir)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        let mut options = Options::default();
        for (key, value) in pairs {
            options.insert(*key, *value);
        }
        options
    }

    #[test]
    fn lists_are_split_as_mkfs_and_mount_take_them() {
        let given = options(&[("mkfsOptions", " -m 1  -E nodiscard "), ("mountOptions", "noatime, commit=5,,")]);
        assert_eq!(mkfs_options(&given), ["-m", "1", "-E", "nodiscard"]);
        let wanted = [("noatime".to_owned(), None), ("commit".to_owned(), Some("5".to_owned()))];
        assert_eq!(mount_options(&given), wanted);
        assert!(check(&given).is_ok() && check(&options(&[])).is_ok());
    }

    #[test]
    fn what_a_tenant_may_not_ask_for_is_refused_before_anything_is_made() {
        for bad in [
            ("mkfsOptions", "-J device=/dev/sda"),
            ("mkfsOptions", "/dev/sda"),
            ("mountOptions", "suid"),
            ("mountOptions", "errors=panic"),
            ("kubernetes.io/fsType", "vfat"),
        ] {
            assert!(check(&options(&[bad])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn readers_change_nothing() {
        assert!(!reads_only(&options(&[("kubernetes.io/readwrite", "rw")])));
        assert!(reads_only(&options(&[("kubernetes.io/readwrite", "ro")])));
        assert!(reads_only(&options(&[("kubernetes.io/readwrite", "rw"), (ONLY_READER, "true")])));
    }
}
