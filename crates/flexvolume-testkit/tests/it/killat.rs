//! The tracer counts the same every time, strikes exactly where told, and each victim is the right one.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use flexvolume_testkit::killat::{self, Ended, Orphans, Plan, Report, Spec, Verdict, Victim, Writes, run, run_watched};
use tempfile::TempDir;

use crate::eventually;

const KILLED: Ended = Ended::Signalled(9);

/// A program with names made, moved and removed, by itself, its children, a subshell and a pipe.
const SCRIPT: &str = "
mkdir a && echo x >a/f
(mkdir a/b; mv a/b a/c; touch a/c/t)
echo y | (read -r y; echo $y >a/y)
mv a/f a/g; chmod 600 a/g; ln -s g a/l; ln a/g a/h
rm -r a/c a/l
mkdir end
";

fn sh(dir: &Path, script: &str) -> Spec {
    let spec = Spec::new("sh").args(["-ec", script]);
    Spec { cwd: Some(dir.to_path_buf()), ..spec }
}

/// The number of the first effect of this name whose detail ends so.
fn find(report: &Report, syscall: &str, end: &str) -> u64 {
    let found = report.effects.iter().find(|e| e.syscall.starts_with(syscall) && e.detail.ends_with(end));
    found.unwrap_or_else(|| panic!("no {syscall} …{end} in {:#?}", report.effects)).n
}

fn counted(script: &str) -> Report {
    let dir = TempDir::new().unwrap();
    let report = run(&sh(dir.path(), script), Plan::Count).unwrap();
    assert_eq!(report.ended, Ended::Exited(0), "{}", String::from_utf8_lossy(&report.stderr));
    report
}

#[test]
fn five_runs_count_the_same() {
    let first = counted(SCRIPT);
    assert!(first.count() > 20, "{:#?}", first.effects);
    assert_eq!(first.struck, None);
    for _ in 0..4 {
        assert_eq!(counted(SCRIPT).shape(), first.shape());
    }
}

#[test]
fn all_die_at_every_effect_and_nobody_acts_after() {
    let whole = counted(SCRIPT);
    for at in 1..=whole.count() {
        let dir = TempDir::new().unwrap();
        let report = run(&sh(dir.path(), SCRIPT), Plan::Kill { victim: Victim::Tree, at }).unwrap();
        assert_eq!((report.struck, report.ended, report.left), (Some(at), KILLED, false));
        assert_eq!(report.count(), at, "nobody acts after all are dead");
        assert_eq!(report.shape(), whole.shape()[..report.effects.len()]);
        assert!(!dir.path().join("end").exists());
    }
}

#[test]
fn the_host_dies_and_its_orphan_goes_on() {
    let script = "sh -c 'mkdir one; mkdir two'; mkdir three";
    let at = find(&counted(script), "mkdir", "one");
    let dir = TempDir::new().unwrap();
    let report = run(&sh(dir.path(), script), Plan::Kill { victim: Victim::Host, at }).unwrap();
    assert_eq!((report.struck, report.ended, report.left), (Some(at), KILLED, false));
    assert!(dir.path().join("one").exists() && dir.path().join("two").exists());
    assert!(!dir.path().join("three").exists());
    assert_eq!(report.effects.last().unwrap().n, find(&report, "mkdir", "two"), "orphans are counted too");
}

#[test]
fn the_host_acts_itself_and_dies_before_it_does() {
    let script = "echo 1 >one; echo 2 >two";
    let at = find(&counted(script), "open", "two");
    let dir = TempDir::new().unwrap();
    for victim in [Victim::Host, Victim::Actor] {
        let report = run(&sh(dir.path(), script), Plan::Kill { victim, at }).unwrap();
        assert_eq!(report.ended, KILLED);
        assert!(dir.path().join("one").exists() && !dir.path().join("two").exists());
    }
}

#[test]
fn only_the_actor_dies() {
    let script = "mkdir one || echo died $? >said; mkdir two";
    let at = find(&counted(script), "mkdir", "one");
    let dir = TempDir::new().unwrap();
    let report = run(&sh(dir.path(), script), Plan::Kill { victim: Victim::Actor, at }).unwrap();
    assert_eq!(report.ended, Ended::Exited(0));
    assert!(!dir.path().join("one").exists() && dir.path().join("two").exists());
    assert_eq!(fs::read_to_string(dir.path().join("said")).unwrap(), "died 137\n");
}

