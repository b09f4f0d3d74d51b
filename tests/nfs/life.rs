//! The life of volumes, with each version of the protocol: up, shared, read-only beside read-write, down, and again.

use std::fs;

use flexvolume_linux::mount::table;

use crate::{
    bed::Node,
    tools::{text, tool},
};

/// Two volumes of one share, each verb twice; the second reads only.
fn goes_round(protocol: &str) {
    let Some(node) = Node::new() else { return };
    fs::create_dir_all(node.on_server("one/deep")).unwrap();
    fs::write(node.on_server("one/deep/hello"), "hello").unwrap();
    let one = node.j("pv-one").with("protocol", protocol).with("subdir", "one");
    let two = node.j("pv-two").with("protocol", protocol).with("subdir", "one/deep").with("readonly", "true");
    for _ in 0..2 {
        let (first, second) = (node.place("first"), node.place("second"));
        let device = node.twice(&["attach", &one.text(), "node"]).word("device");
        assert_eq!(device, format!("127.0.0.1:{}/one", text(&node.share.path)));
        assert_eq!(node.twice(&["waitforattach", "", &one.text()]).word("device"), device);
        node.twice(&["mountdevice", text(&first), &device, &one.text()]);
        node.up(&two, &second);
        node.mount(&two, &second, "").ok();

        let mounts = node.mounts();
        assert_eq!((mounts.len(), node.own().len()), (3, 1), "one mount of the share, and a view for each: {mounts:?}");
        assert!(mounts.iter().all(|it| it.dev == mounts[0].dev && it.nosuid && it.nodev), "{mounts:?}");
        let read_only: Vec<bool> =
            [&first, &second].map(|place| mounts.iter().find(|it| it.point == **place).unwrap().read_only).to_vec();
        assert_eq!(read_only, [false, true]);
        assert!(mounts.iter().any(|it| it.point == first && it.source == device), "{mounts:?}");
        let vers = format!(",vers={protocol}").replace("=4,", "=4.0,");
        assert!(node.options_at(&first).replace("=4,", "=4.0,").contains(&vers), "{}", node.options_at(&first));

        assert_eq!(fs::read_to_string(second.join("hello")).unwrap(), "hello");
        fs::write(first.join("deep/more"), "more").unwrap();
        assert_eq!(fs::read_to_string(node.on_server("one/deep/more")).unwrap(), "more");
        let error = fs::write(second.join("no"), "").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);

        // Its options may change while it is up.
        let now = two.clone().with("readonly", "false");
        node.mount(&now, &second, "").ok();
        fs::write(second.join("yes"), "").unwrap();
        node.mount(&two, &second, "").ok();
        assert!(fs::write(second.join("no"), "").is_err());

        node.twice(&["unmountdevice", text(&first)]);
        assert_eq!(node.own().len(), 1, "the other still uses it");
        node.twice(&["detach", one.name(), "node"]);
        assert_eq!(fs::read_to_string(second.join("hello")).unwrap(), "hello");
        node.down(&two, &second);
        node.assert_down();
    }
}

#[test]
fn with_4_2() {
    goes_round("4.2");
}

#[test]
fn with_4_1() {
    goes_round("4.1");
}

#[test]
fn with_4_0() {
    goes_round("4");
}

#[test]
fn with_3() {
    goes_round("3");
}

#[test]
fn a_share_has_its_own_options_whatever_others_of_that_server_have() {
    let Some(node) = Node::new() else { return };
    let (one, two, three) = (node.place("one"), node.place("two"), node.place("three"));
    let quick = node.j("pv-1").with("mountOptions", "timeo=50,retrans=5").with("sec", "sys");
    // Another name of the same server; and of its addresses the one that the option names.
    let slow = node.j("pv-2").with("mountOptions", "timeo=700,proto=tcp").with("server", "localhost");
    node.up(&quick, &one);
    node.up(&slow, &two);
    // An administrator's own mount of it is nobody's here.
    let by_hand = node.bed.sandbox.dir("by-hand").unwrap();
    let source = format!("127.0.0.1:{}", text(&node.share.path));
    tool("mount", &["-t", "nfs", "-o", "vers=4.2", &source, text(&by_hand)]);
    node.up(&node.j("pv-3"), &three);
    for (place, options) in [
        (&one, [",hard,", ",timeo=50,", ",retrans=5,", ",sec=sys,"]),
        (&two, [",hard,", ",timeo=700,", ",proto=tcp,", ",vers=4.2,"]),
    ] {
        for option in options {
            assert!(node.options_at(place).contains(option), "no {option} in {}", node.options_at(place));
        }
    }
    // Asked again each finds its own; with other options than before it is shown anew.
    node.mount(&quick, &one, "").ok();
    node.mount(&slow, &two, "").ok();
    node.mount(&quick.clone().with("mountOptions", "timeo=60"), &one, "").ok();
    assert!(node.options_at(&one).contains(",timeo=60,"));
    node.down(&quick, &one);
    node.down(&slow, &two);
    node.down(&node.j("pv-3"), &three);
    let left: Vec<_> = node.mounts().into_iter().map(|it| it.point).collect();
    assert_eq!(left, [by_hand.as_path()]);
    tool("umount", &[text(&by_hand)]);
    node.assert_down();
}

