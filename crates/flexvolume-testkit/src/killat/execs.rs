//! What a program is started with: read at the door of its exec, so that nobody's command line is too short-lived to be seen.

use super::effects::Caller;

/// One exec, seen just before it ran. Also one that then failed, as those of a search through PATH do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// The process that becomes another program.
    pub pid: u32,
    /// The path as given; beneath a descriptor for `execveat`.
    pub path: Vec<u8>,
    /// The arguments, `argv[0]` first.
    pub argv: Vec<Vec<u8>>,
    /// The environment, each `NAME=value`.
    pub env: Vec<Vec<u8>>,
}

/// The kernel's own limit of one argument.
const LONGEST: usize = 128 << 10;
/// More than any command line has; a list without end is no list.
const MOST: u64 = 1 << 20;

impl Exec {
    /// Reads it from the memory of the thread that waits; none if it makes another call.
    pub(super) fn of(caller: &Caller<'_>, pid: u32, nr: i64) -> Option<Exec> {
        let [path, argv, env] = match nr {
            libc::SYS_execve => [0, 1, 2],
            libc::SYS_execveat => [1, 2, 3],
            _ => return None,
        };
        let list = |arg: usize| list(caller, caller.args[arg]);
        Some(Exec { pid, path: caller.string(caller.args[path], LONGEST), argv: list(argv), env: list(env) })
    }

    /// Everything that others could read of it: path, arguments and environment, a line each.
    #[must_use]
    pub fn shown(&self) -> Vec<u8> {
        let all = [&self.path].into_iter().chain(&self.argv).chain(&self.env);
        all.flat_map(|word| word.iter().copied().chain([b'\n'])).collect()
    }
}

/// The strings that an array of pointers names, up to its NULL.
fn list(caller: &Caller<'_>, address: u64) -> Vec<Vec<u8>> {
    let width = size_of::<u64>();
    let pointers = (0..if address == 0 { 0 } else { MOST }).map_while(|n| {
        let bytes = caller.memory(address + n * width as u64, width)?;
        let pointer = u64::from_ne_bytes(bytes.try_into().ok()?);
        (pointer != 0).then_some(pointer)
    });
    pointers.map(|pointer| caller.string(pointer, LONGEST)).collect()
}
