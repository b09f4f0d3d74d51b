//! Discovery: drivers found, changed and lost while running. Each test is named after the case of the contract it shows.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver},
    },
    time::{Duration, Instant},
};

use flexvolume_host::{
    drivers::{
        load::{Ask, Drivers, Look},
        watch::{Seen, Watch},
    },
    settings::Config,
};
use flexvolume_linux::beneath::Trust;
use flexvolume_protocol::DriverName;
use flexvolume_testkit::{
    Sandbox,
    scripted::{Answer, Script, Scripted},
};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, pod},
    scripts::{direct, until},
};

/// A watched plugin directory.
struct Plant {
    // Ended before the directory goes, or it would make that again.
    _watch: Watch,
    sandbox: Sandbox,
    drivers: Arc<Drivers>,
    seen: Receiver<Seen>,
}

impl Plant {
    fn new() -> Self {
        Self::over(Sandbox::new().unwrap())
    }

    fn over(sandbox: Sandbox) -> Self {
        Self::heard(sandbox, |_| ())
    }

    /// With `hears` called on the watching thread, before the news are handed on.
    fn heard(sandbox: Sandbox, hears: impl Fn(&Seen) + Send + Sync + 'static) -> Self {
        let drivers = Arc::new(Drivers::new(sandbox.plugins(), Trust::here(), Config::default()));
        let (send, seen) = mpsc::channel();
        let tell = move |seen| {
            hears(&seen);
            drop(send.send(seen));
        };
        let watch = Watch::start(drivers.clone(), None, tell).unwrap();
        Self { _watch: watch, sandbox, drivers, seen }
    }

    fn install(&self, name: &str, script: &Script) -> Scripted {
        script.install(&self.sandbox.plugins(), name).unwrap()
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.sandbox.plugins().join(name.replace('/', "~"))
    }

    /// The next news, in a word: `ready NAME`, `failed NAME`, `gone NAME`.
    fn next(&self) -> String {
        loop {
            // Far below the slow timer, which would hide that an event was missed.
            match self.seen.recv_timeout(Duration::from_secs(20)).expect("news") {
                Seen::Ready(driver) => return format!("ready {}", driver.name),
                Seen::Failed { name, .. } => return format!("failed {name}"),
                Seen::Gone(name) => return format!("gone {name}"),
                Seen::Trouble(error) => return format!("trouble {}", error.story()),
                Seen::Note(_) => {}
            }
        }
    }

    /// Waits until everything that was done before has been taken in: what comes after it is told after it.
    fn settle(&self) {
        let marker = self.install("v/marker", &good());
        while self.next() != "ready v/marker" {}
        fs::remove_file(marker.exe()).unwrap();
        while self.next() != "gone v/marker" {}
    }

    fn can(&self, name: &str) -> bool {
        self.drivers.get(&DriverName::parse(name).unwrap(), &|_| ()).is_ok()
    }
}

fn good() -> Script {
    Script::sh().on("init", Answer::success())
}

fn inits(driver: &Scripted) -> usize {
    driver.verbs().unwrap().iter().filter(|verb| *verb == "init").count()
}

#[test]
fn h_03_dot_directories_files_and_links_are_passed_over_whenever_they_come() {
    let sandbox = Sandbox::new().unwrap();
    let put = |plugins: PathBuf, elsewhere: PathBuf| {
        good().install(&elsewhere, "x/real").unwrap();
        symlink(elsewhere.join("x~real"), plugins.join("x~linked")).unwrap();
        fs::write(plugins.join("x~file"), "#!/bin/sh\n").unwrap();
        let hidden = plugins.join(".x~hidden");
        fs::create_dir(&hidden).unwrap();
        fs::write(hidden.join("hidden"), "#!/bin/sh\necho '{\"status\":\"Success\"}'\n").unwrap();
        fs::set_permissions(hidden.join("hidden"), PermissionsExt::from_mode(0o755)).unwrap();
    };
    put(sandbox.plugins(), sandbox.dir("elsewhere").unwrap());
    let plant = Plant::over(sandbox);
    plant.install("v/d", &good());
    assert_eq!(plant.next(), "ready v/d");
    let later = plant.sandbox.dir("later").unwrap();
    for entry in fs::read_dir(plant.sandbox.plugins()).unwrap().flatten() {
        let path = entry.path();
        if path.file_name().unwrap() != "v~d" {
            fs::rename(&path, later.join(path.file_name().unwrap())).unwrap();
        }
    }
    for entry in fs::read_dir(later).unwrap().flatten() {
        fs::rename(entry.path(), plant.sandbox.plugins().join(entry.file_name())).unwrap();
    }
    plant.settle();
    for name in ["x/linked", "x/file", "x/hidden"] {
        assert!(!plant.can(name), "{name}");
    }
}