#[test]
fn what_is_mounted_within_one_volume_is_seen_there_alone() {
    let Some(node) = Node::new() else { return };
    // As under an init that makes everything shared.
    let all = node.bed.sandbox.path().to_owned();
    tool("mount", &["--bind", text(&all), text(&all)]);
    tool("mount", &["--make-shared", text(&all)]);
    let (one, two) = (node.place("one"), node.place("two"));
    fs::create_dir(node.on_server("in")).unwrap();
    node.up(&node.j("pv-1"), &one);
    node.up(&node.j("pv-2"), &two);
    tool("mount", &["-t", "tmpfs", "within", text(&one.join("in"))]);
    let within = table::all().unwrap().into_iter().filter(|it| it.source == "within").count();
    assert_eq!(within, 1);
    node.down(&node.j("pv-2"), &two);
    tool("umount", &[text(&one.join("in"))]);
    node.down(&node.j("pv-1"), &one);
    node.assert_down();
    // The server keeps hold of it, since it found the share there.
    tool("umount", &["-l", text(&all)]);
}

#[test]
fn a_stranger_mounts_and_unmounts() {
    let Some(node) = Node::new() else { return };
    fs::write(node.on_server("hello"), "hello").unwrap();
    let (rw, ro) = (node.j("pv"), node.j("pv").read_only());
    let (one, two) = (node.place("one"), node.place("two"));
    node.twice(&["mount", text(&one), &rw.text()]);
    node.twice(&["mount", text(&two), &ro.text()]);
    assert_eq!((node.mounts().len(), node.own().len()), (3, 1));
    fs::write(one.join("more"), "more").unwrap();
    assert_eq!(fs::read_to_string(two.join("more")).unwrap(), "more");
    assert!(fs::write(two.join("no"), "").is_err());
    node.twice(&["unmount", text(&one)]);
    assert_eq!(fs::read_to_string(two.join("hello")).unwrap(), "hello");
    node.twice(&["unmount", text(&two)]);
    node.assert_down();
}

#[test]
fn fifty_pods_on_one_share_have_one_mount_of_it() {
    let Some(node) = Node::new() else { return };
    let pods: Vec<_> = (0..50).map(|n| node.place(&format!("pod-{n}"))).collect();
    for (n, pod) in pods.iter().enumerate() {
        let subdir = format!("dir-{}", n % 5);
        fs::create_dir_all(node.on_server(&subdir)).unwrap();
        node.call(&["mount", text(pod), &node.j("pv").with("subdir", &subdir).text()]).ok();
    }
    let mounts = node.mounts();
    assert_eq!((mounts.len(), node.own().len()), (51, 1));
    assert!(mounts.iter().all(|it| it.dev == mounts[0].dev));
    for pod in &pods {
        node.call(&["unmount", text(pod)]).ok();
    }
    node.assert_down();
}

#[test]
fn what_cannot_be_is_told() {
    let Some(node) = Node::new() else { return };
    let place = node.place("pod");
    let fails = |j: &flexvolume_testkit::driver::J, code: &str, words: &[&str]| {
        node.mount(j, &place, "").fails(code, words);
        node.assert_down();
    };
    fails(&node.j("pv").with("subdir", "none"), "", &["none", "make the directory"]);
    fails(&node.j("pv").with("share", "/no/such/share"), "", &["exports no such directory"]);
    fails(&node.j("pv").with("server", "no-such-server.invalid"), "", &["no-such-server.invalid"]);
    fails(&node.j("pv").with("mountOptions", "port=2"), "", &["cannot reach", "127.0.0.1:2"]);
    fails(&node.j("pv").with("mountOptions", "suid"), "invalid", &["suid"]);
    std::os::unix::fs::symlink("/etc", node.on_server("link")).unwrap();
    fails(&node.j("pv").with("subdir", "link"), "", &["symbolic link"]);
    tool("mount", &["-t", "tmpfs", "stranger", text(&place)]);
    node.mount(&node.j("pv"), &place, "").fails("conflict", &["tmpfs", "left alone"]);
    tool("umount", &[text(&place)]);
}
