//! A client of the bridge: every call of the three services, waited for.

use std::{future::Future, path::Path, time::Duration};

use flexvolume_csi::wire::csi as wire;
use tokio::runtime::Runtime;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};

use super::clients::{controller_client::ControllerClient, identity_client::IdentityClient, node_client::NodeClient};

/// A connection that is made when it is needed, and made anew when the bridge was; calls may come from many threads.
pub struct Client {
    runtime: Runtime,
    channel: Channel,
    leaves: Leaves,
}

/// When a client gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// It waits.
    Never,
    /// After so long, without a word: its stream is reset.
    Silently(Duration),
    /// After so long, as it has told the bridge with the call.
    ByDeadline(Duration),
}

impl Client {
    /// A client of whoever listens at that socket.
    pub fn of(socket: &Path, leaves: Leaves) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        let channel = {
            let _inside = runtime.enter();
            endpoint.connect_lazy()
        };
        Self { runtime, channel, leaves }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Leaves::ByDeadline(time) = self.leaves {
            request.set_timeout(time);
        }
        request
    }

    fn wait<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
        let patience = match self.leaves {
            Leaves::Silently(time) => time,
            // Nothing here takes so long: what does is a bug, and shall not stop the suite.
            Leaves::Never | Leaves::ByDeadline(_) => Duration::from_secs(300),
        };
        let came = self.runtime.block_on(async { tokio::time::timeout(patience, call).await });
        match (came, self.leaves) {
            (Ok(came), _) => came.map(Response::into_inner),
            (Err(_), Leaves::Silently(_)) => Err(Status::deadline_exceeded("the client has left")),
            (Err(_), Leaves::Never | Leaves::ByDeadline(_)) => panic!("the bridge does not answer"),
        }
    }
}

/// One method for each call, by its name.
macro_rules! calls {
    ($($service:ident: $($call:ident $request:ident -> $response:ident),+;)+) => {
        impl Client {
            $($(
                #[allow(dead_code, reason = "all that there are")]
                pub fn $call(&self, request: wire::$request) -> Result<wire::$response, Status> {
                    let mut service = $service::new(self.channel.clone());
                    let request = self.request(request);
                    self.wait(async move { service.$call(request).await })
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
        controller_expand_volume ControllerExpandVolumeRequest -> ControllerExpandVolumeResponse,
        controller_modify_volume ControllerModifyVolumeRequest -> ControllerModifyVolumeResponse;
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
