//! What the copy's side does not take: content that cannot be written, attributes that it does not know.

use std::process::Command;

use rustix::fs::XattrFlags;

use super::*;
use crate::mount::testing::private_mounts;

fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

/// A copy between these two folders.
fn copy(from: &Path, to: &Path) -> crate::Result<Copied> {
    for dir in ["tree", "links"] {
        fs::create_dir_all(to.join(dir)).unwrap();
    }
    let (from, to, links) = (folder(from), folder(&to.join("tree")), folder(&to.join("links")));
    Copy { from: &from, to: &to, links: &links, slice: LONG, go_on: &|| true }.run(None)
}

#[test]
fn a_file_whose_content_could_not_be_written_is_not_taken_for_finished() {
    private_mounts(|tmp| {
        for dir in ["from", "small", "to"] {
            fs::create_dir(tmp.join(dir)).unwrap();
        }
        // A disk that has no room left when it is written to, which is told by nobody before that.
        let (small, image, to) = (tmp.join("small"), tmp.join("small/image"), tmp.join("to"));
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        assert!(run("mount", &["-t", "tmpfs", "-o", "size=40m", "small", &text(&small)]));
        File::create(&image).unwrap().set_len(400 << 20).unwrap();
        let made = run("mkfs.ext4", &["-q", "-O", "^has_journal", &text(&image)]);
        if !made || !run("mount", &["-o", "loop", &text(&image), &text(&to)]) {
            eprintln!("skipped: no file system in a file here");
            return;
        }
        let content: Vec<u8> = (0..48_u32 << 20).map(|n| (n >> 8) as u8 | 1).collect();
        fs::write(tmp.join("from/file"), &content).unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let file = File::open(tmp.join("from/file")).unwrap();
        file.set_times(fs::FileTimes::new().set_modified(old)).unwrap();
        copy(&tmp.join("from"), &to).unwrap_err();
        assert_ne!(fs::metadata(to.join("tree/file")).unwrap().modified().unwrap(), old, "it looks finished");
        assert!(run("mount", &["-o", "remount,size=400m", &text(&small)]));
        copy(&tmp.join("from"), &to).unwrap();
        assert!(fs::read(to.join("tree/file")).unwrap() == content);
    });
}

#[test]
fn attributes_that_the_other_side_does_not_take_are_counted() {
    private_mounts(|tmp| {
        for dir in ["from", "to"] {
            fs::create_dir(tmp.join(dir)).unwrap();
        }
        let file = File::create(tmp.join("from/file")).unwrap();
        let given = rustix::fs::fsetxattr(&file, c"user.kept", b"value", XattrFlags::empty());
        if given.is_err() || !run("mount", &["-t", "ramfs", "ram", tmp.join("to").to_str().unwrap()]) {
            eprintln!("skipped: no attributes here, or no file system without");
            return;
        }
        let Copied::All(counts) = copy(&tmp.join("from"), &tmp.join("to")).unwrap() else { panic!("not all") };
        assert_eq!((counts.left_out, counts.entries), (1, 2));
    });
}

#[test]
fn a_copy_that_must_not_go_on_does_not() {
    let bed = Bed::in_memory();
    grow(&bed.at("from"));
    let early = bed.least(None);
    let (from, to, links) = (folder(&bed.at("from")), folder(&bed.at("to")), folder(&bed.at("links")));
    let before = picture(&bed.at("to"));
    let copy = Copy { from: &from, to: &to, links: &links, slice: LONG, go_on: &|| false };
    assert_eq!(copy.run(Some(&early)).unwrap(), Copied::To(early, Counts::default()));
    assert_eq!(picture(&bed.at("to")), before);
}

#[test]
fn a_copy_that_must_not_go_on_stops_within_a_file() {
    let bed = Bed::in_memory();
    fs::write(bed.at("from/big"), vec![1; 60 << 20]).unwrap();
    let (from, to, links) = (folder(&bed.at("from")), folder(&bed.at("to")), folder(&bed.at("links")));
    let asked = std::cell::Cell::new(0);
    let go_on = || asked.replace(asked.get() + 1) < 4;
    let copy = Copy { from: &from, to: &to, links: &links, slice: LONG, go_on: &go_on };
    assert!(matches!(copy.run(None).unwrap(), Copied::To(..)));
    let length = fs::metadata(bed.at("to/big")).unwrap().len();
    assert!((1..60 << 20).contains(&length), "{length} bytes are there");
    // Not even its end is set, nor to whom it belongs: by now it may be somebody else's.
    asked.set(100);
    fs::write(bed.at("to/big"), "theirs").unwrap();
    let Copied::To(cursor, _) = copy.run(None).unwrap() else { panic!("all at once") };
    copy.run(Some(&cursor)).unwrap();
    assert_eq!(fs::read(bed.at("to/big")).unwrap(), b"theirs");
}
