//! A secret of a call reaches the driver and nobody else: no command line of a driver that reads it from standard input, no log at any
//! level, no answer, no record, no file.

use std::{collections::BTreeMap, fs};

use flexvolume_csi::wire::csi as wire;
use flexvolume_testkit::{
    needles::Needles,
    scripted::{Answer, Script, Scripted},
};
use serde_json::json;
use tonic::Status;

use crate::{
    bed::{Bed, walk},
    command,
    volume::{Volume, map},
};

const SECRET: &str = r#"Zq8 "quoted" \back\slash $HOME 'and' %41 <tag> & Vx4"#;

/// Tells all that it knows: what it is called with and what it reads, in every answer and beside it.
fn gossip(bed: &command::Bed, verdict: &str) -> Answer {
    let heard = bed.sandbox.path().join("heard");
    // The record of the script has the arguments; this is what was read, and what is told.
    let text = format!(
        r#"in=$(cat "$_r.stdin" 2>/dev/null | tr -d '\n' | sed 's/\\/\\\\/g; s/"/\\"/g'); printf '%s\n' "$in" >>{}
printf '{{"status":"{verdict}","message":"I was told: %s"}}\n' "$in"; printf 'and also: %s\n' "$in" >&2; [ {verdict} = Success ]"#,
        heard.display()
    );
    Answer::shell(text)
}

