//! What is wrong in the input is said in words a person can act on; nothing is lost, and the next try works.

mod disk;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::json;

use crate::{
    bed::{Bed, pod},
    scripts::{attachable, direct, image, replace, tool, until},
};

const VOLUME: &str = "{driver: v/direct}";

/// A bed with the driver `v/direct`, and a good manifest.
fn bed() -> Option<(Bed, String)> {
    let bed = Bed::new()?;
    bed.script("v/direct", direct());
    let file = bed.manifest("good.yaml", &pod("web", &[("data", VOLUME)]));
    Some((bed, file))
}

/// The cause is gone: the same file comes up, goes down, and nothing is left.
fn the_next_try_works(bed: &Bed, file: &str) {
    bed.ok(["up", file]);
    bed.ok(["down", file]);
    bed.assert_clean();
}

/// Everything in the sandbox, so that a test can insist that nothing came or went.
fn everything(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            all.extend(everything(&entry.path()));
        }
        all.push(entry.path());
    }
    all.sort();
    all
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn bad_yaml_is_shown_by_line_and_column() {
    let Some((bed, good)) = bed() else { return };
    for (name, text, place) in [
        ("bracket.yaml", "kind: Pod\nmetadata:\n  name: [web\nspec: {}\n", ":4:"),
        ("tab.yaml", "metadata:\n\tname: web\n", ":2:2:"),
        ("twice.yaml", "apiVersion: v1\nkind: Pod\nkind: Pod\n", ":3:1"),
    ] {
        let before = everything(&bed.sandbox.root());
        let file = bed.manifest(name, text);
        bed.run(["up", &file]).fails(2, &["error:", &format!("{name}{place}")]);
        bed.run(["down", &file]).fails(2, &["error:", &format!("{name}{place}")]);
        assert_eq!(everything(&bed.sandbox.root()), before, "something was begun");
    }
    let ran = bed.feed(["up", "-"], "kind: [\n");
    ran.fails(2, &["standard input:1:"]);
    the_next_try_works(&bed, &good);
}

#[test]
fn an_unknown_driver_is_told_with_names_near_it_and_where_it_was_looked_for() {
    let Some((bed, good)) = bed() else { return };
    let plugins = bed.sandbox.plugins();
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/drict}")]));
    let ran = bed.run(["up", &file]);
    ran.fails(3, &["v/drict", "did you mean v/direct?", plugins.to_str().unwrap(), "pod default/web, volume data"]);
    let file = bed.manifest("far.yaml", &pod("web", &[("data", "{driver: other.io/something}")]));
    bed.run(["up", &file]).fails(3, &["other.io/something", "v/direct", "flexvol install"]);
    bed.assert_clean();
    the_next_try_works(&bed, &good);
}

#[test]
fn a_reserved_key_and_an_option_that_is_no_string_are_refused() {
    let Some((bed, good)) = bed() else { return };
    for (options, words) in [
        ("{kubernetes.io/readwrite: ro}", vec!["kubernetes.io/readwrite", "pod.yaml:"]),
        ("{kubernetes.io/secret/password: eA==}", vec!["kubernetes.io/secret/password"]),
        ("{size: 10}", vec!["options.size", "number", "hint:", "quotes"]),
        ("{size: {a: b}}", vec!["options.size", "map"]),
        ("{create: true}", vec!["options.create", "boolean"]),
    ] {
        let volume = format!("{{driver: v/direct, options: {options}}}");
        let file = bed.manifest("pod.yaml", &pod("web", &[("data", &volume)]));
        bed.run(["up", &file]).fails(2, &words);
    }
    the_next_try_works(&bed, &good);
}

