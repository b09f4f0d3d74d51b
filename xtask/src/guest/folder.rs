//! A folder of the host in a guest: virtiofsd serves it, in one of its two forms.

use super::running::Running;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A folder and how it is served.
pub(super) struct Folder<'a> {
    /// The daemon where this machine has none of its own.
    pub(super) daemon: &'a Path,
    pub(super) folder: &'a Path,
    pub(super) socket: &'a Path,
    pub(super) cache: Cache,
}

/// What a guest keeps of what it has read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cache {
    /// As long as a file is open, so that it sees what the host changes.
    Auto,
    /// For good. With the other each start of an executable reads it anew, page by page, and takes ten times as long.
    Always,
}

impl Cache {
    fn word(self) -> &'static str {
        match self {
            Cache::Auto => "cache=auto",
            Cache::Always => "cache=always",
        }
    }
}

/// The daemon written in Rust, which Debian has from its release 13 on.
const NEWER: &str = "/usr/libexec/virtiofsd";

/// A daemon that has made no socket by then makes none.
const LIMIT: Duration = Duration::from_secs(60);

impl Folder<'_> {
    /// Starts the daemon, and waits until it can be reached.
    pub(super) fn serve(&self) -> Result<Running> {
        let newer = Path::new(NEWER);
        let program = if newer.exists() { newer } else { self.daemon };
        let mut command = Running::command(program);
        command.args(self.args(program == newer)).stdout(Stdio::null()).stderr(Stdio::piped());
        self.reached(&mut command)
    }

    fn args(&self, newer: bool) -> Vec<OsString> {
        let with = |name: &str, path: &Path| {
            let mut word = OsString::from(name);
            word.push(path);
            word
        };
        let cache = self.cache.word();
        let mut args = vec![with("--socket-path=", self.socket)];
        if newer {
            args.extend([with("--shared-dir=", self.folder), "--sandbox=chroot".into(), format!("--{cache}").into()]);
        } else {
            // The older one, written in C, takes all else as options of a mount, in which a comma begins the next.
            let source = OsString::from(format!("source={}", self.folder.display()).replace(',', "\\,"));
            for option in [source, "sandbox=chroot".into(), cache.into()] {
                args.extend(["-o".into(), option]);
            }
        }
        args
    }

    fn reached(&self, command: &mut Command) -> Result<Running> {
        let mut daemon = Running::start(command).context("cannot start virtiofsd")?;
        let start = Instant::now();
        while !self.socket.exists() {
            if let Some(status) = daemon.0.try_wait().context("cannot wait for virtiofsd")? {
                let mut said = String::new();
                // What it said is only more about an error that is told anyway.
                let _ = daemon.0.stderr.take().map(|mut err| err.read_to_string(&mut said));
                bail!("virtiofsd ended with {status}: {}", said.trim());
            }
            if start.elapsed() > LIMIT {
                bail!("virtiofsd makes no socket");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Nobody reads what it says from now on, so it must not be able to wait for that.
        if let Some(err) = daemon.0.stderr.take() {
            std::thread::spawn(move || std::io::copy(&mut BufReader::new(err), &mut std::io::sink()));
        }
        Ok(daemon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder<'a>(folder: &'a Path, socket: &'a Path) -> Folder<'a> {
        Folder { daemon: Path::new("false"), folder, socket, cache: Cache::Always }
    }

    #[test]
    fn both_daemons_are_told_the_same() {
        let line = |newer| {
            let args = folder(Path::new("/a,b"), Path::new("/s")).args(newer);
            args.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line(true), "--socket-path=/s --shared-dir=/a,b --sandbox=chroot --cache=always");
        assert_eq!(line(false), r"--socket-path=/s -o source=/a\,b -o sandbox=chroot -o cache=always");
    }

    #[test]
    fn a_daemon_that_ends_is_an_error_with_its_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such folder >&2; exit 3"]).stderr(Stdio::piped());
        let error = folder(Path::new("/a"), Path::new("/nowhere/s")).reached(&mut command).err().unwrap();
        assert!(format!("{error:#}").contains("no such folder"), "{error:#}");
    }
}
