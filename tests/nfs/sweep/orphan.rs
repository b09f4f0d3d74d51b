//! The driver dies while its child is about to change something, the next call comes at once, and only then is the child let go: what
//! a dead call began must not be done beneath the feet of the one after it.

use std::{fs, process::Command};

use flexvolume_testkit::{
    driver::J,
    killat::{self, Effect, Plan, Verdict},
};

use super::field::{ALL_DIE, Field};
use crate::{bed::Node, server::until, tools::text};

/// Holds a call back where a child of the driver, or a program of the child's, is about to do this for the first time; kills the driver,
/// does something else, and lets go.
#[track_caller]
fn held_back(field: &Field, args: &[&str], what: &str, meanwhile: impl Fn()) {
    let mut done = false;
    let mut watch = |effect: &Effect| {
        if !done && format!("{} {}", effect.syscall, effect.detail).contains(what) {
            let Some(driver) = driver_above(field, effect.pid) else { return Ok(Verdict::Runs) };
            done = true;
            assert!(Command::new("kill").args(["-9", &driver.to_string()]).status().unwrap().success());
            until("the driver is dead", || !["R (", "S (", "D ("].iter().any(|is| status(driver).contains(is)));
            meanwhile();
        }
        Ok(Verdict::Runs)
    };
    killat::run_watched(&field.spec(args), Plan::Count, &mut watch).unwrap();
    assert!(done, "{args:?} does no {what}");
}

fn status(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
}

/// The driver, if this is a child of its or a child's.
fn driver_above(field: &Field, pid: u32) -> Option<u32> {
    let above = |pid: u32| status(pid).lines().find_map(|line| line.strip_prefix("PPid:\t")?.parse::<u32>().ok());
    let is_driver = |pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(text(field.exe()).as_bytes())
    };
    std::iter::successors(above(pid), |pid| above(*pid)).take(3).find(|pid| is_driver(*pid))
}

#[test]
fn a_share_is_mounted_once_though_a_dead_calls_child_was_about_to_mount_it() {
    let Some(node) = Node::new() else { return };
    let field = Field::new(node, ALL_DIE);
    let place = field.place("pod");
    let (j, words) = (field.j("pv"), field.j("pv").text());
    let mount = ["mountdevice", text(&place), "", &words];
    for what in ["move_mount", "pods/"] {
        field.call(&["attach", &words, "node"]).ok();
        held_back(&field, &mount, what, || {
            field.call(&mount).ok();
        });
        field.assert_up(&[&place], what);
        field.down(&j, &place);
        field.assert_down();
    }
}

#[test]
fn a_volume_that_is_deleted_stays_so_though_a_dead_calls_child_was_about_to_publish_it() {
    let Some(node) = Node::with_pool("") else { return };
    let field = Field::new(node, ALL_DIE);
    field.make("first", &[]);
    field.through("deletevolume", &J::default().with("flexvol/id", "p/first")).ok();
    let (wish, id) = (J::default().with("flexvol/name", "v").text(), J::default().with("flexvol/id", "p/v"));
    for what in ["new/volume-v", "rename"] {
        held_back(&field, &["createvolume", &wish], what, || {
            field.through("deletevolume", &id).ok();
        });
        field.assert_pool(&[], &[], what);
        assert!(!field.on_server("base/v").exists(), "{what}");
    }
    field.assert_down();
}

/// `mount.nfs` is a program of its own and goes on. Then the share may be mounted twice, one on the other, and comes down all the same.
#[test]
fn what_a_dead_calls_mount_nfs_has_mounted_besides_comes_down_with_the_last_volume() {
    let Some(node) = Node::new() else { return };
    let field = Field::new(node, ALL_DIE);
    let (place, j) = (field.place("pod"), field.j("pv").with("protocol", "3"));
    let words = j.text();
    let mount = ["mountdevice", text(&place), "", &words];
    field.call(&["attach", &words, "node"]).ok();
    held_back(&field, &mount, "mount 127.0.0.1:", || {
        field.call(&mount).ok();
    });
    fs::write(place.join("file"), "").unwrap();
    // Its second mount may come just now.
    let mounts = field.mounts();
    assert_eq!(mounts.iter().filter(|it| it.point == place).count(), 1, "{mounts:?}");
    field.down(&j, &place);
    field.assert_down();
}
