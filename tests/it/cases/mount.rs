//! The pod's directory: where it is, when `mount` is called for it, what becomes of it, and who owns what is in it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::json;

use super::whole;
use crate::{
    bed::pod,
    one::{MOUNT, One, UMOUNT, is_mounted},
    scripts::{direct, tool},
};

/// Notes what its directory is before anything is mounted there.
const NOTED: &str = r#"stat -c '%n %a' "$2" >>"$_d/../seen" && mount -t tmpfs none "$2""#;

#[test]
fn h_60_both_directories_are_where_the_kubelet_has_them_and_are_made_with_mode_0750() {
    let script = whole().on("mount", Answer::success().run(NOTED)).on("mountdevice", Answer::success().run(NOTED));
    let Some(one) = One::new(script) else { return };
    one.wants(&pod("web", &[("data", "{driver: v/d}")]).replace("{name: web}", "{name: web, uid: u-1}"));
    one.comes("spelt");
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap().trim();
    let mode = 0o750 & !u32::from_str_radix(umask, 8).unwrap();
    let root = one.bed.sandbox.root();
    let seen = fs::read_to_string(one.driver.exe().with_file_name("seen")).unwrap();
    let wanted = ["plugins/kubernetes.io/flexvolume/v/d/mounts/data", "pods/u-1/volumes/v~d/data"]
        .map(|dir| format!("{} {mode:o}\n", root.join(dir).display()));
    assert_eq!(seen, wanted.concat());
    // The parents were made with the same mode.
    for dir in ["plugins", "plugins/kubernetes.io/flexvolume/v", "pods", "pods/u-1/volumes/v~d"] {
        assert_eq!(fs::metadata(root.join(dir)).unwrap().permissions().mode() & 0o7777, mode, "{dir}");
    }
    one.goes("spelt");
}

#[test]
fn h_61_what_we_mounted_is_not_mounted_again_and_what_somebody_else_mounted_is_not_taken_for_it() {
    let Some(one) = One::new(direct()) else { return };
    one.comes("the first time");
    let ran = one.comes("again");
    assert!(ran.stdout.contains("unchanged"), "{ran:?}");
    assert_eq!(one.verbs(), ["mount"]);
    let path = one.path();
    one.goes("ours");
    one.driver.forget().unwrap();
    // Kubernetes would take this for the volume and not call the driver.
    fs::create_dir_all(&path).unwrap();
    tool("mount", &["-t", "tmpfs", "foreign", path.to_str().unwrap()]);
    one.up().fails(4, &["something nobody recorded is mounted at", path.to_str().unwrap(), "hint:"]);
    assert_eq!(one.count("mount"), 0);
    one.comes("the foreign mount is out of the way");
    assert_eq!(one.count("mount"), 1);
    one.goes("ours again");
}

#[test]
fn h_63_without_mount_the_nodes_directory_is_bound_for_the_pod() {
    let Some(one) = One::new(whole().on("mount", Answer::not_supported())) else { return };
    let writes = pod("web", &[("data", "{driver: v/d}")]);
    one.wants(&writes);
    one.comes("bound");
    fs::write(one.global().join("above"), "a").unwrap();
    fs::write(one.path().join("below"), "b").unwrap();
    assert_eq!(fs::read_to_string(one.path().join("above")).unwrap(), "a");
    assert_eq!(fs::read_to_string(one.global().join("below")).unwrap(), "b");
    one.goes("bound");
    assert_eq!(one.verbs()[3..], ["mount", "unmount", "unmountdevice", "detach"]);
    // The bind of a pod that only reads is read-only itself.
    one.wants(&writes.replace("{driver: v/d}", "{driver: v/d, readOnly: true}"));
    one.comes("bound, read-only");
    assert_eq!(fs::write(one.path().join("x"), "").unwrap_err().raw_os_error(), Some(30));
    one.goes("bound, read-only");
}

#[test]
fn h_64_after_a_failed_mount_an_empty_directory_goes_a_filled_one_stays_and_the_next_try_follows() {
    let leave = r#"echo half >"$2/file"; false"#;
    let script = direct().on_each(
        "mount",
        [
            Answer::failure("not yet"),
            Answer::success().run(leave),
            Answer::success().run(r#"[ -e "$2/file" ] && rm "$2/file" && mount -t tmpfs none "$2""#),
        ],
    );
    let Some(one) = One::new(script) else { return };
    one.up().fails(1, &["not yet"]);
    let path = one.path();
    assert!(!path.exists() && path.parent().is_some_and(|parent| !parent.exists()));
    one.up().fails(1, &["driver v/d failed to mount"]);
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "half\n");
    one.comes("the third try");
    assert!(is_mounted(&path));
    one.goes("the third try");
    assert_eq!(one.count("mount"), 3);
}

/// A tree in the volume, and a link in it that leads out of it to `outside`.
fn tree(outside: &Path) -> String {
    format!(
        r#"{MOUNT} && mkdir "$2/dir" && echo x >"$2/dir/file" && chmod 0750 "$2/dir" && chmod 0640 "$2/dir/file" && ln -s {} "$2/link""#,
        outside.display()
    )
}

fn group_and_mode(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.gid(), meta.mode() & 0o7777)
}

