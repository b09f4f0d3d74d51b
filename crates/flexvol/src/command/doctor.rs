//! `flexvol doctor`: what keeps drivers and volumes from working here, and the command that mends it.

use std::{ffi::OsString, path::Path};

use flexvolume_host::settings::{CONFIG, Config, PLUGIN_DIR, ROOT};
use flexvolume_protocol::DriverName;
use serde::Serialize;

use super::ground::Done;
use crate::{
    cli::Cli,
    doctor::{Examination, Finding, Group, Severity, count, examine, quoted},
    output::Show,
    problem::Problems,
    speak::{say, tell},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    problems: usize,
    warnings: usize,
    notes: usize,
    findings: Vec<Finding>,
}

pub(super) fn doctor(cli: &Cli, show: &Show, drivers: &[String]) -> Done {
    let only = drivers.iter().map(|name| DriverName::parse(name)).collect::<Result<Vec<_>, _>>();
    let only = only.map_err(|e| Problems::usage(e.to_string(), "flexvol drivers lists what there is"))?;
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (root, plugin_dir, config_file) = (absolute(&cli.root), absolute(&cli.plugin_dir), absolute(&cli.config));
    let config = Config::read(&cli.config);
    let _ = flexvolume_linux::process::settle();
    let flexvol = called(&root, &plugin_dir, &config_file, |var| std::env::var_os(var));
    let mut findings = examine(Examination {
        root,
        plugin_dir,
        config,
        config_file,
        only,
        flexvol,
        slow: &|name, seconds| tell!("driver {name} is still running init after {seconds} s"),
    });
    findings
        .sort_by(|one, other| (one.group, other.severity, &one.about).cmp(&(other.group, one.severity, &other.about)));
    let number = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (problems, warnings, notes) = (number(Severity::Problem), number(Severity::Warning), number(Severity::Note));
    let report = Report { problems, warnings, notes, findings };
    if show.is_table() {
        tell_people(&report, cli.verbose > 0)
    } else {
        show.value(&report)?
    }
    if problems > 0 { Err(Problems::told(1)) } else { Ok(()) }
}

/// The command with the flags that lead it here, for commands that people shall type, wherever they stand.
fn called(root: &Path, plugin_dir: &Path, config: &Path, env: impl Fn(&str) -> Option<OsString>) -> String {
    let mut command = "flexvol".to_owned();
    for (flag, var, value, default) in [
        ("--root", "FLEXVOL_ROOT", root, ROOT),
        ("--plugin-dir", "FLEXVOL_PLUGIN_DIR", plugin_dir, PLUGIN_DIR),
        ("--config", "FLEXVOL_CONFIG", config, CONFIG),
    ] {
        // What the environment says, the next command hears as well.
        if value.as_os_str() != env(var).unwrap_or_else(|| default.into()) {
            command.push_str(&format!(" {flag} {}", quoted(value)));
        }
    }
    command
}

/// What matters, group by group; all that was looked at if `all`.
fn tell_people(report: &Report, all: bool) {
    let mut in_order = Vec::new();
    for group in Group::ALL {
        let here: Vec<_> = report.findings.iter().filter(|finding| finding.group == group).collect();
        let shown: Vec<_> = here.iter().filter(|finding| all || finding.severity > Severity::Ok).collect();
        if shown.is_empty() {
            if !here.is_empty() {
                in_order.push(group.title().to_lowercase());
            }
            continue;
        }
        say!("\x1b[1m{}\x1b[0m", group.title());
        for finding in shown {
            tell_one(finding);
        }
        let well = healthy(&here);
        if !all && !well.is_empty() {
            say!("  \x1b[32mok\x1b[0m       {}", well.join(", "));
        }
        say!("");
    }
    if !in_order.is_empty() {
        say!("In order: {} (flexvol doctor -v shows what was looked at)", in_order.join(", "));
    }
    let Report { problems, warnings, notes, .. } = report;
    say!("{}, {}, {}", count(*problems, "problem"), count(*warnings, "warning"), count(*notes, "note"));
}

/// The drivers of which there is nothing to tell.
fn healthy(findings: &[&Finding]) -> Vec<String> {
    let drivers = findings.iter().filter(|finding| finding.group == Group::Drivers);
    let of = |finding: &&&Finding| {
        let worst = findings.iter().filter(|other| other.about == finding.about).map(|other| other.severity).max();
        worst == Some(Severity::Ok)
    };
    let mut names: Vec<_> = drivers.filter(of).map(|finding| finding.about.clone()).collect();
    names.dedup();
    names
}

fn tell_one(finding: &Finding) {
    let colour = match finding.severity {
        Severity::Ok => "32",
        Severity::Note => "36",
        Severity::Warning => "1;33",
        Severity::Problem => "1;31",
    };
    let word = finding.severity.word();
    // Padded by hand: the terminal counts no colours.
    let pad = " ".repeat(9_usize.saturating_sub(word.len()));
    say!("  \x1b[{colour}m{word}\x1b[0m{pad}\x1b[1m{}\x1b[0m: {}", finding.about, finding.seen);
    if !finding.why.is_empty() {
        say!("           {}", finding.why);
    }
    if !finding.mend.is_empty() {
        say!("           \x1b[36mmend:\x1b[0m {}", finding.mend);
    }
    for command in &finding.run {
        say!("           \x1b[1;36mrun: \x1b[0m {command}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_to_type_leads_where_this_one_looked() {
        let of = |root: &str, env: Option<&str>| {
            let env = |var: &str| env.filter(|_| var == "FLEXVOL_ROOT").map(OsString::from);
            called(Path::new(root), Path::new(PLUGIN_DIR), Path::new(CONFIG), env)
        };
        assert_eq!(of(ROOT, None), "flexvol");
        assert_eq!(of("/a b", None), "flexvol --root '/a b'");
        assert_eq!(of("/a", Some("/a")), "flexvol");
        assert_eq!(of(ROOT, Some("/a")), format!("flexvol --root {ROOT}"), "the environment names another");
        assert_eq!(of("/here/a", Some("a")), "flexvol --root /here/a", "it means another elsewhere");
        let all = called(Path::new("/r"), Path::new("/p"), Path::new("/c"), |_| None);
        assert_eq!(all, "flexvol --root /r --plugin-dir /p --config /c");
    }
}
