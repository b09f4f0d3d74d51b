//! lvremove, and the proofs that go before it and with it.

use flexvolume::{Code, Failure, Lock, Result};
use flexvolume_linux::block;

use crate::{
    active::{in_use, only},
    dm::Dm,
    group::Group,
    names::dm_uuid,
    place::Place,
    report::Volume,
    tags::{State, tag},
    tool::{Lvm, flush},
    volume,
};

/// The selection by which LVM sees that no other volume dies with one.
pub(crate) const STANDS_ALONE: &str = r#"lv_role!={"thickorigin"} && lv_role!={"extthinorigin"}"#;

/// Removes a volume: LVM itself, under its own lock, sees that it is this very one, ours, in this state if it has to be in one, and
/// that no other dies with it. `lock` is that of the group.
///
/// # Errors
/// `busy`: somebody uses it. `conflict`: it is not that any more. Or LVM's own.
pub(crate) fn remove(
    place: &Place,
    volume: &Volume,
    state: Option<State>,
    (group, lock, lvm): (&Group, &Lock, &Lvm),
) -> Result<()> {
    let storage = place.storage();
    let device =
        [&volume.path, &volume.dm_path].into_iter().flatten().find_map(|path| Dm::at(path).map(|dm| (path, dm)));
    if let Some((path, dm)) = device
        && dm.uuid() == dm_uuid(&volume.group.uuid, &volume.uuid)
        && !block::is_free(path)?
    {
        return Err(in_use(place, &dm));
    }
    let tags = [tag("maker", "lvm")].into_iter().chain(state.map(State::tag));
    let tags = tags.map(|tag| format!(" && lv_tags={{\"{tag}\"}}")).collect::<String>();
    let proof = format!("{}{tags} && {STANDS_ALONE}", only(&volume.uuid));
    let done = lvm.told(&format!("remove {storage}"), lock, group, &["lvremove", "-y", "-S", &proof, &storage]);
    // Where the machine's lvm.conf lets it speak, it says so itself.
    if done.as_ref().is_ok_and(|told| told.contains("successfully removed")) {
        return Ok(());
    }
    // An earlier call's command may have done it while we waited for it.
    if volume::is_there(&volume.uuid, group, lvm)? {
        done?;
        // Where the selection does not fit, LVM does nothing and says nothing.
        let message = format!(
            "{storage} was not removed: it changed while it was looked at, or other volumes stand on it (lvs -o +lv_role); try again"
        );
        return Err(Failure::new(Code::Conflict, message));
    }
    flush(group)
}
