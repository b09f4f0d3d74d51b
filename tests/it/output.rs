//! What programs may rely on: every verb's output and every line on standard error, held against the published schemas.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
    time::Duration,
};

use boon::{Compiler, Schemas};
use flexvolume_testkit::{
    binary,
    scripted::{Answer, Script},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, Ran, pod},
    faults::Started,
    scripts::{attachable, direct, image, staged, tool, until},
};

/// The published schemas, by name.
fn published() -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_slice(&fs::read(&path).unwrap()).unwrap())
        })
        .collect()
}

/// The schema as it is kept here: what it does not name must not be there.
fn closed(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            let mut map: serde_json::Map<_, _> = map.iter().map(|(key, value)| (key.clone(), closed(value))).collect();
            if map.get("properties").is_some_and(|properties| properties.is_object()) {
                map.insert("additionalProperties".into(), false.into());
            }
            map.into()
        }
        Value::Array(all) => all.iter().map(closed).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

/// Holds values against one schema and remembers which of its fields were seen.
struct Judge {
    name: String,
    schema: Value,
    seen: BTreeSet<String>,
}

impl Judge {
    fn new(name: &str) -> Self {
        let schema = published().remove(name).unwrap_or_else(|| panic!("there is no docs/schema/{name}.json"));
        Self { name: name.to_owned(), schema, seen: BTreeSet::new() }
    }

    fn judge(&mut self, value: &Value) {
        for schema in [self.schema.clone(), closed(&self.schema)] {
            let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
            compiler.add_resource("schema.json", schema).unwrap();
            let index =
                compiler.compile("schema.json", &mut schemas).unwrap_or_else(|e| panic!("{}: {e:#}", self.name));
            if let Err(error) = schemas.validate(value, index) {
                panic!("{}: {error:#}\n{value:#}", self.name);
            }
        }
        see(&self.schema, value, "", &mut self.seen);
    }

    /// What the schema names is there in some output: it speaks of nothing that does not exist.
    fn all_seen(&self) {
        let mut named = BTreeSet::new();
        name(&self.schema, "", &mut named);
        assert_eq!(named, self.seen, "{}: fields that say nothing in any output of this test", self.name);
    }
}

fn see(schema: &Value, value: &Value, at: &str, seen: &mut BTreeSet<String>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| see(&schema["items"], one, at, seen)),
        Value::Object(map) => {
            for (key, value) in map {
                // What has no fields of its own is a map of somebody else's words.
                if schema["properties"].is_null() {
                    continue;
                }
                let at = format!("{at}/{key}");
                see(&schema["properties"][key], value, &at, seen);
                if *value != Value::Null && *value != json!("") && *value != json!([]) {
                    seen.insert(at);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn name(schema: &Value, at: &str, named: &mut BTreeSet<String>) {
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}/{key}");
        name(schema, &at, named);
        named.insert(at);
    }
    if let Some(items) = schema.get("items") {
        name(items, at, named);
    }
}

fn read(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// All verbs' judges, and where to run the verbs.
struct Court<'a> {
    bed: &'a Bed,
    judges: BTreeMap<String, Judge>,
}

impl Court<'_> {
    /// Rows of what is typed, the verb first, and the exit code.
    fn hear(&mut self, runs: &[(&[&str], i32)]) {
        for (args, code) in runs {
            let ran = self.bed.run(["-o", "json"].iter().chain(*args));
            assert_eq!(ran.code, *code, "{args:?}: {ran:?}");
            self.judges.entry(args[0].to_owned()).or_insert_with(|| Judge::new(args[0])).judge(&read(&ran));
        }
    }

    /// Each schema was held against what its verb prints, and each of its fields said something.
    fn close(self) {
        for judge in self.judges.values() {
            judge.all_seen();
        }
        let judged: BTreeSet<String> = self.judges.into_keys().chain(["log".to_owned()]).collect();
        assert_eq!(judged, published().into_keys().collect(), "each schema has a row in this test");
    }
}

