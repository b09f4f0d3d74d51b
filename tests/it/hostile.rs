//! Hostile strings at every door: names and paths on the command line, in manifests, in settings, in the plugin directory, beneath
//! the root, and in what drivers are called with. Whatever becomes of them, nothing outside of the folders that are ours is made,
//! changed, mounted or removed, and nobody panics.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    process::Command,
};

use flexvolume_host::{
    Layout,
    drivers::scan,
    settings::{Config, DriverConfig},
};
use flexvolume_linux::beneath::Trust;
use flexvolume_testkit::{binary, hostile, picture::Picture};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, Ran, pod},
    scripts::direct,
};

/// A bed with things of others around what is ours.
struct Guarded {
    bed: Bed,
    before: Picture,
}

impl Guarded {
    fn new() -> Option<Self> {
        let bed = Bed::with_drivers()?;
        bed.script("v/direct", direct());
        for dir in ["a", "~", "etc", "images", "run", "state"] {
            let dir = bed.sandbox.dir(dir).unwrap();
            fs::write(dir.join("canary"), "sings").unwrap();
        }
        bed.manifest("flexvol.json", "{}");
        bed.manifest("in.json", "");
        let before = picture(&bed);
        Some(Self { bed, before })
    }

    /// Nothing that is not ours has changed, and nobody panicked.
    fn assert_kept(&self, ran: &Ran, about: &str) {
        assert!(!ran.stderr.contains("panicked") && (0..=6).contains(&ran.code), "{about}: {ran:?}");
        assert!(!ran.stderr.contains(['\0', '\x1b']), "{about}: {ran:?}");
        assert_eq!(picture(&self.bed), self.before, "{about}: {ran:?}");
        assert_eq!(hostile::at_the_root(), Vec::<OsString>::new(), "{about}: {ran:?}");
    }

    /// A manifest as JSON, from a file whose picture is not taken.
    fn up(&self, documents: &[Value], about: &str) {
        let text = json!({"apiVersion": "v1", "kind": "List", "items": documents}).to_string();
        let file = self.bed.manifest("root/in.json", &text);
        let ran = self.bed.run(["up", &file]);
        self.assert_kept(&ran, about);
        if ran.code == 0 {
            for mount in self.bed.sandbox.mounts().unwrap() {
                let names = mount.point.strip_prefix(self.bed.sandbox.root()).unwrap();
                assert!(
                    [5, 6, 7].contains(&names.components().count()),
                    "{about}: mounted at {}",
                    mount.point.display()
                );
            }
        }
        self.assert_kept(&self.bed.run(["down", &file]), about);
    }
}

/// All but the root, the plugin directory and the folders of our drivers.
fn picture(bed: &Bed) -> Picture {
    let ours = ["root", "plugins", "run", "state", "images"].map(|name| bed.sandbox.path().join(name));
    Picture::without(bed.sandbox.path(), &ours).unwrap()
}

fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// Those that can be an argument: a NUL ends one.
fn arguments(count: usize) -> impl Iterator<Item = OsString> {
    hostile::sample(4, count).into_iter().filter(|one| !one.contains(&0)).map(OsString::from_vec)
}

#[test]
fn no_hostile_name_on_the_command_line_leads_elsewhere() {
    let Some(guarded) = Guarded::new() else { return };
    let bed = &guarded.bed;
    let tmpfs = binary("tmpfs").unwrap();
    for name in arguments(60) {
        let vendor: OsString = [os(b"v/"), &name].into_iter().collect();
        for args in [
            [os(b"call"), &name, os(b"init")].as_slice(),
            &[os(b"call"), &vendor, os(b"init")],
            &[os(b"call"), os(b"flexvol.io/tmpfs"), &name],
            &[os(b"exec"), &name, os(b"--"), os(b"true")],
            &[os(b"exec"), os(b"-c"), &name, os(b"web"), os(b"--"), os(b"true")],
            &[os(b"install"), tmpfs.as_os_str(), os(b"--as"), &name],
            &[os(b"install"), tmpfs.as_os_str(), os(b"--as"), &vendor],
        ] {
            let ran = bed.run(args);
            guarded.assert_kept(&ran, &format!("{args:?}"));
        }
        // As the name of a pod; what looks like a file is one, and there is none.
        if !Path::new(&name).exists() {
            guarded.assert_kept(&bed.run([os(b"down"), &name]), &format!("down {name:?}"));
        }
    }
    // What was installed lies one below the plugin directory, and is called as it was named.
    for entry in fs::read_dir(bed.sandbox.plugins()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let file = name.rsplit('~').next().unwrap();
        assert!(entry.path().join(file).is_file(), "{name}");
    }
}

