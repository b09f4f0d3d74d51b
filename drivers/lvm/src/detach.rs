//! detach: the device is taken away from a volume that was attached, wherever its group is by now, and from no other.

use std::path::{Path, PathBuf};

use flexvolume::{Attachment, Code, Failure, Lock, Result, World};
use flexvolume_linux::block;

use crate::{
    active::{find, group_of, in_use, only, refresh},
    devices,
    dm::Dm,
    group::Group,
    held::{Held, whose},
    place::Place,
    seal,
    tool::Lvm,
};

/// Takes the device away that was attached. By the name of the volume; where only the device is known, by that, if this node
/// has attached it.
///
/// # Errors
/// `busy`: somebody uses it. Else LVM's own.
pub(crate) fn detach(attachment: &Attachment, world: &World) -> Result<()> {
    let (place, held) = match Place::recorded(&attachment.storage) {
        Ok(place) => {
            let held = Held::read(&place, world)?;
            (place, held)
        }
        Err(_) => match Dm::at(Path::new(&attachment.device)).and_then(|dm| whose(&dm, world)) {
            Some((place, held)) => (place, Some(Held { device: PathBuf::from(&attachment.device), ..held })),
            None => return Ok(()),
        },
    };
    let lock = place.lock(world)?;
    let held = match held {
        Some(held) => Some(held),
        // We activate nothing without its seal: an attach that was refused leaves whatever it found to whose it is.
        None if !seal::is_set(&place, world)? => None,
        // Cut off before it was noted.
        None => match find(&place, world) {
            Err(failure) if failure.code() == Some(Code::NotFound) => None,
            held => held?,
        },
    };
    if let Some(held) = held {
        deactivate(&place, &held, &lock, world)?;
    }
    seal::lift(&place, world)?;
    Held::note(&place, world)?.remove()
}

fn deactivate(place: &Place, held: &Held, lock: &Lock, world: &World) -> Result<()> {
    let Some(dm) = held.dm_anywhere()? else { return Ok(()) };
    let (lvm, storage) = (Lvm::find()?, place.storage());
    let group = group_of(place, held, &lvm, world);
    if dm.suspended() {
        refresh(place, &held.lv_uuid, &group, lock, &lvm)?;
    }
    if held.dm().is_some() && !block::is_free(&held.device)? {
        return Err(in_use(place, &dm));
    }
    // Without its name: that may be another by now.
    let selection = only(&held.lv_uuid);
    let off = |group: &Group| {
        lvm.change(&format!("deactivate {storage}"), lock, group, &["lvchange", "-an", "-S", &selection])
    };
    let mut done = off(&group);
    if held.dm_anywhere()?.is_some_and(|dm| dm.users().is_empty())
        && let Ok(now) = devices::ask(&place.vg, Some(&held.vg_uuid), &lvm, world)
        && now.devices != group.devices
    {
        // It was moved to other disks meanwhile.
        done = off(&now);
    }
    match held.dm_anywhere()? {
        None => Ok(()),
        Some(dm) => match (done, dm.users()) {
            (Err(failure), users) if users.is_empty() => Err(failure),
            (Ok(()), users) if users.is_empty() => {
                let message =
                    format!("{storage} is not the volume that was attached any more, and that is active still");
                Err(Failure::new(Code::Conflict, message))
            }
            (Ok(()) | Err(_), _) => Err(in_use(place, &dm)),
        },
    }
}
