//! A volume shown to one user, at the path that the client names.

use std::{
    collections::BTreeMap,
    mem,
    path::{Path, PathBuf},
};

use flexvolume_host::{
    Error, Held, Kind as ErrorKind,
    drivers::driver::Driver,
    target::{self, AccessTimes, Manner, Shown},
    volume::{
        admit::Request,
        record::{self, Kind as Handled, Spec, User},
    },
};
use flexvolume_protocol::{Id, PodUid, Secrets, UserOptions, VolumeName};
use tonic::Status;

use super::{place, stage::spec};
use crate::{
    plugin::{Plugin, Trouble, keys, not_undone},
    request::{
        access::{Access, Kind},
        capability::Offer,
        context::{self, Context, Pod},
        flags::{Flags, Times},
        limits,
        name::volume_name,
    },
    status::{self, Rpc},
    wire::csi::{
        NodePublishVolumeRequest, NodePublishVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
    },
};

/// What one user asks for.
struct Wanted {
    id: Id,
    target: PathBuf,
    access: Access,
    context: Context,
    read_only: bool,
    secrets: Secrets,
}

impl Plugin {
    pub(super) fn publish(&self, request: NodePublishVolumeRequest) -> Result<NodePublishVolumeResponse, Trouble> {
        let driver = self.driver()?;
        let offer = self.offer(&driver);
        let wanted = self.wanted(request, &offer)?;
        let held = match (offer.stages(), wanted.context.is_inline) {
            (false, _) => None,
            (true, false) => Some(self.held(&wanted.id)?),
            // Nobody stages what is written in a pod: it comes and goes with its one user.
            (true, true) => {
                let context = wanted.context.clone();
                let hold =
                    self.held_as(driver.kind(), &wanted.id, &wanted.access, context, !wanted.secrets.is_empty())?;
                Some(self.hold(&hold, wanted.secrets.clone(), Rpc::NodePublishVolume)?)
            }
        };
        let (name, comes_with_its_user) = (volume_name(&wanted.id), wanted.context.is_inline && held.is_some());
        match self.give(&driver, held, wanted) {
            Ok(()) => Ok(NodePublishVolumeResponse {}),
            Err(trouble) => {
                if comes_with_its_user {
                    // Where it is shown to somebody all the same it stays.
                    let _ = self.end_with_its_user(&name);
                }
                Err(trouble)
            }
        }
    }

    /// Shows it to its user.
    fn give(&self, driver: &Driver, held: Option<Held>, wanted: Wanted) -> Result<(), Trouble> {
        let Wanted { target, access, read_only, .. } = &wanted;
        // Also where no mount is that has lost its power: in a directory that the driver fills, in what it mounted inside, and in what
        // was staged when the settings were others.
        let is_weak = !driver.config.allow_suid_and_devices;
        if let Some(held) = &held {
            access.must_be(held.spec.block)?;
            if let Kind::Mount { flags, .. } = &access.kind {
                flags.are_of(&held.spec.mount_options)?;
            }
            let named = spec(driver.kind(), access, wanted.context.clone(), false)?;
            // It is the volume itself that is there in another way, so the word is that of whoever stages it.
            held.must_be(&as_named(held, named)?).map_err(|error| status::of(&error, Rpc::NodeStageVolume))?;
        }
        match (&held, driver.kind(), &access.kind) {
            (Some(held), _, Kind::Block) => {
                if *read_only && !held.read_only {
                    let why = "the device is writable on this node, so it cannot be given read-only";
                    return Err(status::refused(why).into());
                }
                self.show(Shown::Device(Path::new(&held.device)), &wanted, held, device())
            }
            (Some(held), Handled::Staged, Kind::Mount { flags, .. }) => {
                self.show(Shown::Tree(&held.path), &wanted, held, manner(flags, *read_only, is_weak))
            }
            (None, Handled::Staged, Kind::Mount { .. }) | (None, _, Kind::Block) => {
                Err(status::refused("the volume is not staged").into())
            }
            (_, Handled::Attachable | Handled::Direct, Kind::Mount { flags, .. }) => {
                let (name, target) = (volume_name(&wanted.id), target.clone());
                let place = self.place_of(&target)?;
                let manner = manner(flags, *read_only, is_weak);
                let ours = || self.host.traces(&driver.name, &name, Some(place.as_str()));
                // Where it could never be shown, the driver is not asked at all.
                if self.targets.has_ours(&target, &ours()?)? {
                    for record in self.host.at_place(&driver.name, &name, place.as_str())? {
                        is_same_use(record.alone, access, &target)?;
                    }
                }
                let path = self.place(driver, wanted, &place)?;
                let ours = ours()?;
                match self.targets.show(Shown::Tree(&path), &target, manner, &ours) {
                    Ok(_) => Ok(()),
                    Err(error) if self.targets.has_ours(&target, &ours).is_ok_and(|shown| shown) => Err(error.into()),
                    // What is seen nowhere is nobody's.
                    Err(error) => {
                        Err(self.given_up(error, Rpc::NodePublishVolume, |plugin| plugin.take_from(&name, &place)))
                    }
                }
            }
        }
    }

