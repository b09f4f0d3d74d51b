//! Volumes that a pod writes down itself: refused unless they are allowed, and then they come and go with that one pod.

use std::{fs, path::PathBuf, thread};

use flexvolume_csi::wire::csi::{
    NodePublishVolumeRequest, volume_capability::AccessType, volume_capability::access_mode::Mode::SingleNodeWriter,
};
use flexvolume_testkit::scripted::{Answer, Script, Scripted};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tonic::Code;

use crate::{
    bed::Bed,
    client::Leaves,
    command,
    scripts::{self, pid_in},
    volume::{Came, Volume, map, mounted, refused},
};

/// The id that the kubelet makes up for the volume of one pod.
fn handle(of: char) -> String {
    format!("csi-{}", String::from(of).repeat(64))
}

/// What the kubelet says of a volume that is written in a pod, and the options that are written there.
fn written<const N: usize>(of: char, options: [(&str, &str); N]) -> Volume {
    let mut context = map([
        ("csi.storage.k8s.io/ephemeral", "true"),
        ("csi.storage.k8s.io/pod.name", "web-0"),
        ("csi.storage.k8s.io/pod.namespace", "shop"),
        ("csi.storage.k8s.io/pod.uid", "5c2a4e70-6d1b-4a5e-9a53-0f3f2a1b7c8d"),
        ("csi.storage.k8s.io/serviceAccount.name", "clerk"),
    ]);
    context.extend(map(options));
    Volume { context, capability: mounted(SingleNodeWriter), ..Volume::named(&handle(of)) }.of_any_type()
}

/// Nobody stages it.
fn request(bed: &Bed, volume: &Volume, pod: &str) -> NodePublishVolumeRequest {
    NodePublishVolumeRequest { staging_target_path: String::new(), ..bed.publish_request(volume, pod) }
}

fn publish(bed: &Bed, volume: &Volume, pod: &str) -> Came {
    bed.client.node_publish_volume(request(bed, volume, pod)).map(drop)
}

type Way = (&'static str, fn() -> Script, &'static str);

/// One that mounts for each pod, and one that mounts once; and where its mount is made.
const WAYS: [Way; 2] = [("direct", scripts::direct, "mount"), ("staged", scripts::staged, "mountdevice")];

const ALLOW: [&str; 2] = ["--allow-inline", "size,medium"];

/// What the driver was called with in the last call of that verb.
#[track_caller]
fn options(driver: &Scripted, verb: &str) -> Value {
    let calls = driver.calls().unwrap();
    let call = calls.iter().rfind(|call| call.verb() == verb).unwrap_or_else(|| panic!("no {verb}: {calls:?}"));
    serde_json::from_str(call.argv.last().unwrap()).unwrap()
}

#[track_caller]
fn assert_not_called(driver: &Scripted, name: &str) {
    assert!(driver.verbs().unwrap().iter().all(|verb| verb == "init"), "{name}: {:?}", driver.verbs());
}

#[test]
fn pods_write_down_nothing_unless_they_may() {
    for (name, script, _) in WAYS {
        let Some((mut bed, driver)) = Bed::script(|_| script()) else { return };
        for volume in [written('a', []), written('a', [("size", "1Gi")])] {
            refused(
                publish(&bed, &volume, "one"),
                Code::InvalidArgument,
                &["written in a pod", "not allowed", "--allow-inline"],
            );
            assert!(!bed.target("one").exists(), "{name}");
        }
        assert_not_called(&driver, name);
        // Of any other volume Kubernetes may say that it is none of these.
        let mut other = Volume::named("data").of_any_type();
        other.context = map([("csi.storage.k8s.io/ephemeral", "false")]);
        if name == "staged" {
            bed.stage(&other).unwrap();
        }
        bed.publish(&other, "two").unwrap();
        bed.unpublish(&other, "two").unwrap();
        if name == "staged" {
            bed.unstage(&other).unwrap();
        }
        bed.assert_clean();
    }
}