#[test]
fn all_die_those_in_other_sessions_and_those_that_never_acted_too() {
    // The subshell that waits makes no effect of its own, its parent ends, and it is in another session.
    let script = "mkfifo fifo; setsid -w sh -c '(read -r x <fifo; mkdir late) & echo $! >pid'; mkdir two";
    let whole = |dir: &TempDir, plan| {
        let spec = sh(dir.path(), script);
        run(&Spec { limit: Some(Duration::from_secs(2)), ..spec }, plan).unwrap()
    };
    let dir = TempDir::new().unwrap();
    let report = whole(&dir, Plan::Count);
    assert!(report.timed_out && !report.left, "it waits for ever, and the limit ends it");
    let at = find(&report, "mkdir", "two");

    let dir = TempDir::new().unwrap();
    let report = whole(&dir, Plan::Kill { victim: Victim::Tree, at });
    assert_eq!((report.struck, report.timed_out, report.left), (Some(at), false, false));
    let pid = fs::read_to_string(dir.path().join("pid")).unwrap();
    assert!(fs::read_link(Path::new("/proc").join(pid.trim()).join("exe")).is_err(), "the waiting one lives");
    assert!(!dir.path().join("two").exists());
}

#[test]
fn orphans_are_left_and_work_on() {
    let script = "sh -c 'mkdir one; until [ -e go ]; do sleep 0.05; done; mkdir two' & wait; mkdir three";
    let dir = TempDir::new().unwrap();
    // sh's fork execs sh, which execs mkdir, which acts.
    let spec = sh(dir.path(), script).after(Orphans::Leave);
    let report = run(&spec, Plan::Kill { victim: Victim::Host, at: 3 }).unwrap();
    assert_eq!(report.effects[2].syscall, "mkdir");
    assert_eq!((report.ended, report.left), (KILLED, true));
    assert!(!dir.path().join("two").exists());
    File::create(dir.path().join("go")).unwrap();
    eventually("the orphan ends its work", || dir.path().join("two").exists());
    assert!(!dir.path().join("three").exists());
}

#[test]
fn nothing_left_is_said_so() {
    let dir = TempDir::new().unwrap();
    let report = run(&sh(dir.path(), "mkdir one").after(Orphans::Leave), Plan::Count).unwrap();
    assert_eq!((report.ended, report.left), (Ended::Exited(0), false));
}

#[test]
fn an_effect_fails_with_the_errno_and_does_not_run() {
    let script = "mkdir one; mkdir two";
    let at = find(&counted(script), "mkdir", "one");
    let dir = TempDir::new().unwrap();
    let report = run(&sh(dir.path(), script), Plan::Inject { errno: libc::ENOSPC, at }).unwrap();
    assert_eq!((report.struck, report.ended), (Some(at), Ended::Exited(1)));
    assert!(String::from_utf8_lossy(&report.stderr).contains("No space left"), "{report:?}");
    assert!(!dir.path().join("one").exists() && !dir.path().join("two").exists());
}

#[test]
fn a_watcher_sees_each_effect_before_it_runs_and_may_leave_it_out() {
    let dir = TempDir::new().unwrap();
    let mut seen = Vec::new();
    let mut watch = |effect: &killat::Effect| {
        let made = ["one", "two", "three"].map(|name| dir.path().join(name).exists());
        seen.push((effect.detail.clone(), made));
        Ok(if effect.detail == "two" { Verdict::Pretended } else { Verdict::Runs })
    };
    let script = sh(dir.path(), "mkdir one; mkdir two; mkdir three");
    let report = run_watched(&script, Plan::Count, &mut watch).unwrap();
    assert_eq!(report.ended, Ended::Exited(0), "mkdir believes that it made it");
    seen.retain(|(detail, _)| ["one", "two", "three"].contains(&detail.as_str()));
    let made: Vec<[bool; 3]> = seen.into_iter().map(|(_, made)| made).collect();
    assert_eq!(made, [[false, false, false], [true, false, false], [true, false, false]]);
    assert!(dir.path().join("three").exists());

    let fails = run_watched(&script, Plan::Count, &mut |_| Err(std::io::Error::other("seen enough")));
    assert_eq!(fails.unwrap_err().to_string(), "seen enough");
}

