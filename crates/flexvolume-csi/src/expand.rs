//! Volumes made larger: on the node that they live on, or by the controller.

use std::mem;

use flexvolume_host::volume::record::{self, Kind as Handled};
use flexvolume_protocol::{Bytes, Dir, ExpandVolume, Extension};

use crate::{
    ask::with_secrets,
    context, limits,
    name::volume_name,
    plugin::{Plugin, Trouble, keys},
    provision::of,
    status::{self, Rpc},
    wire::csi::{
        ControllerExpandVolumeRequest, ControllerExpandVolumeResponse, NodeExpandVolumeRequest,
        NodeExpandVolumeResponse,
    },
};

impl Plugin {
    /// What backs a volume grows; the file system follows on the node that has it mounted.
    pub(crate) fn expand(
        &self,
        mut request: ControllerExpandVolumeRequest,
    ) -> Result<ControllerExpandVolumeResponse, Trouble> {
        let driver = self.able(Extension::Expand)?;
        if driver.extensions.contains(&Extension::Local) {
            return Err(status::unimplemented("volumes of this driver grow on the node that they live on").into());
        }
        let id = self.volume_id(&request.volume_id)?;
        let size = limits::growth(request.capacity_range.as_ref())?;
        let new = size.required.max(size.limit.filter(|_| size.required == 0).unwrap_or_default());
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        self.must_exist(&driver, &id, of(flexvolume_protocol::keys::ID, &id), &secrets)?;
        let layout = &self.host.ground().layout;
        // Where it would be on a node; there is nothing at it here.
        let dir = layout.root().join(layout.global(&driver.name, &volume_name(&id)));
        let dir = Dir::try_from(dir.as_path()).map_err(|error| status::invalid(error.to_string()))?;
        let options = with_secrets(&driver, of(flexvolume_protocol::keys::ID, &id), &secrets);
        let verb = ExpandVolume { options, dir, new: Bytes(new), old: Bytes(0) };
        let grown = self.ask(&driver, id.as_str(), &secrets, &verb)?;
        let (rpc, bytes) = (Rpc::ControllerExpandVolume, grown.bytes.unwrap_or(new));
        if bytes < new {
            let what = format!("driver {} answered {bytes} bytes, and {new} were asked for", driver.name);
            return Err(status::bad_answer(rpc, what).into());
        }
        within(bytes, size.limit)?;
        Ok(ControllerExpandVolumeResponse {
            capacity_bytes: limits::bytes(rpc, Some(bytes))?,
            node_expansion_required: driver.capabilities.requires_fs_resize,
        })
    }

    pub(crate) fn node_expand(
        &self,
        mut request: NodeExpandVolumeRequest,
    ) -> Result<NodeExpandVolumeResponse, Trouble> {
        let driver = self.able(Extension::Expand)?;
        let id = self.volume_id(&request.volume_id)?;
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
            return Err(status::not_found(format!("volume {id} is not up on this node")).into());
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
        within(bytes, size.limit)?;
        Ok(NodeExpandVolumeResponse { capacity_bytes: limits::bytes(Rpc::NodeExpandVolume, Some(bytes))? })
    }
}

fn within(bytes: u64, limit: Option<u64>) -> Result<(), Trouble> {
    match limit.filter(|limit| bytes > *limit) {
        Some(limit) => {
            let what = format!("the volume has {bytes} bytes, and at most {limit} are wanted");
            Err(status::out_of_range(format!("{what}; none is made smaller")).into())
        }
        None => Ok(()),
    }
}
