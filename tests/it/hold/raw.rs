//! Volumes given raw: a device and no mount.

use super::*;

fn raw(bed: &Bed) -> Value {
    and(&loopback(bed), json!({"block": true, "fsType": ""}))
}

fn is_block(device: &Value) -> bool {
    let meta = fs::metadata(device.as_str().unwrap());
    meta.is_ok_and(|meta| std::os::unix::fs::FileTypeExt::is_block_device(&meta.file_type()))
}

#[test]
fn a_raw_device_is_held_without_a_mount() {
    let Some(bed) = Bed::with_drivers() else { return };
    let hold = raw(&bed);
    let held = ok(&bed, &hold);
    let device = Path::new(held["device"].as_str().unwrap());
    assert!(is_block(&held["device"]) && !path(&held).exists(), "{held}");
    assert_eq!(bed.sandbox.mounts().unwrap(), []);
    assert_eq!(ok(&bed, &hold), and(&held, json!({"changed": false})));
    fails(&bed, &and(&hold, json!({"block": false, "fsType": ""})), "Refused", "raw device, asked for file system");

    let grow = and(&verb(&hold, "grow"), json!({ "capacity": 32 * MIB }));
    assert_eq!(ok(&bed, &grow), 32 * MIB);
    assert_eq!(flexvolume_linux::block::size(device).unwrap(), 32 * MIB);

    fs::write(device, "kept").unwrap();
    // That the device has gone is seen by either; that its name is another's by now, a test's beside this one perhaps, by who is about
    // to give it away.
    bed.sandbox.unmount_all().unwrap();
    let again = ok(&bed, &hold);
    let is_anothers = flexvolume_linux::block::size(device).is_ok_and(|bytes| bytes > 0);
    let kept = |held: Value| fs::read(held["device"].as_str().unwrap()).unwrap().starts_with(b"kept");
    assert!(if again["changed"] == true { kept(again) } else { is_anothers });
    assert!(kept(ok(&bed, &verb(&hold, "restage"))));
    bed.sandbox.unmount_all().unwrap();
    assert!(kept(ok(&bed, &verb(&hold, "restage"))));
    ok(&bed, &verb(&hold, "release"));
    bed.assert_clean();
}

#[test]
fn a_raw_device_that_is_to_be_read_only_is() {
    let Some(bed) = Bed::with_drivers() else { return };
    let hold = raw(&bed);
    ok(&bed, &hold);
    ok(&bed, &verb(&hold, "release"));
    let held = ok(&bed, &and(&hold, json!({"readOnly": true})));
    assert!(flexvolume_linux::block::is_read_only(Path::new(held["device"].as_str().unwrap())).unwrap());
    fails(&bed, &hold, "Refused", "read-only");
    ok(&bed, &verb(&hold, "release"));
    let held = ok(&bed, &hold);
    assert!(!flexvolume_linux::block::is_read_only(Path::new(held["device"].as_str().unwrap())).unwrap());
    ok(&bed, &verb(&hold, "release"));
    bed.assert_clean();
}

#[test]
fn what_a_driver_gives_raw_is_looked_at_and_what_was_not_announced_is_not_asked_for() {
    let Some(bed) = Bed::new() else { return };
    let file = bed.sandbox.path().join("image");
    image(&file, 16);
    let block = json!({"status": "Success", "extensions": ["block"]});
    let plain = json!({"status": "Success", "device": file});
    let unannounced = bed.script("v/plain", attachable(&file));
    bed.script("v/disk", attachable(&file).on("init", Answer::json(&block)));
    bed.script("v/file", attachable(&file).on("init", Answer::json(&block)).on("attach", Answer::json(&plain)));
    let raw = |driver: &str| and(&wish("hold", driver, "data"), json!({"block": true}));

    fails(&bed, &raw("v/plain"), "Invalid", "does not announce block");
    assert_eq!(unannounced.verbs().unwrap(), ["init"]);
    fails(&bed, &raw("v/file"), "Driver", "is no block device");
    fails(&bed, &and(&raw("v/disk"), json!({"readOnly": true})), "Refused", "gave a writable device");
    // What never came up is no reason against another try.
    assert!(is_block(&ok(&bed, &raw("v/disk"))["device"]));
    for driver in ["v/disk", "v/file"] {
        ok(&bed, &verb(&raw(driver), "release"));
    }
    bed.assert_clean();
}
