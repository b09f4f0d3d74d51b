//! The door that says whether all is well: format, lints, rules, every test, the book's code, and the demo in both of its lives.

use crate::{
    book, demo, go, guest, machine, musl, python, say, sh,
    tally::{Reader, Tally},
    tidy,
};
use anyhow::{Context, Result, bail};
use sh::{End, Stream};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// After this a phase is taken for hung: four times what the longest takes on a busy machine with two processors.
const PHASE_LIMIT: Duration = Duration::from_secs(60 * 60);
const DEMO_LIMIT: Duration = Duration::from_secs(5 * 60);
/// By which a test binary is told how many cases it may run at a time.
const THREADS: &str = "RUST_TEST_THREADS";
/// Nobody, in the literal sense: the user without rights that every Linux knows.
const NOBODY: u32 = 65534;

/// One phase: its name and what does it.
type Phase<'a> = (&'a str, &'a dyn Fn(&mut Tally) -> Result<()>);

/// The door. With a filter only the tests are built and run, those whose names hold it.
pub(crate) fn main(filter: Option<&str>) -> Result<()> {
    let start = Instant::now();
    let exe = std::env::current_exe().context("cannot find out where this executable lies")?;
    say::header("tools");
    let missing = machine::provide(machine::Need::All)?;
    println!("{}", if missing.is_empty() { "all there" } else { "going on; what needs them is skipped" });

    let begun = Cell::new(None);
    let tests = |tally: &mut Tally| {
        begun.set(filter.is_none().then(|| guest::Begun::now(exe.clone())));
        cargo_test(filter, tally)
    };
    let guests = |tally: &mut Tally| match begun.take() {
        Some(begun) => begun.all(tally),
        None => guest::suites(filter, tally),
    };
    let demo_root = |tally: &mut Tally| demo_as_root(&exe, tally);
    let demo_nobody = |tally: &mut Tally| demo_as_nobody(&exe, tally);
    let build: Phase = ("build", &build);
    let tests: Phase = ("cargo test", &tests);
    let musl: Phase = ("drivers for musl", &|_| musl::for_tests());
    let witness: Phase = ("the witness", &|_| go::WITNESS.build());
    let sanity: Phase = ("csi-sanity", &|_| go::SANITY.build());
    let grpcio: Phase = ("gRPC for Python", &|_| python::grpcio());
    let guests: Phase = ("guests", &guests);
    let all: [Phase; 13] = [
        ("rustfmt", &rustfmt),
        ("tidy", &|tally| one("tidy", tally, tidy::main)),
        ("clippy", &clippy),
        build,
        musl,
        witness,
        sanity,
        grpcio,
        tests,
        guests,
        ("the book's code", &|tally| one("the book's code", tally, book::check)),
        ("demo as root", &demo_root),
        ("demo without root", &demo_nobody),
    ];
    let phases: &[Phase] = match filter {
        None => &all,
        Some(filter) if filter.starts_with("witness") => &[build, witness, tests, guests],
        Some(filter) if filter.contains("sanity") => &[build, sanity, tests, guests],
        Some(filter) if musl::TESTS.iter().any(|name| name.contains(filter)) => &[build, musl, tests, guests],
        Some(filter) if filter.contains("grpcio") => &[build, grpcio, tests, guests],
        // A suite's own name is no part of any other test's.
        Some(filter) if guest::is_suite(filter) => &[build, guests],
        Some(_) => &[build, tests, guests],
    };

    let mut total = Tally::default();
    let mut lines = Vec::new();
    for (name, phase) in phases {
        say::header(&format!("{name} ({} s since the start)", start.elapsed().as_secs()));
        let began = Instant::now();
        let mut tally = Tally::default();
        if let Err(error) = phase(&mut tally) {
            say::error(&error);
            tally.fail(name);
        }
        lines.push(format!("  {:<20} {:>5} s   {}", name, began.elapsed().as_secs(), tally.line()));
        // Without executables there is nothing to test.
        let stop = *name == "build" && tally.failed > 0;
        total.add(tally);
        if stop {
            break;
        }
    }
    summary(&total, &lines, start);
    let nothing_ran = filter.is_some() && total.is_empty();
    println!("{}", total.line());
    if let (true, Some(filter)) = (nothing_ran, filter) {
        bail!("no test has `{filter}` in its name");
    }
    // The last line has said it; an error after it would only hide it.
    if total.failed > 0 {
        say::flush();
        std::process::exit(1);
    }
    Ok(())
}

fn summary(total: &Tally, lines: &[String], start: Instant) {
    say::header(&format!("summary, after {} s", start.elapsed().as_secs()));
    for line in lines {
        println!("{line}");
    }
    total.explain();
}

/// Counts something that passes or fails as a whole.
fn one(name: &str, tally: &mut Tally, what: impl FnOnce() -> Result<()>) -> Result<()> {
    match what() {
        Ok(()) => tally.pass(),
        Err(error) => {
            say::error(&error);
            tally.fail(name);
        }
    }
    Ok(())
}

fn rustfmt(tally: &mut Tally) -> Result<()> {
    component("rustfmt", "fmt", tally, &[&["fmt", "--all", "--check"]])
}

fn clippy(tally: &mut Tally) -> Result<()> {
    let all = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    // `--all-targets` leaves out what plain `cargo test` does.
    let suites = [&["clippy", "--quiet", "--workspace"], &guest::targets()[..], &["--", "-D", "warnings"]].concat();
    component("clippy", "clippy", tally, &[&all, &suites])
}

