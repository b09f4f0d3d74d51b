//! The bed every test lies in: a root and a plugin directory of its own, the command to run there, and the traces it leaves.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use flexvolume_testkit::{Sandbox, binary, is_root, scripted::Script, skip};
use serde_json::Value;

/// A sandbox with the command beside it.
pub struct Bed {
    pub sandbox: Sandbox,
    flexvol: PathBuf,
}

/// What one run of the command came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Bed {
    /// A bed, or `None` with the reason printed where this machine cannot give one.
    pub fn new() -> Option<Self> {
        if !is_root() {
            skip("mounts need root");
            return None;
        }
        Some(Self { sandbox: Sandbox::new().unwrap(), flexvol: binary("flexvol").unwrap() })
    }

    /// The bed with our own drivers installed as `flexvol.io/tmpfs` and `flexvol.io/loopback`.
    pub fn with_drivers() -> Option<Self> {
        let bed = Self::new()?;
        for driver in ["tmpfs", "loopback"] {
            let exe = binary(driver).unwrap();
            bed.ok(["install", exe.to_str().unwrap(), "--as", &format!("flexvol.io/{driver}")]);
        }
        Some(bed)
    }

    /// The command's executable.
    pub fn exe(&self) -> &Path {
        &self.flexvol
    }

    /// The variables that keep a run inside this bed.
    pub fn env(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("FLEXVOL_ROOT", self.sandbox.root()),
            ("FLEXVOL_PLUGIN_DIR", self.sandbox.plugins()),
            ("FLEXVOL_CONFIG", self.sandbox.path().join("flexvol.json")),
            // Our drivers' own records: of no interest to drivers of other people.
            ("FLEXVOL_RUN", self.sandbox.path().join("run")),
            ("FLEXVOL_STATE", self.sandbox.path().join("state")),
            // A folder with their settings, if a case makes it.
            ("FLEXVOL_SETTINGS", self.sandbox.path().join("settings")),
        ]
    }

    /// The command, ready to run in this bed.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.flexvol);
        command.args(args).envs(self.env()).stdin(Stdio::null());
        command
    }

    /// Runs the command to its end.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Runs it with `text` on standard input.
    pub fn feed<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>, text: &str) -> Ran {
        let mut child =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        Ran::of(child.wait_with_output().unwrap())
    }

    /// Runs it and insists on success; gives what it printed.
    pub fn ok<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.stdout
    }

    /// As [`Bed::ok`], read as JSON.
    pub fn json<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Value {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        serde_json::from_str(&self.ok(["-o".into(), "json".into()].into_iter().chain(args))).unwrap()
    }

    /// Writes a manifest and gives its path.
    pub fn manifest(&self, name: &str, text: &str) -> String {
        let path = self.sandbox.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Installs a scripted driver.
    pub fn script(&self, name: &str, script: Script) -> flexvolume_testkit::scripted::Scripted {
        script.install(&self.sandbox.plugins(), name).unwrap()
    }

    /// Where one pod's volume is, as `ls` says.
    pub fn path_of(&self, pod: &str, volume: &str) -> PathBuf {
        let rows = self.json(["ls"]);
        let row = rows
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["pod"] == pod && row["path"].as_str().unwrap().ends_with(&format!("/{volume}")));
        row.unwrap_or_else(|| panic!("no {volume} of {pod} in {rows}"))["path"].as_str().unwrap().into()
    }

    /// Nothing of any volume is left: no mount, no loop device, no record, no directory of a pod.
    #[track_caller]
    pub fn assert_clean(&self) {
        self.assert_down();
        let loops = || self.sandbox.loops().unwrap().into_iter().map(|bound| bound.backing).collect::<Vec<_>>();
        // The kernel keeps a detached device for as long as somebody has it open, as each `losetup` of another test does
        // for a moment.
        let start = Instant::now();
        while !loops().is_empty() && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(loops(), Vec::<PathBuf>::new(), "loop devices left");
    }

    /// Nothing of the host's is left of any volume: no mount, no record, no directory of a pod.
    #[track_caller]
    pub fn assert_down(&self) {
        assert_eq!(self.sandbox.mounts().unwrap(), [], "mounts left");
        assert_eq!(self.json(["ls"]), serde_json::json!([]), "records left");
        assert_eq!(self.left_in("pods"), Vec::<PathBuf>::new(), "directories of pods left");
    }

    /// Nor a lock. One who is killed with the last of a volume's calls leaves it to the next of that volume's.
    #[track_caller]
    pub fn assert_no_locks(&self) {
        assert_eq!(self.left_in("locks"), Vec::<PathBuf>::new(), "locks left");
    }

    fn left_in(&self, folder: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.sandbox.root().join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Two pods share one volume: one global mount, one bind for each, and a record with both.
    #[track_caller]
    pub fn assert_shared(&self, about: &str) {
        let mounts = self.sandbox.mounts().unwrap();
        let points: BTreeSet<_> = mounts.iter().map(|mount| &mount.point).collect();
        assert_eq!((mounts.len(), points.len()), (3, 3), "{about}: {mounts:?}");
        let rows = self.json(["ls"]);
        let states: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["mounted", "mounted"], "{about}: {rows}");
    }

    /// How many workers of this bed live.
    pub fn workers(&self) -> usize {
        let root = format!("FLEXVOL_ROOT={}", self.sandbox.root().display());
        let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let is_ours = |path: &PathBuf| {
            let read = |name: &str| std::fs::read(path.join(name)).unwrap_or_default();
            read("cmdline").starts_with(b"flexvol-worker")
                && read("environ").split(|b| *b == 0).any(|one| one == root.as_bytes())
        };
        processes.filter(is_ours).count()
    }
}

impl Ran {
    /// What a run that has ended came to.
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Insists on this exit code and on these words on standard error.
    pub fn fails(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, code, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in:\n{}", self.stderr);
        }
        self
    }
}

/// A pod with these volumes, each `(name, the flexVolume source as YAML in braces)`, mounted at `/data/<name>`.
pub fn pod(name: &str, volumes: &[(&str, &str)]) -> String {
    let mounts: String = volumes.iter().map(|(v, _)| format!("    - {{name: {v}, mountPath: /data/{v}}}\n")).collect();
    let sources: String =
        volumes.iter().map(|(v, source)| format!("  - name: {v}\n    flexVolume: {source}\n")).collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: main\n    image: none\n    volumeMounts:\n{mounts}  volumes:\n{sources}"
    )
}
