//! `flexvol inspect`: what one volume is, what is at it, what was tried, and never a secret.

use std::fs;

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::json;

use crate::{
    bed::{Bed, pod},
    faults::{Started, called},
    scripts::{direct, pid_in, staged, until},
};

#[test]
fn a_volume_is_found_by_key_by_name_and_by_pod_and_told_from_others() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/d", direct());
    for name in ["one", "two"] {
        let file = bed.manifest("pod.yaml", &pod(name, &[("data", "{driver: v/d}"), (name, "{driver: v/d}")]));
        bed.ok(["up", &file]);
    }
    let key = |name: &str| bed.json(["inspect", name])["key"].as_str().unwrap().to_owned();
    let one = key("one/data");
    assert!(one.starts_with("v/d/") && one.ends_with(":data"), "{one}");
    assert_eq!(key(&one), one);
    assert_eq!(key("default/one/data"), one);
    assert_eq!(key("one"), key("one/one"));
    bed.run(["inspect", "data"]).fails(2, &["\"data\" may mean 2 volumes", "say which: ", &one]);
    bed.run(["inspect", "three/data"]).fails(3, &["no volume \"three/data\"", "volumes here: ", &one]);
    bed.ok(["down", "--all"]);
    bed.run(["inspect", &one]).fails(3, &["flexvol up"]);
}

#[test]
fn a_direct_volume_is_in_the_state_that_ls_shows() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/d", direct());
    bed.ok(["up", &bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/d}")]))]);
    let seen = || (bed.json(["ls"])[0]["state"].clone(), bed.json(["inspect", "web/data"])["state"].clone());
    assert_eq!(seen(), (json!("mounted"), json!("mounted")));
    crate::scripts::tool("umount", &[bed.path_of("web", "data").to_str().unwrap()]);
    let (listed, inspected) = seen();
    assert!(listed == inspected && listed.as_str().unwrap().starts_with("lost"), "{listed}, {inspected}");
    bed.ok(["down", "--all"]);
}

