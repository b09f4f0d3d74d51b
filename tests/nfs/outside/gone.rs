//! A server that dies for good while pods have files open and data unsent: all comes down in time, and says how.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use super::{far::IMPATIENT, note, on_two_machines};
use crate::{
    server::until,
    tools::{shell, text, tool},
};

/// A program of a pod with a file open. It is not this process that has: what this process starts would wait for the server, and so does
/// whoever closes a file.
struct Open(Child);

impl Open {
    fn new(file: &Path) -> Open {
        let mut dd = Command::new("dd");
        dd.args(["bs=64k", "status=none"]).arg(format!("of={}", text(file))).stdin(Stdio::piped());
        let mut open = Open(dd.spawn().unwrap());
        open.writes("begun", 5);
        tool("sync", &[text(file)]);
        open
    }

    /// Has it write something, up to so many bytes, which is not sent, and nobody waits for it.
    fn writes(&mut self, what: &str, end: u64) {
        self.0.stdin.as_mut().unwrap().write_all(what.as_bytes()).unwrap();
        let file = format!("/proc/{}/fdinfo/1", self.0.id());
        until("it is written", || fs::read_to_string(&file).unwrap().starts_with(&format!("pos:\t{end}\n")));
    }
}

/// Waits for the server, with data that it has not got.
fn waits(file: &Path) -> Child {
    let mut dd = Command::new("dd");
    dd.args(["if=/dev/zero", "bs=64k", "count=16", "conv=fsync", "status=none"]);
    let child = dd.arg(format!("of={}", text(file))).spawn().unwrap();
    until("it waits", || fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap().contains(") D "));
    child
}

#[test]
fn all_of_a_server_that_died_comes_down() {
    on_two_machines("gone::all_of_a_server_that_died_comes_down", |far| {
        let shares = [("4.2", "/srv/a"), ("4.1", "/srv/b"), ("3", "/srv/c")];
        for (number, (_, share)) in (1..).zip(shares) {
            far.server.exports(share, number);
        }
        let pods = shares.map(|(version, share)| {
            let (j, place) = (far.j(&format!("pv-{version}"), share, version), far.place(version));
            far.up(&j, &place);
            let open = Open::new(&place.join("open"));
            (version, share, j, place, open)
        });
        far.server.dies();
        far.set(IMPATIENT);
        for (version, share, j, place, mut open) in pods {
            open.writes(&"x".repeat(10_000), 10_005);
            let dev = far.mounts().into_iter().find(|it| it.point == place).unwrap().dev;
            let dev = format!("{}:{}", dev.0, dev.1);
            let mut waiting = waits(&place.join("waits"));
            let said = far.down_soon(&j, &place);
            note(format_args!("{version}, dead: {said}"));
            assert!(said.contains("force") || said.contains("detached"), "{said}");
            until("who waited is set free", || waiting.try_wait().unwrap().is_some());
            // Who has unsent data and ends waits for the server, and with NFS 4 nothing ends him, until the kernel is told to give it
            // up. The book says how.
            drop(open.0.stdin.take());
            open.0.kill().unwrap();
            sleep(Duration::from_secs(2));
            note(format_args!(
                "{version}, dead: who was killed with unsent data waits still: {}",
                open.0.try_wait().unwrap().is_none()
            ));
            shell("for f in /sys/fs/nfs/$1/shutdown; do [ ! -e $f ] || echo 1 >$f; done", &[&dev]);
            until("who had it open is set free", || open.0.try_wait().unwrap().is_some());
            assert!(!far.mounts().iter().any(|it| it.point == place || it.source.ends_with(share)));
            // It is as dead to the next one.
            far.soon(&["mountdevice", text(&place), "", &j.text()]).fails("", &[]);
        }
        far.assert_down();
    });
}
