//! Who holds LVM's lock on a volume group: a command that runs long, such as a pvmove, makes all others wait.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use rustix::fs::{major, minor};

use crate::names::VgName;

/// Where LVM keeps its locks, unless lvm.conf says otherwise.
pub(crate) const LOCKS: &str = "/run/lock/lvm";

/// The message, followed by who holds the lock of that group, if anybody is seen to.
pub(crate) fn explain(message: &str, vg: Option<&VgName>) -> String {
    let Some(vg) = vg else { return message.to_owned() };
    let file = Path::new(LOCKS).join(format!("V_{vg}"));
    let Some(pid) = fs::metadata(&file).ok().and_then(|meta| {
        let locks = fs::read_to_string("/proc/locks").ok()?;
        holder(&locks, (major(meta.dev()), minor(meta.dev())), meta.ino())
    }) else {
        return message.to_owned();
    };
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let line: String = words.join(" ").trim().chars().filter(|c| !c.is_control()).take(120).collect();
    format!(
        "{message}; process {pid} ({line}) holds LVM's lock on {vg} ({}); try again when it has ended",
        file.display()
    )
}

/// Who has this very file locked, by the kernel's list: `1: FLOCK  ADVISORY  WRITE 445 00:1a:251 0 EOF`. Those who wait
/// have an arrow before the kind.
fn holder(locks: &str, dev: (u32, u32), inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = words.as_slice() else { return None };
        let parts: Vec<&str> = file.split(':').collect();
        let [hi, lo, number] = parts.as_slice() else { return None };
        let same = u32::from_str_radix(hi, 16) == Ok(dev.0)
            && u32::from_str_radix(lo, 16) == Ok(dev.1)
            && number.parse() == Ok(inode);
        pid.parse().ok().filter(|_| same)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_holder_of_this_file_is_named() {
        let locks = "1: POSIX  ADVISORY  WRITE 182 00:1a:251 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 7 00:1a:251 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 444 00:1b:251 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 445 00:1a:251 0 EOF\n";
        assert_eq!(holder(locks, (0, 0x1a), 251), Some(445));
        assert_eq!(holder(locks, (0, 0x1a), 252), None);
        assert_eq!(holder("rubbish\n1: FLOCK", (0, 0x1a), 251), None);
    }

    #[test]
    fn without_a_holder_the_message_stays_as_it_is() {
        let vg = VgName::parse("no-such-group-here").unwrap();
        assert_eq!(explain("busy", Some(&vg)), "busy");
        assert_eq!(explain("busy", None), "busy");
    }
}
