//! mount(8)'s helper programs, for the file systems that the kernel cannot mount from options alone.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use zeroize::Zeroizing;

use super::{Flags, FsMount, Presence, Unmount, look, set_flags, unmount};
use crate::{
    Error, ErrorKind, Result,
    process::{How, Kill, Limits, Program, spawn},
};

const DIRECTORIES: [&str; 2] = ["/sbin", "/usr/sbin"];

/// The helper for a type: `mount.fuse.sshfs`, else `mount.fuse` for `fuse.sshfs`.
pub(super) fn find(fs_type: &str) -> Option<PathBuf> {
    let plain = |name: &str| !name.is_empty() && !name.contains(['/', '\0']);
    let base = fs_type.split_once('.').map(|(base, _)| base);
    let names = std::iter::once(fs_type).chain(base).filter(|name| plain(name));
    let mut paths = names.flat_map(|name| DIRECTORIES.map(|dir| Path::new(dir).join(format!("mount.{name}"))));
    paths.find(|path| path.is_file())
}

/// Runs the helper, for as long as it likes, and makes sure of what it did.
pub(super) fn run(program: &Path, wanted: &FsMount<'_>, read_only: bool, target: &Path) -> Result<()> {
    run_within(program, wanted, read_only, target, Kill::Never)
}

/// The same; this is done to one that does not end.
pub(super) fn run_within(
    program: &Path,
    wanted: &FsMount<'_>,
    read_only: bool,
    target: &Path,
    kill: Kill,
) -> Result<()> {
    let before = look(target)?;
    if before == Presence::Symlink {
        let context = format!("cannot mount at {}: it is a symbolic link", target.display());
        return Err(Error::new(ErrorKind::Refused, context).with_hint("name the place that it leads to"));
    }
    let flags = Flags { read_only, ..wanted.flags };
    let text = target.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("cannot mount at {}: the path is not UTF-8", target.display()))
    })?;
    let said = call(program, &arguments(program, wanted, flags, text)?, kill)?;
    let after = look(target)?;
    let mounted = matches!(after, Presence::Mount(_)) && after != before;
    let done = match (said, mounted) {
        (None, true) => set_flags(target, flags),
        (None, false) => {
            let context =
                format!("{} says that it mounted {}, but nothing is there", program.display(), target.display());
            Err(Error::new(ErrorKind::Io, context))
        }
        (Some(text), _) => {
            let context = format!("cannot mount {} at {}", wanted.fs_type, target.display());
            Err(Error::new(ErrorKind::Io, context).with_cause(format!("{}: {text}", program.display())))
        }
    };
    if done.is_err() && mounted {
        // The first error is the one to tell; a mount that stays is seen by whoever looks next.
        let _ = unmount(target, Unmount::Plain);
    }
    done
}

fn arguments(program: &Path, wanted: &FsMount<'_>, flags: Flags, target: &str) -> Result<Vec<Zeroizing<String>>> {
    let mut options = Vec::new();
    for (set, word) in
        [(flags.read_only, "ro"), (flags.nosuid, "nosuid"), (flags.nodev, "nodev"), (flags.noexec, "noexec")]
    {
        options.extend(set.then(|| word.to_owned()));
    }
    for (key, value) in wanted.options {
        if key.contains(',') || value.as_ref().is_some_and(|value| value.contains(',')) {
            let context = format!("cannot mount {}: option {key} holds a comma", wanted.fs_type);
            return Err(Error::new(ErrorKind::Invalid, context).with_hint("give each option by itself"));
        }
        let option = value.as_ref().map_or_else(|| key.clone(), |value| format!("{key}={value}"));
        if !options.contains(&option) {
            options.push(option);
        }
    }
    let mut words = vec![wanted.source.unwrap_or("none").to_owned(), target.to_owned()];
    // A source such as "-v" would be read as an option.
    if words.iter().any(|word| word.starts_with('-')) {
        let context = format!("cannot mount {}: source and target may not begin with a dash", wanted.fs_type);
        return Err(Error::new(ErrorKind::Invalid, context));
    }
    if !options.is_empty() {
        words.extend(["-o".to_owned(), options.join(",")]);
    }
    let own_name = format!("mount.{}", wanted.fs_type);
    if program.file_name().is_some_and(|name| name != own_name.as_str()) {
        words.extend(["-t".to_owned(), wanted.fs_type.to_owned()]);
    }
    Ok(words.into_iter().map(Zeroizing::new).collect())
}