    fn wanted(&self, mut request: NodePublishVolumeRequest, offer: &Offer) -> Result<Wanted, Trouble> {
        let id = limits::volume(&request.volume_id)?;
        let access = Access::of(request.volume_capability.as_ref())?;
        let target = limits::path("target_path", &request.target_path)?.to_owned();
        self.targets.relative(&target)?;
        let context = context::of(&id, &request.volume_context)?;
        self.serving.inline.admit(&context)?;
        if offer.stages() && !context.is_inline {
            if request.staging_target_path.is_empty() {
                let why = "the request has no staging_target_path, and volumes of this driver are staged; name where this one was \
                           staged (NodeStageVolume)";
                return Err(status::refused(why).into());
            }
            self.targets.relative(limits::path("staging_target_path", &request.staging_target_path)?)?;
        }
        if let Some(why) = access.is_beyond(offer) {
            return Err(status::refused(why).into());
        }
        let read_only = request.readonly || access.is_read_only();
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        Ok(Wanted { id, target, access, context, read_only, secrets })
    }

    /// Shows what is held, unless it is one user's alone, by his word or by that of who has it, and shown to another.
    fn show(&self, shown: Shown<'_>, wanted: &Wanted, held: &Held, manner: Manner) -> Result<(), Trouble> {
        let Wanted { id, target, access, .. } = wanted;
        let ours = self.host.traces(&self.serving.driver, &volume_name(id), None)?;
        let alone = access.mode.is_exclusive();
        // Whoever has it already may show it to his pod in ways of his own, as the kubelet does with raw devices.
        if (alone || held.alone) && self.targets.has_ours(target, &ours)? {
            is_same_use(held.alone, access, target)?;
        } else if alone || held.alone {
            if let Some(other) = self.targets.of(&ours)?.into_iter().find(|other| !self.targets.is(other, target)) {
                let what = format!("the volume is for one user alone, and published at {}", other.display());
                return Err(status::refused(format!("{what}; unpublish it there first (NodeUnpublishVolume)")).into());
            }
            // Whoever comes next is told, also if we are killed before this one sees it.
            self.host.set_alone(&held.key, alone, &|note| self.tell(note))?;
        }
        self.targets.show(shown, target, manner, &ours)?;
        Ok(())
    }

    /// The volume as it is held; made anew if somebody took it away.
    fn held(&self, id: &Id) -> Result<Held, Trouble> {
        let (driver, name) = (&self.serving.driver, volume_name(id));
        if !self.host.is_held(driver, &name)? {
            return Err(status::refused(format!(
                "volume {id} is not staged on this node; stage it first (NodeStageVolume)"
            ))
            .into());
        }
        let key = record::key(driver, &name, Handled::Staged, "");
        self.host.restage(&key, &keys(Default::default()), &|note| self.tell(note)).map_err(|error| {
            let status = status::of(&error, Rpc::NodePublishVolume);
            let words = format!("volume {id} does not stand on this node any more: {}", status.message());
            Status::new(status.code(), format!("{words}; stage it again (NodeStageVolume), or unstage it first")).into()
        })
    }

