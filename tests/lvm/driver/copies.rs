//! Snapshots and clones in a thin pool, and what both kinds have in common.

use std::path::Path;

use flexvolume_testkit::driver::J;

use super::hosted::{Hosted, Volume, fill, sum};
use crate::tools::{shell, text, tool};

/// Thin pools are to promise more than they have here.
const GENEROUS: &str = r#"{"thinOvercommit": 20}"#;

#[track_caller]
fn uuid(device: &Path) -> String {
    tool("blkid", &["-p", "-s", "UUID", "-o", "value", text(device)])
}

/// Both are mounted at the same time; the clone holds what its source held then, and the UUIDs differ.
#[track_caller]
pub fn beside(host: &Hosted, original: &Volume, clone: &Volume, then: &str) {
    let at = host.up(clone);
    assert_eq!(sum(&at), then, "{}", clone.id);
    assert_ne!(uuid(&host.device(original)), uuid(&host.device(clone)), "{}", clone.id);
    fill(&at, "the clone's own", 10);
}

/// The whole life of a snapshot and two clones, in a pool.
fn in_a_pool(fs: &str, size: &str) {
    let Some(host) = Hosted::with_pool(&[500], 350, GENEROUS) else { return };
    let volume = host.thin("db", fs, size);
    let at = host.up(&volume);
    fill(&at, "before", 1000);
    let then = sum(&at);
    let snapshot = host.snapshot("s", &volume, &[]);
    assert_eq!(snapshot.get("ready"), true);
    fill(&at, "after", 1000);
    let now = sum(&at);

    let old = host.clone_of("old", ("flexvol/sourceSnapshot", &snapshot.word("snapshot")), fs, &[]);
    let new = host.clone_of("new", ("flexvol/sourceVolume", &volume.id), fs, &[]);
    beside(&host, &volume, &old, &then);
    beside(&host, &volume, &new, &now);
    assert_eq!(sum(&at), now, "the original is as it was");

    // Each goes without the others.
    host.down(&volume);
    host.drop_volume(&volume);
    host.unsnapshot(&snapshot);
    host.down(&old);
    let at = host.up(&old);
    assert_eq!(shell("head -n 1 $1/file", &[text(&at)]), "the clone's own");
    for clone in [&old, &new] {
        host.down(clone);
        host.drop_volume(clone);
    }
    host.assert_down("after all");
    assert_eq!(host.vg.volumes(), ["pool"]);
}

#[test]
fn ext4_in_a_pool() {
    in_a_pool("ext4", "64m");
}

#[test]
fn xfs_in_a_pool() {
    in_a_pool("xfs", "300m");
}

#[test]
fn btrfs_in_a_pool() {
    in_a_pool("btrfs", "128m");
}

#[test]
fn a_larger_clone_is_filled_by_its_file_system() {
    let Some(host) = Hosted::with_pool(&[500], 350, GENEROUS) else { return };
    for (fs, size) in [("ext4", "64m"), ("xfs", "300m"), ("btrfs", "128m")] {
        let volume = host.thin(&format!("{fs}-db"), fs, size);
        let at = host.up(&volume);
        fill(&at, "before", 100);
        let then = sum(&at);
        host.down(&volume);
        let larger = [("flexvol/requiredBytes", "419430400")];
        let clone = host.clone_of(&format!("{fs}-c"), ("flexvol/sourceVolume", &volume.id), fs, &larger);
        let at = host.up(&clone);
        assert_eq!(sum(&at), then);
        let room: u64 = shell("stat -f -c '%b %S' $1 | { read b s; echo $((b * s)); }", &[text(&at)]).parse().unwrap();
        assert!(room > 310 << 20, "{fs}: {room}");
        host.down(&clone);
        let tags = host.vg.tags(&format!("{fs}-c"));
        assert!(!tags.iter().any(|tag| tag.contains("renew") || tag.contains("grow")), "{tags:?}");
        let small = J::default().with("flexvol/name", "small").with("flexvol/sourceVolume", &volume.id);
        host.end_of("createvolume", &small.with("flexvol/limitBytes", "1000")).fails("invalid", &["no more than 1000"]);
        for volume in [&volume, &clone] {
            host.drop_volume(volume);
        }
    }
}

