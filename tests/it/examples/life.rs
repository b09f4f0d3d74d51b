//! A volume's life by an example: made, mounted for pods, kept, refused where it must be, gone.

use std::{collections::BTreeSet, fs};

use flexvolume_testkit::{hostile, picture::Picture};
use serde_json::{Value, json};

use super::Example;

#[test]
fn a_volume_is_made_used_by_pods_kept_and_deleted() {
    for example in Example::both() {
        let volume = example.ok("createvolume", &json!({"flexvol/name": "pvc-1", "flexvol/requiredBytes": "1048576"}));
        assert_eq!((&volume["id"], &volume["bytes"]), (&json!("pvc-1"), &json!(1_048_576)));
        let (one, two) = (example.pod("one", &volume, ""), example.pod("two", &volume, ", readOnly: true"));
        example.bed.ok(["up", &one, &two]);
        assert_eq!(example.exec("one", "echo kept > /data/data/file").code, 0);
        let read = example.exec("two", "cat /data/data/file; ! echo lost 2>/dev/null > /data/data/file");
        assert_eq!((read.code, read.stdout.as_str()), (0, "kept\n"), "{read:?}");
        let words = example.fails("deletevolume", &json!({"flexvol/id": "pvc-1"}), "busy");
        assert!(words.contains("mounted"), "{words}");
        example.bed.ok(["down", "one", "two"]);
        example.bed.assert_clean();
        example.bed.ok(["up", &one]);
        assert_eq!(example.exec("one", "cat /data/data/file").stdout, "kept\n");
        example.bed.ok(["down", "one"]);
        for _ in 0..2 {
            example.ok("deletevolume", &json!({"flexvol/id": "pvc-1"}));
        }
        assert_eq!(example.volumes(), BTreeSet::new());
        let left: Vec<_> = fs::read_dir(&example.folder).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert!(left.iter().all(|name| name == "volumes" || name == "snapshots"), "{left:?}");
    }
}

#[test]
fn the_same_again_is_the_same_and_another_size_is_a_conflict() {
    for example in Example::both() {
        let wish = |least: &str, most: &str| json!({"flexvol/name": "v", "flexvol/requiredBytes": least, "flexvol/limitBytes": most, "odd": "{}'\"\n$(exit)"});
        let volume = example.ok("createvolume", &wish("1000", "2000"));
        fs::write(example.data("v").join("file"), "data").unwrap();
        for (least, most) in [("1000", "2000"), ("0", "0"), ("", ""), ("1", "1000"), ("1000", "0")] {
            assert_eq!(example.ok("createvolume", &wish(least, most)), volume, "{least} to {most}");
        }
        for (least, most) in [("1001", "0"), ("1001", "2000"), ("0", "999")] {
            example.fails("createvolume", &wish(least, most), "conflict");
        }
        for (least, most) in
            [("2", "1"), ("-1", ""), ("1e3", ""), ("0x1", ""), ("", "1 "), ("9".repeat(30).as_str(), "")]
        {
            example.fails("createvolume", &wish(least, most), "invalid");
        }
        assert_eq!(fs::read_to_string(example.data("v").join("file")).unwrap(), "data");
        example.fails(
            "createvolume",
            &json!({"flexvol/name": "w", "flexvol/requiredBytes": "900000000000000"}),
            "exhausted",
        );
        assert_eq!(example.volumes(), BTreeSet::from(["v".to_owned()]), "what failed has left nothing");
        let free = example.ok("getcapacity", &json!({}))["available"].as_u64().unwrap();
        assert!(free > 0);
    }
}

#[test]
fn mount_and_unmount_can_come_again_and_nothing_is_mounted_over() {
    for example in Example::both() {
        example.make("v");
        example.make("w");
        let options = |folder: &str, access: &str| json!({"folder": folder, "kubernetes.io/readwrite": access});
        for _ in 0..2 {
            example.ok("mount", &options("v", "ro"));
        }
        assert!(fs::write(example.place.join("file"), "x").is_err(), "{} is written to", example.file);
        example.fails("mount", &options("v", "rw"), "conflict");
        example.fails("mount", &options("w", "ro"), "conflict");
        assert_eq!(example.bed.sandbox.mounts().unwrap().len(), 1);
        for _ in 0..2 {
            example.ok("unmount", &json!({}));
        }
        example.ok("mount", &options("v", "rw"));
        fs::write(example.place.join("file"), "x").unwrap();
        // Somebody has mounted a volume twice.
        flexvolume_linux::mount::bind(&example.data("w"), &example.place, flexvolume_linux::mount::Flags::default())
            .unwrap();
        example.ok("unmount", &json!({}));
        assert_eq!(example.bed.sandbox.mounts().unwrap(), []);
        assert_eq!(fs::read_to_string(example.data("v").join("file")).unwrap(), "x");
        example.fails("mount", &options("nobody", "rw"), "notFound");
    }
}

