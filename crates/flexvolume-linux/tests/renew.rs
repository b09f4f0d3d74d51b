//! Clones of file systems whose originals stay mounted get UUIDs of their own, whatever cuts the call off. What is cut off
//! is this very executable, hence its own `main`.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::{
    env,
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use flexvolume_linux::{
    ErrorKind,
    fs::{Content, FsType, Intents, Made, Wanted, content, format_and_mount, fresh_uuid, renew_uuid},
    mount::{Flags, FsMount, Unmount, mount, unmount},
    namespace::{self, View},
    process,
};
use flexvolume_testkit::killat::{self, Plan, Spec, Victim};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().collect();
    if let [_, role, device, fs_type, uuid] = &words[..]
        && role == "renew"
    {
        process::settle();
        let done = renew_uuid(Path::new(device), FsType::parse(fs_type).unwrap(), uuid);
        return done.map_or_else(|error| panic!("{}", error.story()), |_| ExitCode::SUCCESS);
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: devices and mounts need root");
        return ExitCode::SUCCESS;
    }
    process::settle();
    namespace::enter(&View::default()).unwrap();
    let tests: &[(&str, fn())] = &[
        ("a_clone_is_mounted_beside_its_original", a_clone_is_mounted_beside_its_original),
        ("what_was_not_unmounted_is_recovered_first", what_was_not_unmounted_is_recovered_first),
        ("a_clone_of_a_clone", a_clone_of_a_clone),
        ("old_and_odd_layouts", old_and_odd_layouts),
        ("killed_at_any_moment_it_is_finished_by_the_next_call", killed_at_any_moment_it_is_finished_by_the_next_call),
        ("failed_at_any_moment_it_is_finished_by_the_next_call", failed_at_any_moment_it_is_finished_by_the_next_call),
        ("what_cannot_be_renewed_is_not_touched", what_cannot_be_renewed_is_not_touched),
    ];
    let only = words.get(1).filter(|word| !word.starts_with('-'));
    for (name, test) in tests.iter().filter(|(name, _)| only.is_none_or(|only| name.contains(only.as_str()))) {
        let start = Instant::now();
        test();
        eprintln!("test {name} ... ok ({:.1} s)", start.elapsed().as_secs_f32());
    }
    ExitCode::SUCCESS
}

/// A loop device over a file; detached when dropped.
struct Disk {
    dev: PathBuf,
    image: PathBuf,
}

/// A file system that is mounted, and the place.
struct Original {
    disk: Disk,
    at: PathBuf,
    fs_type: FsType,
    uuid: String,
}

impl Disk {
    fn over(image: PathBuf) -> Self {
        let out = Command::new("losetup").args(["-f", "--show"]).arg(&image).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Self { dev: String::from_utf8(out.stdout).unwrap().trim().into(), image }
    }

    /// What is on it by both probes.
    fn uuid(&self) -> String {
        let found = content(&self.dev).unwrap();
        let Content::Filesystem { uuid, in_progress: false, .. } = found else { panic!("{found:?}") };
        uuid
    }

    /// Puts the content of `image` in the place of its own.
    fn reset(&self, image: &Path) {
        run("blockdev", &["--flushbufs".as_ref(), self.dev.as_os_str()]);
        run("cp", &["--sparse=always".as_ref(), image.as_os_str(), self.image.as_os_str()]);
        // What was cached of the old content.
        run("losetup", &["-d".as_ref(), self.dev.as_os_str()]);
        for _ in 0..500 {
            if Command::new("losetup").arg(&self.dev).arg(&self.image).stderr(Stdio::null()).status().unwrap().success()
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} is not let go", self.dev.display());
    }

