//! Volumes and snapshots made and deleted.

use std::{collections::BTreeMap, mem};

use flexvolume_host::drivers::driver::Driver;
use flexvolume_protocol::{
    CreateSnapshot, CreateVolume, DeleteSnapshot, DeleteVolume, Extension, Id, Options, Secrets, keys,
};

use super::lists::{may_be, parameters};
use crate::{
    plugin::{Plugin, Trouble, about, of, with_secrets},
    request::{
        access::{self, Access},
        context, limits,
    },
    status::{self, Rpc},
    wire::csi::{
        CreateSnapshotRequest, CreateSnapshotResponse, CreateVolumeRequest, CreateVolumeResponse,
        DeleteSnapshotRequest, DeleteSnapshotResponse, DeleteVolumeRequest, DeleteVolumeResponse, TopologyRequirement,
        ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse, VolumeContentSource,
        validate_volume_capabilities_response::Confirmed, volume_content_source,
    },
};

impl Plugin {
    pub(super) fn create_volume(&self, mut request: CreateVolumeRequest) -> Result<CreateVolumeResponse, Trouble> {
        let rpc = Rpc::CreateVolume;
        let driver = self.able(Extension::Provision)?;
        let name = limits::name("name", &request.name)?;
        let size = limits::size(request.capacity_range.as_ref())?;
        let uses = Access::all(&request.volume_capabilities)?;
        if let Some(why) = self.cannot(&driver, &uses) {
            return Err(status::invalid(why).into());
        }
        self.must_be_here(&driver, request.accessibility_requirements.as_ref())?;
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let mut options = self.with_mutable(&driver, &request, parameters(&request.parameters)?)?;
        // Kubernetes takes it out of the parameters and says it of the use.
        if let Some(fs_type) = access::one_fs_type(&uses) {
            options.insert(keys::FS_TYPE, fs_type);
        }
        let fs_type = options.get(keys::FS_TYPE).map(str::to_owned);
        options.insert(keys::NAME, name);
        if size.required > 0 {
            options.insert(keys::REQUIRED_BYTES, size.required.to_string());
        }
        if let Some(limit) = size.limit {
            options.insert(keys::LIMIT_BYTES, limit.to_string());
        }
        let source = request.volume_content_source.as_ref();
        if let Some((key, id)) = source.map(|source| self.source(&driver, source)).transpose()? {
            options.insert(key, id.as_str());
        }
        let options = with_secrets(&driver, options, &secrets);
        let made = self.ask(&driver, name, &secrets, &CreateVolume { options })?;
        // What is smaller would be full before its time, and what is larger was not to be.
        let is_outside = |bytes: u64| bytes < size.required || size.limit.is_some_and(|limit| bytes > limit);
        if let Some(bytes) = made.bytes.filter(|bytes| *bytes > 0 && is_outside(*bytes)) {
            let (least, most) = (size.required, size.limit.map_or("any size".to_owned(), |limit| limit.to_string()));
            let what = format!("driver {} answered a volume of {bytes} bytes", driver.name);
            return Err(status::bad_answer(rpc, format!("{what}, and {least} to {most} are wanted")).into());
        }
        let mut volume = self.volume(&driver, rpc, made, fs_type.as_deref())?;
        volume.content_source = request.volume_content_source;
        Ok(CreateVolumeResponse { volume: Some(volume) })
    }

