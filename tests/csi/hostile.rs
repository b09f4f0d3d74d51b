//! Hostile ids and paths at every call of the bridge: nothing outside of what is ours is touched, nobody panics, and the answer is one of
//! those that CSI has for such a thing.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use flexvolume_csi::wire::csi as wire;
use flexvolume_testkit::{hostile, picture::Picture};
use tonic::{Code, Status};

use crate::{
    bed::Bed,
    flows,
    volume::{Volume, map},
};

/// How many strings, of those that are ids and paths alike.
const COUNT: usize = 200;

/// What no call may come to: the bridge has no idea, or has broken down.
fn is_right(status: &Status) -> bool {
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::AlreadyExists
        | Code::OutOfRange
        | Code::Aborted
        | Code::Unimplemented => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

/// A bridge with things of others around what is ours.
struct Guarded {
    bed: Bed,
    before: Picture,
}

impl Guarded {
    fn new(bed: Bed) -> Self {
        for dir in ["outside", "a", "~", "etc", "images", "run", "state"] {
            let dir = bed.command.sandbox.dir(dir).unwrap();
            fs::write(dir.join("canary"), "sings").unwrap();
        }
        let kubelet = bed.kubelet();
        let outside = bed.command.sandbox.path().join("outside");
        symlink(&outside, kubelet.join("out")).unwrap();
        symlink("..", kubelet.join("up")).unwrap();
        symlink("/", kubelet.join("rootdir")).unwrap();
        bed.command.sandbox.dir("settings").unwrap();
        let settings = format!("{{\"directory\": {:?}}}", bed.command.sandbox.path().join("images"));
        fs::write(bed.command.sandbox.path().join("settings/flexvol.io~loopback.json"), settings).unwrap();
        let before = picture(&bed);
        Self { bed, before }
    }

    /// The call came to a right end, and all is as it was.
    #[track_caller]
    fn kept<T>(&self, came: Result<T, Status>, about: &str) -> bool {
        if let Err(status) = &came {
            // An id may name the folder of its image. One that is missing may be back later, so nobody says that the volume is gone.
            let is_unsure = status.message().contains("cannot find the directory for images");
            assert!(is_right(status) || is_unsure, "{about}: {status:?}");
            assert!(!status.message().contains(['\0', '\x1b', '\n']), "{about}: {status:?}");
            assert!(status.message().len() <= 8192, "{about}: {status:?}");
        }
        assert_eq!(picture(&self.bed), self.before, "{about}");
        assert_eq!(hostile::at_the_root(), Vec::<std::ffi::OsString>::new(), "{about}");
        came.is_ok()
    }
}

/// All but what is the bridge's own, and the targets beneath the kubelet's folder.
fn picture(bed: &Bed) -> Picture {
    let ours = ["root", "plugins", "run", "state", "kubelet", "bridge.log", "csi.sock"];
    let mut ours = ours.map(|name| bed.command.sandbox.path().join(name)).to_vec();
    // Volumes are made and go there; what is not theirs is looked at.
    ours.push(bed.command.sandbox.path().join("images"));
    Picture::without(bed.command.sandbox.path(), &ours).unwrap()
}

/// Strings of every kind: those of the symbols, long ones, and some that people thought of.
fn strings() -> Vec<String> {
    let texts = hostile::sample(4, COUNT).into_iter().filter_map(|bytes| String::from_utf8(bytes).ok());
    let known = [
        "..",
        "../..",
        "/",
        "//",
        ".",
        "a/../b",
        "/etc/passwd",
        "../../../../etc",
        "..\0",
        "\0",
        "a\0b",
        "\n",
        "a\nb",
        "\r",
        "\u{7f}",
        "%2e%2e%2f",
        "\u{202e}gnp.exe",
        "\u{fe0e}",
        "ü",
        "\u{1f600}",
        "-rf",
        "--help",
        "$(reboot)",
        "`id`",
        "'; --",
        "con",
        "~root",
        "v~d",
        "flexvol.io/loopback",
        "a:b",
        "\u{feff}",
        "ﬀ",
        "Ａ",
    ];
    let long = [127, 128, 129, 255, 256, 4096, 100_000].map(|count| "x".repeat(count));
    let deep = ["../".repeat(60), "a/".repeat(2000), "/".repeat(4095), "ü".repeat(64)];
    texts.chain(known.map(str::to_owned)).chain(long).chain(deep).collect()
}

fn volume(id: &str) -> Volume {
    Volume::named(id).of_any_type()
}

/// Every call that names a volume or a snapshot, with that name.
fn ids(guarded: &Guarded, text: &str) {
    let bed = &guarded.bed;
    let (client, id, shown) = (&bed.client, || text.to_owned(), text.escape_debug().to_string());
    let about = |call: &str| format!("{call} {}", shown.chars().take(300).collect::<String>());
    let capability = Some(volume("v").capability);
    let volume_id = id();
    guarded.kept(bed.try_create(text).and_then(|made| bed.delete(&made)), &about("create"));
    guarded.kept(bed.delete(&volume(text)), &about("delete"));
    let named = Volume { context: map([("directory", "/nowhere")]), ..volume(text) };
    guarded.kept(bed.stage(&named), &about("stage"));
    guarded.kept(bed.publish(&named, "one"), &about("publish"));
    guarded.kept(bed.unpublish(&named, "one"), &about("unpublish"));
    guarded.kept(bed.unstage(&named), &about("unstage"));
    let volume_capabilities = vec![volume("v").capability];
    let request = wire::ValidateVolumeCapabilitiesRequest { volume_id, volume_capabilities, ..Default::default() };
    guarded.kept(client.validate_volume_capabilities(request), &about("validate"));
    let request = wire::ControllerPublishVolumeRequest {
        volume_id: id(),
        node_id: id(),
        volume_capability: capability,
        ..Default::default()
    };
    guarded.kept(client.controller_publish_volume(request), &about("attach"));
    let request = wire::ControllerUnpublishVolumeRequest { volume_id: id(), node_id: id(), ..Default::default() };
    guarded.kept(client.controller_unpublish_volume(request), &about("detach"));
    let request = wire::ControllerGetVolumeHealthRequest { volume_id: id(), ..Default::default() };
    guarded.kept(client.controller_get_volume_health(request), &about("health"));
    let request = wire::CreateSnapshotRequest { source_volume_id: id(), name: "s".to_owned(), ..Default::default() };
    guarded.kept(client.create_snapshot(request), &about("snapshot of"));
    let request = wire::CreateSnapshotRequest { source_volume_id: "v".into(), name: id(), ..Default::default() };
    guarded.kept(client.create_snapshot(request), &about("snapshot called"));
    let request = wire::DeleteSnapshotRequest { snapshot_id: id(), ..Default::default() };
    guarded.kept(client.delete_snapshot(request), &about("delete snapshot"));
    let request = wire::GetSnapshotRequest { snapshot_id: id(), ..Default::default() };
    guarded.kept(client.get_snapshot(request), &about("get snapshot"));
    let request = wire::ListSnapshotsRequest { source_volume_id: id(), snapshot_id: id(), ..Default::default() };
    guarded.kept(client.list_snapshots(request), &about("list snapshots"));
    let request = wire::ListVolumesRequest { starting_token: id(), max_entries: 0 };
    guarded.kept(client.list_volumes(request), &about("list from"));
    let capacity_range = Some(wire::CapacityRange { required_bytes: 1 << 24, limit_bytes: 0 });
    let request = wire::ControllerExpandVolumeRequest { volume_id: id(), capacity_range, ..Default::default() };
    guarded.kept(client.controller_expand_volume(request), &about("expand"));
    let mutable_parameters = map([("directIO", "false")]);
    let request = wire::ControllerModifyVolumeRequest { volume_id: id(), mutable_parameters, ..Default::default() };
    guarded.kept(client.controller_modify_volume(request), &about("modify"));
    for mutable_parameters in [map([(text, "false")]), map([("directIO", text)])] {
        let request = wire::ControllerModifyVolumeRequest {
            volume_id: "steady".to_owned(),
            mutable_parameters: mutable_parameters.clone(),
            ..Default::default()
        };
        assert!(!guarded.kept(client.controller_modify_volume(request), &about("modified to")));
        let request = wire::CreateVolumeRequest { mutable_parameters, ..bed.wish("other") };
        assert!(!guarded.kept(client.create_volume(request), &about("made with")));
    }
    let volume_path = bed.target("one").display().to_string();
    let request = wire::NodeExpandVolumeRequest {
        volume_id: id(),
        volume_path: volume_path.clone(),
        capacity_range,
        ..Default::default()
    };
    guarded.kept(client.node_expand_volume(request), &about("expand on the node"));
    let request = wire::NodeGetVolumeStatsRequest { volume_id: id(), volume_path, ..Default::default() };
    guarded.kept(client.node_get_volume_stats(request), &about("stats"));
    let request = wire::NodeGetVolumeHealthRequest { volume_id: id(), ..Default::default() };
    guarded.kept(client.node_get_volume_health(request), &about("health on the node"));
}

#[test]
fn no_hostile_id_leads_elsewhere() {
    let Some(bed) = Bed::of("loopback") else { return };
    let guarded = Guarded::new(bed);
    let steady = guarded
        .bed
        .client
        .create_volume(wire::CreateVolumeRequest { parameters: map([]), ..guarded.bed.wish("steady") });
    assert_eq!(steady.unwrap().volume.unwrap().volume_id, "steady");
    let strings = strings();
    assert!(strings.len() >= COUNT, "{}", strings.len());
    for text in &strings {
        ids(&guarded, text);
    }
    guarded.bed.assert_no_panic();
    guarded.bed.command.assert_clean();
    let canary = guarded.bed.command.sandbox.path().join("images/canary");
    assert_eq!(fs::read_to_string(canary).unwrap(), "sings");
    // It still serves whoever behaves.
    guarded.bed.delete(&volume("steady")).unwrap();
    let good = guarded.bed.create("good");
    guarded.bed.stage(&good).unwrap();
    guarded.bed.publish(&good, "one").unwrap();
    guarded.bed.unpublish(&good, "one").unwrap();
    guarded.bed.unstage(&good).unwrap();
    guarded.bed.delete(&good).unwrap();
    let images = guarded.bed.command.sandbox.path().join("images");
    let left: Vec<_> = fs::read_dir(images).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name == "canary" || name.as_encoded_bytes().starts_with(b".")), "{left:?}");
}