    /// Mounts it as a volume is mounted, and holds its files against those at `original`.
    fn holds(&self, fs_type: FsType, original: &Path, about: &str) {
        let at = self.image.with_extension("clone");
        fs::create_dir_all(&at).unwrap();
        let intents = Intents::new(self.image.with_extension("json"));
        let wanted = Wanted {
            device: &self.dev,
            identity: "the clone",
            fs_type,
            read_only: false,
            made_by_us: false,
            mkfs_options: &[],
            mount_options: &[],
            flags: Flags::default(),
            intents: &intents,
        };
        let ready = format_and_mount(&wanted, &at).unwrap_or_else(|error| panic!("{about}: {}", error.story()));
        assert_eq!(ready.made, Made::Already, "{about}");
        let differ = Command::new("diff").arg("-r").arg(original).arg(&at).output().unwrap();
        assert!(differ.status.success(), "{about}: {}", String::from_utf8_lossy(&differ.stdout));
        fs::write(at.join("mine"), "mine").unwrap();
        unmount(&at, Unmount::Plain).unwrap();
    }

    /// A full check finds nothing at all.
    fn is_sound(&self, fs_type: FsType, about: &str) {
        let dev = self.dev.as_os_str();
        let (program, args): (_, &[&std::ffi::OsStr]) = match fs_type {
            FsType::Ext3 | FsType::Ext4 => ("e2fsck", &["-fn".as_ref(), dev]),
            FsType::Xfs => ("xfs_repair", &["-n".as_ref(), dev]),
            FsType::Btrfs => ("btrfs", &["check".as_ref(), "--readonly".as_ref(), dev]),
        };
        let out = Command::new(program).args(args).output().unwrap();
        let said = [&*out.stdout, &*out.stderr].map(String::from_utf8_lossy).concat();
        assert!(out.status.success(), "{about}: {said}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.dev).status();
    }
}

impl Original {
    /// A file system with some files in it, mounted.
    fn new(dir: &Path, fs_type: FsType, options: &[&str]) -> Self {
        let mib = match fs_type {
            FsType::Ext3 | FsType::Ext4 => 64,
            FsType::Xfs => 320,
            FsType::Btrfs => 128,
        };
        let image = dir.join("original");
        File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let disk = Disk::over(image);
        let force = if matches!(fs_type, FsType::Xfs | FsType::Btrfs) { "-f" } else { "-F" };
        let made =
            Command::new(format!("mkfs.{fs_type}")).args(["-q", force]).args(options).arg(&disk.dev).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let uuid = disk.uuid();
        let this = Self { at: dir.join("at"), disk, fs_type, uuid };
        fs::create_dir(&this.at).unwrap();
        this.mount();
        for n in 0..20 {
            fs::create_dir(this.at.join(format!("dir{n}"))).unwrap();
            this.write(&format!("dir{n}/file"), n);
        }
        this
    }

    fn mount(&self) {
        let source = self.disk.dev.to_str();
        let wanted = FsMount { fs_type: self.fs_type.as_str(), source, options: &[], flags: Flags::default() };
        mount(&wanted, &self.at).unwrap();
    }

    fn write(&self, name: &str, n: usize) {
        let mut file = File::create(self.at.join(name)).unwrap();
        file.write_all(format!("{name} {n}\n").repeat(1000 * (n + 1)).as_bytes()).unwrap();
        file.sync_all().unwrap();
    }

    /// A copy of the device as a snapshot is made: the file system stands still for it.
    fn frozen(&self, name: &str) -> PathBuf {
        run("fsfreeze", &["-f".as_ref(), self.at.as_os_str()]);
        let copy = self.copied(name);
        run("fsfreeze", &["-u".as_ref(), self.at.as_os_str()]);
        copy
    }

