//! Snapshots and clones: copies that have all that the original has, in slices, and are of their own from then on.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
};

use flexvolume_testkit::driver::J;

use crate::{
    bed::Node,
    tools::{shell, text},
};

/// Files, directories, links, holes, owners: what the copy is compared by.
pub fn picture(dir: &std::path::Path) -> String {
    // Not the time of the last look, nor the size of directories.
    shell(
        "cd $1 && find . -mindepth 1 ! -type p ! -type b -printf '%p %y %m %U %G %l %T@ %n\\n' | sort && find . -type f -exec md5sum {} + | sort",
        &[text(dir)],
    )
}

#[test]
fn a_clone_and_a_snapshot_have_what_their_volume_had() {
    let Some(node) = Node::with_pool("") else { return };
    let volume = node.make("v", &[("flexvol/requiredBytes", "1048576")]);
    let dir = node.on_server("base/v");
    shell(
        "cd $1 && mkdir -p a/b && seq 100000 >a/b/numbers && ln a/b/numbers second && chown 1000:2000 a && chmod 2751 a && \
         dd if=/dev/urandom of=big bs=1M count=24 status=none && truncate -s 64M holes && mkfifo pipe && mknod disk b 7 0 && \
         touch -d '2001-02-03 04:05:06.789' a/b/numbers a/b",
        &[text(&dir)],
    );
    symlink("/etc/passwd", dir.join("link")).unwrap();
    let before = picture(&dir);

    let ask = J::default().with("flexvol/name", "monday").with("flexvol/id", &volume);
    let snapshot = node.through("createsnapshot", &ask).ok();
    assert_eq!((snapshot.word("snapshot").as_str(), snapshot.word("id")), ("p/snap/monday", volume.clone()));
    assert_eq!((snapshot.get("ready"), snapshot.get("bytes").as_u64()), (&true.into(), Some(1 << 20)));
    assert!(snapshot.message().contains("not copied: 2 (devices, pipes"), "{}", snapshot.message());
    fs::write(dir.join("later"), "").unwrap();
    let again = node.through("createsnapshot", &ask).ok();
    assert_eq!(again.word("created"), snapshot.word("created"), "no newer one");

    let clone = |name: &str, key: &str, of: &str| {
        let id = node.make(name, &[(key, of)]);
        node.on_server("base").join(&id[2..])
    };
    let now = picture(&dir);
    assert_eq!(picture(&clone("c1", "flexvol/sourceSnapshot", "p/snap/monday")), before);
    let second = clone("c2", "flexvol/sourceVolume", &volume);
    assert_eq!(picture(&second), now);
    let others = shell("find $1 ! -type f ! -type d ! -type l", &[text(&second)]);
    assert_eq!(others, "", "devices and pipes are not copied");
    let inode = |name: &str| fs::metadata(second.join(name)).unwrap().ino();
    assert_eq!(inode("second"), inode("a/b/numbers"));
    assert!(fs::metadata(second.join("holes")).unwrap().blocks() < 2048);
    assert!(fs::read_dir(node.on_server("base/.flexvol/copies")).unwrap().next().is_none());

    node.through("createvolume", &J::default().with("flexvol/name", "c1")).fails("conflict", &["another source"]);
    node.through("createvolume", &J::default().with("flexvol/name", "x").with("flexvol/sourceVolume", "p/none"))
        .fails("notFound", &["none"]);
    let listed = node.call(&["listsnapshots", &J::default().with("flexvol/id", &volume).text()]).ok();
    assert_eq!(listed.get("snapshots").as_array().unwrap().len(), 1);

    // The original goes, and nothing of the copies.
    node.through("deletevolume", &J::default().with("flexvol/id", &volume)).ok();
    assert_eq!(picture(&second), now);
    node.through("deletesnapshot", &J::default().with("flexvol/snapshot", "p/snap/monday")).ok();
    assert_eq!(node.call(&["listsnapshots", "{}"]).ok().get("snapshots").as_array().unwrap().len(), 0);
    node.assert_down();
}

#[test]
fn a_copy_in_the_smallest_slices_is_the_same_and_keeps_its_original() {
    let Some(node) = Node::with_pool(r#","slice":0.000001"#) else { return };
    let volume = node.make("v", &[]);
    let dir = node.on_server("base/v");
    shell(
        "cd $1 && mkdir d && for n in $(seq 6); do seq $n >d/$n; done && dd if=/dev/urandom of=big bs=1M count=20 status=none && \
         ln d/3 z-second && truncate -s 30M holes && dd if=/dev/urandom of=holes bs=1M count=1 seek=11 conv=notrunc status=none",
        &[text(&dir)],
    );
    let ask = J::default().with("flexvol/name", "c").with("flexvol/sourceVolume", &volume);
    let first = node.call(&["createvolume", &ask.text()]);
    assert_eq!(first.get("status"), "In progress");
    assert!(!node.on_server("base/c").exists(), "what is half-made is not seen");
    node.call(&["deletevolume", &J::default().with("flexvol/id", &volume).text()]).fails("busy", &["being copied"]);
    node.through("createvolume", &ask).ok();
    assert_eq!(picture(&node.on_server("base/c")), picture(&dir));
    node.through("deletevolume", &J::default().with("flexvol/id", &volume)).ok();
}
