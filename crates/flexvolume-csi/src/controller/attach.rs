//! Attached and detached by the controller, for a node that it names. Nothing is written down here: the driver is called again and does
//! what is left to do.

use std::mem;

use flexvolume_protocol::{Attach, Detach, Device, Extension, HostKeys, Options};

use crate::{
    plugin::{Plugin, Trouble, about, with_secrets},
    request::{
        access::{Access, Kind},
        context, limits,
        name::volume_name,
    },
    status::{self, Rpc},
    wire::csi::{
        ControllerPublishVolumeRequest, ControllerPublishVolumeResponse, ControllerUnpublishVolumeRequest,
        ControllerUnpublishVolumeResponse,
    },
};

impl Plugin {
    pub(super) fn attach(
        &self,
        mut request: ControllerPublishVolumeRequest,
    ) -> Result<ControllerPublishVolumeResponse, Trouble> {
        let driver = self.driver()?;
        let offer = self.offer(&driver);
        if !offer.attaches_by_controller() {
            return Err(status::unimplemented("the node attaches volumes of this driver itself").into());
        }
        let id = limits::volume(&request.volume_id)?;
        let node = limits::node("node_id", &request.node_id)?;
        let access = Access::of(request.volume_capability.as_ref())?;
        if let Some(why) = access.is_beyond(&offer) {
            return Err(status::invalid(why).into());
        }
        // Better than a volume that its client takes for read-only, and that is not.
        if request.readonly {
            let why = "PUBLISH_READONLY is not among our capabilities: ask for readonly where the volume is published on the node";
            return Err(status::invalid(why).into());
        }
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let volume = context::of(&id, &request.volume_context)?;
        // Many drivers attach nothing, and so would not miss it.
        if driver.extensions.contains(&Extension::Health) {
            self.health(&driver, &id, about(&id, &volume.options), &secrets)?;
        }
        let keys = HostKeys {
            // The node tells the driver the same of it.
            fs_type: match &access.kind {
                Kind::Block => String::new(),
                Kind::Mount { fs_type, .. } if fs_type.is_empty() => volume.fs_type.clone().unwrap_or_default(),
                Kind::Mount { fs_type, .. } => fs_type.clone(),
            },
            // The node tells it so by the mode too: a mount flag is for the mount alone.
            read_only: access.mode.is_read_only(),
            name: volume_name(&id).as_str().to_owned(),
        };
        let options = with_secrets(&driver, Options::compose(&keys, None, &volume.options), &secrets);
        // As Kubernetes has it: a driver without attach has nothing to attach.
        let device = self.try_ask(&driver, id.as_str(), &secrets, &Attach { options, node: node.to_owned() })?;
        let device = device.unwrap_or_else(|| Device(String::new()));
        let publish_context = limits::answers(Rpc::ControllerPublishVolume, "device", context::attached(&device))?;
        Ok(ControllerPublishVolumeResponse { publish_context })
    }

    pub(super) fn detach(
        &self,
        mut request: ControllerUnpublishVolumeRequest,
    ) -> Result<ControllerUnpublishVolumeResponse, Trouble> {
        let driver = self.driver()?;
        if !self.offer(&driver).attaches_by_controller() {
            return Err(status::unimplemented("the node detaches volumes of this driver itself").into());
        }
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let Some(id) = limits::id("volume_id", &request.volume_id)? else {
            return Ok(ControllerUnpublishVolumeResponse {});
        };
        let node = limits::node("node_id", &request.node_id)?.to_owned();
        let name = volume_name(&id).as_str().to_owned();
        self.try_ask(&driver, id.as_str(), &secrets, &Detach { name, node })?;
        Ok(ControllerUnpublishVolumeResponse {})
    }
}
