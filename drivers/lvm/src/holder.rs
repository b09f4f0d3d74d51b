//! Who holds LVM's lock on a volume group: a command that runs long, such as a pvmove, makes all others wait.

use std::{fs, path::Path};

use flexvolume_linux::process::lock_holders;

use crate::names::VgName;

/// Where LVM keeps its locks, unless lvm.conf says otherwise.
pub(crate) const LOCKS: &str = "/run/lock/lvm";

/// The message, followed by who holds the lock of that group, if anybody is seen to.
pub(crate) fn explain(message: &str, vg: Option<&VgName>) -> String {
    match vg {
        Some(vg) => held(message, &Path::new(LOCKS).join(format!("V_{vg}")), vg),
        None => message.to_owned(),
    }
}

fn held(message: &str, file: &Path, vg: &VgName) -> String {
    let Some(holder) = lock_holders(file).unwrap_or_default().into_iter().next() else { return message.to_owned() };
    let line = fs::read(format!("/proc/{holder}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let line: String = words.join(" ").trim().chars().filter(|c| !c.is_control()).take(120).collect();
    let file = file.display();
    format!("{message}; process {holder} ({line}) holds LVM's lock on {vg} ({file}); try again when it has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_the_lock_is_named() {
        let tmp = tempfile::tempdir().unwrap();
        let (file, vg) = (tmp.path().join("V_vg"), VgName::parse("vg").unwrap());
        assert_eq!(held("no answer", &file, &vg), "no answer", "there is no lock");
        let lock = fs::File::create(&file).unwrap();
        assert_eq!(held("no answer", &file, &vg), "no answer", "nobody holds it");
        lock.lock().unwrap();
        let told = held("no answer", &file, &vg);
        assert!(told.contains(&format!("process {} (", std::process::id())) && told.contains("V_vg"), "{told}");
        assert_eq!(explain("no answer", None), "no answer");
    }
}