/// What leads elsewhere, what a shell or JSON would make something of, and what is there but is no volume.
const HOSTILE: [&str; 11] =
    ["../outside", "mine", "a/data", "a/../a", ".", "'; rm -rf \"$root\"; '", "$(touch x)", "`id`", "\"}", "*", "é"];

#[test]
fn hostile_names_and_ids_lead_nowhere() {
    for example in Example::both() {
        example.make("a");
        // What the administrator keeps there is no volume, though an id may name it.
        fs::create_dir_all(example.folder.join("mine/data.old")).unwrap();
        fs::create_dir_all(example.folder.join("volumes/mine/data.old")).unwrap();
        let outside = example.bed.sandbox.dir("outside").unwrap();
        fs::write(outside.join("canary"), "sings").unwrap();
        let ours = ["root", "run", "state"].map(|name| example.bed.sandbox.path().join(name));
        let picture = || Picture::without(example.bed.sandbox.path(), &ours).unwrap();
        let mut before = picture();
        let mut texts: Vec<String> =
            hostile::sample(4, 6).into_iter().filter_map(|bytes| String::from_utf8(bytes).ok()).collect();
        texts.retain(|text| text != "a" && !text.is_empty());
        texts.extend(HOSTILE.map(str::to_owned));
        texts.push("x".repeat(129));
        for text in &texts {
            let about = format!("{} {text:?}", example.file);
            let named = json!({"flexvol/name": text});
            let code = if text == "mine" { "conflict" } else { "invalid" };
            let answer = example.call("createvolume", &named);
            let made = answer["status"] == "Success";
            assert!(made || answer["code"] == code, "{about}: {answer}");
            example.ok("deletevolume", &json!({"flexvol/id": text}));
            example.fails("mount", &json!({"folder": text}), "notFound");
            assert_eq!(example.bed.sandbox.mounts().unwrap(), [], "{about}");
            if made {
                // A name that is plain after all, as `a-` is: what came and went has touched the folder.
                assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{about}");
                before = picture();
            }
            assert_eq!(picture(), before, "{about}");
        }
        assert_eq!(example.volumes(), BTreeSet::from(["a".to_owned()]));
    }
}

#[test]
fn what_cut_off_calls_left_is_swept_and_never_listed() {
    for example in Example::both() {
        example.make("a");
        fs::create_dir_all(example.folder.join(".gone.data.x/data.y")).unwrap();
        fs::create_dir_all(example.folder.join(".new.x/data.x")).unwrap();
        fs::write(example.folder.join(".new.x/about"), r#"{"id":"half"}"#).unwrap();
        assert_eq!(example.volumes(), BTreeSet::from(["a".to_owned()]));
        // The one in shell cannot tell a slow call from a dead one, and leaves it an hour.
        let hours = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 3600);
        fs::File::open(example.folder.join(".new.x")).unwrap().set_modified(hours).unwrap();
        example.ok("deletevolume", &json!({"flexvol/id": "nobody"}));
        for name in [".gone.data.x", ".new.x"] {
            assert!(!example.folder.join(name).exists(), "{} has left {name}", example.file);
        }
        assert_eq!(example.volumes(), BTreeSet::from(["a".to_owned()]));
    }
}

#[test]
fn settings_that_are_missing_or_wrong_are_said_in_words() {
    for example in Example::both() {
        let file = example.bed.sandbox.path().join("settings/example.com~folders.json");
        for text in ["{}", "nonsense", "[]", r#"{"directory": "/nowhere/at/all"}"#, r#"{"directory": 5}"#] {
            fs::write(&file, text).unwrap();
            let words = example.fails("listvolumes", &json!({}), "invalid");
            assert!(words.contains(file.to_str().unwrap()), "{}: {words}", example.file);
        }
        fs::remove_file(&file).unwrap();
        example.fails("createvolume", &json!({"flexvol/name": "a"}), "invalid");
        // What needs no settings works without.
        example.ok("unmount", &json!({}));
        assert_eq!(example.bed.json(["drivers"])[0]["error"], Value::Null);
    }
}
