//! A bridge of its own for each test: started, called, killed, started again; and the traces that it leaves.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use flexvolume_csi::wire::csi::GetPluginInfoRequest;
use flexvolume_testkit::scripted::{Script, Scripted};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    client::{Client, Leaves},
    scripts::until,
};
use crate::command;

/// A driver of ours or a script, and the bridge that serves it.
pub struct Bed {
    /// The command's own bed: root, plugin directory, settings. Whoever made it may go on using it.
    pub command: Arc<command::Bed>,
    /// Who calls.
    pub client: Client,
    driver: String,
    args: Vec<String>,
    bridge: Option<Child>,
}

impl Bed {
    /// One of our own drivers, `loopback` or `tmpfs`, and the bridge running; `None` where this machine cannot.
    pub fn of(driver: &str) -> Option<Self> {
        Self::with(driver, &[])
    }

    /// The same, with more flags.
    pub fn with(driver: &str, flags: &[&str]) -> Option<Self> {
        let command = command::Bed::with_drivers()?;
        Some(Self::running(command, &format!("flexvol.io/{driver}"), flags))
    }

    /// A scripted driver, which may have to know where the bed is.
    pub fn script(script: impl FnOnce(&command::Bed) -> Script) -> Option<(Self, Scripted)> {
        Self::script_with(&[], script)
    }

    /// The same, with more flags.
    pub fn script_with(flags: &[&str], script: impl FnOnce(&command::Bed) -> Script) -> Option<(Self, Scripted)> {
        let command = command::Bed::new()?;
        let driver = command.script("v/scripted", script(&command));
        Some((Self::running(command, "v/scripted", flags), driver))
    }

    /// A driver that is installed in that bed.
    pub fn running(command: impl Into<Arc<command::Bed>>, driver: &str, args: &[&str]) -> Self {
        let command = command.into();
        command.sandbox.dir("kubelet").unwrap();
        let client = Client::of(&command.sandbox.path().join("csi.sock"), Leaves::Never);
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut bed = Self { command, client, driver: driver.to_owned(), args, bridge: None };
        bed.start();
        bed
    }

    /// Another client, which gives up.
    pub fn hasty(&self, leaves: Leaves) -> Client {
        Client::of(&self.socket(), leaves)
    }

    /// The folder that targets are beneath.
    pub fn kubelet(&self) -> PathBuf {
        self.command.sandbox.path().join("kubelet")
    }

    /// Where the bridge listens.
    pub fn socket(&self) -> PathBuf {
        self.command.sandbox.path().join("csi.sock")
    }

    /// How the bridge is started.
    pub fn arguments(&self) -> Vec<String> {
        let (kubelet, socket) = (self.kubelet(), self.socket());
        let own = ["csi", "--driver", &self.driver, "--kubelet-dir", kubelet.to_str().unwrap(), "--endpoint"];
        let own = own.into_iter().chain([socket.to_str().unwrap(), "--log-level", "trace"]);
        own.map(str::to_owned).chain(self.args.iter().cloned()).collect()
    }

    /// Starts the bridge and waits until it answers.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = self.command.command(self.arguments());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap();
        self.bridge = Some(child);
        self.until_it_answers();
    }

    /// Waits until our client is connected with a bridge that answers: what it had of the last one may be broken.
    pub fn until_it_answers(&self) {
        until("the bridge to listen", || UnixStream::connect(self.socket()).is_ok());
        until("the bridge to answer", || self.client.get_plugin_info(GetPluginInfoRequest {}).is_ok());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut bridge = self.bridge.take().unwrap();
        bridge.kill().unwrap();
        bridge.wait().unwrap();
    }

    /// SIGTERM, and waits for the end; says how it ended.
    pub fn stop(&mut self) -> i32 {
        let mut bridge = self.bridge.take().unwrap();
        kill_process(Pid::from_child(&bridge), Signal::TERM).unwrap();
        bridge.wait().unwrap().code().unwrap_or(-1)
    }

    /// `kill -9`, and a new one.
    pub fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// The process that serves.
    pub fn pid(&self) -> u32 {
        self.bridge.as_ref().unwrap().id()
    }

    fn log_file(&self) -> PathBuf {
        self.command.sandbox.path().join("bridge.log")
    }

    /// All that the bridge has said.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// How many files the bridge has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Everything is taken back: no mount, no loop device, no record, no file at any target, no process at work, few open files; and
    /// the bridge still serves and has not panicked.
    #[track_caller]
    pub fn assert_clean(&mut self) {
        self.command.assert_clean();
        self.assert_down();
    }

    /// The same where the bed itself stands on loop devices.
    #[track_caller]
    pub fn assert_down(&mut self) {
        self.command.assert_down();
        self.assert_nothing_shown();
        let workers = self.command.workers();
        assert!(workers <= 12, "{workers} workers are kept");
        if let Some(bridge) = &mut self.bridge {
            assert_eq!(bridge.try_wait().unwrap(), None, "the bridge has ended: {}", self.log());
            let files = self.open_files();
            assert!(files < 100, "{files} files are open");
        }
        self.assert_no_panic();
    }

    /// Beneath the kubelet's folder lies nothing but folders of others.
    #[track_caller]
    pub fn assert_nothing_shown(&self) {
        let left: Vec<_> = walk(&self.kubelet()).into_iter().filter(|path| is_of_ours(path)).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "left beneath the kubelet's folder");
    }

    /// It has not panicked.
    #[track_caller]
    pub fn assert_no_panic(&self) {
        let log = self.log();
        assert!(!log.contains("panicked") && !log.contains("internal error"), "{log}");
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(mut bridge) = self.bridge.take() {
            let _ = bridge.kill();
            let _ = bridge.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let ours: Vec<_> = log.lines().filter(|line| !line.contains(" h2::")).collect();
            eprintln!("the last words of the bridge:\n{}", ours[ours.len().saturating_sub(30)..].join("\n"));
        }
        // Workers see that their bridge has gone, and go too.
        let start = Instant::now();
        while self.command.workers() > 0 && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A target, or a file: whatever is no folder that leads to one.
fn is_of_ours(path: &Path) -> bool {
    path.ends_with("mount") || !path.is_dir()
}

/// Everything beneath a folder; links are not followed.
pub fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(walk(&path));
        }
        all.push(path);
    }
    all
}
