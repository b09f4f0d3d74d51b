//! The door to guests, for cases that run on the host and start machines themselves.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use flexvolume_testkit::skip;
use tempfile::TempDir;

/// The door to guests, and a folder for disks.
pub struct Door {
    exe: PathBuf,
    disks: TempDir,
}

/// A machine that runs a command. To kill it is to cut its power.
pub struct Running {
    door: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Door {
    /// The door that runs this suite, or `None` with the reason printed where none does.
    pub fn new() -> Option<Door> {
        let Some(exe) = std::env::var_os("FLEXVOL_DOOR").map(PathBuf::from) else {
            skip("it starts guests: `cargo xtask guest` runs it with its suite");
            return None;
        };
        // Not every temporary folder can be written to past the cache; and this one is swept after who was killed.
        let runs = PathBuf::from(std::env::var_os("FLEXVOL_RUNS").unwrap());
        fs::create_dir_all(&runs).unwrap();
        let disks = tempfile::Builder::new().prefix(&format!("{}-", std::process::id())).tempdir_in(runs).unwrap();
        Some(Door { exe, disks })
    }

    /// A blank disk of so many MiB, for as many machines as one likes, one after the other.
    pub fn disk(&self, name: &str, mib: u64) -> PathBuf {
        let file = self.disks.path().join(name);
        File::create_new(&file).unwrap().set_len(mib << 20).unwrap();
        file
    }

    fn command(&self, options: &[&str], script: &str) -> Command {
        // The machine ends with this case, however that ends.
        let mut door = Command::new("setpriv");
        door.args(["--pdeathsig", "KILL", "--"]).arg(&self.exe);
        // They are built already, or this suite would not run.
        door.args(["guest", "run", "--bin"])
            .arg(self.exe.parent().unwrap())
            .args(options)
            .args(["--", "bash", "-euc", script])
            .stdin(Stdio::null());
        door
    }

    /// Starts a machine that runs a script. Options are those of `cargo xtask guest run`.
    pub fn start(&self, options: &[&str], script: &str) -> Running {
        let mut door = self.command(options, script).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(door.stdout.take().unwrap());
        Running { door, said }
    }

    /// Runs a script in a machine to its end and insists on success; gives what it printed.
    #[track_caller]
    pub fn run(&self, options: &[&str], script: &str) -> String {
        let ran = self.command(options, script).output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        assert!(ran.status.success(), "{}\n{}{}", ran.status, text(&ran.stdout), text(&ran.stderr));
        text(&ran.stdout)
    }
}

impl Running {
    /// Waits until its script prints this line, and cuts the power at once.
    pub fn cut_at(mut self, line: &str) {
        let mut heard = String::new();
        while heard.lines().last() != Some(line) {
            assert_ne!(self.said.read_line(&mut heard).unwrap(), 0, "no {line:?} in {heard:?}");
        }
        self.door.kill().unwrap();
        self.door.wait().unwrap();
    }
}
