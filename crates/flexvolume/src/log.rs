//! Where a driver's words for its administrator go: a file, syslog, or nowhere; never the standard streams.

use std::{
    cell::OnceCell,
    fmt::Display,
    fs::{File, OpenOptions},
    io::Write,
    os::unix::{fs::OpenOptionsExt, net::UnixDatagram},
    path::Path,
    time::SystemTime,
};

use flexvolume_protocol::{Timestamp, excerpt};

/// The socket of the machine's log.
const SYSLOG: &str = "/dev/log";
/// Facility daemon, severity info.
const PRIORITY: u8 = 3 << 3 | 6;
/// Longer lines are cut; syslog takes no more in any case.
const LONGEST: usize = 4000;

/// What the setting `log` says: `"syslog"`, or the absolute path of a file.
pub(crate) struct Log {
    tag: String,
    to: OnceCell<Target>,
}

enum Target {
    Nowhere,
    File(File),
    Syslog(UnixDatagram),
}

impl Log {
    pub(crate) fn new(tag: &str) -> Self {
        Self { tag: tag.to_owned(), to: OnceCell::new() }
    }

    /// Writes one line. A log that cannot be written is no reason for a call to fail.
    pub(crate) fn line(&self, setting: Option<&str>, message: impl Display) {
        let target = self.to.get_or_init(|| open(setting));
        let text = || excerpt(&message.to_string(), LONGEST);
        let pid = std::process::id();
        match target {
            Target::Nowhere => {}
            // One write per line: lines of drivers that run at once do not mix.
            Target::File(file) => {
                let line = format!("{} {}[{pid}]: {}\n", utc(SystemTime::now()), self.tag, text());
                let _ = (&*file).write_all(line.as_bytes());
            }
            Target::Syslog(socket) => {
                let _ = socket.send(format!("<{PRIORITY}>{}[{pid}]: {}", self.tag, text()).as_bytes());
            }
        }
    }
}

fn open(setting: Option<&str>) -> Target {
    match setting {
        Some("syslog") => socket().map_or(Target::Nowhere, Target::Syslog),
        Some(path) if Path::new(path).is_absolute() => {
            OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_or(Target::Nowhere, Target::File)
        }
        Some(_) | None => Target::Nowhere,
    }
}

/// Never waits for a reader: a log that is full loses lines, a driver that hangs loses more.
fn socket() -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(SYSLOG)?;
    Ok(socket)
}

/// `2025-11-21T03:04:05Z`.
fn utc(time: SystemTime) -> Timestamp {
    let time = Timestamp::from(time);
    Timestamp::from_unix(time.seconds(), 0).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_whole_seconds() {
        let time = UNIX_EPOCH + Duration::from_millis(951_782_399_999);
        assert_eq!(utc(time).to_string(), "2000-02-28T23:59:59Z");
    }

    #[test]
    fn a_line_is_one_line_and_a_bad_setting_is_silent() {
        let tmp = tempfile::tempdir().unwrap();
        let file = tmp.path().join("log");
        let log = Log::new("vendor/x");
        log.line(file.to_str(), "one\ntwo");
        log.line(file.to_str(), "three");
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.len() == 2 && lines[0].ends_with(r"one\ntwo") && lines[1].contains("vendor/x["), "{text}");
        Log::new("x").line(Some("relative"), "nothing");
        Log::new("x").line(Some("/nowhere/at/all"), "nothing");
        Log::new("x").line(None, "nothing");
    }
}
