//! Volumes made at a host's word, by name: the same name again is the same volume.

use flexvolume::{Code, Created, Failure, Id, Lock, Options, OptionsExt, Result, Size, World, keys};

use crate::{
    active::idle,
    copy,
    create::{self, Wish},
    end,
    group::Group,
    kept, mount,
    names::{LvName, Uuid},
    place::{self, Place, VG_UUID},
    report::Volume,
    seen::{self, Seen},
    settings::Settings,
    stage::Stage,
    tags::State,
    taken::holds_another,
    thin::is_in,
    tool::{Lvm, flush},
};

/// What a volume is given that nobody asked a size for.
const USUAL: u64 = 1 << 30;

/// Makes the volume called `flexvol/name`, empty and inactive.
///
/// # Errors
/// `conflict`: there is another volume of that name, or the same with other wishes. `exhausted`: no room. `notFound`: the
/// group is not on this node, or the volume was used here and is lost. In progress: an earlier one of that name is still
/// being deleted.
pub(crate) fn create(options: &Options, world: &World) -> Result<Created> {
    let name: String = options.required(keys::NAME)?;
    let settings = Settings::read(world)?;
    let vg = place::group(options, &settings)?;
    settings.allow(&vg, world)?;
    let place = Place { vg, lv: LvName::for_volume(&name), vg_uuid: options.optional(VG_UUID)? };
    Id::parse(&place.id())?;
    let (bytes, most) = wanted_size(options)?;
    mount::check(options)?;
    let wish = Wish::of(&place, &name, bytes, most, options)?;
    let lvm = Lvm::find()?;
    let lock = place.lock(world)?;
    // Mostly it is not there yet. All of its group says so at once; asked for by name, every disk of the machine would be looked at.
    let stage = Stage::set(&place, place.vg_uuid.as_ref(), &lvm, world)?;
    let (vg, bytes) = match stage.volumes.iter().find(|one| one.is(&place.lv)).cloned() {
        None => made(&place, &wish, stage, &lock, &lvm, world)?,
        Some(there) => {
            let group = stage.leave().0;
            match known(&place, there, &wish, (&group, &lock, &lvm), world)? {
                Some(same) => {
                    // A dead call's command may have published it just now.
                    flush(&group)?;
                    idle(&place, &same, (&group, &lock, &lvm), world);
                    (same.group.uuid, same.bytes)
                }
                None => made(&place, &wish, Stage::set(&place, Some(&group.uuid), &lvm, world)?, &lock, &lvm, world)?,
            }
        }
    };
    created(&place, &vg, bytes, options)
}

/// What a host is told of a volume that was made.
///
/// # Errors
/// Its id would be too long.
pub(crate) fn created(place: &Place, vg: &Uuid, bytes: u64, options: &Options) -> Result<Created> {
    Ok(Created { id: Id::parse(&place.id())?, bytes: Some(bytes), options: kept::options(place, vg, options) })
}

/// That no volume of that place was handed out here and is lost; `now` is the one that has the name.
///
/// # Errors
/// `notFound`: one was, and nothing is put in its place.
pub(crate) fn not_lost(place: &Place, now: Option<&Uuid>, world: &World) -> Result<()> {
    let Some(seen) = Seen::read(place, world)?.filter(|seen| now != Some(&seen.lv_uuid)) else { return Ok(()) };
    let file = seen::note(place, world)?;
    let message = format!(
        "a volume {} ({}) was used on this node and is gone; restore it from a backup, or, to begin anew, remove {}",
        place.storage(),
        seen.lv_uuid,
        file.path().display()
    );
    Err(Failure::new(Code::NotFound, message))
}

/// Makes it, and takes its device away again: nothing is attached yet.
fn made(place: &Place, wish: &Wish, stage: Stage, lock: &Lock, lvm: &Lvm, world: &World) -> Result<(Uuid, u64)> {
    not_lost(place, None, world)?;
    let made = create::make(place, wish, stage, lvm, world)?;
    if let Some(volume) = &made.active {
        idle(place, volume, (&made.group, lock, lvm), world);
    }
    Ok((made.group.uuid, made.bytes))
}

