//! How volumes here and the storage do, as the driver says.

use std::mem;

use flexvolume_protocol::{Condition, Extension, GetHealth, Health, Options, Redactor, keys};

use crate::{
    plugin::{Plugin, Trouble, about, of, reason, told, with_secrets},
    request::{context, limits, name::volume_name},
    status,
    wire::csi::{
        NodeGetStorageHealthRequest, NodeGetStorageHealthResponse, NodeGetVolumeHealthRequest,
        NodeGetVolumeHealthResponse, StorageHealthErrorType, node_get_storage_health_response::StorageBackendHealth,
    },
};

impl Plugin {
    pub(super) fn node_volume_health(
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
        let id = limits::volume(&request.volume_id)?;
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

    pub(super) fn storage_health(
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
