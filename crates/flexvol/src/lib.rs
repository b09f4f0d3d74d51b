//! The flexvol command: flags, manifests, tables, exit codes. The only place that prints or exits.
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the command")]

mod cli;
mod command;
pub mod manifest;
mod output;
mod problem;
mod speak;

use std::process::ExitCode;

use clap::Parser;

/// Runs the command with the process's own arguments.
pub fn run() -> ExitCode {
    // Manifests hold secrets, and are read before anything else is settled.
    flexvolume_linux::process::no_core_dumps();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors.
            let code = if error.use_stderr() { problem::USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    log(cli.verbose);
    let show = output::Show::new(cli.output, cli.verbose);
    match command::run(&cli, &show) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => problems.tell(),
    }
}

/// A log on standard error, when asked for with `FLEXVOL_LOG` (`error`, `warn`, `info`, `debug`) or with two `-v`.
fn log(verbose: u8) {
    let asked = std::env::var("FLEXVOL_LOG").ok().and_then(|level| level.parse::<tracing::Level>().ok());
    let Some(level) = asked.or((verbose >= 2).then_some(tracing::Level::DEBUG)) else { return };
    let _ = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(false).try_init();
}
