//! `flexvol man`: manual pages, made of the same tables as the help.

use std::{fs, path::Path};

use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};
use flexvolume_host::{Error, Kind};
use serde::Serialize;

use super::ground::Done;
use crate::{
    cli::{self, help},
    output::Show,
    problem::Problems,
    speak::say,
};

/// The section of commands.
const SECTION: &str = "1";

/// One page that was written.
#[derive(Serialize)]
struct Row {
    page: String,
    path: String,
}

pub(super) fn man(show: &Show, verb: Option<&str>, to: Option<&Path>) -> Done {
    let mut command = cli::command().disable_help_subcommand(true).subcommand_help_heading("VERBS");
    command.build();
    match to {
        Some(folder) => write(show, &command, folder),
        None => print(&command, verb),
    }
}

fn print(command: &clap::Command, verb: Option<&str>) -> Done {
    let of = match verb {
        None => command,
        Some(verb) => every(command).find(|of| name(of).strip_prefix("flexvol-") == Some(verb)).ok_or_else(|| {
            let known: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
            Problems::usage(format!("flexvol has no verb {verb}"), format!("its verbs: {}", known.join(", ")))
        })?,
    };
    say!("{}", page(command, of).trim_end());
    Ok(())
}

fn write(show: &Show, command: &clap::Command, folder: &Path) -> Done {
    let fail = |what: &str, path: &Path, error| {
        let error = Error::new(Kind::System, format!("cannot {what} {}", path.display())).because(error);
        Problems::from(error.hint("choose a folder that you may write to; man finds pages in those of `manpath`"))
    };
    fs::create_dir_all(folder).map_err(|e| fail("create", folder, e))?;
    let mut rows = Vec::new();
    for of in std::iter::once(command).chain(every(command)) {
        let name = name(of);
        let path = folder.join(format!("{name}.{SECTION}"));
        fs::write(&path, page(command, of)).map_err(|e| fail("write", &path, e))?;
        rows.push(Row { page: name, path: path.display().to_string() });
    }
    show.rows(&["PAGE", "PATH"], &rows, |row| vec![row.page.clone(), row.path.clone()], "")
}

/// Every verb, and the verbs of verbs.
fn every(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().flat_map(|verb| std::iter::once(verb).chain(beneath(verb)))
}

/// The verbs of a verb.
fn beneath(verb: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    verb.get_subcommands().filter(|verb| verb.get_name() != "help")
}

/// A page's name, such as `flexvol-up`.
fn name(of: &clap::Command) -> String {
    of.get_display_name().unwrap_or(of.get_name()).to_owned()
}

/// The page of `of`, which is `command` itself or a verb of it.
fn page(command: &clap::Command, of: &clap::Command) -> String {
    let is_whole = of.get_name() == command.get_name();
    let man = Man::new(of.clone()).section(SECTION);
    let source = format!("flexvol {}", command.get_version().unwrap_or_default());
    let mut text = Vec::new();
    // No date, so that the same version makes the same page; quoted, since the macro counts its arguments.
    let title = [name(of).to_uppercase().as_str(), SECTION, "\"\"", source.as_str(), "flexvol"].map(str::to_owned);
    // Writing to memory cannot fail.
    let _ = Roff::new().control("TH", title.iter().map(String::as_str)).to_writer(&mut text);
    let _ = man.render_name_section(&mut text);
    let _ = man.render_synopsis_section(&mut text);
    let _ = man.render_description_section(&mut text);
    let _ = man.render_options_section(&mut text);
    if is_whole {
        let _ = man.render_subcommands_section(&mut text);
    }
    let _ = rest(command, of, is_whole).to_writer(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// What clap knows nothing of.
fn rest(command: &clap::Command, of: &clap::Command, is_whole: bool) -> Roff {
    let mut roff = Roff::new();
    if let Some(verb) = help::VERBS.iter().find(|verb| verb.name == of.get_name()) {
        roff.control("SH", ["EXAMPLES"]);
        for (what, line) in verb.examples {
            roff.control("TP", []).text([roman(*what)]);
            // A line to type is neither filled nor hyphenated.
            roff.control("nf", []).text([bold(*line)]).control("fi", []);
        }
    }
    table(&mut roff, "EXIT STATUS", help::EXIT_CODES);
    roff.control("PP", []).text([roman(help::EXIT_CODES_REST)]);
    let mut variables: Vec<(String, String)> = Vec::new();
    for argument in of.get_arguments() {
        if let (Some(variable), Some(flag)) = (argument.get_env(), argument.get_long()) {
            variables
                .push((variable.to_string_lossy().into_owned(), format!("Sets --{flag}, where that is not given.")));
        }
    }
    variables.extend(help::ENVIRONMENT.iter().map(|(variable, what)| ((*variable).into(), (*what).into())));
    table(&mut roff, "ENVIRONMENT", &variables);
    table(&mut roff, "FILES", help::FILES);
    roff.control("SH", ["SEE ALSO"]);
    let others = command.get_subcommands().filter(|_| is_whole).chain(beneath(of).filter(|_| !is_whole));
    let others = std::iter::once(command).chain(others);
    let others: Vec<_> = others.map(name).filter(|other| *other != name(of)).collect();
    for (n, other) in others.iter().enumerate() {
        let comma = if n + 1 == others.len() { "" } else { "," };
        roff.text([bold(other.as_str()), roman(format!("({SECTION}){comma}"))]);
    }
    roff
}

fn table(roff: &mut Roff, heading: &str, rows: &[(impl AsRef<str>, impl AsRef<str>)]) {
    roff.control("SH", [heading]);
    for (name, what) in rows {
        roff.control("TP", []).text([bold(name.as_ref())]).text([roman(what.as_ref())]);
    }
}
