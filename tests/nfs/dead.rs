//! Servers that die, come back, or forget what they exported.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    bed::Node,
    server::{self, until},
    tools::text,
};

/// Ten times what a call may take, at least, on a machine that is slow.
const SOON: u64 = 120;

#[test]
fn a_share_that_was_made_anew_is_mounted_anew() {
    let Some(node) = Node::new() else { return };
    let (one, two) = (node.place("one"), node.place("two"));
    node.up(&node.j("pv-1"), &one);
    fs::write(one.join("old"), "").unwrap();
    node.share.replace();
    fs::write(node.on_server("new"), "new").unwrap();
    until("the client notices", || fs::read_dir(&one).is_err());
    // Another volume of the share: our own mount is stale, and replaced.
    node.up(&node.j("pv-2"), &two);
    assert_eq!(fs::read_to_string(two.join("new")).unwrap(), "new");
    // The same volume at its place, which is stale too.
    node.mount(&node.j("pv-1"), &one, "").ok();
    assert_eq!(fs::read_to_string(one.join("new")).unwrap(), "new");
    node.down(&node.j("pv-1"), &one);
    node.down(&node.j("pv-2"), &two);
    node.assert_down();
}

#[test]
fn a_stale_mount_comes_down() {
    let Some(node) = Node::new() else { return };
    let one = node.place("one");
    node.up(&node.j("pv-1"), &one);
    node.share.replace();
    until("the client notices", || fs::read_dir(&one).is_err());
    node.down(&node.j("pv-1"), &one);
    node.assert_down();
}

#[test]
fn while_the_server_is_dead_every_verb_answers_and_what_is_written_is_there_when_it_is_back() {
    let Some(node) = Node::new() else { return };
    node.set("{\"patience\":2}");
    let (one, two, three) = (node.place("one"), node.place("two"), node.place("three"));
    let (j1, j2) = (node.j("pv-1"), node.j("pv-2"));
    node.up(&j1, &one);
    fs::write(one.join("before"), "before").unwrap();
    server::stop();
    // Somebody writes meanwhile, and waits.
    let mut writer = Command::new("sh").args(["-c", "echo while >$1/while && sync", "sh"]).arg(&one).spawn().unwrap();
    let since = Instant::now();
    node.mount(&j2, &two, "").fails("", &["has not answered"]);
    node.mount(&j1, &one, "").fails("", &["has not answered"]);
    let health = node.call(&["gethealth", &j1.text()]).ok();
    assert_eq!(health.get("condition"), "inaccessible");
    node.mount(&node.j("pv-3").with("mountOptions", "nconnect=2"), &three, "").fails("", &["cannot reach"]);
    assert!(since.elapsed().as_secs() < SOON, "{:?}", since.elapsed());
    server::start();
    assert!(writer.wait().unwrap().success());
    assert_eq!(fs::read_to_string(node.on_server("while")).unwrap(), "while\n");
    node.mount(&j2, &two, "").ok();
    node.down(&j1, &one);
    node.down(&j2, &two);
    node.assert_down();
}

#[test]
fn a_mount_of_a_dead_server_comes_down_by_force_and_whoever_waits_is_set_free() {
    let Some(node) = Node::new() else { return };
    node.set(&format!("{{\"patience\":2,\"log\":\"{}\"}}", text(&node.bed.sandbox.path().join("log"))));
    let one = node.place("one");
    let j = node.j("pv-1");
    node.up(&j, &one);
    fs::write(one.join("file"), "x").unwrap();
    server::stop();
    let mut reader = Command::new("sh");
    reader.args(["-c", "cd $1 && exec dd if=/dev/zero of=out bs=4k count=1 oflag=sync", "sh"]);
    let mut reader = reader.arg(&one).spawn().unwrap();
    until("it waits", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", reader.id())).unwrap_or_default();
        stat.contains(") D ") || stat.contains(") S ")
    });
    let since = Instant::now();
    node.down(&j, &one);
    assert!(since.elapsed().as_secs() < SOON, "{:?}", since.elapsed());
    node.assert_down();
    let log = fs::read_to_string(node.bed.sandbox.path().join("log")).unwrap();
    assert!(log.contains("force") || log.contains("detached"), "{log}");
    server::start();
    reader.wait().unwrap();
}

#[test]
fn who_is_using_a_volume_of_a_server_that_answers_keeps_it() {
    let Some(node) = Node::new() else { return };
    let one = node.place("one");
    let j = node.j("pv-1");
    node.up(&j, &one);
    let open = fs::File::create(one.join("open")).unwrap();
    node.call(&["unmountdevice", text(&one)]).fails("busy", &["unmount"]);
    fs::write(one.join("still"), "here").unwrap();
    drop(open);
    node.down(&j, &one);
    node.assert_down();
}

/// The child that unmounts is killed while it sends what is left, and the kernel finishes that all the same.
#[test]
fn what_was_not_sent_when_its_volume_was_unmounted_is_sent_when_the_server_is_back() {
    let Some(node) = Node::new() else { return };
    for protocol in ["4.2", "3"] {
        node.set("{\"patience\":60}");
        let (place, j) = (node.place("pod"), node.j("pv").with("protocol", protocol));
        node.up(&j, &place);
        // By a mapping, for whoever closes a file waits until all is sent.
        let mut program = Command::new("xfs_io").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut input = program.stdin.take().unwrap();
        let (file, mapped) = (place.join(protocol), node.on_server("mapped"));
        let begin = "truncate 65536\nmmap -rw 0 65536\nmread 0 65536\nclose\n";
        writeln!(input, "open -f {}\n{begin}open -f {}\nclose", text(&file), text(&place.join("mapped"))).unwrap();
        until("it is mapped", || mapped.exists());
        server::stop();
        node.set("{\"patience\":2}");
        writeln!(input, "mwrite -S 0x5a 0 65536\nquit").unwrap();
        assert!(program.wait().unwrap().success());
        let since = Instant::now();
        let said = node.call(&["unmountdevice", text(&place)]).ok();
        node.call(&["detach", "pv", "node"]).ok();
        assert!(since.elapsed().as_secs() < SOON, "{:?}", since.elapsed());
        assert_eq!(said.message(), "", "{protocol}");
        node.assert_down();
        server::start();
        let sent = node.on_server(protocol);
        until("it is sent", || fs::read(&sent).unwrap().iter().filter(|byte| **byte == 0x5a).count() == 65536);
        fs::remove_file(mapped).unwrap();
    }
}