#[test]
fn hostile_names_never_become_paths() {
    let Some((bed, good)) = bed() else { return };
    let good_text = fs::read_to_string(&good).unwrap();
    let before = everything(bed.sandbox.path());
    let hostile = ["../../../etc", "..", ".", "a/b", "\"a\\0b\"", "\"\"", "\" \"", "\"a b\"", "\"../\\e[31m\""];
    for name in hostile {
        let texts = [
            pod(name, &[("data", VOLUME)]),
            pod("web", &[(name, VOLUME)]),
            good_text.replace("{name: web}", &format!("{{name: web, uid: {name}}}")),
            good_text.replace("{name: web}", &format!("{{name: web, namespace: {name}}}")),
        ];
        // A uid or namespace that is empty is the same as none.
        for text in texts.iter().take(if name == "\"\"" { 2 } else { 4 }) {
            let ran = bed.feed(["up", "-"], text);
            ran.fails(2, &["error:", "standard input:"]);
            assert!(!ran.stderr.contains('\x1b'), "a name reached the terminal raw: {ran:?}");
            bed.feed(["down", "-"], text);
        }
    }
    for driver in [
        "../v/direct",
        "v/..",
        "../../bin/sh",
        "/bin/sh",
        "v/direct/x",
        "v~direct",
        "\"v/direct\\0\"",
        "\"\"",
        "\" \"",
        ".",
    ] {
        let text = pod("web", &[("data", &format!("{{driver: {driver}}}"))]);
        bed.feed(["up", "-"], &text).fails(2, &["driver"]);
        let name = driver.trim_matches('"').replace("\\0", "");
        if name != "v/direct" {
            assert_ne!(bed.run(["call", &name, "init"]).code, 0);
            assert_ne!(bed.run(["install", "/bin/true", "--as", &name]).code, 0);
        }
    }
    let after: Vec<_> = everything(bed.sandbox.path());
    let ours = |path: &PathBuf| !path.starts_with(bed.sandbox.root()) || path.to_string_lossy().contains("pods");
    assert_eq!(after.into_iter().filter(ours).collect::<Vec<_>>(), before.into_iter().filter(ours).collect::<Vec<_>>());
    the_next_try_works(&bed, &good);
}

#[test]
fn h_54_a_missing_secret_or_one_of_another_type_is_told_before_anything_is_begun() {
    let Some(bed) = Bed::new() else { return };
    let driver = bed.script("v/direct", direct());
    let text = pod("web", &[("data", "{driver: v/direct, secretRef: {name: keys}}")]);
    let secret = |kind: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\ntype: {kind}\nstringData: {{password: hunter22}}\n---\n{text}"
        )
    };
    let ran = bed.feed(["up", "-"], &text);
    ran.fails(2, &["Secret", "keys"]);
    let ran = bed.feed(["up", "-"], &secret("Opaque"));
    ran.fails(2, &["keys", "Opaque", "v/direct"]);
    assert!(!ran.stderr.contains("hunter22"));
    assert_eq!(driver.verbs().unwrap(), Vec::<String>::new(), "a driver was called");
    let file = bed.manifest("pod.yaml", &secret("v/direct"));
    the_next_try_works(&bed, &file);
}

#[test]
fn w_31_a_driver_file_that_cannot_be_run_is_told_in_words() {
    let Some((bed, good)) = bed() else { return };
    let exe = bed.sandbox.plugins().join("v~direct/direct");
    let whole = fs::read(&exe).unwrap();
    let shown = exe.to_str().unwrap();

    chmod(&exe, 0o644);
    bed.run(["up", &good]).fails(4, &[shown, "run bit", "chmod 0755"]);
    chmod(&exe, 0o755);
    the_next_try_works(&bed, &good);

    replace(&exe, b"#!/no/such/shell\necho\n");
    bed.run(["up", &good]).fails(1, &[shown, "/no/such/shell", "hint:"]);

    // The head of a program for another processor: RISC-V is not what this runs on, else Arm is.
    let machine: u16 = if cfg!(target_arch = "riscv64") { 183 } else { 243 };
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0];
    elf.extend(machine.to_le_bytes());
    elf.extend(1u32.to_le_bytes());
    elf.resize(120, 0);
    replace(&exe, &elf);
    bed.run(["up", &good]).fails(1, &[shown, std::env::consts::ARCH, "hint:"]);

    replace(&exe, b"");
    let ran = bed.run(["up", &good]);
    assert_ne!(ran.code, 0, "{ran:?}");
    ran.fails(ran.code, &[shown, "empty"]);

    fs::remove_file(&exe).unwrap();
    fs::create_dir(&exe).unwrap();
    bed.run(["up", &good]).fails(4, &[shown, "directory"]);
    fs::remove_dir(&exe).unwrap();

    bed.assert_clean();
    replace(&exe, &whole);
    the_next_try_works(&bed, &good);
}

