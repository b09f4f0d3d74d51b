//! Volumes that grow: while pods write to them, while nobody has them, and not beyond what a pool may promise.

use super::{
    home::{Home, claim, claiming},
    writer::Writer,
};
use crate::group::POOL;

/// A claim, its file system, whether it is thin, its size in MiB and what it grows to.
const CLAIMS: [(&str, &str, bool, u64, u64); 4] = [
    ("ext4", "ext4", false, 24, 64),
    ("thin-ext4", "ext4", true, 24, 64),
    ("thin-xfs", "xfs", true, 300, 400),
    ("btrfs", "btrfs", false, 128, 256),
];

/// The pod, with each PersistentVolume of the size that is chosen.
fn manifest(home: &Home, mib: impl Fn(&str, u64, u64) -> u64) -> String {
    let claims = CLAIMS.map(|(name, fs, thin, from, to)| {
        let size = format!("{from}m");
        let mut options = vec![("create", "true"), ("size", size.as_str())];
        options.extend(thin.then_some(("thinpool", POOL)));
        claim(name, &format!("{}Mi", mib(name, from, to)), &home.source(fs, &format!("vol-{name}"), &options))
    });
    home.bed.manifest("web.yaml", &(claims.concat() + &claiming("web", &CLAIMS.map(|one| one.0), false)))
}

/// Each volume and its file system have that size; a file system has less room than its device.
#[track_caller]
fn assert_sizes(home: &Home, mib: impl Fn(&str, u64, u64) -> u64) {
    let rooms = home.exec("web", "for at in /data/*; do stat -f -c \"$at %b %S\" $at; done");
    for (name, _, _, from, to) in CLAIMS {
        let bytes = mib(name, from, to) << 20;
        assert_eq!(home.vg.row(&format!("vol-{name}"), "lv_size")["lv_size"], bytes.to_string(), "{name}");
        let line = rooms.lines().find_map(|line| line.strip_prefix(&format!("/data/{name} "))).unwrap();
        let room: u64 = line.split(' ').map(|word| word.parse::<u64>().unwrap()).product();
        assert!(room <= bytes && room > bytes * 3 / 4, "{name}: {room} of {bytes}");
    }
}

#[test]
fn while_it_is_written_to_and_while_nobody_has_it() {
    let Some(home) = Home::with_pool(&[960], 560) else { return };
    let (small, large) = (|_: &str, from: u64, _: u64| from, |_: &str, _: u64, to: u64| to);
    home.bed.ok(["up", &manifest(&home, small)]);
    assert_sizes(&home, small);
    let mut writers: Vec<_> =
        CLAIMS.iter().map(|one| Writer::start(&home, "web", &format!("/data/{}", one.0), 64)).collect();
    writers.iter_mut().for_each(Writer::goes_on);

    home.bed.ok(["up", &manifest(&home, large)]);
    writers.iter_mut().for_each(Writer::goes_on);
    assert_sizes(&home, large);
    writers.into_iter().for_each(Writer::stop);

    // Further, with nobody there.
    home.bed.ok(["down", "web"]);
    home.assert_down();
    let further = |name: &str, _: u64, to: u64| if name.ends_with("ext4") { to + 16 } else { to };
    home.bed.ok(["up", &manifest(&home, further)]);
    assert_sizes(&home, further);
    for (name, ..) in CLAIMS {
        super::writer::check(&home, "web", &format!("/data/{name}"));
    }

    // The pool has 560 MiB; 80 and 400 of them are promised.
    let beyond = |name: &str, from: u64, to: u64| if name == "thin-ext4" { 161 } else { further(name, from, to) };
    let words = ["thin pool", "has 560m and has promised 480m", "with 84m more", "1 times", "thinOvercommit"];
    home.fails(&["up", &manifest(&home, beyond)], &words);
    // It serves on as it is.
    home.exec("web", "echo more >/data/thin-ext4/more; sync");
    assert_sizes(&home, further);
    // Who asks for no more has what there is; who may promise more grows it.
    home.bed.ok(["up", &manifest(&home, further)]);
    assert_sizes(&home, further);
    home.set("{\"thinOvercommit\": 1.5}");
    home.bed.ok(["up", &manifest(&home, beyond)]);
    let rounded = |name: &str, from: u64, to: u64| beyond(name, from, to).next_multiple_of(4);
    assert_sizes(&home, rounded);
    home.bed.ok(["down", "web"]);
    home.assert_down();
}
