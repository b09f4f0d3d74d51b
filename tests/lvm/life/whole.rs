//! The whole life of volumes of each type, thick and thin: up, written to, down, up again, through a reset, and deleted.

use super::home::Home;
use crate::{bed, group::POOL};

/// A file system, and a size that it takes.
pub type Type<'a> = (&'a str, &'a str);

pub const TYPES: [Type<'_>; 3] = [("ext4", "24m"), ("xfs", "300m"), ("btrfs", "128m")];

#[test]
fn of_thick_volumes() {
    let Some(()) = bed::throwaway() else { return };
    let Some(home) = Home::new(&[500]) else { return };
    life(&home, &TYPES, &[]);
}

#[test]
fn of_thin_volumes() {
    let Some(()) = bed::throwaway() else { return };
    let Some(home) = Home::with_pool(&[560], 480) else { return };
    life(&home, &TYPES, &[("thinpool", POOL)]);
}

/// One pod with a volume of each type.
pub fn life(home: &Home, types: &[Type<'_>], options: &[(&str, &str)]) {
    let before = home.vg.volumes();
    let sources: Vec<_> = types
        .iter()
        .map(|(fs, size)| {
            let options: Vec<_> = [("create", "true"), ("size", *size)].iter().chain(options).copied().collect();
            (*fs, home.source(fs, &format!("vol-{fs}"), &options))
        })
        .collect();
    let volumes: Vec<_> = sources.iter().map(|(name, source)| (*name, source.as_str())).collect();
    let pod = home.pod("web", &volumes);

    home.bed.ok(["up", &pod]);
    let write = "for fs in /data/*; do echo $(basename $fs) $(stat -f -c %T $fs)
                 head -c 3000000 /dev/urandom >$fs/file; done; cd /data; sha256sum */file >ext4/sums; sync";
    let said = home.exec("web", write);
    for (fs, _) in types {
        let as_kernel = if *fs == "ext4" { "ext2/ext3" } else { fs };
        assert!(said.lines().any(|line| line == format!("{fs} {as_kernel}")), "{said}");
    }
    home.bed.ok(["down", "web"]);
    home.assert_down();

    let check = "cd /data; sha256sum --quiet -c ext4/sums; cat */more 2>/dev/null || true";
    home.bed.ok(["up", &pod]);
    assert_eq!(home.exec("web", check), "");
    home.exec("web", "for fs in /data/*; do echo more >$fs/more; done; sync");

    let rebooted = home.reboot();
    assert!(types.iter().all(|(fs, _)| !home.vg.is_active(&format!("vol-{fs}"))));
    home.bed.ok(["up", &pod]);
    assert_eq!(home.exec("web", check).lines().count(), types.len());
    home.bed.ok(["down", &pod]);
    home.assert_down();
    drop(rebooted);

    for (fs, _) in types {
        home.deleted(&format!("vol-{fs}"));
    }
    assert_eq!(home.vg.volumes(), before);
    home.assert_forgotten();
}