#[test]
fn pods_write_down_what_is_allowed_and_nothing_else() {
    let flags = ["--allow-inline", "size,share/name"];
    for (name, script, verb) in WAYS {
        let Some((mut bed, driver)) = Bed::script_with(&flags, |_| script()) else { return };
        for (key, value) in [
            ("share", "10.0.0.1:/all"),
            ("Size", "1Gi"),
            ("", ""),
            ("kubernetes.io/fsType", "xfs"),
            ("flexvol/id", "others"),
            ("FlexVol/ID", "others"),
        ] {
            let volume = written('a', [("size", "1Gi"), (key, value)]);
            let told = publish(&bed, &volume, "one");
            assert!(told.is_err(), "{name}: {key:?} passes");
            refused(told, Code::InvalidArgument, &[key]);
            assert!(!bed.target("one").exists(), "{name}: {key:?}");
        }
        assert_not_called(&driver, name);
        let mut typed = written('a', [("size", "1Gi"), ("share/name", "x"), ("csi.storage.k8s.io/fstype", "tmpfs")]);
        for type_of_pod in ["", "btrfs"] {
            if let Some(AccessType::Mount(mount)) = &mut typed.capability.access_type {
                type_of_pod.clone_into(&mut mount.fs_type);
            }
            publish(&bed, &typed, "one").unwrap();
            let heard = options(&driver, verb);
            let theirs = if type_of_pod.is_empty() { "tmpfs" } else { type_of_pod };
            assert_eq!((&heard["size"], &heard["share/name"]), (&"1Gi".into(), &"x".into()), "{name}: {heard}");
            assert_eq!(heard["kubernetes.io/fsType"], theirs, "{name}: {heard}");
            // Its id is made up, and no driver could know it.
            assert!(heard.get("flexvol/id").is_none(), "{name}: {heard}");
            assert!(!heard.to_string().contains("csi.storage"), "{name}: {heard}");
            if verb == "mount" {
                assert_eq!(heard["kubernetes.io/pod.name"], "web-0", "{heard}");
                assert_eq!(heard["kubernetes.io/pod.namespace"], "shop", "{heard}");
                assert_eq!(heard["kubernetes.io/serviceAccount.name"], "clerk", "{heard}");
            }
            bed.unpublish(&typed, "one").unwrap();
        }
        bed.assert_clean();
    }
}

#[test]
fn what_a_pod_wrote_down_comes_and_goes_with_it() {
    for (name, script, verb) in WAYS {
        let Some((mut bed, driver)) = Bed::script_with(&ALLOW, |_| script()) else { return };
        let [a, b] = ['a', 'b'].map(|of| written(of, [("size", "1Gi")]));
        publish(&bed, &a, "a").unwrap();
        fs::write(bed.target("a").join("file"), "of a").unwrap();
        publish(&bed, &a, "a").unwrap();
        publish(&bed, &b, "b").unwrap();
        fs::write(bed.target("b").join("file"), "of b").unwrap();
        bed.restart();
        publish(&bed, &a, "a").unwrap();
        assert_eq!(fs::read_to_string(bed.target("a").join("file")).unwrap(), "of a", "{name}");
        assert_eq!(driver.verbs().unwrap().iter().filter(|it| *it == verb).count(), 2, "{name}: mounted once for each");
        bed.unpublish(&a, "a").unwrap();
        assert!(!bed.target("a").exists(), "{name}");
        // One mount of ours and one target: the other's.
        assert_eq!(bed.command.sandbox.mounts().unwrap().len(), 2, "{name}");
        assert_eq!(fs::read_to_string(bed.target("b").join("file")).unwrap(), "of b", "{name}");
        bed.unpublish(&a, "a").unwrap();
        bed.restart();
        bed.unpublish(&b, "b").unwrap();
        bed.assert_clean();
        if name == "staged" {
            let verbs = driver.verbs().unwrap();
            for undone in ["unmountdevice", "detach"] {
                assert_eq!(verbs.iter().filter(|verb| *verb == undone).count(), 2, "{undone}: {verbs:?}");
            }
        }
        // The same pod once more: it is a new volume.
        publish(&bed, &a, "a").unwrap();
        assert!(!bed.target("a").join("file").exists(), "{name}");
        bed.unpublish(&a, "a").unwrap();
        bed.assert_clean();
    }
}

