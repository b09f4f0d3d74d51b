//! What the original calls each verb with, and what we render for the same call.

use flexvolume_protocol::{
    Attach, Bytes, Call, Detach, Device, Dir, ExpandFs, ExpandVolume, GetVolumeName, Init, IsAttached, Mount,
    MountDevice, Unmount, UnmountDevice, VerbName, WaitForAttach,
};
use serde_json::{Value, json};

use super::{Witness, install, options::Volume, recorder};
use crate::bed::Bed;

/// Names of devices and nodes that shells and programs stumble over.
const HOSTILE: &[(&str, &str)] = &[
    ("/dev/sdx", "node-1"),
    ("", ""),
    ("two words", "node with blanks"),
    ("\"quoted\" 'twice' \\", "\"n\""),
    ("line\nbreak\n", "n\n"),
    ("$HOME `id` $(id)", "$NODE"),
    ("ü\u{2028}😀", "knoten-ü"),
    ("<>&", "<n>"),
    ("-o", "--"),
    ("{\"status\":\"Success\"}", "{}"),
    ("*", "?"),
];

fn rendered(call: impl Into<Call>) -> Vec<String> {
    call.into().render(false).argv.iter().map(|arg| arg.to_string()).collect()
}

#[test]
fn each_verb_has_the_arguments_of_the_original() {
    let mut compared = 0;
    for (device, node) in HOSTILE {
        let Some(bed) = Bed::new() else { return };
        let Some(mut witness) = Witness::start(&bed) else { return };
        let driver = install(&bed, "v/d", recorder(device));
        witness.found("v/d");
        let volume = Volume { persistent: true, name: "pv-1", ..Volume::default() }.with("k", device);
        let ask = |more: Value| {
            let mut ask = volume.request();
            ask["node"] = json!(node);
            ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            ask
        };
        driver.forget().unwrap();
        witness.ok("load", json!({"driver": "v/d"}));
        witness.word("volumename", ask(json!({})));
        assert_eq!(witness.word("attach", ask(json!({}))), *device);
        assert_eq!(witness.ok("attached", ask(json!({}))), true);
        assert_eq!(witness.word("wait", ask(json!({"device": device}))), *device);
        let gdir = witness.word("mountdevice", ask(json!({"device": device})));
        let pdir = witness.word("setup", ask(json!({})));
        witness.ok("nodeexpand", ask(json!({"device": device, "path": pdir, "new": i64::MAX, "old": 0})));
        witness.ok("expandvolume", ask(json!({"new": 2_147_483_648_u64, "old": 1})));
        witness.ok("teardown", json!({"driver": "v/d", "name": "pv-1", "uid": "uid-web"}));
        witness.ok("unmountdevice", json!({"driver": "v/d", "path": gdir}));
        witness.ok("detach", json!({"driver": "v/d", "name": "pv-1", "node": node}));

        let options = volume.plain();
        let (gdir, pdir) = (Dir::parse(&gdir).unwrap(), Dir::parse(&pdir).unwrap());
        let (device, node) = (Device((*device).to_owned()), (*node).to_owned());
        let large = u64::try_from(i64::MAX).unwrap();
        let ours: Vec<Call> = vec![
            Init {}.into(),
            GetVolumeName { options: options.clone() }.into(),
            Attach { options: options.clone(), node: node.clone() }.into(),
            IsAttached { options: options.clone(), node: node.clone() }.into(),
            WaitForAttach { device: device.clone(), options: options.clone() }.into(),
            MountDevice { dir: gdir.clone(), device: device.clone(), options: options.clone() }.into(),
            Mount { dir: pdir.clone(), options: volume.of_pod() }.into(),
            ExpandFs { options: options.clone(), device, dir: pdir.clone(), new: Bytes(large), old: Bytes(0) }.into(),
            ExpandVolume { options, dir: gdir.clone(), new: Bytes(2_147_483_648), old: Bytes(1) }.into(),
            Unmount { dir: pdir }.into(),
            UnmountDevice { dir: gdir }.into(),
            Detach { name: "pv-1".to_owned(), node }.into(),
        ];
        let calls = driver.calls().unwrap();
        for ours in ours {
            let verb = ours.verb();
            let theirs: Vec<_> = calls.iter().filter(|call| call.verb() == verb.as_str()).collect();
            assert!(!theirs.is_empty(), "the original never called {verb}");
            let ours = rendered(ours);
            for call in theirs {
                assert_eq!(call.argv, ours);
                assert_eq!(call.program, bed.sandbox.plugins().join("v~d/d").to_str().unwrap());
                compared += 1;
            }
        }
        let theirs = calls.iter().filter(|call| VerbName::parse(call.verb()).is_none()).count();
        assert_eq!(theirs, 0, "a verb that we do not know: {:?}", driver.verbs());
    }
    assert!(compared >= 12 * HOSTILE.len(), "{compared} calls compared");
}
