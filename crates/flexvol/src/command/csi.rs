//! `flexvol csi`: drivers served as CSI drivers, until a signal ends it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use flexvolume_csi::{
    capability::Offer,
    context::Inline,
    name::{NameTrouble, Names},
    plugin::{Rules, Serving},
    run::{Bridge, BridgeTrouble, Registering, Served, Which, run},
    serve::Parts,
};
use flexvolume_host::Host;
use flexvolume_protocol::DriverName;

use super::{
    fit,
    ground::{Done, host},
    manifests::manifests,
};
use crate::{
    aside,
    cli::{Cli, Csi, CsiVerb, Serve},
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
    is_apart(&bridge.kubelet_dir, host.ground().layout.root())?;
    match &bridge.which {
        Which::Named(drivers) => drivers.iter().try_for_each(|served| can_serve(&host, show, served, bridge.parts))?,
        Which::All(rules) => {
            for driver in rules.names.keys().filter(|driver| !is_there(&host, driver)) {
                speak::warn("", &format!("--name is given for {driver}, and there is no such driver yet"));
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

/// Whether the driver can do what it is to be served for.
fn can_serve(host: &Host, show: &Show, served: &Served, parts: Parts) -> Done {
    let Serving { driver, attach_by, .. } = &served.serving;
    let found = match host.ground().drivers.get(driver, &|note| show.note(note)) {
        Ok(found) => found,
        // Its volumes must come down whatever became of it, and it may come back: its calls fail until then.
        Err(error) => {
            speak::warn("", &error.story());
            return Ok(());
        }
    };
    let offer = Offer { capabilities: found.capabilities, extensions: found.extensions.clone(), attach_by: *attach_by };
    let fits = fit::attaching(driver, &offer).and_then(|()| match parts.node {
        true => Ok(()),
        false => fit::controlling(driver, &offer),
    });
    match fits {
        // Another driver may have come in its place: its volumes must come down.
        Err((what, hint)) if host.holders()?.contains(driver) => speak::warn("", &format!("{what}; {hint}")),
        fits => fits.map_err(fit::refused)?,
    }
    Ok(())
}

fn is_there(host: &Host, driver: &DriverName) -> bool {
    host.ground().drivers.names().is_ok_and(|names| names.contains(driver))
}

/// What is mounted beneath our root is ours, and what clients have beneath their folder is theirs: neither is taken for the other.
fn is_apart(kubelet_dir: &Path, root: &Path) -> Done {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if !real(kubelet_dir).starts_with(real(root)) {
        return Ok(());
    }
    let what = format!("--kubelet-dir {} lies beneath flexvol's own root, {}", kubelet_dir.display(), root.display());
    Err(Problems::usage(what, "choose a folder outside of it, or another --root"))
}

fn bridge(wanted: &Csi) -> Done<Bridge> {
    fit::served(wanted).map_err(fit::refused)?;
    let what = |why: &dyn std::fmt::Display| format!("--kubelet-dir {}: {why}", wanted.kubelet_dir.display());
    let hint = "make that folder, or name with --kubelet-dir the one that paths of your clients are beneath";
    let kubelet_dir = std::path::absolute(&wanted.kubelet_dir).map_err(|error| Problems::usage(what(&error), hint))?;
    if !kubelet_dir.is_dir() {
        return Err(Problems::usage(what(&"there is no such folder"), hint));
    }
    let rules = Rules {
        names: given(&wanted.names)?,
        attach_by: fit::attach_by(wanted.attach),
        inline: match &wanted.allow_inline {
            Some(keys) => Inline::Allowed(fit::inline(keys)?),
            None => Inline::Off,
        },
    };
    let parts = Parts { controller: wanted.serve != Serve::Node, node: wanted.serve != Serve::Controller };
    let registering = match wanted.registers() {
        Some(true) => Registering::Always,
        Some(false) => Registering::Never,
        None => Registering::WithAKubelet,
    };
    let which = match wanted.all {
        true => {
            // A name that cannot be had is no reason to leave its driver out without a word.
            let mut names = Names::default();
            for driver in rules.names.keys() {
                let taken = rules.name(driver).and_then(|name| names.take(name, driver));
                taken.map_err(|trouble| unfit(&trouble))?;
            }
            Which::All(rules)
        }
        false => Which::Named(named(wanted, &rules, &kubelet_dir)?),
    };
    Ok(Bridge {
        kubelet_dir,
        parts,
        which,
        registering,
        metrics: wanted.metrics,
        lost: aside::begin(speak::line_of_warning),
    })
}

/// The drivers that are named, and where each is served.
fn named(wanted: &Csi, rules: &Rules, kubelet_dir: &Path) -> Done<Vec<Served>> {
    let mut names = Names::default();
    let mut drivers: Vec<Served> = Vec::new();
    for text in &wanted.drivers {
        let driver = driver(text)?;
        if drivers.iter().any(|served| served.serving.driver == driver) {
            continue;
        }
        let name = rules.name(&driver).map_err(|trouble| unfit(&trouble))?;
        names.take(name.clone(), &driver).map_err(|trouble| unfit(&trouble))?;
        let mut served = Served::usual(rules.serving(driver, name), kubelet_dir);
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
    if let Some(driver) = rules.names.keys().find(|driver| !is_served(driver)) {
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
    let mut given = BTreeMap::new();
    for (driver, name) in names.iter().map(one).collect::<Done<Vec<_>>>()? {
        if let Some(before) = given.insert(driver.clone(), name.clone())
            && before != name
        {
            let what = format!("--name gives {driver} two names, {before} and {name}");
            return Err(Problems::usage(what, "leave one of them away"));
        }
    }
    Ok(given)
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
        false => Err(Problems::usage(
            format!("{endpoint} is no absolute path of a socket"),
            "give one such as unix:///run/csi.sock",
        )),
    }
}
