//! Volumes made and deleted by the driver.

use std::{
    fs,
    path::{Path, PathBuf},
};

use flexvolume_protocol::{Came, Code, Created, DeleteVolume, Extension, Options, UserOptions, keys};

use super::extensions::announced;
use crate::{
    answer::Heard,
    bed::Bed,
    check::{Check, extra},
    level::Severity::{Must, Should},
    stop::{Stop, Verdict, fault, skip},
    trouble::Trouble,
};

pub(crate) const CHECKS: &[Check] = &[
    extra(
        "provision.creates",
        Must,
        "`createvolume` answers an `id`, by which alone the volume is found again",
        "extensions: Volumes",
        "answer an `id`, and put into it, or keep with the volume, whatever is needed to find it again",
        &["init.answers"],
        |bed| {
            let parameters = parameters(bed)?;
            let name = name(bed, "one");
            let volume = bed.create(&name, &parameters, &[])?;
            bed.delete(&volume)
        },
    ),
    extra(
        "provision.again",
        Must,
        "`createvolume` of the same name and size answers the same volume",
        "extensions: Rules",
        "look for a volume of that name before making one, and answer the one that is there",
        &["provision.creates"],
        |bed| {
            let parameters = parameters(bed)?;
            let name = name(bed, "again");
            let one = bed.create(&name, &parameters, &[])?;
            let other = bed.create(&name, &parameters, &[]);
            let verdict = match other {
                Ok(other) if other.id == one.id => Ok(()),
                Ok(other) => {
                    bed.delete(&other)?;
                    fault("the second call made another volume")
                }
                Err(stop) => Err(stop),
            };
            bed.delete(&one)?;
            verdict
        },
    ),
    extra(
        "provision.conflict",
        Must,
        "`createvolume` of a name that is taken by a volume of another size is a Failure with the code `conflict`",
        "extensions: Rules",
        "compare the size and the source of what is there with what is asked for, and say `conflict` if they differ",
        &["provision.creates"],
        conflict,
    ),
    extra(
        "provision.size",
        Must,
        "a volume has at least the bytes that were asked for, and at most the limit",
        "extensions: Volumes",
        "round the size up and not down, refuse what cannot be between the two, and answer the real size as `bytes`",
        &["provision.creates"],
        |bed| {
            let parameters = parameters(bed)?;
            let wanted = bed.job.volume.bytes.unwrap_or(64 << 20);
            let limit = (wanted + (64 << 20)).to_string();
            let name = name(bed, "size");
            let heard = bed.ask_create(&name, &parameters, &[(keys::LIMIT_BYTES, &limit)])?;
            let created = heard.success("createvolume")?;
            drop_created(bed, &created)?;
            match created.bytes {
                Some(bytes) if bytes < wanted => fault(format!("{wanted} bytes were asked for, and it has {bytes}")),
                Some(bytes) if bytes > wanted + (64 << 20) => fault(format!("it has {bytes} bytes, beyond the limit")),
                Some(_) | None => Ok(()),
            }
        },
    ),
    extra(
        "provision.deletes-again",
        Must,
        "`deletevolume` of what is deleted, or of an id that never was, succeeds",
        "extensions: Rules",
        "take an id that is not there for deleted, and answer Success",
        &["provision.creates"],
        |bed| {
            let parameters = parameters(bed)?;
            let name = name(bed, "gone");
            let volume = bed.create(&name, &parameters, &[])?;
            bed.delete(&volume)?;
            bed.delete(&volume)?;
            let mut options = Options::default();
            options.insert(keys::ID, format!("flexvol-check-never-{}", bed.id));
            bed.patiently(&DeleteVolume { options })?.success("deletevolume of an unknown id")
        },
    ),
    extra(
        "provision.long-name",
        Should,
        "names have up to 128 characters",
        "extensions: Rules",
        "where the backend holds fewer letters make the name of a hash, and keep the long one beside it",
        &["provision.creates"],
        |bed| {
            let parameters = parameters(bed)?;
            let name = format!("{}-{}", name(bed, "long"), "n".repeat(128)).chars().take(128).collect::<String>();
            let volume = bed.create(&name, &parameters, &[])?;
            bed.delete(&volume)
        },
    ),
    extra(
        "provision.hostile-id",
        Must,
        "an id that leads out of where volumes are is none: nothing is deleted by it",
        "extensions: Rules",
        "judge an id, letter by letter, before it becomes a part of a path",
        &["provision.creates"],
        hostile_id,
    ),
    extra(
        "provision.hostile-name",
        Must,
        "a name that leads out of where volumes are, or that a shell would run, is taken as it is or refused",
        "extensions: Rules",
        "judge a name, letter by letter, before it becomes a part of a path, or make the path of a hash of it",
        &["provision.creates"],
        hostile_name,
    ),
];

