//! A stranger's `expandfs`, who knows no device: the backing is grown, then the file system.

use std::path::Path;

use flexvolume_linux::mount::table;
use flexvolume_protocol::{Code, Device, ExpandFs, ExpandVolume};

use super::{plain, records};
use crate::{Driver, Failure, Result, World};

pub(crate) fn expandfs<D: Driver>(driver: &D, call: &ExpandFs, world: &World) -> Result<()> {
    let place = plain(&call.dir);
    let _place = world.lock_of("place", &place)?;
    let Some(there) = table::at(Path::new(&place))? else {
        return Err(Failure::new(Code::Invalid, format!("cannot expand: nothing is mounted at {place}")));
    };
    let (storage, device) = match records(world).get(&place)? {
        Some(record) => (record.storage, record.device),
        None => (driver.storage(&call.options, world)?, there.source),
    };
    let _held = world.lock_of("storage", &storage)?;
    let world = world.scoped(&storage);
    let ExpandFs { options, dir, new, old, .. } = call.clone();
    match driver.expandvolume(&ExpandVolume { options: options.clone(), dir: dir.clone(), new, old }, &world) {
        Err(failure) if failure.is_not_supported() => {}
        answer => drop(answer?),
    }
    driver.expandfs(&ExpandFs { options, device: Device(device), dir, new, old }, &world)
}
