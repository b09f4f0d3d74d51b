//! An export on which root is nobody: what a pool can do there, and in which words it says what it cannot.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::PathBuf,
    process::Command,
};

use flexvolume_testkit::driver::J;

use crate::{
    bed::Node,
    tools::{run, shell, text},
};

/// Whom the server makes of root.
const NOBODY: u32 = 65534;

/// A directory exported with `root_squash`, for as long as this lives.
struct Squashed(PathBuf);

impl Squashed {
    fn new(path: PathBuf) -> Squashed {
        fs::create_dir_all(&path).unwrap();
        let options = format!("rw,root_squash,no_subtree_check,insecure,sync,fsid={}", std::process::id() * 100 + 99);
        run(Command::new("exportfs").args(["-o", &options, &format!("127.0.0.1:{}", text(&path))]));
        Squashed(path)
    }
}

impl Drop for Squashed {
    fn drop(&mut self) {
        let _ = Command::new("exportfs").args(["-u", &format!("127.0.0.1:{}", text(&self.0))]).output();
        let _ = Command::new("exportfs").arg("-f").output();
    }
}

#[test]
fn who_is_nobody_makes_and_deletes_what_is_nobodys_and_says_what_it_cannot() {
    let Some(node) = Node::new() else { return };
    let share = Squashed::new(node.bed.sandbox.path().join("squashed"));
    let base = share.0.join("base");
    fs::create_dir(&base).unwrap();
    node.set(&format!(
        r#"{{"patience":30,"pools":{{"p":{{"server":"127.0.0.1","share":"{}","base":"base"}}}}}}"#,
        text(&share.0)
    ));
    let ask = |name: &str| J::default().with("flexvol/name", name);
    // A base that is root's alone.
    node.through("createvolume", &ask("v")).fails("permission", &["base", "no_root_squash"]);
    chown(&base, Some(NOBODY), Some(NOBODY)).unwrap();

    // An owner cannot be given, and what is half-made is not shown.
    let owned = ask("v").with("uid", "1000");
    node.through("createvolume", &owned).fails("permission", &["the owner of", "no_root_squash"]);
    assert!(!base.join("v").exists());
    let mut listed = node.call(&["gethealth", &J::default().with("flexvol/id", "p/v").text()]);
    assert_ne!(listed.get("condition"), "ok");
    // Without one it can.
    node.through("createvolume", &ask("v")).ok();
    let meta = fs::metadata(base.join("v")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (NOBODY, NOBODY, 0o770));
    listed = node.call(&["gethealth", &J::default().with("flexvol/id", "p/v").text()]).ok();
    assert_eq!(listed.get("condition"), "ok");

    // What a pod writes as nobody is copied and deleted.
    shell("mkdir $1/d && echo x >$1/d/file && chown -R 65534:65534 $1/d", &[text(&base.join("v"))]);
    node.through("createsnapshot", &ask("s").with("flexvol/id", "p/v")).ok();
    assert_eq!(fs::read_to_string(base.join(".flexvol/snapshots/s/d/file")).unwrap(), "x\n");
    node.through("deletesnapshot", &J::default().with("flexvol/snapshot", "p/snap/s")).ok();

    // What belongs to somebody else, in a directory of his own, can be neither copied nor removed: the calls say so, and go on when
    // that is mended.
    let theirs = base.join("v/theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("file"), "x").unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&theirs, Some(1000), Some(1000)).unwrap();
    node.through("createsnapshot", &ask("t").with("flexvol/id", "p/v"))
        .fails("permission", &["theirs", "no_root_squash"]);
    node.through("deletesnapshot", &J::default().with("flexvol/snapshot", "p/snap/t")).ok();
    let id = J::default().with("flexvol/id", "p/v");
    node.through("deletevolume", &id).fails("permission", &["theirs", "no_root_squash"]);
    assert!(!base.join("v").exists(), "out of sight all the same");
    let trashed = base.join(".flexvol/trash/volume-v/theirs");
    assert!(trashed.join("file").exists());
    chown(&trashed, Some(NOBODY), None).unwrap();
    node.through("deletevolume", &id).ok();
    assert!(!trashed.exists() && !base.join(".flexvol/volumes/v.json").exists());
    node.assert_down();
}
