//! attach: the volume is looked up, judged, made or adopted where that is wished, activated, and remembered.

use std::path::Path;

use flexvolume::{Code, Failure, Options, OptionsExt, Result, Size, World};

use crate::{
    active::{activate, only},
    again,
    create::{self, Made, Wish},
    decide::{Facts, Step, decide},
    dm::Dm,
    group::Group,
    held::Held,
    mount,
    place::Place,
    report::Volume,
    seen::{self, Seen},
    settings::Settings,
    stage::Stage,
    tags::{Ours, Wipe},
    thin,
    tool::{Lvm, flush},
    volume,
};

/// Activates the volume, and says as which device it is there. Makes it if that is wished and it never was.
///
/// # Errors
/// See [`decide`]; then what LVM says.
pub(crate) fn attach(place: &Place, options: &Options, world: &World) -> Result<String> {
    // What could only fail later fails before anything is made.
    mount::check(options)?;
    let lvm = Lvm::find()?;
    let lock = place.lock(world)?;
    let seen = Seen::read(place, world)?;
    let held = Held::read(place, world)?;
    let adopt = options.flag("adopt")?;
    if let Some(seen) = seen.as_ref().filter(|seen| !adopt || seen.is_ours())
        && let Some(now) = again::attach(place, seen, held.as_ref(), (&lock, &lvm), world)?
    {
        usable(place, &now.device, options, world)?;
        return noted(place, held.as_ref(), &now, world);
    }
    let looked = match &seen {
        Some(Seen { pool, .. }) => volume::look(place, &pool.as_deref().into_iter().collect::<Vec<_>>(), &lvm, world)?,
        // Its pool is among all of its group.
        None => volume::look_around(place, &lvm, world)?,
    };
    let mark = seen::note(place, world)?;
    let is_held = |volume: &Volume| held.as_ref().is_some_and(|held| held.lv_uuid == volume.uuid);
    let step = decide(&Facts {
        place,
        volume: looked.volume.as_ref(),
        seen: seen.as_ref().map(|seen| (seen, mark.path())),
        attached: looked.volume.as_ref().is_some_and(is_held),
        create: options.flag("create")?,
        adopt,
        reads_only: mount::reads_only(options),
    })?;
    let (group, volume) = match (step, looked.volume) {
        (Step::Use { adopt }, Some(volume)) => {
            if adopt {
                adopt_it(place, &volume, options, &looked.group, &lvm, world)?;
            } else if seen.is_none() {
                // What is remembered of it must not outlive its making, which a dead call may have ended just now.
                flush(&looked.group)?;
            }
            (looked.group, volume)
        }
        (Step::Create | Step::Remake | Step::Use { .. }, _) => {
            make(place, &Wish::at_attach(place, options)?, &lvm, world)?
        }
    };
    warn(place, &volume, looked.others, (&group, &lvm), world)?;
    let device = activate(place, &volume, (&group, &lock, &lvm), world)?;
    usable(place, &device, options, world)?;
    let now = Seen::of(&volume, &device);
    if seen.as_ref() != Some(&now) {
        now.write(place, world)?;
    }
    noted(place, held.as_ref(), &Held::of(&volume, device, group.devices), world)
}

/// Makes the volume, and says how LVM has it.
fn make(place: &Place, wish: &Wish, lvm: &Lvm, world: &World) -> Result<(Group, Volume)> {
    let stage = Stage::set(place, place.vg_uuid.as_ref(), lvm, world)?;
    let Made { group, active, .. } = create::make(place, wish, stage, lvm, world)?;
    let volume = match active {
        Some(volume) => volume,
        None => volume::made(place, lvm, world)?,
    };
    Ok((group, volume))
}

/// What a person should hear of the pool that the volume takes its blocks from. If that is another than before, it was not asked
/// for yet.
fn warn(
    place: &Place,
    volume: &Volume,
    mut others: Vec<Volume>,
    (group, lvm): (&Group, &Lvm),
    world: &World,
) -> Result<()> {
    let Some(name) = volume.pool() else { return Ok(()) };
    if !others.iter().any(|one| one.name == name) {
        others = lvm.ask::<Volume>(Some(group), &[&format!("{}/{name}", group.name)])?.rows;
    }
    let settings = Settings::read(world)?;
    let pool = others.iter().find(|one| one.name == name && one.group.uuid == group.uuid);
    for warning in pool.into_iter().flat_map(|pool| thin::warnings(pool, &settings)) {
        world.log(format_args!("{}: {warning}", place.storage()));
    }
    Ok(())
}

/// Notes what is attached now, if that is not noted, and answers its device.
fn noted(place: &Place, held: Option<&Held>, now: &Held, world: &World) -> Result<String> {
    if held != Some(now) {
        Held::note(place, world)?.write(now)?;
    }
    Ok(now.device.display().to_string())
}

/// What only the active device tells: whether it can be written, and whether it is as large as was asked for.
fn usable(place: &Place, device: &Path, options: &Options, world: &World) -> Result<()> {
    let (read_only, bytes) = Dm::at(device).map(|dm| (dm.read_only(), dm.bytes())).unwrap_or_default();
    if read_only && !mount::reads_only(options) {
        let message = format!(
            "{} is read-only by its permission in LVM; use it so, or change that: lvchange -p rw {}",
            place.storage(),
            place.storage()
        );
        return Err(Failure::new(Code::Conflict, message));
    }
    if let Some(size) = options.optional::<Size>("size")?
        && size.bytes() > bytes
    {
        let message = "it is grown only when its host asks for that (expandvolume)";
        world.log(format_args!(
            "{} has {bytes} bytes, less than the size {size} of its options; {message}",
            place.storage()
        ));
    }
    Ok(())
}

/// From now on the volume is ours, and stays inactive at boot.
fn adopt_it(place: &Place, volume: &Volume, options: &Options, group: &Group, lvm: &Lvm, world: &World) -> Result<()> {
    let wipe = options.optional::<Wipe>("wipe")?.unwrap_or_default();
    let tags = Ours { name: place.lv.to_string(), id: place.id(), state: None, wipe }.tags();
    let lock = world.lock(&place.group_lock_key())?;
    let (storage, only) = (place.storage(), only(&volume.uuid));
    let mut words = vec!["lvchange", "--setautoactivation", "n"];
    words.extend(tags.iter().flat_map(|tag| ["--addtag", tag]));
    words.extend(["-S", &only, &storage]);
    lvm.change(&format!("adopt {storage}"), &lock, group, &words)
}
