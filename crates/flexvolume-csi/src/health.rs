//! How volumes and the storage do, as the driver says.

use std::mem;

use flexvolume_host::drivers::driver::Driver;
use flexvolume_protocol::{Condition, Extension, GetHealth, Health, Id, ListVolumes, Options, Redactor, Secrets, keys};

use crate::{
    ask::with_secrets,
    context, limits,
    lists::page,
    name::volume_name,
    plugin::{Plugin, Trouble},
    provision::{about, of},
    status::{self, Rpc},
    token::sealed,
    wire::csi::{
        ControllerGetVolumeHealthRequest, ControllerGetVolumeHealthResponse, ControllerListVolumeHealthRequest,
        ControllerListVolumeHealthResponse, NodeGetStorageHealthRequest, NodeGetStorageHealthResponse,
        NodeGetVolumeHealthRequest, NodeGetVolumeHealthResponse, StorageHealthErrorType, VolumeHealth,
        VolumeHealthErrorType, node_get_storage_health_response::StorageBackendHealth,
        volume_health::VolumeHealthEntry,
    },
};

impl Plugin {
    pub(crate) fn volume_health(
        &self,
        mut request: ControllerGetVolumeHealthRequest,
    ) -> Result<ControllerGetVolumeHealthResponse, Trouble> {
        let driver = self.able(Extension::Health)?;
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let id = self.volume_id(&request.volume_id)?;
        let volume_health = Some(self.health_of(&driver, &id, of(keys::ID, &id), &secrets)?);
        Ok(ControllerGetVolumeHealthResponse { volume_health })
    }

    pub(crate) fn node_volume_health(
        &self,
        request: NodeGetVolumeHealthRequest,
    ) -> Result<NodeGetVolumeHealthResponse, Trouble> {
        let driver = self.able(Extension::Health)?;
        for (field, path) in [
            ("volume_publish_path", &request.volume_publish_path),
            ("staging_target_path", &request.staging_target_path),
        ] {
            if !path.is_empty() {
                self.targets.relative(limits::path(field, path)?)?;
            }
        }
        let id = self.volume_id(&request.volume_id)?;
        let held = self.host.held(&driver.name, &volume_name(&id))?;
        // Of one that is here more is known than its id.
        let options = held.map_or_else(|| of(keys::ID, &id), |held| about(&id, &held.spec.options));
        // This call brings no secrets, and the driver may know those of others.
        let redactor = match self.host.has_secrets(&driver.name, &volume_name(&id))? {
            true => Redactor::blind(),
            false => Redactor::default(),
        };
        let unknown = || status::unimplemented(format!("driver {} does not know gethealth", driver.name));
        let health = self.ask_knowing(&driver, id.as_str(), &redactor, &GetHealth { options })?.ok_or_else(unknown)?;
        let volume_health = Some(told(&id, health, &redactor));
        Ok(NodeGetVolumeHealthResponse { volume_health })
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

    /// What the driver says of a volume.
    pub(crate) fn health(
        &self,
        driver: &Driver,
        id: &Id,
        options: Options,
        secrets: &Secrets,
    ) -> Result<Health, Trouble> {
        let options = with_secrets(driver, options, secrets);
        self.ask(driver, id.as_str(), secrets, &GetHealth { options })
    }

    /// A page of the volumes with how each does; one that nobody can tell of is left out.
    pub(crate) fn list_health(
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

    pub(crate) fn storage_health(
        &self,
        mut request: NodeGetStorageHealthRequest,
    ) -> Result<NodeGetStorageHealthResponse, Trouble> {
        let driver = self.able(Extension::Health)?;
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let options = with_secrets(&driver, Options::default(), &secrets);
        let Health { condition, message } = self.ask(&driver, "", &secrets, &GetHealth { options })?;
        let kind = match condition {
            Condition::Ok => return Ok(NodeGetStorageHealthResponse::default()),
            Condition::Degraded => StorageHealthErrorType::StorageDegraded,
            Condition::Inaccessible => StorageHealthErrorType::StorageUnreachable,
            // There is no word for it: what is lost is not reached either.
            Condition::DataLoss => StorageHealthErrorType::StorageUnreachable,
        };
        let entry = StorageBackendHealth {
            status: kind.into(),
            reason: reason(condition).to_owned(),
            message: limits::words(&Redactor::new(&secrets).text(&message)),
            volume_capability: None,
        };
        Ok(NodeGetStorageHealthResponse { backend_health: vec![entry] })
    }
}

/// A volume that is well has no entry.
fn told(id: &Id, health: Health, redactor: &Redactor) -> VolumeHealth {
    let Health { condition, message } = health;
    let kind = match condition {
        Condition::Ok => None,
        Condition::Degraded => Some(VolumeHealthErrorType::Degraded),
        Condition::Inaccessible => Some(VolumeHealthErrorType::Inaccessible),
        Condition::DataLoss => Some(VolumeHealthErrorType::DataLoss),
    };
    let entry = kind.map(|kind| VolumeHealthEntry {
        status: kind.into(),
        reason: reason(condition).to_owned(),
        message: limits::words(&redactor.text(&message)),
    });
    VolumeHealth { volume_id: id.as_str().to_owned(), health_statuses: entry.into_iter().collect() }
}

/// CSI wants a reason in one word, as Kubernetes writes them.
fn reason(condition: Condition) -> &'static str {
    match condition {
        Condition::Ok => "Ok",
        Condition::Degraded => "Degraded",
        Condition::Inaccessible => "Inaccessible",
        Condition::DataLoss => "DataLoss",
    }
}