    /// Has the driver mount the volume for this user, at a path of ours.
    fn place(&self, driver: &Driver, wanted: Wanted, uid: &PodUid) -> Result<PathBuf, Trouble> {
        let Wanted { id, target: _, access, mut context, read_only, secrets } = wanted;
        let name = volume_name(&id);
        if driver.kind() == Handled::Direct {
            self.alone(&name, uid, access.mode.is_exclusive())?;
        }
        let user = user(context.pod.take(), &name, read_only);
        let request = Request {
            driver: self.serving.driver.clone(),
            name: name.clone(),
            persistent: true,
            exclusive: access.mode.is_exclusive(),
            capacity: None,
            uid: uid.clone(),
            spec: spec(driver.kind(), &access, context, !secrets.is_empty())?,
            user,
        };
        let was_there = !self.host.at_place(&driver.name, &name, uid.as_str())?.is_empty();
        match self.host.publish(&request, &keys(secrets), &|note| self.tell(note)) {
            Ok(published) => Ok(published.path),
            Err(error) if was_there => Err(error.into()),
            Err(error) => Err(self.given_up(error, Rpc::NodePublishVolume, |plugin| plugin.take_from(&name, uid))),
        }
    }

    /// A volume of a direct driver has a record for each user: no other may have it if one of them wants it alone.
    fn alone(&self, name: &VolumeName, uid: &PodUid, exclusive: bool) -> Result<(), Trouble> {
        for record in self.host.of_users(&self.serving.driver, name)? {
            // One that cannot be read may be somebody's.
            let record = match record {
                Ok(record) => record,
                Err(error) if exclusive => return Err(error.into()),
                // It is told of where it is asked for.
                Err(_) => continue,
            };
            if (exclusive || record.alone)
                && let Some((place, user)) = record.users.iter().find(|(user, _)| *user != uid.as_str())
            {
                let who = match self.targets.find(|target| place::of(target).as_str() == place)? {
                    Some(target) => format!("published at {}", target.display()),
                    None if user.pod.is_empty() => "mounted for another target".to_owned(),
                    None => format!("mounted for pod {}", user.pod),
                };
                let what = format!("the volume is for one user alone, and {who}");
                return Err(status::refused(format!("{what}; unpublish it there first (NodeUnpublishVolume)")).into());
            }
        }
        Ok(())
    }

    /// Takes away what the driver mounted for this user.
    fn take_from(&self, name: &VolumeName, place: &PodUid) -> Result<(), Trouble> {
        for record in self.host.at_place(&self.serving.driver, name, place.as_str())? {
            let taken =
                self.host.unpublish(&record.key, place.as_str(), &keys(Default::default()), &|note| self.tell(note));
            taken.map_err(not_undone)?;
        }
        Ok(())
    }

    /// What is at the target goes if it is this volume's. A volume that nobody knows may be gone already, and then so is what was
    /// there: to be told of it is to succeed. But a mount that is there all the same is somebody's.
    pub(super) fn unpublish(
        &self,
        request: NodeUnpublishVolumeRequest,
    ) -> Result<NodeUnpublishVolumeResponse, Trouble> {
        limits::required("volume_id", &request.volume_id)?;
        let target = limits::path("target_path", &request.target_path)?;
        let (driver, place) = (&self.serving.driver, self.place_of(target)?);
        let Some(id) = limits::id("volume_id", &request.volume_id)? else {
            self.targets.hide(target, &[], &|| Ok(Vec::new()))?;
            return Ok(NodeUnpublishVolumeResponse {});
        };
        let name = volume_name(&id);
        let ours = self.host.traces(driver, &name, Some(place.as_str()))?;
        self.targets.hide(target, &ours, &|| self.host.inner(driver, &name, Some(place.as_str())))?;
        self.take_from(&name, &place)?;
        self.end_with_its_user(&name)?;
        Ok(NodeUnpublishVolumeResponse {})
    }

