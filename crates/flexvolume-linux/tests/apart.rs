//! What is set apart goes on whatever becomes of its caller. The caller is this very executable, hence its own `main`.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::Write,
    os::{
        fd::AsFd,
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use flexvolume_linux::process::{self, Apart, How, Kill, Limits, Program, end, lending, marked, session, spawn};
use rustix::{
    fs::{FlockOperation, OFlags, flock},
    process::{Pid, Signal, kill_process, kill_process_group},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

const LONG: Duration = Duration::from_secs(60);
/// What stands for the variable by which a host finds what a call left.
const MARK: &str = "FLEXVOL_TEST_APART";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().collect();
    if let [_, role, dir, value] = &words[..]
        && role == "caller"
    {
        return caller(Path::new(dir), value);
    }
    process::settle();
    let tests: &[(&str, fn())] = &[
        ("it_is_run_as_any_other_program", it_is_run_as_any_other_program),
        ("the_death_of_its_caller_does_not_reach_it", the_death_of_its_caller_does_not_reach_it),
        ("signals_for_the_callers_group_do_not_reach_it", signals_for_the_callers_group_do_not_reach_it),
        ("what_looks_for_the_mark_does_not_find_it", what_looks_for_the_mark_does_not_find_it),
        ("a_terminal_does_not_reach_it", a_terminal_does_not_reach_it),
    ];
    for (name, test) in tests {
        test();
        eprintln!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn shell(script: &str) -> Program {
    Program { args: vec!["-c".to_owned().into(), script.to_owned().into()], ..Program::new("/bin/sh") }
}

/// Starts two programs under a lock, one apart and one not, and waits. Each speaks once it may go on: to a pipe that
/// nobody may read by then. What can be reached by a terminal says so.
fn caller(dir: &Path, value: &str) -> ExitCode {
    process::settle();
    let lock = File::create(dir.join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let run = |name: &str, apart: Option<Apart>| {
        let at = dir.display();
        let script = format!(
            "(: </dev/tty) 2>/dev/null && : > {at}/{name}.tty
             echo $$ > {at}/{name}.new; mv {at}/{name}.new {at}/{name}.up
             while [ ! -e {at}/go ]; do sleep 0.02; done
             echo said; echo said >&2; : > {at}/{name}.end"
        );
        let env = vec![(format!("{MARK}_2"), value.to_owned())];
        lending(lock.as_fd(), || spawn(&Program { env, apart, ..shell(&script) })).unwrap()
    };
    let apart = run("apart", Some(Apart { without: vec![MARK.to_owned()] }));
    let plain = run("plain", None);
    // The lock is now with the two alone.
    drop(lock);
    let limits = Limits { answer: LONG, kill: Kill::Never };
    let how = apart.wait(&limits, &|_, _| false, &mut |_| {}).how;
    drop(plain);
    if how == How::Exited(0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A caller with its two programs.
struct Scene {
    dir: tempfile::TempDir,
    caller: Child,
    value: String,
}

impl Scene {
    /// On a terminal if one is given: then the caller leads a session that has it.
    fn new(terminal: Option<File>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let value = dir.path().to_string_lossy().into_owned();
        let words = ["caller".as_ref(), dir.path().as_os_str(), value.as_ref()];
        let own = env::current_exe().unwrap();
        // Whoever runs us may ignore signals, as a shell does for what it runs in the background; the caller must not.
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP,INT,QUIT,TERM");
        match terminal {
            Some(terminal) => command.args(["setsid", "--ctty"]).stdin(terminal),
            None => command.stdin(Stdio::null()).process_group(0),
        };
        command.arg(own).args(words).env(MARK, &value).stdout(Stdio::null()).stderr(Stdio::null());
        let scene = Self { caller: command.spawn().unwrap(), dir, value };
        until("both run", || scene.is("apart.up") && scene.is("plain.up"));
        scene
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn is(&self, name: &str) -> bool {
        self.at(name).exists()
    }

    fn pid(&self, name: &str) -> u32 {
        fs::read_to_string(self.at(&format!("{name}.up"))).unwrap().trim().parse().unwrap()
    }

    fn is_locked(&self) -> bool {
        let lock = File::open(self.at("lock")).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockShared).is_err()
    }

    fn caller_pid(&self) -> Pid {
        Pid::from_child(&self.caller)
    }

    /// The caller is gone and what is apart is not: it holds the lock, goes on, and comes to its own end.
    fn goes_on(&mut self) {
        self.caller.wait().unwrap();
        assert!(self.is_locked());
        fs::write(self.at("go"), "").unwrap();
        until("it ends by itself", || self.is("apart.end"));
        until("its lock is free", || !self.is_locked());
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let left = marked(&format!("{MARK}_2"), &self.value).unwrap();
        end(&left, LONG, true);
    }
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < LONG, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn it_is_run_as_any_other_program() {
    let apart = Some(Apart { without: vec!["FLEXVOL_TEST_NONE".to_owned()] });
    let env = vec![("HERE".to_owned(), "yes".to_owned())];
    let stdin = Some(b"read\n".to_vec().into());
    let limits = Limits { answer: LONG, kill: Kill::Never };
    let program = Program { env, stdin, apart: apart.clone(), ..shell("read word; echo $word $HERE; pwd; exit 3") };
    let outcome = spawn(&program).unwrap().wait(&limits, &|_, _| false, &mut |_| {});
    assert_eq!((outcome.how, &*outcome.stdout), (How::Exited(3), &b"read yes\n/\n"[..]));

    let none = spawn(&Program { apart: apart.clone(), ..Program::new("/nowhere/at/all") }).err().unwrap();
    assert!(none.hint().is_some(), "{none}");
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("no-first-line");
    OpenOptions::new()
        .write(true)
        .create(true)
        .mode(0o755)
        .truncate(true)
        .open(&script)
        .unwrap()
        .write_all(b"exit 0\n")
        .unwrap();
    assert!(spawn(&Program { apart, ..Program::new(script) }).is_err(), "no shell is asked to run what is no program");
}

fn the_death_of_its_caller_does_not_reach_it() {
    let mut scene = Scene::new(None);
    let pid = scene.pid("apart");
    assert_eq!(session(pid), Some(pid), "a session of its own");
    assert_ne!(session(scene.pid("plain")), Some(scene.pid("plain")));
    kill_process(scene.caller_pid(), Signal::KILL).unwrap();
    scene.goes_on();
    // What is not apart dies of the pipe that nobody reads.
    until("the other one is gone", || !Path::new(&format!("/proc/{}", scene.pid("plain"))).exists());
    assert!(!scene.is("plain.end"));
}

fn signals_for_the_callers_group_do_not_reach_it() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT, Signal::KILL] {
        let mut scene = Scene::new(None);
        kill_process_group(scene.caller_pid(), signal).unwrap();
        scene.goes_on();
    }
}

fn what_looks_for_the_mark_does_not_find_it() {
    let mut scene = Scene::new(None);
    let found: Vec<u32> = marked(MARK, &scene.value).unwrap().iter().map(|id| id.pid).collect();
    assert!(found.contains(&scene.caller.id()) && found.contains(&scene.pid("plain")), "{found:?}");
    assert!(!found.contains(&scene.pid("apart")), "{found:?}");
    assert!(
        end(&marked(MARK, &scene.value).unwrap(), Duration::from_secs(2), true)
            .iter()
            .all(|id| id.pid == scene.caller.id())
    );
    scene.goes_on();
}

fn a_terminal_does_not_reach_it() {
    for hang_up in [false, true] {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
        let theirs = OpenOptions::new().read(true).write(true).custom_flags(flags).open(name).unwrap();
        let mut scene = Scene::new(Some(theirs));
        assert!(scene.is("plain.tty") && !scene.is("apart.tty"), "it has no terminal");
        let mut ours = File::from(ours);
        if !hang_up {
            ours.write_all(b"\x03").unwrap();
            scene.caller.wait().unwrap();
        }
        drop(ours);
        scene.goes_on();
    }
}