/// Hears nothing on standard input, begins a service that nobody knows whom it serves, and makes no volume.
const DEAF: &str = r#"#!/bin/sh
case $1 in
init) echo '{"status": "Success", "capabilities": {"attach": false}, "extensions": ["stdin", "provision"]}' ;;
createvolume) echo '{"status": "Failure", "message": "what is a shelf?", "code": "invalid"}'; exit 1 ;;
mount)
    if [ "$3" = - ]; then
        echo "what?" >&2
        setsid -f sleep 60 </dev/null >/dev/null 2>&1
    else
        mount -t tmpfs none "$2"
    fi
    echo '{"status": "Success"}' ;;
unmount) umount "$2"; echo '{"status": "Success"}' ;;
*) echo '{"status": "Failure", "message": "no"}' ;;
esac
"#;

#[test]
fn what_every_verb_prints_is_what_its_schema_says() {
    let Some(bed) = Bed::with_drivers() else { return };
    let images = bed.sandbox.dir("images").unwrap();
    let noisy = Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}})).stderr("noise\n");
    bed.script("v/noisy", Script::sh().on("init", noisy));
    bed.script("v/bad", Script::sh().on("init", Answer::text("usage: bad")));
    bed.script("v/fails", direct().on("mount", Answer::failure("no such share")));
    let disk = format!(
        "{{driver: flexvol.io/loopback, fsType: ext4, options: {{volumeID: d, size: 16Mi, create: 'true', directory: {}}}}}",
        images.display()
    );
    let scratch = "{driver: flexvol.io/tmpfs, options: {size: 4Mi}}";
    let good = bed.manifest("good.yaml", &pod("web", &[("disk", &disk), ("scratch", scratch)]));
    let bad = bed.manifest("bad.yaml", &pod("sad", &[("share", "{driver: v/fails}")]));
    // It announces more than it does, and leaves more than the judge can take away.
    let deaf = bed.sandbox.dir("driver").unwrap().join("deaf");
    fs::write(&deaf, DEAF).unwrap();
    fs::set_permissions(&deaf, PermissionsExt::from_mode(0o755)).unwrap();
    let judged = bed.sandbox.dir("judged").unwrap();
    let judged = judged.to_str().unwrap();
    let shelf = bed.manifest("shelf.json", &json!({"create": {"shelf": "7"}}).to_string());
    // A driver that is gone while one of its volumes is up.
    let gone = bed.script("v/gone", direct());
    let kept = bed.sandbox.path().join("gone");
    fs::copy(gone.exe(), &kept).unwrap();
    bed.ok(["up", &bed.manifest("left.yaml", &pod("left", &[("data", "{driver: v/gone}")]))]);
    fs::remove_file(gone.exe()).unwrap();
    let tmpfs = binary("tmpfs").unwrap();
    let pages = bed.sandbox.path().join("man");
    let mut court = Court { bed: &bed, judges: BTreeMap::new() };
    court.hear(&[
        (&["install", tmpfs.to_str().unwrap(), "--as", "v/again"], 0),
        (&["drivers"], 1),
        (&["doctor"], 1),
        (&["install", kept.to_str().unwrap(), "--as", "v/gone"], 0),
        (&["up", &good], 0),
        (&["up", &good], 0),
        (&["up", &bad], 1),
        (&["ls"], 0),
        (&["ls", "--usage"], 0),
        (&["call", "v/noisy", "init"], 0),
        (&["call", "v/noisy", "nonsense", "--flag"], 0),
        (&["call", "v/noisy", "listvolumes", "{}"], 0),
        (
            &["check", deaf.to_str().unwrap(), "--level", "flexvol", "--scratch", judged, "--only", "extensions.stdin"],
            1,
        ),
        (
            &[
                "check",
                deaf.to_str().unwrap(),
                "--level",
                "flexvol",
                "--scratch",
                judged,
                "--options",
                &shelf,
                "--only",
                "mount.mounts",
            ],
            7,
        ),
        (&["man", "--to", pages.to_str().unwrap()], 0),
    ]);
    formatted_by_the_host(&mut court);
    under_way(&mut court);
    judge_killed(&mut court);
    held(&mut court);
    court.hear(&[(&["down", "--all"], 0), (&["down", "--all"], 0)]);
    court.close();
    bed.assert_clean();
}

