//! What programs may rely on: every verb's output and every line on standard error, held against the published schemas.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    time::Duration,
};

use boon::{Compiler, Schemas};
use flexvolume_testkit::{
    binary,
    scripted::{Answer, Script},
};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, Ran, pod},
    scripts::direct,
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
        assert_eq!(named, self.seen, "{}: fields that no output of this test has", self.name);
    }
}

fn see(schema: &Value, value: &Value, at: &str, seen: &mut BTreeSet<String>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| see(&schema["items"], one, at, seen)),
        Value::Object(map) => {
            for (key, value) in map {
                let at = format!("{at}/{key}");
                see(&schema["properties"][key], value, &at, seen);
                seen.insert(at);
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
    // A driver that is gone while one of its volumes is up.
    let gone = bed.script("v/gone", direct());
    let kept = bed.sandbox.path().join("gone");
    fs::copy(gone.exe(), &kept).unwrap();
    bed.ok(["up", &bed.manifest("left.yaml", &pod("left", &[("data", "{driver: v/gone}")]))]);
    fs::remove_file(gone.exe()).unwrap();
    let tmpfs = binary("tmpfs").unwrap();
    let pages = bed.sandbox.path().join("man");
    // A verb is a row: its name, what is typed, and the exit code.
    let runs: &[(&str, &[&str], i32)] = &[
        ("install", &["install", tmpfs.to_str().unwrap(), "--as", "v/again"], 0),
        ("drivers", &["drivers"], 1),
        ("install", &["install", kept.to_str().unwrap(), "--as", "v/gone"], 0),
        ("up", &["up", &good], 0),
        ("up", &["up", &good], 0),
        ("up", &["up", &bad], 1),
        ("ls", &["ls"], 0),
        ("ls", &["ls", "--usage"], 0),
        ("call", &["call", "v/noisy", "init"], 0),
        ("call", &["call", "v/noisy", "nonsense", "--flag"], 0),
        ("down", &["down", "--all"], 0),
        ("down", &["down", "--all"], 0),
        ("man", &["man", "--to", pages.to_str().unwrap()], 0),
    ];
    let mut judges: BTreeMap<String, Judge> = BTreeMap::new();
    for (verb, args, code) in runs {
        let ran = bed.run(["-o", "json"].iter().chain(*args));
        assert_eq!(ran.code, *code, "{args:?}: {ran:?}");
        judges.entry((*verb).to_owned()).or_insert_with(|| Judge::new(verb)).judge(&read(&ran));
    }
    for judge in judges.values() {
        judge.all_seen();
    }
    let judged: BTreeSet<String> = judges.into_keys().chain(["log".to_owned()]).collect();
    let published: BTreeSet<String> = published().into_keys().collect();
    assert_eq!(judged, published, "each schema is held against what its verb prints, in this test");
    bed.assert_clean();
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
