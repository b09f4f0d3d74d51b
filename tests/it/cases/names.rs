//! Which file serves which driver name, and what is passed over in the plugin directory.

use std::{fs, os::unix::fs::symlink};

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::Value;

use crate::{
    bed::{Bed, pod},
    scripts::direct,
};

/// The names that `flexvol drivers` lists.
fn listed(bed: &Bed) -> Vec<String> {
    let ran = bed.run(["-o", "json", "drivers"]);
    let rows: Value = serde_json::from_str(&ran.stdout).unwrap();
    rows.as_array().unwrap().iter().map(|row| row["driver"].as_str().unwrap().to_owned()).collect()
}

/// A manifest for a volume of that driver.
fn wanting(bed: &Bed, driver: &str) -> String {
    bed.manifest("pod.yaml", &pod("web", &[("data", &format!("{{driver: {driver}}}"))]))
}

fn comes_and_goes(bed: &Bed, driver: &str) {
    let file = wanting(bed, driver);
    bed.ok(["up", &file]);
    bed.ok(["down", &file]);
    bed.assert_clean();
}

#[test]
fn h_01_the_directory_with_a_tilde_is_the_name_with_a_slash_and_nothing_else() {
    let Some(bed) = Bed::new() else { return };
    let driver = bed.script("foo/cifs", direct());
    assert!(driver.exe().ends_with("foo~cifs/cifs"));
    assert_eq!(listed(&bed), ["foo/cifs"]);
    comes_and_goes(&bed, "foo/cifs");
    bed.run(["up", &wanting(&bed, "foo~cifs")]).fails(2, &["driver", "foo~cifs"]);
    bed.run(["up", &wanting(&bed, "Foo/cifs")]).fails(2, &["driver", "lower case"]);
    bed.run(["up", &wanting(&bed, "foo/Cifs")]).fails(3, &["no driver foo/Cifs", "did you mean foo/cifs?"]);
}

#[test]
fn h_02_a_directory_without_a_vendor_is_the_driver_of_that_name() {
    let Some(bed) = Bed::new() else { return };
    assert!(bed.script("cifs", direct()).exe().ends_with("cifs/cifs"));
    assert_eq!(listed(&bed), ["cifs"]);
    comes_and_goes(&bed, "cifs");
}

#[test]
fn h_03_dot_directories_files_and_links_to_directories_are_passed_over() {
    let Some(bed) = Bed::new() else { return };
    let plugins = bed.sandbox.plugins();
    let elsewhere = bed.sandbox.dir("elsewhere").unwrap();
    let linked = direct().install(&elsewhere, "foo/linked").unwrap();
    symlink(elsewhere.join("foo~linked"), plugins.join("foo~linked")).unwrap();
    fs::rename(direct().install(&plugins, "foo/hidden").unwrap().exe().parent().unwrap(), plugins.join(".foo~hidden"))
        .unwrap();
    fs::copy(linked.exe(), plugins.join("plain")).unwrap();
    bed.script("foo/good", direct());
    assert_eq!(listed(&bed), ["foo/good"]);
    bed.run(["up", &wanting(&bed, "foo/linked")]).fails(3, &["foo~linked is not a directory"]);
    bed.run(["up", &wanting(&bed, "foo/hidden")]).fails(3, &["no driver foo/hidden"]);
    bed.run(["up", &wanting(&bed, "plain")]).fails(3, &["plain is not a directory"]);
    assert_eq!(linked.calls().unwrap(), [], "the link was followed");
}

#[test]
fn h_04_a_directory_with_two_tildes_is_no_driver_and_is_not_even_asked() {
    let Some(bed) = Bed::new() else { return };
    let driver = bed.script("a/b/c", direct());
    assert!(driver.exe().ends_with("a~b~c/c"));
    assert_eq!(listed(&bed), Vec::<String>::new());
    bed.run(["up", &wanting(&bed, "a/b/c")]).fails(2, &["driver", "one slash"]);
    assert_eq!(driver.calls().unwrap(), []);
}

#[test]
fn h_11_a_bad_driver_hides_no_good_one_and_comes_back_once_mended() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/good", direct());
    let bad = bed.script("v/bad", Script::sh().on("init", Answer::text("usage: bad")));
    let ran = bed.run(["-o", "json", "drivers"]);
    ran.fails(1, &["v/bad", "failed to init"]);
    let rows: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((rows[0]["driver"].as_str(), rows[0]["kind"].as_str()), (Some("v/bad"), Some("broken")));
    assert_eq!((rows[1]["driver"].as_str(), rows[1]["kind"].as_str()), (Some("v/good"), Some("direct")));
    // In one and the same run the good one serves what the bad one cannot.
    let file = bed.manifest(
        "both.yaml",
        &pod("web", &[("a", "{driver: v/bad}"), ("b", "{driver: v/good}"), ("c", "{driver: v/bad}")]),
    );
    bed.run(["up", &file]).fails(1, &["volume a", "volume c", "failed to init"]);
    assert_eq!(bed.sandbox.mounts().unwrap().len(), 1);
    assert!(bad.verbs().unwrap().iter().all(|verb| verb == "init"));
    bed.script("v/bad", direct());
    bed.ok(["up", &file]);
    assert_eq!(bed.sandbox.mounts().unwrap().len(), 3);
    bed.ok(["down", &file]);
    bed.assert_clean();
}
