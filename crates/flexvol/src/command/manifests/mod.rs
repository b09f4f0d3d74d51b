//! `flexvol csi manifests`: what Kubernetes is told so that a driver is served on its nodes, made of the driver's answer to `init`.
//!
//! [`plan`] decides, [`rights`], [`pods`] and [`objects`] write down; nothing here talks to a cluster.

mod document;
mod objects;
mod plan;
mod pods;
mod rights;
#[cfg(test)]
mod tests;

use flexvolume_csi::{capability::Offer, name::CsiName};
use flexvolume_host::settings;
use flexvolume_protocol::DriverName;
use serde_json::json;

use super::{
    fit,
    ground::{Done, host},
};
use crate::{
    cli::{Cli, Format, Manifests},
    output::Show,
    problem::Problems,
    speak::say,
};
use document::Document;
use plan::Plan;

pub(super) fn manifests(cli: &Cli, show: &Show, wanted: &Manifests) -> Done {
    let plan = plan(cli, show, wanted)?;
    let documents = documents(&plan);
    match cli.output {
        Format::Table | Format::Wide | Format::Yaml => {
            for document in &documents {
                say!("{}", document.text());
            }
            Ok(())
        }
        Format::Json => {
            let items: Vec<_> = documents.into_iter().map(|document| document.json).collect();
            show.value(&json!({"apiVersion": "v1", "kind": "List", "items": items}))
        }
    }
}

fn plan(cli: &Cli, show: &Show, wanted: &Manifests) -> Done<Plan> {
    fit::printed(wanted).map_err(fit::refused)?;
    let inline = wanted.allow_inline.as_deref().map(fit::inline).transpose()?;
    let driver = DriverName::parse(&wanted.driver)
        .map_err(|error| Problems::usage(error.to_string(), "flexvol drivers lists what there is"))?;
    let name = match &wanted.name {
        Some(name) => CsiName::given(&driver, name),
        None => CsiName::usual(&driver),
    };
    let name = name.map_err(|trouble| Problems::usage(trouble.to_string(), "give it a name with --name"))?;
    let absolute = |path: &std::path::Path| {
        let path = std::path::absolute(path).map(|path| path.to_string_lossy().into_owned());
        path.map_err(|error| Problems::usage(error.to_string(), "give a path that can be read as one"))
    };
    // What the shell says is of this machine: on the nodes it is as usual, unless the command line says so.
    let on_nodes =
        |path, is_of_shell: bool, usual: &str| if is_of_shell { Ok(usual.to_owned()) } else { absolute(path) };
    let kubelet_dir = absolute(&wanted.kubelet_dir)?;
    let root = on_nodes(&cli.root, cli.of_shell.root, settings::ROOT)?;
    let plugin_dir = on_nodes(&cli.plugin_dir, cli.of_shell.plugin_dir, settings::PLUGIN_DIR)?;
    let config = on_nodes(&cli.config, cli.of_shell.config, settings::CONFIG)?;
    let found = host(cli, show)?.ground().drivers.get(&driver, &|note| show.note(note))?;
    let attach_by = fit::attach_by(wanted.attach);
    let offer = Offer { capabilities: found.capabilities, extensions: found.extensions.clone(), attach_by };
    fit::attaching(&driver, &offer).map_err(fit::refused)?;
    let plan = Plan {
        renamed: wanted.name.is_some(),
        inline: inline.map(|keys| keys.into_iter().collect()),
        image: wanted.image.clone(),
        namespace: wanted.namespace.clone(),
        sidecars: wanted.sidecars.trim_end_matches('/').to_owned(),
        reads_secrets: wanted.secrets,
        port: wanted.metrics_port,
        driver,
        name,
        offer,
        kubelet_dir,
        root,
        plugin_dir,
        config,
    };
    fit::sockets(plan.sockets().iter().map(AsRef::as_ref)).map_err(fit::refused)?;
    if plan.reads_secrets && plan.sidecars().is_empty() {
        let what = format!("--secrets lets sidecars read Secrets, and driver {} needs no sidecar", plan.driver);
        return Err(Problems::usage(what, "leave it away"));
    }
    Ok(plan)
}

/// Everything that is to be applied, in an order in which it can be.
fn documents(plan: &Plan) -> Vec<Document> {
    let mut documents = rights::documents(plan);
    documents.push(objects::csi_driver(plan));
    documents.push(pods::node(plan));
    documents.extend(pods::controller(plan));
    documents.extend(objects::storage_class(plan));
    documents.extend(objects::snapshot_class(plan));
    documents
}
