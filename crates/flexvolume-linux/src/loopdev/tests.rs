//! Loop devices as the kernel makes them: each test detaches what it attached.

use super::*;
use crate::{
    block::is_free,
    mount::{Flags, FsMount, Unmount, mount, testing::private_mounts, unmount},
};

const SOON: Duration = Duration::from_secs(10);

/// An image of one MiB, open for writing.
fn image(dir: &Path, name: &str) -> File {
    let file = reopen(dir, name);
    file.set_len(1 << 20).unwrap();
    file
}

fn reopen(dir: &Path, name: &str) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join(name)).unwrap()
}

/// A tag of this process's own, so that tests find only what they made.
fn tag(name: &str) -> String {
    format!("test-{}-{name}", std::process::id())
}

/// Detaches at the end of the test, however it ends; not what another test has by then under the same number.
struct Attached(PathBuf, Option<Loop>);

impl Attached {
    fn of(device: PathBuf) -> Self {
        let now = status_of(&device).unwrap();
        Self(device, now)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(attached) = &self.1 {
            let _ = detach_this(attached, SOON);
        }
    }
}

/// Ends with the test too.
struct User(std::process::Child);

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_file_is_attached_once_found_and_let_go() {
    private_mounts(|tmp| {
        let tag = tag("once");
        let device = Attached::of(attach(image(tmp, "i"), &tag, false).unwrap());
        let found = find(&tag).unwrap().unwrap();
        assert_eq!(found.device, device.0);
        assert!(!found.read_only && !found.autoclear);
        assert_eq!(of_file(&reopen(tmp, "i")).unwrap(), std::slice::from_ref(&found));
        assert_eq!(of_file(&image(tmp, "other")).unwrap(), []);

        for read_only in [false, true] {
            let second = attach(reopen(tmp, "i"), &self::tag("second"), read_only).map(Attached::of);
            assert_eq!(second.map(|_| ()).unwrap_err().kind(), ErrorKind::Busy);
        }
        assert_eq!(find(&self::tag("second")).unwrap(), None);

        assert!(is_free(&device.0).unwrap());
        detach(&device.0, SOON).unwrap();
        assert_eq!(find(&tag).unwrap(), None);
        detach(&device.0, SOON).unwrap();
        flock(reopen(tmp, "i"), FlockOperation::NonBlockingLockExclusive).unwrap();
    });
}

#[test]
fn a_mounted_device_is_not_detached_and_the_error_says_where() {
    private_mounts(|tmp| {
        let tag = tag("held");
        let file = image(tmp, "i");
        file.set_len(4 << 20).unwrap();
        let made = std::process::Command::new("mkfs.ext4").arg("-q").arg(tmp.join("i")).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no mkfs.ext4");
            return;
        }
        let device = Attached::of(attach(file, &tag, false).unwrap());
        let at = tmp.join("m m");
        fs::create_dir(&at).unwrap();
        let ext4 = FsMount { fs_type: "ext4", source: device.0.to_str(), options: &[], flags: Flags::default() };
        mount(&ext4, &at).unwrap();
        assert!(!is_free(&device.0).unwrap());
        let error = detach(&device.0, Duration::from_millis(30)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().ends_with(&format!("it is mounted at {}", at.display())), "{error}");
        assert!(!find(&tag).unwrap().unwrap().autoclear, "it was not told to go away later either");
        unmount(&at, Unmount::Plain).unwrap();
        detach(&device.0, SOON).unwrap();
        assert_eq!(find(&tag).unwrap(), None);
    });
}

#[test]
fn detaching_waits_for_programs_that_have_it_open() {
    private_mounts(|tmp| {
        let tag = tag("opened");
        let device = Attached::of(attach(image(tmp, "i"), &tag, false).unwrap());
        let sleep = std::process::Command::new("sleep").arg("1000").stdin(open(&device.0, false, 0).unwrap()).spawn();
        let user = User(sleep.unwrap());
        let error = detach(&device.0, Duration::from_millis(30)).unwrap_err();
        assert!(error.to_string().contains(&format!("process {} (sleep)", user.0.id())), "{error}");
        drop(user);
        detach(&device.0, SOON).unwrap();
        assert_eq!(find(&tag).unwrap(), None);
    });
}