/// `None` if the program says that it succeeded, else what it said. A daemon that it leaves behind may keep its output open;
/// that is not waited for.
fn call(program: &Path, args: &[Zeroizing<String>], kill: Kill) -> Result<Option<String>> {
    let program = Program { args: args.to_vec(), ..Program::new(program) };
    // Its answer is its end: whoever holds its output then is not waited for.
    let limits = Limits { answer: Duration::ZERO, kill };
    let outcome = spawn(&program)?.wait(&limits, &|_, _| false, &mut |_| {});
    let how = match outcome.how {
        How::Exited(0) => return Ok(None),
        How::Exited(code) => format!("exit code {code}"),
        How::Killed { .. } => match kill {
            Kill::After { at, .. } | Kill::Ask { at } => format!("it did not end within {at:?}"),
            Kill::Never => "it was ended".to_owned(),
        },
        How::Signalled(signal) => format!("ended by signal {signal}"),
        How::Stayed(id) | How::Stuck(id) => format!("process {} does not end", id.pid),
    };
    let stderr = String::from_utf8_lossy(&outcome.stderr).trim().to_owned();
    Ok(Some(if stderr.is_empty() { how } else { format!("{stderr} ({how})") }))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, time::Instant};

    use super::*;
    use crate::mount::{table, testing::private_mounts};

    fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    const WANTED: FsMount<'_> = FsMount {
        fs_type: "fuse.thing",
        source: Some("server:/a b"),
        options: &[],
        flags: Flags { read_only: true, nosuid: true, nodev: true, noexec: false },
    };

    #[test]
    fn a_helper_is_called_as_mount_calls_it() {
        let options = [("vers".to_owned(), Some("4.2".to_owned())), ("soft".to_owned(), None), ("ro".to_owned(), None)];
        let wanted = FsMount { options: &options, ..WANTED };
        let words = |program: &str| -> Vec<String> {
            let args = arguments(Path::new(program), &wanted, wanted.flags, "/mnt/x").unwrap();
            args.iter().map(|word| word.to_string()).collect()
        };
        let own = ["server:/a b", "/mnt/x", "-o", "ro,nosuid,nodev,vers=4.2,soft"];
        assert_eq!(words("/sbin/mount.fuse.thing"), own);
        assert_eq!(words("/sbin/mount.fuse"), [&own[..], &["-t", "fuse.thing"]].concat());
        let options = [("credentials".to_owned(), Some("x,suid".to_owned()))];
        let smuggled = FsMount { options: &options, ..WANTED };
        assert_eq!(arguments(Path::new("x"), &smuggled, WANTED.flags, "/x").unwrap_err().kind(), ErrorKind::Invalid);
        assert!(arguments(Path::new("x"), &FsMount { source: Some("-f"), ..WANTED }, WANTED.flags, "/x").is_err());
        assert_eq!(find("no/../such"), None);
    }

    #[test]
    fn what_a_helper_did_is_made_sure_of() {
        private_mounts(|tmp| {
            let at = tmp.join("m");
            fs::create_dir(&at).unwrap();
            // It forgets every flag, as some do.
            let good = script(tmp, "good", r#"exec mount -i -t tmpfs helped "$2""#);
            run(&good, &WANTED, true, &at).unwrap();
            let mounted = table::at(&at).unwrap().unwrap();
            assert_eq!(mounted.source, "helped");
            assert!(mounted.read_only && mounted.nosuid && mounted.nodev);
            unmount(&at, Unmount::Plain).unwrap();

            let liar = script(tmp, "liar", "exit 0");
            assert!(run(&liar, &WANTED, true, &at).unwrap_err().to_string().contains("nothing is there"));
            let bad = script(tmp, "bad", r#"mount -i -t tmpfs x "$2"; echo access denied by server >&2; exit 32"#);
            let error = run(&bad, &WANTED, true, &at).unwrap_err();
            assert!(error.story().ends_with("access denied by server (exit code 32)"), "{}", error.story());
            assert_eq!(look(&at).unwrap(), Presence::Plain, "what a failed helper mounted is taken away");
        });
    }
    #[test]
    fn a_helper_is_waited_for_until_its_end_and_no_daemon_of_it_is() {
        private_mounts(|tmp| {
            let at = tmp.join("m");
            fs::create_dir(&at).unwrap();
            let left = script(tmp, "left", r#"sleep 50 & echo $! >"${0%/*}/pid"; exec mount -i -t tmpfs x "$2""#);
            let kill = Kill::After { at: Duration::from_secs(40), grace: Duration::from_secs(1) };
            for kill in [kill, Kill::Never] {
                let begun = Instant::now();
                run_within(&left, &WANTED, false, &at, kill).unwrap();
                let took = begun.elapsed();
                let daemon = fs::read_to_string(tmp.join("pid")).unwrap().trim().parse().unwrap();
                rustix::process::kill_process(
                    rustix::process::Pid::from_raw(daemon).unwrap(),
                    rustix::process::Signal::KILL,
                )
                .unwrap();
                assert!(took < Duration::from_secs(20), "{took:?}");
                unmount(&at, Unmount::Plain).unwrap();
            }
            let slow = script(tmp, "slow", "exec sleep 50");
            let kill = Kill::After { at: Duration::from_millis(200), grace: Duration::from_secs(1) };
            let error = run_within(&slow, &WANTED, false, &at, kill).unwrap_err();
            assert!(error.story().contains("did not end within 200ms"), "{}", error.story());
        });
    }
}
