//! The Node service: each call let through the gate and passed on.

mod expand;
mod health;
pub mod place;
mod publish;
mod stage;
mod stats;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::{
    plugin::{Plugin, Trouble, by_id},
    request::limits,
    status::{self, Rpc},
    wire::csi::{
        NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse,
        NodeGetInfoRequest, NodeGetInfoResponse, NodeGetStorageHealthRequest, NodeGetStorageHealthResponse,
        NodeGetVolumeHealthRequest, NodeGetVolumeHealthResponse, NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse,
        NodePublishVolumeRequest, NodePublishVolumeResponse, NodeServiceCapability, NodeStageVolumeRequest,
        NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest,
        NodeUnstageVolumeResponse, node_server,
        node_service_capability::{self, Rpc as Capability},
    },
};

/// The service of one driver.
pub(crate) struct Node(pub(crate) Arc<Plugin>);

#[tonic::async_trait]
impl node_server::Node for Node {
    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0.pass(&by_id(&request.volume_id), Rpc::NodeStageVolume, request, Plugin::stage).await
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0.pass(&by_id(&request.volume_id), Rpc::NodeUnstageVolume, request, Plugin::unstage).await
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0.pass(&by_id(&request.volume_id), Rpc::NodePublishVolume, request, Plugin::publish).await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0.pass(&by_id(&request.volume_id), Rpc::NodeUnpublishVolume, request, Plugin::unpublish).await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        // One at a time for each place: a file system that hangs is not asked by many.
        let key = format!("stats {}", request.volume_path);
        self.0.pass(&key, Rpc::NodeGetVolumeStats, request, Plugin::stats).await
    }

    async fn node_get_volume_health(
        &self,
        request: Request<NodeGetVolumeHealthRequest>,
    ) -> Result<Response<NodeGetVolumeHealthResponse>, Status> {
        self.0.look(Rpc::NodeGetVolumeHealth, request.into_inner(), Plugin::node_volume_health).await
    }

    async fn node_get_storage_health(
        &self,
        request: Request<NodeGetStorageHealthRequest>,
    ) -> Result<Response<NodeGetStorageHealthResponse>, Status> {
        self.0.look(Rpc::NodeGetStorageHealth, request.into_inner(), Plugin::storage_health).await
    }

    async fn node_expand_volume(
        &self,
        request: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0.pass(&by_id(&request.volume_id), Rpc::NodeExpandVolume, request, Plugin::node_expand).await
    }

    async fn node_get_capabilities(
        &self,
        request: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let answer = |plugin: &Plugin, _| {
            let offered = plugin.offer(&*plugin.driver()?).node();
            let one = |kind: node_service_capability::rpc::Type| NodeServiceCapability {
                r#type: Some(node_service_capability::Type::Rpc(Capability { r#type: kind.into() })),
            };
            Ok(NodeGetCapabilitiesResponse { capabilities: offered.into_iter().map(one).collect() })
        };
        self.0.look(Rpc::About, request.into_inner(), answer).await
    }

    async fn node_get_info(
        &self,
        request: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        let answer = |plugin: &Plugin, _| -> Result<_, Trouble> {
            let driver = plugin.driver()?;
            let node = &plugin.host.ground().ident.node;
            Ok(NodeGetInfoResponse {
                node_id: limits::own_node(node).map_err(status::refused)?.to_owned(),
                max_volumes_per_node: 0,
                accessible_topology: plugin.accessible(&driver, Rpc::About)?,
            })
        };
        self.0.look(Rpc::About, request.into_inner(), answer).await
    }
}