#[test]
fn a_device_that_others_took_since_is_left_alone() {
    private_mounts(|tmp| {
        let (old, new) = (tag("old"), tag("new"));
        let device = Attached::of(attach(image(tmp, "i"), &new, false).unwrap());
        let now = find(&new).unwrap().unwrap();
        detach_this(&Loop { tag: old, ..now.clone() }, SOON).unwrap();
        assert_eq!(find(&new).unwrap(), Some(now));
        detach(&device.0, SOON).unwrap();
    });
}

#[test]
fn a_read_only_device_cannot_be_written_and_a_grown_one_is_larger() {
    private_mounts(|tmp| {
        let device = Attached::of(attach(image(tmp, "ro"), &tag("ro"), true).unwrap());
        assert!(find(&tag("ro")).unwrap().unwrap().read_only);
        assert!(crate::block::is_read_only(&device.0).unwrap());
        assert!(open(&device.0, true, 0).is_err() || fs::write(&device.0, "x").is_err());

        let file = image(tmp, "grows");
        let other = file.try_clone().unwrap();
        let device = Attached::of(attach(file, &tag("grows"), false).unwrap());
        let size = || rustix::fs::seek(fs::File::open(&device.0).unwrap(), rustix::fs::SeekFrom::End(0)).unwrap();
        assert_eq!(size(), 1 << 20);
        assert!(!crate::block::is_read_only(&device.0).unwrap());
        other.set_len(3 << 20).unwrap();
        grow(&device.0).unwrap();
        assert_eq!(size(), 3 << 20);
    });
}

/// The file systems of the machine's disk can, tmpfs cannot before kernel 6.6 and can since.
#[test]
fn direct_io_is_used_only_where_it_can_be() {
    private_mounts(|tmp| {
        for name in ["disk", "ramfs/i"] {
            if name != "disk" {
                fs::create_dir(tmp.join("ramfs")).unwrap();
                let ramfs = FsMount { fs_type: "ramfs", source: None, options: &[], flags: Flags::default() };
                mount(&ramfs, &tmp.join("ramfs")).unwrap();
            }
            let device = Attached::of(attach(image(tmp, name), &tag("direct"), false).unwrap());
            let direct = find(&tag("direct")).unwrap().unwrap().direct_io;
            assert!(name == "disk" || !direct, "{name}");
            fs::write(&device.0, b"written through").unwrap();
            detach(&device.0, SOON).unwrap();
            assert!(fs::read(tmp.join(name)).unwrap().starts_with(b"written through"), "{name}");
        }
    });
}

#[test]
fn a_device_in_use_changes_its_way_and_loses_nothing() {
    private_mounts(|tmp| {
        let device = Attached::of(attach(image(tmp, "disk"), &tag("way"), false).unwrap());
        let direct = || find(&tag("way")).unwrap().unwrap().direct_io;
        let can = direct();
        for (n, wanted) in [false, true, true, false, false].into_iter().enumerate() {
            fs::write(&device.0, format!("written {n}")).unwrap();
            let is_so = set_direct_io(&device.0, wanted).unwrap();
            assert_eq!((is_so, direct()), (wanted && can, wanted && can), "{n}");
            assert!(fs::read(&device.0).unwrap().starts_with(format!("written {n}").as_bytes()), "{n}");
        }
        detach(&device.0, SOON).unwrap();
        assert!(set_direct_io(&device.0, true).is_err(), "attached no longer");
        assert!(fs::read(tmp.join("disk")).unwrap().starts_with(b"written 4"));
    });
}

#[test]
fn what_cannot_be_an_image_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let kind = |file: File, tag: &str, read_only| attach(file, tag, read_only).unwrap_err().kind();
    assert_eq!(kind(image(tmp.path(), "i"), &"x".repeat(64), false), ErrorKind::Invalid);
    assert_eq!(kind(image(tmp.path(), "i"), "", false), ErrorKind::Invalid);
    assert_eq!(kind(image(tmp.path(), "i"), "a\0b", false), ErrorKind::Invalid);
    assert_eq!(kind(File::open(tmp.path().join("i")).unwrap(), "x", false), ErrorKind::Invalid);
    assert_eq!(kind(File::open(tmp.path()).unwrap(), "x", true), ErrorKind::Invalid);
    assert_eq!(kind(reopen(tmp.path(), "empty"), "x", false), ErrorKind::Invalid);
    assert_eq!(status_of(&tmp.path().join("i")).unwrap_err().kind(), ErrorKind::Invalid);
}
