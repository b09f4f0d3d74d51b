//! The loopback driver: volumes in sparse image files, each behind a loop device. Staged and local; it serves every extension there is.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod clone;
mod copy;
mod device;
mod digest;
mod folder;
mod health;
mod home;
mod image;
mod list;
mod mark;
mod modify;
mod mount;
mod place;
mod progress;
mod provision;
mod renew;
mod room;
mod snapshot;
mod unused;

use flexvolume::{
    Attach, Attached, Capabilities, Capacity, CreateSnapshot, CreateVolume, Created, DeleteSnapshot, DeleteVolume,
    Detach, Device, Driver, ExpandFs, ExpandVolume, Expanded, Extension, GetCapacity, GetHealth, Health, IsAttached,
    ListSnapshots, ListVolumes, ModifyVolume, MountDevice, Options, OptionsExt, Result, Snapshot, SnapshotList,
    UnmountDevice, VolumeList, WaitForAttach, World,
};
use place::Place;

struct Loopback;

impl Driver for Loopback {
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
        Extension::Modify,
    ];

    fn capabilities(&self) -> Capabilities {
        Capabilities { supports_metrics: true, ..Capabilities::default() }
    }

    /// The image's path: two volumes of one image share its device.
    fn storage(&self, options: &Options, world: &World) -> Result<String> {
        Ok(Place::of(options, world)?.storage())
    }

    fn attach(&self, call: &Attach, world: &World) -> Result<Device> {
        let place = Place::of(&call.options, world)?;
        // Not between the steps of a creation, a deletion or an expansion.
        let _lock = world.lock(&place.storage())?;
        for note in renew::before_attach(&place, call.options.read_only())? {
            world.log(format_args!("{}: {note}", place.image().display()));
        }
        let image = image::open_or_make(&place, &call.options)?;
        device::attach(&place, image, call.options.read_only()).map(Device)
    }

    fn isattached(&self, call: &IsAttached, world: &World) -> Result<Attached> {
        let place = Place::of(&call.options, world)?;
        Ok(Attached(device::is_attached(&place)?))
    }

    fn waitforattach(&self, call: &WaitForAttach, world: &World) -> Result<Device> {
        let place = Place::of(&call.options, world)?;
        // What was attached may be a name from before a reboot: the image knows its device.
        device::expect(&place).map(|found| Device(found.device.display().to_string()))
    }

    fn mountdevice(&self, call: &MountDevice, world: &World) -> Result<()> {
        let place = Place::of(&call.options, world)?;
        for note in mount::mount(&place, call.dir.as_path(), &call.options, world)? {
            world.log(format_args!("{}: {note}", place.image().display()));
        }
        Ok(())
    }

    fn unmountdevice(&self, call: &UnmountDevice, _world: &World) -> Result<()> {
        mount::unmount(call.dir.as_path())
    }

    fn detach(&self, call: &Detach, world: &World) -> Result<()> {
        match world.attachments().get(&call.name)? {
            Some(attachment) => device::detach(&attachment),
            None => Ok(()),
        }
    }

    fn expandvolume(&self, call: &ExpandVolume, world: &World) -> Result<Expanded> {
        let place = Place::of(&call.options, world)?;
        let _lock = world.lock(&place.storage())?;
        let bytes = image::grow(&place, call.new.0)?;
        if let Some(attached) = device::find(&place)? {
            flexvolume_linux::loopdev::grow(&attached.device)?;
        }
        Ok(Expanded { bytes: Some(bytes) })
    }

    fn expandfs(&self, call: &ExpandFs, world: &World) -> Result<()> {
        let place = Place::of(&call.options, world)?;
        let attached = device::expect(&place)?;
        Ok(flexvolume_linux::fs::grow_fs(&attached.device, call.dir.as_path())?)
    }

    fn createvolume(&self, call: &CreateVolume, world: &World) -> Result<Created> {
        match call.options.source()? {
            Some(source) => clone::create(&call.options, &source, world),
            None => provision::create(&call.options, world),
        }
    }

    fn deletevolume(&self, call: &DeleteVolume, world: &World) -> Result<()> {
        provision::delete(&call.options, world)
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
        room::capacity(&call.options, world)
    }

    fn gethealth(&self, call: &GetHealth, world: &World) -> Result<Health> {
        health::health(&call.options, world)
    }

    fn modifyvolume(&self, call: &ModifyVolume, world: &World) -> Result<()> {
        modify::modify(&call.options, world)
    }
}

fn main() -> std::process::ExitCode {
    flexvolume::run(Loopback)
}
