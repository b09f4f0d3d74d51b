//! A volume shown to one user, at the path that the client names.

use std::{
    mem,
    path::{Path, PathBuf},
};

use flexvolume_host::{
    Held,
    drivers::driver::Driver,
    target::{self, AccessTimes, Manner, Shown},
    volume::{
        admit::Request,
        record::{Kind as Handled, User},
    },
};
use flexvolume_protocol::{Id, PodUid, VolumeName};
use sha2::{Digest, Sha256};

use crate::{
    access::{Access, Kind},
    context::{self, Pod},
    flags::{Flags, Times},
    limits,
    name::volume_name,
    plugin::{Plugin, Trouble, keys},
    status::{self, Rpc},
    wire::csi::{
        NodePublishVolumeRequest, NodePublishVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
    },
};

impl Plugin {
    pub(crate) fn publish(&self, request: NodePublishVolumeRequest) -> Result<NodePublishVolumeResponse, Trouble> {
        let id = self.volume_id(&request.volume_id)?;
        let access = Access::of(request.volume_capability.as_ref())?;
        let target = limits::path("target_path", &request.target_path)?.to_owned();
        let target = target.as_path();
        let driver = self.driver()?;
        let offer = self.offer(&driver);
        self.targets.relative(target)?;
        if offer.stages() {
            if request.staging_target_path.is_empty() {
                return Err(status::refused(
                    "the request has no staging_target_path, and volumes of this driver are staged",
                )
                .into());
            }
            self.targets.relative(limits::path("staging_target_path", &request.staging_target_path)?)?;
        }
        if let Some(why) = access.is_beyond(&offer) {
            return Err(status::refused(why).into());
        }
        let read_only = request.readonly || access.is_read_only();
        let held = self.held(&id, offer.stages())?;
        let others = |shown| self.others(shown, target, &access);
        match (held, driver.kind(), &access.kind) {
            (Some(held), _, Kind::Block) => {
                if read_only && !held.read_only {
                    return Err(status::refused(
                        "the device is writable on this node, so it cannot be given read-only",
                    )
                    .into());
                }
                others(Shown::Device(Path::new(&held.device)))?;
                self.targets.show(Shown::Device(Path::new(&held.device)), target, device())?;
            }
            (Some(held), Handled::Staged, Kind::Mount { flags, .. }) => {
                others(Shown::Tree(&held.path))?;
                self.targets.show(Shown::Tree(&held.path), target, manner(flags, read_only))?;
            }
            (Some(_) | None, Handled::Attachable | Handled::Direct | Handled::Staged, Kind::Mount { flags, .. }) => {
                let path = self.place(&driver, request, &id, &access, read_only)?;
                self.targets.show(Shown::Tree(&path), target, manner(flags, read_only))?;
            }
            (None, _, Kind::Block) => return Err(status::refused("the volume is not staged").into()),
        }
        Ok(NodePublishVolumeResponse {})
    }

    /// The volume as it is held, where it must be; made anew if somebody took it away.
    fn held(&self, id: &Id, must_be: bool) -> Result<Option<Held>, Trouble> {
        if !must_be {
            return Ok(None);
        }
        let found = self.host.held(&self.serving.driver, &volume_name(id))?;
        let found = found.ok_or_else(|| status::refused(format!("volume {id} is not staged on this node")))?;
        Ok(Some(self.host.restage(&found.key, &keys(Default::default()), &|note| self.tell(note))?))
    }

    /// One user alone: no second target.
    fn others(&self, shown: Shown<'_>, target: &Path, access: &Access) -> Result<(), Trouble> {
        if !access.mode.is_exclusive() {
            return Ok(());
        }
        match self.targets.of(shown)?.into_iter().find(|other| !self.targets.is(other, target)) {
            Some(other) => {
                Err(status::refused(format!("the volume is for one user alone, and published at {}", other.display()))
                    .into())
            }
            None => Ok(()),
        }
    }

