//! Tests: a directory above is swapped for a link all the while, and nothing is mounted, made, given away or taken away where
//! the link leads.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use super::{Flags, Unmount, bind, set_flags, table, testing::private_mounts, unmount};
use crate::{
    ErrorKind, Result,
    beneath::{Root, Trust, real_place, trusted, trusted_chain},
    fs::apply_fs_group,
};

/// Enough to meet every moment of a swap; fewer are done only where both ends were met and time is up.
const ROUNDS: usize = 400;

/// `way/v`, and what `way` is exchanged with: a link to `canary`, which holds a `v` of its own.
struct Field {
    tmp: PathBuf,
}

/// What was found at the right place, and what was refused.
#[derive(Default)]
struct Met {
    done: usize,
    refused: usize,
}

impl Field {
    fn new(tmp: &Path) -> Self {
        // Whatever the umask is.
        for dir in ["way", "way/v", "canary", "canary/v", "source"] {
            fs::create_dir(tmp.join(dir)).unwrap();
            fs::set_permissions(tmp.join(dir), fs::Permissions::from_mode(0o755)).unwrap();
        }
        for file in ["canary/v/file", "canary/file", "source/file"] {
            fs::write(tmp.join(file), file).unwrap();
            fs::set_permissions(tmp.join(file), fs::Permissions::from_mode(0o600)).unwrap();
        }
        symlink("canary", tmp.join("link")).unwrap();
        Self { tmp: tmp.to_owned() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.tmp.join(name)
    }

    /// Exchanges `way` and `link` as fast as it can while `round` is done again and again, and puts them back.
    fn swap_during(&self, mut round: impl FnMut(&mut Met)) -> Met {
        let (over, start) = (AtomicBool::new(false), Instant::now());
        let mut met = Met::default();
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    renameat_with(CWD, self.at("way"), CWD, self.at("link"), RenameFlags::EXCHANGE).unwrap();
                }
            });
            let _ends = Ends(&over);
            let mut rounds = 0;
            while rounds < ROUNDS || ((met.done == 0 || met.refused == 0) && start.elapsed() < Duration::from_secs(20))
            {
                round(&mut met);
                rounds += 1;
            }
        });
        if fs::symlink_metadata(self.at("way")).unwrap().is_symlink() {
            renameat_with(CWD, self.at("way"), CWD, self.at("link"), RenameFlags::EXCHANGE).unwrap();
        }
        assert!(met.done > 0 && met.refused > 0, "{} done, {} refused: no race", met.done, met.refused);
        met
    }

    fn assert_untouched(&self) {
        assert_eq!(table::beneath(&self.at("canary")).unwrap(), [], "mounted where the link leads");
        let mut names: Vec<_> =
            fs::read_dir(self.at("canary")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["file", "v"], "made or removed where the link leads");
        for name in ["canary", "canary/v", "canary/file", "canary/v/file"] {
            let meta = fs::symlink_metadata(self.at(name)).unwrap();
            let mode = if meta.is_dir() { 0o755 } else { 0o600 };
            assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (0, 0, mode), "{name}");
        }
        assert_eq!(fs::read_to_string(self.at("canary/v/file")).unwrap(), "canary/v/file");
    }
}

/// Ends the swapping, also when a round fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Met {
    fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.done += 1;
                Some(value)
            }
            Err(error) => {
                let words = error.story();
                let told = [ErrorKind::Refused, ErrorKind::NotFound, ErrorKind::Busy].contains(&error.kind());
                assert!(told, "{words}");
                self.refused += usize::from(error.kind() == ErrorKind::Refused);
                None
            }
        }
    }
}

