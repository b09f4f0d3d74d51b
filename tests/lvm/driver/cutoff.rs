//! A call that comes while somebody else holds LVM's lock.

use std::process::Command;

use super::node::Node;
use crate::tools::{shell, until};

/// A pvmove or the like holds LVM's own lock: who waits says for whom, and does not wait for ever.
#[test]
fn who_waits_for_lvm_s_lock_says_who_has_it() {
    let Some(node) = Node::new(&[64]) else { return };
    node.attach(&node.j("vol1")).ok();
    node.detach(&node.j("vol1")).ok();
    let lock = format!("/run/lock/lvm/V_{}", node.vg.name);
    let mut holder = Command::new("flock").args(["--no-fork", &lock, "sleep", "1000"]).spawn().unwrap();
    until("the holder of the lock", || shell("cat /proc/locks", &[]).contains(&format!(" {} ", holder.id())));
    let said = node.attach(&node.j("vol1"));
    said.fails("busy", &[&format!("process {}", holder.id()), "sleep 1000", &lock]);
    holder.kill().unwrap();
    holder.wait().unwrap();
    node.attach(&node.j("vol1")).ok();
    node.detach(&node.j("vol1")).ok();
}
