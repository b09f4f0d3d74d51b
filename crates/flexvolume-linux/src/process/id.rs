//! A process's name that outlives its pid: pid and start time together, as `/proc` tells them.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    sync::OnceLock,
};

use serde::{Deserialize, Serialize};

/// Set in a kernel thread's flags.
const PF_KTHREAD: u64 = 0x0020_0000;

/// One process of this boot. A reused pid has another start time, so it is never taken for the old process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub started: u64,
}

/// What `/proc/PID/stat` tells of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) state: u8,
    pub(super) group: u32,
    pub(super) session: u32,
    pub(super) kernel: bool,
    pub(super) threads: u64,
    pub(super) started: u64,
}

/// Whether this very process still runs. A zombie does not, unless another of its threads is still held by the kernel.
pub fn alive(process: &ProcessId) -> bool {
    // A process that cannot be looked at is gone (ENOENT, ESRCH); `/proc/PID/stat` is readable by all.
    Stat::read(process.pid).is_ok_and(|stat| stat.started == process.started && stat.runs())
}

/// What a living process is called, and the letter of its state: `D` is held by the kernel.
pub fn describe(process: &ProcessId) -> Option<(String, char)> {
    let text = fs::read(format!("/proc/{}/stat", process.pid)).ok()?;
    let stat = Stat::parse(&text).filter(|stat| stat.started == process.started && stat.runs())?;
    let name = text.iter().position(|byte| *byte == b'(')?..text.iter().rposition(|byte| *byte == b')')?;
    Some((String::from_utf8_lossy(&text[name.start + 1..name.end]).into_owned(), stat.state.into()))
}

/// This process itself; `None` where `/proc` does not show it.
pub fn own() -> Option<ProcessId> {
    own_stat().map(|(pid, stat)| ProcessId { pid, started: stat.started })
}

/// Our pid, and what is told of us; of that, the session and the start time stay what they are.
fn own_stat() -> Option<(u32, Stat)> {
    static OWN: OnceLock<(u32, Stat)> = OnceLock::new();
    let pid = std::process::id();
    let read = || Stat::read(pid).ok().map(|stat| (pid, stat));
    match OWN.get() {
        Some(own) if own.0 == pid => Some(*own),
        // A child that was forked off is another one.
        Some(_) => read(),
        None => read().map(|own| *OWN.get_or_init(|| own)),
    }
}

/// The session a process belongs to: what stays in that of the program that began it has not become a daemon. 0 if it
/// was begun outside this pid namespace.
pub fn session(pid: u32) -> Option<u32> {
    if pid == std::process::id() {
        return own_stat().map(|(_, stat)| stat.session);
    }
    Stat::read(pid).ok().map(|stat| stat.session)
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)
    }
}

impl Stat {
    pub(super) fn read(pid: u32) -> io::Result<Self> {
        // The kernel writes the line at once, and it is never as long.
        let mut text = [0; 2048];
        let length = File::open(format!("/proc/{pid}/stat"))?.read(&mut text)?;
        Self::parse(&text[..length])
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not the stat line of a process"))
    }

    /// The second field is the name in parentheses, which may hold blanks and parentheses; the rest follows its last one.
    fn parse(text: &[u8]) -> Option<Self> {
        let after = text.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(&text[after + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // `man 5 proc` counts from 1 and the state is its field 3.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            state: *field(3)?.as_bytes().first()?,
            group: field(5)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            kernel: field(9)?.parse::<u64>().ok()? & PF_KTHREAD != 0,
            threads: field(20)?.parse().ok()?,
            started: field(22)?.parse().ok()?,
        })
    }

    /// A killed process whose first thread is gone is a zombie by its state, while another thread of it may still sit in
    /// the kernel with all that the process holds.
    pub(super) fn runs(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x') || self.threads > 1
    }
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command, Stdio};

    use super::*;

    #[test]
    fn names_with_blanks_and_parentheses_do_not_shift_the_fields() {
        let line = b"42 (a) R (b c) S 1 77 78 0 -1 2097152 0 0 0 0 0 0 0 0 20 0 3 0 123456 0 0\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat, Stat { state: b'S', group: 77, session: 78, kernel: true, threads: 3, started: 123_456 });
        for cut in 0..line.len() - 8 {
            let _ = Stat::parse(&line[..cut]);
        }
        assert_eq!(Stat::parse(b""), None);
        assert_eq!(Stat::parse(b"1 (x) S 2"), None);
    }

    #[test]
    fn a_zombie_with_a_thread_left_still_runs() {
        let zombie = Stat { state: b'Z', group: 1, session: 1, kernel: false, threads: 1, started: 1 };
        assert!(!zombie.runs());
        assert!(Stat { threads: 2, ..zombie }.runs());
    }

    #[test]
    fn another_start_time_is_another_process() {
        let own = own().unwrap();
        assert_eq!(own.pid, process::id());
        let (name, state) = describe(&own).unwrap();
        assert!(!name.is_empty() && state.is_ascii_alphabetic(), "{name} {state}");
        assert_eq!(describe(&ProcessId { started: own.started + 1, ..own }), None);
        assert!(alive(&own));
        assert!(!alive(&ProcessId { started: own.started + 1, ..own }));
        assert!(!alive(&ProcessId { pid: u32::MAX, started: 1 }));
    }

    #[test]
    fn an_unreaped_child_is_not_alive() {
        let mut child = Command::new("/bin/sh").args(["-c", "read x"]).stdin(Stdio::piped()).spawn().unwrap();
        let id = ProcessId { pid: child.id(), started: Stat::read(child.id()).unwrap().started };
        assert!(alive(&id));
        drop(child.stdin.take());
        while alive(&id) {
            std::thread::yield_now();
        }
        assert_eq!(Stat::read(id.pid).unwrap().state, b'Z', "it is there, unreaped, and not alive");
        child.wait().unwrap();
    }
}
