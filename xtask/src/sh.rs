//! Running other programs: cargo, apt-get and the executables under show, with errors that say what was run.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Which of a child's two streams a line came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// How a watched child ended.
#[derive(Debug)]
pub(crate) enum End {
    Status(ExitStatus),
    /// It did not end by itself in time; it and its descendants were killed.
    TimedOut,
}

impl End {
    pub(crate) fn success(&self) -> bool {
        match self {
            End::Status(status) => status.success(),
            End::TimedOut => false,
        }
    }
}

/// The folder of the project.
pub(crate) fn project() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or(manifest.clone(), Path::to_path_buf)
}

/// The folder this executable lies in: cargo puts the drivers and the command beside it.
pub(crate) fn bin_dir() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("cannot find out where this executable lies")?;
    Ok(exe.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf))
}

/// The folder for what may be thrown away: cargo's target directory, the topmost above this executable that cargo has marked.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let bin = bin_dir()?;
    let above = bin.ancestors().filter(|dir| dir.join("CACHEDIR.TAG").exists()).last();
    Ok(above.map_or_else(|| project().join("target"), Path::to_path_buf))
}

/// The cargo that runs us, in the project's folder.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(project());
    // Cargo describes this package to us by these; a cargo that we start must not take them for its own.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// A command as a person would type it; arguments with odd characters are quoted.
pub(crate) fn typed(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let args = command.get_args().map(|arg| quoted(&arg.to_string_lossy()));
    std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
}

fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) { arg.to_owned() } else { format!("'{}'", arg.replace('\'', r"'\''")) }
}

/// Runs a command on our own terminal; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    crate::say::flush();
    let status = command.status().with_context(|| format!("cannot run `{}`", typed(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", typed(command));
    }
    Ok(())
}

/// Runs a command and gives back its standard output; anything but success is an error that holds its standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{}`", typed(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` ended with {}: {}", typed(command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Removes what an earlier run may have left.
pub(crate) fn remove(files: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<()> {
    for file in files {
        let file = file.as_ref();
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", file.display()));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Does this command run and succeed? Its output is thrown away.
pub(crate) fn works(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// After so much quiet nothing more is awaited of a child that has ended, though a grandchild holds its streams open.
const LAST_LINES: Duration = Duration::from_millis(200);

/// Runs a command, hands over each line it prints the moment it comes, and ends it and its descendants after `limit`.
pub(crate) fn watch(command: &mut Command, limit: Duration, line: &mut dyn FnMut(Stream, &str)) -> Result<End> {
    crate::say::flush();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run `{}`", typed(command)))?;
    let (send, lines) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        forward(out, Stream::Out, send.clone());
    }
    if let Some(err) = child.stderr.take() {
        forward(err, Stream::Err, send);
    }
    let start = Instant::now();
    loop {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok((stream, text)) => line(stream, &text),
            // Both streams are closed, or quiet: then the process itself is asked. A grandchild may hold the streams open for ever.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                if let Some(status) = child.try_wait().context("cannot wait for a child")? {
                    // Its last lines may be on their way still.
                    while let Ok((stream, text)) = lines.recv_timeout(LAST_LINES) {
                        line(stream, &text);
                    }
                    return Ok(End::Status(status));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if start.elapsed() > limit {
            kill_tree(&mut child);
            return Ok(End::TimedOut);
        }
    }
}

fn forward(from: impl Read + Send + 'static, stream: Stream, to: mpsc::Sender<(Stream, String)>) {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while from.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
            if to.send((stream, text)).is_err() {
                return;
            }
            bytes.clear();
        }
    });
}

/// Kills a child and all that descend from it. We start no process group of its own, so that Ctrl-C at a terminal reaches all.
fn kill_tree(child: &mut Child) {
    let mut doomed = vec![child.id()];
    let parents = parents();
    let mut next = 0;
    while let Some(&pid) = doomed.get(next) {
        doomed.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(pid, _)| *pid));
        next += 1;
    }
    works(Command::new("kill").arg("-KILL").args(doomed.iter().map(u32::to_string)));
    // Reaped or not, the child is dead or beyond us.
    let _ = child.kill();
    let _ = child.try_wait();
}

/// Every process and its parent.
fn parents() -> Vec<(u32, u32)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name in brackets may hold blanks and brackets; what follows the last one is regular: state, parent.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/usr/bin/flexvol");
        command.args(["exec", "demo", "--", "sh", "-c", "echo it's > /data/x"]);
        assert_eq!(typed(&command), r"flexvol exec demo -- sh -c 'echo it'\''s > /data/x'");
    }

    #[test]
    fn both_streams_are_heard_and_the_end_is_told() {
        let mut heard = Vec::new();
        let end = watch(
            Command::new("sh").args(["-c", "echo a; echo b >&2; exit 3"]),
            Duration::from_secs(60),
            &mut |s, l| {
                heard.push((s, l.to_owned()));
            },
        )
        .unwrap();
        assert!(!end.success());
        assert!(heard.contains(&(Stream::Out, "a".into())) && heard.contains(&(Stream::Err, "b".into())), "{heard:?}");
    }

    #[test]
    fn what_outstays_its_limit_is_killed_with_its_children() {
        let mut child = None;
        let end = watch(
            Command::new("sh").args(["-c", "sleep 1000 & echo $!; wait"]),
            Duration::from_millis(1500),
            &mut |_, line| child = line.parse::<u32>().ok(),
        )
        .unwrap();
        assert!(matches!(end, End::TimedOut));
        let gone = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z")
        };
        let child = child.expect("the shell said the pid of its child");
        assert!((0..500).any(|_| gone(child) || {
            std::thread::sleep(Duration::from_millis(20));
            false
        }));
    }
}
