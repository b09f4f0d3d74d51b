//! What there is: volumes and snapshots, page by page, and room for more.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use flexvolume_host::drivers::driver::Driver;
use flexvolume_protocol::{
    Created, Extension, GetCapacity, ListSnapshots, ListVolumes, Options, Secrets, Snapshot, keys,
};
use tonic::Status;

use crate::{
    plugin::{Plugin, Trouble, with_secrets},
    request::{
        access::Access,
        context, limits,
        token::{opened, sealed},
    },
    status::{self, Rpc},
    wire::csi::{
        self, GetCapacityRequest, GetCapacityResponse, GetSnapshotRequest, GetSnapshotResponse, ListSnapshotsRequest,
        ListSnapshotsResponse, ListVolumesRequest, ListVolumesResponse, list_snapshots_response, list_volumes_response,
    },
};

impl Plugin {
    pub(super) fn list_volumes(&self, request: ListVolumesRequest) -> Result<ListVolumesResponse, Trouble> {
        let driver = self.able(Extension::List)?;
        let wanted = limits::page(request.max_entries, &request.starting_token)?;
        let rpc = Rpc::ListVolumes(wanted.page());
        let options = page(Options::default(), &wanted)?;
        let page = self.ask(&driver, "", &Secrets::default(), &ListVolumes { options })?;
        let entry = |volume| -> Result<_, Trouble> {
            let volume = Some(self.volume(&driver, rpc, volume, None)?);
            Ok(list_volumes_response::Entry { volume, status: None })
        };
        Ok(ListVolumesResponse {
            entries: page.volumes.into_iter().map(entry).collect::<Result<_, _>>()?,
            next_token: limits::answer(rpc, "token", sealed(page.next.unwrap_or_default()))?,
        })
    }

    /// A volume as clients are told of it.
    pub(super) fn volume(
        &self,
        driver: &Driver,
        rpc: Rpc,
        made: Created,
        fs_type: Option<&str>,
    ) -> Result<csi::Volume, Trouble> {
        let volume_context = context::made(rpc, &made, fs_type)?;
        let Created { id, bytes, options: _ } = made;
        Ok(csi::Volume {
            capacity_bytes: limits::bytes(rpc, bytes)?,
            volume_id: limits::answer(rpc, "volume id", id.as_str().to_owned())?,
            volume_context,
            content_source: None,
            accessible_topology: self.accessible(driver, rpc)?.into_iter().collect(),
        })
    }

    pub(super) fn get_capacity(&self, request: GetCapacityRequest) -> Result<GetCapacityResponse, Trouble> {
        let (rpc, driver) = (Rpc::GetCapacity, self.able(Extension::Capacity)?);
        let own = self.accessible(&driver, rpc)?;
        let is_elsewhere = match (&own, &request.accessible_topology) {
            (Some(own), Some(asked)) => !may_be(own, asked),
            (None | Some(_), None) | (None, Some(_)) => false,
        };
        if is_elsewhere {
            return Ok(GetCapacityResponse::default());
        }
        // For a use that no volume can be made for there is no room.
        if !request.volume_capabilities.is_empty()
            && self.cannot(&driver, &Access::all(&request.volume_capabilities)?).is_some()
        {
            return Ok(GetCapacityResponse::default());
        }
        let options = parameters(&request.parameters)?;
        let room = self.ask(&driver, "", &Secrets::default(), &GetCapacity { options })?;
        Ok(GetCapacityResponse {
            available_capacity: limits::bytes(rpc, Some(room.available))?,
            maximum_volume_size: room.maximum.map(|most| limits::bytes(rpc, Some(most))).transpose()?,
            minimum_volume_size: None,
        })
    }

    pub(super) fn list_snapshots(&self, mut request: ListSnapshotsRequest) -> Result<ListSnapshotsResponse, Trouble> {
        let driver = self.able(Extension::Snapshot)?;
        let wanted = limits::page(request.max_entries, &request.starting_token)?;
        let rpc = Rpc::ListSnapshots(wanted.page());
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let mut options = page(Options::default(), &wanted)?;
        for (key, field, text) in [
            (keys::ID, "source_volume_id", &request.source_volume_id),
            (keys::SNAPSHOT, "snapshot_id", &request.snapshot_id),
        ] {
            if text.is_empty() {
                continue;
            }
            // Of an id that nobody can have there is nothing.
            let Some(id) = limits::id(field, text)? else { return Ok(ListSnapshotsResponse::default()) };
            options.insert(key, id.as_str());
        }
        let options = with_secrets(&driver, options, &secrets);
        let page = self.ask(&driver, "", &secrets, &ListSnapshots { options })?;
        let entry = |snapshot| -> Result<_, Trouble> {
            let snapshot = Some(self.snapshot(&driver, rpc, snapshot, "")?);
            Ok(list_snapshots_response::Entry { snapshot })
        };
        Ok(ListSnapshotsResponse {
            entries: page.snapshots.into_iter().map(entry).collect::<Result<_, _>>()?,
            next_token: limits::answer(rpc, "token", sealed(page.next.unwrap_or_default()))?,
        })
    }