/// Paths that a client could give: made of the strings, beneath the kubelet's folder, beside it, and through links in it.
fn paths(bed: &Bed) -> Vec<String> {
    let kubelet = bed.kubelet().display().to_string();
    let sandbox = bed.command.sandbox.path().display().to_string();
    let root = bed.command.sandbox.root().display().to_string();
    let places =
        ["", "/..", "/../outside", "/.", "/out", "/out/a", "/up/outside/b", "/rootdir/a", "/pods/../../outside", "//"];
    let mut all: Vec<_> = places.iter().map(|place| format!("{kubelet}{place}")).collect();
    for place in ["/outside", "/outside/x", "/a", "/etc", "/images", "/csi.sock", "/kubelet2", "/kubele"] {
        all.push(format!("{sandbox}{place}"));
    }
    for place in ["", "/pods", "/pods/x/volumes/v~d/data", "/plugins", "/ledger.db", "/locks/x"] {
        all.push(format!("{root}{place}"));
    }
    all.extend(["/", "/etc", "/proc/self/fd/3", "/dev/null", "/tmp", "relative", "./x"].map(str::to_owned));
    for text in strings() {
        all.push(text.clone());
        all.push(format!("{kubelet}/{text}"));
    }
    all
}

fn is_beneath(kubelet: &Path, path: &str) -> bool {
    let path = Path::new(path);
    path.starts_with(kubelet)
        && path != kubelet
        && !path.components().any(|part| part == std::path::Component::ParentDir)
        && ["out", "up", "rootdir"].iter().all(|link| !path.starts_with(kubelet.join(link)))
}

