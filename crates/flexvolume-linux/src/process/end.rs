//! Ending processes that are not our children: TERM, grace, KILL, each through a descriptor that names one process.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{
    ProcessId, alive,
    wait::{AFTER_KILL, timespec},
};

/// Sends TERM (and CONT, for the stopped) to every one of these processes, waits until all have ended or `grace` is over,
/// then, if `kill`, sends KILL to the rest and waits once more as long (a second at least). Answers with those that still
/// run. A process that took over a pid is never touched.
pub fn end(processes: &[ProcessId], grace: Duration, kill: bool) -> Vec<ProcessId> {
    let held: Vec<(ProcessId, OwnedFd)> = processes.iter().filter_map(|id| Some((*id, hold(id)?))).collect();
    send(&held, &[Signal::TERM, Signal::CONT]);
    if !await_all(&held, grace) && kill {
        send(&held, &[Signal::KILL]);
        await_all(&held, grace.max(AFTER_KILL));
    }
    processes.iter().filter(|id| alive(id)).copied().collect()
}

/// A descriptor of this very process: opened first and the start time compared after it, so the pid cannot change hands
/// between.
pub(super) fn hold(process: &ProcessId) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(process.pid).ok()?)?;
    let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    alive(process).then_some(descriptor)
}

fn send(held: &[(ProcessId, OwnedFd)], signals: &[Signal]) {
    for (_, descriptor) in held {
        for signal in signals {
            // One that has ended meanwhile, or that we may not signal, shows in the answer.
            let _ = pidfd_send_signal(descriptor, *signal);
        }
    }
}

/// Whether all have ended within the time.
fn await_all(held: &[(ProcessId, OwnedFd)], within: Duration) -> bool {
    let since = Instant::now();
    let mut waiting: Vec<&OwnedFd> = held.iter().map(|(_, descriptor)| descriptor).collect();
    while !waiting.is_empty() {
        let left = within.saturating_sub(since.elapsed());
        let mut polled: Vec<PollFd<'_>> = waiting.iter().map(|fd| PollFd::new(*fd, PollFlags::IN)).collect();
        let _ = poll(&mut polled, Some(&timespec(left)));
        let ended: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
        let mut ended = ended.into_iter();
        waiting.retain(|_| !ended.next().unwrap_or(false));
        if left.is_zero() {
            break;
        }
    }
    waiting.is_empty()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        process::{Child, Command, Stdio},
    };

    use super::*;
    use crate::process::id::Stat;

    fn start(script: &str) -> (Child, ProcessId) {
        let mut child = Command::new("/bin/sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        // It says one byte when its trap is set.
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let id = ProcessId { pid: child.id(), started: Stat::read(child.id()).unwrap().started };
        (child, id)
    }

    #[test]
    fn one_that_ignores_term_is_left_alone_or_killed_as_asked() {
        let (mut child, id) = start("trap '' TERM; echo; while :; do sleep 0.05; done");
        assert_eq!(end(&[id], Duration::from_millis(50), false), vec![id]);
        assert!(alive(&id));
        assert!(end(&[id], Duration::from_millis(50), true).is_empty());
        child.wait().unwrap();
    }

    #[test]
    fn a_stopped_one_hears_term_too() {
        let (mut child, id) = start("echo; kill -STOP $$; exit 0");
        while Stat::read(id.pid).unwrap().state != b'T' {
            std::thread::yield_now();
        }
        assert!(end(&[id], Duration::from_secs(20), false).is_empty());
        child.wait().unwrap();
    }

    #[test]
    fn a_reused_pid_is_never_signalled() {
        let (mut child, id) = start("echo; exec sleep 1000");
        let former = ProcessId { started: id.started - 1, ..id };
        assert!(end(&[former], Duration::from_millis(20), true).is_empty(), "the former process is gone");
        assert!(alive(&id), "and its successor was not touched");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
