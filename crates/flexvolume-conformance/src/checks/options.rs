//! Options that a driver does not know, does not get, or would rather not have got.

use flexvolume_protocol::{Came, Mount, UserOptions, keys};

use crate::{
    bed::{Bed, Volume},
    check::{Check, row},
    level::Severity::Must,
    life::make,
    stop::{Stop, Verdict, fault, skip},
};

pub(crate) const CHECKS: &[Check] = &[
    row(
        "options.unknown",
        Must,
        "options that the driver does not know do not disturb it: hosts have new ones every few years",
        "contract: Options",
        "read the options that are needed, by their names, and pass over all others",
        &["mount.mounts"],
        |bed| mounts(bed, &[("flexvolcheck.io/unknown", "x".into()), ("check", "y".into())]),
    ),
    row(
        "options.fs-group-new",
        Must,
        "`kubernetes.io/mounterArgs.FsGroup` does not disturb: so Kubernetes 1.15 and later spell the pod's group",
        "contract: Options",
        "read the pod's group under both of its names, or pass over both",
        &["mount.mounts"],
        |bed| mounts(bed, &[(keys::FS_GROUP_ARGS, "2000".into())]),
    ),
    row(
        "options.fs-group-old",
        Must,
        "`kubernetes.io/fsGroup` does not disturb: so Kubernetes 1.6 to 1.14 spell the pod's group",
        "contract: Options",
        "read the pod's group under both of its names, or pass over both",
        &["mount.mounts"],
        |bed| mounts(bed, &[(keys::FS_GROUP, "2000".into())]),
    ),
    row(
        "options.fs-group-both",
        Must,
        "both spellings of the pod's group in one call do not disturb: hosts that serve drivers of every age send both",
        "contract: Demands on drivers, 7",
        "read the group under either of its names, and do not add the two up",
        &["options.fs-group-new", "options.fs-group-old"],
        |bed| mounts(bed, &[(keys::FS_GROUP_ARGS, "2000".into()), (keys::FS_GROUP, "2000".into())]),
    ),
    row(
        "options.no-fs-type",
        Must,
        "`kubernetes.io/fsType` may be empty: it is whenever a volume does not name one",
        "contract: Options",
        "where the type is empty take what the volume holds, or else a default",
        &["mount.mounts"],
        no_fs_type,
    ),
    row(
        "options.base-only",
        Must,
        "with the three keys that are always there and no option, `mount` mounts or fails: a host that was restarted knows no more",
        "contract: Options",
        "look for each option that is needed, and answer Failure with the name of the one that is missing",
        &["init.answers"],
        base_only,
    ),
    row(
        "options.blanks",
        Must,
        "values may hold blanks",
        "contract: Options",
        "read the options with a JSON parser, and put every variable of a shell in double quotes; hand them on with `printf %s \"$3\"`, for the `echo` of some shells reads backslashes",
        &["options.unknown"],
        |bed| mounts(bed, &[("check", "two  words and a\ttab ".into())]),
    ),
    row(
        "options.quotes",
        Must,
        "values may hold quotes and backslashes",
        "contract: Options",
        "read the options with a JSON parser, and put every variable of a shell in double quotes; hand them on with `printf %s \"$3\"`, for the `echo` of some shells reads backslashes",
        &["options.unknown"],
        |bed| mounts(bed, &[("check", r#"a"b'c\d\"e"#.into())]),
    ),
    row(
        "options.lines",
        Must,
        "values may hold line breaks",
        "contract: Options",
        "read the options as one JSON value, and not line by line",
        &["options.unknown"],
        |bed| mounts(bed, &[("check", "one\ntwo\r\nthree\n".into())]),
    ),
    row(
        "options.unicode",
        Must,
        "values may hold any text",
        "contract: Options",
        "pass over values that the driver does not use, and neither cut nor refuse what is not ASCII",
        &["options.unknown"],
        |bed| mounts(bed, &[("check", "größe-容量-\u{1f4be}-\u{2028}-<&>".into())]),
    ),
    row(
        "options.large",
        Must,
        "values may be long: 100 KiB come in one argument",
        "contract: A call",
        "hand options to other programs by a pipe or a file, and not in their arguments or the environment",
        &["options.unknown"],
        |bed| mounts(bed, &[("check", "x".repeat(100 * 1024))]),
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

/// Types that a disk may hold already, which only a driver that looks can know; what everybody takes by default is not
/// among them.
const HELD: &[&str] = &["xfs", "btrfs", "ext2", "ext3", "f2fs", "vfat", "ntfs"];

/// A volume that holds such a type may fail, in words, for a driver that takes a default.
fn no_fs_type(bed: &mut Bed<'_>) -> Verdict {
    let held = HELD.contains(&bed.job.volume.fs_type.as_str());
    match mounts(bed, &[(keys::FS_TYPE, String::new())]) {
        Err(Stop::Fault(_)) if held => skip(
            "the volume is described with a type that it may hold already, and without one it does not come up: describe one without a type",
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
