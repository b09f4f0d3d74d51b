//! The same manifests through both hosts, on the same root: but for what is known, the driver cannot tell them apart.

use flexvolume_testkit::scripted::{Answer, Script, Scripted};
use serde_json::{Value, json};

use super::{Known, MOUNT, UNMOUNT, Witness, assert_written, inline, install, options, persistent, pod, recorder};
use crate::{bed::Bed, scripts::direct};

const MIB: u64 = 1 << 20;
const NODE: &str = "node-1";

/// One pod, its volumes as manifests say them, and whatever else the manifests hold.
struct Case {
    script: Script,
    pod: Value,
    /// Each volume of the pod as the original is asked for it, the pod left out.
    volumes: Vec<Value>,
    others: Vec<Value>,
}

/// What only one of the two hosts does in the calls of these cases.
const KNOWN: &[Known] = &[
    Known { name: "getvolumename", line: "**`getvolumename` is never called.**" },
    Known { name: "both spellings", line: "**Both spellings of the group's key are sent**" },
];

impl Case {
    /// A pod of a group, with these volumes.
    fn new(script: Script, volumes: &[Value]) -> Self {
        let mut pod = pod("web");
        pod["spec"]["securityContext"] = json!({"fsGroup": 4711});
        let named: Vec<_> = (0..volumes.len()).map(|n| format!("v{n}")).collect();
        let mounts: Vec<_> = named.iter().map(|v| json!({"name": v, "mountPath": format!("/data/{v}")})).collect();
        let mut listed = Vec::new();
        let mut asked = Vec::new();
        let mut others = Vec::new();
        for (name, source) in named.iter().zip(volumes) {
            if source["capacity"].is_null() {
                listed.push(inline(name, source.clone()));
                asked.push(json!({"volume": inline(name, source.clone())}));
            } else {
                let mut source = source.clone();
                let claim = source.as_object_mut().unwrap();
                let (bytes, read_only) = (claim.remove("capacity").unwrap(), claim.remove("claimReadOnly").unwrap());
                let mut volume = persistent(&format!("pv-{name}"), bytes.as_u64().unwrap(), source);
                volume["spec"]["claimRef"] = json!({"namespace": "default", "name": name});
                let requests = json!({"requests": {"storage": volume["spec"]["capacity"]["storage"]}});
                others.push(json!({
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": requests},
                }));
                others.push(volume.clone());
                listed.push(json!({"name": name, "persistentVolumeClaim": {"claimName": name, "readOnly": read_only}}));
                asked.push(json!({"persistentVolume": volume, "readOnly": read_only}));
            }
        }
        pod["spec"]["containers"] = json!([{"name": "c", "image": "none", "volumeMounts": mounts}]);
        pod["spec"]["volumes"] = json!(listed);
        Self { script, pod, volumes: asked, others }
    }

    fn manifest(&self) -> String {
        let all = self.others.iter().chain([&self.pod]);
        all.map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
    }
}

/// Up and down by our command.
fn by_ours(bed: &Bed, case: &Case) {
    bed.manifest("flexvol.json", &json!({"node": NODE}).to_string());
    let file = bed.manifest("pod.yaml", &case.manifest());
    bed.ok(["up", "--jobs", "1", &file]);
    bed.ok(["down", "--jobs", "1", &file]);
    bed.assert_clean();
}

/// Up and down as controllers and kubelet do it, in their order. Between volumes there is none: the other host's is followed.
fn by_the_original(witness: &mut Witness, case: &Case, unmounted: &[String]) {
    let attachable = witness.found("v/d")["attachable"] == true;
    let mut up = Vec::new();
    for volume in &case.volumes {
        let mut ask = volume.clone();
        ask["pod"] = case.pod.clone();
        ask["node"] = json!(NODE);
        let mut global = Value::Null;
        if attachable {
            ask["device"] = witness.ok("attach", ask.clone());
            ask["device"] = witness.ok("wait", ask.clone());
            global = witness.ok("mountdevice", ask.clone());
        }
        let dir = witness.word("setup", ask);
        up.push((unmounted.iter().position(|other| *other == dir), dir, global));
    }
    up.sort_by_key(|(position, ..)| *position);
    for (_, dir, global) in up {
        let name = dir.rsplit('/').next().unwrap();
        witness.ok("teardown", json!({"driver": "v/d", "name": name, "uid": "uid-web"}));
        if attachable {
            witness.ok("unmountdevice", json!({"driver": "v/d", "path": global}));
            witness.ok("detach", json!({"driver": "v/d", "name": name, "node": NODE}));
        }
    }
}

/// The calls since the last look, `init` left out: each host asks that when it loads a driver.
fn calls(driver: &Scripted) -> Vec<Vec<String>> {
    let calls = driver.calls().unwrap().into_iter().map(|call| call.argv);
    let calls = calls.filter(|argv| argv[0] != "init").collect();
    driver.forget().unwrap();
    calls
}