/// Parameters of volumes to be made.
pub(crate) fn parameters(bed: &Bed<'_>) -> Result<UserOptions, Stop> {
    announced(bed, Extension::Provision)?;
    match &bed.job.volume.create {
        Some(parameters) => Ok(parameters.clone()),
        None => skip("the description of the volume does not say with which parameters volumes are made (`create`)"),
    }
}

pub(crate) fn name(bed: &Bed<'_>, what: &str) -> String {
    format!("flexvol-check-{}-{what}", bed.id)
}

pub(crate) fn drop_created(bed: &mut Bed<'_>, created: &Created) -> Verdict {
    let options = UserOptions::parse(created.options.clone()).unwrap_or_default();
    bed.delete(&crate::bed::Volume { name: String::new(), options, id: Some(created.id.clone()) })
}

/// That a call failed, with this code.
pub(crate) fn fails<R>(heard: Heard<R>, what: &str, code: Code) -> Verdict {
    match (heard.came.is_ok(), heard.code) {
        (true, _) => fault(format!("{what} did not fail")),
        (false, Some(said)) if said == code => Ok(()),
        (false, said) => {
            let said = said.map_or("none", Code::as_str);
            fault(format!("{what} failed with the code {said}, where {} is meant", code.as_str()))
        }
    }
}

fn conflict(bed: &mut Bed<'_>) -> Verdict {
    let parameters = parameters(bed)?;
    let name = name(bed, "conflict");
    let one = bed.create(&name, &parameters, &[])?;
    let other = (2 * bed.job.volume.bytes.unwrap_or(64 << 20)).to_string();
    let heard = bed.ask_create(&name, &parameters, &[(keys::REQUIRED_BYTES, &other)])?;
    if let Ok(Came::Done(created)) = &heard.came
        && Some(&created.id) != one.id.as_ref()
    {
        let created = created.clone();
        drop_created(bed, &created)?;
    }
    let verdict = fails(heard, "createvolume of a taken name with twice the size", Code::Conflict);
    bed.delete(&one)?;
    verdict
}

/// A folder that nobody made for the driver, with a file.
fn not_the_drivers(bed: &Bed<'_>) -> Result<(PathBuf, PathBuf), Stop> {
    let folder = bed.home().join("not-the-drivers");
    let file = folder.join("kept");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&file, "kept"))
        .map_err(|error| Trouble::io("write", &file, error))?;
    Ok((folder, file))
}

/// That folder by paths that lead to it from wherever volumes are: only to what is the judge's own.
fn leading_to(folder: &Path) -> [String; 2] {
    let absolute = folder.to_string_lossy().into_owned();
    [format!("{}{}", "../".repeat(12), absolute.trim_start_matches('/')), absolute]
}

/// It outlives every id.
fn hostile_id(bed: &mut Bed<'_>) -> Verdict {
    parameters(bed)?;
    let (folder, file) = not_the_drivers(bed)?;
    for id in leading_to(&folder) {
        let mut options = Options::default();
        options.insert(keys::ID, id.clone());
        // Success or not: it never made them.
        bed.patiently(&DeleteVolume { options })?;
        if !file.exists() {
            return fault(format!("deletevolume of the id {id:?} removed {}", folder.display()));
        }
    }
    let _ = fs::remove_file(&file);
    let _ = fs::remove_dir(&folder);
    Ok(())
}

/// Nothing is made in it by any name, and none is run.
fn hostile_name(bed: &mut Bed<'_>) -> Verdict {
    let parameters = parameters(bed)?;
    let (folder, file) = not_the_drivers(bed)?;
    let canary = bed.home().join("canary");
    let touch = format!("touch {}", canary.display());
    let paths = leading_to(&folder).map(|path| format!("{path}/made"));
    for name in paths.into_iter().chain([format!("$({touch})"), format!("; {touch} ;"), format!("'; {touch}; '")]) {
        let heard = bed.ask_create(&name, &parameters, &[])?;
        if let Ok(Came::Done(created)) = &heard.came {
            drop_created(bed, created)?;
        }
        let there: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        if there != [file.as_path()] {
            return fault(format!("createvolume of the name {name:?} changed what is in {}", folder.display()));
        }
        if canary.exists() {
            let _ = fs::remove_file(&canary);
            return fault(format!("the name {name:?} was run by a shell"));
        }
    }
    let _ = fs::remove_file(&file);
    let _ = fs::remove_dir(&folder);
    Ok(())
}