#[test]
fn signals_do_not_make_an_effect_count_twice() {
    // Many signals for each file; but under a storm without any pause bash dies of a fault of its own, traced or not.
    let script = "trap : USR1; (while kill -USR1 $$; do for x in {1..100}; do :; done; done) & \
        for i in {1..300}; do echo $i >f$i; done; kill -9 $!";
    let dir = TempDir::new().unwrap();
    let spec = Spec { cwd: Some(dir.path().to_path_buf()), ..Spec::new("bash").args(["-c", script]) };
    let report = run(&spec, Plan::Count).unwrap();
    let made = report.effects.iter().filter(|e| e.syscall == "openat" && e.detail.contains("/f")).count();
    assert_eq!((report.ended, made), (Ended::Exited(0), 300));
}

#[test]
fn a_limit_ends_all() {
    let dir = TempDir::new().unwrap();
    let spec = Spec { limit: Some(Duration::from_millis(300)), ..sh(dir.path(), "sleep 1000 & sleep 1001") };
    let report = run(&spec, Plan::Count).unwrap();
    assert!(report.timed_out && !report.left);
    assert_eq!(report.ended, KILLED);
}

#[test]
fn a_missing_program_is_an_error() {
    assert!(run(&Spec::new("/no/such/program"), Plan::Count).is_err());
    assert!(run(&Spec::new("no-such-program"), Plan::Count).is_err());
}

#[test]
fn the_spared_are_not_counted() {
    let dir = TempDir::new().unwrap();
    let report = run(&sh(dir.path(), "mkdir one; touch two").sparing("mkdir"), Plan::Count).unwrap();
    assert!(dir.path().join("one").exists());
    assert!(report.effects.iter().all(|e| e.comm != "mkdir"), "{:#?}", report.effects);
    assert!(run(&sh(dir.path(), "true").sparing("/no/such/program"), Plan::Count).is_err());
}

/// A folder with the same shell in two files of one name. The script runs the first, which works through a child, and
/// between its two steps waits for leave to go on.
struct Bench {
    dir: TempDir,
}

impl Bench {
    const SCRIPT: &'static str =
        "mkdir begin; tools/sh -c 'mkdir one; until [ -e go ] || [ ! -e tools ]; do :; done; mkdir two'; mkdir end";

    fn new() -> Bench {
        let dir = TempDir::new().unwrap();
        for folder in ["tools", "other"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
            fs::copy("/bin/sh", dir.path().join(folder).join("sh")).unwrap();
        }
        Bench { dir }
    }

    fn spec(&self, script: &str) -> Spec {
        let spec = sh(self.dir.path(), script).sparing(self.dir.path().join("tools/sh"));
        Spec { spared_count: |_| true, ..spec }
    }

    fn go(&self) {
        fs::write(self.dir.path().join("go"), "").unwrap();
    }

    /// Runs it to its end.
    fn run(&self, spec: &Spec, plan: Plan) -> Report {
        self.go();
        run(spec, plan).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.dir.path().join(name).exists()
    }

    /// The number of the spared one's first step.
    fn first_step() -> u64 {
        let bench = Bench::new();
        let report = bench.run(&bench.spec(Self::SCRIPT), Plan::Count);
        let spared = ["begin", "one", "two", "end"].map(|name| {
            let at = find(&report, "mkdir", name);
            report.effects[at as usize - 1].spared
        });
        assert_eq!(spared, [false, true, true, false], "{:#?}", report.effects);
        find(&report, "mkdir", "one")
    }
}

