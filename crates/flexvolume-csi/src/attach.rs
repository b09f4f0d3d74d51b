//! Attached and detached by the controller, for a node that it names. Nothing is written down here: the driver is called again and does
//! what is left to do.

use flexvolume_protocol::{Attach, Detach, HostKeys, Options};

use crate::{
    access::Access,
    ask::with_secrets,
    context, limits,
    name::volume_name,
    plugin::{Plugin, Trouble},
    status::{self, Rpc},
    wire::csi::{
        ControllerExpandVolumeRequest, ControllerExpandVolumeResponse, ControllerPublishVolumeRequest,
        ControllerPublishVolumeResponse, ControllerUnpublishVolumeRequest, ControllerUnpublishVolumeResponse,
    },
};

impl Plugin {
    pub(crate) fn attach(
        &self,
        request: &ControllerPublishVolumeRequest,
    ) -> Result<ControllerPublishVolumeResponse, Trouble> {
        let driver = self.driver()?;
        let offer = self.offer(&driver);
        if !offer.attaches_by_controller() {
            return Err(status::unimplemented("the node attaches volumes of this driver itself").into());
        }
        let unknown = || status::not_found("there is no such volume");
        let id = limits::id("volume_id", &request.volume_id)?.ok_or_else(unknown)?;
        let node = limits::node("node_id", &request.node_id)?;
        let access = Access::of(request.volume_capability.as_ref())?;
        offer.supports(&access).map_err(status::invalid)?;
        let secrets = context::secrets(&request.secrets)?;
        let volume = context::volume(&id, &request.volume_context)?;
        let keys = HostKeys {
            fs_type: volume.fs_type(&access),
            read_only: request.readonly || access.mode.is_read_only(),
            name: volume_name(&id).as_str().to_owned(),
        };
        let options = with_secrets(&driver, Options::compose(&keys, None, &volume.options), &secrets);
        let device = self.ask(&driver, id.as_str(), &secrets, &Attach { options, node: node.to_owned() })?;
        let publish_context = limits::answers(Rpc::ControllerPublishVolume, "device", context::attached(&device.0))?;
        Ok(ControllerPublishVolumeResponse { publish_context })
    }

    pub(crate) fn detach(
        &self,
        request: &ControllerUnpublishVolumeRequest,
    ) -> Result<ControllerUnpublishVolumeResponse, Trouble> {
        let driver = self.driver()?;
        if !self.offer(&driver).attaches_by_controller() {
            return Err(status::unimplemented("the node detaches volumes of this driver itself").into());
        }
        let secrets = context::secrets(&request.secrets)?;
        let Some(id) = limits::id("volume_id", &request.volume_id)? else {
            return Ok(ControllerUnpublishVolumeResponse {});
        };
        let node = limits::node("node_id", &request.node_id)?.to_owned();
        let name = volume_name(&id).as_str().to_owned();
        self.ask(&driver, id.as_str(), &secrets, &Detach { name, node })?;
        Ok(ControllerUnpublishVolumeResponse {})
    }
}