#[test]
fn h_05_a_missing_plugin_directory_is_made_and_watched() {
    let sandbox = Sandbox::new().unwrap();
    fs::remove_dir(sandbox.plugins()).unwrap();
    let plant = Plant::over(sandbox);
    until("the directory", || plant.sandbox.plugins().is_dir());
    assert_eq!(fs::metadata(plant.sandbox.plugins()).unwrap().mode() & 0o777, 0o755);
    plant.install("v/d", &good());
    assert_eq!(plant.next(), "ready v/d");
}

#[test]
fn h_06_a_driver_added_later_works_after_one_init_for_the_whole_burst() {
    let plant = Plant::new();
    let driver = plant.install("v/d", &good());
    assert_eq!(plant.next(), "ready v/d");
    // A burst on top of it: touched, moved away and back, another mode; all within the moment that a burst takes.
    let away = driver.exe().with_file_name(".away");
    for _ in 0..20 {
        fs::rename(driver.exe(), &away).unwrap();
        fs::rename(&away, driver.exe()).unwrap();
    }
    plant.settle();
    // Twenty changes: one init, or some where the machine was slow in between; never one for each.
    assert!((2..20).contains(&inits(&driver)), "{} inits", inits(&driver));
    assert!(plant.can("v/d"));
}

#[test]
fn h_07_a_touch_beside_it_is_one_more_init_and_of_a_dot_file_none() {
    let plant = Plant::new();
    let driver = plant.install("v/d", &good());
    assert_eq!(plant.next(), "ready v/d");
    fs::write(plant.folder("v/d").join(".hidden"), "").unwrap();
    plant.settle();
    assert_eq!(inits(&driver), 1, "a dot file");
    fs::write(plant.folder("v/d").join("helper"), "").unwrap();
    assert_eq!(plant.next(), "ready v/d");
    plant.settle();
    assert_eq!(inits(&driver), 2, "a helper");
    // What a driver that works writes into its own log is no reason.
    fs::write(plant.folder("v/d").join("helper"), "a line").unwrap();
    plant.settle();
    assert_eq!(inits(&driver), 2, "its log");
}

#[test]
fn h_08_a_dot_file_renamed_over_it_is_a_new_init_and_its_capabilities_count() {
    let plant = Plant::new();
    plant.install("v/d", &good());
    assert_eq!(plant.next(), "ready v/d");
    let direct = json!({"status": "Success", "capabilities": {"attach": false}});
    plant.install("v/d", &Script::sh().on("init", Answer::json(&direct)));
    assert_eq!(plant.next(), "ready v/d");
    let driver = plant.drivers.get(&DriverName::parse("v/d").unwrap(), &|_| ()).unwrap();
    assert!(!driver.capabilities.attach);
}

#[test]
fn h_09_a_driver_deleted_or_moved_away_is_gone_and_the_others_stay() {
    let plant = Plant::new();
    for name in ["v/exe", "v/dir", "v/moved", "v/stays"] {
        plant.install(name, &good());
        assert_eq!(plant.next(), format!("ready {name}"));
    }
    fs::remove_file(plant.folder("v/exe").join("exe")).unwrap();
    assert_eq!(plant.next(), "gone v/exe");
    fs::remove_dir_all(plant.folder("v/dir")).unwrap();
    assert_eq!(plant.next(), "gone v/dir");
    // Kubernetes takes a move for a change, runs init in vain and keeps the driver.
    let away = plant.sandbox.path().join("away");
    fs::rename(plant.folder("v/moved"), &away).unwrap();
    assert_eq!(plant.next(), "gone v/moved");
    for name in ["v/exe", "v/dir", "v/moved"] {
        assert!(!plant.can(name), "{name}");
    }
    assert!(plant.can("v/stays"));
    fs::rename(&away, plant.folder("v/moved")).unwrap();
    assert_eq!(plant.next(), "ready v/moved");
}

#[test]
fn h_10_a_plugin_directory_that_is_deleted_or_moved_is_made_anew_and_watched() {
    let plant = Plant::new();
    plant.install("v/d", &good());
    assert_eq!(plant.next(), "ready v/d");
    fs::remove_dir_all(plant.sandbox.plugins()).unwrap();
    assert_eq!(plant.next(), "gone v/d");
    until("the directory", || plant.sandbox.plugins().is_dir());
    plant.install("v/d", &good());
    assert_eq!(plant.next(), "ready v/d");
    fs::rename(plant.sandbox.plugins(), plant.sandbox.path().join("away")).unwrap();
    assert_eq!(plant.next(), "gone v/d");
    until("the directory", || plant.sandbox.plugins().is_dir());
    plant.install("v/other", &good());
    assert_eq!(plant.next(), "ready v/other");
}

