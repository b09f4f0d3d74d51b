//! One life of the original, as a process: asked for one deed at a time, on the root and the plugin directory of a bed.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use flexvolume_testkit::{binary, skip};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use serde_json::{Value, json};

use crate::bed::Bed;

/// One life of the original, on the root and the plugin directory of a bed.
pub struct Witness {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    log: PathBuf,
}

/// What came of a request.
#[derive(Debug)]
pub enum Reply {
    Done(Value),
    Error { kind: String, text: String },
    Panic(String),
}

/// Longer than any deed here takes, by far; a deed that hangs fails its test.
const PATIENCE: Duration = Duration::from_secs(180);

impl Witness {
    /// The original, or `None` with the reason printed where it was not built.
    pub fn start(bed: &Bed) -> Option<Self> {
        let Ok(exe) = binary("witness") else {
            // Who tried to build it left the reason.
            let reason = binary("witness.reason").and_then(std::fs::read_to_string);
            let reason = reason.unwrap_or_else(|_| "`cargo xtask test witness` builds it".to_owned());
            skip(&format!("the original is not built: {reason}"));
            return None;
        };
        let log = bed.sandbox.path().join("witness.log");
        let mut child = Command::new(exe)
            .arg("-root")
            .arg(bed.sandbox.root())
            .arg("-plugins")
            .arg(bed.sandbox.plugins())
            .envs(bed.env())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let (requests, replies) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Some(Self { child, requests, replies, log })
    }

    /// Asks for one deed of `tests/witness/session.go`.
    pub fn ask(&mut self, deed: &str, mut request: Value) -> Reply {
        request["do"] = json!(deed);
        writeln!(self.requests.as_mut().unwrap(), "{request}").unwrap();
        let mut polled = [PollFd::new(self.replies.get_ref(), PollFlags::IN)];
        let patience = Timespec::try_from(PATIENCE).unwrap();
        let ready = loop {
            match poll(&mut polled, Some(&patience)) {
                Err(Errno::INTR) => {}
                other => break other.unwrap(),
            }
        };
        assert!(ready > 0, "no reply to {request}; it logged:\n{}", self.logged());
        let mut line = String::new();
        self.replies.read_line(&mut line).unwrap();
        let reply: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{request}: {error}: {line:?}\n{}", self.logged()));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if reply["panic"].is_string() {
            Reply::Panic(text(&reply["panic"]))
        } else if reply["error"].is_object() {
            Reply::Error { kind: text(&reply["error"]["kind"]), text: text(&reply["error"]["text"]) }
        } else {
            Reply::Done(reply["value"].clone())
        }
    }

    /// As [`Witness::ask`], and insists that it went well.
    pub fn ok(&mut self, deed: &str, request: Value) -> Value {
        match self.ask(deed, request.clone()) {
            Reply::Done(value) => value,
            reply @ (Reply::Error { .. } | Reply::Panic(_)) => {
                panic!("{deed} {request}: {reply:?}; it logged:\n{}", self.logged())
            }
        }
    }

    /// As [`Witness::ok`], for what comes to a path, a device or a name.
    pub fn word(&mut self, deed: &str, request: Value) -> String {
        let value = self.ok(deed, request);
        value.as_str().unwrap_or_else(|| panic!("{deed}: {value}")).to_owned()
    }

    /// As [`Witness::ask`], and insists on an error with these words.
    pub fn fails(&mut self, deed: &str, request: Value, words: &[&str]) {
        let reply = self.ask(deed, request.clone());
        let told = matches!(&reply, Reply::Error { text, .. } if words.iter().all(|word| text.contains(word)));
        assert!(told, "{deed} {request}: no {words:?} in {reply:?}; it logged:\n{}", self.logged());
    }

    /// Waits until the original has a driver, and gives what it says of it; its watcher hears of files a moment after they are
    /// there.
    pub fn found(&mut self, driver: &str) -> Value {
        let start = Instant::now();
        loop {
            match self.ask("find", json!({"driver": driver})) {
                Reply::Done(value) => return value,
                Reply::Error { text, .. } => assert!(start.elapsed() < PATIENCE, "{driver} is not found: {text}"),
                Reply::Panic(text) => panic!("{text}"),
            }
            sleep(Duration::from_millis(20));
        }
    }

    pub fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // The end of its input is its end, unless it hangs in a call.
        self.requests = None;
        if std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// An inline volume.
pub fn inline(name: &str, source: Value) -> Value {
    json!({"name": name, "flexVolume": source})
}

/// A PersistentVolume of that size.
pub fn persistent(name: &str, bytes: u64, source: Value) -> Value {
    let spec = json!({
        "capacity": {"storage": bytes.to_string()}, "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
        "flexVolume": source,
    });
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})
}

/// A pod, as far as a volume asks.
pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
        "spec": {"serviceAccountName": "default"},
    })
}