    /// Has the driver mount the volume for this user, at a path of ours.
    fn place(
        &self,
        driver: &Driver,
        mut request: NodePublishVolumeRequest,
        id: &Id,
        access: &Access,
        read_only: bool,
    ) -> Result<PathBuf, Trouble> {
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let mut context = context::of(id, &request.volume_context)?;
        self.serving.inline.admit(&context)?;
        let name = volume_name(id);
        let uid = place_of(&request.target_path);
        let user = user(context.pod.take(), &name, read_only);
        if access.mode.is_exclusive() && driver.kind() == Handled::Direct {
            self.alone(&name, &uid)?;
        }
        let request = Request {
            driver: self.serving.driver.clone(),
            name: name.clone(),
            persistent: true,
            exclusive: access.mode.is_exclusive(),
            capacity: None,
            uid: uid.clone(),
            spec: self.spec(access, context, !secrets.is_empty())?,
            user,
        };
        let was_there = self.host.of_pod(uid.as_str())?.iter().any(|record| record.driver == driver.name);
        match self.host.publish(&request, &keys(secrets), &|note| self.tell(note)) {
            Ok(published) => Ok(published.path),
            Err(error) if was_there => Err(error.into()),
            Err(error) => Err(self.given_up(error, Rpc::NodePublishVolume, |plugin| plugin.take_from(&uid))),
        }
    }

    /// A volume of a direct driver has a record for each user: no other may have it.
    fn alone(&self, name: &VolumeName, uid: &PodUid) -> Result<(), Trouble> {
        for record in self.host.records()?.into_iter().flatten() {
            let is_same = record.driver == self.serving.driver && record.name == *name;
            if let Some(other) = record.users.keys().find(|user| is_same && *user != uid.as_str()) {
                let pod = record.users.get(other).map_or("", |user| user.pod.as_str());
                return Err(status::refused(format!("the volume is for one user alone, and pod {pod:?} has it")).into());
            }
        }
        Ok(())
    }

    /// Takes away what the driver mounted for this user.
    fn take_from(&self, uid: &PodUid) -> Result<(), Trouble> {
        for record in self.host.of_pod(uid.as_str())? {
            if record.driver == self.serving.driver {
                self.host.unpublish(&record.key, uid.as_str(), &keys(Default::default()), &|note| self.tell(note))?;
            }
        }
        Ok(())
    }

    pub(crate) fn unpublish(
        &self,
        request: NodeUnpublishVolumeRequest,
    ) -> Result<NodeUnpublishVolumeResponse, Trouble> {
        limits::required("volume_id", &request.volume_id)?;
        let target = limits::path("target_path", &request.target_path)?;
        self.targets.hide(target)?;
        self.take_from(&place_of(&request.target_path))?;
        Ok(NodeUnpublishVolumeResponse {})
    }

    /// What is shown of a held volume.
    pub(crate) fn shown<'a>(&self, held: &'a Held) -> Shown<'a> {
        if held.block { Shown::Device(Path::new(&held.device)) } else { Shown::Tree(&held.path) }
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

/// The name of a user beneath our own root: of its target's path, in the shape of a pod's uid, which drivers may cut out of paths.
pub(crate) fn place_of(target: &str) -> PodUid {
    // However it is written, it is one place.
    let target: PathBuf = Path::new(target).components().collect();
    let digest = Sha256::digest(target.as_os_str().as_encoded_bytes());
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let uid = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    PodUid::parse(&uid).unwrap_or_else(|_| unreachable!("digits and dashes, a digit first"))
}

fn manner(flags: &Flags, read_only: bool) -> Manner {
    let times = flags.times.map(|times| match times {
        Times::Some => AccessTimes::Some,
        Times::Every => AccessTimes::Every,
        Times::None => AccessTimes::None,
    });
    let forbidden = target::Flags { read_only, nosuid: flags.nosuid, nodev: flags.nodev, noexec: flags.noexec };
    Manner { flags: forbidden, times, no_directory_times: flags.no_directory_times }
}

/// A device's node: it could not be opened where device nodes have no power.
fn device() -> Manner {
    let flags = target::Flags { read_only: false, nosuid: true, nodev: false, noexec: true };
    Manner { flags, times: None, no_directory_times: false }
}
