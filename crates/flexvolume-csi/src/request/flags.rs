//! The mount flags of a request: what is an attribute of a mount, which every mount and every bind can have, and what a file system alone
//! understands.
//!
//! A value may be a secret (CSI, `mount_flags`), so none is ever shown: what is told of a flag is what stands before its `=`.

use std::fmt;

use flexvolume_protocol::excerpt;
use tonic::Status;

use super::limits;
use crate::status;

/// How a volume is mounted.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `ro`.
    pub(crate) read_only: bool,
    /// `nosuid`.
    pub(crate) nosuid: bool,
    /// `nodev`.
    pub(crate) nodev: bool,
    /// `noexec`.
    pub(crate) noexec: bool,
    /// `nodiratime`.
    pub(crate) no_directory_times: bool,
    /// Which reads are written down; `None` as the volume's own mount has it.
    pub(crate) times: Option<Times>,
    /// What the file system alone understands, in its order: for whoever mounts it, and nobody else.
    pub(crate) file_system: Vec<String>,
}

/// Which reads of a file are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// `relatime`.
    Some,
    /// `strictatime`.
    Every,
    /// `noatime`.
    None,
}

impl Flags {
    /// Reads the flags. One string may hold several, with commas between them.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: two contradict each other; one would allow what volumes never may, or is about where and how we mount.
    pub(crate) fn of(given: &[String]) -> Result<Self, Status> {
        limits::strings("mount_flags", given)?;
        let mut flags = Self::default();
        let mut writes = false;
        for flag in given.iter().flat_map(|text| parts(text)) {
            match flag {
                "ro" => flags.read_only = true,
                "rw" => writes = true,
                "nosuid" => flags.nosuid = true,
                "nodev" => flags.nodev = true,
                "noexec" => flags.noexec = true,
                "nodiratime" => flags.no_directory_times = true,
                "relatime" => flags.at(Times::Some)?,
                "strictatime" => flags.at(Times::Every)?,
                "noatime" => flags.at(Times::None)?,
                // As it is anyway, or said to programs that are not asked here.
                "defaults" | "async" | "exec" | "_netdev" | "nofail" | "auto" | "noauto" => {}
                "suid" | "dev" => return Err(refuse(flag, "allows what a volume's content never may")),
                "bind" | "rbind" | "move" | "remount" | "loop" | "shared" | "rshared" | "slave" | "rslave"
                | "private" | "rprivate" | "unbindable" | "runbindable" => {
                    return Err(refuse(flag, "is about how we mount, not about the volume"));
                }
                other if other.starts_with("x-") => {}
                other if other.chars().any(char::is_control) => return Err(refuse(other, "holds a control character")),
                other => flags.file_system.push(other.to_owned()),
            }
        }
        match writes && flags.read_only {
            true => Err(status::invalid("the mount flags ro and rw contradict each other")),
            false => Ok(flags),
        }
    }

    /// Why a mount that is not ours to make cannot have these, if so: only whoever mounts a file system can give it options.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, naming one.
    pub(crate) fn without_file_system(&self) -> Result<(), Status> {
        match self.file_system.first() {
            Some(flag) => Err(refuse(flag, "is for the file system, which the driver mounts itself")),
            None => Ok(()),
        }
    }

    /// Why what is mounted already cannot be shown with these, if so: a file system has the options that it was mounted with.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, naming one that is not among `mounted`.
    pub(crate) fn are_of(&self, mounted: &[String]) -> Result<(), Status> {
        match self.file_system.iter().find(|flag| !mounted.contains(flag)) {
            Some(flag) => Err(refuse(flag, "is for the file system, which is staged without it")),
            None => Ok(()),
        }
    }

