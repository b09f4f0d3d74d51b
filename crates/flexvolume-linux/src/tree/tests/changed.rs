//! Trees that others change while they are copied: no file is made of two, none is lost, nothing is in the way for ever.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::*;

/// What is in a file of the copy.
fn copied(bed: &Bed, name: &str) -> String {
    fs::read_to_string(bed.at("to").join(name)).unwrap()
}

/// As every program does that saves safely.
fn replace(path: &Path, content: impl AsRef<[u8]>) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, content).unwrap();
    fs::rename(fresh, path).unwrap();
}

#[test]
fn a_link_that_was_broken_is_broken_in_the_copy_too() {
    let bed = Bed::new();
    let (x, z) = (bed.at("from/x"), bed.at("from/z"));
    fs::write(&x, "of x").unwrap();
    fs::hard_link(&x, &z).unwrap();
    bed.rest(None);
    replace(&z, "of z, and longer");
    bed.rest(None);
    assert_eq!((copied(&bed, "x").as_str(), copied(&bed, "z").as_str()), ("of x", "of z, and longer"));
}

#[test]
fn a_number_that_is_used_again_is_another_file() {
    let bed = Bed::new();
    let at = |name: &str| bed.at("from").join(name);
    fs::write(at("b"), "first").unwrap();
    fs::hard_link(at("b"), at("c")).unwrap();
    let cursor = bed.least(None);
    let number = fs::metadata(at("b")).unwrap().ino();
    fs::remove_file(at("b")).unwrap();
    fs::remove_file(at("c")).unwrap();
    // ext4 gives it back at once; others may never.
    let name = |n: usize| format!("y{n:03}");
    let again = (0..200).find(|n| {
        fs::write(at(&name(*n)), "second").unwrap();
        fs::metadata(at(&name(*n))).unwrap().ino() == number
    });
    let Some(n) = again else {
        eprintln!("skipped: this file system does not use a number again");
        return;
    };
    fs::hard_link(at(&name(n)), at("z")).unwrap();
    let counts = bed.rest(Some(&cursor));
    assert_eq!((copied(&bed, &name(n)).as_str(), copied(&bed, "z").as_str()), ("second", "second"));
    assert_eq!(counts.changed, 1, "it is told");
    let inode = |name: &str| fs::metadata(bed.at("to").join(name)).unwrap().ino();
    assert_eq!(inode(&name(n)), inode("z"), "one file with two names");
}

const LENGTH: usize = 24 << 20;

#[test]
fn a_file_that_was_written_to_between_two_slices_is_begun_again() {
    for replaced in [true, false] {
        let bed = Bed::in_memory();
        let long = bed.at("from/long");
        fs::write(&long, vec![1; LENGTH]).unwrap();
        let cursor = bed.least(None);
        let second = vec![2; LENGTH];
        if replaced {
            replace(&long, &second)
        } else {
            fs::write(&long, &second).unwrap()
        }
        let counts = bed.rest(Some(&cursor));
        assert!(fs::read(bed.at("to/long")).unwrap() == second, "half old, half new (replaced: {replaced})");
        assert_eq!(counts.changed, 1);
    }
}

#[test]
fn a_file_that_is_written_to_all_the_time_is_copied_all_the_same() {
    let bed = Bed::in_memory();
    let long = bed.at("from/long");
    fs::write(&long, vec![1; LENGTH]).unwrap();
    let (mut cursor, mut changed, mut n) = (None, 0, 0);
    loop {
        File::options().write(true).open(&long).unwrap().write_at(&[n], 0).unwrap();
        n += 1;
        match bed.slice(cursor.as_ref(), NONE) {
            Copied::All(counts) => {
                changed += counts.changed;
                break;
            }
            Copied::To(next, counts) => {
                changed += counts.changed;
                cursor = Some(next);
            }
        }
        assert!(n < 50, "it does not end");
    }
    assert_eq!(changed, 1, "told, and once");
    assert_eq!(fs::metadata(bed.at("to/long")).unwrap().len(), LENGTH as u64);
}