#[test]
fn no_hostile_name_in_a_manifest_leads_elsewhere() {
    let Some(guarded) = Guarded::new() else { return };
    let images = guarded.bed.sandbox.path().join("images");
    let flex =
        |driver: &str, options: Value| json!({"name": "data", "flexVolume": {"driver": driver, "options": options}});
    let with = |volume: Value, mount: Value| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": [mount]}], "volumes": [volume]},
        })
    };
    let usual = json!({"name": "data", "mountPath": "/m"});
    for bytes in hostile::sample(4, 40) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let pod = || with(flex("v/direct", json!({})), usual.clone());
        let put = |path: &str, mut pod: Value| {
            *pod.pointer_mut(path).unwrap() = text.clone().into();
            pod
        };
        let mut uid = pod();
        uid["metadata"]["uid"] = text.clone().into();
        let mut namespace = pod();
        namespace["metadata"]["namespace"] = text.clone().into();
        let claimed = with(json!({"name": "data", "persistentVolumeClaim": {"claimName": "c"}}), usual.clone());
        let pv = |name: &str| {
            let spec = json!({"flexVolume": {"driver": "v/direct"}, "claimRef": {"name": "c", "namespace": "default"}});
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})
        };
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {}});
        let id = json!({"volumeID": text, "create": "true", "size": "16m", "directory": images});
        let directory = json!({"volumeID": "v", "directory": format!("{}/{text}", images.display())});
        let mounted = |key: &str| {
            let mut mount = usual.clone();
            mount[key] = text.clone().into();
            with(flex("v/direct", json!({})), mount)
        };
        let renamed = {
            let mut mount = usual.clone();
            mount["name"] = text.clone().into();
            put("/spec/volumes/0/name", with(flex("v/direct", json!({})), mount))
        };
        for (field, documents) in [
            ("pod", vec![put("/metadata/name", pod())]),
            ("uid", vec![uid]),
            ("namespace", vec![namespace]),
            ("volume", vec![renamed]),
            ("driver", vec![put("/spec/volumes/0/flexVolume/driver", pod())]),
            ("mountPath", vec![mounted("mountPath")]),
            ("subPath", vec![mounted("subPath")]),
            ("persistent volume", vec![claimed, claim, pv(&text)]),
            ("volumeID", vec![with(flex("flexvol.io/loopback", id), usual.clone())]),
            ("directory", vec![with(flex("flexvol.io/loopback", directory), usual.clone())]),
        ] {
            guarded.up(&documents, &format!("{field} {text:?}"));
        }
    }
    guarded.bed.assert_clean();
    let images: Vec<_> = fs::read_dir(images).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(images.iter().all(|name| !name.as_bytes().contains(&b'/')) && images.len() > 1, "{images:?}");
}