#[test]
fn the_spared_go_on_when_all_others_die() {
    let at = Bench::first_step();
    for victim in [Victim::Tree, Victim::Host] {
        let bench = Bench::new();
        let report = bench.run(&bench.spec(Bench::SCRIPT), Plan::Kill { victim, at });
        assert_eq!((report.struck, report.ended, report.left, report.timed_out), (Some(at), KILLED, false, false));
        assert!(bench.has("begin") && bench.has("one") && bench.has("two") && !bench.has("end"), "{victim:?}");
    }
}

#[test]
fn the_spared_may_be_left_at_work() {
    let at = Bench::first_step();
    for victim in [Victim::Tree, Victim::Host] {
        let bench = Bench::new();
        let report = run(&bench.spec(Bench::SCRIPT).after(Orphans::Leave), Plan::Kill { victim, at }).unwrap();
        assert_eq!((report.struck, report.ended, report.left), (Some(at), KILLED, true));
        assert!(!bench.has("two"));
        bench.go();
        eventually("the spared one's second step", || bench.has("two"));
        assert!(!bench.has("end"));
    }
}

#[test]
fn the_spared_count_by_their_command_lines() {
    let script = "tools/sh -c ': count me; >one'; tools/sh -c '>two'";
    let bench = Bench::new();
    let spec = Spec { spared_count: |line| line.contains("sh -c : count me"), ..bench.spec(script) };
    let report = run(&spec, Plan::Count).unwrap();
    let spared: Vec<&str> = report.effects.iter().filter(|it| it.spared).map(|it| it.detail.as_str()).collect();
    assert!(matches!(spared[..], [detail] if detail.ends_with("one")), "{:#?}", report.effects);
    assert!(bench.has("one") && bench.has("two"));
}

#[test]
fn nothing_strikes_the_spared_themselves() {
    let at = Bench::first_step();
    for plan in [Plan::Kill { victim: Victim::Actor, at }, Plan::Inject { errno: libc::EIO, at }] {
        let bench = Bench::new();
        let report = bench.run(&bench.spec(Bench::SCRIPT), plan);
        assert_eq!((report.struck, report.ended), (None, Ended::Exited(0)));
        assert!(bench.has("end"));
    }
}

#[test]
fn another_file_of_that_name_is_not_spared() {
    let script = Bench::SCRIPT.replace("tools/", "other/");
    let bench = Bench::new();
    let report = bench.run(&bench.spec(&script), Plan::Count);
    let at = find(&report, "mkdir", "one");
    assert!(report.effects.iter().all(|effect| !effect.spared));
    let bench = Bench::new();
    let report = run(&bench.spec(&script), Plan::Kill { victim: Victim::Tree, at }).unwrap();
    assert_eq!((report.struck, report.left), (Some(at), false));
    assert!(!bench.has("one"));
}

#[test]
fn the_limit_spares_nobody() {
    let at = Bench::first_step();
    for plan in [Plan::Count, Plan::Kill { victim: Victim::Tree, at }] {
        let bench = Bench::new();
        let spec = Spec { limit: Some(Duration::from_secs(1)), ..bench.spec(Bench::SCRIPT) };
        let report = run(&spec, plan).unwrap();
        assert!(report.timed_out && !report.left && !bench.has("two"), "{plan:?}: {report:?}");
        assert_eq!(report.ended, KILLED, "{plan:?}");
    }
}

#[test]
fn every_exec_is_told_with_arguments_and_environment() {
    let dir = TempDir::new().unwrap();
    let long = "x".repeat(100_000);
    // A child's child in another session, one that is gone at once, and one that cannot be started at all.
    let script =
        "setsid -w sh -c 'GIVEN=there exec env printf %s \"a  b\"' >/dev/null; /bin/true \"$LONG\"; ./none || :";
    let report = run(&sh(dir.path(), script).env("LONG", &long).execs(), Plan::Count).unwrap();
    let of = |path: &str| {
        let found = report.execs.iter().find(|exec| exec.path.ends_with(path.as_bytes()));
        found.unwrap_or_else(|| panic!("no {path} in {:#?}", report.execs))
    };
    let argv = |path: &str| of(path).argv.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>();
    assert_eq!(report.execs[0].argv[1..], ["-ec", script].map(|word| word.as_bytes().to_vec()), "the root itself");
    assert_eq!(argv("/printf"), ["printf", "%s", "a  b"]);
    assert!(of("/printf").env.contains(&b"GIVEN=there".to_vec()));
    assert_eq!(argv("/true"), ["/bin/true", &long]);
    assert_eq!(argv("./none"), ["./none"]);
    assert!(of("/printf").shown().windows(5).any(|piece| piece == b"a  b\n"));
    let silent = run(&sh(dir.path(), "/bin/true"), Plan::Count).unwrap();
    assert_eq!(silent.execs, [], "only when asked for");
}

