//! How a volume does, or the directories of all of them: what is lost, cut, in somebody else's hands, or has no room to grow.
//!
//! The findings are pure functions of what was looked at. Nothing is mended here.

use flexvolume::{Code, Condition, Failure, Finding, Health, Options, OptionsExt, Result, World, keys};
use flexvolume_linux::loopdev::Loop;
use rustix::fs::{OFlags, fstat};

use crate::{
    device,
    home::Home,
    image,
    list::marked,
    mark::Mark,
    place::{Kind, Place},
    room::{Room, free, unclaimed},
};

/// What was seen of a volume.
struct Seen {
    /// How large its image is, and what it may still claim.
    image: (u64, u64),
    /// What its mark says that it had, if it has one.
    had: Option<u64>,
    free: u64,
    /// Its device, or what is wrong with that.
    device: std::result::Result<Option<Loop>, String>,
    /// A host has it attached, as it thinks.
    attached: bool,
}

/// How the volume `flexvol/id` does, or all that is ours.
///
/// # Errors
/// `notFound`: nobody knows the volume.
pub(crate) fn health(options: &Options, world: &World) -> Result<Health> {
    match options.optional::<String>(keys::ID)?.filter(|id| !id.is_empty()) {
        Some(id) => of_volume(&Place::known(&id, world)?, world),
        None => of_storage(world),
    }
}

fn of_volume(place: &Place, world: &World) -> Result<Health> {
    let unknown = || Failure::new(Code::NotFound, format!("there is no volume {}", place.image().display()));
    let mark = Mark::read(place)?;
    if mark.as_ref().is_some_and(|mark| !mark.is_whole()) {
        return Err(Failure::new(
            Code::NotFound,
            format!("the volume {} is being made or deleted", place.image().display()),
        ));
    }
    // Nothing is opened that would be mended by that: an image whose name is still owed has its passing one.
    let file = [place.image(), place.unborn()].into_iter().find_map(|path| {
        let open = place.folder().open(&path, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
        Some((fstat(&open).ok()?, open))
    });
    let ((stat, image), had) = match (file, mark) {
        (Some(file), Some(mark)) => (file, Some(mark.bytes)),
        (Some(file), None) if place.vouched() => (file, None),
        (None, Some(_)) => {
            return Ok(Finding::told(vec![Finding(Condition::DataLoss, image::lost(place).to_string())]));
        }
        (_, None) => return Err(unknown()),
    };
    let attachments = world.attachments().all()?;
    let seen = Seen {
        image: (stat.st_size.unsigned_abs(), unclaimed(&stat)),
        had,
        free: free(place.home())?,
        device: device::sole(place, &image).map_err(|failure| failure.to_string()),
        attached: attachments.iter().any(|(_, it)| it.storage == place.storage() && !it.device.is_empty()),
    };
    Ok(Finding::told(judge(&place.image().display().to_string(), &seen)))
}

/// What there is to say of one volume.
fn judge(name: &str, seen: &Seen) -> Vec<Finding> {
    let mut found = Vec::new();
    let (bytes, unclaimed) = seen.image;
    if let Some(had) = seen.had.filter(|had| bytes < *had) {
        let message = format!("{name} has {bytes} bytes and had {had}; restore it from a backup");
        found.push(Finding(Condition::DataLoss, message));
    }
    match &seen.device {
        Err(why) => found.push(Finding(Condition::Inaccessible, why.clone())),
        Ok(None) if seen.attached => {
            let message = format!("{name} is attached, and its loop device is gone; take it down and attach it again");
            found.push(Finding(Condition::Inaccessible, message));
        }
        Ok(Some(_) | None) => {}
    }
    if unclaimed > seen.free {
        let message = format!(
            "{name} may still grow by {unclaimed} bytes, and its disk has {} left: writing to the volume will fail; make \
             room there",
            seen.free
        );
        found.push(Finding(Condition::Degraded, message));
    }
    found
}

fn of_storage(world: &World) -> Result<Health> {
    let (mut found, mut in_reach) = (Vec::new(), 0);
    for (path, home) in Home::all(world)? {
        match home.and_then(|home| survey(&home)) {
            Ok(more) => {
                in_reach += 1;
                found.extend(more);
            }
            Err(failure) => found.push(Finding(
                Condition::Inaccessible,
                format!("the volumes in {} cannot be used: {failure}", path.display()),
            )),
        }
    }
    // One part that cannot be used leaves the others.
    Ok(Finding::told(if in_reach > 0 { found.into_iter().map(Finding::of_a_part).collect() } else { found }))
}

/// What there is to say of a directory.
fn survey(home: &Home) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for one in marked(home, Kind::Volume)?.iter().chain(&marked(home, Kind::Snapshot)?) {
        let length = one.image.as_ref().map(|image| image.st_size.unsigned_abs());
        let name = one.place.image();
        if one.mark.is_whole() && length.is_none() {
            found.push(Finding(Condition::DataLoss, format!("{} is gone", name.display())));
        } else if one.mark.is_whole() && length.is_some_and(|length| length < one.mark.bytes) {
            found.push(Finding(Condition::DataLoss, format!("{} is cut short", name.display())));
        }
    }
    let room = Room::of(home)?;
    if !room.suffices() {
        let message = format!(
            "the images in {} may still grow by {} bytes, and its disk has {} left; make room there",
            home.folder.path().display(),
            room.promised,
            room.free
        );
        found.push(Finding(Condition::Degraded, message));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Seen {
        Seen { image: (100, 40), had: Some(100), free: 40, device: Ok(None), attached: false }
    }

    fn condition(seen: &Seen) -> Condition {
        Finding::told(judge("v.img", seen)).condition
    }

    #[test]
    fn each_fault_has_its_condition() {
        assert_eq!(condition(&well()), Condition::Ok);
        assert_eq!(condition(&Seen { had: None, ..well() }), Condition::Ok, "one that others made");
        assert_eq!(condition(&Seen { had: Some(99), ..well() }), Condition::Ok, "grown");
        assert_eq!(condition(&Seen { had: Some(101), ..well() }), Condition::DataLoss);
        assert_eq!(condition(&Seen { free: 39, ..well() }), Condition::Degraded);
        assert_eq!(condition(&Seen { attached: true, ..well() }), Condition::Inaccessible);
        assert_eq!(condition(&Seen { device: Err("another's".into()), ..well() }), Condition::Inaccessible);
        let all = Seen { had: Some(101), free: 0, device: Err("another's".into()), ..well() };
        let told = Finding::told(judge("v.img", &all));
        assert_eq!(told.condition, Condition::DataLoss, "the worst");
        assert_eq!(told.message.matches("; ").count(), 4, "{}", told.message);
    }
}