/// What subPath names is followed beneath the volume only, in the command's own view.
#[test]
fn exec_sees_no_more_than_the_volume() {
    let Some(guarded) = Guarded::new() else { return };
    let bed = &guarded.bed;
    let text = pod("web", &[("data", "{driver: v/direct}")]).replace("/data/data}", "/data/data, subPath: part}");
    let file = bed.manifest("root/pod.yaml", &text);
    bed.ok(["up", &file]);
    let volume = bed.path_of("web", "data");
    for link in ["../..", "/", "/etc", "..", "."] {
        let _ = fs::remove_file(volume.join("part"));
        std::os::unix::fs::symlink(link, volume.join("part")).unwrap();
        let ran = bed.run(["exec", "web", "--", "ls", "/data/data"]);
        guarded.assert_kept(&ran, link);
        assert_ne!(ran.code, 0, "{link}: {ran:?}");
    }
    bed.ok(["down", &file]);
}

/// Directories of any name where drivers are looked for, and beneath the root where a lost ledger is pieced together from.
#[test]
fn no_entry_of_a_hostile_name_is_a_driver_or_a_volume() {
    let Some(guarded) = Guarded::new() else { return };
    let bed = &guarded.bed;
    let creatable = |longest| {
        let is_name =
            |one: &Vec<u8>| !one.is_empty() && !one.iter().any(|b| b"\0/".contains(b)) && *one != b"." && *one != b"..";
        hostile::strings(longest).filter(is_name).map(OsString::from_vec)
    };
    let plugins = bed.sandbox.dir("images/plugins").unwrap();
    for name in creatable(3) {
        let _ = fs::create_dir(plugins.join(name));
    }
    let names = scan::names(&plugins).unwrap();
    assert!(names.len() > 5, "{names:?}");
    for name in &names {
        assert!(plugins.join(name.dir()).is_dir() && !name.dir().contains('/'), "{name}");
        assert!(scan::find(&plugins, name, &Trust::here()).is_err(), "{name} has no executable");
    }
    for name in creatable(2) {
        for below in ["pods", "plugins/kubernetes.io/flexvolume", "pods/a/volumes", "pods/a/volumes/v~direct"] {
            let _ = fs::create_dir_all(bed.sandbox.root().join(below).join(&name));
        }
    }
    for ledger in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _ = fs::remove_file(bed.sandbox.root().join(ledger));
    }
    for args in [&["ls"] as &[&str], &["-o", "json", "ls", "--usage"], &["drivers"], &["down", "--all"], &["ls"]] {
        guarded.assert_kept(&bed.run(args), &format!("{args:?}"));
    }
}

/// Locks and records of formats are named after volumes; settings name drivers and verbs.
#[test]
fn no_hostile_key_becomes_a_path() {
    let layout = Layout::new("/root/below");
    for text in hostile::texts(4) {
        for (file, parent) in [(layout.lock(&text), "/root/below/locks"), (layout.intent(&text), "/root/below/formats")]
        {
            assert_eq!(file.parent(), Some(Path::new(parent)), "{text:?}");
            assert_eq!(file.components().collect::<PathBuf>(), file, "{text:?}");
        }
    }
    for text in hostile::texts(3) {
        let config = |drivers: Value| serde_json::from_value::<Config>(json!({"drivers": drivers}));
        if let Ok(config) = config(json!({&text: {}})) {
            let [name] = config.drivers.keys().collect::<Vec<_>>()[..] else { panic!("{text:?}") };
            assert!(!name.dir().contains('/') && !name.dir().starts_with('.'), "{text:?}");
        }
        assert!(serde_json::from_value::<Config>(json!({&text: {}})).is_err(), "{text:?} is no setting");
        assert!(serde_json::from_value::<DriverConfig>(json!({"secrets": text})).is_err());
    }
    let Some(guarded) = Guarded::new() else { return };
    let file = guarded.bed.sandbox.root().join("settings.json");
    for bytes in hostile::sample(4, 20) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for settings in [
            json!({"drivers": {&text: {}}}),
            json!({"defaults": {"limits": {&text: {"answer": 1}}}}),
            json!({"node": text}),
        ] {
            fs::write(&file, settings.to_string()).unwrap();
            let ran = guarded.bed.run([os(b"--config"), file.as_os_str(), os(b"ls")]);
            guarded.assert_kept(&ran, &settings.to_string());
        }
        if !bytes.contains(&0) {
            // A file or folder of any name: only read.
            guarded.assert_kept(&guarded.bed.run([os(b"--config"), os(&bytes), os(b"ls")]), &text);
        }
    }
}

