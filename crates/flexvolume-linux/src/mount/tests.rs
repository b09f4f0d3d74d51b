//! Mounts as the kernel makes them: each test has a mount namespace of its own.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    mount::{MountPropagationFlags, mount_change},
};

use super::{
    Flags, FsMount, LADDER, Mounted, Presence, Step, Tree, Unmount, bind, corrupted, is_empty_dir, look, mount, part,
    probe, set_flags,
    table::{self, Backend},
    testing::{Hung, private_mounts, within_a_minute},
    unmount, unmount_ladder, unmount_step,
};
use crate::ErrorKind;

const TMPFS: FsMount<'_> = FsMount { fs_type: "tmpfs", source: Some("here"), options: &[], flags: FLAGS };
const FLAGS: Flags = Flags { read_only: false, nosuid: true, nodev: true, noexec: false };
const READ_ONLY: Flags = Flags { read_only: true, ..FLAGS };

fn dir(tmp: &Path, name: impl AsRef<OsStr>) -> std::path::PathBuf {
    let path = tmp.join(name.as_ref());
    fs::create_dir(&path).unwrap();
    path
}

#[test]
fn mounts_with_options_and_flags_and_takes_away() {
    private_mounts(|tmp| {
        let at = dir(tmp, "m");
        let options = [
            ("size".to_owned(), Some("4m".to_owned())),
            ("noexec".to_owned(), None),
            ("mode".to_owned(), Some("0700".to_owned())),
        ];
        mount(&FsMount { options: &options, ..TMPFS }, &at).unwrap();
        let mounted = table::at(&at).unwrap().unwrap();
        assert_eq!((mounted.fs_type.as_str(), mounted.source.as_str()), ("tmpfs", "here"));
        assert!(mounted.nosuid && mounted.nodev && mounted.noexec && !mounted.read_only);
        assert_eq!(look(&at).unwrap(), Presence::Mount(mounted.id));
        assert_eq!(rustix::fs::statvfs(&at).unwrap().f_blocks * 4096, 4 << 20);

        set_flags(&at, READ_ONLY).unwrap();
        assert!(table::at(&at).unwrap().unwrap().read_only);
        unmount(&at, Unmount::Plain).unwrap();
        assert_eq!(look(&at).unwrap(), Presence::Plain);
        assert_eq!(unmount(&at, Unmount::Plain).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(set_flags(&at, FLAGS).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_mount_that_fails_says_why_and_leaves_nothing() {
    private_mounts(|tmp| {
        let at = dir(tmp, "m");
        let error = mount(&FsMount { fs_type: "nosuchfs", ..TMPFS }, &at).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.hint().unwrap().contains("nosuchfs"));

        let options = [("nosuchoption".to_owned(), Some("1".to_owned()))];
        let error = mount(&FsMount { options: &options, ..TMPFS }, &at).unwrap_err();
        assert!(
            error.story().contains("Unknown parameter 'nosuchoption'"),
            "the kernel's own words: {}",
            error.story()
        );

        for word in ["suid", "dev"] {
            let options = [(word.to_owned(), None)];
            let error = mount(&FsMount { options: &options, ..TMPFS }, &at).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{word}");
        }
        symlink(&at, tmp.join("link")).unwrap();
        for link in ["link", "link/"] {
            assert_eq!(mount(&TMPFS, &tmp.join(link)).unwrap_err().kind(), ErrorKind::Refused, "{link}");
        }
        assert_eq!(mount(&TMPFS, &tmp.join("missing")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(table::beneath(tmp).unwrap(), []);
    });
}

#[test]
fn a_read_only_view_is_so_before_anyone_can_see_it() {
    private_mounts(|tmp| {
        let (from, to) = (dir(tmp, "from"), dir(tmp, "to"));
        let hidden = Tree::of(&from, READ_ONLY).unwrap();
        assert_eq!(table::beneath(tmp).unwrap(), [], "nothing is in place yet");
        let write = openat(&hidden, "x", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap_err();
        assert_eq!(write, rustix::io::Errno::ROFS);
        hidden.attach(&to).unwrap();
        assert_eq!(fs::write(to.join("x"), "").unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        fs::write(from.join("x"), "").unwrap();
        assert!(to.join("x").exists());

        let mounted = table::at(&to).unwrap().unwrap();
        assert!(mounted.read_only && mounted.nodev);
        assert_eq!(mounted.root.file_name().unwrap(), "from", "the kernel says which part is bound");
        assert!(matches!(look(&to).unwrap(), Presence::Mount(_)), "a bind within one file system is a mount too");
        bind(&to, &to, FLAGS).unwrap();
        assert!(table::at(&to).unwrap().unwrap().read_only, "what is forbidden stays so in a view of it");
    });
}

#[test]
fn a_whole_view_has_what_lies_beneath_and_changes_nothing_there() {
    private_mounts(|tmp| {
        let (from, to, plain) = (dir(tmp, "from"), dir(tmp, "to"), dir(tmp, "plain"));
        mount(&TMPFS, &from).unwrap();
        mount_change(&from, MountPropagationFlags::SHARED).unwrap();
        let inner = dir(&from, "in");
        mount(&TMPFS, &inner).unwrap();
        let tree = Tree::whole(&from, READ_ONLY).unwrap();
        let id = tree.id().unwrap();
        tree.attach(&to).unwrap();
        // Whoever holds it uses it.
        drop(tree);
        let there = table::at(&to).unwrap().unwrap();
        assert_eq!(there.id, id);
        for backend in [Backend::here(), Backend::Mountinfo] {
            let top = backend.at(&to).unwrap().unwrap();
            let points: Vec<_> =
                backend.under(top.id).unwrap().into_iter().map(|it| (it.point, it.read_only)).collect();
            assert_eq!(points, [(to.join("in"), true)], "{backend:?}");
            assert_eq!(backend.later_under(top.id).unwrap(), backend.under(top.id).unwrap(), "{backend:?}");
        }
        // What is mounted later comes along, what goes here stays there.
        let later = dir(&from, "later");
        mount(&TMPFS, &later).unwrap();
        assert!(table::at(&to.join("later")).unwrap().is_some());
        for name in ["in", "later"] {
            unmount(&to.join(name), Unmount::Plain).unwrap();
        }
        assert!(table::at(&inner).unwrap().is_some() && table::at(&later).unwrap().is_some());
        unmount(&to, Unmount::Plain).unwrap();

        // Of a directory that is no mount it is known which one it is.
        let (own, plainly) = part(&plain).unwrap();
        assert_eq!(own.part_at(plain.strip_prefix(&own.point).unwrap()), plainly);
        Tree::whole(&plain, FLAGS).unwrap().attach(&to).unwrap();
        assert_eq!(table::at(&to).unwrap().unwrap().part(), plainly);
        assert_eq!(part(&from).unwrap().1, table::at(&from).unwrap().unwrap().part());
        symlink(&plain, tmp.join("link")).unwrap();
        assert_eq!(part(&tmp.join("link")).unwrap_err().kind(), ErrorKind::Refused);
    });
}

#[test]
fn a_file_is_bound_and_links_are_refused() {
    private_mounts(|tmp| {
        fs::write(tmp.join("file"), "content").unwrap();
        fs::write(tmp.join("over"), "").unwrap();
        symlink("file", tmp.join("link")).unwrap();
        bind(&tmp.join("file"), &tmp.join("over"), FLAGS).unwrap();
        assert!(matches!(look(&tmp.join("over")).unwrap(), Presence::Mount(_)));
        assert!(matches!(probe(&tmp.join("over")).unwrap(), Presence::Mount(_)));
        assert_eq!(fs::read_to_string(tmp.join("over")).unwrap(), "content");
        assert_eq!(bind(&tmp.join("link"), &tmp.join("over"), FLAGS).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(bind(&tmp.join("file"), &tmp.join("link"), FLAGS).unwrap_err().kind(), ErrorKind::Refused);
    });
}

#[test]
fn tells_apart_what_lies_at_a_path() {
    let tmp = tempfile::tempdir().unwrap();
    let at = |name: &str| tmp.path().join(name);
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("file"), "").unwrap();
    symlink("dir", at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    for (name, presence) in [
        ("dir", Presence::Plain),
        ("dir/", Presence::Plain),
        ("file", Presence::Other),
        ("link", Presence::Symlink),
        ("link/", Presence::Symlink),
        ("link/.", Presence::Symlink),
        ("dangling", Presence::Symlink),
        ("missing", Presence::Absent),
        ("missing/deep", Presence::Absent),
        ("file/deep", Presence::Absent),
    ] {
        assert_eq!(look(&at(name)).unwrap(), presence, "{name}");
        assert_eq!(probe(&at(name)).unwrap(), presence, "{name}");
        assert_eq!(table::at(&at(name)).unwrap(), None, "{name}");
    }
    assert!(matches!(look(Path::new("/")).unwrap(), Presence::Mount(_)));
    assert!(is_empty_dir(&at("dir")).unwrap());
    assert!(!is_empty_dir(tmp.path()).unwrap());
    assert!(is_empty_dir(&at("file")).is_err());
    assert!(is_empty_dir(&at("link")).is_err());
}

/// Both readers of the table must tell the same, whatever the names.
#[test]
fn both_backends_agree_on_stacked_mounts_and_strange_names() {
    private_mounts(|tmp| {
        let names: [&[u8]; 7] = [b"plain", b"a b", b"a\nb", b"back\\slash", b"oct\\040al", b"\t#,", b"latin\xff1"];
        for name in names {
            let source = OsStr::from_bytes(name).to_str().unwrap_or("source");
            let at = dir(tmp, OsStr::from_bytes(name));
            mount(&FsMount { source: Some(source), ..TMPFS }, &at).unwrap();
            mount(&FsMount { source: Some("on top"), flags: READ_ONLY, ..TMPFS }, &at).unwrap();
            fs::create_dir(tmp.join("part")).unwrap();
            bind(&at, &tmp.join("part"), FLAGS).unwrap();
            for backend in [Backend::Statmount, Backend::Mountinfo] {
                let top = backend.at(&at).unwrap().unwrap();
                assert_eq!((top.source.as_str(), top.point.as_path()), ("on top", at.as_path()), "{backend:?}");
                assert!(top.read_only && top.nosuid);
                let below = backend.by_id(top.parent).unwrap().unwrap();
                assert_eq!((below.source.as_str(), below.point.as_path()), (source, at.as_path()), "{backend:?}");
            }
            let stack: Vec<_> = table::stacked(&at).unwrap().into_iter().map(|mounted| mounted.source).collect();
            assert_eq!(stack, [source, "on top"]);
            unmount(&tmp.join("part"), Unmount::Plain).unwrap();
            fs::remove_dir(tmp.join("part")).unwrap();
        }
        for name in names {
            // Not a mount so far: the name is now in the column of what is bound.
            let part = dir(tmp, OsStr::from_bytes(&[b"part of ", name].concat()));
            bind(&part, &part, FLAGS).unwrap();
            for backend in [Backend::Statmount, Backend::Mountinfo] {
                assert!(backend.at(&part).unwrap().unwrap().root.ends_with(part.file_name().unwrap()), "{backend:?}");
            }
        }
        let [ours, text] = [Backend::Statmount, Backend::Mountinfo].map(|backend| backend.all().unwrap());
        assert_eq!(ours.len(), text.len());
        for mounted in ours {
            let same = text.iter().find(|other| {
                other.point == mounted.point && other.dev == mounted.dev && other.read_only == mounted.read_only
            });
            let same = same.unwrap_or_else(|| panic!("{mounted:?} is not in mountinfo"));
            let other = super::Mounted { id: mounted.id, parent: mounted.parent, ..same.clone() };
            assert_eq!(other, mounted);
        }
        assert_eq!(table::beneath(tmp).unwrap().len(), 3 * names.len());
        assert_eq!(table::beneath(&tmp.join("pl")).unwrap(), [], "half a name is not a parent");
    });
}

#[test]
fn of_device_finds_every_view_of_a_file_system() {
    private_mounts(|tmp| {
        let (at, view) = (dir(tmp, "m"), dir(tmp, "view"));
        mount(&TMPFS, &at).unwrap();
        bind(&at, &view, FLAGS).unwrap();
        let dev = table::at(&at).unwrap().unwrap().dev;
        let mut points: Vec<_> = table::of_device(dev).unwrap().into_iter().map(|mounted| mounted.point).collect();
        points.sort();
        assert_eq!(points, [at, view]);
    });
}

#[test]
fn what_was_made_later_in_a_mount_is_found_among_what_is_younger_alone() {
    private_mounts(|tmp| {
        let (older, at) = (dir(tmp, "older"), dir(tmp, "m"));
        for point in [&older, &at] {
            mount(&TMPFS, point).unwrap();
        }
        let top = table::at(&at).unwrap().unwrap().id;
        for name in ["a", "b"] {
            mount(&TMPFS, &dir(&at, name)).unwrap();
        }
        mount(&TMPFS, &dir(&at.join("b"), "c")).unwrap();
        let moved = dir(&at, "moved");
        rustix::mount::mount_move(&older, &moved).unwrap();
        mount(&TMPFS, &dir(tmp, "other")).unwrap();
        let points = |found: Vec<Mounted>| found.into_iter().map(|it| it.point).collect::<Vec<_>>();
        let mut all = points(table::under(top).unwrap());
        all.sort();
        assert_eq!(all, [at.join("a"), at.join("b"), at.join("b/c"), moved.clone()]);
        let later = points(table::later_under(top).unwrap());
        if top.is_unique() {
            assert_eq!(later, [at.join("a"), at.join("b"), at.join("b/c")]);
        } else {
            assert_eq!(later.len(), 4);
        }
    });
}

#[test]
fn a_number_is_never_used_again() {
    private_mounts(|tmp| {
        let at = dir(tmp, "m");
        mount(&TMPFS, &at).unwrap();
        let first = table::at(&at).unwrap().unwrap().id;
        unmount(&at, Unmount::Plain).unwrap();
        assert_eq!(table::by_id(first).unwrap(), None);
        mount(&TMPFS, &at).unwrap();
        let second = table::at(&at).unwrap().unwrap().id;
        if first.is_unique() {
            assert_ne!(first, second);
        }
    });
}

#[test]
fn looking_at_a_file_system_that_never_answers_returns_at_once() {
    private_mounts(|tmp| {
        // The last one is what a user's own FUSE mount is to root: not even its attributes can be had.
        for extra in [",allow_other", "", ",user_id=1000"] {
            let at = dir(tmp, format!("hung{extra}"));
            let hung = Hung::mount(&at, 0, extra);
            let Presence::Mount(id) = look(&at).unwrap() else { panic!("not told as a mount") };
            for backend in [Backend::Statmount, Backend::Mountinfo] {
                let mounted = backend.at(&at).unwrap().unwrap();
                assert_eq!((mounted.fs_type.as_str(), mounted.point.as_path()), ("fuse.hung", at.as_path()));
            }
            assert_eq!(table::at(&at).unwrap().unwrap().id, id);
            let view = dir(tmp, format!("view{extra}"));
            bind(&at, &view, READ_ONLY).unwrap();
            assert!(table::at(&view).unwrap().unwrap().read_only);
            unmount(&view, Unmount::Plain).unwrap();
            drop(hung);
        }
    });
}

#[test]
fn a_dead_server_is_a_mount_to_look_and_corrupted_to_probe() {
    private_mounts(|tmp| {
        let at = dir(tmp, "dead");
        drop(Hung::mount(&at, 0, ",allow_other"));
        let Presence::Mount(id) = look(&at).unwrap() else { panic!("not told as a mount") };
        assert_eq!(probe(&at).unwrap(), Presence::Corrupted(libc::ENOTCONN));
        assert_eq!(table::at(&at).unwrap().unwrap().id, id);
        assert_eq!(look(&at.join("inside")).unwrap(), Presence::Corrupted(libc::ENOTCONN));
        assert_eq!(unmount_ladder(&at, &[]).unwrap(), [Step::Plain]);
        assert_eq!(look(&at).unwrap(), Presence::Plain);
    });
}

#[test]
fn the_ladder_says_which_step_did_it() {
    private_mounts(|tmp| {
        let at = dir(tmp, "m");
        assert_eq!(unmount_ladder(&at, &[]).unwrap(), []);
        assert_eq!(unmount_ladder(&tmp.join("missing"), &[]).unwrap(), []);
        mount(&TMPFS, &at).unwrap();
        assert_eq!(unmount_ladder(&at, &[]).unwrap(), [Step::Plain]);

        mount(&TMPFS, &at).unwrap();
        let user = fs::File::create(at.join("open")).unwrap();
        assert_eq!(unmount(&at, Unmount::Plain).unwrap_err().kind(), ErrorKind::Busy);
        for step in LADDER.into_iter().take_while(|step| *step != Step::Detach) {
            assert!(!unmount_step(&at, step, &[]).unwrap_or(false), "{step:?}");
        }
        assert_eq!(unmount_ladder(&at, &[]).unwrap(), [Step::Force, Step::Detach]);
        assert_eq!(look(&at).unwrap(), Presence::Plain);
        drop(user);

        symlink("m", tmp.join("link")).unwrap();
        mount(&TMPFS, &at).unwrap();
        assert_eq!(unmount_ladder(&tmp.join("link/"), &[]).unwrap(), [], "links are not followed");
        assert_eq!(unmount(&tmp.join("link/"), Unmount::Detach).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(matches!(look(&at).unwrap(), Presence::Mount(_)));
    });
}

#[test]
fn a_stuck_user_of_a_silent_server_is_freed_unless_somebody_may_work_through_another_mount_of_it() {
    private_mounts(|tmp| {
        let (at, view) = (dir(tmp, "m"), dir(tmp, "view"));
        let hung = Hung::mount(&at, 0, ",allow_other");
        bind(&at, &view, FLAGS).unwrap();
        let stuck = {
            let at = at.clone();
            let held = openat(CWD, &at, OFlags::PATH, Mode::empty()).unwrap();
            std::thread::spawn(move || {
                rustix::fs::accessat(&held, ".", rustix::fs::Access::READ_OK, rustix::fs::AtFlags::empty())
            })
        };
        assert_eq!(unmount_step(&at, Step::Force, &[]).ok(), Some(false), "the view would die with it");
        assert_eq!(unmount_step(&at, Step::Abort, &[]).ok(), Some(false));
        assert!(!stuck.is_finished());
        let steps = unmount_ladder(&at, &[tmp.join("view")]).unwrap();
        assert!(matches!(steps[..], [Step::Force] | [Step::Force, Step::Again | Step::Detach]), "{steps:?}");
        let answer = within_a_minute(move || stuck.join().unwrap());
        assert!(answer.is_err(), "whoever waited for the server is told");
        assert_eq!(look(&at).unwrap(), Presence::Plain);
        unmount(&view, Unmount::Detach).unwrap();
        drop(hung);
    });
}

#[test]
fn knows_the_errors_of_broken_mounts() {
    for broken in
        [libc::ENOTCONN, libc::ESTALE, libc::EIO, libc::EACCES, libc::EHOSTDOWN, libc::EWOULDBLOCK, libc::ENODEV]
    {
        assert!(corrupted(broken));
    }
    for fine in [0, libc::ENOENT, libc::EBUSY, libc::EINVAL] {
        assert!(!corrupted(fine));
    }
}
