//! A publish that is asked for again: with another access mode, after the settings or the device have changed; and what it costs.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use flexvolume_csi::wire::csi::volume_capability::{
    AccessType,
    access_mode::Mode::{SingleNodeMultiWriter, SingleNodeSingleWriter, SingleNodeWriter},
};
use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::json;
use tonic::Code::{AlreadyExists, FailedPrecondition};

use crate::{
    bed::Bed,
    command,
    flows::{Flow, direct},
    scripts::{self, image, tool},
    volume::{Volume, block, map, mounted, refused},
};

/// One user alone and several users are two wishes, whichever came first; how several are called is one.
#[test]
fn with_another_access_mode_it_is_there_already() {
    for mut flow in Flow::all() {
        let used = |mode| {
            let mut capability = mounted(mode);
            capability.access_type.clone_from(&flow.volume.capability.access_type);
            flow.volume.used_as(capability)
        };
        let (alone, one, many) = (used(SingleNodeSingleWriter), used(SingleNodeWriter), used(SingleNodeMultiWriter));
        flow.stage();
        for (first, same, other, is_alone) in [(&alone, &alone, &many, true), (&many, &one, &alone, false)] {
            flow.bed.publish(first, "one").unwrap();
            let mounts = flow.bed.command.sandbox.mounts().unwrap();
            for _ in 0..2 {
                refused(flow.bed.publish(other, "one"), AlreadyExists, &["; unpublish it there first (NodeUn"]);
                flow.bed.publish(same, "one").unwrap();
                assert_eq!(flow.bed.command.sandbox.mounts().unwrap(), mounts, "{}", flow.name);
                flow.bed.restart();
            }
            // Who was refused has not changed what counts for others.
            match is_alone {
                true => refused(flow.bed.publish(&many, "two"), FailedPrecondition, &[]),
                false => {
                    flow.bed.publish(&many, "two").unwrap();
                    flow.unpublish("two");
                }
            }
            flow.unpublish("one");
            flow.bed.publish(other, "one").unwrap();
            flow.unpublish("one");
        }
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// What names another type of file system, or another option, than the volume is staged with is another wish, wherever it is to be
/// shown; what names none is the same.
#[test]
fn what_is_staged_in_another_way_is_there_already() {
    let Some((mut bed, _)) = Bed::script(|_| scripts::staged()) else { return };
    let volume = Volume { context: map([("share", "a")]), ..Volume::named("data") };
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    let with = |volume: &Volume, pairs: &[(&str, &str)]| {
        let more = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Volume { context: volume.context.clone().into_iter().chain(more).collect(), ..volume.clone() }
    };
    let class = "csi.storage.k8s.io/fstype";
    let untyped = volume.clone().of_any_type();
    let mut typed = volume.clone();
    if let Some(AccessType::Mount(mount)) = &mut typed.capability.access_type {
        "nonsense".clone_into(&mut mount.fs_type);
    }
    let mounts = bed.command.sandbox.mounts().unwrap();
    for (other, word) in [
        (&typed, "fsType \"ext4\", asked for \"nonsense\""),
        (&with(&untyped, &[(class, "xfs")]), "fsType \"ext4\", asked for \"xfs\""),
        (&with(&volume, &[("share", "b")]), "option share \"a\", asked for \"b\""),
        (&with(&volume, &[("mode", "1")]), "option mode absent, asked for \"1\""),
    ] {
        for came in [bed.publish(other, "one"), bed.publish(other, "two"), bed.stage(other)] {
            refused(came, AlreadyExists, &[word, "; unpublish and unstage it first (NodeUnstageVolume)"]);
        }
        assert!(!bed.target("two").exists());
    }
    assert_eq!(bed.command.sandbox.mounts().unwrap(), mounts);
    let pod = [("csi.storage.k8s.io/serviceAccount.tokens", "{}")];
    let bare = Volume { context: map([]), ..untyped.clone() };
    let classed = with(&volume, &[(class, "xfs")]);
    // The use of a volume names its type before the class does.
    for same in [&untyped, &bare, &with(&untyped, &[(class, "ext4")]), &with(&volume, &pod), &classed] {
        bed.publish(same, "one").unwrap();
    }
    assert_eq!(bed.command.sandbox.mounts().unwrap(), mounts);
    bed.unpublish(&volume, "one").unwrap();
    bed.unstage(&volume).unwrap();
    bed.assert_clean();
}

/// The same of a device.
#[test]
fn with_another_access_mode_a_device_is_there_already() {
    let Some(mut bed) = Bed::of("loopback") else { return };
    let volume = bed.create("raw");
    let [alone, many] = [SingleNodeSingleWriter, SingleNodeMultiWriter].map(|mode| volume.used_as(block(mode)));
    bed.stage(&many).unwrap();
    for (first, other) in [(&alone, &many), (&many, &alone)] {
        bed.publish(first, "one").unwrap();
        refused(bed.publish(other, "one"), AlreadyExists, &["published at"]);
        bed.publish(first, "one").unwrap();
        bed.unpublish(first, "one").unwrap();
    }
    bed.unstage(&many).unwrap();
    bed.assert_clean();
}

fn filling(_: &command::Bed) -> Script {
    scripts::direct()
        .on("mount", Answer::success().run(r#"echo filled > "$2/file""#))
        .on("unmount", Answer::success().run(r#"rm -f "$2"/*"#))
}

fn options_at(path: &Path) -> String {
    tool("findmnt", &["-n", "-o", "OPTIONS", path.to_str().unwrap()])
}

/// Set-uid files and devices are the operator's to allow: what he changes holds for what is published from then on.
#[test]
fn settings_that_change_beneath_a_pod_are_no_other_wish_of_its_client() {
    let made = [Bed::script(direct), Bed::script(filling), Bed::script(|_| scripts::staged())];
    for (made, is_staged) in made.into_iter().zip([false, false, true]) {
        let Some((mut bed, _)) = made else { return };
        let volume = Volume::named("data").of_any_type();
        let command = Arc::clone(&bed.command);
        let allow = |is: bool| {
            let text = json!({"drivers": {"v/scripted": {"allowSuidAndDevices": is}}}).to_string();
            command.manifest("flexvol.json", &text)
        };
        for (before, after) in [(false, true), (true, false)] {
            allow(before);
            bed.restart();
            if is_staged {
                bed.stage(&volume).unwrap();
            }
            bed.publish(&volume, "one").unwrap();
            let (target, options) = (bed.target("one"), options_at(&bed.target("one")));
            assert_eq!(options.contains("nosuid") && options.contains("nodev"), !before, "{options}");
            allow(after);
            bed.restart();
            bed.publish(&volume, "one").unwrap();
            assert_eq!(options_at(&target), options);
            if before {
                // That would be another wish.
                refused(bed.publish(&volume.flagged(&["nosuid"]), "one"), AlreadyExists, &["nosuid is off"]);
            }
            bed.unpublish(&volume, "one").unwrap();
            if is_staged && after {
                // What was taken from the volume's own mount is given back to no view of it.
                bed.unstage(&volume).unwrap();
                bed.stage(&volume).unwrap();
            }
            bed.publish(&volume, "one").unwrap();
            let options = options_at(&target);
            assert_eq!(options.contains("nosuid") && options.contains("nodev"), !after, "{options}");
            bed.unpublish(&volume, "one").unwrap();
            if is_staged {
                bed.unstage(&volume).unwrap();
            }
        }
        bed.assert_clean();
    }
}

/// Attaches one of two images, as a file says, and shows it by a link.
fn one_of_two(bed: &command::Bed) -> Script {
    let init = json!({"status": "Success", "extensions": ["staged", "block"]});
    let (which, link) = (bed.sandbox.path().join("which"), bed.sandbox.dir("vg").unwrap().join("lv"));
    for name in ["first", "second"] {
        image(&bed.sandbox.path().join(name), 16);
    }
    let folder = bed.sandbox.path().display().to_string();
    fs::write(&which, format!("{folder}/first")).unwrap();
    let (which, link) = (which.display(), link.display());
    let say = format!(r#"printf '{{"status":"Success","device":"%s"}}\n' {link}"#);
    let attach = format!(
        r#"f=$(cat {which}); d=$(losetup -n -O NAME -j "$f" | head -n 1); [ -n "$d" ] || d=$(losetup -f --show "$f"); ln -sfn "$d" {link}; {say}"#
    );
    let detach = format!(
        r#"rm -f {link}; for f in {folder}/first {folder}/second; do for d in $(losetup -n -O NAME -j "$f"); do losetup -d "$d"; done; done"#
    );
    scripts::attachable(Path::new("/nothing"))
        .on("init", Answer::json(&init))
        .on("attach", Answer::shell(attach))
        .on("waitforattach", Answer::shell(say))
        .on("detach", Answer::success().run(detach))
}

/// Another device under the old name is another volume to whoever has the old one, and is what a new user gets.
#[test]
fn a_device_is_compared_with_what_the_volume_was_known_by_last() {
    let Some((mut bed, _)) = Bed::script(one_of_two) else { return };
    let volume = Volume::named("data").used_as(block(SingleNodeMultiWriter));
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    bed.publish(&volume, "one").unwrap();
    let number = |pod: &str| {
        use std::os::unix::fs::MetadataExt;
        fs::symlink_metadata(bed.target(pod)).unwrap().rdev()
    };
    let first = number("one");
    let folder = bed.command.sandbox.path();
    fs::write(folder.join("which"), format!("{}/second", folder.display())).unwrap();
    refused(bed.publish(&volume, "one"), FailedPrecondition, &["an older mount of this one"]);
    assert_eq!(number("one"), first, "it was taken from its user");
    bed.publish(&volume, "two").unwrap();
    let second = number("two");
    assert_ne!(second, first);
    // Whoever has the old one can give it back.
    bed.unpublish(&volume, "one").unwrap();
    bed.publish(&volume, "one").unwrap();
    assert_eq!(number("one"), second);
    for pod in ["one", "two"] {
        bed.unpublish(&volume, pod).unwrap();
    }
    bed.unstage(&volume).unwrap();
    bed.assert_clean();
}

/// The processes that the bridge has brought into the world and that live; and the page faults of those that have ended, which are more
/// with each.
fn children(bed: &Bed) -> (BTreeSet<String>, u64) {
    let stat = fs::read_to_string(format!("/proc/{}/stat", bed.pid())).unwrap();
    // Behind the name, which may hold anything: state, parent, group, session, terminal and its group, flags, own faults.
    let faults = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(8).unwrap().parse().unwrap();
    let parent = format!("PPid:\t{}\n", bed.pid());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let theirs = processes.filter(|process| {
        fs::read_to_string(process.path().join("status")).is_ok_and(|status| status.contains(&parent))
    });
    (theirs.map(|process| process.file_name().into_string().unwrap()).collect(), faults)
}

/// What is staged is shown by workers that are there already, and its driver is not called.
#[test]
fn a_staged_volume_is_published_without_a_process_more() {
    let Some((mut bed, driver)) = Bed::script(|_| scripts::staged()) else { return };
    let volume = Volume::named("data").of_any_type();
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "first").unwrap();
    bed.unpublish(&volume, "first").unwrap();
    driver.forget().unwrap();
    let before = children(&bed);
    for n in 0..10 {
        bed.publish(&volume, &format!("pod-{n}")).unwrap();
        bed.publish(&volume, &format!("pod-{n}")).unwrap();
    }
    assert_eq!(children(&bed), before);
    for n in 0..10 {
        bed.unpublish(&volume, &format!("pod-{n}")).unwrap();
    }
    assert_eq!(children(&bed), before);
    assert_eq!(driver.verbs().unwrap(), Vec::<String>::new());
    bed.unstage(&volume).unwrap();
    bed.assert_clean();
}