#[test]
fn a_clone_of_nothing_is_formatted_and_a_raw_one_is_left_as_it_is() {
    let Some(host) = Hosted::with_pool(&[300], 200, GENEROUS) else { return };
    let volume = host.thin("db", "ext4", "32m");
    let clone = host.clone_of("c", ("flexvol/sourceVolume", &volume.id), "ext4", &[]);
    fill(&host.up(&clone), "its own", 10);
    host.down(&clone);
    // As a raw device it has all that its source has, the UUID too.
    let raw = host.clone_of("raw", ("flexvol/sourceVolume", &clone.id), "", &[]);
    shell("cmp $1 $2", &[text(&host.device(&clone)), text(&host.device(&raw))]);
    assert!(host.vg.tags("raw").iter().any(|tag| tag.starts_with("flexvol.renew=")));
}

#[test]
fn snapshots_and_clones_count_for_what_a_pool_promises() {
    let Some(host) = Hosted::with_pool(&[300], 200, "{}") else { return };
    let volume = host.thin("db", "ext4", "80m");
    let snapshot = |name: &str| J::default().with("flexvol/name", name).with("flexvol/id", &volume.id);
    host.done("createsnapshot", &snapshot("one"));
    host.end_of("createsnapshot", &snapshot("two")).fails("exhausted", &["thinOvercommit", "200m", "160m", "80m"]);
    let clone = J::default().with("flexvol/name", "c").with("flexvol/sourceVolume", &volume.id);
    host.end_of("createvolume", &clone).fails("exhausted", &["thinOvercommit"]);
    assert_eq!(host.vg.volumes(), ["db", "pool", "snap-one"]);
}

#[test]
fn what_is_not_there_or_means_another_is_told() {
    let Some(host) = Hosted::with_pool(&[300], 200, GENEROUS) else { return };
    host.vg.create("theirs", "4m", &[]);
    let (one, two) = (host.thin("one", "ext4", "16m"), host.volume("two", "ext4", &[("size", "16m")]));
    let snapshot = host.snapshot("s", &one, &[]);
    let of = |name: &str, id: &str| J::default().with("flexvol/name", name).with("flexvol/id", id);
    host.end_of("createsnapshot", &of("s", &two.id)).fails("conflict", &["another volume"]);
    host.end_of("createsnapshot", &of("x", &host.vg.of("none"))).fails("notFound", &[]);
    host.end_of("createsnapshot", &of("x", &host.vg.of("theirs"))).fails("permission", &["adopt"]);
    host.end_of("createsnapshot", &of("x", &snapshot.word("snapshot"))).fails("invalid", &["no volume"]);
    let clone = |name: &str, key: &str, id: &str| J::default().with("flexvol/name", name).with(key, id);
    let (volume, taken) = ("flexvol/sourceVolume", "flexvol/sourceSnapshot");
    host.end_of("createvolume", &clone("c", volume, &host.vg.of("none"))).fails("notFound", &[]);
    host.end_of("createvolume", &clone("c", taken, &one.id)).fails("notFound", &["no snapshot"]);
    host.end_of("createvolume", &clone("two", volume, &one.id)).fails("conflict", &["content of another"]);
    host.end_of("createvolume", &clone("c", volume, &one.id).with("volumegroup", "other")).fails("invalid", &["other"]);
    host.end_of("createvolume", &clone("c", volume, &two.id).with("thinpool", "pool")).fails("invalid", &["pool"]);
    host.end_of("deletesnapshot", &J::default().with("flexvol/snapshot", &one.id)).fails("invalid", &["deletevolume"]);
    let gone = J::default().with("flexvol/id", &snapshot.word("snapshot"));
    host.end_of("deletevolume", &gone).fails("invalid", &["deletesnapshot"]);
    host.attach(&one.j.clone().with("volumeID", "snap-s")).fails("invalid", &["snapshot"]);
    assert_eq!(host.vg.volumes(), ["one", "pool", "snap-s", "theirs", "two"]);
}

#[test]
fn a_clone_that_is_asked_for_with_another_size_is_a_conflict() {
    let Some(host) = Hosted::with_pool(&[300], 200, GENEROUS) else { return };
    for (name, volume) in [("thin", host.thin("db", "ext4", "80m")), ("thick", host.volume("v", "", &[("size", "8m")]))]
    {
        let j = J::default().with("flexvol/name", name).with("flexvol/sourceVolume", &volume.id);
        let made = host.done("createvolume", &j);
        host.call(&["createvolume", &j.clone().with("flexvol/requiredBytes", "90000000").text()])
            .fails("conflict", &["size"]);
        host.call(&["createvolume", &j.clone().with("flexvol/limitBytes", "8000000").text()])
            .fails("conflict", &["size"]);
        assert_eq!(host.call(&["createvolume", &j.text()]).ok().get("bytes"), made.get("bytes"));
    }
}
