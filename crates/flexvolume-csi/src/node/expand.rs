//! Volumes made larger on the node that they live on.

use std::mem;

use flexvolume_host::volume::record::{self, Kind as Handled};
use flexvolume_protocol::Extension;

use crate::{
    plugin::{Plugin, Trouble, keys},
    request::{context, limits, name::volume_name},
    status::{self, Rpc},
    wire::csi::{NodeExpandVolumeRequest, NodeExpandVolumeResponse},
};

impl Plugin {
    pub(super) fn node_expand(
        &self,
        mut request: NodeExpandVolumeRequest,
    ) -> Result<NodeExpandVolumeResponse, Trouble> {
        let driver = self.able(Extension::Expand)?;
        let id = limits::volume(&request.volume_id)?;
        let path = self.published(&request.volume_path)?;
        let size = limits::size(request.capacity_range.as_ref())?;
        let name = volume_name(&id);
        let place = self.place_of(path)?;
        let has_place = !self.host.at_place(&driver.name, &name, place.as_str())?.is_empty();
        let (key, at) = match driver.kind() {
            Handled::Direct => {
                (record::key(&driver.name, &name, Handled::Direct, place.as_str()), Some(place.as_str()))
            }
            kind @ (Handled::Attachable | Handled::Staged) => {
                (record::key(&driver.name, &name, kind, ""), has_place.then_some(place.as_str()))
            }
        };
        let is_known = has_place || self.host.held(&driver.name, &name)?.is_some();
        if !is_known {
            return Err(status::not_found(format!(
                "volume {id} is not up on this node; publish it here first (NodePublishVolume)"
            ))
            .into());
        }
        if self.targets.at(path)?.is_none() && request.staging_target_path != request.volume_path {
            return Err(status::not_found(format!("nothing of volume {id} is published at {}", path.display())).into());
        }
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let bytes = match size.required {
            // Nothing is wanted: there is no more room than it has.
            0 => 0,
            required => self.host.grow(&key, required, at, &keys(secrets), &|note| self.tell(note))?,
        };
        size.bears(bytes)?;
        Ok(NodeExpandVolumeResponse { capacity_bytes: limits::bytes(Rpc::NodeExpandVolume, Some(bytes))? })
    }
}
