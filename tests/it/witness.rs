//! The original as witness: Kubernetes' own FlexVolume host, asked what it makes of our drivers, and what it says where we read,
//! render and compose.
//!
//! The program in `tests/witness` holds it. `cargo xtask test` builds that where Go is to be had; without it these tests are
//! skipped, all but the one that needs its record alone.

mod answers;
mod argv;
mod deviations;
mod found;
mod hosts;
mod life;
mod options;

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use flexvolume_testkit::{
    binary,
    scripted::{Answer, Script, Scripted},
    skip,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use serde_json::{Value, json};

use crate::{bed::Bed, scripts::until};

/// A difference that is meant, and where the page about deviations says so. A test that lists one fails when it is gone.
struct Known {
    name: &'static str,
    line: &'static str,
}

/// One life of the original, on the root and the plugin directory of a bed.
struct Witness {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    log: PathBuf,
}

/// What came of a request.
#[derive(Debug)]
enum Reply {
    Done(Value),
    Error { kind: String, text: String },
    Panic(String),
}

/// What a scripted driver does at the directory that it is given.
const MOUNT: &str = r#"mount -t tmpfs none "$2""#;
const UNMOUNT: &str = r#"umount "$2""#;

/// Longer than any deed here takes, by far; a deed that hangs fails its test.
const PATIENCE: Duration = Duration::from_secs(180);

impl Witness {
    /// The original, or `None` with the reason printed where it was not built.
    fn start(bed: &Bed) -> Option<Self> {
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
    fn ask(&mut self, deed: &str, mut request: Value) -> Reply {
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
    fn ok(&mut self, deed: &str, request: Value) -> Value {
        match self.ask(deed, request.clone()) {
            Reply::Done(value) => value,
            reply @ (Reply::Error { .. } | Reply::Panic(_)) => {
                panic!("{deed} {request}: {reply:?}; it logged:\n{}", self.logged())
            }
        }
    }

    /// As [`Witness::ok`], for what comes to a path, a device or a name.
    fn word(&mut self, deed: &str, request: Value) -> String {
        let value = self.ok(deed, request);
        value.as_str().unwrap_or_else(|| panic!("{deed}: {value}")).to_owned()
    }

    /// As [`Witness::ask`], and insists on an error with these words.
    fn fails(&mut self, deed: &str, request: Value, words: &[&str]) {
        let reply = self.ask(deed, request.clone());
        let told = matches!(&reply, Reply::Error { text, .. } if words.iter().all(|word| text.contains(word)));
        assert!(told, "{deed} {request}: no {words:?} in {reply:?}; it logged:\n{}", self.logged());
    }

    /// Waits until the original has a driver, and gives what it says of it; its watcher hears of files a moment after they are
    /// there.
    fn found(&mut self, driver: &str) -> Value {
        let mut seen = Value::Null;
        until(&format!("{driver} to be found"), || match self.ask("find", json!({"driver": driver})) {
            Reply::Done(value) => {
                seen = value;
                true
            }
            Reply::Error { .. } => false,
            Reply::Panic(text) => panic!("{text}"),
        });
        seen
    }

    fn logged(&self) -> String {
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

/// Installs a scripted driver with our own command. Its record lies elsewhere: whatever happens in the plugin directory makes the
/// original ask for `init` again, and forget what is not supported.
fn install(bed: &Bed, name: &str, script: Script) -> Scripted {
    let scripts = bed.sandbox.dir("scripts").unwrap();
    let driver = script.install(&scripts, name).unwrap();
    bed.ok(["install", driver.exe().to_str().unwrap(), "--as", name]);
    driver
}

/// A driver that does every verb and names this device. It mounts at the node's directory alone: without a mount there the
/// original would not have it unmounted.
fn recorder(device: &str) -> Script {
    let named = json!({"status": "Success", "device": device});
    Script::sh()
        .on("attach", Answer::json(&named))
        .on("waitforattach", Answer::json(&named))
        .on("isattached", Answer::json(&json!({"status": "Success", "attached": true})))
        .on("mountdevice", Answer::success().run(MOUNT))
        .on("unmountdevice", Answer::success().run(UNMOUNT))
        .otherwise(Answer::success())
}

/// Insists that the page about deviations has the line of each.
fn assert_written(known: &[Known]) {
    let page = include_str!("../../docs/deviations.md");
    for Known { name, line } in known {
        assert!(page.contains(line), "{name}: the page about deviations does not say {line:?}");
    }
}

/// An inline volume.
fn inline(name: &str, source: Value) -> Value {
    json!({"name": name, "flexVolume": source})
}

/// A PersistentVolume of that size.
fn persistent(name: &str, bytes: u64, source: Value) -> Value {
    let spec = json!({
        "capacity": {"storage": bytes.to_string()}, "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
        "flexVolume": source,
    });
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})
}

/// A pod, as far as a volume asks.
fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
        "spec": {"serviceAccountName": "default"},
    })
}
