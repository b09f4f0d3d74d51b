//! Who copies: the server by itself, where it can; and what a copy is worth of a tree that somebody writes to meanwhile.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use flexvolume_testkit::driver::J;

use crate::{
    bed::Node,
    server::Exported,
    tools::{shell, text, tool},
};

/// What is copied, in bytes, and in requests of the largest size if it goes through the node.
const SIZE: u64 = 64 << 20;
const REQUESTS: u64 = SIZE / (1 << 20);

/// How many READ and WRITE requests this machine has sent to servers of NFS 4.
fn through_the_node() -> u64 {
    let text = fs::read_to_string("/proc/net/rpc/nfs").unwrap();
    let counts = text.lines().find_map(|line| line.strip_prefix("proc4 ")).unwrap();
    // How many there are, NULL, READ, WRITE …
    counts.split(' ').skip(2).take(2).map(|count| count.parse::<u64>().unwrap()).sum()
}

fn used(dir: &Path) -> u64 {
    shell("sync -f $1 && df --output=used -B1 $1 | tail -n 1", &[text(dir)]).parse().unwrap()
}

#[test]
fn the_server_copies_by_itself_and_shares_the_blocks_where_it_can() {
    let Some(node) = Node::new() else { return };
    let disk = node.bed.sandbox.path().join("disk");
    fs::File::create(&disk).unwrap().set_len(512 << 20).unwrap();
    tool("mkfs.xfs", &["-q", "-m", "reflink=1", text(&disk)]);
    let dir = node.bed.sandbox.dir("xfs").unwrap();
    tool("mount", &["-o", "loop", text(&disk), text(&dir)]);
    let share = Exported::new(&dir);
    fs::create_dir(dir.join("base")).unwrap();
    let pool = |protocol: &str| {
        format!(r#"{{"server":"127.0.0.1","share":"{}","base":"base","protocol":"{protocol}"}}"#, text(&share.path))
    };
    node.set(&format!(r#"{{"patience":60,"pools":{{"new":{},"old":{}}}}}"#, pool("4.2"), pool("4.1")));
    let id = node.make("v", &[("pool", "new")]);
    let big = format!("dd if=/dev/urandom of=$1/big bs=1M count={} status=none", SIZE >> 20);
    shell(&big, &[text(&dir.join("base/v"))]);

    let copied = |name: &str, of: &str| {
        let (before, asked) = (used(&dir), through_the_node());
        node.make(name, &[("flexvol/sourceVolume", of)]);
        tool("cmp", &[text(&dir.join("base/v/big")), text(&dir.join("base").join(name).join("big"))]);
        (used(&dir).saturating_sub(before), through_the_node() - asked)
    };
    let (bytes, requests) = copied("shared", &id);
    assert!(bytes < SIZE / 4 && requests < REQUESTS / 2, "{bytes} bytes more, {requests} requests");
    // The measure can tell: NFS 4.1 knows no copying.
    let (bytes, requests) = copied("carried", "old/v");
    assert!(bytes >= SIZE && requests >= REQUESTS, "{bytes} bytes more, {requests} requests");
    node.assert_down();
    drop(share);
    tool("umount", &[text(&dir)]);
}

#[test]
fn where_blocks_cannot_be_shared_the_server_still_copies_by_itself() {
    let Some(node) = Node::with_pool("") else { return };
    let id = node.make("v", &[]);
    shell("dd if=/dev/urandom of=$1/big bs=1M count=64 status=none", &[text(&node.on_server("base/v"))]);
    let asked = through_the_node();
    node.make("copy", &[("flexvol/sourceVolume", &id)]);
    let requests = through_the_node() - asked;
    tool("cmp", &[text(&node.on_server("base/v/big")), text(&node.on_server("base/copy/big"))]);
    assert!(requests < REQUESTS / 2, "{requests} requests");
}

/// Each file beneath a directory, by its path there, and what is in it.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = crate::tools::files(dir).into_iter();
    files.map(|file| (text(file.strip_prefix(dir).unwrap()).to_owned(), fs::read(&file).unwrap())).collect()
}

#[test]
fn a_snapshot_of_a_tree_that_is_written_to_has_all_that_stays_as_it_is() {
    let Some(node) = Node::with_pool(r#","slice":1"#) else { return };
    let id = node.make("v", &[]);
    let (place, j) = (node.place("writer"), node.j("pv").with("subdir", "base/v"));
    node.up(&j, &place);
    shell(
        "cd $1 && for d in a b; do mkdir -p $d/quiet $d/loud; for n in $(seq 8); do seq $n 500 >$d/quiet/$n; done; done",
        &[text(&place)],
    );
    let quiet = |dir: &Path| -> BTreeMap<String, Vec<u8>> {
        content(dir).into_iter().filter(|(path, _)| path.contains("/quiet/")).collect()
    };
    let before = quiet(&place);
    let stop = AtomicBool::new(false);
    let writes = || {
        let mut rounds = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            // The same names again: one who makes ever later ones, faster than they are copied, would never be caught up with.
            let round = rounds % 9;
            for d in ["a", "b"] {
                let loud = place.join(d).join("loud");
                // Made, appended to, renamed, made a directory's, deleted.
                fs::write(loud.join(format!("f{round}")), b"abc".repeat(5000)).unwrap();
                fs::rename(loud.join(format!("f{round}")), loud.join(format!("g{round}"))).unwrap();
                fs::create_dir_all(loud.join(format!("d{}", round % 7))).unwrap();
                fs::write(loud.join(format!("d{}/x", round % 7)), b"x").unwrap();
                let _ = fs::remove_file(loud.join(format!("g{}", (round + 4) % 9)));
                let _ = fs::remove_dir_all(loud.join(format!("d{}", (round + 3) % 7)));
            }
            rounds += 1;
            thread::sleep(Duration::from_millis(20));
        }
        rounds
    };
    let ask = J::default().with("flexvol/name", "now").with("flexvol/id", &id);
    let rounds = thread::scope(|scope| {
        let writer = scope.spawn(writes);
        let said = node.through("createsnapshot", &ask);
        stop.store(true, Ordering::Relaxed);
        let rounds = writer.join().unwrap();
        said.ok();
        rounds
    });
    assert!(rounds > 2, "{rounds} rounds");
    let snapshot = node.on_server("base/.flexvol/snapshots/now");
    assert_eq!(quiet(&snapshot), before);
    // Of what was written meanwhile there may be anything that was there at some moment, and nothing else.
    for (path, bytes) in content(&snapshot) {
        let whole = b"abc".repeat(5000);
        assert!(
            path.contains("/quiet/") || bytes == b"x" || whole.starts_with(&bytes),
            "{path}: {} bytes",
            bytes.len()
        );
    }
    // It is of its own, and a clone of it is the same.
    node.make("clone", &[("flexvol/sourceSnapshot", "p/snap/now")]);
    assert_eq!(content(&node.on_server("base/clone")), content(&snapshot));
    assert_eq!(fs::read_dir(node.on_server("base/.flexvol/copies")).unwrap().count(), 0);
    node.down(&j, &place);
    node.assert_down();
}
