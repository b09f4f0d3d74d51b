//! The programs a script calls that are not there: looked for as the script itself would find them.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use flexvolume_linux::process::{on_path, runnable};
use serde::{Deserialize, Serialize};

use super::{
    script::{
        known::is_builtin,
        scan::{Reach, Scan, scan},
    },
    sight::is_installed,
};

/// A program that is called and not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Missing {
    pub(crate) program: String,
    /// Where it is called first.
    pub(crate) line: u32,
    pub(crate) sure: Sure,
    /// It lies beside the driver, where PATH does not lead.
    pub(crate) beside: bool,
    /// It is named by a path, and is on PATH in another folder.
    pub(crate) elsewhere: bool,
}

/// How sure it is that the driver fails without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Sure {
    /// The script copes: it asks whether the program is there, or does not mind a failure. Or it is not known what else
    /// the script reads in.
    Hardly,
    /// It is called in some case only.
    Sometimes,
    /// Whenever that part of the script is run.
    Surely,
}

/// Scripts that scripts read in, no deeper than this.
const DEPTH: u32 = 4;
/// Types of file systems that need a program of their own to be mounted.
const HELPED: &[&str] = &["cifs", "nfs", "nfs4", "davfs", "glusterfs", "ntfs-3g", "ceph", "fuse.sshfs", "sshfs"];

/// What is missing of what `scan`, a script in `folder`, calls.
pub(crate) fn missing(mut scan: Scan, folder: &Path) -> Vec<Missing> {
    let mut blind = false;
    read_in(&mut scan, folder, &mut blind, DEPTH);
    let (path, guessed) = path_of(&scan.paths, folder, &env::var("PATH").unwrap_or_default());
    let mut found: BTreeMap<String, Missing> = BTreeMap::new();
    for call in &scan.calls {
        let is_mount = call.name == "mount" && !scan.functions.contains("mount");
        let helper = is_mount.then(|| mount_helper(&call.words)).flatten();
        // A file system can be mounted without its helper, if its options say enough.
        let helper = helper.map(|helper| (helper, call.reach.min(Reach::Maybe)));
        for (program, reach) in [Some((call.name.clone(), call.reach)), helper].into_iter().flatten() {
            if !is_program(&program) || is_builtin(&program) || scan.functions.contains(&program) {
                continue;
            }
            if is_there(&program, &path) {
                continue;
            }
            let sure = match reach {
                _ if blind || scan.asked.contains(&program) => Sure::Hardly,
                Reach::Forgiven => Sure::Hardly,
                Reach::Maybe => Sure::Sometimes,
                Reach::Always if guessed => Sure::Sometimes,
                Reach::Always => Sure::Surely,
            };
            let beside = !program.contains('/') && runnable(&folder.join(&program));
            let elsewhere = program.starts_with('/') && program.rsplit('/').next().is_some_and(is_installed);
            let new = Missing { program: program.clone(), line: call.line, sure, beside, elsewhere };
            found.entry(program).and_modify(|old| old.sure = old.sure.max(sure)).or_insert(new);
        }
    }
    let mut missing: Vec<_> = found.into_values().collect();
    missing.sort_by_key(|missing| missing.line);
    missing
}

/// A literal name or an absolute path, and nothing a shell would make something else of.
fn is_program(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.+/".contains(c));
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    plain && begins && (name.starts_with('/') || !name.contains('/'))
}

fn is_there(program: &str, path: &OsString) -> bool {
    if program.starts_with('/') {
        return runnable(Path::new(program));
    }
    // mount looks for its helpers in /sbin, wherever PATH leads.
    on_path(program, path).is_some() || (program.starts_with("mount.") && runnable(&Path::new("/sbin").join(program)))
}

/// The helper that `mount -t TYPE` needs, if it needs one.
fn mount_helper(words: &[Option<String>]) -> Option<String> {
    let at = words.iter().position(|word| word.as_deref() == Some("-t"))?;
    let fs_type = words.get(at + 1)?.as_deref()?;
    HELPED.contains(&fs_type).then(|| format!("mount.{fs_type}"))
}

/// Adds what the scripts that are read in define; `blind` if one of them cannot be found.
fn read_in(scan_of: &mut Scan, folder: &Path, blind: &mut bool, depth: u32) {
    for source in std::mem::take(&mut scan_of.sources) {
        let text = sourced(&source, folder).filter(|_| depth > 0).and_then(|file| fs::read(file).ok());
        let Some(text) = text else {
            *blind = true;
            continue;
        };
        let mut inner = scan(&String::from_utf8_lossy(&text));
        read_in(&mut inner, folder, blind, depth - 1);
        *blind |= inner.lost.is_some();
        scan_of.functions.append(&mut inner.functions);
        scan_of.paths.append(&mut inner.paths);
    }
}