/// Our own drivers, called by who knows whom.
#[test]
fn no_hostile_argument_leads_a_driver_elsewhere() {
    let Some(guarded) = Guarded::new() else { return };
    let bed = &guarded.bed;
    let (images, place) = (bed.sandbox.path().join("images"), bed.sandbox.dir("root/pods/uid/volumes/d/v").unwrap());
    let place = place.to_str().unwrap();
    let call = |driver: &str, settings: &OsStr, args: &[&str]| {
        let exe = bed.sandbox.plugins().join(format!("flexvol.io~{driver}/{driver}"));
        let output = Command::new(exe).args(args).envs(bed.env()).env("FLEXVOL_SETTINGS", settings).output().unwrap();
        let ran = Ran::of(output);
        assert!(ran.stdout.starts_with("{\"status\":") && ran.stderr.is_empty(), "{args:?}: {ran:?}");
        guarded.assert_kept(&ran, &format!("{driver} {args:?}"));
        for mount in bed.sandbox.mounts().unwrap() {
            assert_eq!(mount.point, Path::new(place), "{args:?}");
        }
        ran.stdout
    };
    for bytes in hostile::sample(4, 40) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let none = OsStr::new("/nowhere");
        let options = |key: &str| {
            let mut options = json!({
                "volumeID": "v", "create": "true", "size": "16m", "directory": images,
                "kubernetes.io/pvOrVolumeName": "pv", "kubernetes.io/fsType": "ext4",
            });
            options[key] = text.clone().into();
            options.to_string()
        };
        // A volume is made where its name is one, and goes again.
        for key in ["volumeID", "kubernetes.io/pvOrVolumeName"] {
            call("loopback", none, &["mount", place, &options(key)]);
            call("loopback", none, &["unmount", place]);
        }
        for key in ["kubernetes.io/fsType", "size", "directory", "create"] {
            call("loopback", none, &["attach", &options(key).replace("\"v\"", "\"none\""), "node"]);
        }
        for key in ["flexvol/id", "flexvol/name"] {
            let id = json!({key: text, "directory": images}).to_string();
            call("loopback", none, &["createvolume", &id.replace("flexvol/id", "flexvol/name")]);
            call("loopback", none, &["deletevolume", &id.replace("flexvol/name", "flexvol/id")]);
        }
        let below = format!("{}/{text}", images.display());
        for id in [text.as_str(), below.trim_start_matches('/')] {
            let keys =
                ["name", "id", "snapshot", "sourceSnapshot", "token"].map(|key| (format!("flexvol/{key}"), id.into()));
            let all = serde_json::Value::Object(keys.into_iter().collect()).to_string();
            for verb in [
                "createsnapshot",
                "deletesnapshot",
                "listsnapshots",
                "createvolume",
                "listvolumes",
                "gethealth",
                "getcapacity",
                "modifyvolume",
            ] {
                call("loopback", none, &[verb, &all]);
            }
        }
        call("loopback", none, &["detach", &text.replace('\0', "0"), "node"]);
        call("tmpfs", none, &["mount", place, &json!({"mode": text, "size": text}).to_string()]);
        call("tmpfs", none, &["unmount", place]);
        // A directory is an absolute path that leads down.
        for dir in [text.clone(), format!("{place}/../{text}"), format!("/{text}/..")] {
            call("tmpfs", none, &["mount", &dir.replace('\0', "0"), "{}"]);
        }
        if !bytes.contains(&0) {
            call("tmpfs", os(&bytes), &["init"]);
            call("loopback", os(&bytes), &["attach", &options("volumeID"), "node"]);
            call("loopback", none, &["detach", "pv", "node"]);
        }
    }
    assert_eq!(bed.sandbox.loops().unwrap(), []);
}
