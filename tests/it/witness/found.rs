//! A plugin directory with all that may lie in one: both hosts find the same drivers there, at start and later.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use flexvolume_testkit::scripted::Answer;
use serde_json::json;

use super::{Known, Reply, Witness, assert_written, install};
use crate::{
    bed::Bed,
    scripts::{direct, until},
};

const SUCCESS: &str = "#!/bin/sh\necho '{\"status\":\"Success\"}'\n";
const DIRECT: &str = "#!/bin/sh\necho '{\"status\":\"Success\",\"capabilities\":{\"attach\":false}}'\n";

/// Directories and files, what the file says, and the driver that a host has then.
const HEALTHY: &[(&str, &str, &str)] = &[
    ("foo~cifs/cifs", SUCCESS, "foo/cifs"),
    ("nas/nas", DIRECT, "nas"),
    ("foo~Mixed.Case/Mixed.Case", SUCCESS, "foo/Mixed.Case"),
    ("a.b-c.io~d_e.f/d_e.f", DIRECT, "a.b-c.io/d_e.f"),
    ("v~quiet/quiet", "#!/bin/sh\necho '{\"status\":\"Success\"}' >&2\n", "v/quiet"),
];

/// The same, where no host has a driver.
const BROKEN: &[(&str, &str, &str)] = &[
    (".foo~hidden/hidden", SUCCESS, "foo/hidden"),
    ("a~b~c/c", SUCCESS, "a/b/c"),
    ("Foo~upper/upper", SUCCESS, "Foo/upper"),
    ("v~-/-", SUCCESS, "v/-"),
    ("v~other/name", SUCCESS, "v/other"),
    ("v~fails/fails", "#!/bin/sh\necho '{\"status\":\"Failure\",\"message\":\"no helper\"}'; exit 1\n", "v/fails"),
    ("v~knows-not/knows-not", "#!/bin/sh\necho '{\"status\":\"Not supported\"}'\n", "v/knows-not"),
    ("v~silent/silent", "#!/bin/sh\nexit 0\n", "v/silent"),
    ("v~lost/lost", "#!/no/such/interpreter\n", "v/lost"),
    ("v~text/text", "this is no program\n", "v/text"),
];

/// Found and run by Kubernetes, refused by us.
const KNOWN: Known = Known { name: "whose file it is", line: "**What drivers are run.**" };

fn put(plugins: &Path, path: &str, text: &str, mode: u32) {
    let exe = plugins.join(path);
    fs::create_dir_all(exe.parent().unwrap()).unwrap();
    fs::set_permissions(exe.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    // Renamed into place: while it is open for writing it cannot be run.
    let hidden = exe.with_file_name(".new");
    fs::write(&hidden, text).unwrap();
    fs::set_permissions(&hidden, Permissions::from_mode(mode)).unwrap();
    fs::rename(&hidden, &exe).unwrap();
}

/// The drivers that our host can use, and which of them attach.
fn ours(bed: &Bed) -> Vec<(String, bool)> {
    let ran = bed.run(["-o", "json", "drivers"]);
    let rows: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let usable = rows.as_array().unwrap().iter().filter(|row| row["error"].is_null());
    let named = usable.map(|row| (row["driver"].as_str().unwrap().to_owned(), row["kind"] == "attachable"));
    let mut all: Vec<_> = named.collect();
    all.sort();
    all
}

/// The same of the original, asked by every name there is.
fn theirs(witness: &mut Witness, more: &[&str]) -> Vec<(String, bool)> {
    let names = HEALTHY.iter().chain(BROKEN).map(|(_, _, name)| *name);
    let mut all = Vec::new();
    for name in names.chain(more.iter().copied()) {
        if let Reply::Done(found) = witness.ask("find", json!({"driver": name})) {
            assert_eq!(found["name"], *name);
            all.push((name.to_owned(), found["attachable"] == true));
        }
    }
    all.sort();
    all
}

#[test]
fn both_hosts_find_the_same_drivers() {
    assert_written(&[KNOWN]);
    let Some(bed) = Bed::new() else { return };
    let plugins = bed.sandbox.plugins();
    for (path, text, _) in HEALTHY.iter().chain(BROKEN) {
        put(&plugins, path, text, 0o755);
    }
    put(&plugins, "v~plain/plain", SUCCESS, 0o644);
    put(&plugins, "v~deep/below/deep", SUCCESS, 0o755);
    fs::create_dir_all(plugins.join("v~dir/dir")).unwrap();
    fs::create_dir_all(plugins.join("v~empty")).unwrap();
    fs::write(plugins.join("README"), "words").unwrap();
    let elsewhere = bed.sandbox.dir("elsewhere").unwrap();
    put(&elsewhere, "v~link/link", SUCCESS, 0o755);
    symlink(elsewhere.join("v~link"), plugins.join("v~link")).unwrap();
    let more =
        ["v/plain", "v/deep", "v/dir", "v/empty", "README", "v/link", "v/late", "foo~cifs", "Foo/cifs", "FOO/CIFS"];

    let Some(mut witness) = Witness::start(&bed) else { return };
    let found = ours(&bed);
    assert_eq!(found, theirs(&mut witness, &more), "ours, theirs");
    assert_eq!(found.len(), HEALTHY.len());

    // Later, and beside the broken ones.
    put(&plugins, "v~late/late", DIRECT, 0o755);
    until("the late driver", || theirs(&mut witness, &more).len() > HEALTHY.len());
    assert_eq!(ours(&bed), theirs(&mut witness, &more));
    fs::remove_dir_all(plugins.join("foo~cifs")).unwrap();
    until("one to be gone", || theirs(&mut witness, &more).len() == HEALTHY.len());
    assert_eq!(ours(&bed), theirs(&mut witness, &more));

    // The known difference: a file that somebody else may write to.
    put(&plugins, "v~foreign/foreign", SUCCESS, 0o755);
    chown(plugins.join("v~foreign/foreign"), Some(65534), Some(65534)).unwrap();
    witness.found("v/foreign");
    assert!(ours(&bed).iter().all(|(name, _)| name != "v/foreign"), "no difference any more: {}", KNOWN.name);
}

/// What `flexvol install` puts there the original finds as it should be found: whole and at once.
#[test]
fn what_our_command_installs_the_original_finds_at_once() {
    let Some(bed) = Bed::new() else { return };
    let Some(mut witness) = Witness::start(&bed) else { return };
    witness.fails("find", json!({"driver": "v/d"}), &["no volume plugin matched"]);
    let driver = install(&bed, "v/d", direct());
    until("the driver", || witness.found("v/d")["attachable"] == false);
    // Over it, with other capabilities.
    install(&bed, "v/d", direct().on("init", Answer::success()));
    until("the new driver", || witness.found("v/d")["attachable"] == true);
    assert!(driver.verbs().unwrap().iter().filter(|verb| *verb == "init").count() >= 2);
    let failed = witness.logged().lines().filter(|line| line.contains("Error dynamically probing")).count();
    assert_eq!(failed, 0, "a driver that was not whole was called:\n{}", witness.logged());
    fs::remove_dir_all(bed.sandbox.plugins().join("v~d")).unwrap();
    until("the driver to be gone", || matches!(witness.ask("find", json!({"driver": "v/d"})), Reply::Error { .. }));
}
