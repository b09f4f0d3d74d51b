//! LVM's own command, run: questions that are ended at a limit, and changes that nobody ever ends.
//!
//! A change that is torn off can leave a device suspended and its writers stuck. So it gets a session of its own, lacks
//! the mark by which a host finds and ends what a dead call left, and holds one of our locks as long as it runs: if we die
//! meanwhile, the next call waits for it. LVM closes whatever descriptors it is not told of; the lock is passed as the one
//! for reports (`LVM_REPORT_FD`), and changes make no reports.
//!
//! Each command about a volume group sees the disks of that group and nothing else. What a tenant writes into a volume
//! (the signature of a disk of LVM's, of another group) is then never even read.

use std::{
    env, fs,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use flexvolume::{Code, Failure, Lock, Result};
use flexvolume_linux::{
    Error, ErrorKind,
    process::{Apart, How, Kill, Limits, Outcome, Program, on_path, spawn},
};

use crate::{
    group::Group,
    holder,
    report::{self, FORMAT, Row},
};

/// Where the command lives when PATH does not say so, as it often does not for a service.
const PLACES: [&str; 6] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

/// A question that has no answer by then is ended: somebody holds LVM's lock, or a disk does not answer.
const ASK: Limits = Limits {
    answer: Duration::from_secs(45),
    kill: Kill::After { at: Duration::from_secs(45), grace: Duration::from_secs(5) },
};

/// The most that an answer may have: some seventy thousand volumes.
const LONGEST: usize = 64 << 20;

/// For so long a change is waited for; then it goes on without us, with our lock.
const CHANGE: Limits = Limits { answer: Duration::from_secs(180), kill: Kill::Never };

/// The same for what is brief unless somebody holds LVM's lock.
const ACTIVATE: Limits = Limits { answer: Duration::from_secs(45), kill: Kill::Never };

/// The status of a command that did not understand its arguments.
const BAD_ARGUMENTS: i32 = 3;

/// Disks are never looked for inside logical volumes.
const CONFIG: [&str; 2] = ["--config", "devices/scan_lvs=0"];

/// The command `lvm`, found.
#[derive(Clone, Debug)]
pub(crate) struct Lvm {
    exe: PathBuf,
}

/// What a question brought.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// The rows; not all that were asked for, if it failed.
    pub(crate) rows: Vec<T>,
    /// What LVM said if it failed, in part or in whole. It does so too when what was named is not there.
    pub(crate) failed: Option<Failure>,
}

impl Lvm {
    /// Finds the system's command; never this driver, which has the same name, nor a copy of it.
    ///
    /// # Errors
    /// It is not installed.
    pub(crate) fn find() -> Result<Self> {
        let own = Path::new("/proc/self/exe");
        let same = |file: &Path| match (fs::metadata(file), fs::metadata(own)) {
            (Ok(one), Ok(mine)) => {
                (one.dev(), one.ino()) == (mine.dev(), mine.ino())
                    || one.len() == mine.len() && matches!((fs::read(file), fs::read(own)), (Ok(a), Ok(b)) if a == b)
            }
            (_, _) => false,
        };
        let path = env::var_os("PATH").unwrap_or_default();
        let dirs = env::split_paths(&path).chain(PLACES.map(PathBuf::from));
        let exe = dirs.filter_map(|dir| on_path("lvm", dir.as_os_str())).find(|exe| !same(exe));
        exe.map(|exe| Self { exe }).ok_or_else(|| {
            let error = Error::new(ErrorKind::Unsupported, "cannot use LVM: its command lvm is not installed");
            error.with_hint("apt-get install lvm2").into()
        })
    }

