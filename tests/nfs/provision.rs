//! Volumes that the driver makes: made, found again, mounted, listed, measured, grown, deleted.

use std::{fs, os::unix::fs::MetadataExt};

use flexvolume_testkit::driver::J;

use crate::{
    bed::Node,
    tools::{shell, text},
};

#[test]
fn a_volume_is_made_used_and_deleted() {
    let Some(node) = Node::with_pool("") else { return };
    let ask = J::default().with("flexvol/name", "pvc-1").with("flexvol/requiredBytes", "1048576");
    let ask = ask.with("mode", "2775").with("uid", "1000").with("gid", "2000");
    let made = node.twice(&["createvolume", &ask.text()]);
    assert_eq!((made.word("id").as_str(), made.get("bytes").as_u64()), ("p/pvc-1", Some(1 << 20)));
    let meta = fs::metadata(node.on_server("base/pvc-1")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o2775, 1000, 2000));
    node.assert_down();
    node.call(&["createvolume", &ask.clone().with("flexvol/requiredBytes", "2097152").text()])
        .fails("conflict", &["another size"]);

    // What the answer says is all that a mount needs.
    let mut j = J::default().with("kubernetes.io/pvOrVolumeName", "pv").with("kubernetes.io/readwrite", "rw");
    for (key, value) in made.get("options").as_object().unwrap() {
        j = j.with(key, value.as_str().unwrap());
    }
    let place = node.place("pod");
    node.up(&j, &place);
    fs::create_dir(place.join("sub")).unwrap();
    fs::write(place.join("sub/file"), "data").unwrap();
    assert_eq!(fs::read_to_string(node.on_server("base/pvc-1/sub/file")).unwrap(), "data");
    let id = J::default().with("flexvol/id", "p/pvc-1");
    node.call(&["deletevolume", &id.text()]).fails("busy", &[text(&place)]);

    let grown = node.call(&["expandvolume", &id.text(), text(&place), "4194304", "1048576"]).ok();
    assert_eq!(grown.get("bytes").as_u64(), Some(4 << 20));
    assert!(grown.message().contains("nothing enforces it"), "{}", grown.message());
    assert_eq!(node.call(&["gethealth", &id.text()]).ok().get("condition"), "ok");
    let listed = node.call(&["listvolumes", "{}"]).ok();
    let rows = listed.get("volumes").as_array().unwrap().clone();
    assert_eq!((rows.len(), &rows[0]["id"], &rows[0]["bytes"]), (1, &"p/pvc-1".into(), &(4 << 20).into()));
    let room = node.call(&["getcapacity", "{}"]).ok();
    let left: u64 = shell("df -B1 --output=avail $1 | tail -1", &[text(&node.share.path)]).trim().parse().unwrap();
    let available = room.get("available").as_u64().unwrap();
    assert!(available.abs_diff(left) < 64 << 20, "{available} bytes, and it has {left}");

    node.down(&j, &place);
    node.through("deletevolume", &id).ok();
    node.through("deletevolume", &id).ok();
    assert!(!node.on_server("base/pvc-1").exists());
    assert!(fs::read_dir(node.on_server("base/.flexvol/trash")).unwrap().next().is_none());
    assert_eq!(node.call(&["listvolumes", "{}"]).ok().get("volumes").as_array().unwrap().len(), 0);
    node.call(&["gethealth", &id.text()]).fails("notFound", &["p/pvc-1"]);
    node.assert_down();
}

#[test]
fn what_is_kept_is_kept() {
    let Some(node) = Node::with_pool("") else { return };
    for (name, on_delete) in [("a", "archive"), ("r", "retain")] {
        node.make(name, &[("onDelete", on_delete)]);
        fs::write(node.on_server(&format!("base/{name}/file")), "data").unwrap();
        node.through("deletevolume", &J::default().with("flexvol/id", &format!("p/{name}"))).ok();
    }
    assert_eq!(fs::read_to_string(node.on_server("base/r/file")).unwrap(), "data");
    let names: Vec<String> = fs::read_dir(node.on_server("base"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    let archived = names.iter().find(|name| name.starts_with("archived-a-")).unwrap();
    assert_eq!(fs::read_to_string(node.on_server(&format!("base/{archived}/file"))).unwrap(), "data");
    // The name of the first is free again, that of the second is taken.
    node.make("a", &[]);
    node.through("createvolume", &J::default().with("flexvol/name", "r"))
        .fails("conflict", &["not made by this driver"]);
}

#[test]
fn a_lost_volume_is_told_and_not_replaced() {
    let Some(node) = Node::with_pool("") else { return };
    let id = J::default().with("flexvol/id", &node.make("v", &[]));
    fs::rename(node.on_server("base/v"), node.on_server("elsewhere")).unwrap();
    assert_eq!(node.call(&["gethealth", &id.text()]).ok().get("condition"), "dataLoss");
    node.through("createvolume", &J::default().with("flexvol/name", "v")).fails("notFound", &["was made and is gone"]);
    node.through("deletevolume", &id).ok();
    node.make("v", &[]);
}

#[test]
fn a_hundred_volumes() {
    let Some(node) = Node::with_pool("") else { return };
    for n in 0..100 {
        node.make(&format!("pvc-{n:03}"), &[]);
    }
    let mut token = String::new();
    let mut ids = Vec::new();
    loop {
        let j = J::default().with("flexvol/max", "30").with("flexvol/token", &token);
        let page = node.call(&["listvolumes", &j.text()]).ok();
        ids.extend(page.get("volumes").as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        match page.get("next").as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(ids, (0..100).map(|n| format!("p/pvc-{n:03}")).collect::<Vec<_>>());
    for id in ids {
        node.through("deletevolume", &J::default().with("flexvol/id", &id)).ok();
    }
    assert_eq!(fs::read_dir(node.on_server("base")).unwrap().count(), 1, "our own directory alone");
    node.assert_down();
}
