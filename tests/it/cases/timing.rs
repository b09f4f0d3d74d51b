//! What happens at the same time: one thing for one volume, many for many.

use flexvolume_testkit::scripted::Answer;

use super::{claimed, claiming, whole};
use crate::{
    bed::pod,
    faults::Started,
    one::{MOUNT, One},
    scripts::direct,
};

/// Fails when another call of the same driver is at work, since nothing but the host keeps them apart.
const ALONE: &str = r#"mkdir "$_d/../busy" && mount -t tmpfs none "$2" && sleep 0.1 && rmdir "$_d/../busy""#;

/// Waits until as many calls are at work as are expected; alone it would fail in the end.
fn together(many: usize) -> String {
    format!(
        r#": >"$_d/../at.$$"; n=0
until [ "$(ls "$_d"/../at.* | wc -l)" -ge {many} ] || [ $n -ge 600 ]; do sleep 0.02; n=$((n+1)); done
[ $n -lt 600 ] && {MOUNT}"#
    )
}

#[test]
fn h_98_of_one_attachable_volume_one_thing_is_done_at_a_time() {
    let Some(one) = One::new(whole().on("mount", Answer::success().run(ALONE))) else { return };
    // By one command, which may do three things at once, and by three commands.
    one.wants(&format!(
        "{}---\n{}---\n{}",
        claimed("1Mi", "{driver: v/d}"),
        claiming("other", false),
        claiming("third", false)
    ));
    one.bed.ok(["up", "--jobs", "3", &one.file]);
    assert_eq!(one.count("mount"), 3);
    one.goes("three pods");
    one.driver.forget().unwrap();
    let claim = claimed("1Mi", "{driver: v/d}").replace(&claiming("web", false), "");
    let pods = ["web", "other", "third"]
        .map(|name| one.bed.manifest(&format!("{name}.yaml"), &format!("{claim}{}", claiming(name, false))));
    let mut ups: Vec<_> = pods.iter().map(|file| Started::new(&one.bed, &["up", file])).collect();
    for up in &mut ups {
        let ran = up.end();
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(one.count("mount"), 3);
    one.bed.ok(["down", "--all"]);
    one.bed.assert_clean();
}

#[test]
fn h_98_pods_of_a_driver_without_attach_are_served_at_once() {
    let Some(one) = One::new(direct().on("mount", Answer::success().run(together(3)))) else { return };
    let pods = ["one", "two", "three"]
        .map(|name| one.bed.manifest(&format!("{name}.yaml"), &pod(name, &[("data", "{driver: v/d}")])));
    let mut ups: Vec<_> = pods.iter().map(|file| Started::new(&one.bed, &["up", file])).collect();
    for up in &mut ups {
        let ran = up.end();
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    one.bed.ok(["down", "--all"]);
    one.bed.assert_clean();
}

#[test]
fn h_98_different_volumes_of_one_attachable_driver_are_served_at_once() {
    let Some(one) = One::new(whole().on("mountdevice", Answer::success().run(together(2)))) else { return };
    one.wants(&pod("web", &[("a", "{driver: v/d}"), ("b", "{driver: v/d}")]));
    one.bed.ok(["up", "--jobs", "2", &one.file]);
    one.goes("two volumes");
}
