//! What went wrong when it was tried, each as a test by name: orphans, dead file systems, cut-off formats, swapped paths,
//! second writers, foreign machines, failing system calls, and commands that meet.

mod doubled;
mod errors;
mod format;
mod hung;
mod image;
mod machine;
mod orphan;
mod paths;
mod swaps;

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};

use flexvolume_testkit::{
    killat::{self, Orphans, Plan, Report, Spec},
    scripted::{Call, Scripted},
};

use crate::{
    bed::{Bed, Ran, pod},
    scripts::{lives, pid_in, until},
};

/// A command under way, its words kept in files so that nobody has to read them meanwhile. Killed when dropped.
pub struct Started {
    pub child: Child,
    words: PathBuf,
}

impl Started {
    pub fn new(bed: &Bed, args: &[&str]) -> Self {
        let words = bed.sandbox.path().join(format!("words-{}", args.join("-").replace('/', "_")));
        let file = File::create(&words).unwrap();
        let child = bed.command(args).stdout(Stdio::null()).stderr(file).stdin(Stdio::null()).spawn().unwrap();
        Self { child, words }
    }

    pub fn words(&self) -> String {
        fs::read_to_string(&self.words).unwrap()
    }

    /// `kill -9`, and how the test knows that it works: the process is reaped, at once by any measure.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        until("the killed host to be gone", || self.child.try_wait().unwrap().is_some());
    }

    /// Waits for its end.
    pub fn end(&mut self) -> Ran {
        until("the command to end", || self.child.try_wait().unwrap().is_some());
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        Ran { code, stdout: String::new(), stderr: self.words() }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The calls of one verb so far.
pub fn calls(driver: &Scripted, verb: &str) -> Vec<Call> {
    driver.calls().unwrap().into_iter().filter(|call| call.verb() == verb).collect()
}

/// Waits until this verb was called that many times.
pub fn called(driver: &Scripted, verb: &str, times: usize) {
    until(&format!("call {times} of {verb}"), || calls(driver, verb).len() >= times);
}

/// Settings with these limits, in seconds, of one verb.
pub fn limit(bed: &Bed, verbs: &[&str], answer: f64, kill: f64) {
    let limits: serde_json::Map<_, _> =
        verbs.iter().map(|verb| ((*verb).to_owned(), serde_json::json!({"answer": answer, "kill": kill}))).collect();
    bed.manifest("flexvol.json", &serde_json::json!({"defaults": {"limits": limits}}).to_string());
}

/// Two pods that share a loopback volume, and the command traced.
struct Field {
    bed: Bed,
    pods: String,
}

impl Field {
    fn new() -> Option<Self> {
        let bed = Bed::with_drivers()?;
        let images = bed.sandbox.dir("images").unwrap();
        let source = loopback(&images, "shared");
        let pods = ["one", "two"].map(|name| pod(name, &[("data", &source)])).join("---\n");
        let pods = bed.manifest("pods.yaml", &pods);
        Some(Self { bed, pods })
    }

    fn args<'a>(&'a self, verb: &'a str) -> Vec<&'a str> {
        if verb == "up" { vec!["up", "--jobs", "1", &self.pods] } else { vec![verb, &self.pods] }
    }

    fn trace(&self, verb: &str, plan: Plan) -> Report {
        traced(&self.bed, &self.args(verb), plan, Orphans::Await)
    }

    fn assert_up(&self, about: &str) {
        let mounts = self.bed.sandbox.mounts().unwrap();
        assert_eq!(mounts.len(), 3, "{about}: {mounts:?}");
        assert_eq!(self.bed.sandbox.loops().unwrap().len(), 1, "{about}: loop devices");
    }

    /// Brings it up, whatever was left, and sees that what was written at first is there.
    fn settle_up(&self, about: &str) {
        let ran = self.bed.run(self.args("up"));
        assert_eq!(ran.code, 0, "{about}: {ran:?}");
        self.assert_up(about);
        let file = self.bed.path_of("one", "data").join("file");
        assert_eq!(fs::read_to_string(file).unwrap_or_default(), "kept", "{about}: data lost");
    }

    fn settle_down(&self, about: &str) {
        let ran = self.bed.run(self.args("down"));
        assert_eq!(ran.code, 0, "{about}: {ran:?}");
        self.bed.assert_clean();
    }

    /// Up and down once, with a file in it.
    fn plant(&self) {
        self.bed.ok(self.args("up"));
        fs::write(self.bed.path_of("two", "data").join("file"), "kept").unwrap();
        self.bed.ok(self.args("down"));
    }
}

/// A volume of our loopback driver.
fn loopback(images: &std::path::Path, id: &str) -> String {
    format!(
        "{{driver: flexvol.io/loopback, fsType: ext4, options: {{volumeID: {id}, size: 16m, create: \"true\", directory: {}}}}}",
        images.display()
    )
}

/// Runs the command under the tracer.
fn traced(bed: &Bed, args: &[&str], plan: Plan, after: Orphans) -> Report {
    let spec = bed.env().into_iter().fold(Spec::new(bed.exe()), |spec, (name, value)| spec.env(name, value));
    killat::run(&spec.args(args.iter().copied()).after(after), plan).unwrap()
}

/// For what is expected not to happen: long enough to see it if it does.
const A_WHILE: Duration = Duration::from_millis(1500);