/// The file that a script names: by an absolute path, or beside the driver whatever the words before its name come to.
fn sourced(written: &str, folder: &Path) -> Option<PathBuf> {
    let plain = written.trim_matches(['"', '\'']);
    if plain.starts_with('/') && !plain.contains('$') {
        return Some(plain.into());
    }
    let name = plain.rsplit('/').next().filter(|name| !name.contains(['$', '`', ')', '"']))?;
    let beside = folder.join(name);
    beside.is_file().then_some(beside)
}

/// Where the script looks: `here` is our PATH, which it inherits. `true` if a part of what it sets cannot be known.
fn path_of(settings: &[String], folder: &Path, here: &str) -> (OsString, bool) {
    let mut path = here.to_owned();
    let mut guessed = false;
    for setting in settings {
        let parts = setting.trim_matches(['"', '\'']).split(':').map(|part| match part.trim_matches(['"', '\'']) {
            "$PATH" | "${PATH}" => path.clone(),
            part if part.starts_with('/') && !part.contains(['$', '`']) => part.to_owned(),
            _ => {
                // `$(dirname "$0")` and the like: beside the driver, most likely.
                guessed = true;
                folder.display().to_string()
            }
        });
        path = parts.collect::<Vec<_>>().join(":");
    }
    (path.into(), guessed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn of(text: &str, folder: &Path) -> Vec<(String, u32, Sure)> {
        let missing = missing(scan(text), folder).into_iter();
        missing.map(|missing| (missing.program, missing.line, missing.sure)).collect()
    }

    fn of_here(text: &str) -> Vec<(String, u32, Sure)> {
        of(text, Path::new("/nowhere"))
    }

    #[test]
    fn only_what_is_called_and_not_there_is_missing() {
        let one = |text: &str, sure| assert_eq!(of_here(text), [("no-jq".to_owned(), 1, sure)], "{text}");
        one("no-jq .", Sure::Surely);
        one("x=$(echo {} | no-jq .); no-jq y", Sure::Surely);
        one("if a() { :; }; true; then no-jq .; fi", Sure::Sometimes);
        one("no-jq . || true", Sure::Hardly);
        one("JQ=no-jq\n$JQ .".replace('\n', "; ").as_str(), Sure::Surely);
        one("command -v no-jq || exit 1; no-jq .", Sure::Hardly);
        one("PATH=$PATH:$(dirname $0); no-jq .", Sure::Sometimes);
        one(". $UNKNOWN/x.sh; no-jq .", Sure::Hardly);
        for fine in [
            "ls; cat; [ a ]; echo; /bin/sh; printf x",
            "no-jq() { :; }; no-jq",
            "$x; \"$y\" z; ./no-jq",
            "JQ=no-jq; JQ=ls; \"$JQ\"",
            "a=no-jq",
        ] {
            assert_eq!(of_here(fine), [], "{fine}");
        }
        assert_eq!(of_here("true\n/nowhere/tool"), [("/nowhere/tool".to_owned(), 2, Sure::Surely)]);
    }

    #[test]
    fn what_is_read_in_counts() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lib.sh"), "no-jq() { :; }\n. ./more.sh\n").unwrap();
        fs::write(dir.path().join("more.sh"), "no-nc() { :; }\n").unwrap();
        assert_eq!(of(". \"$(dirname \"$0\")/lib.sh\"; no-jq; no-nc", dir.path()), []);
        let tool = dir.path().join("no-tool");
        fs::write(&tool, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(of("PATH=\"$PATH:${0%/*}\"; no-tool", dir.path()), []);
        let missing = missing(scan("no-tool"), dir.path());
        assert!(missing[0].beside && missing[0].sure == Sure::Surely, "{missing:?}");
    }

    #[test]
    fn a_mount_names_its_helper() {
        let words = |text: &str| text.split(' ').map(|word| Some(word.to_owned())).collect::<Vec<_>>();
        assert_eq!(mount_helper(&words("-o ro -t cifs //a/b /c")).as_deref(), Some("mount.cifs"));
        assert_eq!(mount_helper(&words("-t tmpfs none /c")), None);
        assert_eq!(mount_helper(&words("-t")), None);
    }

    #[test]
    fn the_scripts_own_path_is_followed() {
        let path = |setting: &str| path_of(&[setting.to_owned()], Path::new("/d"), "/bin");
        assert_eq!(path("\"/opt/bin:$PATH\""), ("/opt/bin:/bin".into(), false));
        assert_eq!(path("${PATH}:$DIR/bin"), ("/bin:/d".into(), true));
        assert_eq!(path("/sbin"), ("/sbin".into(), false));
    }
}
