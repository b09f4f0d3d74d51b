//! Two calls at a time on one node: volumes of one share that come and go, and trees of one pool that are made and deleted.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use flexvolume_testkit::driver::J;

use crate::{
    bed::Node,
    tools::{shell, text},
};

/// So many trees each of the two makes.
const TREES: u32 = 4;

/// Two volumes of one share; so often each comes while the other one goes, which is the last that keeps the share's own mount: at its
/// beginning, a tenth of the call later, and so on. Every call is a success, and each sees its own files.
fn relay(rounds: u32, comes: impl Fn(&Node, &J, &Path) + Sync, goes: impl Fn(&Node, &J, &Path) + Sync) {
    let Some(node) = Node::new() else { return };
    let volume = |name: &'static str| {
        fs::create_dir(node.on_server(name)).unwrap();
        fs::write(node.on_server(name).join("name"), name).unwrap();
        (name, node.j(name).with("subdir", name), node.place(name))
    };
    let (one, two) = (volume("one"), volume("two"));
    comes(&node, &one.1, &one.2);
    let mut went = Duration::ZERO;
    for round in 0..2 * rounds {
        let (going, coming) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        went = thread::scope(|scope| {
            let goer = scope.spawn(|| {
                let since = Instant::now();
                goes(&node, &going.1, &going.2);
                since.elapsed()
            });
            thread::sleep(went * (round / 2 % 10) / 10);
            comes(&node, &coming.1, &coming.2);
            goer.join().unwrap()
        });
        let (name, _, place) = coming;
        assert_eq!(fs::read_to_string(place.join("name")).unwrap(), *name, "round {round}");
        fs::write(place.join("round"), round.to_string()).unwrap();
        let written = fs::read_to_string(node.on_server(name).join("round")).unwrap();
        assert_eq!(written, round.to_string(), "{name}");
        assert_eq!(fs::read_dir(&going.2).unwrap().count(), 0, "round {round}: {} is still seen", going.0);
        // Whoever comes next finds the share mounted.
        let own = node.own();
        assert!(
            own.len() == 1 && node.mounts().iter().all(|one| one.dev == own[0].dev),
            "round {round}: {:?}",
            node.mounts()
        );
    }
    goes(&node, &one.1, &one.2);
    node.assert_down();
}

#[test]
fn two_volumes_of_a_share_come_and_go_as_a_host_calls_for_them() {
    relay(
        60,
        |node, j, place| drop(node.mount(j, place, "").ok()),
        |node, _, place| drop(node.call(&["unmountdevice", text(place)]).ok()),
    );
}

#[test]
fn two_volumes_of_a_share_come_and_go_as_a_stranger_calls_for_them() {
    relay(
        30,
        |node, j, place| drop(node.call(&["mount", text(place), &j.text()]).ok()),
        |node, _, place| drop(node.call(&["unmount", text(place)]).ok()),
    );
}

/// Each makes volumes, snapshots of them and clones of the snapshots, all of them also of one volume that both copy at once, and deletes
/// a part. One name both ask for.
#[test]
fn two_at_a_time_make_copy_and_delete_in_one_pool() {
    let Some(node) = Node::with_pool("") else { return };
    let fill = |volume: &str, words: &str| {
        let dir = node.on_server("base").join(volume);
        shell("cd $1 && mkdir -p d/e && echo \"$2\" >d/e/words && ln d/e/words again", &[text(&dir), words]);
    };
    let common = node.make("common", &[]);
    fill("common", "common");
    thread::scope(|scope| {
        for who in ["a", "b"] {
            let (node, common) = (&node, &common);
            scope.spawn(move || {
                for n in 0..TREES {
                    let (volume, snapshot) = (format!("v-{who}-{n}"), format!("s-{who}-{n}"));
                    let id = node.make(&volume, &[]);
                    fill(&volume, &volume);
                    let ask = J::default().with("flexvol/name", &snapshot).with("flexvol/id", &id);
                    let taken = node.through("createsnapshot", &ask).ok().word("snapshot");
                    node.make(&format!("c-{who}-{n}"), &[("flexvol/sourceSnapshot", &taken)]);
                    node.make(&format!("d-{who}-{n}"), &[("flexvol/sourceVolume", common)]);
                    // The other asks for it, too, about now.
                    assert_eq!(node.make(&format!("both-{n}"), &[]), format!("p/both-{n}"));
                    if n % 2 == 0 {
                        node.through("deletevolume", &J::default().with("flexvol/id", &id)).ok();
                        node.through("deletesnapshot", &J::default().with("flexvol/snapshot", &taken)).ok();
                    }
                }
            });
        }
    });

    let (mut volumes, mut snapshots) = (vec!["p/common".to_owned()], Vec::new());
    let has = |path: &str, words: &str| {
        let dir = node.on_server("base").join(path);
        for file in ["d/e/words", "again"] {
            assert_eq!(fs::read_to_string(dir.join(file)).unwrap(), format!("{words}\n"), "{path}");
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "{path}");
    };
    for n in 0..TREES {
        for who in ["a", "b"] {
            let volume = format!("v-{who}-{n}");
            has(&format!("c-{who}-{n}"), &volume);
            has(&format!("d-{who}-{n}"), "common");
            volumes.extend([format!("p/c-{who}-{n}"), format!("p/d-{who}-{n}")]);
            if n % 2 == 1 {
                has(&volume, &volume);
                has(&format!(".flexvol/snapshots/s-{who}-{n}"), &volume);
                volumes.push(format!("p/{volume}"));
                snapshots.push(format!("p/snap/s-{who}-{n}"));
            }
        }
        assert_eq!(fs::read_dir(node.on_server(&format!("base/both-{n}"))).unwrap().count(), 0);
        volumes.push(format!("p/both-{n}"));
    }
    has("common", "common");
    volumes.sort();
    snapshots.sort();
    // A page that takes long is shorter.
    let listed = |verb: &str, rows: &str, id: &str| {
        let (mut ids, mut token) = (Vec::new(), String::new());
        loop {
            let page = node.call(&[verb, &J::default().with("flexvol/token", &token).text()]).ok();
            ids.extend(page.get(rows).as_array().unwrap().iter().map(|row| row[id].as_str().unwrap().to_owned()));
            match page.get("next").as_str() {
                Some(next) => token = next.to_owned(),
                None => return ids,
            }
        }
    };
    assert_eq!(listed("listvolumes", "volumes", "id"), volumes);
    assert_eq!(listed("listsnapshots", "snapshots", "snapshot"), snapshots);
    for dir in ["new", "trash", "copies"] {
        let left = fs::read_dir(node.on_server("base/.flexvol").join(dir)).map_or(0, Iterator::count);
        assert_eq!(left, 0, "left in {dir}");
    }
    // Our own directory besides.
    assert_eq!(fs::read_dir(node.on_server("base")).unwrap().count(), volumes.len() + 1);
    node.assert_down();
}