#[test]
fn what_a_torn_file_left_does_not_show_through_a_hole() {
    let bed = Bed::in_memory();
    let long = bed.at("from/long");
    fs::write(&long, vec![1; LENGTH]).unwrap();
    let cursor = bed.least(None);
    // A later slice came farther, and was killed before it could say so; then the end was cut off and grown again.
    fs::write(bed.at("to/long"), vec![1; LENGTH]).unwrap();
    let file = File::options().write(true).open(&long).unwrap();
    file.set_len(20 << 20).unwrap();
    file.set_len(LENGTH as u64).unwrap();
    drop(file);
    bed.rest(Some(&cursor));
    assert!(fs::read(bed.at("to/long")).unwrap() == fs::read(&long).unwrap());
}

#[test]
fn an_entry_of_another_kind_makes_room() {
    let bed = Bed::in_memory();
    let (from, to) = (bed.at("from/a"), bed.at("to/a"));
    let gone = |path: &Path| if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    let make: [&dyn Fn(&Path); 3] = [
        &|path| {
            fs::create_dir(path).unwrap();
            fs::create_dir(path.join("sub")).unwrap();
            fs::write(path.join("sub/file"), "deep").unwrap();
        },
        &|path| fs::write(path, "file").unwrap(),
        &|path| symlink("nowhere", path).unwrap(),
    ];
    for one in make {
        for other in make {
            one(&from);
            bed.rest(None);
            gone(&from);
            other(&from);
            bed.rest(None);
            let (there, original) = (fs::symlink_metadata(&to).unwrap(), fs::symlink_metadata(&from).unwrap());
            assert_eq!(there.file_type(), original.file_type());
            gone(&from);
        }
    }
    // Also for one of a file's several names.
    fs::write(&from, "two names").unwrap();
    fs::hard_link(&from, bed.at("from/b")).unwrap();
    gone(&to);
    make[0](&bed.at("to/b"));
    bed.rest(None);
    assert_eq!(copied(&bed, "b"), "two names");
}

#[test]
fn what_is_in_the_way_is_removed_in_slices_too() {
    let bed = Bed::new();
    fs::write(bed.at("from/a"), "file").unwrap();
    fs::create_dir(bed.at("to/a")).unwrap();
    for n in 0..10 {
        fs::write(bed.at("to/a").join(n.to_string()), "").unwrap();
    }
    let (mut cursor, mut slices) = (None, 0);
    while let Copied::To(next, _) = bed.slice(cursor.as_ref(), NONE) {
        (cursor, slices) = (Some(next), slices + 1);
        assert!(slices < 50, "it does not end");
    }
    assert!(slices >= 10, "{slices}");
    assert_eq!(copied(&bed, "a"), "file");
}

#[test]
fn a_file_that_is_replaced_all_the_time_is_in_the_copy_all_the_same() {
    let bed = Bed::in_memory();
    let always = bed.at("from/always");
    fs::write(&always, "0").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut n = 0_u64;
            while !stop.load(Relaxed) {
                n += 1;
                replace(&always, n.to_string());
            }
        });
        let lost = (0..2000).filter(|_| {
            bed.rest(None);
            fs::remove_file(bed.at("to/always")).is_err()
        });
        let lost = lost.count();
        stop.store(true, Relaxed);
        assert_eq!(lost, 0, "copies without it");
    });
}

#[test]
fn a_file_that_can_have_no_further_name_is_copied_by_each() {
    let bed = Bed::new();
    fs::write(bed.at("from/b"), "both").unwrap();
    fs::hard_link(bed.at("from/b"), bed.at("from/c")).unwrap();
    let links = File::open(bed.at("links")).unwrap();
    let flags = |flags| rustix::fs::ioctl_setflags(&links, flags);
    if let Err(error) = flags(rustix::fs::IFlags::IMMUTABLE) {
        eprintln!("skipped: no directory can be made immutable here: {error}");
        return;
    }
    let done = bed.try_slice(None, LONG);
    flags(rustix::fs::IFlags::empty()).unwrap();
    let Copied::All(counts) = done.unwrap() else { panic!("not all") };
    assert_eq!((copied(&bed, "b").as_str(), copied(&bed, "c").as_str()), ("both", "both"));
    assert_eq!((counts.left_out, counts.entries), (2, 3), "that they are one is told of each");
}
