//! What there is, how much more there can be, and how it does.

use std::fs;

use serde_json::{Value, json};

use crate::{
    bed::{Bed, run, text},
    copies::{clone, delete, snapshot},
};

const MIB: u64 = 1 << 20;

impl Bed {
    #[track_caller]
    fn make(&self, name: &str, bytes: u64, more: &str) -> Value {
        let wish = format!(r#"{{"flexvol/name":"{name}","flexvol/requiredBytes":"{bytes}"{more}}}"#);
        let said = self.call(&["createvolume", &wish]).ok();
        json!({"id": said.get("id"), "bytes": said.get("bytes"), "options": said.get("options")})
    }

    /// All pages, and how many there were.
    #[track_caller]
    fn pages(&self, verb: &str, what: &str, more: &str) -> (Vec<Value>, usize) {
        let (mut all, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let said = self.call(&[verb, &format!(r#"{{"flexvol/max":"2","flexvol/token":"{token}"{more}}}"#)]).ok();
            all.extend(said.get(what).as_array().unwrap().iter().cloned());
            pages += 1;
            match said.get("next").as_str() {
                Some(next) => token = next.to_owned(),
                None => return (all, pages),
            }
        }
    }

    #[track_caller]
    fn condition(&self, id: &str, words: &[&str]) -> String {
        let said = self.call(&["gethealth", &format!(r#"{{"flexvol/id":"{id}"}}"#)]).ok();
        words.iter().for_each(|word| assert!(said.message().contains(word), "{word}: {}", said.message()));
        assert_eq!(said.message().is_empty(), said.word("condition") == "ok");
        said.word("condition")
    }
}

fn in_order(mut all: Vec<Value>) -> Vec<Value> {
    all.sort_by_key(|one| one["id"].to_string());
    all
}

#[test]
fn every_volume_is_listed_as_it_was_made() {
    let Some(bed) = Bed::new() else { return };
    let other = bed.sandbox.dir("other").unwrap();
    bed.set(&format!(r#"{{"directory":{:?},"directories":[{other:?}]}}"#, bed.images()));
    assert_eq!(bed.pages("listvolumes", "volumes", ""), (vec![], 1));
    let elsewhere = format!(r#","directory":{other:?}"#);
    let mut made = vec![bed.make("a", MIB, ""), bed.make("a", 2 * MIB, &elsewhere), bed.make("b c", MIB, "")];
    // The default directory, but named.
    made.push(bed.make("n", MIB, &format!(r#","directory":{:?}"#, bed.images())));
    made.push(bed.make("x", MIB, ""));
    // Made for a pod, and called as `createvolume` would call it.
    bed.attach(&bed.j("p"));
    bed.call(&["detach", bed.j("p").name(), "node"]).ok();
    made.push(bed.make("p", 8 * MIB, ""));
    bed.attach(&bed.j("q").with("directory", text(&other)));
    bed.call(&["detach", bed.j("q").name(), "node"]).ok();
    made.push(bed.make("q", 8 * MIB, &elsewhere));
    // Neither what others made, nor what is lost or half-made.
    fs::write(bed.image("theirs"), vec![0; MIB as usize]).unwrap();
    bed.make("lost", MIB, "");
    fs::remove_file(bed.image("lost")).unwrap();
    fs::write(bed.images().join(".odd.img.new"), "").unwrap();
    // But what has all but its name, as a power cut may leave it.
    fs::rename(bed.image("x"), bed.images().join(".x.img.new")).unwrap();
    assert_eq!(bed.condition("x", &[]), "ok");
    let (listed, pages) = bed.pages("listvolumes", "volumes", "");
    assert_eq!((in_order(listed.clone()), pages), (in_order(made), 4));
    for one in &listed {
        bed.ask(&delete(one["id"].as_str().unwrap())).ok();
    }
    assert_eq!(bed.pages("listvolumes", "volumes", ""), (vec![], 1));
    // A list that lacks some would be taken for whole.
    bed.set(&format!(r#"{{"directory":{:?},"directories":["/nowhere"]}}"#, bed.images()));
    bed.call(&["listvolumes", "{}"]).fails("", &["/nowhere"]);
}

#[test]
fn every_snapshot_is_listed_with_its_volume() {
    let Some(bed) = Bed::on("xfs") else { return };
    for id in ["v", "w"] {
        bed.make(id, MIB, "");
    }
    let mut made = Vec::new();
    for (name, id) in [("c", "v"), ("a", "w"), ("b", "v"), ("long name", "v"), ("d", "w")] {
        let said = bed.ask(&snapshot(name, id)).ok();
        let keys = ["snapshot", "id", "bytes", "created", "ready"];
        made.push(Value::Object(keys.map(|key| (key.to_owned(), said.get(key).clone())).into_iter().collect()));
    }
    made.sort_by_key(|one| one["snapshot"].to_string());
    let (listed, pages) = bed.pages("listsnapshots", "snapshots", "");
    assert_eq!((&listed, pages), (&made, 3));
    let of = |more: &str| bed.pages("listsnapshots", "snapshots", more).0;
    assert_eq!(of(r#","flexvol/id":"v""#), made.iter().filter(|one| one["id"] == "v").cloned().collect::<Vec<_>>());
    assert_eq!(of(r#","flexvol/snapshot":"a.snap""#), [made[0].clone()]);
    assert_eq!(of(r#","flexvol/snapshot":"a.snap","flexvol/id":"v""#), [] as [Value; 0]);
    assert_eq!(of(r#","flexvol/id":"none""#), [] as [Value; 0]);
    bed.ask(&delete("v")).ok();
    assert_eq!(of(""), made, "they do not need it");
    bed.ask(&clone("back", "c.snap", "")).ok();
}

#[test]
fn room_is_what_is_left_of_the_disk_and_of_promises() {
    let Some(bed) = Bed::new() else { return };
    run("mount", &["-t", "tmpfs", "-o", "size=64m,mode=0755", "tmpfs", text(&bed.images())]);
    let room = || {
        let said = bed.call(&["getcapacity", "{}"]).ok();
        assert_eq!(said.get("available"), said.get("maximum"));
        said.get("available").as_u64().unwrap()
    };
    let near = |bytes: u64, wanted: u64| assert!(bytes.abs_diff(wanted) < MIB, "{bytes}, not {wanted}");
    near(room(), 64 * MIB);
    bed.make("v", 40 * MIB, "");
    near(room(), 24 * MIB);
    // What it has taken is not counted twice.
    run(
        "dd",
        &["if=/dev/zero", &format!("of={}", text(&bed.image("v"))), "bs=1M", "count=10", "conv=notrunc", "status=none"],
    );
    near(room(), 24 * MIB);
    assert_eq!(bed.condition("v", &[]), "ok");
    bed.make("w", 100 * MIB, "");
    assert_eq!(room(), 0);
    assert_eq!(bed.condition("w", &["may still grow by 104857600 bytes", "make room"]), "degraded");
    let all = bed.call(&["gethealth", "{}"]).ok();
    assert_eq!(all.word("condition"), "degraded");
    assert!(all.message().contains("may still grow"), "{}", all.message());
    bed.ask(&delete("w")).ok();
    near(room(), 24 * MIB);
    bed.call(&["getcapacity", r#"{"directory":"/nowhere"}"#]).fails("", &["/nowhere"]);
}

#[test]
fn health_tells_what_people_must_know() {
    let Some(bed) = Bed::new() else { return };
    bed.make("v", 8 * MIB, "");
    assert_eq!(bed.condition("v", &[]), "ok");
    assert_eq!(bed.call(&["gethealth", "{}"]).ok().word("condition"), "ok");
    bed.call(&["gethealth", r#"{"flexvol/id":"none"}"#]).fails("notFound", &["none"]);
    // Its device is gone, and nobody has told the host.
    let j = bed.of_host("v", "ext4");
    let device = bed.attach(&j);
    assert_eq!(bed.condition("v", &[]), "ok");
    run("losetup", &["-d", &device]);
    assert_eq!(bed.condition("v", &["loop device is gone"]), "inaccessible");
    bed.call(&["detach", j.name(), "node"]).ok();
    assert_eq!(bed.condition("v", &[]), "ok");
    // Somebody else has it.
    let theirs = run("losetup", &["--find", "--show", text(&bed.image("v"))]);
    assert_eq!(bed.condition("v", &[&theirs, "not by this driver"]), "inaccessible");
    run("losetup", &["-d", &theirs]);
    // Another file has its name.
    let device = bed.attach(&j);
    fs::rename(bed.image("v"), bed.image("kept")).unwrap();
    fs::copy(bed.image("kept"), bed.image("v")).unwrap();
    assert_eq!(bed.condition("v", &[&device, "earlier file"]), "inaccessible");
    fs::rename(bed.image("kept"), bed.image("v")).unwrap();
    bed.call(&["detach", j.name(), "node"]).ok();
    // Cut, and lost; what was grown is held to its new size.
    bed.call(&["expandvolume", r#"{"flexvol/id":"v"}"#, "/any", &(16 * MIB).to_string(), "0"]).ok();
    fs::File::options().write(true).open(bed.image("v")).unwrap().set_len(12 * MIB).unwrap();
    assert_eq!(bed.condition("v", &["12582912", "had 16777216", "backup"]), "dataLoss");
    fs::remove_file(bed.image("v")).unwrap();
    assert_eq!(bed.condition("v", &["is gone", "backup"]), "dataLoss");
    let all = bed.call(&["gethealth", "{}"]).ok();
    assert_eq!((all.word("condition").as_str(), all.message().contains("v.img is gone")), ("degraded", true));
    bed.set(r#"{"directory":"/nowhere"}"#);
    let all = bed.call(&["gethealth", "{}"]).ok();
    assert_eq!((all.word("condition").as_str(), all.message().contains("/nowhere")), ("inaccessible", true));
}
