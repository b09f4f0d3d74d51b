//! Clones beside their originals: both in pods of one machine at once, each with its own content from then on.

use serde_json::json;

use super::{
    home::Home,
    whole::TYPES,
    writer::{Writer, check},
};
use crate::group::POOL;

/// What the clone of the ext4 is to have; its file system fills it.
const LARGER: u64 = 40 << 20;

#[test]
fn a_clone_and_its_original_are_up_at_once() {
    let Some(home) = Home::with_pool(&[560], 500) else { return };
    home.set("{\"thinOvercommit\": 2}");
    let pod = |name: &str, create: bool| {
        let sources = TYPES.map(|(fs, size)| {
            let options = [("create", "true"), ("size", size), ("thinpool", POOL)];
            (fs, home.source(fs, &format!("{name}-{fs}"), if create { &options } else { &[] }))
        });
        home.pod(name, &sources.each_ref().map(|(fs, source)| (*fs, source.as_str())))
    };
    let first = pod("first", true);
    home.bed.ok(["up", &first]);
    // They are written to before, while and after they are cloned.
    let mut writers = TYPES.map(|(fs, _)| Writer::start(&home, "first", &format!("/data/{fs}"), 16));
    writers.iter_mut().for_each(Writer::goes_on);
    for (fs, _) in TYPES {
        let mut options = json!({
            "flexvol/name": format!("second-{fs}"), "flexvol/sourceVolume": home.vg.of(&format!("first-{fs}")),
        });
        if fs == "ext4" {
            options["flexvol/requiredBytes"] = LARGER.to_string().into();
        }
        let said = home.call(&["createvolume", &options.to_string()]);
        assert_eq!(said["status"], "Success", "{said}");
    }
    writers.iter_mut().for_each(Writer::goes_on);

    let second = pod("second", false);
    home.bed.ok(["up", &second]);
    for (fs, _) in TYPES {
        // What was durable when it was cloned; the next file was being written.
        check(&home, "second", &format!("/data/{fs}"));
        home.exec("second", &format!("rm /data/{fs}/file*; echo mine >/data/{fs}/sums"));
    }
    let room = home.exec("second", "stat -f -c '%b %S' /data/ext4");
    let room: u64 = room.split(' ').map(|word| word.parse::<u64>().unwrap()).product();
    assert!(room > LARGER * 3 / 4, "{room}");
    writers.iter_mut().for_each(Writer::goes_on);
    writers.into_iter().for_each(Writer::stop);

    // Each goes without the other, and the original first.
    home.bed.ok(["down", "first"]);
    TYPES.iter().for_each(|(fs, _)| home.deleted(&format!("first-{fs}")));
    home.bed.ok(["down", "second"]);
    home.bed.ok(["up", &second]);
    assert_eq!(home.exec("second", "cat /data/*/sums"), "mine\nmine\nmine");
    home.bed.ok(["down", "second"]);
    home.assert_down();
    TYPES.iter().for_each(|(fs, _)| home.deleted(&format!("second-{fs}")));
    assert_eq!(home.vg.volumes(), [POOL]);
    home.assert_forgotten();
}