    /// Asks for rows of one kind. With a `group` only its disks are seen, else all there are. `args` go to the command
    /// after the fields: names, `-a`, `-S SELECTION`.
    ///
    /// # Errors
    /// There is no answer at all: it did not start, did not end (code `busy`, with who holds LVM's lock), or was not
    /// understood. That a name was not found is told in the answer.
    pub(crate) fn ask<T: Row>(&self, group: Option<&Group>, args: &[&str]) -> Result<Answer<T>> {
        let mut words = vec![T::COMMAND];
        words.extend(FORMAT.iter().chain(&["-o", T::FIELDS]).chain(args));
        let (outcome, how) = (self.run(group, &words, None)?, T::COMMAND);
        if outcome.cut {
            return Err(Failure::internal(format!(
                "{how} has more to say than the {LONGEST} bytes that are read of it"
            )));
        }
        match outcome.how {
            How::Exited(0) => Ok(Answer { rows: report::read(&outcome.stdout)?, failed: None }),
            How::Exited(BAD_ARGUMENTS) | How::Signalled(_) => Err(self.failed("ask LVM", how, &outcome)),
            How::Exited(_) => {
                let failed = Some(self.failed("ask LVM", how, &outcome));
                Ok(Answer { rows: report::read(&outcome.stdout).unwrap_or_default(), failed })
            }
            How::Killed { .. } | How::Stayed(_) | How::Stuck(_) => {
                let message = format!("LVM did not answer within {} s ({how})", ASK.answer.as_secs());
                Err(Failure::new(Code::Busy, holder::explain(&message, group.map(|group| &group.name))))
            }
        }
    }

    /// Changes something in `group`, holding `under`, a lock of ours that whoever would disturb it must take first.
    /// `purpose` is what is done, for the failure: "cannot `purpose`".
    ///
    /// # Errors
    /// LVM's own words; code `busy` if it has not ended after some minutes: it is then left to go on, with the lock. Or a
    /// disk could not be flushed.
    pub(crate) fn change(&self, purpose: &str, under: &Lock, group: &Group, words: &[&str]) -> Result<()> {
        self.told(purpose, under, group, words).map(drop)
    }

    /// The same, and what LVM says of it.
    ///
    /// # Errors
    /// As [`Lvm::change`].
    pub(crate) fn told(&self, purpose: &str, under: &Lock, group: &Group, words: &[&str]) -> Result<String> {
        let outcome = self.run(Some(group), words, Some(under))?;
        let command = words.first().copied().unwrap_or_default();
        match outcome.how {
            How::Exited(0) => {
                if writes(words) {
                    flush(group)?;
                }
                Ok(String::from_utf8_lossy(&outcome.stdout).into_owned())
            }
            How::Exited(_) | How::Signalled(_) | How::Killed { .. } | How::Stuck(_) => {
                Err(self.failed(purpose, command, &outcome))
            }
            How::Stayed(process) => {
                let message = format!(
                    "cannot {purpose} yet: {command} (process {process}) still runs after {} s and is left to end by itself",
                    limits(words).answer.as_secs()
                );
                Err(Failure::new(Code::Busy, holder::explain(&message, Some(&group.name))))
            }
        }
    }

    /// Runs one command to its end or its limit.
    fn run(&self, group: Option<&Group>, words: &[&str], under: Option<&Lock>) -> Result<Outcome> {
        let devices = group.map(|group| group.devices.as_slice()).unwrap_or_default();
        let restricted = devices.iter().flat_map(|device| ["--devices", device]);
        let (command, rest) = words.split_first().unwrap_or((&"version", &[]));
        let patience = limits(words);
        let words = [*command].into_iter().chain(CONFIG).chain(restricted).chain(rest.iter().copied());
        let mut program =
            Program { args: words.map(|word| word.to_owned().into()).collect(), ..Program::new(&self.exe) };
        program.env = vec![variable("LC_ALL", "C"), variable("LVM_SUPPRESS_FD_WARNINGS", "1")];
        let Some(under) = under else {
            // What it has to say meanwhile goes elsewhere than its report.
            program.output_limit = LONGEST;
            program.env.extend([variable("LVM_OUT_FD", "2"), variable("LVM_REPORT_FD", "1")]);
            return Ok(spawn(&program)?.wait(&ASK, &|_, _| false, &mut |_| {}));
        };
        program.env.push(variable("LVM_REPORT_FD", &under.as_fd().as_raw_fd().to_string()));
        program.apart = Some(Apart { without: vec!["FLEXVOL_CALL".to_owned()] });
        // "Answered": so that it is waited for no longer than the limit, and nothing is done to it then.
        Ok(under.lending(|| spawn(&program))?.wait(&patience, &|_, _| true, &mut |_| {}))
    }

