//! Workers are born of this very executable, so it has its own `main` instead of the test harness.
#![allow(unsafe_code, clippy::unwrap_used, clippy::print_stderr, clippy::zombie_processes)]

use std::{
    collections::BTreeSet,
    env,
    ffi::CString,
    fs::{self, File},
    io::{Read, Write},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use flexvolume_linux::{
    Error, ErrorKind,
    namespace::{self, View},
    process::{self, How, Kill, Limits, ProcessId, Program, alive, end, marked},
    worker::{self, Task, Worker, WorkerError},
};
use rustix::mount::MountFlags;
use serde::{Deserialize, Serialize};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

#[derive(Serialize, Deserialize)]
enum Do {
    /// Gives the text back, so many times over.
    Repeat(String, usize),
    Sleep(Duration),
    Panic(String),
    Die,
    /// Where it is and what it has open: the working directory, then the target of each descriptor.
    Describe,
    Environment(String),
    /// Starts a background child that outlives the task, and says its pid.
    Start,
    Fail,
    Stat(PathBuf),
}

impl Task for Do {
    type Answer = Result<Vec<String>, Error>;

    fn run(self) -> Self::Answer {
        match self {
            Self::Repeat(text, times) => Ok(vec![text; times]),
            Self::Sleep(time) => {
                thread::sleep(time);
                Ok(Vec::new())
            }
            Self::Panic(words) => panic!("{words}"),
            Self::Die => std::process::exit(3),
            Self::Describe => {
                let mut all = vec![env::current_dir().unwrap().display().to_string()];
                let mut numbers: Vec<u32> = fs::read_dir("/proc/self/fd")
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
                    .collect();
                numbers.sort_unstable();
                // The last one is the directory that was read.
                numbers.pop();
                for number in numbers {
                    all.push(format!(
                        "{number} {}",
                        fs::read_link(format!("/proc/self/fd/{number}")).unwrap().display()
                    ));
                }
                all.push(format!("threads {}", fs::read_dir("/proc/self/task").unwrap().count()));
                Ok(all)
            }
            Self::Environment(var) => Ok(env::var(var).into_iter().collect()),
            Self::Start => {
                let child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
                Ok(vec![child.id().to_string()])
            }
            Self::Stat(path) => Ok(vec![format!("{:?}", fs::metadata(path))]),
            Self::Fail => Err(Error::io("open", "/dev/none", std::io::Error::from_raw_os_error(2)).with_hint("look")),
        }
    }
}

/// The same, done by one that dies with its parent.
#[derive(Serialize, Deserialize)]
struct Mortal(Do);

impl Task for Mortal {
    const NAME: &'static str = "flexvol-mortal";

    const DIES_WITH_PARENT: bool = true;

    type Answer = Result<Vec<String>, Error>;

    fn run(self) -> Self::Answer {
        self.0.run()
    }
}

fn main() -> ExitCode {
    if let Some(code) = worker::main::<Do>().or_else(worker::main::<Mortal>) {
        return code;
    }
    match env::args().nth(1).as_deref() {
        Some("parent") => return parent(),
        Some("headless") => headless(),
        _ => {}
    }
    process::settle();
    let tests: &[(&str, fn())] = &[
        ("tasks_are_answered_by_one_worker", tasks_are_answered_by_one_worker),
        ("long_messages_pass", long_messages_pass),
        ("an_error_crosses_the_border", an_error_crosses_the_border),
        ("nothing_of_ours_is_open_in_a_worker", nothing_of_ours_is_open_in_a_worker),
        ("a_stuck_worker_is_killed_and_replaced", a_stuck_worker_is_killed_and_replaced),
        ("a_stopped_worker_is_abandoned_at_its_limit", a_stopped_worker_is_abandoned_at_its_limit),
        ("a_panic_is_an_answer", a_panic_is_an_answer),
        ("a_worker_that_dies_is_told_and_replaced", a_worker_that_dies_is_told_and_replaced),
        ("one_killed_while_idle_is_replaced_unseen", one_killed_while_idle_is_replaced_unseen),
        ("a_child_of_a_task_does_not_hide_the_end", a_child_of_a_task_does_not_hide_the_end),
        ("a_worker_ends_with_its_parent", a_worker_ends_with_its_parent),
        ("one_that_is_to_die_with_its_parent_does", one_that_is_to_die_with_its_parent_does),
        ("a_missing_executable_is_told", a_missing_executable_is_told),
        ("a_killed_process_with_a_thread_left_is_found", a_killed_process_with_a_thread_left_is_found),
        ("what_the_kernel_holds_is_left_behind", what_the_kernel_holds_is_left_behind),
    ];
    for (name, test) in tests {
        test();
        eprintln!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn own() -> Worker<Do> {
    Worker::new(PathBuf::from("/proc/self/exe"), vec![("FLEXVOL_TEST_WORKER".to_owned(), "yes".to_owned())])
}

fn ask(worker: &mut Worker<Do>, task: &Do) -> Vec<String> {
    worker.ask(task, LONG).unwrap().unwrap()
}

fn gone(id: &ProcessId) {
    while alive(id) {
        thread::sleep(Duration::from_millis(5));
    }
}

fn tasks_are_answered_by_one_worker() {
    let mut worker = own();
    assert!(worker.id().is_none(), "it is started when needed");
    assert_eq!(ask(&mut worker, &Do::Repeat("a\u{2028}\"b".to_owned(), 2)), ["a\u{2028}\"b", "a\u{2028}\"b"]);
    let id = worker.id().unwrap();
    assert_eq!(ask(&mut worker, &Do::Environment("FLEXVOL_TEST_WORKER".to_owned())), ["yes"]);
    assert_eq!(worker.id(), Some(id));
    assert_eq!(fs::read(format!("/proc/{id}/cmdline")).unwrap(), b"flexvol-worker\0");
    drop(worker);
    gone(&id);
}

fn long_messages_pass() {
    let mut worker = own();
    let text = "x".repeat(3_000_000);
    assert_eq!(ask(&mut worker, &Do::Repeat(text.clone(), 2)), [text.clone(), text]);
    let huge = Do::Repeat("y".repeat(70 << 20), 1);
    assert!(matches!(worker.ask(&huge, LONG), Err(WorkerError::Message(_))));
    let huge = Do::Repeat("y".repeat(8 << 20), 9);
    let id = worker.id();
    assert!(matches!(worker.ask(&huge, LONG), Err(WorkerError::Message(_))), "an answer may be too long, too");
    assert_eq!(worker.id(), id, "which the worker survives");
}

fn an_error_crosses_the_border() {
    let error = own().ask(&Do::Fail, LONG).unwrap().unwrap_err();
    assert_eq!((error.kind(), error.errno(), error.hint()), (ErrorKind::NotFound, Some(2), Some("look")));
    assert_eq!(error.story(), "cannot open /dev/none: No such file or directory");
}

fn nothing_of_ours_is_open_in_a_worker() {
    let secret = tempfile::tempfile().unwrap();
    // SAFETY: clears a flag of a descriptor that is ours; the number is valid.
    unsafe { libc::fcntl(secret.as_raw_fd(), libc::F_SETFD, 0) };
    let mut other = own();
    ask(&mut other, &Do::Describe);
    let mut worker = own();
    let seen = ask(&mut worker, &Do::Describe);
    let socket = seen.iter().find(|line| line.starts_with("3 socket:")).expect("its socket");
    assert_eq!(seen, ["/", "0 /dev/null", "1 /dev/null", "2 /dev/null", socket, "threads 1"]);
}

fn a_stuck_worker_is_killed_and_replaced() {
    let mut worker = own();
    let error = worker.ask(&Do::Sleep(LONG), SHORT).unwrap_err();
    let WorkerError::Stuck(id, limit) = error else { panic!("{error}") };
    assert_eq!(limit, SHORT);
    assert_eq!(Error::from(error).kind(), ErrorKind::Timeout);
    gone(&id);
    assert_eq!(ask(&mut worker, &Do::Repeat("next".to_owned(), 1)), ["next"]);
    assert_ne!(worker.id(), Some(id));
}

fn a_stopped_worker_is_abandoned_at_its_limit() {
    let mut worker = own();
    ask(&mut worker, &Do::Describe);
    let id = worker.id().unwrap();
    // It reads nothing any more, as if the kernel held it: the long task does not even fit into the socket.
    assert!(Command::new("/bin/kill").args(["-STOP", &id.to_string()]).status().unwrap().success());
    let began = Instant::now();
    let error = worker.ask(&Do::Repeat("x".repeat(4_000_000), 1), SHORT).unwrap_err();
    assert!(matches!(error, WorkerError::Stuck(stuck, _) if stuck == id), "{error}");
    assert!(began.elapsed() >= SHORT);
    gone(&id);
}

fn a_panic_is_an_answer() {
    let mut worker = own();
    let error = worker.ask(&Do::Panic("too bad".to_owned()), LONG).unwrap_err();
    assert!(matches!(&error, WorkerError::Panicked(words) if words == "too bad"), "{error}");
    let id = worker.id().unwrap();
    assert_eq!(ask(&mut worker, &Do::Repeat("goes on".to_owned(), 1)), ["goes on"]);
    assert_eq!(worker.id(), Some(id));
}

fn a_worker_that_dies_is_told_and_replaced() {
    let mut worker = own();
    let error = worker.ask(&Do::Die, LONG).unwrap_err();
    assert!(matches!(error, WorkerError::Died(_)), "{error}");
    assert_eq!(ask(&mut worker, &Do::Repeat("again".to_owned(), 1)), ["again"]);
}

fn one_killed_while_idle_is_replaced_unseen() {
    let mut worker = own();
    ask(&mut worker, &Do::Describe);
    let id = worker.id().unwrap();
    assert!(end(&[id], LONG, true).is_empty());
    assert_eq!(ask(&mut worker, &Do::Repeat("again".to_owned(), 1)), ["again"]);
    assert_ne!(worker.id(), Some(id));
}

fn a_child_of_a_task_does_not_hide_the_end() {
    let mut worker = own();
    let child: u32 = ask(&mut worker, &Do::Start)[0].parse().unwrap();
    let error = worker.ask(&Do::Die, LONG).unwrap_err();
    assert!(matches!(error, WorkerError::Died(_)), "{error}");
    assert!(Command::new("/bin/kill").arg(child.to_string()).status().unwrap().success());
}

/// A process that has a worker, says so, and waits to be killed.
fn parent() -> ExitCode {
    let mut worker = own();
    ask(&mut worker, &Do::Describe);
    eprintln!("ready");
    thread::sleep(LONG);
    ExitCode::SUCCESS
}

fn a_worker_ends_with_its_parent() {
    let mark = format!("parent-{}", std::process::id());
    let mut parent = Command::new("/proc/self/exe")
        .arg("parent")
        .env("FLEXVOL_TEST_PARENT", &mark)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 6];
    parent.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
    let both: BTreeSet<ProcessId> = marked("FLEXVOL_TEST_PARENT", &mark).unwrap().into_iter().collect();
    assert_eq!(both.len(), 2, "parent and worker");
    parent.kill().unwrap();
    parent.wait().unwrap();
    for id in &both {
        gone(id);
    }
}

fn one_that_is_to_die_with_its_parent_does() {
    // The kernel's parent is a thread.
    let begun = thread::spawn(|| {
        let mut mortal = Worker::<Mortal>::new(PathBuf::from("/proc/self/exe"), Vec::new());
        assert_eq!(mortal.ask(&Mortal(Do::Repeat("x".to_owned(), 1)), LONG).unwrap().unwrap(), ["x"]);
        let mut other = own();
        ask(&mut other, &Do::Repeat("x".to_owned(), 1));
        (mortal, other)
    });
    let (mortal, mut other) = begun.join().unwrap();
    let mortal = mortal.id().unwrap();
    let since = Instant::now();
    while alive(&mortal) {
        assert!(since.elapsed() < LONG, "it lives on");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(ask(&mut other, &Do::Repeat("lives".to_owned(), 1)), ["lives"]);
}

fn a_missing_executable_is_told() {
    let error = Worker::<Do>::new("/nowhere/flexvol".into(), Vec::new()).ask(&Do::Fail, LONG).unwrap_err();
    let WorkerError::Start(below) = error else { panic!("{error}") };
    assert!(below.to_string().ends_with("there is no such file"), "{below}");
}

/// A process whose first thread ends, as after a KILL, while another one stays.
fn headless() -> ! {
    thread::spawn(|| {
        eprintln!("ready");
        thread::sleep(LONG);
    });
    let _open = File::open("/dev/null");
    // SAFETY: ends this thread alone; nothing it owns is used by the other.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!()
}

fn a_killed_process_with_a_thread_left_is_found() {
    let mark = format!("headless-{}", std::process::id());
    let mut child = Command::new("/proc/self/exe")
        .arg("headless")
        .env("FLEXVOL_TEST_HEADLESS", &mark)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stderr.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let status = || fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    while !status().contains("State:\tZ") {
        thread::sleep(Duration::from_millis(5));
    }
    let found = marked("FLEXVOL_TEST_HEADLESS", &mark).unwrap();
    assert_eq!(found.iter().map(|id| id.pid).collect::<Vec<_>>(), [child.id()], "{}", status());
    assert!(alive(&found[0]));
    assert!(end(&found, LONG, false).is_empty());
    child.wait().unwrap();
}

/// A file system whose server says hello and then nothing, ever. Closing the descriptor ends it.
fn frozen(at: &Path) -> File {
    let server = File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
    let options = CString::new(options).unwrap();
    rustix::mount::mount("frozen", at, "fuse", MountFlags::NOSUID | MountFlags::NODEV, &*options).unwrap();
    let mut request = vec![0; 1 << 17];
    let length = (&server).read(&mut request).unwrap();
    assert_eq!((length > 16, request[4]), (true, 26), "the first request is INIT");
    // Header (length, error, the request's number), then protocol 7.31 and zeroes: no flags, the least of everything.
    let mut reply = [0; 16 + 64];
    reply[0] = 80;
    reply[8..16].copy_from_slice(&request[8..16]);
    reply[16] = 7;
    reply[20] = 31;
    reply[37] = 0x10; // max_write of 4096
    (&server).write_all(&reply).unwrap();
    // Requests are taken, and so can no longer be withdrawn by a signal, and never answered.
    let taker = server.try_clone().unwrap();
    thread::spawn(move || while (&taker).read(&mut request).is_ok_and(|length| length > 0) {});
    server
}

fn what_the_kernel_holds_is_left_behind() {
    if !fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) || !Path::new("/dev/fuse").exists() {
        eprintln!("skipped: a frozen file system needs root and FUSE");
        return;
    }
    namespace::enter(&View::default()).unwrap();
    // Not removed by a guard, which would hang on it if this fails.
    let dir = tempfile::tempdir().unwrap().keep();
    let _server = frozen(&dir);

    // The shell dies of TERM; what hangs is its child.
    let script = format!("stat '{}'; true", dir.display());
    let args = vec!["-c".to_owned().into(), script.into()];
    let program = Program { args, ..Program::new("/bin/sh") };
    let limits = Limits { answer: LONG, kill: Kill::After { at: SHORT, grace: SHORT } };
    let running = process::spawn(&program).unwrap();
    let shell = running.id();
    let outcome = running.wait(&limits, &|_, _| false, &mut |_| {});
    let How::Stuck(driver) = outcome.how else { panic!("{outcome:?}") };
    assert_ne!(driver, shell);
    assert!(outcome.took < LONG);
    assert_eq!(end(&[driver], SHORT, true), [driver]);

    let mut worker = own();
    let error = worker.ask(&Do::Stat(dir.clone()), SHORT).unwrap_err();
    let WorkerError::Stuck(held, _) = error else { panic!("{error}") };
    assert_eq!(ask(&mut worker, &Do::Repeat("next".to_owned(), 1)), ["next"], "while the other one is still held");
    assert!(alive(&held) && alive(&driver));

    fs::write(abort_file(&dir), "1").unwrap();
    gone(&driver);
    gone(&held);
    rustix::mount::unmount(&dir, rustix::mount::UnmountFlags::DETACH).unwrap();
    fs::remove_dir(&dir).unwrap();
}

/// The file that ends a FUSE file system, by the minor number of its device.
fn abort_file(at: &Path) -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(4) == at.to_str()).unwrap();
    let minor = line.split(' ').nth(2).unwrap().split(':').nth(1).unwrap();
    // The control file system may not be mounted where the tests run.
    let control = Path::new("/sys/fs/fuse/connections");
    if !control.join(minor).exists() {
        rustix::mount::mount("none", control, "fusectl", MountFlags::empty(), None::<&std::ffi::CStr>).unwrap();
    }
    control.join(minor).join("abort")
}
