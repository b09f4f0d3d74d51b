//! Volumes changed: what their driver can change of them later, and is told when they are made.

use std::mem;

use flexvolume_host::drivers::driver::Driver;
use flexvolume_protocol::{Extension, ModifyVolume, Options, keys};

use crate::{
    plugin::{Plugin, Trouble, about, with_secrets},
    request::{context, limits},
    status,
    wire::csi::{ControllerModifyVolumeRequest, ControllerModifyVolumeResponse, CreateVolumeRequest},
};

impl Plugin {
    pub(super) fn modify(
        &self,
        mut request: ControllerModifyVolumeRequest,
    ) -> Result<ControllerModifyVolumeResponse, Trouble> {
        let driver = self.able(Extension::Modify)?;
        let id = limits::volume(&request.volume_id)?;
        let wanted = context::mutable(&request.mutable_parameters)?;
        if wanted.iter().next().is_none() {
            return Err(status::missing("mutable_parameters").into());
        }
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let options = with_secrets(&driver, about(&id, &wanted), &secrets);
        self.ask(&driver, id.as_str(), &secrets, &ModifyVolume { options })?;
        Ok(ControllerModifyVolumeResponse {})
    }

    /// What can be changed later of a volume that is to be made: it goes before parameters of the same name, and its names are told.
    pub(super) fn with_mutable(
        &self,
        driver: &Driver,
        request: &CreateVolumeRequest,
        mut options: Options,
    ) -> Result<Options, Trouble> {
        let mutable = context::mutable(&request.mutable_parameters)?;
        if !request.mutable_parameters.is_empty() && !driver.extensions.contains(&Extension::Modify) {
            return Err(status::invalid(format!("driver {} does not announce modify", driver.name)).into());
        }
        let names: Vec<_> = mutable.iter().map(|(name, _)| name).collect();
        if !names.is_empty() {
            options.insert(keys::MUTABLE, names.join(","));
        }
        mutable.iter().for_each(|(name, value)| options.insert(name, value));
        Ok(options)
    }
}
