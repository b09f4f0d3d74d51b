//! What this driver has made, in pages: volumes and snapshots that are whole, in the directories that the settings name.

use flexvolume::{
    Created, Id, Options, OptionsExt, Page, Result, Snapshot, SnapshotList, VolumeList, VolumeName, World, keys,
};
use flexvolume_linux::Error;
use rustix::fs::Stat;

use crate::{
    home::Home,
    mark::Mark,
    place::{Kind, Place},
    provision::created,
    snapshot::told,
};

/// Something of ours that has a mark, and what the kernel says of its image, if that is there.
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) mark: Mark,
    pub(crate) image: Option<Stat>,
}

/// One page of the volumes.
///
/// # Errors
/// `invalid`: the page makes no sense. A directory that the settings name cannot be read: a list that lacks some would be taken
/// for whole.
pub(crate) fn volumes(options: &Options, world: &World) -> Result<VolumeList> {
    let page = Page::of(options)?;
    let mut all = Vec::new();
    for Found { place, mark, image } in whole(Kind::Volume, world)? {
        all.push(created(&place, &mark, image.map_or(mark.bytes, |image| image.st_size.unsigned_abs()))?);
    }
    let (volumes, next) = page.cut(all, |one: &Created| &one.id);
    Ok(VolumeList { volumes, next })
}

/// One page of the snapshots: all, those of the volume `flexvol/id`, or `flexvol/snapshot` alone.
///
/// # Errors
/// As [`volumes`].
pub(crate) fn snapshots(options: &Options, world: &World) -> Result<SnapshotList> {
    let page = Page::of(options)?;
    let (of, only) = (wish(options, keys::ID)?, wish(options, keys::SNAPSHOT)?);
    let mut all = Vec::new();
    for Found { place, mark, .. } in whole(Kind::Snapshot, world)? {
        all.push(told(&place, &mark)?);
    }
    all.retain(|one: &Snapshot| of.as_ref().is_none_or(|id| one.id.as_ref() == Some(id)));
    all.retain(|one| only.as_ref().is_none_or(|id| one.snapshot == *id));
    let (snapshots, next) = page.cut(all, |one| &one.snapshot);
    Ok(SnapshotList { snapshots, next })
}

fn wish(options: &Options, key: &str) -> Result<Option<Id>> {
    if options.get(key) == Some("") { Ok(None) } else { options.optional(key) }
}

/// What can be used, of all directories.
fn whole(kind: Kind, world: &World) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    for (_, home) in Home::all(world)? {
        all.extend(marked(&home?, kind)?);
    }
    all.retain(|found| found.mark.made && found.mark.is_whole() && found.image.is_some());
    Ok(all)
}

/// All of a kind that has a mark in this directory.
///
/// # Errors
/// The directory or a mark cannot be read.
pub(crate) fn marked(home: &Home, kind: Kind) -> Result<Vec<Found>> {
    let names = home.folder.names().map_err(|error| Error::io("read the directory", home.folder.path(), error))?;
    let mut all = Vec::new();
    for name in names.iter().filter_map(|name: &String| -> Option<VolumeName> { kind.marked_by(name) }) {
        let place = Place::new(home.clone(), kind, name);
        // It may have gone this moment.
        let Some(mark) = Mark::read(&place)? else { continue };
        // One that is whole and has not got its name yet gets it from whoever uses it first.
        let passing = || place.folder().stat(&place.unborn()).ok().filter(|_| mark.is_whole());
        let image = place.folder().stat(&place.image()).ok().or_else(passing);
        all.push(Found { place, mark, image });
    }
    Ok(all)
}