    fn failed(&self, purpose: &str, command: &str, outcome: &Outcome) -> Failure {
        let how = match outcome.how {
            How::Exited(code) => format!("status {code}"),
            How::Signalled(signal) | How::Killed { signal } => format!("signal {signal}"),
            How::Stayed(_) | How::Stuck(_) => "no end".to_owned(),
        };
        let error = Error::new(ErrorKind::Io, format!("cannot {purpose}: {command} ended with {how}"))
            .with_cause(last_words(&outcome.stderr));
        match hint(outcome.how) {
            Some(hint) => error.with_hint(hint).into(),
            None => error.into(),
        }
    }
}

/// How long a change is waited for.
fn limits(words: &[&str]) -> Limits {
    if writes(words) { CHANGE } else { ACTIVATE }
}

/// Whether a command changes what LVM has on its disks: only activation does not.
fn writes(words: &[&str]) -> bool {
    words.first() != Some(&"lvchange") || !["-ay", "-an", "--refresh"].iter().any(|word| words.contains(word))
}

/// Sees to it that what LVM wrote outlives a power cut. LVM never flushes a disk, and what we write down elsewhere on the
/// strength of its word may lie on a disk that is flushed sooner.
///
/// # Errors
/// A disk could not be flushed.
pub(crate) fn flush(group: &Group) -> Result<()> {
    for device in &group.devices {
        let flushed = fs::File::open(device).and_then(|disk| disk.sync_all());
        flushed.map_err(|error| Error::io("flush the disk", device, error))?;
    }
    Ok(())
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// What the machine lacks for LVM to work at all, looked for only when something has failed.
fn hint(how: How) -> Option<String> {
    if !Path::new("/sys/class/misc/device-mapper").exists() {
        return Some("the kernel has no device-mapper: modprobe dm-mod".to_owned());
    }
    if how == How::Exited(BAD_ARGUMENTS) {
        return Some("the driver needs LVM 2.03.12 or newer, see: lvm version".to_owned());
    }
    let locks = Path::new(holder::LOCKS);
    let writable = rustix::fs::access(locks, rustix::fs::Access::WRITE_OK).is_ok();
    (locks.exists() && !writable).then(|| format!("LVM's locks lie in {}, which cannot be written", locks.display()))
}

/// The last lines that LVM wrote, on one line, for a person. Warnings count only if there is nothing else.
pub(crate) fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let plain: Vec<&str> = lines.iter().copied().filter(|line| !line.starts_with("WARNING:")).collect();
    let lines = if plain.is_empty() { lines } else { plain };
    let told = lines[lines.len().saturating_sub(4)..].join("; ");
    let told: String = told.chars().map(|c| if c.is_control() { ' ' } else { c }).take(600).collect();
    if told.is_empty() { "it said nothing".to_owned() } else { told }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_activation_is_flushed() {
        assert!(writes(&["lvcreate", "-y", "-n", "lv", "-Wn", "-an", "vg"]) && writes(&["lvremove", "-y", "vg/lv"]));
        assert!(writes(&["lvchange", "--deltag", "flexvol.state=creating", "vg/lv"]));
        assert!(!writes(&["lvchange", "-ay", "-K", "vg/lv"]) && !writes(&["lvchange", "-an", "vg/lv"]));
        assert!(!writes(&["lvchange", "--refresh", "vg/lv"]));
    }

    #[test]
    fn errors_are_told_before_warnings() {
        let said = "  WARNING: VG vg is missing PV x.\n  Refusing activation of partial LV vg/two.\n\n";
        assert_eq!(last_words(said.as_bytes()), "Refusing activation of partial LV vg/two.");
        assert_eq!(last_words(b"  WARNING: one\n"), "WARNING: one");
        assert_eq!(last_words(b""), "it said nothing");
        assert!(last_words("x\u{1b}[31m\n".repeat(10_000).as_bytes()).len() <= 600);
    }
}