    pub(super) fn get_snapshot(&self, mut request: GetSnapshotRequest) -> Result<GetSnapshotResponse, Trouble> {
        let (rpc, unknown) = (Rpc::GetSnapshot, || status::not_found("there is no such snapshot"));
        let driver = self.able(Extension::Snapshot)?;
        let secrets = context::secrets(mem::take(&mut request.secrets))?;
        let id = limits::id("snapshot_id", &request.snapshot_id)?.ok_or_else(unknown)?;
        let mut options = Options::default();
        options.insert(keys::SNAPSHOT, id.as_str());
        let options = with_secrets(&driver, options, &secrets);
        let page = self.ask(&driver, "", &secrets, &ListSnapshots { options })?;
        let found = page.snapshots.into_iter().find(|one| one.snapshot == id).ok_or_else(unknown)?;
        Ok(GetSnapshotResponse { snapshot: Some(self.snapshot(&driver, rpc, found, "")?) })
    }

    /// A snapshot as clients are told of it; `of` is the volume it was taken of, where the driver does not say.
    pub(super) fn snapshot(
        &self,
        driver: &Driver,
        rpc: Rpc,
        made: Snapshot,
        of: &str,
    ) -> Result<csi::Snapshot, Trouble> {
        let Snapshot { snapshot, id, bytes, created, ready } = made;
        Ok(csi::Snapshot {
            size_bytes: limits::bytes(rpc, bytes)?,
            snapshot_id: limits::answer(rpc, "snapshot id", snapshot.as_str().to_owned())?,
            source_volume_id: id.map_or_else(|| of.to_owned(), |id| id.as_str().to_owned()),
            creation_time: Some(prost_types::Timestamp {
                seconds: created.seconds(),
                // Less than a second.
                nanos: i32::try_from(created.nanos()).unwrap_or_default(),
            }),
            ready_to_use: ready,
            group_snapshot_id: String::new(),
            accessible_topology: self.accessible(driver, rpc)?.into_iter().collect(),
        })
    }

    /// Whether some page of the volumes has one of that id.
    pub(super) fn is_listed(&self, driver: &Driver, id: &str) -> Result<bool, Trouble> {
        let (mut options, mut turned) = (Options::default(), BTreeSet::new());
        loop {
            let verb = ListVolumes { options: options.clone() };
            let found = self.ask(driver, "", &Secrets::default(), &verb)?;
            if found.volumes.iter().any(|volume| volume.id.as_str() == id) {
                return Ok(true);
            }
            match found.next {
                // A page that was turned before: it would go round for ever.
                Some(next) if turned.insert(next.clone()) => options.insert(keys::TOKEN, next),
                Some(_) | None => return Ok(false),
            }
        }
    }
}

/// Whether what is asked for may be where we are: it names no other node.
pub(super) fn may_be(own: &csi::Topology, asked: &csi::Topology) -> bool {
    own.segments.iter().all(|(key, node)| asked.segments.get(key).is_none_or(|other| other == node))
}

/// The parameters of a storage class as a driver is given them, with the type of the file system under its own key.
pub(super) fn parameters(given: &BTreeMap<String, String>) -> Result<Options, Status> {
    let context::Parameters { options: user, fs_type } = context::parameters("parameters", given)?;
    let mut options = Options::default();
    user.iter().for_each(|(key, value)| options.insert(key, value));
    if let Some(fs_type) = fs_type {
        options.insert(keys::FS_TYPE, fs_type);
    }
    Ok(options)
}

/// The options that ask for a page.
///
/// # Errors
/// `ABORTED`: the token is none of ours.
pub(super) fn page(mut options: Options, wanted: &limits::Wanted) -> Result<Options, Status> {
    if wanted.max > 0 {
        options.insert(keys::MAX, wanted.max.to_string());
    }
    if let Some(token) = &wanted.token {
        options.insert(keys::TOKEN, opened(token)?);
    }
    Ok(options)
}
