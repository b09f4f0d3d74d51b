//! A process that ends with the value that stands for it, and, should this process be killed first, with it.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The process. Dropped, it is killed.
pub(super) struct Running(pub(super) Child);

impl Running {
    /// A program that the kernel kills when the thread ends that starts it, however that comes.
    pub(super) fn command(program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    pub(super) fn start(command: &mut Command) -> io::Result<Running> {
        command.stdin(Stdio::null()).spawn().map(Running)
    }

    /// Waits until it has ended by itself.
    pub(super) fn wait(&mut self) {
        // One that cannot be waited for has ended.
        let _ = self.0.wait();
    }

    /// Kills it, and waits until it is gone.
    pub(super) fn end(&mut self) {
        // Already ended is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn is_gone(pid: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z")
    }

    #[test]
    fn it_ends_when_it_is_dropped() {
        let running = Running::start(Running::command(Path::new("sleep")).arg("1000")).unwrap();
        let pid = running.0.id();
        assert!(!is_gone(pid));
        drop(running);
        assert!(is_gone(pid));
    }

    #[test]
    fn it_ends_when_the_thread_that_started_it_does() {
        let begun = || Running::start(Running::command(Path::new("sleep")).arg("1000").stdout(Stdio::null())).unwrap();
        let started = std::thread::spawn(move || {
            let running = begun();
            // The kernel's promise is asked for by the process itself, at its start.
            let asked = || std::fs::read_to_string(format!("/proc/{}/comm", running.0.id())).unwrap() == "sleep\n";
            while !asked() {
                std::thread::sleep(Duration::from_millis(5));
            }
            let pid = running.0.id();
            // As if there were nobody left to drop it.
            std::mem::forget(running);
            pid
        });
        let pid = started.join().unwrap();
        assert!((0..500).any(|_| is_gone(pid) || {
            std::thread::sleep(Duration::from_millis(20));
            false
        }));
    }
}