const BUSY: &str = "TESTKIT_BUSY_DIR";

/// Not a test by itself: the program that the next two run under the tracer.
#[test]
fn busy() {
    let Some(dir) = std::env::var_os(BUSY) else { return };
    let dir = Path::new(&dir);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for n in 0..25 {
                    fs::create_dir(dir.join(format!("{thread}-{n}"))).unwrap();
                    // On the vfork path: our memory is shared with the child until it execs.
                    assert!(Command::new("/bin/true").status().unwrap().success());
                }
            });
        }
    });
    let file = File::create(dir.join("file")).unwrap();
    for n in 0..100 {
        file.write_at(b"x", n).unwrap();
    }
    file.sync_all().unwrap();
    file.write_at(b"x", 0).unwrap();
}

fn busy_spec(dir: &Path) -> Spec {
    Spec::new(std::env::current_exe().unwrap()).args(["--exact", "killat::busy"]).env(BUSY, dir)
}

#[test]
fn threads_and_vfork_children_are_seen_whole() {
    let dir = TempDir::new().unwrap();
    let report = run(&busy_spec(dir.path()), Plan::Count).unwrap();
    assert_eq!(report.ended, Ended::Exited(0), "{}", String::from_utf8_lossy(&report.stdout));
    let of = |name: &str| report.effects.iter().filter(|e| e.syscall == name).count();
    assert_eq!((of("mkdir"), of("execve"), of("fsync")), (200, 200, 1));
    assert_eq!(of("pwrite64"), 7 + 1, "1 2 4 8 16 32 64 of the run, and the one after the sync");

    let dir = TempDir::new().unwrap();
    let report = run(&Spec { writes: Writes::Each, ..busy_spec(dir.path()) }, Plan::Count).unwrap();
    assert_eq!(report.effects.iter().filter(|e| e.syscall == "pwrite64").count(), 101);
}

#[test]
fn a_threaded_parent_of_vfork_children_dies_in_mid_course() {
    for at in [1, 50, 151, 300] {
        for victim in [Victim::Host, Victim::Tree, Victim::Actor] {
            let dir = TempDir::new().unwrap();
            let report = run(&busy_spec(dir.path()), Plan::Kill { victim, at }).unwrap();
            assert_eq!((report.struck, report.timed_out, report.left), (Some(at), false, false));
            if victim != Victim::Actor {
                assert_eq!(report.ended, KILLED);
                assert!(!dir.path().join("file").exists());
            }
        }
    }
}

#[test]
fn the_command_does_the_same_and_its_log_can_be_read() {
    let script = "mkdir one; mkdir two";
    let whole = counted(script);
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    let killat = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_killat"));
        command.args(flags).arg("--log").arg(&log).args(["--", "sh", "-ec", script]).current_dir(&dir);
        (command.status().unwrap().code(), Report::read(&log).unwrap())
    };
    let at = find(&whole, "mkdir", "two").to_string();
    let (code, report) = killat(&["--mode", "host", "--at", &at]);
    assert_eq!((code, report.ended), (Some(137), KILLED));
    assert!(dir.path().join("one").exists());
    fs::remove_dir(dir.path().join("one")).unwrap();
    fs::remove_dir(dir.path().join("two")).unwrap();

    let (code, report) = killat(&["--errno", "EIO", "--at", &at]);
    assert_eq!((code, report.struck), (Some(1), at.parse().ok()));
    fs::remove_dir(dir.path().join("one")).unwrap();

    let (code, report) = killat(&[]);
    assert_eq!((code, report.struck, report.ended), (Some(0), None, Ended::Exited(0)));
    assert_eq!(report.shape(), whole.shape());
}
