//! Calls that die while LVM works for them: the command ends by itself, and the next call waits for it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::node::Node;
use crate::tools::{shell, text};

/// A command `lvm` that waits in front of one of LVM's verbs until it is told to go on.
struct Gate {
    dir: PathBuf,
}

impl Gate {
    fn before(node: &Node, verb: &str) -> Gate {
        let dir = node.bed.sandbox.dir("gate").unwrap();
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = {verb} ]; then echo $$ >{0}/pid; mv {0}/pid {0}/waits; while [ ! -e {0}/go ]; do sleep 0.05; done; fi\n\
             exec /usr/sbin/lvm \"$@\"\n",
            text(&dir)
        );
        fs::write(dir.join("lvm"), script).unwrap();
        fs::set_permissions(dir.join("lvm"), fs::Permissions::from_mode(0o755)).unwrap();
        Gate { dir }
    }

    fn begin(&self, node: &Node, args: &[&str]) -> Child {
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", text(&self.dir));
        let mut command = node.command(args);
        command.env("PATH", path).env("FLEXVOL_CALL", "a-call").stdout(Stdio::piped());
        command.spawn().unwrap()
    }

    /// The command that waits at the gate.
    fn waiting(&self) -> u32 {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            match fs::read_to_string(self.dir.join("waits")) {
                Ok(pid) => return pid.trim().parse().unwrap(),
                Err(_) if Instant::now() < end => sleep(Duration::from_millis(20)),
                Err(error) => panic!("nobody came to the gate: {error}"),
            }
        }
    }

    fn open(&self) {
        fs::write(self.dir.join("go"), "").unwrap();
    }
}

fn session(pid: u32) -> String {
    shell("ps -o sid= -p $1", &[&pid.to_string()])
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn answer(child: Child) -> String {
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// One verb of LVM's at which a call dies; then the call again, which waits until that verb has ended.
fn dies_at(verb: &str, prepare: impl Fn(&Node), call: impl Fn(&Node) -> Vec<String>, check: impl Fn(&Node)) {
    let Some(node) = Node::new(&[128]) else { return };
    prepare(&node);
    let (gate, call) = (Gate::before(&node, verb), call(&node));
    let call: Vec<&str> = call.iter().map(String::as_str).collect();
    let first = gate.begin(&node, &call);
    let waiting = gate.waiting();
    let environment = fs::read(format!("/proc/{waiting}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("FLEXVOL_CALL"), "it could be found and ended");
    assert_ne!(session(waiting), session(first.id()), "a signal to our group would reach it");
    kill(first);
    assert!(Path::new(&format!("/proc/{waiting}")).exists(), "{verb} goes on alone");
    let second = Command::new(node.exe()).args(&call).envs(node.env().iter().cloned()).stdout(Stdio::piped()).spawn();
    let mut second = second.unwrap();
    sleep(Duration::from_secs(3));
    assert!(second.try_wait().unwrap().is_none(), "the second call did not wait for {verb}");
    gate.open();
    let said = answer(second);
    assert!(said.contains("Success"), "{verb}: {said}");
    assert!(!Path::new(&format!("/proc/{waiting}")).exists());
    check(&node);
    node.assert_down(verb);
}

fn attach(node: &Node) -> Vec<String> {
    vec!["attach".into(), node.j("vol1").text(), "node".into()]
}

fn made(node: &Node) {
    node.attach(&node.j("vol1")).ok();
    node.detach(&node.j("vol1")).ok();
}

fn is_whole(node: &Node) {
    assert!(!node.tags("vol1").iter().any(|tag| tag.starts_with("flexvol.state")), "{:?}", node.tags("vol1"));
    let (j, gdir) = (node.j("vol1"), node.place("global"));
    node.attach(&j).ok();
    node.call(&["mountdevice", text(&gdir), "", &j.text()]).ok();
    node.call(&["unmountdevice", text(&gdir)]).ok();
    node.detach(&j).ok();
}

#[test]
fn while_a_volume_is_made() {
    dies_at("lvcreate", |_| {}, attach, is_whole);
}

#[test]
fn while_a_volume_is_activated() {
    dies_at("lvchange", made, attach, is_whole);
}

#[test]
fn while_a_volume_is_grown() {
    let grow = |node: &Node| {
        let to = (64_u64 << 20).to_string();
        let dir = text(&node.place("global")).to_owned();
        vec!["expandvolume".into(), node.j("vol1").text(), dir, to, "0".into()]
    };
    dies_at("lvextend", made, grow, |node| {
        assert_eq!(node.vg.row("vol1", "lv_size")["lv_size"], (64 << 20).to_string());
        is_whole(node);
    });
}

#[test]
fn while_a_volume_is_removed() {
    let delete = |node: &Node| {
        let j = flexvolume_testkit::driver::J::default().with("flexvol/id", &node.vg.of("vol1"));
        vec!["deletevolume".into(), j.text()]
    };
    dies_at("lvremove", made, delete, |node| node.assert_only(&[]));
}

/// A pvmove or the like holds LVM's own lock: who waits says for whom, and does not wait for ever.
#[test]
fn who_waits_for_lvm_s_lock_says_who_has_it() {
    let Some(node) = Node::new(&[64]) else { return };
    made(&node);
    let lock = format!("/run/lock/lvm/V_{}", node.vg.name);
    let mut holder = Command::new("flock").args(["--no-fork", &lock, "sleep", "1000"]).spawn().unwrap();
    while !shell("cat /proc/locks", &[]).contains(&format!(" {} ", holder.id())) {
        sleep(Duration::from_millis(20));
    }
    let said = node.attach(&node.j("vol1"));
    said.fails("busy", &[&format!("process {}", holder.id()), "sleep 1000", &lock]);
    holder.kill().unwrap();
    holder.wait().unwrap();
    node.attach(&node.j("vol1")).ok();
    node.detach(&node.j("vol1")).ok();
}
