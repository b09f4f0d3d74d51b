//! The LVM driver: volumes that are logical volumes. Staged and local; it serves every extension there is.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod active;
mod again;
mod attach;
mod capacity;
mod clone;
mod copy;
mod create;
mod decide;
mod delete;
mod detach;
mod devices;
mod dm;
mod end;
mod expand;
mod group;
mod health;
mod held;
mod holder;
mod kept;
mod list;
mod mount;
mod names;
mod notes;
mod place;
mod provision;
mod remove;
mod renew;
mod report;
mod seal;
mod seen;
mod settings;
mod snapshot;
mod snapshot_room;
mod stage;
mod tags;
mod taken;
mod thin;
mod tool;
mod volume;
mod wipe;

use flexvolume::{
    Attach, Attached, Capabilities, Capacity, CreateSnapshot, CreateVolume, Created, DeleteSnapshot, DeleteVolume,
    Detach, Device, Driver, ExpandFs, ExpandVolume, Expanded, Extension, GetCapacity, GetHealth, Health, Init,
    IsAttached, ListSnapshots, ListVolumes, MountDevice, Options, OptionsExt, Result, Snapshot, SnapshotList,
    UnmountDevice, VolumeList, WaitForAttach, World,
};
use place::Place;

struct Lvm;

impl Driver for Lvm {
    const EXTENSIONS: &'static [Extension] = &[
        Extension::Staged,
        Extension::Local,
        Extension::Block,
        Extension::Provision,
        Extension::Expand,
        Extension::Snapshot,
        Extension::Clone,
        Extension::Capacity,
        Extension::List,
        Extension::Health,
    ];

    fn capabilities(&self) -> Capabilities {
        Capabilities { supports_metrics: true, ..Capabilities::default() }
    }

    /// Without its command, nothing can be done here at all.
    fn init(&self, _call: &Init, world: &World) -> Result<()> {
        settings::Settings::read(world)?;
        tool::Lvm::find().map(drop)
    }

    /// `VG/LV`: two volumes of one logical volume share its device.
    fn storage(&self, options: &Options, world: &World) -> Result<String> {
        Ok(Place::of(options, world)?.storage())
    }

    fn attach(&self, call: &Attach, world: &World) -> Result<Device> {
        attach::attach(&Place::of(&call.options, world)?, &call.options, world).map(Device)
    }

    fn isattached(&self, call: &IsAttached, world: &World) -> Result<Attached> {
        let place = Place::of(&call.options, world)?;
        Ok(Attached(active::find(&place, world)?.is_some()))
    }

    fn waitforattach(&self, call: &WaitForAttach, world: &World) -> Result<Device> {
        // What was attached may be a name from before a reboot: LVM knows its device.
        let held = active::expect(&Place::of(&call.options, world)?, world)?;
        Ok(Device(held.device.display().to_string()))
    }

    fn mountdevice(&self, call: &MountDevice, world: &World) -> Result<()> {
        mount::mount(&Place::of(&call.options, world)?, call.dir.as_path(), &call.options, world)
    }

    fn unmountdevice(&self, call: &UnmountDevice, world: &World) -> Result<()> {
        mount::unmount(call.dir.as_path(), world)
    }

    fn detach(&self, call: &Detach, world: &World) -> Result<()> {
        match world.attachments().get(&call.name)? {
            Some(attachment) => detach::detach(&attachment, world),
            None => Ok(()),
        }
    }

    fn expandvolume(&self, call: &ExpandVolume, world: &World) -> Result<Expanded> {
        Ok(Expanded { bytes: Some(expand::expand(&call.options, call.new.0, world)?) })
    }

    fn expandfs(&self, call: &ExpandFs, world: &World) -> Result<()> {
        mount::grow(&Place::of(&call.options, world)?, call.dir.as_path(), world)
    }

    fn createvolume(&self, call: &CreateVolume, world: &World) -> Result<Created> {
        match call.options.source()? {
            Some(source) => clone::create(&call.options, &source, world),
            None => provision::create(&call.options, world),
        }
    }

    fn deletevolume(&self, call: &DeleteVolume, world: &World) -> Result<()> {
        delete::delete(&call.options, world)
    }

    fn createsnapshot(&self, call: &CreateSnapshot, world: &World) -> Result<Snapshot> {
        snapshot::create(&call.options, world)
    }

    fn deletesnapshot(&self, call: &DeleteSnapshot, world: &World) -> Result<()> {
        snapshot::delete(&call.options, world)
    }

    fn listsnapshots(&self, call: &ListSnapshots, world: &World) -> Result<SnapshotList> {
        list::snapshots(&call.options, world)
    }

    fn listvolumes(&self, call: &ListVolumes, world: &World) -> Result<VolumeList> {
        list::volumes(&call.options, world)
    }

    fn getcapacity(&self, call: &GetCapacity, world: &World) -> Result<Capacity> {
        capacity::capacity(&call.options, world)
    }

    fn gethealth(&self, call: &GetHealth, world: &World) -> Result<Health> {
        health::health(&call.options, world)
    }
}

fn main() -> std::process::ExitCode {
    flexvolume::run(Lvm)
}
