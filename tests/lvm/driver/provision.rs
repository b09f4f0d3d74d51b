//! Volumes made, grown and deleted at a host's word; what a deleted one held reaches nobody.

use flexvolume_testkit::driver::J;

use super::node::{Node, tag};
use crate::{
    bed::{Bed, Manner},
    group::POOL,
    tools::{files, shell, text},
};

#[test]
fn the_same_name_is_the_same_volume_and_other_wishes_are_a_conflict() {
    let Some(node) = Node::with_pool(&[256], 64) else { return };
    let made = node.make("pvc-1", "9000000", &[("mkfsOptions", "-m 1"), ("other", "x")]).ok();
    assert_eq!(made.word("id"), node.vg.of("pvc-1"));
    assert_eq!(made.get("bytes"), 12 << 20);
    let kept = made.get("options").clone();
    assert_eq!((kept["volumeID"].as_str(), kept["mkfsOptions"].as_str()), (Some("pvc-1"), Some("-m 1")));
    assert_eq!(kept.get("other"), None);
    assert!(!node.vg.is_active("pvc-1"), "nobody has attached it");
    assert_eq!(node.make("pvc-1", "9000000", &[("mkfsOptions", "-m 1")]).ok().get("options"), &kept);
    node.make("pvc-1", "9000000", &[("flexvol/limitBytes", "9000000")]).fails("conflict", &["size"]);
    node.make("pvc-1", "90000000", &[]).fails("conflict", &["size"]);
    node.make("pvc-1", "9000000", &[("thinpool", POOL)]).fails("conflict", &["thin pool"]);
    node.vg.create("theirs", "8m", &["--activate", "n"]);
    node.make("theirs", "1", &[]).fails("conflict", &["another maker"]);
    node.make("big", "900000000", &[]).fails("exhausted", &[&node.vg.name]);
    node.make("tight", "1", &[("flexvol/limitBytes", "1000")]).fails("invalid", &["multiples of 4m"]);
    node.make("thin", "90000000", &[("thinpool", POOL)]).fails("exhausted", &["thinOvercommit"]);
    let odd = node.make("snapshot of ä/b", "1", &[("thinpool", POOL)]).ok().word("id");
    assert!(odd.len() < 128 && node.vg.tags(odd.rsplit('/').next().unwrap()).iter().any(|tag| tag.contains("=20of")));
    // By what was kept, and by the id alone.
    let kept =
        kept.as_object().unwrap().iter().fold(J::default(), |j, (key, value)| j.with(key, value.as_str().unwrap()));
    let kept = kept.with("kubernetes.io/pvOrVolumeName", "pv").with("kubernetes.io/readwrite", "rw");
    let place = node.place("pod");
    for j in [kept.clone(), kept.without("volumeID").with("flexvol/id", &node.vg.of("pvc-1"))] {
        node.call(&["mount", text(&place), &j.text()]).ok();
        node.delete("pvc-1").fails("busy", &["attached"]);
        node.call(&["unmount", text(&place)]).ok();
    }
    for id in ["pvc-1", odd.rsplit('/').next().unwrap(), "never-was"] {
        node.delete(id).ok();
        node.delete(id).ok();
    }
    node.assert_down("after all");
    assert_eq!(node.vg.volumes(), ["pool", "theirs"]);
}

/// On a disk that is slow to write, wiping takes more than one call; no call begins anew, and it is never handed out.
#[test]
fn a_wipe_goes_on_where_it_was() {
    let Some(bed) = Bed::new() else { return };
    let Some((front, disk)) = bed.front(700, Manner::Slow(0)) else { return };
    let slow = text(&disk.device).to_owned();
    let (vg, driver) = (bed.group_over(vec![disk]), bed.driver("lvm"));
    let node = Node { vg, driver, bed };
    node.make("vol1", "600000000", &[]).ok();
    let device = node.attach(&node.j_found("vol1")).ok().word("device");
    shell("printf secret | dd of=$1 bs=1M seek=500 conv=notrunc status=none; sync", &[&device]);
    node.detach(&node.j_found("vol1")).ok();
    for delay in [1000, 0] {
        front.becomes(Manner::Slow(delay));
        let said = if delay > 0 { node.delete_once("vol1") } else { node.delete("vol1") };
        if delay > 0 {
            assert_eq!(said.get("status"), "In progress", "{said:?}");
            let notes = files(&node.bed.sandbox.path().join("state/lvm/wipe"));
            assert_eq!(notes.len(), 1, "{notes:?}");
            node.attach(&node.j("vol1")).fails("notFound", &["being deleted"]);
            // A wrong offset would be seen here: what lies before it is not touched again.
            shell("printf mark | dd of=$1 conv=notrunc status=none; sync", &[&device]);
        } else {
            said.ok();
        }
    }
    shell("grep -q mark $1 && ! grep -q secret $1", &[&slow]);
    assert_eq!(node.vg.volumes(), Vec::<String>::new());
}

#[test]
fn what_was_cut_off_does_not_count_for_what_its_pool_promises() {
    let Some(node) = Node::with_pool(&[128], 64) else { return };
    let make = || node.make("vol1", "40000000", &[("thinpool", POOL)]).ok();
    make();
    // As a creation leaves it that was torn off.
    tag(&node.vg, "vol1", &["flexvol.state=creating"]);
    make();
    assert!(!node.vg.tags("vol1").iter().any(|tag| tag.contains("state")));
}

#[test]
fn no_thin_volume_comes_up_at_boot() {
    let Some(node) = Node::with_pool(&[128], 64) else { return };
    node.set(r#"{"thinOvercommit": 20}"#);
    node.make("vol1", "40000000", &[("thinpool", POOL)]).ok();
    node.make("clone", "0", &[("flexvol/sourceVolume", &node.vg.of("vol1"))]).ok();
    let j = J::default().with("flexvol/name", "s").with("flexvol/id", &node.vg.of("vol1"));
    node.call(&["createsnapshot", &j.text()]).ok();
    for name in ["vol1", "clone", "snap-s"] {
        let row = node.vg.row(name, "lv_autoactivation,lv_skip_activation,lv_active");
        let stays = row["lv_autoactivation"].is_empty() || !row["lv_skip_activation"].is_empty();
        assert!(stays && row["lv_active"].is_empty(), "{name}: {row:?}");
    }
}
