//! Volumes made larger by the controller.

use std::mem;

use flexvolume_protocol::{Bytes, Dir, ExpandVolume, Extension, keys};

use crate::{
    plugin::{Plugin, Trouble, of, with_secrets},
    request::{context, limits, name::volume_name},
    status::{self, Rpc},
    wire::csi::{ControllerExpandVolumeRequest, ControllerExpandVolumeResponse},
};

impl Plugin {
    /// What backs a volume grows; the file system follows on the node that has it mounted.
    pub(super) fn expand(
        &self,
        mut request: ControllerExpandVolumeRequest,
    ) -> Result<ControllerExpandVolumeResponse, Trouble> {
        let driver = self.able(Extension::Expand)?;
        if driver.extensions.contains(&Extension::Local) {
            return Err(status::unimplemented("volumes of this driver grow on the node that they live on").into());
        }
        let id = limits::volume(&request.volume_id)?;
        let size = limits::growth(request.capacity_range.as_ref())?;
        let new = size.required.max(size.limit.filter(|_| size.required == 0).unwrap_or_default());
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        self.must_exist(&driver, &id, of(keys::ID, &id), &secrets)?;
        let layout = &self.host.ground().layout;
        // Where it would be on a node; there is nothing at it here.
        let dir = layout.root().join(layout.global(&driver.name, &volume_name(&id)));
        let dir = Dir::try_from(dir.as_path()).map_err(|error| status::invalid(error.to_string()))?;
        let options = with_secrets(&driver, of(keys::ID, &id), &secrets);
        let verb = ExpandVolume { options, dir, new: Bytes(new), old: Bytes(0) };
        let grown = self.ask(&driver, id.as_str(), &secrets, &verb)?;
        let (rpc, bytes) = (Rpc::ControllerExpandVolume, grown.bytes.unwrap_or(new));
        if bytes < new {
            let what = format!("driver {} answered {bytes} bytes, and {new} were asked for", driver.name);
            return Err(status::bad_answer(rpc, what).into());
        }
        size.bears(bytes)?;
        Ok(ControllerExpandVolumeResponse {
            capacity_bytes: limits::bytes(rpc, Some(bytes))?,
            node_expansion_required: driver.capabilities.requires_fs_resize,
        })
    }
}