#[test]
fn mounts_are_made_changed_and_taken_at_the_real_place_only() {
    private_mounts(|tmp| {
        let field = Field::new(tmp);
        // What is mounted there belongs to whoever laid the link.
        bind(&field.at("source"), &field.at("canary/v"), Flags::default()).unwrap();
        let before = table::at(&field.at("canary/v")).unwrap().unwrap();
        let strict = Flags { read_only: true, noexec: true, ..Flags::default() };
        field.swap_during(|met| {
            met.note(bind(&field.at("source"), &field.at("way/v"), Flags::default()));
            met.note(set_flags(&field.at("way/v"), strict));
            met.note(unmount(&field.at("way/v"), Unmount::Plain));
            met.note(unmount(&field.at("way/v"), Unmount::Detach));
        });
        assert_eq!(table::at(&field.at("canary/v")).unwrap().unwrap(), before);
        unmount(&field.at("canary/v"), Unmount::Plain).unwrap();
        field.assert_untouched();
    });
}

#[test]
fn a_view_is_taken_of_the_real_place_only() {
    private_mounts(|tmp| {
        let field = Field::new(tmp);
        fs::create_dir(field.at("at")).unwrap();
        field.swap_during(|met| {
            if met.note(bind(&field.at("way/v"), &field.at("at"), Flags::default())).is_some() {
                assert!(!field.at("at/file").exists(), "the canary is seen");
                unmount(&field.at("at"), Unmount::Plain).unwrap();
            }
        });
        field.assert_untouched();
    });
}

#[test]
fn a_tree_is_given_to_a_group_at_the_real_place_only() {
    private_mounts(|tmp| {
        let field = Field::new(tmp);
        fs::write(field.at("way/v/file"), "").unwrap();
        field.swap_during(|met| drop(met.note(apply_fs_group(&field.at("way/v"), 4321, false))));
        assert_eq!(fs::metadata(field.at("way/v/file")).unwrap().gid(), 4321);
        field.assert_untouched();
    });
}

#[test]
fn directories_are_made_and_taken_away_at_the_real_place_only() {
    private_mounts(|tmp| {
        let field = Field::new(tmp);
        let root = Root::open(tmp).unwrap();
        let mut count = 0;
        field.swap_during(|met| {
            count += 1;
            let new = PathBuf::from(format!("way/new-{count}/deep/er"));
            if let Some(pinned) = met.note(root.make_dirs(&new, 0o750)) {
                assert!(pinned.rmdir().unwrap());
            }
            for above in new.ancestors().skip(1).take(2) {
                match root.pin(above).and_then(|pinned| pinned.rmdir()) {
                    // What lies in it could not be taken away a moment before.
                    Err(error) if error.errno() == Some(Errno::NOTEMPTY.raw_os_error()) => {}
                    result => drop(met.note(result)),
                }
            }
            // What is there has files in it, or a link in its place: neither is taken away.
            assert!(root.pin(Path::new("way")).unwrap().rmdir().is_err());
        });
        field.assert_untouched();
    });
}

/// A link of somebody else's is not followed, whatever it is swapped with; one that an administrator laid is.
#[test]
fn what_is_opened_is_what_was_judged() {
    private_mounts(|tmp| {
        let field = Field::new(tmp);
        let (here, way) = (Trust::here(), field.at("way/v"));
        assert_eq!(trusted(&field.at("link/v"), &here).unwrap().path(), field.at("canary/v"));
        assert_eq!(real_place(&field.at("link/v"), || here.clone()).unwrap(), field.at("canary/v"));
        assert_eq!(real_place(&way, || unreachable!("there is no link")).unwrap(), way);
        assert_eq!(real_place(&field.at("none/v"), || here.clone()).unwrap(), field.at("none/v"));
        std::os::unix::fs::lchown(field.at("link"), Some(1234), None).unwrap();
        for refused in
            [trusted_chain(&field.at("link/v"), &here), real_place(&field.at("link/v"), || here.clone()).map(drop)]
        {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains("/link belongs to user 1234"), "{error}");
        }
        let inode = fs::metadata(&way).unwrap().ino();
        field.swap_during(|met| {
            if let Some(trusted) = met.note(trusted(&way, &here)) {
                assert_eq!(rustix::fs::fstat(&trusted).unwrap().st_ino, inode, "the canary was opened");
            }
            if let Some(real) = met.note(real_place(&way, || here.clone())) {
                assert_eq!(real, way);
            }
        });
        field.assert_untouched();
    });
}