#[test]
fn spec_state_pods_mounts_and_calls_are_shown_to_people_and_programs() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/s", staged());
    let source = "{driver: v/s, fsType: xfs, options: {colour: blue}}";
    let pods = format!("{}---\n{}", pod("one", &[("data", source)]), pod("two", &[("data", source)]));
    let file = bed.manifest("pods.yaml", &pods);
    bed.ok(["up", &file]);
    let seen = bed.json(["inspect", "data"]);
    assert_eq!(seen["key"], "v/s/data");
    assert_eq!((&seen["kind"], &seen["state"], &seen["lock"]), (&json!("staged"), &json!("staged"), &json!(null)));
    assert_eq!(seen["spec"]["options"], json!({"colour": "blue"}));
    assert_eq!(seen["spec"]["fsType"], "xfs");
    assert_eq!(seen["wanted"]["pods"].as_array().unwrap().len(), 2);
    assert_eq!(seen["devices"], json!([{"name": "none", "bytes": null, "backing": null}]));
    let mounts = seen["mounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 3, "{seen}");
    assert!(mounts.iter().all(|mount| mount["seen"] == "mounted" && mount["fsType"] == "tmpfs"), "{seen}");
    assert_eq!(mounts[0]["uid"], json!(null));
    let calls: Vec<_> = seen["history"].as_array().unwrap().iter().map(|call| call["verb"].as_str().unwrap()).collect();
    assert_eq!(calls, ["attach", "waitforattach", "mountdevice"], "{seen}");
    let first = &seen["history"][0];
    assert!(first["milliseconds"].as_f64().unwrap() > 0.0 && first["pid"].as_u64().unwrap() > 1, "{first}");
    assert_eq!((&first["op"], &first["verdict"]), (&json!("attach"), &json!("Success")));

    // Somebody took a mount, and put another over one.
    let (one, two) = (bed.path_of("one", "data"), bed.path_of("two", "data"));
    crate::scripts::tool("umount", &[one.to_str().unwrap()]);
    crate::scripts::tool("mount", &["-t", "tmpfs", "none", two.to_str().unwrap()]);
    crate::scripts::tool(
        "mount",
        &["--bind", mounts[0]["path"].as_str().unwrap(), bed.sandbox.dir("else").unwrap().to_str().unwrap()],
    );
    let seen = bed.json(["inspect", "data"]);
    let states: Vec<_> =
        seen["mounts"].as_array().unwrap().iter().map(|mount| mount["seen"].as_str().unwrap()).collect();
    assert_eq!(states.iter().filter(|seen| **seen == "mounted").count(), 1, "{seen}");
    assert!(states.contains(&"not mounted") && states.contains(&"another mount"), "{seen}");
    assert!(seen["elsewhere"][0].as_str().unwrap().ends_with("/else"), "{seen}");
    let text = bed.ok(["inspect", "data"]);
    for words in [
        "v/s/data",
        "driver:     v/s (staged)",
        "options:    colour=blue",
        "default/one",
        "also at:",
        "mountdevice",
        "by 2 pods",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    crate::scripts::tool("umount", &[bed.sandbox.path().join("else").to_str().unwrap()]);
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn what_is_under_way_is_shown_with_its_processes_and_who_is_at_it() {
    let Some(bed) = Bed::new() else { return };
    let pid = bed.sandbox.path().join("pid");
    let mount = format!("echo $$ >{}; sleep 600", pid.display());
    bed.script("v/slow", direct().on("mount", Answer::success().run(mount)));
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/slow}")]));
    let host = Started::new(&bed, &["up", &file]);
    let pid = pid_in(&pid);
    let seen = bed.json(["inspect", "data"]);
    let doing = &seen["underWay"];
    assert_eq!((&doing["op"], &doing["verb"]), (&json!("publish"), &json!("mount")), "{seen}");
    assert_eq!(
        (&doing["command"]["pid"], &doing["command"]["alive"]),
        (&json!(host.child.id()), &json!(true)),
        "{seen}"
    );
    let pids: Vec<_> =
        doing["processes"].as_array().unwrap().iter().map(|process| process["pid"].as_u64().unwrap()).collect();
    assert!(pids.contains(&pid.into()) && pids.len() == 2, "the driver and its sleep: {seen}");
    assert_eq!(seen["lock"], json!(format!("pid {}", host.child.id())), "{seen}");
    let text = bed.ok(["inspect", "data"]);
    assert!(text.contains(&format!("pid {pid}")) && text.contains("publish, the driver at mount"), "{text}");
    host.kill();
    let seen = bed.json(["inspect", "data"]);
    assert_eq!((&seen["underWay"]["command"]["alive"], &seen["lock"]), (&json!(false), &json!(null)), "{seen}");
    for pid in pids {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    until("it to be cut off", || bed.ok(["ls"]).contains("publish was cut off"));
    // The next run writes down what became of it.
    bed.script("v/slow", direct());
    bed.ok(["up", &file]);
    let seen = bed.json(["inspect", "data"]);
    let cut = &seen["history"][0];
    assert!(cut["verdict"].as_str().unwrap().starts_with("cut off") && cut["milliseconds"].is_null(), "{seen}");
    assert_eq!((&cut["verb"], &cut["pid"]), (&json!("mount"), &json!(pid)), "{seen}");
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

#[test]
fn the_last_failure_of_each_op_is_shown_and_a_secret_is_not() {
    let Some(bed) = Bed::new() else { return };
    let secret = "Zq-correct-horse-Vx";
    let fail = Answer::failure(&format!("cannot log in with {secret}"));
    let driver = bed.script("v/d", direct().on("mount", fail));
    let text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: login}}\ntype: v/d\nstringData: {{password: {secret}}}\n---\n{}",
        pod("web", &[("data", "{driver: v/d, secretRef: {name: login}}")])
    );
    let file = bed.manifest("pod.yaml", &text);
    bed.run(["up", &file]).fails(1, &["cannot log in"]);
    called(&driver, "mount", 1);
    for args in
        [["inspect", "data", "-o", "json"], ["inspect", "data", "-o", "table"], ["inspect", "data", "-o", "yaml"]]
    {
        let shown = bed.ok(args);
        assert!(shown.contains("cannot log in with") && shown.contains("default/login"), "{shown}");
        assert!(!shown.contains(secret), "{shown}");
    }
    for entry in fs::read_dir(bed.sandbox.root()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        assert!(!String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).contains(secret), "{entry:?}");
    }
    bed.script("v/d", Script::sh());
    bed.ok(["down", "web"]);
}
