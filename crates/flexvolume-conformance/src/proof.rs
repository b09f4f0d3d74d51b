//! Whether a process is there for nothing but what the judge began: in a group that a call was, or at work in the judge's folder.
//! Services of the system that a call began (LVM's and NFS's are) carry its mark as well, and may serve others by now.

use std::{collections::BTreeSet, fs, path::Path};

use flexvolume_linux::process::{ProcessId, alive, group_members};

/// Those of `living` that are.
pub(crate) fn ours(living: &[ProcessId], groups: &BTreeSet<u32>, home: &Path) -> BTreeSet<ProcessId> {
    let members: BTreeSet<ProcessId> =
        groups.iter().flat_map(|group| group_members(*group).unwrap_or_default()).collect();
    living.iter().filter(|id| members.contains(id) || works_in(id, home)).copied().collect()
}

/// Whether it works beneath `dir`: by its working directory, its root, its program, a file that it has open, or a path among its
/// arguments. By names alone, since to ask for the files themselves might hang.
fn works_in(process: &ProcessId, dir: &Path) -> bool {
    let proc = Path::new("/proc").join(process.pid.to_string());
    let is_there = |link: &Path| fs::read_link(link).is_ok_and(|path| path.starts_with(dir));
    let mut open = fs::read_dir(proc.join("fd")).into_iter().flatten().flatten();
    let is_named = || {
        let dir = dir.as_os_str().as_encoded_bytes();
        let line = fs::read(proc.join("cmdline")).unwrap_or_default();
        !dir.is_empty() && line.windows(dir.len()).any(|part| part == dir)
    };
    let works =
        ["cwd", "root", "exe"].iter().any(|name| is_there(&proc.join(name))) || open.any(|fd| is_there(&fd.path()));
    (works || is_named()) && alive(process)
}

#[cfg(test)]
mod tests {
    use flexvolume_linux::process::{Kill, Limits, Program, end, own, spawn};

    use super::*;

    #[test]
    fn who_works_in_a_folder_is_told_from_who_does_not() {
        let dir = std::env::temp_dir().join(format!("flexvol-proof-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let shown = dir.display().to_string();
        let nobody = BTreeSet::new();
        for (script, wanted) in [
            ("sleep 60; :".to_owned(), false),
            (format!("cd {shown}; exec sleep 60"), true),
            (format!("exec 9>{shown}/file; exec sleep 60"), true),
            (format!("sleep 60; : {shown}/x"), true),
        ] {
            let mut program = Program::new("/bin/sh");
            // What is named in the script is among the arguments: by another way it must not be.
            program.args = vec!["-c".to_owned().into(), script.clone().into()];
            let running = spawn(&program).unwrap();
            let id = running.id();
            let is_ours = || !ours(&[id], &nobody, &dir).is_empty();
            for _ in 0..1000 {
                if is_ours() == wanted {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            assert_eq!(is_ours(), wanted, "{script}");
            assert_eq!(ours(&[id], &BTreeSet::from([id.pid]), &dir), BTreeSet::from([id]), "its group is a call's");
            assert!(end(&group_members(id.pid).unwrap(), std::time::Duration::from_secs(20), true).is_empty());
            let limits = Limits { answer: std::time::Duration::from_secs(20), kill: Kill::Never };
            let _ = running.wait(&limits, &|_, _| false, &mut |_| ());
            assert!(!is_ours());
        }
        let other = Path::new("/nowhere/at/all");
        assert!(ours(&[own().unwrap()], &nobody, other).is_empty());
        fs::remove_dir_all(&dir).unwrap();
    }
}