    /// What a new volume begins with.
    fn source(&self, driver: &Driver, source: &VolumeContentSource) -> Result<(&'static str, Id), Trouble> {
        if !driver.extensions.contains(&Extension::Clone) {
            return Err(status::invalid(format!("driver {} does not announce clone", driver.name)).into());
        }
        let (key, field, id) = match &source.r#type {
            Some(volume_content_source::Type::Volume(of)) => (keys::SOURCE_VOLUME, "source volume_id", &of.volume_id),
            Some(volume_content_source::Type::Snapshot(of)) => {
                (keys::SOURCE_SNAPSHOT, "source snapshot_id", &of.snapshot_id)
            }
            None => return Err(status::missing("type of volume_content_source").into()),
        };
        let id = limits::id(field, id)?.ok_or_else(|| status::not_found(format!("there is no {field} {id:?}")))?;
        Ok((key, id))
    }

    /// A volume of a local driver is made on this node or not at all.
    fn must_be_here(&self, driver: &Driver, required: Option<&TopologyRequirement>) -> Result<(), Trouble> {
        let Some(own) = self.accessible(driver, Rpc::CreateVolume)? else { return Ok(()) };
        let requisite = required.map_or(&[][..], |required| &required.requisite);
        match requisite.is_empty() || requisite.iter().any(|one| may_be(&own, one)) {
            true => Ok(()),
            false => {
                Err(status::exhausted("the volume is wanted on other nodes than this one, and lives on one").into())
            }
        }
    }

    pub(super) fn delete_volume(&self, mut request: DeleteVolumeRequest) -> Result<DeleteVolumeResponse, Trouble> {
        let driver = self.able(Extension::Provision)?;
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        // What no driver can have named is not there.
        if let Some(id) = limits::id("volume_id", &request.volume_id)? {
            let options = with_secrets(&driver, of(keys::ID, &id), &secrets);
            self.ask(&driver, id.as_str(), &secrets, &DeleteVolume { options })?;
        }
        Ok(DeleteVolumeResponse {})
    }

    pub(super) fn validate(
        &self,
        mut request: ValidateVolumeCapabilitiesRequest,
    ) -> Result<ValidateVolumeCapabilitiesResponse, Trouble> {
        let driver = self.driver()?;
        let id = limits::id("volume_id", &request.volume_id)?;
        let wanted = Access::all(&request.volume_capabilities)?;
        limits::map("parameters", &request.parameters)?;
        context::mutable(&request.mutable_parameters)?;
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let unknown = || status::not_found("there is no such volume");
        let id = id.ok_or_else(unknown)?;
        let options = about(&id, &context::of(&id, &request.volume_context)?.options);
        self.must_exist(&driver, &id, options, &secrets)?;
        Ok(match self.cannot(&driver, &wanted) {
            None => ValidateVolumeCapabilitiesResponse {
                confirmed: Some(Confirmed {
                    volume_context: request.volume_context,
                    volume_capabilities: request.volume_capabilities,
                    parameters: request.parameters,
                    // Whether a volume can have them only its driver knows, which is not asked.
                    mutable_parameters: BTreeMap::new(),
                }),
                message: String::new(),
            },
            Some(why) => ValidateVolumeCapabilitiesResponse { confirmed: None, message: limits::words(why) },
        })
    }

    /// Why the driver cannot serve one of these, if so.
    pub(super) fn cannot(&self, driver: &Driver, wanted: &[Access]) -> Option<&'static str> {
        let offer = self.offer(driver);
        wanted.iter().find_map(|access| access.is_beyond(&offer))
    }

    /// Where the driver can tell: a volume of that id is there. What else is known of it is told too, for one that a person wrote down
    /// is known by that alone.
    pub(super) fn must_exist(
        &self,
        driver: &Driver,
        id: &Id,
        options: Options,
        secrets: &Secrets,
    ) -> Result<(), Trouble> {
        if driver.extensions.contains(&Extension::Health) {
            self.health(driver, id, options, secrets)?;
        } else if driver.extensions.contains(&Extension::List) && !self.is_listed(driver, id.as_str())? {
            return Err(status::not_found(format!("there is no volume {id}")).into());
        }
        Ok(())
    }

    pub(super) fn create_snapshot(
        &self,
        mut request: CreateSnapshotRequest,
    ) -> Result<CreateSnapshotResponse, Trouble> {
        let driver = self.able(Extension::Snapshot)?;
        let name = limits::name("name", &request.name)?;
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let unknown = || status::not_found("there is no such volume");
        let id = limits::id("source_volume_id", &request.source_volume_id)?.ok_or_else(unknown)?;
        let mut options = parameters(&request.parameters)?;
        options.insert(keys::NAME, name);
        options.insert(keys::ID, id.as_str());
        let options = with_secrets(&driver, options, &secrets);
        let made = self.ask(&driver, id.as_str(), &secrets, &CreateSnapshot { options })?;
        Ok(CreateSnapshotResponse { snapshot: Some(self.snapshot(&driver, Rpc::CreateSnapshot, made, id.as_str())?) })
    }

    pub(super) fn delete_snapshot(
        &self,
        mut request: DeleteSnapshotRequest,
    ) -> Result<DeleteSnapshotResponse, Trouble> {
        let driver = self.able(Extension::Snapshot)?;
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        if let Some(id) = limits::id("snapshot_id", &request.snapshot_id)? {
            let options = with_secrets(&driver, of(keys::SNAPSHOT, &id), &secrets);
            self.ask(&driver, id.as_str(), &secrets, &DeleteSnapshot { options })?;
        }
        Ok(DeleteSnapshotResponse {})
    }
}