#[test]
fn h_11_a_bad_driver_beside_a_good_one_takes_nothing_from_it_at_the_start_and_later() {
    let sandbox = Sandbox::new().unwrap();
    Script::sh().on("init", Answer::text("garbage")).install(&sandbox.plugins(), "v/bad").unwrap();
    good().install(&sandbox.plugins(), "v/good").unwrap();
    let plant = Plant::over(sandbox);
    let mut news = [plant.next(), plant.next()];
    news.sort();
    assert_eq!(news, ["failed v/bad", "ready v/good"]);
    plant.install("v/worse", &Script::sh().on("init", Answer::failure("no")));
    assert_eq!(plant.next(), "failed v/worse");
    assert!(plant.can("v/good"));
}

#[test]
fn h_12_a_failing_init_is_tried_again_by_itself_more_and_more_slowly() {
    let plant = Plant::new();
    let answers = [Answer::failure("not yet"), Answer::failure("not yet"), Answer::success()];
    let driver = plant.install("v/d", &Script::sh().on_each("init", answers));
    assert_eq!(plant.next(), "failed v/d");
    // The same reason twice is told once.
    assert_eq!(plant.next(), "ready v/d");
    let began: Vec<_> = driver.calls().unwrap().iter().map(|call| call.began).collect();
    let pauses: Vec<_> = began.windows(2).map(|two| two[1].duration_since(two[0]).unwrap()).collect();
    assert_eq!(pauses.len(), 2);
    assert!(pauses[0] >= Duration::from_millis(450) && pauses[1] >= Duration::from_millis(950), "{pauses:?}");
}

/// Nobody runs a failing `init` in between, however often the driver is asked for.
#[test]
fn h_12_a_failing_init_is_not_run_by_every_lookup() {
    let plant = Plant::new();
    let driver = plant.install("v/d", &Script::sh().on("init", Answer::failure("never")));
    assert_eq!(plant.next(), "failed v/d");
    let start = Instant::now();
    let mut asked = 0;
    while start.elapsed() < Duration::from_millis(300) {
        assert!(!plant.can("v/d"));
        asked += 1;
    }
    assert!(asked > 3 && inits(&driver) < asked.min(4), "{asked} lookups, {} inits", inits(&driver));
}

#[test]
fn h_12_what_it_waited_for_makes_it_be_tried_at_once() {
    let plant = Plant::new();
    let wants = format!(
        r#"if [ -s {} ]; then echo '{{"status":"Success"}}'; else echo '{{"status":"Failure"}}'; fi"#,
        plant.folder("v/d").join("settings").display()
    );
    plant.install("v/d", &Script::sh().on("init", Answer::shell(wants)));
    assert_eq!(plant.next(), "failed v/d");
    // Five failures later a retry by time would be sixteen seconds away.
    let name = DriverName::parse("v/d").unwrap();
    for _ in 0..5 {
        plant.drivers.look(&name, Ask::Anew, &|_| ());
    }
    plant.settle();
    fs::write(plant.folder("v/d").join("settings"), "a=b").unwrap();
    assert_eq!(plant.next(), "ready v/d");
}

#[test]
fn h_13_a_driver_that_is_removed_is_tried_no_more() {
    let plant = Plant::new();
    let driver = plant.install("v/d", &Script::sh().on("init", Answer::failure("no")));
    assert_eq!(plant.next(), "failed v/d");
    fs::remove_file(driver.exe()).unwrap();
    assert_eq!(plant.next(), "gone v/d");
    let before = inits(&driver);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(inits(&driver), before);
    assert!(plant.seen.try_recv().is_err());
}

#[test]
fn h_14_a_hanging_or_slow_init_delays_no_other_driver() {
    let plant = Plant::new();
    let hanging =
        plant.install("v/hanging", &Script::sh().on("init", Answer::success().sleep(Duration::from_secs(20))));
    until("the hanging init", || inits(&hanging) == 1);
    for n in 0..10 {
        plant.install(&format!("v/d{n}"), &good());
        assert_eq!(plant.next(), format!("ready v/d{n}"));
        assert!(plant.can(&format!("v/d{n}")));
    }
    assert_eq!(hanging.calls().unwrap()[0].ended, None, "the others were there before it answered");
}

