//! Calls for different volumes run at once.

use std::thread;

use flexvolume_protocol::{Dir, Extension, Mount, Unmount};

use crate::{
    bed::{Bed, Volume},
    check::{Check, row},
    level::Severity::Must,
    life::make,
    stop::{Stop, Verdict, fault, skip},
};

pub(crate) const CHECKS: &[Check] = &[row(
    "together.volumes",
    Must,
    "calls for different volumes run at once, and each does its own: hosts serialise by volume alone",
    "contract: A call",
    "lock no more than what volumes share, wait for the lock, and use no temporary file of a fixed name",
    &["mount.mounts", "unmount.undoes"],
    volumes,
)];

/// How many at once.
const MANY: usize = 4;

fn volumes(bed: &mut Bed<'_>) -> Verdict {
    let first = bed.volume()?;
    let (all, made) = others(bed, &first)?;
    let verdict = at_once(bed, &all);
    for volume in made {
        bed.delete(&volume)?;
    }
    verdict
}

/// Volumes that may be used at the same time, and those of them that were made for it.
fn others(bed: &mut Bed<'_>, first: &Volume) -> Result<(Vec<Volume>, Vec<Volume>), Stop> {
    if bed.attaches() {
        return skip("it attaches; the judge tries drivers that only mount");
    }
    if let Some(options) = &bed.job.volume.second {
        let second = Volume { name: format!("{}-second", first.name), options: options.clone(), id: None };
        return Ok((vec![first.clone(), second], Vec::new()));
    }
    if let (Some(parameters), true) = (bed.job.volume.create.clone(), bed.has(Extension::Provision)) {
        let mut made = Vec::new();
        for n in 1..MANY {
            made.push(bed.create(&format!("{}-{n}", first.name), &parameters, &[])?);
        }
        return Ok(([vec![first.clone()], made.clone()].concat(), made));
    }
    skip("no other volume is described: say which one (`second`), or with which parameters volumes are made (`create`)")
}

fn at_once(bed: &mut Bed<'_>, all: &[Volume]) -> Verdict {
    let mut calls = Vec::new();
    for (n, volume) in (20..).zip(all) {
        let pod = bed.pod(n, volume)?;
        make(pod.dir.as_path())?;
        let options = bed.pod_options(volume, &pod, false);
        calls.push(Mount { dir: pod.dir, options });
    }
    let caller = &bed.caller;
    let each = |act: &(dyn Fn(&Mount) -> Result<(), Stop> + Sync)| -> Verdict {
        let ended: Vec<Verdict> = thread::scope(|scope| {
            let all: Vec<_> = calls.iter().map(|call| scope.spawn(|| act(call))).collect();
            all.into_iter().map(|one| one.join().unwrap_or_else(|_| fault("a thread of the judge died"))).collect()
        });
        ended.into_iter().collect()
    };
    let mounted = each(&|call| caller.ask(call)?.success("mount, beside others"))
        .and_then(|()| calls.iter().try_for_each(|call| is_mounted(bed, &call.dir, true)));
    let unmounted =
        each(&|call| caller.ask(&Unmount { dir: call.dir.clone() })?.done("unmount, beside others").map(drop));
    mounted?;
    unmounted?;
    calls.iter().try_for_each(|call| is_mounted(bed, &call.dir, false))
}

fn is_mounted(bed: &Bed<'_>, dir: &Dir, wanted: bool) -> Verdict {
    match bed.mounted(dir)?.is_some() == wanted {
        true => Ok(()),
        false if wanted => fault(format!("of several mounts at once one did not come: {}", dir.as_str())),
        false => fault(format!("of several unmounts at once one did not go: {}", dir.as_str())),
    }
}
