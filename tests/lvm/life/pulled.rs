//! A disk that is pulled from under a mounted volume: pods get errors and nobody hangs, nothing new takes its place, and it comes back.

use super::home::Home;
use crate::{
    bed::{Bed, Manner},
    group::lvm,
    tools::{shell, text, tool},
};

/// A program in the pod that is to end with an error, and soon.
#[track_caller]
fn gets_an_error(home: &Home, script: &str) {
    let script = format!("if timeout 100 sh -euc '{script}'; then exit 9; else echo ended with $?; fi");
    let said = home.exec("web", &script);
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("ended with") && last != "ended with 124", "{said}");
}

#[test]
fn pods_get_errors_and_the_volume_comes_back() {
    let Some(bed) = Bed::new() else { return };
    let Some((front, second)) = bed.front(64, Manner::Plain) else { return };
    let first = bed.disk(64);
    let (here, there) = (text(&first.device).to_owned(), text(&second.device).to_owned());
    let vg = bed.group_over(vec![first, second]);
    let home = Home::over(bed, vg);
    home.vg.create("here", "24m", &["--activate", "n", &here]);
    home.vg.create("there", "24m", &["--activate", "n", &there]);
    let source = |volume| home.source("ext4", volume, &[("adopt", "true"), ("create", "true"), ("size", "24m")]);
    let pod = home.pod("web", &[("here", &source("here")), ("there", &source("there"))]);
    home.bed.ok(["up", &pod]);
    home.exec("web", "for at in /data/*; do echo kept >$at/file; done; sync");

    front.becomes(Manner::Gone);
    gets_an_error(&home, "dd if=/dev/zero of=/data/there/more bs=1M count=4 conv=fsync");
    gets_an_error(
        &home,
        "echo 3 >/proc/sys/vm/drop_caches; ls -lR /data/there && dd if=/dev/zero of=/data/there/x bs=1M count=1 conv=fsync",
    );
    home.exec("web", "echo more >/data/here/more; sync -f /data/here/more; cat /data/here/file");
    home.bed.ok(["ls", "--usage"]);
    home.bed.ok(["down", "web"]);
    home.assert_down();

    let ran = home.fails(&["up", &pod], &["/there is missing", "--restoremissing"]);
    assert!(!ran.stderr.contains(&home.vg.of("here")), "{ran:?}");
    let at = home.bed.path_of("web", "here");
    assert_eq!(shell("cd $1; cat file more", &[text(&at)]), "kept\nmore");
    assert_eq!(home.vg.volumes(), ["here", "there"]);

    front.becomes(Manner::Plain);
    home.bed.ok(["up", &pod]);
    assert_eq!(home.exec("web", "cat /data/*/file"), "kept\nkept");
    home.exec("web", "echo again >/data/there/again; sync");
    home.bed.ok(["down", &pod]);
    home.assert_down();
    lvm(["lvchange", "--activate", "y", &home.vg.of("there")]);
    tool("e2fsck", &["-fn", text(&home.vg.device("there"))]);
}
