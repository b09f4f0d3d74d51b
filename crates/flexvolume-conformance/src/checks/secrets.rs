//! Secrets: the driver gets one that is like no other text, and nobody else may see it.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use flexvolume_linux::process;
use flexvolume_protocol::Mount;

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
    Ok(())
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
