//! Finding processes that outlived a run: by a variable in their environment or by their process group.

use std::{fs, process, thread, time::Duration};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::id::{ProcessId, Stat};
use crate::{Error, Result};

/// How often, and at what distance, a process in the middle of its exec is looked at again.
const AGAIN: (u32, Duration) = (500, Duration::from_millis(2));

/// What a process's environment says.
enum Says {
    Yes,
    No,
    /// It shows no environment just now: it is between two programs, its first thread is gone, or it has none.
    Nothing,
}

/// A living process that carries a variable, and what it says there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carrier {
    /// The process.
    pub id: ProcessId,
    /// The variable's value; bytes that are not UTF-8 are replaced.
    pub value: String,
    /// The program's name, as the kernel keeps it: at most 15 bytes.
    pub name: String,
    /// Waiting in the kernel for something that no signal interrupts.
    pub blocked: bool,
}

/// Every living process whose environment holds `var`, our own excepted; those whose environment may not or cannot be read
/// just now are passed over.
///
/// # Errors
/// `/proc` cannot be read.
pub fn carrying(var: &str) -> Result<Vec<Carrier>> {
    let mark = format!("{var}=");
    let own = process::id();
    let carrier = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let value = environment.split(|byte| *byte == 0).find_map(|one| one.strip_prefix(mark.as_bytes()))?;
        let value = String::from_utf8_lossy(value).into_owned();
        let (id, stat) = living(pid)?;
        let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        let name = String::from_utf8_lossy(&name).trim_end().to_owned();
        Some(Carrier { id, value, name, blocked: stat.state == b'D' })
    };
    Ok(pids()?.into_iter().filter(|pid| *pid != own).filter_map(carrier).collect())
}

/// The command line of every process that has one and that we may read.
///
/// # Errors
/// `/proc` cannot be read.
pub fn command_lines() -> Result<Vec<(u32, Vec<String>)>> {
    let words = |line: &[u8]| -> Vec<String> {
        let words = line.strip_suffix(b"\0").unwrap_or(line).split(|byte| *byte == 0);
        words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    };
    let of = |pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|line| !line.is_empty())?;
        Some((pid, words(&line)))
    };
    Ok(pids()?.into_iter().filter_map(of).collect())
}

/// Every living process whose environment holds `var=value`, our own excepted. Finds children that left their process
/// group; processes that end while we look are passed over, and so are those of other users that may not be read.
///
/// # Errors
/// `/proc` cannot be read.
pub fn marked(var: &str, value: &str) -> Result<Vec<ProcessId>> {
    let mark = format!("{var}={value}");
    let mut found = Vec::new();
    let mut unsure = Vec::new();
    let own = process::id();
    for pid in pids()?.into_iter().filter(|pid| *pid != own) {
        match says(pid, mark.as_bytes()) {
            Says::Yes => found.push(pid),
            Says::No => {}
            Says::Nothing => unsure.push(pid),
        }
    }
    // An exec swaps the old environment for the new one with a moment of none between; whoever asks is about to undo
    // work beneath that process, so "no" must mean no.
    for _ in 0..AGAIN.0 {
        if unsure.is_empty() {
            break;
        }
        thread::sleep(AGAIN.1);
        unsure.retain(|pid| match says(*pid, mark.as_bytes()) {
            Says::Yes => {
                found.push(*pid);
                false
            }
            Says::No => false,
            Says::Nothing => true,
        });
    }
    Ok(found.into_iter().filter_map(living).map(|(id, _)| id).collect())
}

/// Every living process of a process group; zombies do not count.
///
/// # Errors
/// `/proc` cannot be read.
pub fn group_members(group: u32) -> Result<Vec<ProcessId>> {
    let members = pids()?.into_iter().filter_map(living).filter(|(_, stat)| stat.group == group);
    Ok(members.map(|(id, _)| id).collect())
}

pub(super) fn pids() -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|e| Error::io("read", "/proc", e))? {
        let entry = entry.map_err(|e| Error::io("read", "/proc", e))?;
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

pub(super) fn living(pid: u32) -> Option<(ProcessId, Stat)> {
    let stat = Stat::read(pid).ok().filter(Stat::runs)?;
    Some((ProcessId { pid, started: stat.started }, stat))
}

fn says(pid: u32, mark: &[u8]) -> Says {
    match environment_of(&format!("/proc/{pid}/environ"), mark) {
        Says::Nothing => {}
        told @ (Says::Yes | Says::No) => return told,
    }
    let Some((_, stat)) = living(pid) else { return Says::No };
    // In the middle of an exec there are no arguments either; a program that has some was started without environment.
    if stat.kernel || fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|arguments| !arguments.is_empty()) {
        return Says::No;
    }
    // A killed process whose first thread is gone shows its environment through the threads that are left only.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for thread in threads {
        match environment_of(&thread.path().join("environ").to_string_lossy(), mark) {
            Says::Nothing => {}
            told @ (Says::Yes | Says::No) => return told,
        }
    }
    Says::Nothing
}

fn environment_of(path: &str, mark: &[u8]) -> Says {
    match fs::read(path) {
        Ok(environment) if environment.is_empty() => Says::Nothing,
        Ok(environment) if environment.split(|byte| *byte == 0).any(|one| one == mark) => Says::Yes,
        // Newer kernels say it like this.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => Says::Nothing,
        Ok(_) | Err(_) => Says::No,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        os::unix::process::CommandExt,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::process::{alive, end};

    #[test]
    fn a_child_that_left_its_session_is_found_by_its_environment() {
        let value = format!("left-{}", process::id());
        // The shell's own process ends at once; what setsid started stays, in another group, with nothing of ours open.
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "setsid sleep 1000 >/dev/null 2>&1 & echo started"])
            .env("FLEXVOL_TEST_MARK", &value)
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        shell.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        let group = shell.id();
        shell.wait().unwrap();

        let mut found = marked("FLEXVOL_TEST_MARK", &value).unwrap();
        while group_members(group).unwrap() == found {
            // The background child has not called setsid yet.
            std::thread::yield_now();
            found = marked("FLEXVOL_TEST_MARK", &value).unwrap();
        }
        assert_eq!(found.len(), 1);
        assert!(alive(&found[0]));
        assert!(group_members(group).unwrap().is_empty(), "it is in a group of its own");
        assert!(marked("FLEXVOL_TEST_MARK", "left").unwrap().is_empty(), "a prefix is not the value");
        let carrier = carrying("FLEXVOL_TEST_MARK").unwrap().into_iter().find(|one| one.value == value).unwrap();
        assert_eq!(carrier.id, found[0]);
        assert!(!carrier.name.is_empty());
        assert!(carrying("TEST_MARK").unwrap().iter().all(|one| one.value != value));
        assert!(marked("TEST_MARK", &value).unwrap().is_empty(), "a suffix is not the variable");

        assert!(end(&found, Duration::from_secs(20), true).is_empty());
        assert!(marked("FLEXVOL_TEST_MARK", &value).unwrap().is_empty());
    }

    #[test]
    fn command_lines_are_words() {
        let own: Vec<String> = std::env::args().collect();
        let lines = command_lines().unwrap();
        assert_eq!(lines.into_iter().find(|(pid, _)| *pid == process::id()).unwrap().1, own);
    }

    #[test]
    fn our_own_process_is_not_among_the_marked() {
        let home = std::env::vars().next();
        if let Some((var, value)) = home {
            assert!(marked(&var, &value).unwrap().iter().all(|id| id.pid != process::id()));
        }
    }
}