#[test]
fn a_driver_that_others_could_have_written_is_never_run() {
    let Some(bed) = Bed::new() else { return };
    let driver = bed.script("v/direct", direct());
    let good = bed.manifest("good.yaml", &pod("web", &[("data", VOLUME)]));
    let folder = driver.exe().parent().unwrap();
    for (path, bad) in [
        (driver.exe(), 0o757),
        (driver.exe(), 0o775),
        (folder, 0o777),
        (&bed.sandbox.plugins(), 0o777),
        (bed.sandbox.path(), 0o777),
    ] {
        chmod(path, bad);
        let ran = bed.run(["up", &good]);
        ran.fails(4, &["can be written to by others", &format!("chmod go-w '{}'", path.display())]);
        chmod(path, 0o755);
    }
    std::os::unix::fs::chown(driver.exe(), Some(4711), None).unwrap();
    bed.run(["up", &good]).fails(4, &["belongs to user 4711", "chown"]);
    std::os::unix::fs::chown(driver.exe(), Some(0), None).unwrap();
    assert_eq!(driver.verbs().unwrap(), Vec::<String>::new(), "it was run");
    the_next_try_works(&bed, &good);
}

#[test]
fn an_answer_that_is_no_json_is_shown_and_bounded() {
    let Some(bed) = Bed::new() else { return };
    let long = format!("mounting now\x1b[2J {}", "x".repeat(200_000));
    let script = direct().on_each(
        "mount",
        [
            Answer::text("this is not JSON\n"),
            Answer::text(long),
            Answer::text(""),
            Answer::text("{\"status\": \"Success\""),
            Answer::json(&json!({"status": "Succeeded"})),
            Answer::success().run(r#"mount -t tmpfs none "$2""#),
        ],
    );
    let driver = bed.script("v/direct", script);
    let good = bed.manifest("good.yaml", &pod("web", &[("data", VOLUME)]));
    for words in [
        ["v/direct", "this is not JSON", "hint:"],
        ["v/direct", "mounting now", "xxxx"],
        ["v/direct", "mount", "hint:"],
        ["v/direct", "Success", "hint:"],
        ["v/direct", "Succeeded", "caused by:"],
    ] {
        let ran = bed.run(["up", &good]);
        ran.fails(1, &words);
        assert!(ran.stderr.len() < 3000, "{} bytes of a driver's noise", ran.stderr.len());
        assert!(!ran.stderr.contains('\x1b'), "the driver wrote to the terminal");
        assert_eq!(bed.sandbox.mounts().unwrap(), []);
    }
    assert_eq!(driver.verbs().unwrap().iter().filter(|verb| *verb == "mount").count(), 5);
    the_next_try_works(&bed, &good);
}

#[test]
fn a_hung_driver_is_ended_at_its_limit_and_the_next_try_works() {
    let Some(bed) = Bed::new() else { return };
    let settings = json!({"drivers": {"v/direct": {"limits": {"mount": {"answer": 0.2, "kill": 0.6}}}}});
    bed.manifest("flexvol.json", &settings.to_string());
    let hour = Duration::from_secs(3600);
    let script = direct()
        .on_each("mount", [Answer::success().sleep(hour), Answer::success().run(r#"mount -t tmpfs none "$2""#)]);
    bed.script("v/direct", script);
    let good = bed.manifest("good.yaml", &pod("web", &[("data", VOLUME)]));
    bed.run(["up", &good]).fails(1, &["still running mount", "did not answer mount within", "hint:", "limits"]);
    assert_eq!(processes_beneath(&bed), 0, "something of the call lives on");
    the_next_try_works(&bed, &good);
}

#[test]
fn a_formatting_driver_is_never_killed_and_nothing_is_done_beside_it() {
    let Some(bed) = Bed::new() else { return };
    let limits = json!({"defaults": {"limits": {"mountdevice": {"answer": 0.2, "kill": 0.4}}}});
    bed.manifest("flexvol.json", &limits.to_string());
    let file = bed.sandbox.path().join("image");
    image(&file, 16);
    let deaf = Answer::shell(
        "trap '' TERM; while [ ! -e \"$_d/../go\" ]; do sleep 0.05; done; echo '{\"status\":\"Failure\"}'; _end 1",
    );
    let driver = bed.script("v/disk", attachable(&file).on_each("mountdevice", [deaf, Answer::not_supported()]));
    let good = bed.manifest("good.yaml", &pod("web", &[("data", "{driver: v/disk}")]));
    let mut first = bed.command(["up", &good]).spawn().unwrap();
    until("the driver to be called", || driver.verbs().unwrap().contains(&"mountdevice".to_owned()));
    std::thread::sleep(Duration::from_secs(1));
    assert!(processes_beneath(&bed) > 0, "it was killed");
    // The person gives up waiting; the driver does not.
    first.kill().unwrap();
    first.wait().unwrap();
    bed.run(["up", &good]).fails(5, &["waiting for pid", "has not ended", "hint:", "/stack"]);
    assert!(processes_beneath(&bed) > 0, "it was killed");
    assert_eq!(driver.verbs().unwrap().iter().filter(|verb| *verb == "mountdevice").count(), 1);
    fs::write(driver.exe().with_file_name("go"), "").unwrap();
    until("the driver to end", || processes_beneath(&bed) == 0);
    the_next_try_works(&bed, &good);
}

/// How many processes were started from a driver of this bed and still live.
fn processes_beneath(bed: &Bed) -> usize {
    let plugins = bed.sandbox.plugins();
    let lives = |line: Vec<u8>| String::from_utf8_lossy(&line).contains(plugins.to_str().unwrap());
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(lives))
        .count()
}

#[test]
fn a_bad_command_line_and_bad_settings_are_usage() {
    let Some((bed, good)) = bed() else { return };
    bed.run(["up"]).fails(2, &["FILE"]);
    bed.run(["upp", &good]).fails(2, &["upp"]);
    bed.run(["up", "/no/such/file.yaml"]).fails(2, &["/no/such/file.yaml"]);
    bed.run(["down", "nobody"]).fails(3, &["nobody"]);
    bed.run(["--root", "/proc/version", "ls"]).fails(1, &["/proc/version", "hint:"]);
    for text in ["{", "{\"drivrs\": {}}", "{\"defaults\": {\"limits\": {\"mount\": {\"answer\": -1}}}}"] {
        bed.manifest("flexvol.json", text);
        bed.run(["up", &good]).fails(2, &["flexvol.json", "caused by:"]);
    }
    fs::remove_file(bed.sandbox.path().join("flexvol.json")).unwrap();
    the_next_try_works(&bed, &good);
}

#[test]
fn a_root_that_others_can_write_is_refused() {
    let Some((bed, good)) = bed() else { return };
    chmod(&bed.sandbox.root(), 0o777);
    bed.run(["up", &good]).fails(4, &["can be written to by others", "chmod go-w"]);
    chmod(&bed.sandbox.root(), 0o755);
    the_next_try_works(&bed, &good);
}

#[test]
fn a_driver_that_says_failure_is_quoted() {
    let Some(bed) = Bed::new() else { return };
    let script: Script = direct().on_each(
        "mount",
        [Answer::failure("the server nas7 is away\nsince noon"), Answer::success().run(r#"mount -t tmpfs none "$2""#)],
    );
    bed.script("v/direct", script);
    let good = bed.manifest("good.yaml", &pod("web", &[("data", VOLUME)]));
    bed.run(["up", &good]).fails(1, &["driver v/direct failed to mount", "caused by:", "the server nas7 is away"]);
    let rows = bed.json(["ls"]);
    assert!(rows[0]["trouble"][0].as_str().unwrap().contains("nas7"), "{rows}");
    the_next_try_works(&bed, &good);
}
