//! The verbs of the command, a file each.

mod call;
mod down;
mod drivers;
mod exec;
mod install;
mod ls;
mod pods;
mod up;

use flexvolume_host::{
    Host, Settings,
    settings::{Config, PATIENCE},
    volume::record::SecretRef,
};
use flexvolume_protocol::Secrets;

use crate::{
    cli::{Cli, Command},
    output::Show,
    problem::Problems,
};

type Done<T = ()> = Result<T, Problems>;

/// Does what the command line says.
pub(crate) fn run(cli: &Cli, show: &Show) -> Done {
    match &cli.command {
        Command::Up { files, jobs } => up::up(cli, show, files, usize::from(*jobs)),
        Command::Down { what, all } => down::down(cli, show, what, *all),
        Command::Exec { pod, container, argv } => exec::exec(cli, show, pod, container.as_deref(), argv),
        Command::Ls { usage } => ls::ls(cli, show, *usage),
        Command::Drivers => drivers::drivers(cli, show),
        Command::Install { driver, name } => install::install(cli, show, driver, name.as_deref()),
        Command::Call { driver, verb, args } => call::call(cli, show, driver, verb, args),
    }
}

fn settings(cli: &Cli) -> Done<Settings> {
    let absolute = |path: &std::path::Path| {
        std::path::absolute(path)
            .map_err(|e| Problems::usage(format!("{}: {e}", path.display()), "give a path that exists"))
    };
    Ok(Settings {
        root: absolute(&cli.root)?,
        plugin_dir: absolute(&cli.plugin_dir)?,
        // The very file this process runs, though it was replaced meanwhile.
        worker: "/proc/self/exe".into(),
        patience: PATIENCE,
        config: Config::read(&cli.config)?,
    })
}

fn host(cli: &Cli, show: &Show) -> Done<Host> {
    let settings = settings(cli)?;
    // From here on nothing depends on the working directory, and drivers begin in `/`.
    let _ = flexvolume_linux::process::settle();
    Ok(Host::open(settings, &|note| show.note(note))?)
}

/// For commands that read no manifests: what needs a secret waits for the next `up`.
fn no_secrets(wanted: &SecretRef) -> flexvolume_host::Result<Secrets> {
    Err(flexvolume_host::Error::new(
        flexvolume_host::Kind::NotFound,
        format!("Secret {}/{} is not at hand", wanted.namespace, wanted.name),
    )
    .hint("flexvol keeps no secrets: run flexvol up with the manifests that hold it"))
}