/// A driver that announces everything; each verb fails with all that it knows, or mounts.
fn script(bed: &command::Bed, extensions: &[&str], works: bool) -> Script {
    let init = json!({
        "status": "Success", "capabilities": {"attach": false}, "extensions": extensions,
    });
    let script = Script::sh().records_stdin().on("init", Answer::json(&init)).otherwise(gossip(bed, "Failure"));
    // What is begun can be taken back, else nothing could be clean.
    let script =
        ["detach", "unmountdevice", "unmount"].into_iter().fold(script, |it, verb| it.on(verb, Answer::success()));
    if !works {
        return script;
    }
    let loud = |does: &str| {
        let heard = bed.sandbox.path().join("heard");
        Answer::success().run(format!(r#"cat "$_r.stdin" >>{}; {does}"#, heard.display()))
    };
    script
        .on("attach", Answer::json(&json!({"status": "Success", "device": "none"})))
        .on("waitforattach", Answer::json(&json!({"status": "Success", "device": "none"})))
        .on("mountdevice", loud(r#"mount -t tmpfs none "$2""#))
        .on("unmountdevice", loud(r#"umount "$2""#))
        .on("detach", Answer::success())
        .on("mount", loud(r#"mount -t tmpfs none "$2""#))
        .on("unmount", loud(r#"umount "$2""#))
}

fn secrets() -> BTreeMap<String, String> {
    map([("password", SECRET)])
}

/// Every call that brings secrets, with them; what was said.
fn all_calls(bed: &Bed) -> Vec<Result<(), Status>> {
    let client = &bed.client;
    let volume = Volume { secrets: secrets(), ..Volume::named("v").of_any_type() };
    let capacity_range = Some(wire::CapacityRange { required_bytes: 1 << 24, limit_bytes: 0 });
    let id = || "v".to_owned();
    let with = wire::CreateVolumeRequest { secrets: secrets(), parameters: BTreeMap::new(), ..bed.wish("v") };
    let mut came = vec![
        client.create_volume(with).map(drop),
        client
            .validate_volume_capabilities(wire::ValidateVolumeCapabilitiesRequest {
                volume_id: id(),
                volume_capabilities: vec![volume.capability.clone()],
                secrets: secrets(),
                ..Default::default()
            })
            .map(drop),
        client
            .controller_publish_volume(wire::ControllerPublishVolumeRequest {
                volume_id: id(),
                node_id: "n".to_owned(),
                volume_capability: Some(volume.capability.clone()),
                secrets: secrets(),
                ..Default::default()
            })
            .map(drop),
        bed.stage(&volume),
        bed.publish(&volume, "one"),
        client
            .node_expand_volume(wire::NodeExpandVolumeRequest {
                volume_id: id(),
                volume_path: bed.target("one").display().to_string(),
                capacity_range,
                secrets: secrets(),
                ..Default::default()
            })
            .map(drop),
        client
            .controller_expand_volume(wire::ControllerExpandVolumeRequest {
                volume_id: id(),
                capacity_range,
                secrets: secrets(),
                ..Default::default()
            })
            .map(drop),
        client
            .controller_modify_volume(wire::ControllerModifyVolumeRequest {
                volume_id: id(),
                mutable_parameters: map([("speed", "fast")]),
                secrets: secrets(),
            })
            .map(drop),
        client
            .create_snapshot(wire::CreateSnapshotRequest {
                source_volume_id: id(),
                name: "s".to_owned(),
                secrets: secrets(),
                ..Default::default()
            })
            .map(drop),
        client.list_snapshots(wire::ListSnapshotsRequest { secrets: secrets(), ..Default::default() }).map(drop),
        client.get_snapshot(wire::GetSnapshotRequest { snapshot_id: "s".to_owned(), secrets: secrets() }).map(drop),
        client
            .delete_snapshot(wire::DeleteSnapshotRequest { snapshot_id: "s".to_owned(), secrets: secrets() })
            .map(drop),
        client
            .controller_get_volume_health(wire::ControllerGetVolumeHealthRequest {
                volume_id: id(),
                secrets: secrets(),
            })
            .map(drop),
        client
            .controller_list_volume_health(wire::ControllerListVolumeHealthRequest {
                secrets: secrets(),
                ..Default::default()
            })
            .map(drop),
        client.node_get_storage_health(wire::NodeGetStorageHealthRequest { secrets: secrets() }).map(drop),
    ];
    // These bring none, and concern a volume that had some.
    came.push(bed.publish(&Volume { secrets: BTreeMap::new(), ..volume.clone() }, "two"));
    came.extend([bed.unpublish(&volume, "two"), bed.unpublish(&volume, "one"), bed.unstage(&volume)]);
    came.push(
        client
            .controller_unpublish_volume(wire::ControllerUnpublishVolumeRequest {
                volume_id: id(),
                node_id: "n".to_owned(),
                secrets: secrets(),
            })
            .map(drop),
    );
    came.push(bed.delete(&volume));
    came
}

struct Search {
    needles: Needles,
}

impl Search {
    #[track_caller]
    fn not_in(&self, text: &[u8], what: &str) {
        if let Some(sighting) = self.needles.find(text) {
            panic!("the secret is in {what}: {sighting:?}\n{}", String::from_utf8_lossy(&text[..text.len().min(4000)]));
        }
    }

    /// All that is left on the disk, but for what the driver itself heard.
    #[track_caller]
    fn nowhere(&self, bed: &Bed) {
        for folder in ["root", "run", "state", "kubelet", "images"] {
            for file in walk(&bed.command.sandbox.path().join(folder)).into_iter().filter(|path| path.is_file()) {
                if let Ok(bytes) = fs::read(&file) {
                    self.not_in(&bytes, &file.display().to_string());
                }
            }
        }
        self.not_in(bed.log().as_bytes(), "the log");
    }

    #[track_caller]
    fn not_in_arguments(&self, driver: &Scripted) {
        for call in driver.calls().unwrap() {
            self.not_in(call.argv.join("\n").as_bytes(), &format!("the arguments of {}", call.verb()));
            for (name, value) in &call.env {
                self.not_in(value.as_bytes(), name);
            }
        }
    }
}

const ALL: [&str; 10] =
    ["stdin", "staged", "provision", "expand", "snapshot", "clone", "list", "health", "capacity", "modify"];

#[test]
fn a_secret_is_nowhere_but_with_the_driver() {
    let search = Search { needles: Needles::of(SECRET.as_bytes()) };
    for (stages, works) in [(true, true), (true, false), (false, true), (false, false)] {
        let extensions: Vec<_> = ALL.into_iter().filter(|name| stages || *name != "staged").collect();
        let Some((mut bed, driver)) = Bed::script(|bed| script(bed, &extensions, works)) else { return };
        for came in all_calls(&bed) {
            if let Err(status) = came {
                search.not_in(format!("{status:?}").as_bytes(), "an answer");
            }
            search.nowhere(&bed);
        }
        search.not_in_arguments(&driver);
        let heard = bed.command.sandbox.path().join("heard");
        let heard = fs::read(&heard).unwrap_or_default();
        assert!(
            search.needles.find(&heard).is_some(),
            "the driver was not given it: {}",
            String::from_utf8_lossy(&heard)
        );
        // In the middle of a call as well, and in what a kill leaves.
        bed.restart();
        search.nowhere(&bed);
        bed.assert_clean();
    }
}

/// Undoes nothing before it is mended, and tells why with all that it has heard before.
fn grudging(bed: &command::Bed, undo: &str) -> Answer {
    let (heard, mended) = (bed.sandbox.path().join("heard"), bed.sandbox.path().join("mended"));
    Answer::shell(format!(
        r#"if [ -e {} ]; then {undo}; printf '{{"status":"Success"}}\n'; exit; fi
in=$(tr -d '\n' <{} | sed 's/\\/\\\\/g; s/"/\\"/g')
printf '{{"status":"Failure","message":"I remember: %s"}}\n' "$in"; printf 'and also: %s\n' "$in" >&2; false"#,
        mended.display(),
        heard.display()
    ))
}

/// Tells in what it says of a volume all that it has heard before.
fn remembering(bed: &command::Bed) -> Answer {
    let heard = bed.sandbox.path().join("heard");
    Answer::shell(format!(
        r#"in=$(tr -d '\n' <{} | sed 's/\\/\\\\/g; s/"/\\"/g')
printf '{{"status":"Success","condition":"degraded","message":"I remember: %s"}}\n' "$in"; printf 'and also: %s\n' "$in" >&2"#,
        heard.display()
    ))
}

/// Nobody brings the secret along where a volume is taken away, and its driver may know it from before.
#[test]
fn who_undoes_tells_nothing_of_what_was_done() {
    let search = Search { needles: Needles::of(SECRET.as_bytes()) };
    for stages in [true, false] {
        let extensions: Vec<_> = ALL.into_iter().filter(|name| stages || *name != "staged").collect();
        let made = Bed::script(|bed| {
            let script = script(bed, &extensions, true);
            let script = script.on("unmountdevice", grudging(bed, r#"umount "$2""#));
            let script = script.on("gethealth", remembering(bed));
            script.on("unmount", grudging(bed, r#"umount "$2""#)).on("detach", grudging(bed, ":"))
        });
        let Some((mut bed, _driver)) = made else { return };
        let volume = Volume { secrets: secrets(), ..Volume::named("v").of_any_type() };
        if stages {
            bed.stage(&volume).unwrap();
        }
        bed.publish(&volume, "one").unwrap();
        let health = wire::NodeGetVolumeHealthRequest { volume_id: "v".to_owned(), ..Default::default() };
        let told = bed.client.node_get_volume_health(health).unwrap();
        assert_eq!(told.volume_health.as_ref().unwrap().health_statuses.len(), 1);
        search.not_in(format!("{told:?}").as_bytes(), "an answer");
        let undo = |bed: &Bed| match stages {
            true => bed.unpublish(&volume, "one").and_then(|()| bed.unstage(&volume)),
            false => bed.unpublish(&volume, "one"),
        };
        let told = undo(&bed).unwrap_err();
        search.not_in(format!("{told:?}").as_bytes(), "an answer");
        assert!(told.message().contains("withheld"), "it does not say why: {told:?}");
        search.nowhere(&bed);
        fs::write(bed.command.sandbox.path().join("mended"), "").unwrap();
        undo(&bed).unwrap();
        search.nowhere(&bed);
        bed.assert_clean();
    }
}

/// One that takes secrets in argv is refused if the settings say so, before it is called with any.
#[test]
fn settings_refuse_secrets_in_arguments() {
    let search = Search { needles: Needles::of(SECRET.as_bytes()) };
    let extensions: Vec<_> = ALL.into_iter().filter(|name| !["stdin", "staged"].contains(name)).collect();
    let Some((mut bed, driver)) = Bed::script(|bed| script(bed, &extensions, true)) else { return };
    bed.command.manifest("flexvol.json", r#"{"drivers": {"v/scripted": {"secrets": "refuse"}}}"#);
    bed.restart();
    for came in all_calls(&bed) {
        if let Err(status) = came {
            search.not_in(format!("{status:?}").as_bytes(), "an answer");
        }
    }
    search.not_in_arguments(&driver);
    search.nowhere(&bed);
    bed.assert_clean();
}
