//! What the driver says when it is only asked: lists in pages, room, and health with something wrong.

use flexvolume_testkit::driver::{J, Said};

use super::hosted::{Hosted, fill};
use crate::{
    group::lvm,
    tools::{text, tool},
};

fn ids(said: &Said, list: &str, id: &str) -> Vec<String> {
    said.get(list).as_array().unwrap().iter().map(|one| one[id].as_str().unwrap().to_owned()).collect()
}

#[test]
fn lists_have_what_is_ours_in_pages() {
    let Some(host) = Hosted::new(&[200], "{}") else { return };
    host.vg.create("theirs", "4m", &[]);
    let options = [("size", "4m"), ("mkfsOptions", "-m 1")];
    let volumes: Vec<_> = (0..3).map(|n| host.volume(&format!("v{n}"), "ext4", &options)).collect();
    let made: Vec<&str> = volumes.iter().map(|one| &*one.id).collect();
    let (mut found, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = host.done("listvolumes", &J::default().with("flexvol/max", "2").with("flexvol/token", &token));
        pages += 1;
        found.extend(ids(&page, "volumes", "id"));
        match page.get("next").as_str() {
            Some(next) => next.clone_into(&mut token),
            None => break,
        }
    }
    assert_eq!((&found.iter().map(|id| &**id).collect::<Vec<_>>(), pages), (&made, 2));
    assert_eq!(host.done("listvolumes", &J::default()).get("volumes")[0]["options"]["mkfsOptions"], "-m 1");

    host.snapshot("s", &volumes[1], &[]);
    let of = |id: &str| host.done("listsnapshots", &J::default().with("flexvol/id", id));
    assert_eq!(ids(&of(made[1]), "snapshots", "id"), [made[1]]);
    assert_eq!(ids(&of(made[0]), "snapshots", "id"), Vec::<String>::new());
    let only = J::default().with("flexvol/snapshot", &host.vg.of("snap-s"));
    assert_eq!(ids(&host.done("listsnapshots", &only), "snapshots", "id"), [made[1]]);
    assert_eq!(ids(&host.done("listvolumes", &J::default()), "volumes", "id"), made, "no snapshot");

    // Of groups that may not be touched nothing is told.
    host.set(r#"{"volumegroups": ["nowhere"]}"#);
    assert_eq!(ids(&host.done("listvolumes", &J::default()), "volumes", "id"), Vec::<String>::new());
    host.set(&format!(r#"{{"volumegroups": ["nowhere", "{}"]}}"#, host.vg.name));
    assert_eq!(ids(&host.done("listvolumes", &J::default()), "volumes", "id"), made);
    let (condition, message) = host.health(None);
    assert!(condition == "degraded" && message.contains("no volume group nowhere"), "{condition}: {message}");
}

#[test]
fn room_is_what_can_then_be_made() {
    let Some(host) = Hosted::with_pool(&[200], 60, r#"{"thinOvercommit": 2}"#) else { return };
    let of = |more: &[(&str, &str)]| {
        let j = J::default().with("volumegroup", &host.vg.name);
        let said = host.done("getcapacity", &more.iter().fold(j, |j, (key, value)| j.with(key, value)));
        assert_eq!(said.get("available"), said.get("maximum"));
        said.get("available").as_u64().unwrap()
    };
    let (thick, thin) = (of(&[]), of(&[("thinpool", "pool")]));
    assert_eq!(thin, 120 << 20, "twice what the pool has");
    host.volume("thick", "ext4", &[("flexvol/requiredBytes", &thick.to_string())]);
    host.volume("thin", "ext4", &[("flexvol/requiredBytes", &thin.to_string()), ("thinpool", "pool")]);
    assert_eq!((of(&[]), of(&[("thinpool", "pool")])), (0, 0));
    let none = J::default().with("volumegroup", "nowhere");
    host.end_of("getcapacity", &none).fails("notFound", &["no volume group nowhere"]);
}

#[test]
fn health_tells_of_full_pools_lost_volumes_and_missing_disks() {
    let Some(host) = Hosted::new(&[60, 100], r#"{"thinWarn": 50}"#) else { return };
    let (one, two) = (&host.vg.disks[0], &host.vg.disks[1]);
    let pool = ["lvcreate", "-y", "--type", "thin-pool", "-L", "40m", "-n", "pool", &host.vg.name, text(&two.device)];
    lvm(pool);
    let thin = host.thin("thin", "ext4", "40m");
    let thick = host.volume("thick", "ext4", &[("size", "20m")]);
    for of in [None, Some(&thin), Some(&thick)] {
        assert_eq!(host.health(of), ("ok".to_owned(), String::new()));
    }
    let none = J::default().with("flexvol/id", &host.vg.of("none"));
    host.end_of("gethealth", &none).fails("notFound", &[]);

    let at = host.up(&thin);
    fill(&at, "x", 28_000);
    for of in [None, Some(&thin)] {
        let (condition, message) = host.health(of);
        assert!(condition == "degraded" && message.contains("% of its data"), "{condition}: {message}");
    }
    assert_eq!(host.health(Some(&thick)).0, "ok");

    // Handed out once, and gone behind our back.
    host.up(&thick);
    host.down(&thick);
    lvm(["lvremove", "-y", &thick.id]);
    let (condition, message) = host.health(Some(&thick));
    assert!(condition == "dataLoss" && message.contains("is gone"), "{condition}: {message}");

    // One disk is taken away, then all of them.
    host.down(&thin);
    lvm(["vgchange", "-an", &host.vg.name]);
    tool("losetup", &["-d", text(&two.device)]);
    for of in [None, Some(&thin)] {
        let (condition, message) = host.health(of);
        let wanted = if of.is_some() { "inaccessible" } else { "degraded" };
        assert!(condition == wanted && message.contains("missing"), "{condition}: {message}");
    }
    tool("losetup", &["-d", text(&one.device)]);
    let (condition, message) = host.health(Some(&thin));
    assert!(condition == "inaccessible" && message.contains("no volume group"), "{condition}: {message}");
    for disk in [one, two] {
        tool("losetup", &[text(&disk.device), text(&disk.file)]);
    }
    let (condition, message) = host.health(Some(&thin));
    assert_eq!(condition, "ok", "it is back: {message}");
}
