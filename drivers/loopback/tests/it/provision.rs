//! Volumes made and deleted by name and id, cut off anywhere, and never while they are in use.

use std::{fs, thread};

use flexvolume_testkit::killat::{Plan, Victim};

use crate::bed::{Bed, Said, files, read, text, write};

const MIB: u64 = 1 << 20;

fn create(bed: &Bed, name: &str, required: u64, limit: u64) -> Said {
    bed.call(&["createvolume", &wish(name, required, limit)])
}

fn wish(name: &str, required: u64, limit: u64) -> String {
    let bytes = format!(r#""flexvol/requiredBytes":"{required}","flexvol/limitBytes":"{limit}""#);
    format!(r#"{{"flexvol/name":{},{bytes}}}"#, serde_json::to_string(name).unwrap())
}

fn delete(bed: &Bed, id: &str) -> Said {
    bed.call(&["deletevolume", &format!(r#"{{"flexvol/id":"{id}"}}"#)])
}

#[test]
fn made_by_name_used_by_what_came_back_and_deleted_by_id() {
    let Some(bed) = Bed::new() else { return };
    let said = bed.twice(&["createvolume", &wish("pvc-1", 16 * MIB, 0)]);
    assert_eq!(said.word("id"), "pvc-1");
    assert_eq!(fs::metadata(bed.image("pvc-1")).unwrap().len(), 16 * MIB);
    let kept = said.get("options").as_object().unwrap().clone();
    let mut j = bed.j("x").without("volumeID").without("create").without("size");
    for (key, value) in &kept {
        j = j.with(key, value.as_str().unwrap());
    }
    let place = bed.place("pod");
    bed.mount(&place, &j).ok();
    write(&place.join("file"), "data");
    for _ in 0..2 {
        delete(&bed, "pvc-1").fails("busy", &["in use", "/dev/loop"]);
    }
    assert_eq!(read(&place.join("file")), "data");
    bed.unmount(&place).ok();
    // With the id alone, as a bridge has it.
    let by_id = r#"{"flexvol/id":"pvc-1"}"#;
    bed.twice(&["expandvolume", by_id, text(&place), &(24 * MIB).to_string(), "0"]);
    let again = create(&bed, "pvc-1", 16 * MIB, 0).ok();
    assert_eq!(again.get("bytes").to_string().trim_matches('"'), (24 * MIB).to_string(), "as large as it is by now");
    bed.twice(&["deletevolume", by_id]);
    assert_eq!(bed.names(), Vec::<String>::new(), "nothing is left of it");
    bed.mount(&place, &j).fails("notFound", &["pvc-1.img"]);
    bed.assert_down("after all");
}

#[test]
fn in_a_directory_of_the_class() {
    let Some(bed) = Bed::new() else { return };
    let other = bed.sandbox.dir("other").unwrap();
    let wish = wish("v", 8 * MIB, 0).replace('}', &format!(r#","directory":{other:?}}}"#));
    let said = bed.twice(&["createvolume", &wish]);
    let id = said.word("id");
    assert_eq!(id, format!("{}/v", text(&other).trim_start_matches('/')), "no slash at either end");
    assert_eq!(said.get("options")["directory"], text(&other));
    assert!(other.join("v.img").exists());
    delete(&bed, &id).ok();
    assert_eq!(files(&other).len(), 0);
    delete(&bed, "etc/shadow").ok();
    delete(&bed, "never-was").ok();
    // What was never an id of this driver's leads nowhere, and is as good as deleted.
    let way_round = format!("{}/../other/v", text(&other).trim_start_matches('/'));
    create(&bed, "v", 8 * MIB, 0).ok();
    bed.twice(&["createvolume", &wish]);
    for id in ["..", "/", "a/", "/etc/..", "../images/v", &way_round] {
        delete(&bed, id).ok();
        let by_id = format!(r#"{{"flexvol/id":"{id}"}}"#);
        for verb in ["gethealth", "modifyvolume"] {
            bed.call(&[verb, &by_id]).fails("notFound", &["there is no volume"]);
        }
        let named = format!(r#"{{"flexvol/id":"{id}","kubernetes.io/pvOrVolumeName":"w"}}"#);
        bed.call(&["attach", &named, "node"]).fails("notFound", &["there is no volume"]);
    }
    assert!(bed.image("v").exists() && other.join("v.img").exists(), "reached by another way");
    for id in ["", "nowhere/at/all/v"] {
        assert_ne!(delete(&bed, id).get("status"), "Success", "{id:?}");
    }
    assert!(std::path::Path::new("/etc/shadow").exists());
}

#[test]
fn sizes_that_do_not_fit_are_conflicts() {
    let Some(bed) = Bed::new() else { return };
    create(&bed, "v", 16 * MIB, 32 * MIB).ok();
    create(&bed, "v", 8 * MIB, 0).ok();
    create(&bed, "v", 0, 0).fails("conflict", &["another size"]);
    create(&bed, "v", 17 * MIB, 0).fails("conflict", &["another size"]);
    create(&bed, "v", 8 * MIB, 15 * MIB).fails("conflict", &["another size"]);
    create(&bed, "w", 16 * MIB, 8 * MIB).fails("invalid", &["limit"]);
    let said = create(&bed, "small", 0, 8 * MIB).ok();
    assert_eq!(said.get("bytes").to_string().trim_matches('"'), (8 * MIB).to_string());
    // No room that is freed would help.
    for bytes in [1 << 62, u64::MAX] {
        create(&bed, "huge", bytes, 0).fails("invalid", &["huge.img", "ask for less"]);
        let (place, bytes) = (bed.place("none"), bytes.to_string());
        bed.call(&["expandvolume", r#"{"flexvol/id":"v"}"#, text(&place), &bytes, "0"])
            .fails("invalid", &["ask for less"]);
    }
    assert!(!bed.image("huge").exists());
    // What somebody else put there is nobody's to hand out.
    fs::write(bed.image("theirs"), vec![0; 1 << 20]).unwrap();
    create(&bed, "theirs", MIB, 0).fails("conflict", &["another maker"]);
    delete(&bed, "theirs").fails("permission", &["not deleted"]);
    assert!(bed.image("theirs").exists());
}

#[test]
fn what_could_never_be_staged_is_not_made() {
    let Some(bed) = Bed::new() else { return };
    let ntfs = wish("v", MIB, 0).replace('}', r#","kubernetes.io/fsType":"ntfs"}"#);
    bed.call(&["createvolume", &ntfs]).fails("invalid", &["ntfs", "use one of ext4"]);
    create(&bed, "v", 1, 4095).fails("invalid", &["multiples of 4096"]);
    assert_eq!(bed.names(), Vec::<String>::new());
    bed.twice(&["createvolume", &wish("v", 1, 0)]);
    assert_eq!(fs::metadata(bed.image("v")).unwrap().len(), 4096);
    // Who asks for all that it has, or for as much as an image has that was made before sizes were rounded, gets it.
    create(&bed, "v", 4096, 4096).ok();
    fs::File::options().write(true).open(bed.image("v")).unwrap().set_len(5000).unwrap();
    create(&bed, "v", 5000, 5000).ok();
    delete(&bed, "v").ok();
    bed.assert_down("after all");
}

#[test]
fn any_name_will_do_and_stays_in_the_directory() {
    let Some(bed) = Bed::new() else { return };
    let names = ["../../etc/x", "a b", "ä", "/", "x/y", &"n".repeat(128), &"m".repeat(300), "-", "..", "."];
    let mut ids = Vec::new();
    for name in names {
        let id = bed.twice(&["createvolume", &wish(name, MIB, 0)]).word("id");
        assert!(id.len() <= 128 && !id.contains('/') && !ids.contains(&id), "{name}: {id}");
        ids.push(id);
    }
    create(&bed, "", MIB, 0).fails("invalid", &["flexvol/name"]);
    assert_eq!(bed.names().iter().filter(|name| name.ends_with(".img")).count(), names.len());
    for id in ids {
        delete(&bed, &id).ok();
    }
    assert_eq!(bed.names(), Vec::<String>::new());
}

#[test]
fn two_creations_at_once_are_one() {
    let Some(bed) = Bed::new() else { return };
    for round in 0..5 {
        let name = format!("v{round}");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| create(&bed, &name, MIB, 0).ok());
            }
        });
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| delete(&bed, &name).ok());
            }
        });
        assert_eq!(bed.names(), Vec::<String>::new());
    }
}

/// A host provisions by name what pods are made to create by volumeID: whoever comes first makes it, for all.
#[test]
fn creations_by_a_host_and_by_pods_meet_in_one_image() {
    let Some(bed) = Bed::new() else { return };
    let places: Vec<_> = (0..2).map(|n| bed.place(&format!("pod{n}"))).collect();
    for round in 0..8 {
        let name = format!("v{round}");
        let j = bed.j(&name);
        thread::scope(|scope| {
            for place in &places {
                scope.spawn(|| bed.mount(place, &j).ok());
                scope.spawn(|| create(&bed, &name, 8 * MIB, 0).ok());
            }
        });
        bed.assert_up(places.len(), &name);
        for place in &places {
            bed.unmount(place).ok();
        }
        delete(&bed, &name).ok();
        assert_eq!(bed.names(), Vec::<String>::new());
    }
}

#[test]
fn a_lost_volume_is_not_created_again_but_can_be_deleted() {
    let Some(bed) = Bed::new() else { return };
    create(&bed, "v", MIB, 0).ok();
    fs::remove_file(bed.image("v")).unwrap();
    create(&bed, "v", MIB, 0).fails("notFound", &["gone"]);
    delete(&bed, "v").ok();
    assert_eq!(bed.names(), Vec::<String>::new());
    create(&bed, "v", MIB, 0).ok();
}

#[test]
fn a_creation_cut_off_anywhere_is_finished() {
    let Some(bed) = Bed::new() else { return };
    let wish = wish("v", MIB, 0);
    for at in 1.. {
        let report = bed.traced(&["createvolume", &wish], Plan::Kill { victim: Victim::Tree, at });
        if at % 2 == 0 {
            bed.twice(&["createvolume", &wish]);
            assert_eq!(bed.names(), [".v.flexvol.json", "v.img"], "after {at}");
        }
        delete(&bed, "v").ok();
        if at % 2 == 0 {
            assert_eq!(bed.names(), Vec::<String>::new(), "after {at}");
        }
        create(&bed, "v", MIB, 0).ok();
        delete(&bed, "v").ok();
        assert_eq!(bed.names(), Vec::<String>::new(), "after {at}");
        if report.struck.is_none() {
            assert!(at > 5, "the tracer sees {at} effects");
            break;
        }
    }
}

#[test]
fn a_deletion_cut_off_anywhere_is_finished() {
    let Some(bed) = Bed::new() else { return };
    let place = bed.place("pod");
    for at in 1.. {
        let j = bed.j("v");
        create(&bed, "v", 8 * MIB, 0).ok();
        bed.mount(&place, &j).ok();
        write(&place.join("file"), "data");
        bed.unmount(&place).ok();
        let report = bed.traced(&["deletevolume", r#"{"flexvol/id":"v"}"#], Plan::Kill { victim: Victim::Tree, at });
        // Either it is still whole, or it is never offered again until it is gone.
        let said = bed.mount(&place, &j.without("create"));
        if said.get("status") == "Success" {
            assert_eq!(read(&place.join("file")), "data", "after {at}");
            bed.unmount(&place).ok();
        } else {
            said.fails("notFound", &[]);
        }
        if at % 2 == 0 {
            create(&bed, "v", 8 * MIB, 0).ok();
        }
        delete(&bed, "v").ok();
        assert_eq!(bed.names(), Vec::<String>::new(), "after {at}");
        bed.assert_down("after a deletion");
        if report.struck.is_none() {
            assert!(at > 5, "the tracer sees {at} effects");
            break;
        }
    }
}
