//! A client of the bridge: every call of the three services, waited for.

use std::{future::Future, path::Path, time::Duration};

use flexvolume_csi::wire::csi as wire;
use tokio::runtime::Runtime;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

use super::clients::{controller_client::ControllerClient, identity_client::IdentityClient, node_client::NodeClient};

/// A connection that is made when it is needed, and made anew when the bridge was; calls may come from many threads.
pub struct Client {
    runtime: Runtime,
    channel: Channel,
}

impl Client {
    /// A client of whoever listens at that socket.
    pub fn of(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        let channel = {
            let _inside = runtime.enter();
            endpoint.connect_lazy()
        };
        Self { runtime, channel }
    }

    fn wait<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        // Nothing here takes so long: what does is a bug, and shall not stop the suite.
        let limited = async { tokio::time::timeout(Duration::from_secs(300), call).await };
        self.runtime.block_on(limited).unwrap_or_else(|_| panic!("the bridge does not answer"))
    }
}

/// One method for each call, by its name; `brief` calls go away after so long.
macro_rules! calls {
    ($($service:ident: $($call:ident $request:ident -> $response:ident),+;)+) => {
        impl Client {
            $($(
                #[allow(dead_code, reason = "all that there are")]
                pub fn $call(&self, request: wire::$request) -> Result<wire::$response, Status> {
                    let mut service = $service::new(self.channel.clone());
                    self.wait(async move { service.$call(Request::new(request)).await.map(tonic::Response::into_inner) })
                }
            )+)+
        }
    };
}

calls! {
    IdentityClient:
        get_plugin_info GetPluginInfoRequest -> GetPluginInfoResponse,
        get_plugin_capabilities GetPluginCapabilitiesRequest -> GetPluginCapabilitiesResponse,
        probe ProbeRequest -> ProbeResponse;
    ControllerClient:
        create_volume CreateVolumeRequest -> CreateVolumeResponse,
        delete_volume DeleteVolumeRequest -> DeleteVolumeResponse,
        controller_publish_volume ControllerPublishVolumeRequest -> ControllerPublishVolumeResponse,
        controller_unpublish_volume ControllerUnpublishVolumeRequest -> ControllerUnpublishVolumeResponse,
        validate_volume_capabilities ValidateVolumeCapabilitiesRequest -> ValidateVolumeCapabilitiesResponse,
        list_volumes ListVolumesRequest -> ListVolumesResponse,
        controller_list_volume_health ControllerListVolumeHealthRequest -> ControllerListVolumeHealthResponse,
        controller_get_volume_health ControllerGetVolumeHealthRequest -> ControllerGetVolumeHealthResponse,
        get_capacity GetCapacityRequest -> GetCapacityResponse,
        create_snapshot CreateSnapshotRequest -> CreateSnapshotResponse,
        delete_snapshot DeleteSnapshotRequest -> DeleteSnapshotResponse,
        list_snapshots ListSnapshotsRequest -> ListSnapshotsResponse,
        get_snapshot GetSnapshotRequest -> GetSnapshotResponse,
        controller_expand_volume ControllerExpandVolumeRequest -> ControllerExpandVolumeResponse;
    NodeClient:
        node_stage_volume NodeStageVolumeRequest -> NodeStageVolumeResponse,
        node_unstage_volume NodeUnstageVolumeRequest -> NodeUnstageVolumeResponse,
        node_publish_volume NodePublishVolumeRequest -> NodePublishVolumeResponse,
        node_unpublish_volume NodeUnpublishVolumeRequest -> NodeUnpublishVolumeResponse,
        node_get_volume_stats NodeGetVolumeStatsRequest -> NodeGetVolumeStatsResponse,
        node_get_volume_health NodeGetVolumeHealthRequest -> NodeGetVolumeHealthResponse,
        node_get_storage_health NodeGetStorageHealthRequest -> NodeGetStorageHealthResponse,
        node_expand_volume NodeExpandVolumeRequest -> NodeExpandVolumeResponse,
        node_get_info NodeGetInfoRequest -> NodeGetInfoResponse;
}
