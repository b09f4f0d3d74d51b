//! The flexvol command: flags, manifests, tables, exit codes. The only place that prints or exits.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod aside;
mod cli;
mod command;
mod doctor;
mod duration;
mod line;
mod log;
pub mod manifest;
mod output;
mod problem;
mod progress;
mod reading;
mod schema;
mod screen;
mod speak;

use std::{ffi::OsString, process::ExitCode};

use clap::{ColorChoice, FromArgMatches, ValueEnum};

use cli::{Cli, LogFormat, LogLevel};
use problem::Problems;

pub use doctor::worker;

/// Runs the command with the process's own arguments.
pub fn run() -> ExitCode {
    // Manifests hold secrets, and are read before anything else is settled.
    flexvolume_linux::process::no_core_dumps();
    let args: Vec<OsString> = std::env::args_os().collect();
    let parsed = cli::command().try_get_matches_from(&args).and_then(|matches| {
        Cli::from_arg_matches(&matches).map(|cli| Cli { of_shell: cli::OfShell::of(&matches), ..cli })
    });
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return unread(&args, &error),
    };
    use_colours(cli.color);
    speak::set_format(cli.log_format);
    if let Some(level) = cli.log_level.or((cli.verbose >= 2).then_some(LogLevel::Debug)) {
        log::start(level, cli.log_format);
    }
    let show = output::Show::new(cli.output, cli.verbose);
    let done = command::run(&cli, &show);
    // Results that are nowhere are no success.
    let lost = screen::lost().map_or(Ok(()), |error| Err(Problems::lost(error)));
    let code = match Problems::gather([done, lost].into_iter().filter_map(Result::err).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => problems.tell(),
    };
    aside::settle();
    code
}

/// What becomes of a command line that asks for help or cannot be read: said in the colours and the form it asks for.
fn unread(args: &[OsString], error: &clap::Error) -> ExitCode {
    use_colours(asked(args, "--color").unwrap_or(ColorChoice::Auto));
    let text = error.render().ansi().to_string();
    if !error.use_stderr() {
        // Help and version are answers, not errors.
        screen::out(text.trim_end());
        return ExitCode::SUCCESS;
    }
    let of_environment = || LogFormat::from_str(&std::env::var(LogFormat::ENV).ok()?, false).ok();
    speak::set_format(asked(args, "--log-format").or_else(of_environment).unwrap_or(LogFormat::Text));
    if speak::is_json() {
        return Problems::refused(error).tell();
    }
    screen::err(text.trim_end());
    ExitCode::from(problem::USAGE)
}

/// The value of one of our own flags in a command line that cannot be read as a whole.
fn asked<T: ValueEnum>(args: &[OsString], flag: &str) -> Option<T> {
    let ours: Vec<_> = args.iter().map_while(|arg| arg.to_str().filter(|arg| *arg != "--")).collect();
    let apart = ours.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1]);
    let joined = ours.iter().filter_map(|arg| arg.strip_prefix(flag)?.strip_prefix('='));
    apart.chain(joined).find_map(|value| T::from_str(value, false).ok())
}

/// One choice for all that is printed; `Auto` looks at the terminal, `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE`.
fn use_colours(choice: ColorChoice) {
    let is = |name: &str, matters: fn(&str) -> bool| matters(&std::env::var(name).unwrap_or_default());
    // Where `CI` is set the library colours a dumb terminal as well.
    let is_dumb = is("TERM", |term| term.is_empty() || term == "dumb");
    let is_forced = is("CLICOLOR_FORCE", |force| !force.is_empty() && force != "0");
    match choice {
        ColorChoice::Auto if is_dumb && !is_forced => anstream::ColorChoice::Never,
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_in_a_command_line_that_makes_no_sense() {
        let asked =
            |line: &str| asked::<LogFormat>(&line.split(' ').map(OsString::from).collect::<Vec<_>>(), "--log-format");
        assert_eq!(asked("flexvol --nonsense --log-format json ls"), Some(LogFormat::Json));
        assert_eq!(asked("flexvol upp --log-format=json"), Some(LogFormat::Json));
        assert_eq!(asked("flexvol --log-format"), None);
        assert_eq!(asked("flexvol --log-format xml"), None);
        assert_eq!(asked("flexvol exec web -- x --log-format json"), None);
    }
}
