//! Drivers and mounts that are not as most are: mounts inside a volume, a directory that is filled, a file system that has failed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use flexvolume_csi::wire::csi::{NodeGetVolumeStatsRequest, NodeUnpublishVolumeRequest, volume_capability::AccessType};
use flexvolume_testkit::scripted::{Answer, Script};
use tonic::Code::{self, FailedPrecondition};

use crate::{
    bed::Bed,
    command,
    scripts::{self, image, tool},
    volume::{Volume, refused},
};

/// Where the driver has mounted, or filled, something for a target.
fn places(bed: &Bed) -> Vec<PathBuf> {
    let pods = fs::read_dir(bed.command.sandbox.root().join("pods")).unwrap();
    pods.map(|pod| pod.unwrap().path().join("volumes/v~scripted/data")).collect()
}

fn is_mounted(bed: &Bed, path: &Path) -> bool {
    bed.command.sandbox.mounts().unwrap().iter().any(|mounted| mounted.point == path)
}

fn mount(path: &Path) {
    fs::create_dir_all(path).unwrap();
    tool("mount", &["-t", "tmpfs", "theirs", path.to_str().unwrap()]);
}

/// A file system, and a second one in it; or the second one in the bare directory.
fn nesting(first: &str) -> Script {
    // What only reads keeps the empty directory, which goes with it.
    let last = if first.is_empty() { "" } else { r#"; umount "$2""# };
    scripts::direct()
        .on("mount", Answer::success().run(format!(r#"{first} mkdir "$2/in" && mount -t tmpfs none "$2/in""#)))
        .on("unmount", Answer::success().run(format!(r#"umount "$2/in"; rmdir "$2/in"{last}"#)))
}

#[test]
fn what_a_driver_mounts_inside_is_shown_and_goes() {
    for first in [r#"mount -t tmpfs none "$2" &&"#, ""] {
        let Some((mut bed, _)) = Bed::script(|_| nesting(first)) else { return };
        let volume = Volume::named("data").of_any_type();
        for lost in [false, true] {
            bed.publish(&volume, "one").unwrap();
            bed.publish(&volume, "one").unwrap();
            let (target, place) = (bed.target("one"), places(&bed).remove(0));
            fs::write(target.join("in/file"), "kept").unwrap();
            assert_eq!(fs::read_to_string(place.join("in/file")).unwrap(), "kept", "{first:?}");
            let inner = options_at(&target.join("in"));
            assert!(inner.contains("nosuid") && inner.contains("nodev"), "{inner}");
            // Somebody else's in there is left alone, and so is all that it lies in.
            mount(&target.join("theirs"));
            fs::write(target.join("theirs/file"), "precious").unwrap();
            refused(bed.unpublish(&volume, "one"), FailedPrecondition, &["theirs (tmpfs) is mounted at"]);
            assert_eq!(fs::read_to_string(target.join("theirs/file")).unwrap(), "precious");
            assert_eq!(fs::read_to_string(target.join("in/file")).unwrap(), "kept");
            tool("umount", &[target.join("theirs").to_str().unwrap()]);
            fs::remove_dir(target.join("theirs")).unwrap();
            if lost {
                // It is known though it is gone at the driver's own place.
                tool("umount", &[place.join("in").to_str().unwrap()]);
                bed.restart();
            }
            bed.unpublish(&volume, "one").unwrap();
            bed.assert_clean();
        }
        // One that only reads reads only, wherever in it.
        bed.publish_read_only(&volume, "reader").unwrap();
        assert_eq!(fs::write(bed.target("reader").join("in/file"), "").unwrap_err().raw_os_error(), Some(30));
        bed.unpublish(&volume, "reader").unwrap();
        bed.assert_clean();
    }
}

fn options_at(path: &Path) -> String {
    tool("findmnt", &["-n", "-o", "OPTIONS", path.to_str().unwrap()])
}

/// What goes at one target stays at the others and for the node, also where mounts are passed on.
#[test]
fn what_goes_inside_of_one_target_stays_at_another() {
    let mount =
        r#"mount -t tmpfs none "$2" && mount --make-shared "$2" && mkdir "$2/in" && mount -t tmpfs none "$2/in""#;
    let script = |_: &command::Bed| {
        scripts::staged()
            .on("mountdevice", Answer::success().run(mount))
            .on("unmountdevice", Answer::success().run(r#"umount -R "$2""#))
    };
    let Some((mut bed, _)) = Bed::script(script) else { return };
    let volume = Volume::named("data").of_any_type();
    bed.stage(&volume).unwrap();
    for pod in ["one", "two"] {
        bed.publish(&volume, pod).unwrap();
    }
    fs::write(bed.target("one").join("in/file"), "shared").unwrap();
    bed.unpublish(&volume, "one").unwrap();
    assert_eq!(fs::read_to_string(bed.target("two").join("in/file")).unwrap(), "shared");
    bed.publish(&volume, "one").unwrap();
    assert_eq!(fs::read_to_string(bed.target("one").join("in/file")).unwrap(), "shared");
    for pod in ["two", "one"] {
        bed.unpublish(&volume, pod).unwrap();
    }
    bed.unstage(&volume).unwrap();
    bed.assert_clean();
}

/// A driver that mounts nothing, and puts files into the directory.
#[test]
fn a_directory_that_a_driver_fills_is_shown_and_goes() {
    let fills = |_: &command::Bed| {
        scripts::direct()
            .on("mount", Answer::success().run(r#"echo filled > "$2/file""#))
            .on("unmount", Answer::success().run(r#"rm -f "$2"/*"#))
    };
    let Some((mut bed, driver)) = Bed::script(fills) else { return };
    let volume = Volume::named("data").of_any_type();
    for restarted in [false, true] {
        bed.publish(&volume, "one").unwrap();
        bed.publish(&volume, "two").unwrap();
        bed.publish(&volume, "one").unwrap();
        let target = bed.target("one");
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "filled\n");
        fs::write(target.join("new"), "").unwrap();
        assert!(options_at(&target).contains("nosuid"));
        // It is this volume's, and this target's.
        let target_path = target.to_str().unwrap().to_owned();
        let other = NodeUnpublishVolumeRequest { volume_id: "other".to_owned(), target_path };
        refused(bed.client.node_unpublish_volume(other), FailedPrecondition, &["mounted at"]);
        if restarted {
            bed.restart();
        }
        bed.unpublish(&volume, "one").unwrap();
        assert_eq!(fs::read_to_string(bed.target("two").join("file")).unwrap(), "filled\n");
        bed.unpublish(&volume, "two").unwrap();
        bed.assert_clean();
    }
    assert_eq!(driver.verbs().unwrap().iter().filter(|verb| *verb == "mount").count(), 4);
}

/// Where somebody else's mount lies the driver is not called, and nothing of it is left.
#[test]
fn where_anothers_mount_lies_no_driver_mounts() {
    let Some((mut bed, driver)) = Bed::script(|_| scripts::direct()) else { return };
    let volume = Volume::named("data").of_any_type();
    mount(&bed.target("one"));
    refused(bed.publish(&volume, "one"), FailedPrecondition, &["theirs (tmpfs) is mounted at"]);
    assert!(!driver.verbs().unwrap().contains(&"mount".to_owned()));
    assert!(is_mounted(&bed, &bed.target("one")));
    tool("umount", &[bed.target("one").to_str().unwrap()]);
    bed.publish(&volume, "one").unwrap();
    bed.unpublish(&volume, "one").unwrap();
    bed.assert_clean();
}

/// An XFS that has shut itself down answers nothing but an error, not even what it is.
#[test]
fn a_file_system_that_has_shut_itself_down_goes() {
    if !Path::new("/usr/sbin/mkfs.xfs").exists() || !Path::new("/usr/sbin/xfs_io").exists() {
        eprintln!("skipped: no XFS tools here");
        return;
    }
    let script = |bed: &command::Bed| {
        let file = bed.sandbox.path().join("disk.img");
        image(&file, 512);
        scripts::attachable(&file)
    };
    let Some((mut bed, _)) = Bed::script(script) else { return };
    let mut volume = Volume::named("data");
    if let Some(AccessType::Mount(mount)) = &mut volume.capability.access_type {
        mount.fs_type = "xfs".to_owned();
    }
    for again in [false, true] {
        bed.stage(&volume).unwrap();
        bed.publish(&volume, "one").unwrap();
        let target = bed.target("one");
        tool("xfs_io", &["-x", "-c", "shutdown", target.to_str().unwrap()]);
        assert_eq!(fs::metadata(&target).unwrap_err().raw_os_error(), Some(5));
        refused(bed.client.node_get_volume_stats(stats_of(&bed, &volume)), Code::Internal, &[]);
        if again {
            // The kernel keeps what has failed as long as somebody has it.
            let said = bed.stage(&volume).unwrap_err();
            assert!(said.message().contains("Input/output error"), "{said:?}");
        }
        bed.unpublish(&volume, "one").unwrap();
        if again {
            bed.stage(&volume).unwrap();
            bed.publish(&volume, "one").unwrap();
            fs::write(target.join("file"), "new").unwrap();
            bed.unpublish(&volume, "one").unwrap();
        }
        bed.unstage(&volume).unwrap();
        bed.assert_clean();
    }
}

fn stats_of(bed: &Bed, volume: &Volume) -> NodeGetVolumeStatsRequest {
    let volume_path = bed.target("one").to_str().unwrap().to_owned();
    NodeGetVolumeStatsRequest { volume_id: volume.id.clone(), volume_path, ..NodeGetVolumeStatsRequest::default() }
}
