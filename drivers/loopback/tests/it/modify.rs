//! What can be changed of a volume: its device's way to the image, in use or not, kept for the next attach, cut off anywhere.

use flexvolume_linux::loopdev;
use flexvolume_testkit::{
    killat::{Plan, Victim},
    skip,
};
use serde_json::Value;

use crate::bed::{Bed, J, Said, read, text, write};

fn change(id: &str, direct: bool) -> String {
    format!(r#"{{"flexvol/id":"{id}","directIO":"{direct}"}}"#)
}

fn modify(bed: &Bed, id: &str, direct: bool) -> Said {
    bed.twice(&["modifyvolume", &change(id, direct)])
}

fn make(bed: &Bed, id: &str, more: &str) -> Said {
    bed.call(&["createvolume", &format!(r#"{{"flexvol/name":"{id}","flexvol/requiredBytes":"8388608"{more}}}"#)])
}

/// Of the one device that there is.
fn is_direct(bed: &Bed) -> bool {
    loopdev::status_of(&bed.loops()[0].device).unwrap().unwrap().direct_io
}

/// What the mark says of it.
fn is_buffered(bed: &Bed, id: &str) -> bool {
    let mark = read(&bed.images().join(format!(".{id}.flexvol.json")));
    serde_json::from_str::<Value>(&mark).unwrap()["buffered"] == true
}

/// A volume that is mounted, with something on it; the place and the options. `None` where no device here goes around the cache.
fn mounted(bed: &Bed) -> Option<(std::path::PathBuf, J)> {
    make(bed, "v", "").ok();
    let (place, j) = (bed.place("pod"), bed.j("v").without("create").without("size"));
    bed.mount(&place, &j).ok();
    write(&place.join("file"), "data");
    if is_direct(bed) {
        return Some((place, j));
    }
    bed.unmount(&place).ok();
    skip("no loop device on this disk goes around the page cache");
    None
}

#[test]
fn it_is_changed_in_use_and_found_so_by_the_next_attach() {
    let Some(bed) = Bed::new() else { return };
    let Some((place, j)) = mounted(&bed) else { return };
    for direct in [false, true, false] {
        let before = if direct { "through" } else { "around" };
        write(&place.join("before"), before);
        modify(&bed, "v", direct);
        assert_eq!((is_direct(&bed), is_buffered(&bed, "v")), (direct, !direct));
        assert_eq!((read(&place.join("file")), read(&place.join("before"))), ("data".into(), before.into()));
        bed.unmount(&place).ok();
        bed.mount(&place, &j).ok();
        assert_eq!((is_direct(&bed), read(&place.join("before"))), (direct, before.into()));
    }
    bed.unmount(&place).ok();
    modify(&bed, "v", true);
    assert!(!is_buffered(&bed, "v"), "while nobody has it");
    bed.mount(&place, &j).ok();
    assert_eq!((is_direct(&bed), read(&place.join("file"))), (true, "data".into()));
    bed.unmount(&place).ok();
    bed.assert_down("after all");
}

#[test]
fn what_is_unknown_or_bad_changes_nothing() {
    let Some(bed) = Bed::new() else { return };
    let Some((place, _)) = mounted(&bed) else { return };
    for (wish, words) in [
        (r#""directIO":"no""#, ["directIO", "true"]),
        (r#""directIO":"false","size":"1g""#, ["size", "directIO"]),
        (r#""directIO":"false","volumeID":"w""#, ["volumeID", "directIO"]),
        (r#""XXX_FakeKey":"XXX_FakeValue""#, ["XXX_FakeKey", "directIO"]),
    ] {
        bed.call(&["modifyvolume", &format!(r#"{{"flexvol/id":"v",{wish}}}"#)]).fails("invalid", &words);
        assert_eq!((is_direct(&bed), is_buffered(&bed, "v")), (true, false), "{wish}");
    }
    bed.twice(&["modifyvolume", r#"{"flexvol/id":"v"}"#]);
    assert!(is_direct(&bed), "nothing is named");
    bed.call(&["modifyvolume", &change("none", false)]).fails("notFound", &["none"]);
    bed.call(&["modifyvolume", r#"{"directIO":"false"}"#]).fails("invalid", &["flexvol/id"]);
    bed.unmount(&place).ok();
    bed.assert_down("after all");
}

#[test]
fn a_new_volume_is_as_its_parameters_say() {
    let Some(bed) = Bed::new() else { return };
    let mutable = r#","directIO":"false","flexvol/mutable":"directIO""#;
    for more in [mutable, r#","directIO":"false""#] {
        make(&bed, "v", more).ok();
        make(&bed, "v", more).ok();
        make(&bed, "v", "").ok();
        make(&bed, "v", r#","directIO":"true""#).fails("conflict", &["another directIO"]);
        assert!(is_buffered(&bed, "v"), "{more}");
        bed.call(&["deletevolume", r#"{"flexvol/id":"v"}"#]).ok();
    }
    make(&bed, "w", r#","class":"fast""#).ok();
    make(&bed, "x", r#","class":"fast","flexvol/mutable":"class""#).fails("invalid", &["class"]);
    make(&bed, "x", r#","directIO":"perhaps""#).fails("invalid", &["directIO"]);
    assert!(!bed.image("x").exists());
    // A clone has what is said of it, and not what its source has.
    make(&bed, "v", mutable).ok();
    make(&bed, "c", r#","flexvol/sourceVolume":"v""#).ok();
    make(&bed, "d", &format!(r#"{mutable},"flexvol/sourceVolume":"v""#)).ok();
    assert!(!is_buffered(&bed, "c") && is_buffered(&bed, "d"));
    make(&bed, "d", r#","directIO":"true","flexvol/sourceVolume":"v""#).fails("conflict", &["another directIO"]);
}

#[test]
fn a_call_that_dies_at_every_effect_is_done_by_the_next_one() {
    let Some(bed) = Bed::new() else { return };
    let Some((place, j)) = mounted(&bed) else { return };
    for victim in [Victim::Tree, Victim::Actor] {
        for at in 1.. {
            let direct = at % 2 == 0;
            modify(&bed, "v", !direct);
            let report = bed.traced(&["modifyvolume", &change("v", direct)], Plan::Kill { victim, at });
            let about = format!("killed at {at}: {:?}", report.effects.last());
            write(&place.join("file"), &about);
            if at % 3 == 0 {
                // Nobody calls again: what the mark says is what the next attach makes of it, all or nothing.
                bed.unmount(&place).ok();
                bed.mount(&place, &j).ok();
                assert_eq!(is_direct(&bed), !is_buffered(&bed, "v"), "{about}");
            }
            modify(&bed, "v", direct);
            assert_eq!((is_direct(&bed), is_buffered(&bed, "v")), (direct, !direct), "{about}");
            assert_eq!(read(&place.join("file")), about);
            bed.unmount(&place).ok();
            bed.mount(&place, &j).ok();
            assert_eq!((is_direct(&bed), read(&place.join("file"))), (direct, about));
            if report.struck.is_none() {
                assert!(at > 4, "{at} effects: the tracer is blind");
                break;
            }
        }
    }
    bed.unmount(&place).ok();
    assert_eq!(bed.names(), [".v.flexvol.json", ".v.format.json", "v.img"]);
    bed.assert_down("after all");
}

/// Where no device can go around the cache the wish is kept, and what is so is told.
#[test]
fn a_disk_that_allows_one_way_alone_is_told() {
    let Some(bed) = Bed::new() else { return };
    crate::bed::run("mount", &["-t", "ramfs", "-o", "mode=0755", "ramfs", text(&bed.images())]);
    make(&bed, "v", r#","directIO":"false""#).ok();
    let (place, j) = (bed.place("pod"), bed.j("v").without("create").without("size"));
    bed.mount(&place, &j).ok();
    write(&place.join("file"), "data");
    let said = modify(&bed, "v", true);
    assert!(said.message().contains("goes through the page cache all the same"), "{said:?}");
    assert_eq!((is_direct(&bed), is_buffered(&bed, "v")), (false, false));
    assert_eq!(modify(&bed, "v", false).message(), "");
    assert_eq!(read(&place.join("file")), "data");
    bed.unmount(&place).ok();
    bed.assert_down("after all");
}
