//! Secrets: the driver gets one that is like no other text, and nobody else may see it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use flexvolume_linux::process;
use flexvolume_protocol::{Mount, Unmount};

use crate::{
    bed::Bed,
    check::{Check, row},
    level::Severity::{Must, Should},
    life::make,
    stop::{Verdict, fault, skip},
};

pub(crate) const CHECKS: &[Check] = &[
    row(
        "secrets.answer",
        Must,
        "no answer repeats a secret: hosts write answers to logs and events",
        "contract: Options",
        "print neither secrets nor options, and take secrets out of what other programs print",
        &["mount.mounts"],
        answer,
    ),
    row(
        "secrets.argv",
        Should,
        "no other program is given a secret in its arguments: everybody on the node can read them in /proc",
        "contract: Options",
        "hand secrets to programs by a pipe, by a file that root alone may read, or by the environment",
        &["mount.mounts"],
        argv,
    ),
    row(
        "secrets.files",
        Should,
        "no secret stays in a file beside the volume once it is down",
        "contract: Options",
        "remove the file of credentials as soon as it was read, or in `unmount`",
        &["mount.mounts", "unmount.undoes"],
        files,
    ),
    row(
        "secrets.logs",
        Should,
        "no secret is written to a file beside the driver's executable: many log there, and logs are read by many and kept for long",
        "contract: Options",
        "log the names of options and never their values, and trace no shell (`set -x`) that has them",
        &["mount.mounts", "unmount.undoes"],
        logs,
    ),
];

fn shows(needles: &[String], text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    needles.iter().any(|needle| text.contains(needle.as_str()))
}

/// The mount of a pod, with the judge's secret.
fn call(bed: &mut Bed<'_>, n: usize) -> Result<Mount, crate::stop::Stop> {
    let volume = bed.volume()?;
    bed.ready(&volume)?;
    let pod = bed.pod(n, &volume)?;
    make(pod.dir.as_path())?;
    bed.up.pods.insert(n);
    let options = bed.pod_options(&volume, &pod, false).with_secrets(bed.secrets());
    Ok(Mount { dir: pod.dir, options })
}

fn answer(bed: &mut Bed<'_>) -> Verdict {
    let good = call(bed, 1)?;
    let mut bad = call(bed, 2)?;
    // One that is likely to fail, for failures say the most.
    bad.options.insert("kubernetes.io/fsType", "flexvol-check-none");
    for call in [good, bad] {
        let heard = bed.caller.ask(&call)?;
        if shows(&bed.needles(), &heard.raw) {
            return fault("the answer to mount holds the secret that it was given");
        }
    }
    // Who keeps it may tell it later.
    let volume = bed.volume()?;
    let dir = bed.pod(1, &volume)?.dir;
    let heard = bed.caller.ask(&Unmount { dir })?;
    match shows(&bed.needles(), &heard.raw) {
        true => fault("the answer to unmount holds a secret that mount was given"),
        false => Ok(()),
    }
}

fn argv(bed: &mut Bed<'_>) -> Verdict {
    let call = call(bed, 1)?;
    if bed.host_mounts {
        return skip("the driver leaves mount to the host");
    }
    let done = AtomicBool::new(false);
    let (needles, only_ours) = (bed.needles(), bed.own_needles());
    let (own, exe) = (std::process::id(), bed.job.driver.display().to_string());
    let watch = || {
        let mut seen = None;
        while seen.is_none() && !done.load(Ordering::Relaxed) {
            for (pid, words) in process::command_lines().unwrap_or_default() {
                // The driver itself has it there by the contract; so has whatever runs it.
                let is_driver = words.contains(&exe);
                let shows = |needles: &[String]| words.iter().any(|word| needles.iter().any(|n| word.contains(n)));
                // A secret of the description may be in use elsewhere on this machine.
                if pid != own && !is_driver && (shows(&only_ours) || shows(&needles) && bed.is_marked(pid)) {
                    seen = words.first().cloned();
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        seen
    };
    let caller = &bed.caller;
    let (seen, heard) = thread::scope(|scope| {
        let watcher = scope.spawn(watch);
        let heard = caller.ask(&call);
        done.store(true, Ordering::Relaxed);
        (watcher.join().ok().flatten(), heard)
    });
    heard?;
    match seen {
        Some(program) => fault(format!("{program} was given the secret in its arguments")),
        None => Ok(()),
    }
}

fn files(bed: &mut Bed<'_>) -> Verdict {
    let volume = bed.volume()?;
    let call = call(bed, 1)?;
    bed.caller.ask(&call)?.done("mount")?;
    bed.down(&volume, 1)?;
    bed.unstage(&volume)?;
    // Beside the volume, where the driver may have put it; what else lies there is not looked into.
    let parts = ["pods", "plugins"].map(|part| bed.home().join(part));
    let needles = bed.needles();
    let found = bed.reach("looking for the secret in files", move || {
        let mut left = FILES;
        Ok(parts.iter().find_map(|part| holds(&needles, part, &mut left)))
    })?;
    match found {
        Ok(Some(path)) => fault(format!("{path} holds the secret after the volume went")),
        Ok(None) | Err(_) => Ok(()),
    }
}

/// Where a driver is, its log often is as well. What it wrote there during a volume's life is looked into, and nothing else.
fn logs(bed: &mut Bed<'_>) -> Verdict {
    let volume = bed.volume()?;
    let Some(folder) = bed.job.driver.parent().map(Path::to_owned) else { return skip("the driver is in no folder") };
    let before = lengths(&folder);
    let call = call(bed, 1)?;
    bed.caller.ask(&call)?.done("mount")?;
    bed.down(&volume, 1)?;
    bed.unstage(&volume)?;
    for (path, length) in lengths(&folder) {
        let from = before.get(&path).copied().filter(|before| *before <= length).unwrap_or(0);
        let mut added = Vec::new();
        let read = File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::Start(from))?;
            file.take(ADDED).read_to_end(&mut added)
        });
        if read.is_ok() && shows(&bed.needles(), &added) {
            return fault(format!("{} got the secret that mount was given", path.display()));
        }
    }
    Ok(())
}

/// How much of what a file got is looked into.
const ADDED: u64 = 1 << 20;

/// How long each file in this folder is; links are none.
fn lengths(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(FILES);
    let file = |entry: fs::DirEntry| Some((entry.path(), entry.metadata().ok().filter(fs::Metadata::is_file)?.len()));
    entries.filter_map(file).collect()
}

/// How many files are looked into at most.
const FILES: usize = 10_000;

/// The first file that holds one of them. Links are not followed, and other file systems are not entered.
fn holds(needles: &[String], dir: &Path, left: &mut usize) -> Option<String> {
    let dev = fs::symlink_metadata(dir).ok()?.dev();
    fs::read_dir(dir).ok()?.flatten().find_map(|entry| {
        *left = left.checked_sub(1)?;
        // Of a mount's root this is the number of what is mounted.
        let meta = fs::symlink_metadata(entry.path()).ok().filter(|meta| meta.dev() == dev)?;
        if meta.is_dir() {
            return holds(needles, &entry.path(), left);
        }
        let is_small = meta.is_file() && meta.len() < 1 << 20;
        (is_small && shows(needles, &fs::read(entry.path()).ok()?)).then(|| entry.path().display().to_string())
    })
}