/// A volume with all that a volume may have: device, file system of ours, Secret, fsGroup, another mount elsewhere.
fn formatted_by_the_host(court: &mut Court<'_>) {
    let bed = court.bed;
    let disk = bed.sandbox.path().join("disk");
    image(&disk, 16);
    bed.script("v/disk", attachable(&disk));
    let text =
        pod("rich", &[("all", "{driver: v/disk, fsType: ext4, options: {tier: gold}, secretRef: {name: login}}")])
            .replace("spec:\n", "spec:\n  securityContext: {fsGroup: 2000}\n");
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: login}\ntype: v/disk\nstringData: {password: none}\n";
    bed.ok(["up", &bed.manifest("rich.yaml", &format!("{secret}---\n{text}"))]);
    let elsewhere = bed.sandbox.dir("elsewhere").unwrap();
    let elsewhere = elsewhere.to_str().unwrap();
    tool("mount", &["--bind", bed.path_of("rich", "all").to_str().unwrap(), elsewhere]);
    court.hear(&[(&["inspect", "rich/all"], 0)]);
    tool("umount", &[elsewhere]);
    // The record of the format, as a failing disk leaves it.
    let formats: Vec<_> =
        fs::read_dir(bed.sandbox.root().join("formats")).unwrap().map(|e| e.unwrap().path()).collect();
    let [format] = formats.as_slice() else { panic!("{formats:?}") };
    let whole = fs::read(format).unwrap();
    fs::write(format, "{").unwrap();
    court.hear(&[(&["inspect", "rich/all"], 0)]);
    fs::write(format, whole).unwrap();
}

/// A volume that is held for a client, and seen where he wants it.
fn held(court: &mut Court<'_>) {
    let bed = court.bed;
    bed.script("v/staged", staged());
    let target = bed.sandbox.dir("target").unwrap();
    let hold = json!({"verb": "hold", "driver": "v/staged", "volume": "data"});
    let ask = |wish: &Value| {
        let mut helper = std::process::Command::new(binary("hold-helper").unwrap());
        Ran::of(helper.arg(wish.to_string()).envs(bed.env()).output().unwrap())
    };
    let path = read(&ask(&hold))["ok"]["path"].as_str().unwrap().to_owned();
    tool("mount", &["--bind", &path, target.to_str().unwrap()]);
    court.hear(&[(&["ls"], 0)]);
    tool("umount", &[target.to_str().unwrap()]);
    let mut release = hold;
    release["verb"] = "release".into();
    assert_eq!(read(&ask(&release)), json!({"ok": null}));
}

