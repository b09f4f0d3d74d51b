//! What a controller does in a cluster, as far as one machine has it: attach once, remember, detach by name, never by force.

use std::fs;

use serde_json::json;

use super::{claimed, claiming, whole};
use crate::{
    bed::{Bed, pod},
    one::One,
    scripts::{attachable, image},
};

#[test]
fn h_80_a_volume_is_attached_once_for_all_pods_and_its_device_is_kept_in_sight() {
    let Some(one) = One::new(whole()) else { return };
    one.wants(&format!("{}---\n{}", claimed("1Mi", "{driver: v/d}"), claiming("other", false)));
    one.comes("two pods at once");
    one.comes("again");
    assert_eq!(one.count("attach"), 1);
    let rows = one.bed.json(["ls"]);
    assert_eq!(rows.as_array().unwrap().len(), 2);
    for row in rows.as_array().unwrap() {
        assert_eq!((row["device"].as_str(), row["state"].as_str()), (Some("nbd7"), Some("mounted")));
    }
    one.goes("two pods");
}

#[test]
fn h_81_nobody_is_asked_whether_the_volume_is_attached_nor_how_it_is_called() {
    let Some(one) = One::new(whole()) else { return };
    one.wants(&claimed("1Mi", "{driver: v/d}"));
    one.comes("up");
    one.comes("again");
    one.bed.ok(["ls", "--usage"]);
    one.goes("down");
    assert_eq!((one.count("isattached"), one.count("getvolumename")), (0, 0));
}

/// In Kubernetes the name of such a driver is lost with the controller, and its volumes stay attached.
#[test]
fn h_84_a_later_process_detaches_by_name_also_for_a_driver_without_a_vendor_and_without_a_ledger() {
    for ledger in [true, false] {
        let Some(bed) = Bed::new() else { return };
        bed.manifest("flexvol.json", &json!({"node": "rack4-7"}).to_string());
        let disk = bed.sandbox.path().join("image");
        image(&disk, 16);
        let driver = bed.script("disk", attachable(&disk));
        let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: disk}")]));
        bed.ok(["up", &file]);
        if !ledger {
            fs::remove_file(bed.sandbox.root().join("ledger.db")).unwrap();
        }
        bed.ok(["down", "--all"]);
        let detach = driver.calls().unwrap().into_iter().find(|call| call.verb() == "detach").unwrap();
        assert_eq!(detach.argv, ["detach", "data", "rack4-7"], "ledger: {ledger}");
        bed.assert_clean();
    }
}