    /// A copy of the device as it is in the midst of work.
    fn copied(&self, name: &str) -> PathBuf {
        let copy = self.disk.image.with_file_name(name);
        run("cp", &["--sparse=always".as_ref(), self.disk.image.as_os_str(), copy.as_os_str()]);
        copy
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        let _ = unmount(&self.at, Unmount::Detach);
    }
}

fn run(program: &str, args: &[&std::ffi::OsStr]) {
    let out = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn renewed(disk: &Disk, fs_type: FsType, uuid: &str, about: &str) {
    renew_uuid(&disk.dev, fs_type, uuid).unwrap_or_else(|error| panic!("{about}: {}", error.story()));
    assert_eq!(disk.uuid(), uuid, "{about}");
}

fn a_clone_is_mounted_beside_its_original() {
    for fs_type in FsType::ALL {
        let dir = tempfile::tempdir().unwrap();
        let original = Original::new(dir.path(), fs_type, &[]);
        let clone = Disk::over(original.frozen("clone"));
        let uuid = fresh_uuid().unwrap();
        for time in ["once", "twice"] {
            renewed(&clone, fs_type, &uuid, time);
        }
        if matches!(fs_type, FsType::Ext3 | FsType::Ext4) {
            // Nothing tells the check before a mount to read it all.
            let quick = Command::new("e2fsck").arg("-p").arg(&clone.dev).output().unwrap();
            let said = String::from_utf8_lossy(&quick.stdout);
            assert!(quick.status.success() && said.contains(": clean, "), "{fs_type}: {said}");
        }
        clone.is_sound(fs_type, "the clone");
        clone.holds(fs_type, &original.at, "the clone");
        clone.is_sound(fs_type, "the clone, used");
        assert_eq!(clone.uuid(), uuid);
        assert_eq!(original.disk.uuid(), original.uuid);
    }
}

fn what_was_not_unmounted_is_recovered_first() {
    for fs_type in FsType::ALL {
        let dir = tempfile::tempdir().unwrap();
        let original = Original::new(dir.path(), fs_type, &[]);
        run("sync", &["-f".as_ref(), original.at.as_os_str()]);
        // What is written now is in a journal or log alone.
        original.write("late", 1);
        let clone = Disk::over(original.copied("clone"));
        renewed(&clone, fs_type, &fresh_uuid().unwrap(), "the clone");
        clone.holds(fs_type, &original.at, "the clone");
        clone.is_sound(fs_type, "the clone");
    }
}

fn a_clone_of_a_clone() {
    for fs_type in FsType::ALL {
        let dir = tempfile::tempdir().unwrap();
        let original = Original::new(dir.path(), fs_type, &[]);
        let first = Disk::over(original.frozen("first"));
        renewed(&first, fs_type, &fresh_uuid().unwrap(), "the first");
        run("blockdev", &["--flushbufs".as_ref(), first.dev.as_os_str()]);
        fs::copy(&first.image, dir.path().join("second")).unwrap();
        let second = Disk::over(dir.path().join("second"));
        renewed(&second, fs_type, &fresh_uuid().unwrap(), "the second");
        second.is_sound(fs_type, "the second");
        for (disk, about) in [(&second, "the second"), (&first, "the first")] {
            disk.holds(fs_type, &original.at, about);
        }
    }
}

fn old_and_odd_layouts() {
    let layouts: &[(FsType, &[&str])] = &[
        (FsType::Ext4, &["-O", "metadata_csum_seed"]),
        (FsType::Ext4, &["-O", "^metadata_csum,uninit_bg,^64bit"]),
        (FsType::Ext4, &["-O", "^metadata_csum,^sparse_super,^resize_inode"]),
        (FsType::Ext4, &["-O", "sparse_super2,^resize_inode"]),
        (FsType::Ext4, &["-b", "4096", "-O", "bigalloc"]),
        (FsType::Xfs, &["-s", "size=4096"]),
        (FsType::Xfs, &["-d", "agcount=3"]),
        (FsType::Btrfs, &["-M"]),
    ];
    for (fs_type, options) in layouts {
        let dir = tempfile::tempdir().unwrap();
        let about = format!("{fs_type} {options:?}");
        let original = Original::new(dir.path(), *fs_type, options);
        let clone = Disk::over(original.frozen("clone"));
        renewed(&clone, *fs_type, &fresh_uuid().unwrap(), &about);
        clone.is_sound(*fs_type, &about);
        clone.holds(*fs_type, &original.at, &about);
    }
}

/// Cuts the call off at each of its effects, or at every so many of them, and makes it again.
fn at_any_moment(plans: &[(usize, &dyn Fn(u64) -> Plan)]) {
    let types: [(FsType, &[&str]); 4] = [
        (FsType::Ext4, &[]),
        (FsType::Ext4, &["-O", "^metadata_csum,uninit_bg,^64bit"]),
        (FsType::Xfs, &[]),
        (FsType::Btrfs, &[]),
    ];
    for (fs_type, options) in types {
        let dir = tempfile::tempdir().unwrap();
        let original = Original::new(dir.path(), fs_type, options);
        original.write("late", 1);
        let pristine = original.copied("pristine");
        fs::copy(&pristine, dir.path().join("clone")).unwrap();
        let clone = Disk::over(dir.path().join("clone"));
        for (stride, plan) in plans {
            let mut points = 0;
            for at in (1..).step_by(*stride) {
                clone.reset(&pristine);
                let uuid = fresh_uuid().unwrap();
                let words = ["renew", clone.dev.to_str().unwrap(), fs_type.as_str(), &uuid];
                let report = killat::run(&Spec::new(env::current_exe().unwrap()).args(words), plan(at)).unwrap();
                assert!(!report.timed_out);
                let effect = report.effects.iter().find(|effect| effect.n == at);
                let about = format!("{fs_type} {options:?} {:?}: {effect:?}", plan(at));
                renewed(&clone, fs_type, &uuid, &about);
                clone.is_sound(fs_type, &about);
                clone.holds(fs_type, &original.at, &about);
                if report.struck.is_none() {
                    break;
                }
                points += 1;
            }
            assert!(points * stride >= 5, "{fs_type}, {:?}: {points} points: the tracer is blind", plan(1));
        }
    }
}

fn killed_at_any_moment_it_is_finished_by_the_next_call() {
    at_any_moment(&[
        (1, &|at| Plan::Kill { victim: Victim::Tree, at }),
        (4, &|at| Plan::Kill { victim: Victim::Host, at }),
    ]);
}

fn failed_at_any_moment_it_is_finished_by_the_next_call() {
    at_any_moment(&[(2, &|at| Plan::Inject { errno: 5, at })]);
}

fn what_cannot_be_renewed_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let original = Original::new(dir.path(), FsType::Ext4, &[]);
    let uuid = fresh_uuid().unwrap();
    let kind = |disk: &Disk, fs_type, uuid: &str| renew_uuid(&disk.dev, fs_type, uuid).map_err(|error| error.kind());
    assert_eq!(kind(&original.disk, FsType::Ext4, &uuid), Err(ErrorKind::Busy));

    let clone = Disk::over(original.frozen("clone"));
    let before = fs::read(&clone.image).unwrap();
    assert_eq!(kind(&clone, FsType::Xfs, &uuid), Err(ErrorKind::Refused));
    for none in
        ["", "x", "00000000-0000-0000-0000-000000000000", &uuid.to_uppercase(), &uuid[1..], &uuid.replace('-', "_")]
    {
        assert_eq!(kind(&clone, FsType::Ext4, none), Err(ErrorKind::Invalid), "{none}");
    }
    assert!(fs::read(&clone.image).unwrap() == before);

    let other = tempfile::tempdir().unwrap();
    let summed = Original::new(other.path(), FsType::Btrfs, &["--csum", "xxhash"]);
    let clone = Disk::over(summed.frozen("clone"));
    assert_eq!(kind(&clone, FsType::Btrfs, &uuid), Err(ErrorKind::Unsupported));
    assert_eq!(clone.uuid(), summed.uuid);

    // A superblock that somebody damaged.
    for (fs_type, place) in [(FsType::Xfs, 130), (FsType::Btrfs, (64 << 10) + 300)] {
        let dir = tempfile::tempdir().unwrap();
        let original = Original::new(dir.path(), fs_type, &[]);
        let clone = Disk::over(original.frozen("clone"));
        let device = File::options().write(true).open(&clone.dev).unwrap();
        device.write_all_at(&[0x5a], place).unwrap();
        device.sync_all().unwrap();
        drop(device);
        let before = fs::read(&clone.image).unwrap();
        assert_eq!(kind(&clone, fs_type, &uuid), Err(ErrorKind::Corrupted), "{fs_type}");
        assert!(fs::read(&clone.image).unwrap() == before, "{fs_type}");
    }
}
