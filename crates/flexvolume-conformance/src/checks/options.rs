//! Options that a driver does not know, does not get, or would rather not have got.

use std::fs;

use flexvolume_protocol::{Came, Mount, Options, UserOptions, keys};

use crate::{
    bed::{Bed, Volume},
    check::{Check, row},
    level::Severity::Must,
    life::make,
    stop::{Verdict, fault, skip},
};

pub(crate) const CHECKS: &[Check] = &[
    row(
        "options.unknown",
        Must,
        "options that the driver does not know do not disturb it: hosts have new ones every few years",
        "contract: Options",
        "read the options that are needed and pass over the rest",
        &["mount.mounts"],
        |bed| mounts(bed, &[("flexvolcheck.io/unknown", "x".into()), ("check", "y".into())]),
    ),
    row(
        "options.fs-group-new",
        Must,
        "`kubernetes.io/mounterArgs.FsGroup` does not disturb: so Kubernetes 1.15 and later spell the pod's group",
        "contract: Options",
        "read the group under both of its names, or under none",
        &["mount.mounts"],
        |bed| mounts(bed, &[(keys::FS_GROUP_ARGS, "2000".into())]),
    ),
    row(
        "options.fs-group-old",
        Must,
        "`kubernetes.io/fsGroup` does not disturb: so Kubernetes 1.6 to 1.14 spell the pod's group",
        "contract: Options",
        "read the group under both of its names, or under none",
        &["mount.mounts"],
        |bed| mounts(bed, &[(keys::FS_GROUP, "2000".into())]),
    ),
    row(
        "options.no-fs-type",
        Must,
        "`kubernetes.io/fsType` may be empty: it is whenever a volume does not name one",
        "contract: Options",
        "take a default for an empty type",
        &["mount.mounts"],
        no_fs_type,
    ),
    row(
        "options.base-only",
        Must,
        "with the three keys that are always there and no option, `mount` mounts or fails: a host that was restarted knows no more",
        "contract: Options",
        "answer Failure and say which option is missing",
        &["init.answers"],
        base_only,
    ),
    row(
        "options.blanks",
        Must,
        "values may hold blanks",
        "contract: Options",
        "read the options with a JSON parser, and quote every variable of a shell",
        &["options.unknown"],
        |bed| mounts(bed, &[("check", "two  words and a\ttab ".into())]),
    ),
    row(
        "options.quotes",
        Must,
        "values may hold quotes and backslashes",
        "contract: Options",
        "read the options with a JSON parser, and quote every variable of a shell",
        &["options.unknown"],
        |bed| mounts(bed, &[("check", r#"a"b'c\d\"e"#.into())]),
    ),
    row(
        "options.lines",
        Must,
        "values may hold line breaks",
        "contract: Options",
        "do not read options line by line",
        &["options.unknown"],
        |bed| mounts(bed, &[("check", "one\ntwo\r\nthree\n".into())]),
    ),
    row(
        "options.unicode",
        Must,
        "values may hold any text",
        "contract: Options",
        "do not count bytes as letters, and do not refuse what is not ASCII",
        &["options.unknown"],
        |bed| mounts(bed, &[("check", "größe-容量-\u{1f4be}-\u{2028}-<&>".into())]),
    ),
    row(
        "options.large",
        Must,
        "values may be long: 100 KiB come in one argument",
        "contract: A call",
        "hand options to other programs by a pipe or a file, not in argv or the environment",
        &["options.unknown"],
        |bed| mounts(bed, &[("check", "x".repeat(100 * 1024))]),
    ),
    row(
        "options.injection",
        Must,
        "no value is ever run: whoever may write a volume would own the node",
        "contract: Options",
        "quote every variable of a shell, never use eval on a value, and read JSON with a JSON parser",
        &["options.unknown"],
        injection,
    ),
];

/// Comes up with these options beside its own.
fn mounts(bed: &mut Bed<'_>, more: &[(&str, String)]) -> Verdict {
    let volume = bed.volume()?;
    bed.ready(&volume)?;
    let pod = bed.pod(1, &volume)?;
    let mut options = bed.pod_options(&volume, &pod, false);
    more.iter().for_each(|(key, value)| options.insert(*key, value.clone()));
    bed.mount_with(&volume, 1, options)?;
    match bed.mounted(&pod.dir)? {
        Some(_) => Ok(()),
        None => fault("mount succeeded, and nothing is mounted"),
    }
}

/// A volume that is described with a type may hold that one already: then a failure in words is right.
fn no_fs_type(bed: &mut Bed<'_>) -> Verdict {
    let named = !bed.job.volume.fs_type.is_empty();
    match mounts(bed, &[(keys::FS_TYPE, String::new())]) {
        Err(crate::stop::Stop::Fault(_)) if named => skip(
            "the volume is described with a type, and without one it does not come up: describe one without a type",
        ),
        verdict => verdict,
    }
}

/// Any answer will do that is true.
fn base_only(bed: &mut Bed<'_>) -> Verdict {
    let volume = Volume { options: UserOptions::default(), id: None, ..bed.volume()? };
    let pod = bed.pod(1, &volume)?;
    bed.up.pods.insert(1);
    make(pod.dir.as_path())?;
    let options = bed.options(&volume);
    let heard = bed.caller.ask(&Mount { dir: pod.dir.clone(), options })?;
    match (heard.came, bed.mounted(&pod.dir)?) {
        (Ok(Came::Done(())), None) => fault("mount with the base keys alone succeeded, and mounted nothing"),
        (Ok(Came::Done(())), Some(_)) | (Ok(Came::NotSupported | Came::InProgress) | Err(_), _) => Ok(()),
    }
}

/// Values that would leave a file behind if a shell ran them.
fn injection(bed: &mut Bed<'_>) -> Verdict {
    let canary = bed.home().join("canary");
    let word = canary.display().to_string();
    let values = [
        format!("$(touch {word})"),
        format!("`touch {word}`"),
        format!("; touch {word} ;"),
        format!("\"; touch {word}; \""),
        format!("'; touch {word}; '"),
        format!("x\ntouch {word}\n"),
        format!("| touch {word}"),
        format!("&& touch {word}"),
        format!("\\\"; touch {word} #"),
    ];
    let volume = bed.volume()?;
    bed.ready(&volume)?;
    let mut ran = None;
    for value in values {
        let pod = bed.pod(1, &volume)?;
        let mut options: Options = bed.pod_options(&volume, &pod, false);
        options.insert("check", value.clone());
        options.insert(keys::SERVICE_ACCOUNT, value.clone());
        // Whether it mounts is for the other checks.
        match bed.mount_with(&volume, 1, options) {
            Ok(()) => drop(bed.down(&volume, 1)),
            Err(crate::stop::Stop::Fault(_) | crate::stop::Stop::Skip(_)) => {}
            Err(trouble @ crate::stop::Stop::Trouble(_)) => return Err(trouble),
        }
        if canary.exists() {
            let _ = fs::remove_file(&canary);
            ran = Some(value);
            break;
        }
    }
    match ran {
        Some(value) => fault(format!("the option's value {value:?} was run by a shell")),
        None if bed.host_mounts => skip("the driver leaves mount to the host"),
        None => Ok(()),
    }
}