/// Runs the case through both and compares all that the driver was called with.
fn same_calls(case: &Case) {
    let Some(bed) = Bed::new() else { return };
    // Before the original looks: what its watcher hears makes it load a driver again, and forget what is not supported.
    let driver = install(&bed, "v/d", case.script.clone());
    let Some(mut witness) = Witness::start(&bed) else { return };
    for secret in case.others.iter().filter(|other| other["kind"] == "Secret") {
        let mut secret = secret.clone();
        secret["metadata"]["namespace"] = json!("default");
        witness.ok("secret", json!({"secret": secret}));
    }
    witness.found("v/d");
    driver.forget().unwrap();
    by_ours(&bed, case);
    let ours = calls(&driver);
    let unmounted: Vec<_> = ours.iter().filter(|argv| argv[0] == "unmount").map(|argv| argv[1].clone()).collect();
    by_the_original(&mut witness, case, &unmounted);
    let theirs = calls(&driver);

    let asked_names = theirs.iter().filter(|argv| argv[0] == "getvolumename").count();
    let is_attachable = ours.iter().any(|argv| argv[0] == "attach");
    assert_eq!(asked_names > 0, is_attachable, "no difference any more: {}", KNOWN[0].name);
    let theirs: Vec<_> = theirs.into_iter().filter(|argv| argv[0] != "getvolumename").collect();
    let ours: Vec<_> = ours
        .into_iter()
        .map(|mut argv| {
            if argv[0] == "mount" {
                argv[2] = options::without_old_spelling(&argv[2]);
            }
            argv
        })
        .collect();
    assert_eq!(ours, theirs, "ours, theirs");
}

fn secret() -> Value {
    let data = json!({"password": "cGFzcyIKPCY+", "key.bin": "AP/+gAA=", "empty": ""});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "type": "v/d", "data": data})
}

#[test]
fn what_is_known_is_written() {
    assert_written(KNOWN);
}

#[test]
fn a_direct_driver_cannot_tell_them_apart() {
    let options = json!({"share": "//nas/data", "text": "a \"b\"\n<&>\u{2028}ü", "empty": ""});
    let with_secret = json!({"driver": "v/d", "fsType": "nfs", "options": options, "secretRef": {"name": "keys"}});
    let mut case = Case::new(direct(), &[with_secret, json!({"driver": "v/d", "readOnly": true})]);
    case.others.push(secret());
    same_calls(&case);
}

#[test]
fn a_driver_that_does_every_verb_cannot_tell_them_apart() {
    let inline = json!({"driver": "v/d", "fsType": "ext4", "options": {"pool": "p"}});
    let claimed = json!({"driver": "v/d", "options": {"id": "1"}, "capacity": 64 * MIB, "claimReadOnly": false});
    let read_only = json!({"driver": "v/d", "capacity": MIB, "claimReadOnly": true});
    let script =
        recorder("pool/a b").on("mount", Answer::success().run(MOUNT)).on("unmount", Answer::success().run(UNMOUNT));
    same_calls(&Case::new(script, &[inline, claimed, read_only]));
}

/// "Not supported" is asked for once and remembered by both, whatever volume comes next.
#[test]
fn a_driver_that_leaves_the_device_to_its_host_cannot_tell_them_apart() {
    let script = Script::sh()
        .on("mount", Answer::success().run(MOUNT))
        .on("unmount", Answer::success().run(UNMOUNT))
        .on("init", Answer::success());
    same_calls(&Case::new(script, &[json!({"driver": "v/d"}), json!({"driver": "v/d", "options": {"n": "2"}})]));
}

#[test]
fn a_driver_is_told_of_growth_in_the_same_words() {
    let Some(bed) = Bed::new() else { return };
    let Some(mut witness) = Witness::start(&bed) else { return };
    let script =
        recorder("pool/a").on("mount", Answer::success().run(MOUNT)).on("unmount", Answer::success().run(UNMOUNT));
    let driver = install(&bed, "v/d", script.clone());
    let of_size = |mib: u64| {
        let source = json!({"driver": "v/d", "options": {"id": "1"}, "capacity": mib * MIB, "claimReadOnly": false});
        Case::new(script.clone(), &[source])
    };
    let told = |driver: &Scripted| calls(driver).into_iter().filter(|argv| argv[0] == "expandfs").collect::<Vec<_>>();
    let up = |mib: u64| bed.ok(["up", &bed.manifest("pod.yaml", &of_size(mib).manifest())]);
    up(64);
    up(128);
    bed.ok(["down", "web"]);
    let ours = told(&driver);

    witness.found("v/d");
    let mut ask = of_size(128).volumes.remove(0);
    ask["device"] = json!("pool/a");
    ask["path"] = json!(bed.sandbox.root().join("pods/uid-web/volumes/v~d/pv-v0"));
    ask["new"] = json!(128 * MIB);
    ask["old"] = json!(64 * MIB);
    witness.ok("nodeexpand", ask);
    let theirs = told(&driver);
    assert_eq!((ours.len(), &ours), (1, &theirs), "ours, theirs");
}
