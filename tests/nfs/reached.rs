//! Servers that are reached in other ways: by an address of IPv6, and, without the daemons they need, by Kerberos and TLS.

use std::{fs, process::Command, time::Instant};

use crate::{
    bed::Node,
    tools::{run, text},
};

/// Ten times what a call may take, at least, on a machine that is slow.
const SOON: u64 = 120;

#[test]
fn a_server_with_an_address_of_ipv6() {
    let Some(node) = Node::new() else { return };
    if !fs::read_to_string("/proc/net/if_inet6").is_ok_and(|addresses| addresses.contains(" lo")) {
        flexvolume_testkit::skip("this kernel has no IPv6");
        return;
    }
    let exported = format!("[::1]:{}", text(&node.share.path));
    let options = format!("rw,no_root_squash,no_subtree_check,insecure,sync,fsid={}", std::process::id() * 100 + 98);
    run(Command::new("exportfs").args(["-o", &options, &exported]));
    let (one, two) = (node.place("one"), node.place("two"));
    let bare = node.j("pv-1").with("server", "::1");
    let brackets = node.j("pv-2").with("server", "[0:0::1]");
    for _ in 0..2 {
        let device = node.twice(&["attach", &bare.text(), "node"]).word("device");
        assert_eq!(device, exported);
        // Recognised as ours again: nothing is mounted upon it.
        node.twice(&["mountdevice", text(&one), &device, &bare.text()]);
        node.up(&brackets, &two);
        let mounts = node.mounts();
        assert_eq!((mounts.len(), node.own().len()), (3, 1), "{mounts:?}");
        assert!(mounts.iter().all(|it| it.source == exported), "{mounts:?}");
        fs::write(one.join("file"), "x").unwrap();
        assert_eq!(fs::read_to_string(two.join("file")).unwrap(), "x");
        assert_eq!(node.call(&["gethealth", &bare.text()]).ok().get("condition"), "ok");
        node.down(&bare, &one);
        node.down(&brackets, &two);
        node.assert_down();
        // As a stranger does.
        node.twice(&["mount", text(&one), &brackets.text()]);
        node.twice(&["unmount", text(&one)]);
        node.assert_down();
    }
    let _ = Command::new("exportfs").args(["-u", &exported]).output();
}

#[test]
fn without_its_daemon_kerberos_fails_soon_and_names_it() {
    let Some(node) = Node::new() else { return };
    let since = Instant::now();
    for protocol in ["4.2", "3"] {
        let j = node.j("pv").with("protocol", protocol).with("sec", "krb5");
        node.mount(&j, &node.place("pod"), "").fails("", &["rpc.gssd"]);
        node.assert_down();
    }
    assert!(since.elapsed().as_secs() < SOON, "{:?}", since.elapsed());
}

#[test]
fn without_its_daemon_tls_fails_soon_and_names_it() {
    let Some(node) = Node::new() else { return };
    let since = Instant::now();
    for (protocol, xprtsec) in [("4.2", "tls"), ("4.2", "mtls"), ("3", "tls")] {
        let j = node.j("pv").with("protocol", protocol).with("xprtsec", xprtsec);
        node.mount(&j, &node.place("pod"), "").fails("", &["tlshd"]);
        node.assert_down();
    }
    assert!(since.elapsed().as_secs() < SOON, "{:?}", since.elapsed());
}