    fn at(&mut self, times: Times) -> Result<(), Status> {
        match self.times.replace(times) {
            Some(before) if before != times => {
                Err(status::invalid("the mount flags noatime, relatime and strictatime contradict each other"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The flags of one string: commas part them, but for those between double quotes.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let between = move |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    text.split(between).map(str::trim).filter(|flag| !flag.is_empty())
}

fn refuse(flag: &str, why: &str) -> Status {
    status::invalid(format!("the mount flag {:?} {why}", key(flag)))
}

fn key(flag: &str) -> String {
    excerpt(flag.split('=').next().unwrap_or_default(), 40)
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read_only, nosuid, nodev, noexec, no_directory_times, times, file_system } = self;
        f.debug_struct("Flags")
            .field("read_only", read_only)
            .field("nosuid", nosuid)
            .field("nodev", nodev)
            .field("noexec", noexec)
            .field("no_directory_times", no_directory_times)
            .field("times", times)
            .field("file_system", &file_system.iter().map(|flag| key(flag)).collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(given: &[&str]) -> Result<Flags, Status> {
        Flags::of(&given.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn attributes_and_what_a_file_system_understands_are_told_apart() {
        let none = Flags::default();
        let rows: [(&[&str], Flags); 13] = [
            (&[], none.clone()),
            (&["ro"], Flags { read_only: true, ..none.clone() }),
            (&["rw", "defaults", "async", "exec", "_netdev", "nofail", "x-systemd.automount", ""], none.clone()),
            (&["nosuid", "nodev", "noexec"], Flags { nosuid: true, nodev: true, noexec: true, ..none.clone() }),
            (&["noatime,nodiratime"], Flags { times: Some(Times::None), no_directory_times: true, ..none.clone() }),
            (&["relatime", "relatime"], Flags { times: Some(Times::Some), ..none.clone() }),
            (&["strictatime"], Flags { times: Some(Times::Every), ..none.clone() }),
            (&["discard", "ro"], Flags { read_only: true, file_system: vec!["discard".into()], ..none.clone() }),
            (&["commit=5,data=journal"], {
                Flags { file_system: vec!["commit=5".into(), "data=journal".into()], ..none.clone() }
            }),
            (&["context=\"u:o:t:s0:c1,c2\",discard"], {
                Flags { file_system: vec!["context=\"u:o:t:s0:c1,c2\"".into(), "discard".into()], ..none.clone() }
            }),
            (&["RO"], Flags { file_system: vec!["RO".into()], ..none.clone() }),
            (&["ro=1"], Flags { file_system: vec!["ro=1".into()], ..none.clone() }),
            (&[" nodev , "], Flags { nodev: true, ..none.clone() }),
        ];
        for (given, wanted) in rows {
            let got = flags(given).unwrap();
            assert_eq!(got, wanted, "{given:?}");
            assert_eq!(got.without_file_system().is_ok(), wanted.file_system.is_empty(), "{given:?}");
        }
    }

    #[test]
    fn what_cannot_be_given_is_refused() {
        let rows: [&[&str]; 11] = [
            &["suid"],
            &["dev"],
            &["nodev,dev"],
            &["ro", "rw"],
            &["noatime", "relatime"],
            &["strictatime,noatime"],
            &["bind"],
            &["remount"],
            &["rshared"],
            &["loop"],
            &["a\nb"],
        ];
        for given in rows {
            assert_eq!(flags(given).unwrap_err().code(), tonic::Code::InvalidArgument, "{given:?}");
        }
        assert!(flags(&["x".repeat(4096).as_str()]).is_ok());
        assert!(flags(&["x".repeat(4000).as_str(), "y".repeat(97).as_str()]).is_err());
    }

    #[test]
    fn what_is_mounted_has_the_options_that_it_was_mounted_with() {
        let mounted = ["discard", "commit=30"].map(str::to_owned);
        for given in [&["noexec"][..], &["discard"], &["commit=30,discard"], &[]] {
            flags(given).unwrap().are_of(&mounted).unwrap();
        }
        let told = flags(&["discard", "commit=31"]).unwrap().are_of(&mounted).unwrap_err();
        assert_eq!(told.code(), tonic::Code::InvalidArgument);
        assert!(told.message().contains("commit") && !told.message().contains("31"), "{told:?}");
    }

    #[test]
    fn a_value_is_never_shown() {
        let flags = flags(&["password=hunter2", "ro"]).unwrap();
        let shown = [format!("{flags:?}"), flags.without_file_system().unwrap_err().to_string()];
        for shown in shown {
            assert!(shown.contains("password") && !shown.contains("hunter2"), "{shown}");
        }
        let refused = Flags::of(&["key\u{7}=hunter2".to_owned()]).unwrap_err().to_string();
        assert!(!refused.contains("hunter2") && !refused.contains('\u{7}'), "{refused}");
    }
}