#[test]
fn h_38_a_file_without_run_bit_a_directory_and_a_missing_interpreter_are_told_and_mended_while_watched() {
    let plant = Plant::new();
    let folder = plant.folder("v/d");
    fs::create_dir(&folder).unwrap();
    let exe = folder.join("d");
    let text = |shell: &str| format!("#!{shell}\necho '{{\"status\":\"Success\"}}'\n");
    fs::create_dir(&exe).unwrap();
    assert_eq!(plant.next(), "failed v/d");
    fs::remove_dir(&exe).unwrap();
    assert_eq!(plant.next(), "gone v/d");
    fs::write(&exe, text("/nonexistent/sh")).unwrap();
    assert_eq!(plant.next(), "failed v/d");
    fs::set_permissions(&exe, PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(plant.next(), "failed v/d");
    let new = folder.join(".new");
    fs::write(&new, text("/bin/sh")).unwrap();
    fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
    fs::rename(&new, &exe).unwrap();
    assert_eq!(plant.next(), "ready v/d");
}

/// A driver that writes beside itself in `init` must not be asked for ever.
#[test]
fn an_init_that_writes_beside_itself_is_run_once() {
    let plant = Plant::new();
    let beside = plant.folder("v/d");
    let busy = format!(
        r#"cd {} && echo line >>log && touch state && rm -f lock && echo $$ >lock && echo '{{"status":"Success"}}'"#,
        beside.display()
    );
    let driver = plant.install("v/d", &Script::sh().on("init", Answer::shell(busy)));
    assert_eq!(plant.next(), "ready v/d");
    plant.settle();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(inits(&driver), 1);
}

/// More changes than the kernel's queue holds while nobody reads it: the directory is listed anew.
#[test]
fn lost_events_are_made_up_for() {
    let gate = Arc::new(Mutex::new(()));
    let held = gate.clone();
    let plant = Plant::heard(Sandbox::new().unwrap(), move |seen| {
        if matches!(seen, Seen::Ready(_)) {
            drop(held.lock());
        }
    });
    let closed = gate.lock().unwrap();
    let driver = plant.install("v/d", &good());
    until("its init", || inits(&driver) == 1);
    let queue: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    // Two names in turn: equal events in a row would be told as one.
    let names = [".a", ".b"].map(|name| plant.folder("v/d").join(name));
    for n in 0..queue {
        fs::write(&names[n % 2], "").unwrap();
    }
    fs::remove_file(driver.exe()).unwrap();
    plant.install("v/late", &good());
    drop(closed);
    assert_eq!(plant.next(), "ready v/d");
    let mut news = [plant.next(), plant.next()];
    news.sort();
    assert_eq!(news, ["gone v/d", "ready v/late"]);
}

/// The next line of a command that goes on.
fn line(from: &mut impl BufRead) -> Value {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"))
}

#[test]
fn a_watch_of_an_empty_directory_says_what_it_watches() {
    let Some(bed) = Bed::new() else { return };
    let mut watch = bed.command(["drivers", "--watch"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(watch.stderr.take().unwrap()).read_line(&mut said).unwrap();
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert_eq!(said.trim_end(), format!("watching {}", bed.sandbox.plugins().display()));
}

#[test]
fn the_command_tells_who_comes_and_goes_and_which_volumes_are_left_behind() {
    let Some(bed) = Bed::new() else { return };
    let script = bed.script("v/d", direct());
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/d}")]));
    bed.ok(["up", &file]);
    let mut watch = bed.command(["-o", "json", "drivers", "--watch"]);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(watch.stdout.take().unwrap());
    let first = line(&mut out);
    assert_eq!((&first["driver"], &first["kind"]), (&json!("v/d"), &json!("direct")));
    bed.script("v/broken", Script::sh().on("init", Answer::text("no JSON")));
    let second = line(&mut out);
    assert!(second["kind"] == "broken" && second["error"].as_str().unwrap().contains("no JSON"), "{second}");

    // Taken away while in use: its volume is known, stays, and everybody says what to do.
    fs::remove_file(script.exe()).unwrap();
    let third = line(&mut out);
    assert_eq!(third["kind"], "missing");
    let volume = third["volumes"][0].as_str().unwrap();
    assert!(volume.starts_with("v/d/"), "{third}");
    let advice = [volume, "flexvol install FILE --as v/d"];
    bed.run(["drivers"]).fails(1, &["no JSON"]).fails(1, &advice);
    bed.run(["down", "web"]).fails(3, &["no driver v/d", "flexvol install FILE --as v/d"]);
    assert!(flexvolume_linux::mount::table::at(&bed.path_of("web", "data")).unwrap().is_some());

    bed.script("v/d", direct());
    assert_eq!(line(&mut out)["kind"], "direct");
    bed.ok(["down", "web"]);
    watch.kill().unwrap();
    let told = std::io::read_to_string(watch.stderr.take().unwrap()).unwrap();
    watch.wait().unwrap();
    assert!(advice.iter().all(|words| told.contains(words)), "{told}");
    bed.assert_clean();
}

/// Whoever waits for a driver need not wait for time: the volume is up as soon as the driver is there and works.
#[test]
fn a_volume_that_waits_for_its_driver_comes_up_when_that_comes() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/other", Script::sh().on("init", Answer::failure("nobody asked")));
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/late}")]));
    let mut up = bed.command(["-o", "json", "up", "--wait", &file]);
    let up = up.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waits = |tries: u64| {
        let rows = bed.json(["ls"]);
        rows.as_array().unwrap().iter().any(|row| row["retry"]["tries"].as_u64().is_some_and(|n| n >= tries))
    };
    // The sixth try by time would be eight seconds after the fifth, and in vain; the seventh sixteen after that.
    until("five tries", || waits(5));
    let start = Instant::now();
    let answers =
        [Answer::failure("not yet"), Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}}))];
    let late = bed.script("v/late", direct().on_each("init", answers));
    let ran = crate::bed::Ran::of(up.wait_with_output().unwrap());
    assert!(ran.code == 0 && start.elapsed() < Duration::from_secs(10), "{:?}: {ran:?}", start.elapsed());
    assert_eq!(inits(&late), 2);
    let other = bed.sandbox.plugins().join("v~other/.calls/order");
    assert!(!other.exists(), "a driver that no volume here needs was asked");
    bed.ok(["down", "web"]);
    bed.assert_clean();
}

