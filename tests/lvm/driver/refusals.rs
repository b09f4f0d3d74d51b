//! What is refused, in words, and leaves nothing behind.

use super::node::{Kind, Node, tag};
use crate::{
    group::{POOL, lvm, try_lvm},
    tools::{shell, text, tool},
};

#[test]
fn somebody_else_s_volume_in_use_is_left_alone() {
    let Some(node) = Node::new(&[64]) else { return };
    let device = node.vg.create("root", "16m", &[]);
    tool("mkfs.ext4", &["-q", text(&device)]);
    let theirs = node.place("theirs");
    tool("mount", &[text(&device), text(&theirs)]);
    for j in [node.j_found("root"), node.j("root"), node.j("root").with("adopt", "true")] {
        node.attach(&j).fails("busy", &["root", "in use"]);
        node.call(&["mount", text(&node.place("pod")), &j.text()]).fails("busy", &["root"]);
    }
    assert_eq!(node.vg.tags("root"), Vec::<String>::new());
    tool("umount", &[text(&theirs)]);
    node.attach(&node.j_found("root")).ok();
    node.attach(&node.j_found("root")).ok();
    node.detach(&node.j_found("root")).ok();
}

#[test]
fn an_adopted_volume_is_ours() {
    let Some(node) = Node::new(&[128]) else { return };
    node.vg.create("theirs", "16m", &["--activate", "n"]);
    let j = node.j_found("theirs").with("adopt", "true").with("wipe", "none");
    node.twice(&["attach", &j.text(), "node"]);
    let tags = node.vg.tags("theirs");
    for wanted in ["flexvol.maker=lvm", "flexvol.name=theirs", "flexvol.wipe=none"] {
        assert!(tags.iter().any(|tag| tag == wanted), "{tags:?}");
    }
    node.call(&["expandvolume", &j.text(), text(&node.place("pod")), &(32_u64 << 20).to_string(), "0"]).ok();
    node.delete("theirs").fails("busy", &["attached"]);
    node.detach(&j).ok();
    node.delete("theirs").ok();
    node.assert_only(&[]);
}

#[test]
fn unknown_data_and_other_file_systems_are_not_formatted() {
    let Some(node) = Node::new(&[64]) else { return };
    let gdir = node.place("global");
    for (name, script, words) in [
        ("raw", "printf x | dd of=$1 bs=1 seek=9000 conv=notrunc status=none", "unknown data"),
        ("other", "mkfs.ext3 -q $1", "it holds ext3, ext4 was asked for"),
        ("swap", "mkswap -q $1", "swap"),
    ] {
        let device = node.vg.create(name, "8m", &[]);
        shell(&format!("{script}; sync"), &[text(&device)]);
        let before = shell("sha256sum <$1", &[text(&device)]);
        let j = node.j_found(name);
        node.attach(&j).ok();
        node.call(&["mountdevice", text(&gdir), "", &j.text()]).fails("", &[words, "not touched"]);
        assert_eq!(shell("sha256sum <$1", &[text(&device)]), before, "{name}");
        node.detach(&j).ok();
    }
    node.assert_down("after all");
}

