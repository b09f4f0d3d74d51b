//! The Identity service: who this is, what it can do, whether it is ready.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::{
    plugin::Plugin,
    status::Rpc,
    wire::csi::{
        GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
        PluginCapability, ProbeRequest, ProbeResponse, identity_server,
        plugin_capability::{self, Service, VolumeExpansion, volume_expansion},
    },
};

/// The service of one driver.
pub(crate) struct Identity(pub(crate) Arc<Plugin>);

#[tonic::async_trait]
impl identity_server::Identity for Identity {
    async fn get_plugin_info(
        &self,
        _request: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        let serving = &self.0.serving;
        Ok(Response::new(GetPluginInfoResponse {
            name: serving.name.to_string(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            manifest: [("flexvolume.driver".to_owned(), serving.driver.to_string())].into(),
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        request: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        let answer = |plugin: &Plugin, _| {
            let driver = plugin.driver()?;
            let offer = plugin.offer(&driver);
            let services = offer
                .plugin()
                .into_iter()
                .map(|service| plugin_capability::Type::Service(Service { r#type: service.into() }));
            let expansion = volume_expansion::Type::Online.into();
            let grows = offer
                .expands()
                .then_some(plugin_capability::Type::VolumeExpansion(VolumeExpansion { r#type: expansion }));
            let capabilities = services.chain(grows).map(|kind| PluginCapability { r#type: Some(kind) }).collect();
            Ok(GetPluginCapabilitiesResponse { capabilities })
        };
        self.0.look(Rpc::About, request.into_inner(), answer).await
    }

    async fn probe(&self, request: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        let answer = |plugin: &Plugin, _| {
            plugin.driver()?;
            Ok(ProbeResponse { ready: Some(true) })
        };
        self.0.look(Rpc::About, request.into_inner(), answer).await
    }
}
