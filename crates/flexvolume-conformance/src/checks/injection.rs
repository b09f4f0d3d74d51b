//! Values that a shell would run: in options, in the type of the file system, in secrets, from `attach` to `mount`.

use std::fs;

use flexvolume_protocol::{Attach, Came, Mount, MountDevice, Options, Secret, Secrets, WaitForAttach, keys};

use crate::{
    bed::{Bed, Volume},
    check::{Check, row},
    level::Severity::Must,
    life::make,
    stop::{Verdict, fault, skip},
};

const MEND: &str =
    "put every variable of a shell in double quotes, never use `eval` on a value, and read JSON with a JSON parser";

pub(crate) const CHECKS: &[Check] = &[
    row(
        "options.injection",
        Must,
        "no value of an option is ever run, be the option known or not: whoever may write a volume would own the node",
        "contract: Options",
        MEND,
        &["options.unknown"],
        |bed| {
            tried(bed, |options, value| {
                options.insert("check", value);
                options.insert(keys::SERVICE_ACCOUNT, value);
            })
        },
    ),
    row(
        "options.injection-own",
        Must,
        "no value of an option that the driver knows is ever run: it is taken as it is, or refused",
        "contract: Options",
        MEND,
        &["options.unknown"],
        own,
    ),
    row(
        "options.injection-type",
        Must,
        "the type of the file system is never run: it is taken as it is, or refused",
        "contract: Options",
        MEND,
        &["options.unknown"],
        |bed| tried(bed, |options, value| options.insert(keys::FS_TYPE, value)),
    ),
    row(
        "secrets.injection",
        Must,
        "no secret is ever run: whoever may write a Secret would own the node",
        "contract: Options",
        "decode each secret into a variable, put that in double quotes, and hand it on by a pipe or a file",
        &["options.unknown"],
        secrets,
    ),
];

/// Values that make the file `word` if a shell runs them: bare, in double quotes, in single quotes, or line by line.
fn values(word: &str) -> [String; 5] {
    [
        format!("$(touch {word})"),
        format!("`touch {word}`"),
        format!("; touch {word} ;\ntouch {word}\n&& touch {word} ||"),
        format!("\\\"; touch {word} #\n\"; touch {word}; \""),
        format!("'; touch {word}; '"),
    ]
}

/// Each value, put among the options of every call of a volume's way up.
fn tried(bed: &mut Bed<'_>, dress: impl Fn(&mut Options, &str)) -> Verdict {
    let volume = bed.volume()?;
    each(bed, |bed, value| way_up(bed, &volume, &|options| dress(options, value)))
}

/// Does it with each value; none may have been run.
fn each(bed: &mut Bed<'_>, act: impl Fn(&mut Bed<'_>, &str) -> Verdict) -> Verdict {
    let canary = bed.home().join("canary");
    for value in values(&canary.display().to_string()) {
        let verdict = act(bed, &value);
        // Whatever came up goes down before the next one.
        bed.sweep();
        verdict?;
        if canary.exists() {
            let _ = fs::remove_file(&canary);
            return fault(format!("the value {value:?} was run by a shell"));
        }
    }
    Ok(())
}

/// The calls that bring a volume up, dressed. Whether they succeed is for other checks.
fn way_up(bed: &mut Bed<'_>, volume: &Volume, dress: &dyn Fn(&mut Options)) -> Verdict {
    if bed.attaches() {
        let mut options = bed.options(volume);
        dress(&mut options);
        bed.up.attached.insert(volume.name.clone());
        let attached = bed.caller.ask(&Attach { options: options.clone(), node: bed.node() })?.came;
        let device = if let Ok(Came::Done(device)) = attached { device } else { Default::default() };
        let waited = bed.caller.ask(&WaitForAttach { device: device.clone(), options: options.clone() })?.came;
        let device = if let Ok(Came::Done(waited)) = waited { waited } else { device };
        let dir = bed.global(volume)?;
        make(dir.as_path())?;
        bed.up.staged.insert(volume.name.clone(), device.clone());
        bed.caller.ask(&MountDevice { dir, device, options })?;
    }
    let pod = bed.pod(1, volume)?;
    make(pod.dir.as_path())?;
    bed.up.pods.insert(1);
    let mut options = bed.pod_options(volume, &pod, false);
    dress(&mut options);
    bed.caller.ask(&Mount { dir: pod.dir, options })?;
    Ok(())
}

/// Each described option in turn. What the driver makes of such a volume is nobody's.
fn own(bed: &mut Bed<'_>) -> Verdict {
    let volume = bed.volume()?;
    if volume.options.iter().next().is_none() {
        return skip("the volume is described without options");
    }
    if !bed.may_destroy() {
        return skip("what the driver makes of such values stays: say that it may (`--destroy`)");
    }
    let names: Vec<String> = volume.options.iter().map(|(key, _)| key.to_owned()).collect();
    each(bed, |bed, value| {
        for name in &names {
            way_up(bed, &volume, &|options| options.insert(name.as_str(), value))?;
            bed.sweep();
        }
        Ok(())
    })
}

/// Only `mount` has secrets.
fn secrets(bed: &mut Bed<'_>) -> Verdict {
    let volume = bed.volume()?;
    bed.ready(&volume)?;
    bed.up(&volume, 3)?;
    if bed.host_mounts {
        return skip("the driver leaves mount to the host, and no other call has secrets");
    }
    let names: Vec<String> = bed.job.volume.secrets.keys().cloned().chain(["flexvol-check".to_owned()]).collect();
    each(bed, |bed, value| {
        bed.ready(&volume)?;
        let pod = bed.pod(1, &volume)?;
        make(pod.dir.as_path())?;
        bed.up.pods.insert(1);
        let mut hostile = Secrets::default();
        for name in &names {
            hostile.insert(name.clone(), Secret::new(value.as_bytes().to_vec()));
        }
        let options = bed.pod_options(&volume, &pod, false).with_secrets(hostile);
        bed.caller.ask(&Mount { dir: pod.dir, options })?;
        Ok(())
    })
}