/// A volume group inside a volume is data of its tenant's: never found, never activated, never taken for a group of the node.
#[test]
fn a_tenant_s_own_volume_group_is_never_seen() {
    let Some(node) = Node::new(&[128]) else { return };
    let device = node.vg.create("tenant", "64m", &[]);
    let inner = format!("{}_inner", node.vg.name);
    let inside = ["--config", "devices/scan_lvs=1"];
    lvm(["vgcreate"].into_iter().chain(inside).chain([inner.as_str(), text(&device)]));
    lvm(["lvcreate", "-y", "-an", "-Zn", "-Wn", "-L", "8m", "-n", "trap"]
        .into_iter()
        .chain(inside)
        .chain([inner.as_str()]));
    node.attach(&node.j_found("tenant")).ok();
    node.attach(&node.j("trap").with("volumegroup", &inner)).fails("notFound", &["no volume group", &inner]);
    let active = lvm(["lvs", "--noheadings", "-o", "lv_active"].into_iter().chain(inside).chain([inner.as_str()]));
    assert_eq!(active.trim(), "", "the trap is active");
    node.call(&["mountdevice", text(&node.place("global")), "", &node.j_found("tenant").text()])
        .fails("", &["LVM2_member"]);
    for volume in ["tenant", "trap"] {
        node.detach(&node.j_found(volume)).ok();
    }
    node.assert_down("after all");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_made() {
    let Some(node) = Node::with_pool(&[128], 32) else { return };
    let j = || node.j("vol1");
    let rows = [
        (node.j(POOL), "invalid", "thin pool"),
        (node.j("pool_tdata"), "invalid", "LVM keeps names"),
        (node.j("../x"), "invalid", "volumeID"),
        (j().without("size"), "invalid", "size"),
        (j().with("size", "0"), "invalid", "size"),
        (j().with("create", "yes"), "invalid", "create"),
        (j().with("wipe", "shred"), "invalid", "wipe"),
        (j().with("kubernetes.io/fsType", "vfat"), "unsupported", "vfat"),
        (j().with("mkfsOptions", "-d /etc"), "", "mkfs option"),
        (j().with("mountOptions", "suid"), "", "mount option"),
        (j().with("thinpool", "none"), "notFound", "no thin pool"),
        (j().with("size", "1g"), "exhausted", "extend it (vgextend"),
        (j().with("thinpool", POOL).with("size", "33m"), "exhausted", "thinOvercommit"),
        (j().without("create"), "notFound", "lvcreate"),
        (j().with("volumegroupUUID", "4swbg6-XmD8-Vivq-AelE-8XO4-zsJ3-JdoK8j"), "notFound", "wrong node"),
    ];
    for (j, code, word) in rows {
        let said = node.attach(&j);
        assert!(said.message().contains(word), "{word}: {said:?}");
        said.fails(code, &[]);
        node.detach(&j).ok();
    }
    node.assert_only(&[POOL]);
    node.set(&format!(r#"{{"volumegroups":["other"],"volumegroup":"{}"}}"#, node.vg.name));
    node.attach(&j().without("volumegroup")).ok();
    node.detach(&j()).ok();
    node.set(r#"{"volumegroups":["other"]}"#);
    node.attach(&j()).fails("permission", &["volumegroups", "settings.json"]);
    node.delete("vol1").fails("permission", &["volumegroups"]);
    node.set(r#"{"thinOvercommit":3}"#);
    node.attach(&node.j_of(Kind::Thin, "more").with("size", "96m")).ok();
    node.detach(&node.j("more")).ok();
    node.assert_down("after all");
}

#[test]
fn options_of_mkfs_and_mount_are_used() {
    let Some(node) = Node::new(&[64]) else { return };
    let j = node.j("vol1").with("mkfsOptions", "-L mine -b 1024").with("mountOptions", "noatime,data=journal");
    let place = node.place("pod");
    node.call(&["mount", text(&place), &j.text()]).ok();
    let options = tool("findmnt", &["-n", "-o", "OPTIONS,LABEL", text(&place)]);
    assert!(options.contains("noatime") && options.contains("data=journal") && options.contains("mine"), "{options}");
    node.call(&["unmount", text(&place)]).ok();
}

/// An old tenant's data would be read by the next one.
#[test]
fn a_pool_that_does_not_zero_is_refused() {
    let Some(node) = Node::with_pool(&[128], 32) else { return };
    lvm(["lvchange", "-Zn", &node.vg.of(POOL)]);
    let j = node.j_of(Kind::Thin, "vol1");
    node.attach(&j).fails("invalid", &["lvchange -Zy", "wipe"]);
    node.attach(&j.clone().with("wipe", "none")).ok();
    node.detach(&j).ok();
    node.delete("vol1").ok();
    lvm(["lvchange", "-Zy", &node.vg.of(POOL)]);
    node.attach(&j).ok();
    node.detach(&j).ok();
    lvm(["lvchange", "-Zn", &node.vg.of(POOL)]);
    node.delete("vol1").fails("invalid", &["lvchange -Zy"]);
    lvm(["lvchange", "-Zy", &node.vg.of(POOL)]);
    node.delete("vol1").ok();
    node.assert_only(&[POOL]);
}

#[test]
fn a_thick_origin_is_not_deleted_and_says_why() {
    let Some(node) = Node::new(&[128]) else { return };
    let j = node.j("vol1");
    node.attach(&j).ok();
    node.detach(&j).ok();
    lvm(["lvcreate", "--yes", "--snapshot", "--size", "8m", "--name", "yesterday", &node.vg.of("vol1")]);
    node.delete("vol1").fails("busy", &["yesterday"]);
    assert_eq!(node.vg.volumes(), ["vol1", "yesterday"]);
    assert!(!node.vg.tags("vol1").iter().any(|tag| tag.contains("deleting")));
    lvm(["lvremove", "--yes", &node.vg.of("yesterday")]);
    node.delete("vol1").ok();
    node.assert_only(&[]);
}

#[test]
fn what_thin_volumes_live_on_is_not_deleted() {
    let Some(node) = Node::with_pool(&[128], 40) else { return };
    let ours = |volume: &str| {
        let id = format!("flexvol.id={}", node.vg.of(volume));
        tag(&node.vg, volume, &["flexvol.maker=lvm", &format!("flexvol.name={volume}"), &id]);
    };
    // A volume that a person made what a thin one begins with, and one that became a pool.
    node.vg.create("first", "8m", &["--activate", "n"]);
    let begun = ["lvconvert", "--yes", "--type", "thin", "--thinpool", POOL, "--originname", "base"];
    lvm([&begun[..], &[&node.vg.of("first")]].concat());
    ours("base");
    ours(POOL);
    node.delete("base").fails("busy", &["thin volumes begin with"]);
    node.delete(POOL).fails("conflict", &["a pool"]);
    assert_eq!(node.vg.volumes(), ["base", "first", POOL]);
    assert!(!node.vg.tags("base").iter().any(|tag| tag.contains("deleting")));
    lvm(["lvremove", "--yes", &node.vg.of("first")]);
    lvm(["lvchange", "--permission", "rw", &node.vg.of("base")]);
    node.delete("base").ok();
    assert_eq!(node.vg.volumes(), [POOL]);
}

#[test]
fn what_is_being_made_or_deleted_is_not_handed_out() {
    let Some(node) = Node::new(&[64]) else { return };
    let ours = |volume: &str, state: &str| {
        node.vg.create(volume, "8m", &["--activate", "n"]);
        let id = format!("flexvol.id={}", node.vg.of(volume));
        tag(&node.vg, volume, &["flexvol.maker=lvm", &format!("flexvol.name={volume}"), &id, state]);
    };
    ours("half", "flexvol.state=creating");
    ours("gone", "flexvol.state=deleting");
    ours("later", "flexvol.state=archiving");
    let expand = |volume: &str| {
        node.call(&["expandvolume", &node.j(volume).text(), text(&node.place("pod")), &(32_u64 << 20).to_string(), "0"])
    };
    node.attach(&node.j_found("half")).fails("notFound", &["not finished"]);
    for j in [node.j("gone"), node.j_found("gone")] {
        node.attach(&j).fails("notFound", &["being deleted"]);
    }
    node.attach(&node.j("later")).fails("unsupported", &["later version"]);
    node.delete("later").fails("unsupported", &["later version"]);
    for volume in ["half", "gone", "later"] {
        expand(volume).fails("notFound", &[]);
    }
    // It was never handed out, and whoever may make it begins anew.
    node.attach(&node.j("half")).ok();
    assert_eq!(node.vg.row("half", "lv_size")["lv_size"], (16 << 20).to_string());
    node.detach(&node.j("half")).ok();
    node.delete("gone").ok();
    node.delete("half").ok();
    assert_eq!(node.vg.volumes(), ["later"]);
}

/// Its permission in LVM says read-only: a reader may have it, a writer is told.
#[test]
fn a_volume_that_is_read_only_in_lvm_is_for_readers() {
    let Some(node) = Node::new(&[64]) else { return };
    let (j, gdir) = (node.j("vol1"), node.place("global"));
    node.attach(&j).ok();
    node.call(&["mountdevice", text(&gdir), "", &j.text()]).ok();
    node.call(&["unmountdevice", text(&gdir)]).ok();
    node.detach(&j).ok();
    lvm(["lvchange", "--permission", "r", &node.vg.of("vol1")]);
    node.attach(&j).fails("conflict", &["lvchange -p rw"]);
    node.detach(&j).ok();
    let reader = j.clone().read_only();
    node.attach(&reader).ok();
    node.twice(&["mountdevice", text(&gdir), "", &reader.text()]);
    node.call(&["unmountdevice", text(&gdir)]).ok();
    node.detach(&reader).ok();
    node.assert_down("after all");
    assert!(try_lvm(["lvchange", "--permission", "rw", &node.vg.of("vol1")]).status.success());
}