/// A part of the toolchain that a minimal installation leaves out.
fn component(name: &str, verb: &str, tally: &mut Tally, calls: &[&[&str]]) -> Result<()> {
    if !sh::works(sh::cargo().args([verb, "--version"])) {
        tally.skip(name, &format!("it is not installed; `rustup component add {name}` does that"));
        return Ok(());
    }
    one(name, tally, || calls.iter().try_for_each(|args| sh::run(sh::cargo().args(*args))))
}

/// Builds all once, drivers and command too, so that the tests find them beside each other.
/// It counts only if it fails: that something can be built is what every other phase stands on.
fn build(_: &mut Tally) -> Result<()> {
    sh::run(sh::cargo().args(["build", "--workspace", "--all-targets"]))
}

fn cargo_test(filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let mut cargo = sh::cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]).args(filter).args(["--", "--show-output"]);
    if std::env::var_os(THREADS).is_none() {
        // Cases that use the kernel wait for a good part of their time; one more at a time takes up what the guests beside them leave.
        cargo.env(THREADS, (std::thread::available_parallelism().map_or(1, usize::from) + 1).to_string());
    }
    if let Some(path) = python::path() {
        cargo.env("PATH", path);
    }
    let mut reader = Reader::new();
    let end = sh::watch(&mut cargo, PHASE_LIMIT, &mut |stream, line| match stream {
        Stream::Out => {
            if reader.out(line) {
                println!("{line}");
            }
        }
        Stream::Err => {
            reader.err(line);
            // Onto the same stream, so that a binary's name stands above its result.
            println!("{line}");
        }
    })?;
    if matches!(end, End::TimedOut) {
        println!("the tests were not done after {} s and were ended", PHASE_LIMIT.as_secs());
    }
    tally.add(reader.end(end.success()));
    Ok(())
}

fn demo_as_root(exe: &Path, tally: &mut Tally) -> Result<()> {
    const NAME: &str = "demo as root";
    if !machine::is_root() {
        tally.skip(NAME, "not root");
    } else if !machine::may_mount() {
        tally.skip(NAME, "root may not mount in this container");
    } else {
        let mut demo = Command::new(exe);
        demo.arg("demo").arg("--bin").arg(sh::bin_dir()?);
        show(NAME, &mut demo, tally)?;
    }
    Ok(())
}

/// The demo as a user without rights. If we are root, then as nobody, from a copy in a place that nobody can reach.
fn demo_as_nobody(exe: &Path, tally: &mut Tally) -> Result<()> {
    const NAME: &str = "demo without root";
    if !machine::is_root() {
        let mut demo = Command::new(exe);
        demo.arg("demo").arg("--bin").arg(sh::bin_dir()?);
        if let Some(why) = machine::no_user_namespace(&mut Command::new("env")) {
            tally.skip(NAME, &why);
            return Ok(());
        }
        return show(NAME, &mut demo, tally);
    }
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        let id = |what: &str| format!("--{what}={NOBODY}");
        command.args([id("reuid"), id("regid"), "--clear-groups".into()]).current_dir("/");
        command
    };
    if let Some(why) = machine::no_user_namespace(as_nobody().arg("env")) {
        tally.skip(NAME, &why);
        return Ok(());
    }
    let stage = Stage::make(exe)?;
    let mut demo = as_nobody();
    demo.env("HOME", &stage.home).arg(stage.dir.join("xtask")).arg("demo");
    demo.arg("--bin").arg(&stage.dir).arg("--scratch").arg(stage.home.join("demo"));
    show(NAME, &mut demo, tally)
}

/// Runs a demo; what it prints is shown only if it fails, its skips are counted.
fn show(name: &str, demo: &mut Command, tally: &mut Tally) -> Result<()> {
    let mut said = Vec::new();
    let end = sh::watch(demo, DEMO_LIMIT, &mut |_, line| said.push(line.to_owned()))?;
    for line in &said {
        if let Some(why) = line.strip_prefix("skipped: ") {
            tally.skip(name, why);
        }
    }
    if end.success() {
        println!("it went as it should; {} lines are not shown", said.len());
        tally.pass();
    } else {
        println!("{}", said.join("\n"));
        if matches!(end, End::TimedOut) {
            println!("the demo was not done after {} s and was ended", DEMO_LIMIT.as_secs());
        }
        tally.fail(name);
    }
    Ok(())
}

/// Executables and a home for nobody, outside a project that nobody may be unable to read.
struct Stage {
    dir: PathBuf,
    home: PathBuf,
}

impl Stage {
    fn make(exe: &Path) -> Result<Stage> {
        use std::os::unix::fs::{PermissionsExt, chown};
        let dir = std::env::temp_dir().join(format!("flexvol-test-{}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let stage = Stage { home: dir.join("home"), dir };
        let open = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755));
        open(&stage.dir).with_context(|| format!("cannot open up {}", stage.dir.display()))?;
        let bin = exe.parent().unwrap_or(Path::new("."));
        for name in demo::PROGRAMS.iter().copied().chain(["xtask"]) {
            let to = stage.dir.join(name);
            std::fs::copy(bin.join(name), &to).with_context(|| format!("cannot copy {name} to {}", to.display()))?;
            open(&to).with_context(|| format!("cannot open up {}", to.display()))?;
        }
        std::fs::create_dir(&stage.home).with_context(|| format!("cannot make {}", stage.home.display()))?;
        chown(&stage.home, Some(NOBODY), Some(NOBODY))
            .with_context(|| format!("cannot give away {}", stage.home.display()))?;
        Ok(stage)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Nobody's mounts ended with nobody's namespace, so this folder holds files only; what is left is in /tmp.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
