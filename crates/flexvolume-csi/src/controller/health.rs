//! How volumes and the storage do, as the driver says.

use std::mem;

use flexvolume_host::drivers::driver::Driver;
use flexvolume_protocol::{Extension, Id, ListVolumes, Options, Redactor, Secrets, keys};

use super::lists::page;
use crate::{
    plugin::{Plugin, Trouble, of, told, with_secrets},
    request::{context, limits, token::sealed},
    status::Rpc,
    wire::csi::{
        ControllerGetVolumeHealthRequest, ControllerGetVolumeHealthResponse, ControllerListVolumeHealthRequest,
        ControllerListVolumeHealthResponse, VolumeHealth,
    },
};

impl Plugin {
    pub(super) fn volume_health(
        &self,
        mut request: ControllerGetVolumeHealthRequest,
    ) -> Result<ControllerGetVolumeHealthResponse, Trouble> {
        let driver = self.able(Extension::Health)?;
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let id = limits::volume(&request.volume_id)?;
        let volume_health = Some(self.health_of(&driver, &id, of(keys::ID, &id), &secrets)?);
        Ok(ControllerGetVolumeHealthResponse { volume_health })
    }

    fn health_of(
        &self,
        driver: &Driver,
        id: &Id,
        options: Options,
        secrets: &Secrets,
    ) -> Result<VolumeHealth, Trouble> {
        Ok(told(id, self.health(driver, id, options, secrets)?, &Redactor::new(secrets)))
    }

    /// A page of the volumes with how each does; one that nobody can tell of is left out.
    pub(super) fn list_health(
        &self,
        mut request: ControllerListVolumeHealthRequest,
    ) -> Result<ControllerListVolumeHealthResponse, Trouble> {
        let driver = self.able(Extension::Health)?;
        let _ = self.able(Extension::List)?;
        let wanted = limits::page(request.max_entries, &request.starting_token)?;
        let rpc = Rpc::ControllerListVolumeHealth(wanted.page());
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let options = with_secrets(&driver, page(Options::default(), &wanted)?, &secrets);
        let listed = self.ask(&driver, "", &secrets, &ListVolumes { options })?;
        let ids = listed.volumes.into_iter().map(|volume| volume.id);
        let entries = ids.filter_map(|id| self.health_of(&driver, &id, of(keys::ID, &id), &secrets).ok()).collect();
        let next_token = limits::answer(rpc, "token", sealed(listed.next.unwrap_or_default()))?;
        Ok(ControllerListVolumeHealthResponse { entries, next_token })
    }
}