/// As a target, as a staging path, and as where a volume is to be found: of a driver that stages and one that does not.
#[test]
fn no_hostile_path_leads_elsewhere() {
    let Some((direct, _)) = Bed::script(flows::direct) else { return };
    let Some(staged) = Bed::of("loopback") else { return };
    for (bed, is_staged) in [(direct, false), (staged, true)] {
        let guarded = Guarded::new(bed);
        let volume = match is_staged {
            true => guarded.bed.create("data"),
            false => volume("data"),
        };
        if is_staged {
            guarded.bed.stage(&volume).unwrap();
        }
        let (kubelet, mut done) = (guarded.bed.kubelet(), 0);
        let before = guarded.bed.command.sandbox.mounts().unwrap();
        // A driver that mounts for each target takes its time over the good ones.
        let step = if is_staged { 1 } else { 3 };
        let known = 40;
        let paths = paths(&guarded.bed);
        for path in paths.iter().take(known).chain(paths.iter().skip(known).step_by(step)) {
            let shown = path.escape_debug().to_string().chars().take(300).collect::<String>();
            let client = &guarded.bed.client;
            let publish = wire::NodePublishVolumeRequest {
                target_path: path.clone(),
                ..guarded.bed.publish_request(&volume, "one")
            };
            if guarded.kept(client.node_publish_volume(publish), &format!("publish at {shown}")) {
                assert!(is_beneath(&kubelet, path), "published at {shown}");
                done += 1;
            }
            let at = |path: &str| path.to_owned();
            let stats = wire::NodeGetVolumeStatsRequest {
                volume_id: volume.id.clone(),
                volume_path: at(path),
                staging_target_path: at(path),
            };
            guarded.kept(client.node_get_volume_stats(stats), &format!("stats of {shown}"));
            let expand = wire::NodeExpandVolumeRequest {
                volume_id: volume.id.clone(),
                volume_path: at(path),
                staging_target_path: at(path),
                ..Default::default()
            };
            guarded.kept(client.node_expand_volume(expand), &format!("expand {shown}"));
            let unpublish = wire::NodeUnpublishVolumeRequest { volume_id: volume.id.clone(), target_path: at(path) };
            guarded.kept(client.node_unpublish_volume(unpublish), &format!("unpublish from {shown}"));
            assert_eq!(guarded.bed.command.sandbox.mounts().unwrap(), before, "left of {shown}");
            if is_staged {
                let other = guarded.bed.stage_request(&volume);
                let stage = wire::NodeStageVolumeRequest { staging_target_path: at(path), ..other };
                guarded.kept(client.node_stage_volume(stage), &format!("stage at {shown}"));
                let publish = wire::NodePublishVolumeRequest {
                    staging_target_path: at(path),
                    target_path: "/nowhere/at/all".to_owned(),
                    ..guarded.bed.publish_request(&volume, "one")
                };
                guarded.kept(client.node_publish_volume(publish), &format!("publish from {shown}"));
            }
        }
        assert!(done > 20, "only {done} of the paths are good ones");
        if is_staged {
            guarded.bed.unstage(&volume).unwrap();
        }
        guarded.bed.assert_no_panic();
        guarded.bed.command.assert_clean();
        let left: Vec<PathBuf> = crate::bed::walk(&kubelet).into_iter().filter(|path| !path.is_dir()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