/// A driver whose fresh `init` fails is failing, for whoever watches; whoever has its volumes is served as before.
#[test]
fn h_12_a_fresh_init_that_fails_takes_nothing_from_who_is_served() {
    let sandbox = Sandbox::new().unwrap();
    let drivers = Drivers::new(sandbox.plugins(), Trust::here(), Config::default());
    good().on_each("init", [Answer::success(), Answer::failure("not now")]).install(&sandbox.plugins(), "v/d").unwrap();
    let name = DriverName::parse("v/d").unwrap();
    assert!(matches!(drivers.look(&name, Ask::Anew, &|_| ()), Look::Ready(_)));
    for ask in [Ask::Anew, Ask::IfChanged] {
        assert!(matches!(drivers.look(&name, ask, &|_| ()), Look::Failed { .. }), "{ask:?}");
    }
    assert!(drivers.get(&name, &|_| ()).is_ok());
}

/// Who waits for one driver does not wait for another one's `init`: not for its own time, and not to be interrupted.
#[test]
fn a_hanging_init_holds_up_no_time_limit() {
    let Some(bed) = Bed::new() else { return };
    bed.script("v/fast", direct().on("mount", Answer::failure("not yet")));
    bed.script("v/hangs", Script::sh().on("init", Answer::success().sleep(Duration::from_secs(40))));
    let pods = [pod("fast", &[("data", "{driver: v/fast}")]), pod("hangs", &[("data", "{driver: v/hangs}")])];
    let file = bed.manifest("two.yaml", &pods.join("---\n"));
    let start = Instant::now();
    let ran = bed.run(["up", "--timeout", "2s", &file]);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}: {ran:?}", start.elapsed());
    ran.fails(1, &["not done after", "not yet"]);
    bed.ok(["down", "--all"]);
}

/// Files that a driver makes and removes beside itself while it works are no news of it.
#[test]
fn a_driver_that_writes_beside_itself_is_tried_no_sooner() {
    let Some(bed) = Bed::new() else { return };
    let lock = format!(": >{0}/lock.$$; rm {0}/lock.$$; false", bed.sandbox.plugins().join("v~d").display());
    let driver = bed.script("v/d", direct().on("mount", Answer::success().run(lock)));
    let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/d}")]));
    bed.run(["up", "--timeout", "4s", &file]).fails(1, &["not done after"]);
    let mounts = driver.verbs().unwrap().iter().filter(|verb| *verb == "mount").count();
    // After 0, 0.5, 1.5 and 3.5 seconds.
    assert!((2..=4).contains(&mounts), "{mounts}");
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}
