//! The one trait that a driver's author implements.

use flexvolume_protocol::{
    Attach, Attached, Capabilities, CreateVolume, Created, DeleteVolume, Detach, Device, ExpandFs, ExpandVolume,
    Expanded, Extension, GetVolumeName, Init, IsAttached, Mount, MountDevice, Options, Unmount, UnmountDevice,
    VolumeNameReply, WaitForAttach,
};

use crate::{Failure, Result, World, staged};

/// A FlexVolume driver. Every verb answers "Not supported" until it is implemented, and the host then does what it
/// does by default.
///
/// Demands on every verb:
/// - It can be called again with the same arguments: after success, after failure, after its caller died half-way,
///   after a reboot.
/// - `mount` and `mountdevice` make everything or leave an unmounted, empty directory; the directory exists already.
/// - `unmount`, `unmountdevice` and `detach` succeed when there is nothing to undo.
/// - Options of other drivers and hosts may be among the options; pass over what you do not know.
/// - Nothing is printed; say what there is to say in the [`Failure`] or through [`World::log`].
///
/// # Staged drivers
/// One that announces [`Extension::Staged`] implements attach, detach, mountdevice, unmountdevice (and waitforattach
/// if it must wait) once, and two kinds of host are served. A host that knows the extension calls these verbs and
/// binds the volume into its pods itself. A stranger is told `attach:false` and calls `mount` and `unmount`, which the
/// kit then composes of the others; so `mount`, `unmount`, and `expandfs` without a device never reach such a driver.
///
/// For staged drivers the kit also records every attach ([`World::attachments`]), holds a lock per storage
/// ([`Driver::storage`]) over attach, detach and the composed calls, and calls `detach` only when nothing else uses
/// the storage.
pub trait Driver {
    /// What the driver can do beyond the contract of Kubernetes; told to the host at `init`. The kit adds
    /// [`Extension::Stdin`], which it serves itself.
    const EXTENSIONS: &'static [Extension] = &[];

    /// What the driver tells the host about itself at `init`. For a staged driver the kit sets `attach` to false.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Called at every load; fails only if the driver cannot work on this machine at all, for it is then not there.
    /// Needs no network and no credentials.
    ///
    /// # Errors
    /// Why the driver cannot work here.
    fn init(&self, _call: &Init, _world: &World) -> Result<()> {
        Ok(())
    }

    /// Staged drivers: what names the storage behind these options, on this node and for as long as the node is up.
    /// Two volumes that answer the same share one device; their calls wait for each other, and it is detached when
    /// the last of them goes. Without this, volumes of another name or other options are other storage: implement it
    /// if two sets of options can mean the same (an image's path, an export). It is recorded, so no secrets. It
    /// must not change anything.
    ///
    /// # Errors
    /// The options make no sense.
    fn storage(&self, options: &Options, _world: &World) -> Result<String> {
        Ok(staged::storage_by_options(options))
    }

    /// Hosts ignore the name; leave it "Not supported".
    ///
    /// # Errors
    /// As all verbs: the answer, if it is not Success.
    fn getvolumename(&self, _call: &GetVolumeName, _world: &World) -> Result<VolumeNameReply> {
        Err(Failure::not_supported())
    }

    /// Makes the volume reachable from a node and says as what device. Attached already: the same device.
    ///
    /// # Errors
    /// As all verbs.
    fn attach(&self, _call: &Attach, _world: &World) -> Result<Device> {
        Err(Failure::not_supported())
    }

    /// Whether the volume is attached to the node. Asked often: answer fast.
    ///
    /// # Errors
    /// As all verbs.
    fn isattached(&self, _call: &IsAttached, _world: &World) -> Result<Attached> {
        Err(Failure::not_supported())
    }

    /// Waits, on the node and for less than ten minutes, until the device is there, and answers what it is called here;
    /// what was attached may be `""` or a name from before a reboot.
    ///
    /// # Errors
    /// As all verbs.
    fn waitforattach(&self, _call: &WaitForAttach, _world: &World) -> Result<Device> {
        Err(Failure::not_supported())
    }

    /// Mounts the device; once per node for some hosts, at one directory per pod for others, so the same device may be
    /// mounted elsewhere already.
    ///
    /// # Errors
    /// As all verbs.
    fn mountdevice(&self, _call: &MountDevice, _world: &World) -> Result<()> {
        Err(Failure::not_supported())
    }

    /// Mounts the volume for one pod. The options hold the pod's keys and the secrets.
    ///
    /// # Errors
    /// As all verbs.
    fn mount(&self, _call: &Mount, _world: &World) -> Result<()> {
        Err(Failure::not_supported())
    }

    /// Undoes `mount`. May be called where nothing was ever mounted.
    ///
    /// # Errors
    /// As all verbs.
    fn unmount(&self, _call: &Unmount, _world: &World) -> Result<()> {
        Err(Failure::not_supported())
    }

    /// Undoes `mountdevice`. Not called where nothing is mounted, so nothing else may depend on it.
    ///
    /// # Errors
    /// As all verbs.
    fn unmountdevice(&self, _call: &UnmountDevice, _world: &World) -> Result<()> {
        Err(Failure::not_supported())
    }

    /// Undoes `attach`. Only the volume's name is known; a staged driver finds what the kit recorded with
    /// [`World::attachments`]. A name that is unknown is a Success.
    ///
    /// # Errors
    /// As all verbs.
    fn detach(&self, _call: &Detach, _world: &World) -> Result<()> {
        Err(Failure::not_supported())
    }

    /// Grows what backs the volume; with [`Extension::Expand`] announced it means it.
    ///
    /// # Errors
    /// As all verbs; here [`Failure::in_progress`] is one of them.
    fn expandvolume(&self, _call: &ExpandVolume, _world: &World) -> Result<Expanded> {
        Err(Failure::not_supported())
    }

    /// Grows the file system mounted at the directory to its device. A staged driver is always told the device.
    ///
    /// # Errors
    /// As all verbs.
    fn expandfs(&self, _call: &ExpandFs, _world: &World) -> Result<()> {
        Err(Failure::not_supported())
    }

    /// Makes a volume; the same name again is the same volume, and with other wishes a `conflict`.
    ///
    /// # Errors
    /// As all verbs; here [`Failure::in_progress`] is one of them.
    fn createvolume(&self, _call: &CreateVolume, _world: &World) -> Result<Created> {
        Err(Failure::not_supported())
    }

    /// Deletes a volume by its id; an unknown one is a Success.
    ///
    /// # Errors
    /// As all verbs; here [`Failure::in_progress`] is one of them.
    fn deletevolume(&self, _call: &DeleteVolume, _world: &World) -> Result<()> {
        Err(Failure::not_supported())
    }
}
