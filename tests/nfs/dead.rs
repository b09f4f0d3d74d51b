//! Servers that die, come back, or forget what they exported.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    time::Instant,
};

use flexvolume_testkit::driver::J;

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
fn a_stale_mount_comes_down_though_somebody_is_in_it() {
    let Some(node) = Node::new() else { return };
    let one = node.place("one");
    node.up(&node.j("pv-1"), &one);
    let held = fs::File::open(&one).unwrap();
    node.share.replace();
    until("the client notices", || fs::read_dir(&one).is_err());
    let said = node.call(&["unmountdevice", text(&one)]).ok();
    assert!(said.message().contains("its server does not know it any more"), "{said:?}");
    node.call(&["detach", "pv-1", "node"]).ok();
    assert_eq!(node.mounts(), []);
    drop(held);
    node.assert_down();
}

#[test]
fn while_the_server_is_dead_every_verb_answers_and_what_is_written_is_there_when_it_is_back() {
    let Some(node) = Node::with_pool("") else { return };
    let volume = node.make("before", &[]);
    let share = text(&node.share.path).to_owned();
    node.set(&format!(
        r#"{{"patience":2,"slice":2,"pools":{{"p":{{"server":"127.0.0.1","share":"{share}","base":"base"}}}}}}"#
    ));
    let (one, two, three) = (node.place("one"), node.place("two"), node.place("three"));
    let (j1, j2) = (node.j("pv-1"), node.j("pv-2"));
    node.up(&j1, &one);
    server::stop();
    // Somebody writes meanwhile, and waits.
    let mut writer = node.writer(&one, "while");
    node.waits(&writer);
    node.mount(&j2, &two, "").fails("", &["has not answered"]);
    node.mount(&j1, &one, "").fails("", &["has not answered"]);
    let other = node.j("pv-3").with("mountOptions", "nconnect=2");
    node.mount(&other, &three, "").fails("", &["cannot reach"]);
    let health = node.call(&["gethealth", &j1.text()]).ok();
    assert_eq!(health.get("condition"), "inaccessible");
    // All the rest, whose answers may be what they like as long as they come.
    let id = J::default().with("flexvol/id", &volume);
    let named = |name: &str| J::default().with("flexvol/name", name);
    let calls: [(&[&str], J); 13] = [
        (&["createvolume"], named("new")),
        (&["createvolume"], named("clone").with("flexvol/sourceVolume", &volume)),
        (&["createsnapshot"], named("snap").with("flexvol/id", &volume)),
        (&["deletevolume"], id.clone()),
        (&["deletesnapshot"], J::default().with("flexvol/snapshot", "p/snap/none")),
        (&["listvolumes"], J::default()),
        (&["listsnapshots"], J::default()),
        (&["getcapacity"], J::default()),
        (&["gethealth"], id.clone()),
        (&["gethealth"], J::default()),
        (&["attach"], j2.clone()),
        (&["waitforattach", ""], j2.clone()),
        (&["mount", text(&three)], other),
    ];
    for (verb, j) in calls {
        let since = Instant::now();
        let options = j.text();
        let said = node.call(&[verb, &[&options], if verb[0] == "attach" { &["node"] } else { &[] }].concat());
        assert!(since.elapsed().as_secs() < SOON, "{verb:?}: {:?} {said:?}", since.elapsed());
    }
    server::start();
    assert!(writer.wait().unwrap().success());
    assert_eq!(fs::metadata(node.on_server("while")).unwrap().len(), 4096);
    node.mount(&j2, &two, "").ok();
    node.down(&j1, &one);
    node.down(&j2, &two);
    node.assert_down();
}

#[test]
fn the_last_mount_of_a_dead_server_comes_down_by_force_and_whoever_waits_is_set_free() {
    let Some(node) = Node::new() else { return };
    node.set("{\"patience\":2}");
    let one = node.place("one");
    let j = node.j("pv-1");
    node.up(&j, &one);
    server::stop();
    let mut writer = node.writer(&one, "never");
    node.waits(&writer);
    let since = Instant::now();
    let said = node.call(&["unmountdevice", text(&one)]).ok();
    assert!(since.elapsed().as_secs() < SOON, "{:?}", since.elapsed());
    assert!(said.message().contains("force, since its server does not answer"), "{said:?}");
    until("he is told", || writer.try_wait().unwrap().is_some_and(|how| !how.success()));
    node.call(&["detach", j.name(), "node"]).ok();
    node.assert_down();
    server::start();
}

#[test]
fn of_two_volumes_of_a_dead_server_the_one_that_goes_takes_nothing_from_the_other() {
    let Some(node) = Node::new() else { return };
    node.set("{\"patience\":2}");
    let (one, two) = (node.place("one"), node.place("two"));
    let (j1, j2) = (node.j("pv-1"), node.j("pv-2"));
    node.up(&j1, &one);
    node.up(&j2, &two);
    server::stop();
    let (mut gone, mut stays) = (node.writer(&one, "gone"), node.writer(&two, "stays"));
    node.waits(&gone);
    node.waits(&stays);
    let said = node.call(&["unmountdevice", text(&one)]).ok();
    assert!(said.message().contains("detached"), "{said:?}");
    node.call(&["detach", j1.name(), "node"]).ok();
    assert_eq!((stays.try_wait().unwrap(), node.own().len()), (None, 1));
    server::start();
    assert!(stays.wait().unwrap().success());
    assert_eq!(fs::metadata(node.on_server("stays")).unwrap().len(), 4096);
    gone.wait().unwrap();
    node.down(&j2, &two);
    node.assert_down();
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
        let (file, then) = (text(&file), format!("open -f {}\nclose", text(&place.join("mapped"))));
        writeln!(input, "open -f {file}\n{begin}open -r {file}\n{then}").unwrap();
        until("it is mapped", || mapped.exists());
        server::stop();
        node.set("{\"patience\":2}");
        // Half of it is on its way, which by force would be lost; of the rest nobody has begun to send anything.
        writeln!(input, "mwrite -S 0x5a 0 65536\nsync_range -w 0 32768\nquit").unwrap();
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
