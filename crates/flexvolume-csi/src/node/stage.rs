//! A volume held on this node: attached and mounted once, whoever is going to use it.

use std::{collections::BTreeMap, mem};

use flexvolume_host::{
    Held, Hold,
    volume::record::{self, Kind as Handled, SecretRef, Spec},
};
use flexvolume_protocol::{Id, Secrets, VolumeName};
use tonic::Status;

use crate::{
    plugin::{Plugin, Trouble, keys, not_undone},
    request::{
        access::{self, Access, Kind},
        capability::Offer,
        context, limits,
        name::volume_name,
    },
    status::{self, Rpc},
    wire::csi::{NodeStageVolumeRequest, NodeStageVolumeResponse, NodeUnstageVolumeRequest, NodeUnstageVolumeResponse},
};

impl Plugin {
    pub(super) fn stage(&self, mut request: NodeStageVolumeRequest) -> Result<NodeStageVolumeResponse, Trouble> {
        let id = limits::volume(&request.volume_id)?;
        let access = Access::of(request.volume_capability.as_ref())?;
        let staging = limits::path("staging_target_path", &request.staging_target_path)?;
        let driver = self.driver()?;
        let offer = self.offer(&driver);
        if !offer.stages() {
            return Err(status::unimplemented(format!("volumes of driver {} are not staged", driver.name)).into());
        }
        self.targets.relative(staging)?;
        if let Some(why) = access.is_beyond(&offer) {
            return Err(status::refused(why).into());
        }
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let context = context::of(&id, &request.volume_context)?;
        let attached = self.attached(&offer, &request.publish_context)?;
        let hold = Hold { attached, ..self.held_as(driver.kind(), &id, &access, context, !secrets.is_empty())? };
        self.hold(&hold, secrets, Rpc::NodeStageVolume)?;
        Ok(NodeStageVolumeResponse {})
    }

    /// How a volume is to be held.
    pub(super) fn held_as(
        &self,
        kind: Handled,
        id: &Id,
        access: &Access,
        context: context::Context,
        has_secrets: bool,
    ) -> Result<Hold, Trouble> {
        Ok(Hold {
            driver: self.serving.driver.clone(),
            name: volume_name(id),
            spec: spec(kind, access, context, has_secrets)?,
            read_only: access.mode.is_read_only(),
            shared: access.mode.is_multi_node() && !access.mode.is_read_only(),
            attached: None,
        })
    }

    /// Holds it; what fails for good leaves nothing.
    pub(super) fn hold(&self, hold: &Hold, secrets: Secrets, rpc: Rpc) -> Result<Held, Trouble> {
        // Also one that does not stand any more: pods may live on what is left of it.
        let was_held = self.host.is_held(&hold.driver, &hold.name)?;
        match self.host.hold(hold, &keys(secrets), &|note| self.tell(note)) {
            Ok(held) => Ok(held),
            Err(error) if was_held || !self.host.is_begun(&hold.driver, &hold.name)? => Err(error.into()),
            Err(error) => Err(self.given_up(error, rpc, |plugin| plugin.release(&hold.name))),
        }
    }

    pub(super) fn unstage(&self, request: NodeUnstageVolumeRequest) -> Result<NodeUnstageVolumeResponse, Trouble> {
        limits::required("volume_id", &request.volume_id)?;
        let staging = limits::path("staging_target_path", &request.staging_target_path)?;
        self.targets.relative(staging)?;
        let Some(id) = limits::id("volume_id", &request.volume_id)? else { return Ok(NodeUnstageVolumeResponse {}) };
        let name = volume_name(&id);
        // Whether it stands or not: pods may live on what is left of it.
        if let Some(target) = self.published_at(&name)? {
            let what = format!("the volume is still published at {}", target.display());
            return Err(status::refused(format!("{what}; unpublish it there first")).into());
        }
        self.release(&name)?;
        Ok(NodeUnstageVolumeResponse {})
    }

    pub(super) fn release(&self, name: &VolumeName) -> Result<(), Trouble> {
        let key = record::key(&self.serving.driver, name, Handled::Staged, "");
        self.host.release(&key, &keys(Default::default()), &|note| self.tell(note)).map_err(not_undone)
    }

    /// The device, where the controller has attached it.
    fn attached(&self, offer: &Offer, published: &BTreeMap<String, String>) -> Result<Option<String>, Status> {
        match (offer.attaches_by_controller(), context::device(published)?) {
            (true, Some(device)) => Ok(Some(device.0)),
            (true, None) => {
                Err(status::invalid("publish_context has no device: the volume is not attached by the controller"))
            }
            (false, Some(_) | None) => Ok(None),
        }
    }
}

/// The volume as the host knows it: the same for whoever uses it.
pub(super) fn spec(
    kind: Handled,
    access: &Access,
    context: context::Context,
    has_secrets: bool,
) -> Result<Spec, Trouble> {
    let (fs_type, block, mount_options) = match &access.kind {
        Kind::Block => (String::new(), true, Vec::new()),
        Kind::Mount { fs_type, flags } => {
            // Only a driver with a device can leave the mount to the host.
            if kind != Handled::Attachable {
                flags.without_file_system()?;
            }
            let fs_type = if fs_type.is_empty() { context.fs_type.unwrap_or_default() } else { fs_type.clone() };
            access::fs_type(&fs_type)?;
            (fs_type, false, flags.file_system.clone())
        }
    };
    Ok(Spec { fs_type, options: context.options, secret: has_secrets.then(SecretRef::callers), block, mount_options })
}
