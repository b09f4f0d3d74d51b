//! The Controller service: each call let through the gate and passed on.

mod attach;
mod expand;
mod health;
mod lists;
mod modify;
mod provision;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::{
    plugin::{Plugin, by_id},
    status::{self, Page, Rpc},
    wire::csi::{
        ControllerExpandVolumeRequest, ControllerExpandVolumeResponse, ControllerGetCapabilitiesRequest,
        ControllerGetCapabilitiesResponse, ControllerGetVolumeHealthRequest, ControllerGetVolumeHealthResponse,
        ControllerGetVolumeRequest, ControllerGetVolumeResponse, ControllerListVolumeHealthRequest,
        ControllerListVolumeHealthResponse, ControllerModifyVolumeRequest, ControllerModifyVolumeResponse,
        ControllerPublishVolumeRequest, ControllerPublishVolumeResponse, ControllerServiceCapability,
        ControllerUnpublishVolumeRequest, ControllerUnpublishVolumeResponse, CreateSnapshotRequest,
        CreateSnapshotResponse, CreateVolumeRequest, CreateVolumeResponse, DeleteSnapshotRequest,
        DeleteSnapshotResponse, DeleteVolumeRequest, DeleteVolumeResponse, GetCapacityRequest, GetCapacityResponse,
        GetSnapshotRequest, GetSnapshotResponse, ListSnapshotsRequest, ListSnapshotsResponse, ListVolumesRequest,
        ListVolumesResponse, ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse, controller_server,
        controller_service_capability::{self, Rpc as Capability},
    },
};

/// The service of one driver.
pub(crate) struct Controller(pub(crate) Arc<Plugin>);

#[tonic::async_trait]
impl controller_server::Controller for Controller {
    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let request = request.into_inner();
        let key = format!("new volume {}", request.name);
        self.0.pass(&key, Rpc::CreateVolume, request, Plugin::create_volume).await
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0.pass(&by_id(&request.volume_id), Rpc::DeleteVolume, request, Plugin::delete_volume).await
    }

    async fn controller_publish_volume(
        &self,
        request: Request<ControllerPublishVolumeRequest>,
    ) -> Result<Response<ControllerPublishVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0.pass(&by_id(&request.volume_id), Rpc::ControllerPublishVolume, request, Plugin::attach).await
    }

    async fn controller_unpublish_volume(
        &self,
        request: Request<ControllerUnpublishVolumeRequest>,
    ) -> Result<Response<ControllerUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0.pass(&by_id(&request.volume_id), Rpc::ControllerUnpublishVolume, request, Plugin::detach).await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<ValidateVolumeCapabilitiesResponse>, Status> {
        self.0.look(Rpc::ValidateVolumeCapabilities, request.into_inner(), Plugin::validate).await
    }

    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        let request = request.into_inner();
        self.0.look(Rpc::ListVolumes(Page::of(&request.starting_token)), request, Plugin::list_volumes).await
    }

    async fn controller_list_volume_health(
        &self,
        request: Request<ControllerListVolumeHealthRequest>,
    ) -> Result<Response<ControllerListVolumeHealthResponse>, Status> {
        let request = request.into_inner();
        let rpc = Rpc::ControllerListVolumeHealth(Page::of(&request.starting_token));
        self.0.look(rpc, request, Plugin::list_health).await
    }

    async fn controller_get_volume_health(
        &self,
        request: Request<ControllerGetVolumeHealthRequest>,
    ) -> Result<Response<ControllerGetVolumeHealthResponse>, Status> {
        self.0.look(Rpc::ControllerGetVolumeHealth, request.into_inner(), Plugin::volume_health).await
    }

    async fn get_capacity(
        &self,
        request: Request<GetCapacityRequest>,
    ) -> Result<Response<GetCapacityResponse>, Status> {
        self.0.look(Rpc::GetCapacity, request.into_inner(), Plugin::get_capacity).await
    }

    async fn controller_get_capabilities(
        &self,
        request: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let answer = |plugin: &Plugin, _| {
            let offered = plugin.offer(&*plugin.driver()?).controller();
            let one = |kind: controller_service_capability::rpc::Type| ControllerServiceCapability {
                r#type: Some(controller_service_capability::Type::Rpc(Capability { r#type: kind.into() })),
            };
            Ok(ControllerGetCapabilitiesResponse { capabilities: offered.into_iter().map(one).collect() })
        };
        self.0.look(Rpc::About, request.into_inner(), answer).await
    }

    async fn create_snapshot(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Result<Response<CreateSnapshotResponse>, Status> {
        let request = request.into_inner();
        let key = format!("new snapshot {}", request.name);
        self.0.pass(&key, Rpc::CreateSnapshot, request, Plugin::create_snapshot).await
    }

    async fn delete_snapshot(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Result<Response<DeleteSnapshotResponse>, Status> {
        let request = request.into_inner();
        let key = format!("snapshot {}", request.snapshot_id);
        self.0.pass(&key, Rpc::DeleteSnapshot, request, Plugin::delete_snapshot).await
    }

    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<Response<ListSnapshotsResponse>, Status> {
        let request = request.into_inner();
        self.0.look(Rpc::ListSnapshots(Page::of(&request.starting_token)), request, Plugin::list_snapshots).await
    }

    async fn get_snapshot(
        &self,
        request: Request<GetSnapshotRequest>,
    ) -> Result<Response<GetSnapshotResponse>, Status> {
        self.0.look(Rpc::GetSnapshot, request.into_inner(), Plugin::get_snapshot).await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Result<Response<ControllerExpandVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0.pass(&by_id(&request.volume_id), Rpc::ControllerExpandVolume, request, Plugin::expand).await
    }

    async fn controller_get_volume(
        &self,
        _request: Request<ControllerGetVolumeRequest>,
    ) -> Result<Response<ControllerGetVolumeResponse>, Status> {
        Err(status::unimplemented("no driver can be asked for one volume; ask for the list"))
    }

    async fn controller_modify_volume(
        &self,
        request: Request<ControllerModifyVolumeRequest>,
    ) -> Result<Response<ControllerModifyVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0.pass(&by_id(&request.volume_id), Rpc::ControllerModifyVolume, request, Plugin::modify).await
    }
}
