//! Which processes belong to the tree, held by pidfd so that a reused pid never gets our signal.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::spare::Spared;

/// The variable that marks every process of a tree, so that those that never asked are found too.
const MARK: &str = "KILLAT_TREE";

/// Processes that asked at least once, and the mark of the others.
pub(super) struct Tree {
    seen: BTreeMap<u32, OwnedFd>,
    mark: String,
}

impl Tree {
    /// A tree of its own mark.
    pub(super) fn new() -> Tree {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mark = format!("{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Tree { seen: BTreeMap::new(), mark }
    }

    /// The variable for the root's environment: its name and value.
    pub(super) fn mark(&self) -> (&str, &str) {
        (MARK, &self.mark)
    }

    /// Takes in a process that is alive now: it waits for our answer.
    pub(super) fn meet(&mut self, pid: u32) {
        if self.seen.get(&pid).is_some_and(|fd| !has_ended(fd.as_fd())) {
            return;
        }
        if let Some(fd) = open(pid) {
            self.seen.insert(pid, fd);
        }
    }

    pub(super) fn handle(&self, pid: u32) -> Option<BorrowedFd<'_>> {
        self.seen.get(&pid).map(AsFd::as_fd)
    }

    pub(super) fn kill(&self, pid: u32) {
        if let Some(fd) = self.seen.get(&pid) {
            let _ = pidfd_send_signal(fd, Signal::KILL);
        }
    }

    /// Kills every process of the tree but the spared and waits for their end a little.
    pub(super) fn kill_all(&mut self, spared: &Spared) {
        self.seen.retain(|_, fd| !has_ended(fd.as_fd()));
        for pid in self.marked() {
            self.meet(pid);
        }
        // Stopped first, all of them: else a parent sees its child die and has time for one more step.
        let doomed: Vec<_> = self.seen.iter().filter(|(pid, _)| !spared.is(**pid)).map(|(_, fd)| fd).collect();
        for signal in [Signal::STOP, Signal::KILL] {
            for fd in &doomed {
                let _ = pidfd_send_signal(fd, signal);
            }
        }
        for fd in doomed {
            wait_end(fd.as_fd(), Duration::from_secs(2));
        }
    }

    /// Those that carry the mark and have not ended.
    pub(super) fn marked(&self) -> Vec<u32> {
        let variable = format!("{MARK}={}", self.mark);
        let is_marked = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|b| *b == 0).any(|one| one == variable.as_bytes())
        };
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
        pids.filter(is_marked).collect()
    }
}

/// The process of a thread, and its command name; none when it is gone.
pub(super) fn process_of(tid: u32) -> Option<(u32, String)> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let pid = status.lines().find_map(|l| l.strip_prefix("Tgid:"))?.trim().parse().ok()?;
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some((pid, comm.trim_end().to_owned()))
}

/// What a process was started with, blanks between the words.
pub(super) fn command_line(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ").trim_end().to_owned()
}

pub(super) fn has_ended(process: BorrowedFd<'_>) -> bool {
    wait_end(process, Duration::ZERO)
}

/// Whether the process ended within the time.
pub(super) fn wait_end(process: BorrowedFd<'_>, time: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(process, PollFlags::IN)];
    let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
    poll(&mut fds, Some(&time)).is_ok_and(|n| n > 0)
}

fn open(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}
