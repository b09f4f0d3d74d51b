//! Staged drivers for every host.
use crate::{Driver, Failure, Result, World};
use flexvolume_protocol::{Attach, Detach, Device, ExpandFs, Mount, Options, Unmount};
pub(crate) fn storage_by_options(_o: &Options) -> String {
    String::new()
}
pub(crate) fn attach<D: Driver>(d: &D, c: &Attach, w: &World) -> Result<Device> {
    d.attach(c, w)
}
pub(crate) fn detach<D: Driver>(d: &D, c: &Detach, w: &World) -> Result<()> {
    d.detach(c, w)
}
pub(crate) fn mount<D: Driver>(_d: &D, _c: &Mount, _w: &World) -> Result<()> {
    Err(Failure::not_supported())
}
pub(crate) fn unmount<D: Driver>(_d: &D, _c: &Unmount, _w: &World) -> Result<()> {
    Err(Failure::not_supported())
}
pub(crate) fn expandfs<D: Driver>(_d: &D, _c: &ExpandFs, _w: &World) -> Result<()> {
    Err(Failure::not_supported())
}
