//! The verbs of the command, a file each.

mod call;
mod check;
mod completions;
mod csi;
mod doctor;
mod down;
mod drivers;
mod exec;
mod fit;
mod ground;
mod inspect;
mod install;
mod ls;
mod man;
mod manifests;
mod pods;
mod schema;
mod up;
pub(crate) mod words;
mod work;

use crate::{
    cli::{Cli, Command},
    output::Show,
};
use ground::Done;

/// Does what the command line says.
pub(crate) fn run(cli: &Cli, show: &Show) -> Done {
    match &cli.command {
        Command::Up { files, jobs, waiting } => up::up(cli, show, files, jobs.of_driver, waiting.until()),
        Command::Down { what, all, jobs } => down::down(cli, show, what, *all, jobs.of_driver),
        Command::Exec { pod, container, argv } => exec::exec(cli, show, pod, container.as_deref(), argv),
        Command::Ls { usage } => ls::ls(cli, show, *usage),
        Command::Inspect { volume } => inspect::inspect(cli, show, volume),
        Command::Drivers { watch } => drivers::drivers(cli, show, *watch),
        Command::Doctor { drivers } => doctor::doctor(cli, show, drivers),
        Command::Install { driver, name } => install::install(cli, show, driver, name.as_deref()),
        Command::Call { driver, verb, args } => call::call(cli, show, driver, verb, args),
        Command::Check(wanted) => check::check(cli, show, wanted),
        Command::Csi(wanted) => csi::csi(cli, show, wanted),
        Command::Completions { shell } => completions::completions(*shell),
        Command::Man { verb, to } => man::man(show, verb.as_deref(), to.as_deref()),
        Command::Schema { name } => schema::schema(name),
    }
}