/// What a volume that is there already means: the same one, an old one to end first (`None`), or a conflict.
fn known(
    place: &Place,
    volume: Volume,
    wish: &Wish,
    change: (&Group, &Lock, &Lvm),
    world: &World,
) -> Result<Option<Volume>> {
    let storage = place.storage();
    let conflict =
        |other: &str| Failure::new(Code::Conflict, format!("there is a volume {storage} already, with {other}"));
    let ours = volume.tags.ours().ok_or_else(|| conflict("another maker"))?;
    if ours.name != wish.ours.name || !ours.is_called(&place.lv) {
        return Err(conflict(&format!("another name ({:?})", ours.name)));
    }
    if ours.state.is_some() {
        // With what is ended goes the mark of what was lost.
        not_lost(place, Some(&volume.uuid), world)?;
    }
    match ours.state {
        Some(State::Unknown) => Err(conflict("a state that only a later version of this driver knows")),
        Some(State::Deleting) => end::go_on(place, &volume, &ours, change, world).map(|()| None),
        Some(State::Creating) if holds_another(&volume.tags) => {
            copy::drop_temporary(place, &volume, (change.0, change.2), world)?;
            end::go_on(place, &volume, &ours, change, world).map(|()| None)
        }
        Some(State::Creating) => Ok(None),
        None if !is_in(&volume, wish.pool.as_ref()) => Err(conflict("another thin pool, or none")),
        None if holds_another(&volume.tags) => Err(conflict("the content of another")),
        None if volume.bytes < wish.bytes || wish.most.is_some_and(|most| volume.bytes > most) => {
            Err(conflict(&format!("another size ({} bytes)", volume.bytes)))
        }
        None => Ok(Some(volume)),
    }
}

/// How large it shall be at least, and at most: what the host says, else the parameter `size`.
///
/// # Errors
/// `invalid`: the sizes make no sense.
pub(crate) fn wanted_size(options: &Options) -> Result<(u64, Option<u64>)> {
    let above_zero = |key: &str| Ok::<_, Failure>(options.optional::<u64>(key)?.filter(|bytes| *bytes > 0));
    let (required, most) = (above_zero(keys::REQUIRED_BYTES)?, above_zero(keys::LIMIT_BYTES)?);
    let usual = options.optional::<Size>("size")?.map_or(USUAL, Size::bytes);
    let bytes = required.unwrap_or_else(|| most.map_or(usual, |most| most.min(usual)));
    match most {
        Some(most) if most < bytes => {
            let message = format!("the limit of {most} bytes is below the {bytes} that are required");
            Err(Failure::new(Code::Invalid, message))
        }
        Some(_) | None => Ok((bytes, most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_s_sizes_come_before_the_parameter_s() {
        let size = |pairs: &[(&str, &str)]| {
            let mut options = Options::default();
            for (key, value) in pairs {
                options.insert(*key, *value);
            }
            wanted_size(&options)
        };
        let (required, limit) = ((keys::REQUIRED_BYTES, "100"), (keys::LIMIT_BYTES, "200"));
        assert_eq!(size(&[]), Ok((USUAL, None)));
        assert_eq!(size(&[("size", "2m")]), Ok((2 << 20, None)));
        assert_eq!(size(&[("size", "2m"), limit]), Ok((200, Some(200))));
        assert_eq!(size(&[("size", "2m"), required, limit]), Ok((100, Some(200))));
        assert_eq!(size(&[(keys::REQUIRED_BYTES, "0"), (keys::LIMIT_BYTES, "0")]), Ok((USUAL, None)));
        assert!(size(&[(keys::REQUIRED_BYTES, "300"), limit]).is_err());
    }
}