    /// Lets go what is written in a pod, once it is shown to nobody: also what never came up, since nobody unstages it.
    fn end_with_its_user(&self, name: &VolumeName) -> Result<(), Trouble> {
        let driver = &self.serving.driver;
        if !self.host.wanted(driver, name)?.is_some_and(|spec| context::is_inline(&spec.options)) {
            return Ok(());
        }
        if self.published_at(name)?.is_some() { Ok(()) } else { self.release(name) }
    }

    /// Where a volume, or a part of it, is still seen by who uses it: by what it was known by at any time in this boot, since its mount
    /// may be gone from beneath him.
    pub(super) fn published_at(&self, name: &VolumeName) -> Result<Option<PathBuf>, Trouble> {
        let driver = &self.serving.driver;
        let ours = self.host.traces(driver, name, None)?;
        Ok(self.host.shown(driver, name, &ours, |point| self.targets.holds(point))?)
    }

    /// The name of a target beneath our own root.
    pub(super) fn place_of(&self, target: &Path) -> Result<PodUid, Trouble> {
        Ok(place::of(&self.targets.resolved(target)?))
    }
}

/// The pod, as far as the client says who it is.
fn user(pod: Option<Pod>, volume: &VolumeName, read_only: bool) -> User {
    let (pod, namespace, uid, service_account) = pod.map_or_else(Default::default, |pod| {
        (pod.name.to_string(), pod.namespace.to_string(), pod.uid.to_string(), pod.service_account)
    });
    User {
        pod,
        namespace,
        uid,
        service_account,
        // The client sees to that itself.
        fs_group: None,
        fs_group_on_mismatch: false,
        read_only,
        volume: volume.to_string(),
        mounts: Vec::new(),
    }
}

/// Whether who has it at a target already wants it as before: for himself alone, or beside others.
fn is_same_use(was_alone: bool, access: &Access, target: &Path) -> Result<(), Error> {
    if was_alone == access.mode.is_exclusive() {
        return Ok(());
    }
    let whom = if was_alone { "one user alone" } else { "several users" };
    let what = format!("the volume is published at {} for {whom}, which this access mode is not", target.display());
    Err(Error::new(ErrorKind::Refused, what).otherwise().hint("take it from there first"))
}

/// What is asked for, where all that is not named stays as it is staged.
fn as_named(held: &Held, named: Spec) -> Result<Spec, Status> {
    let staged = held.spec.clone();
    let fs_type = if named.fs_type.is_empty() { staged.fs_type } else { named.fs_type };
    let mut options: BTreeMap<String, String> = staged.options.into();
    options.extend(BTreeMap::from(named.options));
    let options = UserOptions::parse(options).map_err(|reserved| status::invalid(reserved.to_string()))?;
    Ok(Spec { fs_type, options, ..held.spec.clone() })
}

fn manner(flags: &Flags, read_only: bool, is_weak: bool) -> Manner {
    let times = flags.times.map(|times| match times {
        Times::Some => AccessTimes::Some,
        Times::Every => AccessTimes::Every,
        Times::None => AccessTimes::None,
    });
    let forbidden = target::Flags { read_only, nosuid: flags.nosuid, nodev: flags.nodev, noexec: flags.noexec };
    Manner { flags: forbidden, is_weak, times, no_directory_times: flags.no_directory_times }
}

/// A device's node: it could not be opened where device nodes have no power.
fn device() -> Manner {
    let flags = target::Flags { read_only: false, nosuid: true, nodev: false, noexec: true };
    Manner { flags, is_weak: false, times: None, no_directory_times: false }
}
