//! The life of a volume of the loopback driver through the command, in a guest: a second kernel, and no network.

use flexvolume_testkit::driver::J;

use crate::{
    bed::Bed,
    command::pod,
    tools::{shell, text},
};

#[test]
fn a_volume_lives_and_comes_back() {
    let Some(bed) = Bed::new() else { return };
    bed.install("loopback", "flexvol.io/loopback");
    let images = bed.sandbox.dir("images").unwrap();
    let source = |id: &str, fs: &str, size: &str| {
        let options = format!("{{volumeID: {id}, size: {size}, create: \"true\", directory: {}}}", text(&images));
        format!("{{driver: flexvol.io/loopback, fsType: {fs}, options: {options}}}")
    };
    let volumes = [
        ("ext4", source("e", "ext4", "16m")),
        ("xfs", source("x", "xfs", "300m")),
        ("btrfs", source("b", "btrfs", "128m")),
    ];
    let volumes: Vec<_> = volumes.iter().map(|(name, source)| (*name, source.as_str())).collect();
    let manifest = bed.manifest("pod.yaml", &pod("web", &volumes));
    for turn in ["first", "second"] {
        bed.ok(["up", &manifest]);
        for (name, _) in &volumes {
            let add = format!("echo {turn} >>/data/{name}/file; stat -f -c %T /data/{name}; cat /data/{name}/file");
            let said = bed.ok(["exec", "web", "--", "sh", "-c", &add]);
            let lines: Vec<_> = said.lines().collect();
            assert!(lines[0].starts_with(&name[..3]), "{name}: {said}");
            assert_eq!(lines[1..], ["first", "second"][..if turn == "first" { 1 } else { 2 }], "{name}");
        }
        bed.ok(["down", "web"]);
        bed.assert_clean();
    }
}

#[test]
fn a_stranger_calls_the_driver() {
    let Some(bed) = Bed::new() else { return };
    let driver = bed.driver("loopback");
    let images = bed.sandbox.dir("images").unwrap();
    let place = bed.sandbox.dir("pods/one/volumes/flexvol~loopback/data").unwrap();
    let j = J::default().with("volumeID", "v").with("size", "16m").with("create", "true");
    let j = j.with("directory", text(&images)).with("kubernetes.io/fsType", "ext4");
    bed.manifest("settings.json", "{}");
    driver.twice(&["mount", text(&place), &j.text()]);
    shell("echo kept >$1/file", &[text(&place)]);
    driver.twice(&["unmount", text(&place)]);
    driver.call(&["mount", text(&place), &j.read_only().text()]).ok();
    assert_eq!(shell("cat $1/file; touch $1/no 2>/dev/null || echo read-only", &[text(&place)]), "kept\nread-only");
    driver.call(&["unmount", text(&place)]).ok();
    assert_eq!(bed.sandbox.loops().unwrap(), []);
}
