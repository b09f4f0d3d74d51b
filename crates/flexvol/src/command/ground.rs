//! What every verb stands on: the settings and the host that the command line names, and how a verb ends.

use flexvolume_host::{
    Host, Settings,
    settings::{Config, PATIENCE},
    volume::record::SecretRef,
};
use flexvolume_protocol::{Secrets, run};

use crate::{cli::Cli, output::Show, problem::Problems};

pub(super) type Done<T = ()> = Result<T, Problems>;

pub(super) fn settings(cli: &Cli) -> Done<Settings> {
    let absolute = |path: &std::path::Path| {
        std::path::absolute(path)
            .map_err(|e| Problems::usage(format!("{}: {e}", path.display()), "give a path that exists"))
    };
    Ok(Settings {
        root: absolute(&cli.root)?,
        plugin_dir: absolute(&cli.plugin_dir)?,
        // Drivers inherit it, so that both mean the same.
        run: std::env::var_os(run::VAR).unwrap_or_else(|| run::DIR.into()).into(),
        // The very file this process runs, though it was replaced meanwhile.
        worker: "/proc/self/exe".into(),
        patience: PATIENCE,
        config: Config::read(&cli.config)?,
    })
}

pub(super) fn host(cli: &Cli, show: &Show) -> Done<Host> {
    let settings = settings(cli)?;
    // From here on nothing depends on the working directory, and drivers begin in `/`.
    let _ = flexvolume_linux::process::settle();
    Ok(Host::open(settings, &|note| show.note(note))?)
}

/// For commands that read no manifests: what needs a secret waits for the next `up`.
pub(super) fn no_secrets(wanted: &SecretRef) -> flexvolume_host::Result<Secrets> {
    Err(flexvolume_host::Error::new(
        flexvolume_host::Kind::NotFound,
        format!("Secret {}/{} is not at hand", wanted.namespace, wanted.name),
    )
    .hint("flexvol keeps no secrets: run flexvol up with the manifests that hold it"))
}