/// Volumes that an `up --wait` is at, tries again, or cannot begin.
fn under_way(court: &mut Court<'_>) {
    let bed = court.bed;
    bed.script("v/slow", direct().on("mount", Answer::success().run("sleep 600")));
    let volumes = [("none", "{driver: v/none}"), ("share", "{driver: v/fails}"), ("slow", "{driver: v/slow}")];
    let up = Started::new(bed, &["up", "--wait", &bed.manifest("late.yaml", &pod("late", &volumes))]);
    let processes = || {
        let seen = bed.json(["inspect", "late/slow"])["underWay"]["processes"].clone();
        seen.as_array().into_iter().flatten().map(|one| one["pid"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let tried = |row: &&Value| row["pod"] == "late" && row["retry"].is_object();
    until("two volumes to be tried again", || bed.json(["ls"]).as_array().unwrap().iter().filter(tried).count() == 2);
    until("the slow driver and its sleep", || processes().len() == 2);
    court.hear(&[
        (&["ls"], 0),
        (&["inspect", "late/none"], 0),
        (&["inspect", "late/share"], 0),
        (&["inspect", "late/slow"], 0),
    ]);
    let processes = processes();
    up.kill();
    court.hear(&[(&["inspect", "late/slow"], 0)]);
    for pid in processes {
        let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
    }
    until("it to be cut off", || bed.ok(["ls"]).contains("publish was cut off"));
    court.hear(&[(&["ls"], 0), (&["inspect", "late/slow"], 0)]);
}

/// A judge that was killed in the middle of a call, and the next one.
fn judge_killed(court: &mut Court<'_>) {
    let bed = court.bed;
    let driver = bed.script("v/judged", direct().on("mount", Answer::success().run("sleep 600")));
    let scratch = bed.sandbox.dir("killed").unwrap();
    let check = ["check", "v/judged", "--destroy", "--scratch", scratch.to_str().unwrap(), "--only"];
    let judge = Started::new(bed, &[&check[..], &["mount.mounts"]].concat());
    until("the driver to be asked to mount", || driver.verbs().unwrap().iter().any(|verb| verb == "mount"));
    judge.kill();
    court.hear(&[(&[&check[..], &["init.answers"]].concat(), 0)]);
}

#[test]
fn each_line_of_a_watch_is_a_row_of_the_list() {
    let Some(bed) = Bed::with_drivers() else { return };
    let mut watch = bed.command(["-o", "json", "drivers", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines: Vec<String> = BufReader::new(watch.stdout.take().unwrap()).lines().take(2).map(Result::unwrap).collect();
    watch.kill().unwrap();
    watch.wait().unwrap();
    let rows: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    Judge::new("drivers").judge(&rows.into());
}

#[test]
fn schema_prints_what_is_published() {
    let Some(bed) = Bed::new() else { return };
    for (name, schema) in published() {
        let printed: Value = serde_json::from_str(&bed.ok(["schema", &name])).unwrap();
        assert_eq!(printed, schema, "{name}");
    }
    bed.run(["schema", "nonsense"]).fails(2, &["nonsense", "possible values", "ls"]);
}

#[test]
fn yaml_says_what_json_says() {
    let Some(bed) = Bed::with_drivers() else { return };
    let file = bed.manifest("pod.yaml", &pod("web", &[("s", "{driver: flexvol.io/tmpfs, options: {size: 4Mi}}")]));
    bed.ok(["up", &file]);
    let row = &bed.json(["ls"])[0];
    let yaml = bed.ok(["-o", "yaml", "ls"]);
    for field in row.as_object().unwrap().keys() {
        assert!(yaml.contains(&format!("{field}: ")), "{field} in {yaml}");
    }
    assert!(yaml.contains("driver: flexvol.io/tmpfs\n"), "{yaml}");
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

/// Every line on standard error, each a JSON object.
fn lines(ran: &Ran) -> Vec<Value> {
    let lines = ran.stderr.lines();
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// What the bridge says until it is asked for metrics, and then to end.
fn served(bed: &Bed) -> Vec<Value> {
    let registry = bed.sandbox.dir("kubelet/plugins_registry").unwrap();
    let kubelet = registry.parent().unwrap().to_str().unwrap();
    let log = bed.sandbox.path().join("bridge.log");
    let args =
        ["--log-format", "json", "csi", "--driver", "flexvol.io/tmpfs", "--metrics", "0", "--kubelet-dir", kubelet];
    let mut bridge = bed.command(args).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    until("the bridge to serve", || registry.join("tmpfs.flexvol.io-reg.sock").exists());
    kill_process(Pid::from_child(&bridge), Signal::TERM).unwrap();
    assert!(bridge.wait().unwrap().success());
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty());
    lines
}

#[test]
fn every_line_on_standard_error_is_what_the_schema_of_the_log_says() {
    let Some(bed) = Bed::with_drivers() else { return };
    let images = bed.sandbox.dir("images").unwrap();
    let limits = json!({"drivers": {"v/slow": {"limits": {"mount": {"answer": 0.2, "kill": 60}}}}});
    bed.manifest("flexvol.json", &limits.to_string());
    bed.script(
        "v/slow",
        direct().on("mount", Answer::success().run("mount -t tmpfs slow \"$2\"").sleep(Duration::from_millis(700))),
    );
    bed.script("v/fails", direct().on("mount", Answer::failure("no such share").stderr("two\nlines\n")));
    let disk = format!(
        "{{driver: flexvol.io/loopback, fsType: ext4, options: {{volumeID: d, size: 16Mi, create: 'true', directory: {}}}}}",
        images.display()
    );
    let text = pod("web", &[("disk", &disk), ("slow", "{driver: v/slow}"), ("bad", "{driver: v/fails}")]);
    let file = bed.manifest("pod.yaml", &format!("{text}---\napiVersion: v1\nkind: Service\nmetadata: {{name: s}}\n"));
    let mut judge = Judge::new("log");
    let mut levels = BTreeSet::new();
    for (args, code) in [
        (vec!["-vv", "--log-format", "json", "up", &file], 1),
        (vec!["--log-format=json", "-v", "up", &file], 1),
        (vec!["--log-format=json", "up", "/nonexistent.yaml"], 2),
        (vec!["--log-format=json", "down", "nobody"], 3),
        (vec!["--log-format=json", "dwon"], 2),
        (vec!["--log-format=json", "--nonsense"], 2),
        (vec!["--log-level", "trace", "--log-format=json", "down", "--all"], 0),
    ] {
        let ran = bed.run(&args);
        assert_eq!(ran.code, code, "{args:?}: {ran:?}");
        let lines = lines(&ran);
        assert!(!lines.is_empty(), "{args:?}");
        for line in &lines {
            judge.judge(line);
            levels.insert(line["level"].as_str().unwrap().to_owned());
        }
        if code != 0 {
            let last = lines.last().unwrap();
            assert_eq!(last["level"], "error", "{last}");
            assert_eq!(last["fields"]["exitCode"], code, "{last}");
        }
    }
    assert_eq!(levels.into_iter().collect::<Vec<_>>(), ["debug", "error", "info", "warn"]);
    for line in &served(&bed) {
        judge.judge(line);
    }
    judge.all_seen();
    bed.assert_clean();
}

#[test]
fn a_call_is_told_once_whoever_tells_it() {
    let Some(bed) = Bed::with_drivers() else { return };
    let file = bed.manifest("pod.yaml", &pod("web", &[("s", "{driver: flexvol.io/tmpfs, options: {size: 4Mi}}")]));
    for flags in [vec!["-v"], vec!["-vv"], vec!["--log-level", "INFO"], vec!["-v", "--log-level", "info"]] {
        for format in ["json", "text"] {
            let args = flags.iter().copied().chain(["--log-format", format, "up", &file]);
            let ran = bed.run(args);
            assert_eq!(ran.code, 0, "{ran:?}");
            // Of the call or of the log: the verdict stands in one line alone.
            let told = ran.stderr.lines().filter(|line| line.contains("mount") && line.contains("Success"));
            assert_eq!(told.count(), 1, "{flags:?} {format}: {}", ran.stderr);
            if format == "json" {
                let mount = lines(&ran)
                    .into_iter()
                    .find(|line| line["fields"]["verb"] == "mount" && line["message"] == "called");
                let mount = mount.unwrap_or_else(|| panic!("{}", ran.stderr));
                assert_eq!(mount["target"], "flexvol::call");
                assert_eq!(mount["fields"]["driver"], "flexvol.io/tmpfs");
                assert_eq!(mount["fields"]["verdict"], "Success");
                assert!(mount["fields"]["milliseconds"].is_f64(), "{mount}");
            }
            bed.ok(["down", "--all"]);
        }
    }
    let quiet = bed.run(["--log-format", "json", "up", &file]);
    assert_eq!(quiet.stderr, "", "without -v nothing is told of what goes well");
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn the_format_of_the_log_comes_from_the_environment_too() {
    let Some(bed) = Bed::new() else { return };
    let ran = |args: &[&str]| Ran::of(bed.command(args).env("FLEXVOL_LOG_FORMAT", "json").output().unwrap());
    for args in [&["ls", "--nonsense"][..], &["down", "nobody"]] {
        let ran = ran(args);
        assert_eq!(lines(&ran).last().unwrap()["level"], "error", "{ran:?}");
    }
    // What is said on the command line is stronger.
    let ran = ran(&["--log-format", "text", "down", "nobody"]);
    assert!(ran.stderr.starts_with("error: "), "{ran:?}");
}