/// Whoever is told for good that it failed does not ask to have it undone.
#[test]
fn a_publish_that_fails_leaves_nothing_of_what_a_pod_wrote_down() {
    let half = || Answer::failure("half done").run(r#"mount -t tmpfs none "$2""#);
    let broken: [(&str, Script, &str); 4] = [
        ("mount", scripts::direct().on("mount", Answer::failure("not today")), "not today"),
        ("mounted and failed", scripts::direct().on("mount", half()), "half done"),
        ("mountdevice", scripts::staged().on("mountdevice", half()), "half done"),
        ("waitforattach", scripts::staged().on("waitforattach", Answer::failure("no device")), "no device"),
    ];
    for (name, script, why) in broken {
        let Some((mut bed, _)) = Bed::script_with(&ALLOW, |_| script) else { return };
        let volume = written('a', [("size", "1Gi")]);
        for _ in 0..2 {
            refused(publish(&bed, &volume, "one"), Code::Internal, &[why]);
            assert!(!bed.target("one").exists(), "{name}");
            bed.assert_clean();
        }
        bed.unpublish(&volume, "one").unwrap();
        bed.assert_clean();
    }
    // All went well with the driver, and then there is no room for it where the client wants it.
    for (name, script, _) in WAYS {
        let Some((mut bed, _)) = Bed::script_with(&ALLOW, |_| script()) else { return };
        let (volume, theirs) = (written('a', [("size", "1Gi")]), bed.target("one").join("theirs"));
        fs::create_dir_all(bed.target("one")).unwrap();
        fs::write(&theirs, "precious").unwrap();
        refused(publish(&bed, &volume, "one"), Code::FailedPrecondition, &["not empty"]);
        assert_eq!(bed.command.sandbox.mounts().unwrap(), [], "{name}");
        assert_eq!(bed.command.json(["ls"]), serde_json::json!([]), "{name}");
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "precious", "{name}");
        fs::remove_file(&theirs).unwrap();
        publish(&bed, &volume, "one").unwrap();
        bed.unpublish(&volume, "one").unwrap();
        bed.assert_clean();
    }
}

/// Writes its pid down, mounts, and does nothing more until it is let go.
fn slow(bed: &command::Bed, script: Script, verb: &str) -> Script {
    let [pid, go]: [PathBuf; 2] = ["pid", "go"].map(|name| bed.sandbox.path().join(name));
    let text = format!(
        r#"mount -t tmpfs none "$2"; echo $$ > {}; while [ ! -e {} ]; do sleep 0.05; done"#,
        pid.display(),
        go.display()
    );
    script.on(verb, Answer::success().run(text))
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

/// The pod is deleted before its volume ever came up: nobody publishes it again, and one call takes back whatever there is.
#[test]
fn what_was_cut_off_goes_with_its_pod() {
    for (name, script, verb) in WAYS {
        for the_bridge_dies in [false, true] {
            let Some((mut bed, _)) = Bed::script_with(&ALLOW, |bed| slow(bed, script(), verb)) else { return };
            let volume = written('a', [("size", "1Gi")]);
            let client = bed.hasty(Leaves::Silently(std::time::Duration::from_secs(60)));
            thread::scope(|scope| {
                let call = scope.spawn(|| client.node_publish_volume(request(&bed, &volume, "one")));
                let driver = pid_in(&bed.command.sandbox.path().join("pid"));
                kill(if the_bridge_dies { bed.pid() } else { driver });
                let status = call.join().unwrap().unwrap_err();
                // Anything but for good, else nobody would ask to have it undone.
                assert!(the_bridge_dies || status.code() == Code::Unavailable, "{name}: {status:?}");
            });
            fs::write(bed.command.sandbox.path().join("go"), "").unwrap();
            if the_bridge_dies {
                bed.restart();
            }
            bed.unpublish(&volume, "one").unwrap_or_else(|status| panic!("{name}, {the_bridge_dies}: {status:?}"));
            bed.assert_clean();
            publish(&bed, &volume, "one").unwrap();
            bed.unpublish(&volume, "one").unwrap();
            bed.assert_clean();
        }
    }
}

/// It is not taken from beneath its pod because a second call finds its mount replaced.
#[test]
fn what_a_pod_lives_on_is_not_let_go_by_its_second_publish() {
    let Some((mut bed, driver)) = Bed::script_with(&ALLOW, |_| scripts::staged()) else { return };
    let volume = written('a', [("size", "1Gi")]);
    publish(&bed, &volume, "one").unwrap();
    let file = bed.target("one").join("file");
    fs::write(&file, "kept").unwrap();
    let root = bed.command.sandbox.root().join("plugins");
    let mounts = bed.command.sandbox.mounts().unwrap();
    let global = mounts.into_iter().map(|it| it.point).find(|point| point.starts_with(&root)).unwrap();
    scripts::tool("umount", &[global.to_str().unwrap()]);
    refused(publish(&bed, &volume, "one"), Code::FailedPrecondition, &["an older mount"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    assert!(!driver.verbs().unwrap().contains(&"detach".to_owned()), "a pod lives on it");
    bed.unpublish(&volume, "one").unwrap();
    bed.assert_clean();
}
