//! The NFS driver: volumes that are directories of a server. Staged; every node can have them.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod child;
mod digest;
mod health;
mod home;
mod ids;
mod letgo;
mod make;
mod marker;
mod name;
mod options;
mod own;
mod pool;
mod provision;
mod server;
mod settings;
mod share;
mod shares;
mod snapshot;
mod stage;
mod touch;
#[cfg(test)]
mod trees;
mod unmake;
mod volume;

use flexvolume::{
    Attach, Capabilities, Capacity, CreateSnapshot, CreateVolume, Created, DeleteSnapshot, DeleteVolume, Detach,
    Device, Driver, ExpandVolume, Expanded, Extension, GetCapacity, GetHealth, Health, Init, ListSnapshots,
    ListVolumes, MountDevice, Options, Result, Snapshot, SnapshotList, UnmountDevice, VolumeList, WaitForAttach, World,
};
use flexvolume_linux::{mount::table, worker};
use settings::Settings;
use volume::Volume;

struct Nfs;

impl Driver for Nfs {
    const EXTENSIONS: &'static [Extension] = &[
        Extension::Staged,
        Extension::Provision,
        Extension::Expand,
        Extension::Snapshot,
        Extension::Clone,
        Extension::Capacity,
        Extension::List,
        Extension::Health,
    ];

    fn capabilities(&self) -> Capabilities {
        Capabilities { supports_metrics: true, requires_fs_resize: false, ..Capabilities::default() }
    }

    /// Settings that nobody can read are told at once, not at the first pod.
    fn init(&self, _call: &Init, world: &World) -> Result<()> {
        Settings::read(world).map(drop)
    }

    /// The share and how it is mounted: volumes that agree in that have one mount on the node.
    fn storage(&self, options: &Options, world: &World) -> Result<String> {
        Ok(Volume::of(options, world)?.share.to_string())
    }

    /// There is nothing to attach. What is answered is what the kernel will show as the source of the mount.
    fn attach(&self, call: &Attach, world: &World) -> Result<Device> {
        Ok(Device(Volume::of(&call.options, world)?.source()))
    }

    fn waitforattach(&self, call: &WaitForAttach, world: &World) -> Result<Device> {
        Ok(Device(Volume::of(&call.options, world)?.source()))
    }

    fn mountdevice(&self, call: &MountDevice, world: &World) -> Result<()> {
        stage::mount(&Volume::of(&call.options, world)?, call.dir.as_path(), world)
    }

    fn unmountdevice(&self, call: &UnmountDevice, world: &World) -> Result<()> {
        stage::unmount(call.dir.as_path(), world)
    }

    /// What a call left that was cut off between mounting the share and showing it.
    fn detach(&self, call: &Detach, world: &World) -> Result<()> {
        let Some(attachment) = world.attachments().get(&call.name)? else { return Ok(()) };
        let point = shares::Shares::of(world).point(&attachment.storage);
        let clock = child::Clock::of(world);
        match table::at(&point)? {
            Some(mounted) => own::release(mounted.dev, world, &clock),
            None => own::forget(&point, world, &clock),
        }
    }

    fn expandvolume(&self, call: &ExpandVolume, world: &World) -> Result<Expanded> {
        provision::expand(&call.options, call.new.0, world)
    }

    fn createvolume(&self, call: &CreateVolume, world: &World) -> Result<Created> {
        provision::create(&call.options, world)
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
        snapshot::list(&call.options, world)
    }

    fn listvolumes(&self, call: &ListVolumes, world: &World) -> Result<VolumeList> {
        provision::list(&call.options, world)
    }

    fn getcapacity(&self, call: &GetCapacity, world: &World) -> Result<Capacity> {
        provision::capacity(&call.options, world)
    }

    fn gethealth(&self, call: &GetHealth, world: &World) -> Result<Health> {
        health::told(&call.options, world)
    }
}

fn main() -> std::process::ExitCode {
    // Born to do one step that may hang?
    if let Some(code) = worker::main::<touch::Touch>().or_else(worker::main::<pool::Work>) {
        return code;
    }
    flexvolume::run(Nfs)
}
