//! Where a driver's words for its administrator go: a file, syslog, or nowhere; never the standard streams.

use std::{
    cell::OnceCell,
    fmt::Display,
    fs::{File, OpenOptions},
    io::Write,
    os::unix::{fs::OpenOptionsExt, net::UnixDatagram},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use flexvolume_protocol::excerpt;

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
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86400, seconds % 86400);
    // Days since 1 March of year 0, counted in eras of 400 years, so that the leap day comes last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_right() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
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
