//! The one trait that a driver's author implements.

use flexvolume_protocol::{
    Attach, Attached, Capabilities, Capacity, CreateSnapshot, CreateVolume, Created, DeleteSnapshot, DeleteVolume,
    Detach, Device, ExpandFs, ExpandVolume, Expanded, Extension, GetCapacity, GetHealth, GetVolumeName, Health, Init,
    IsAttached, ListSnapshots, ListVolumes, ModifyVolume, Mount, MountDevice, Options, Snapshot, SnapshotList, Unmount,
    UnmountDevice, VolumeList, VolumeNameReply, WaitForAttach,
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
    ///
    /// An extension that is announced is served: "Not supported" from one of its verbs
    /// ([`VerbName::extension`](flexvolume_protocol::VerbName::extension)) is then a fault of the driver.
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
    /// what was attached may be `""` or a name from before a reboot. With [`Extension::Block`] announced a pod may be
    /// given that device as it is: it must be the path of a block device, and may then hold anything.
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

    /// Grows what backs the volume; with [`Extension::Expand`] announced it means it. Never shrinks: one that is as large
    /// already is a Success with its size.
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

    /// Extension `provision`: makes a volume of `flexvol/requiredBytes` at least and `flexvol/limitBytes` at most, or
    /// fails and leaves nothing. The same `flexvol/name` again is the same volume; with other wishes it is a `conflict`.
    ///
    /// Extension `clone`: with [`OptionsExt::source`](crate::OptionsExt::source) the volume begins with the content of
    /// another, or of a snapshot, and is no smaller. It is a volume of its own from then on: the source may be deleted.
    /// A source that is not there is `notFound`; the same name with another source, or with none, is a `conflict`.
    ///
    /// Extension `modify`: of the parameters those that [`OptionsExt::mutable`](crate::OptionsExt::mutable) gives are ones that
    /// `modifyvolume` can change. Among them, one that the driver does not know is `invalid`.
    ///
    /// # Errors
    /// As all verbs; here [`Failure::in_progress`] is one of them. No room is `exhausted`.
    fn createvolume(&self, _call: &CreateVolume, _world: &World) -> Result<Created> {
        Err(Failure::not_supported())
    }

    /// Extension `provision`: deletes the volume `flexvol/id`; an unknown one is a Success, one that is in use or that
    /// others still need is `busy`.
    ///
    /// # Errors
    /// As all verbs; here [`Failure::in_progress`] is one of them.
    fn deletevolume(&self, _call: &DeleteVolume, _world: &World) -> Result<()> {
        Err(Failure::not_supported())
    }

    /// Extension `snapshot`: keeps what the volume `flexvol/id` holds at this moment, mounted or not, under
    /// `flexvol/name`. The same name again is the same snapshot, however old; of another volume it is a `conflict`. A
    /// volume that is not there is `notFound`.
    ///
    /// Once this has answered Success the moment is over, and the volume may change. A snapshot that exists and cannot
    /// be read yet is answered with `ready` false; the host asks again until it is true. Where even the moment is not
    /// over, the answer is [`Failure::in_progress`].
    ///
    /// # Errors
    /// As all verbs; here [`Failure::in_progress`] is one of them. No room is `exhausted`.
    fn createsnapshot(&self, _call: &CreateSnapshot, _world: &World) -> Result<Snapshot> {
        Err(Failure::not_supported())
    }

    /// Extension `snapshot`: deletes the snapshot `flexvol/snapshot`; an unknown one is a Success. Neither its volume nor
    /// what was made of it is touched: where a clone still needs it, it is `busy`.
    ///
    /// # Errors
    /// As all verbs; here [`Failure::in_progress`] is one of them.
    fn deletesnapshot(&self, _call: &DeleteSnapshot, _world: &World) -> Result<()> {
        Err(Failure::not_supported())
    }

    /// Extension `snapshot`: one page of the snapshots this driver has made; with `flexvol/id` those of that volume
    /// alone, with `flexvol/snapshot` that one alone. Nothing that fits is an empty list. Each says whose it is
    /// ([`Snapshot::id`]). It changes nothing and is brief; [`Page`](crate::Page) does the paging.
    ///
    /// # Errors
    /// As all verbs. A token that the driver never gave is `invalid`, if it cannot be made sense of.
    fn listsnapshots(&self, _call: &ListSnapshots, _world: &World) -> Result<SnapshotList> {
        Err(Failure::not_supported())
    }

    /// Extension `capacity`: how much room there is for volumes that `createvolume` makes with these parameters. It
    /// promises nothing: others make volumes too.
    ///
    /// # Errors
    /// As all verbs. Parameters that no volume can be made with are `invalid`.
    fn getcapacity(&self, _call: &GetCapacity, _world: &World) -> Result<Capacity> {
        Err(Failure::not_supported())
    }

    /// Extension `list`: one page of the volumes this driver has made, each as `createvolume` answered it; those that are
    /// half-made or being deleted are left out. It changes nothing and is brief; [`Page`](crate::Page) does the paging.
    ///
    /// # Errors
    /// As all verbs. A token that the driver never gave is `invalid`, if it cannot be made sense of.
    fn listvolumes(&self, _call: &ListVolumes, _world: &World) -> Result<VolumeList> {
        Err(Failure::not_supported())
    }

    /// Extension `health`: how the volume `flexvol/id` does, or without it the storage itself. What is wrong is an
    /// answer ([`Condition`](flexvolume_protocol::Condition) and words that say what to do), and a failure only where
    /// that cannot be told. It mends nothing, changes nothing and is brief, also where the storage hangs.
    ///
    /// # Errors
    /// As all verbs. A volume nobody knows is `notFound`; one that was there and is lost is `dataLoss`, in an answer.
    fn gethealth(&self, _call: &GetHealth, _world: &World) -> Result<Health> {
        Err(Failure::not_supported())
    }

    /// Extension `modify`: changes of the volume `flexvol/id` what [`OptionsExt::changes`](crate::OptionsExt::changes) gives,
    /// mounted or not, and leaves alone what is not among it. It lasts: the next attach finds it so. The same again is a Success.
    ///
    /// A parameter that is unknown, or cannot have that value for this volume, is `invalid`, and then nothing is changed: look at
    /// all of them before you change the first. A volume that is not there is `notFound`; one that must not be in use for this is `busy`.
    ///
    /// # Errors
    /// As all verbs; here [`Failure::in_progress`] is one of them.
    fn modifyvolume(&self, _call: &ModifyVolume, _world: &World) -> Result<()> {
        Err(Failure::not_supported())
    }
}
