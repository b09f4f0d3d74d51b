//! `flexvol csi`: drivers served as CSI drivers, until a signal ends it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use flexvolume_csi::{
    capability::AttachBy,
    context::Inline,
    name::{NameTrouble, Names},
    plugin::Manner,
    register::Registering,
    run::{Bridge, BridgeTrouble, Served, Which, run},
    serve::Parts,
};
use flexvolume_protocol::DriverName;

use super::{
    ground::{Done, host},
    manifests::manifests,
};
use crate::{
    cli::{Attach, Cli, Csi, CsiVerb, Serve},
    output::Show,
    problem::Problems,
    speak,
};

pub(super) fn csi(cli: &Cli, show: &Show, wanted: &Csi) -> Done {
    if let Some(CsiVerb::Manifests(wanted)) = &wanted.instead {
        return manifests(cli, show, wanted);
    }
    if let Some(namespace) = &wanted.mount_namespace {
        // Before anything is opened: every path is one of that namespace.
        flexvolume_linux::namespace::go_over(namespace)?;
    }
    flexvolume_linux::process::keep_small();
    let bridge = bridge(wanted)?;
    let host = host(cli, show)?;
    if let Which::Named(drivers) = &bridge.which {
        for served in drivers {
            let driver = &served.serving.driver;
            // Its volumes must come down whatever became of it, and it may come back: its calls fail until then.
            if let Err(error) = host.ground().drivers.get(driver, &|note| show.note(note)) {
                speak::warn("", &error.story());
            }
        }
    }
    let show = *show;
    run(host, bridge, &(Arc::new(move |note| show.note(note)) as _)).map_err(|trouble| match trouble {
        BridgeTrouble::Host(error) => error.into(),
        trouble @ (BridgeTrouble::Socket(_)
        | BridgeTrouble::Metrics { .. }
        | BridgeTrouble::System(_)
        | BridgeTrouble::Server(_)) => {
            flexvolume_host::Error::new(flexvolume_host::Kind::System, trouble.to_string()).into()
        }
    })
}

fn bridge(wanted: &Csi) -> Done<Bridge> {
    let kubelet_dir = std::path::absolute(&wanted.kubelet_dir)
        .map_err(|error| Problems::usage(error.to_string(), "give a folder that exists with --kubelet-dir"))?;
    let manner = Manner {
        names: given(&wanted.names)?,
        attach_by: match wanted.attach {
            Attach::Node => AttachBy::Node,
            Attach::Controller => AttachBy::Controller,
        },
        inline: wanted
            .allow_inline
            .as_ref()
            .map_or(Inline::Off, |keys| Inline::Allowed(keys.iter().cloned().collect::<BTreeSet<_>>())),
    };
    let parts = Parts { controller: wanted.serve != Serve::Node, node: wanted.serve != Serve::Controller };
    let registering = match wanted.registers() {
        Some(true) if !parts.node => {
            return Err(Problems::usage(
                "--register is for the node's part, which is not served".to_owned(),
                "leave it away: the kubelet has no use for a controller's part",
            ));
        }
        Some(true) => Registering::Always,
        Some(false) => Registering::Never,
        None => Registering::WithAKubelet,
    };
    let which = match wanted.all {
        true => {
            // A name that cannot be had is no reason to leave its driver out without a word.
            manner
                .names
                .keys()
                .try_for_each(|driver| manner.name(driver).map(drop).map_err(|trouble| unfit(&trouble)))?;
            Which::All(manner)
        }
        false => Which::Named(named(wanted, &manner, &kubelet_dir)?),
    };
    Ok(Bridge { kubelet_dir, parts, which, registering, metrics: wanted.metrics })
}

/// The drivers that are named, and where each is served.
fn named(wanted: &Csi, manner: &Manner, kubelet_dir: &Path) -> Done<Vec<Served>> {
    let mut names = Names::default();
    let mut drivers: Vec<Served> = Vec::new();
    for text in &wanted.drivers {
        let driver = driver(text)?;
        if drivers.iter().any(|served| served.serving.driver == driver) {
            continue;
        }
        let name = manner.name(&driver).map_err(|trouble| unfit(&trouble))?;
        names.take(name.clone(), &driver).map_err(|trouble| unfit(&trouble))?;
        let mut served = Served::usual(manner.serving(driver, name), kubelet_dir);
        if let Some(endpoint) = &wanted.endpoint {
            served.endpoint = socket(endpoint)?;
            served.registered_endpoint = wanted.registered_endpoint.as_deref().map(socket).transpose()?;
        }
        drivers.push(served);
    }
    if drivers.len() > 1 && wanted.endpoint.is_some() {
        return Err(Problems::usage(
            "--endpoint is one socket, and there are several drivers".to_owned(),
            "leave it away: each has one of its own",
        ));
    }
    let is_served = |driver: &DriverName| drivers.iter().any(|served| served.serving.driver == *driver);
    if let Some(driver) = manner.names.keys().find(|driver| !is_served(driver)) {
        return Err(Problems::usage(
            format!("--name is given for {driver}, which is not served"),
            "name it with --driver as well",
        ));
    }
    Ok(drivers)
}

fn given(names: &[String]) -> Done<BTreeMap<DriverName, String>> {
    let one = |text: &String| {
        let (name, given) = text
            .split_once('=')
            .ok_or_else(|| Problems::usage(format!("--name {text} has no ="), "write --name DRIVER=NAME"))?;
        Ok((driver(name)?, given.to_owned()))
    };
    names.iter().map(one).collect()
}

fn driver(text: &str) -> Done<DriverName> {
    DriverName::parse(text).map_err(|error| Problems::usage(error.to_string(), "flexvol drivers lists what there is"))
}

fn unfit(trouble: &NameTrouble) -> Problems {
    Problems::usage(trouble.to_string(), "give it a name with --name DRIVER=NAME")
}

/// `unix:///path`, `unix:/path` or the path alone.
fn socket(endpoint: &str) -> Done<PathBuf> {
    let path = endpoint.strip_prefix("unix://").or_else(|| endpoint.strip_prefix("unix:")).unwrap_or(endpoint);
    match Path::new(path).is_absolute() {
        true => Ok(path.into()),
        false => {
            Err(Problems::usage(format!("{endpoint} is no path of a socket"), "give one such as unix:///run/csi.sock"))
        }
    }
}