/// A pod with an fsGroup whose volume has that tree; gives the file outside, too.
fn grouped(script: impl FnOnce(Script) -> Script, source: &str) -> Option<(One, std::path::PathBuf)> {
    let one = One::with(Script::sh(), source)?;
    let outside = one.bed.sandbox.path().join("outside");
    fs::write(&outside, "").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o640)).unwrap();
    one.bed.script("v/d", script(direct().on("mount", Answer::success().run(tree(&outside)))));
    one.wants_also("securityContext: {fsGroup: 4711}");
    Some((one, outside))
}

#[test]
fn h_67_the_group_gets_files_0660_and_directories_2770_and_no_link_is_followed() {
    let Some((one, outside)) = grouped(|script| script, "{driver: v/d}") else { return };
    one.comes("grouped");
    let path = one.path();
    assert_eq!(group_and_mode(&path.join("dir/file")), (4711, 0o660));
    assert_eq!(group_and_mode(&path.join("dir")), (4711, 0o2770));
    assert_eq!(group_and_mode(&path.join("link")).0, 4711, "the link itself");
    assert_eq!(group_and_mode(&outside), (0, 0o640), "the link was followed");
    let (group, mode) = group_and_mode(&path);
    assert_eq!((group, mode & 0o2770), (4711, 0o2770), "the volume's root");
    one.goes("grouped");
}

#[test]
fn h_67_a_root_that_fits_ends_it_on_root_mismatch_alone() {
    for (policy, root, owner) in
        [("OnRootMismatch", "0", 4711), ("OnRootMismatch", "4711", 0), ("Always", "4711", 4711)]
    {
        let prepare = format!("{MOUNT} && echo x >\"$2/file\" && chgrp {root} \"$2\" && chmod 2775 \"$2\"");
        let Some(one) = One::new(direct().on("mount", Answer::success().run(prepare))) else { return };
        one.wants_also(&format!("securityContext: {{fsGroup: 4711, fsGroupChangePolicy: {policy}}}"));
        one.comes("asked");
        assert_eq!(group_and_mode(&one.path().join("file")).0, owner, "{policy}, the root's group is {root}");
        one.goes("asked");
    }
}

#[test]
fn h_68_a_read_only_volume_and_one_whose_driver_sees_to_it_keep_their_owners() {
    let own = Answer::json(&json!({"status": "Success", "capabilities": {"attach": false, "fsGroup": false}}));
    for (source, init) in [("{driver: v/d, readOnly: true}", None), ("{driver: v/d}", Some(own))] {
        let script = |script: Script| match &init {
            Some(init) => script.on("init", init.clone()),
            None => script,
        };
        let Some((one, _)) = grouped(script, source) else { return };
        one.comes(source);
        for (name, kept) in [("dir/file", (0, 0o640)), ("dir", (0, 0o750))] {
            assert_eq!(group_and_mode(&one.path().join(name)), kept, "{source}: {name}");
        }
        one.goes(source);
    }
}

/// Whoever mounts for each pod is called for each pod, beside one mount of the device.
#[test]
fn h_66_a_second_pod_gets_its_own_mount_and_the_device_is_left_as_it_is() {
    let Some(one) = One::new(whole().on("unmount", Answer::success().run(UMOUNT))) else { return };
    let text = super::claimed("1Mi", "{driver: v/d}");
    one.wants(&text);
    one.comes("the first pod");
    one.wants(&format!("{text}---\n{}", super::claiming("other", false)));
    one.comes("and the second");
    let paths = ["web", "other"].map(|pod| one.bed.path_of(pod, "pv").to_str().unwrap().to_owned());
    let mounts: Vec<_> = one.calls("mount").iter().map(|call| call.argv[1].clone()).collect();
    assert_eq!(mounts, paths);
    // Kubernetes would call waitforattach once for each pod.
    for verb in ["attach", "waitforattach", "mountdevice"] {
        assert_eq!(one.count(verb), 1, "{verb}");
    }
    one.bed.ok(["down", "web"]);
    assert_eq!((one.count("unmount"), one.count("unmountdevice"), one.count("detach")), (1, 0, 0));
    assert!(is_mounted(Path::new(&paths[1])));
    one.bed.ok(["down", "other"]);
    assert_eq!((one.count("unmount"), one.count("unmountdevice"), one.count("detach")), (2, 1, 1));
    one.bed.assert_clean();
}

/// The directory that is swept is never more than an empty one: what a link points at is another's.
#[test]
fn h_64_a_link_in_place_of_the_directory_is_not_followed_when_a_mount_failed() {
    let Some(one) = One::new(direct()) else { return };
    let precious = one.bed.sandbox.dir("precious").unwrap();
    fs::write(precious.join("file"), "data").unwrap();
    let script = format!(r#"rmdir "$2" && ln -s {} "$2"; false"#, precious.display());
    one.bed.script("v/d", direct().on_each("mount", [Answer::success().run(script)]));
    one.up().fails(1, &["driver v/d failed to mount"]);
    assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "data");
    let path = one.path();
    assert!(path.is_symlink(), "only what is empty and a directory is swept");
    fs::remove_file(&path).unwrap();
    one.goes("a person has looked");
    assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "data");
}
