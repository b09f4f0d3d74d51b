//! What keeps drivers and volumes from working on this machine, and what mends it. It looks, asks each driver `init`, and changes nothing.
//!
//! ```text
//!   a Sight per subject, each in a worker process (look) ──▶ plain values ──▶ pure judgement ──▶ Finding
//!   each driver asked init, side by side, under its limits ──────────────────────┘
//! ```

mod answer;
mod checkup;
mod driver;
mod entries;
mod finding;
mod helpers;
mod init;
mod leftovers;
mod look;
mod machine;
mod mounts;
mod nfs;
mod places;
mod record;
mod root;
mod script;
mod sight;
mod status;
mod traces;

use std::{path::PathBuf, process::ExitCode, thread};

use flexvolume_host::{fresh_id, settings::Config};
use flexvolume_protocol::DriverName;

pub(crate) use finding::{Finding, Group, Severity, count, quoted};
use init::Asked;
use look::{Unseen, ask};

/// What is to be examined.
pub(crate) struct Examination<'a> {
    pub(crate) root: PathBuf,
    pub(crate) plugin_dir: PathBuf,
    /// The settings, or what is wrong with them.
    pub(crate) config: flexvolume_host::Result<Config>,
    pub(crate) config_file: PathBuf,
    /// These drivers alone; all there is if empty.
    pub(crate) only: Vec<DriverName>,
    /// The command as it was called, for commands to type.
    pub(crate) flexvol: String,
    /// Told when a driver passes its answer limit: its name, and the seconds.
    pub(crate) slow: &'a (dyn Fn(&DriverName, u64) + Sync),
}

/// One driver, looked at and asked.
struct Examined {
    name: DriverName,
    seen: Result<driver::Seen, Unseen>,
    asked: Option<Asked>,
    call: String,
}

/// Runs the worker and returns its exit code, if this process was born as one of ours.
pub fn worker() -> Option<ExitCode> {
    flexvolume_linux::worker::main::<look::Look>()
}

/// Looks at everything, and says what was found.
pub(crate) fn examine(examination: Examination<'_>) -> Vec<Finding> {
    let Examination { root, plugin_dir, config, config_file, only, flexvol, slow } = examination;
    let mut findings = Vec::new();
    let config = config.unwrap_or_else(|error| {
        let hint = error.next().unwrap_or_default().to_owned();
        findings.push(
            Finding::new(
                Group::Settings,
                Severity::Problem,
                "settings",
                config_file.display().to_string(),
                error.story(),
            )
            .why("no verb starts with them; the rest of this was looked at without")
            .hint(&hint),
        );
        Config::default()
    });
    let users = config.trusted_users.clone();
    let call = fresh_id().unwrap_or_else(|_| "doctor".to_owned());
    let whole = only.is_empty();

    thread::scope(|scope| {
        let call = call.as_str();
        let when_whole = || whole.then_some(());
        let machine = when_whole().map(|()| scope.spawn(|| ask(machine::Look, call)));
        let mounts = when_whole().map(|()| scope.spawn(|| ask(mounts::Look { root: root.clone() }, call)));
        let beneath = when_whole().map(|()| scope.spawn(|| ask(traces::Beneath { root: root.clone() }, call)));
        let elsewhere = places::LookElsewhere { dir: plugin_dir.clone() };
        let elsewhere = when_whole().map(|()| scope.spawn(|| ask(elsewhere, call)));
        let loops = when_whole().map(|()| scope.spawn(|| ask(traces::Loops, call)));
        // Its records tell which drivers are given secrets.
        let records = scope.spawn(|| ask(root::Look { root: root.clone(), users: users.clone() }, call));
        let place = scope.spawn(|| ask(places::Look { dir: plugin_dir.clone(), users: users.clone() }, call));

        let entries = ask(entries::Look { dir: plugin_dir.clone() }, call);
        let names = match (&entries, whole) {
            (Ok(entries), true) => entries::drivers(entries),
            (Ok(_), false) | (Err(_), _) => only.clone(),
        };
        let threads: Vec<_> = names
            .into_iter()
            .map(|name| {
                let look = driver::Look { dir: plugin_dir.clone(), name: name.clone(), users: users.clone() };
                let config = &config;
                scope.spawn(move || examine_driver(name, look, config, call, slow))
            })
            .collect();
        let drivers: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().ok()).collect();
        // After the drivers: what they left running is seen as well.
        let children = ask(traces::Processes { stuck: whole }, call);
        let records = join(records);

        let about = plugin_dir.display().to_string();
        match (join(place), &entries) {
            (Ok(place), Ok(_)) => {
                let findings_there = places::judge(&place, &plugin_dir, drivers.len(), &flexvol);
                findings
                    .extend(findings_there.into_iter().filter(|finding| whole || finding.severity > Severity::Note));
            }
            (Err(unseen), _) => findings.push(unseen.finding(Group::Plugins, &about)),
            (Ok(_), Err(unseen)) => findings.push(unseen.finding(Group::Plugins, &about)),
        }
        if let Some(elsewhere) = elsewhere {
            let judge = |seen| places::judge_elsewhere(&seen, &plugin_dir, drivers.len());
            findings.extend(judged(join(elsewhere), Group::Plugins, "other plugin directories", judge));
        }
        if let (Ok(entries), true) = (&entries, whole) {
            findings.extend(entries::judge(&plugin_dir, entries, &flexvol));
            let installed = entries::drivers(entries);
            findings.extend(unknown_settings(&config, &installed, &config_file.display().to_string()));
        }
        for driver in &drivers {
            let has_secrets = records.as_ref().is_ok_and(|seen| {
                seen.volumes().iter().any(|volume| volume.has_secret && volume.driver == driver.name.as_str())
            });
            let children = children.as_deref().unwrap_or_default();
            findings.extend(judge_driver(driver, &config, has_secrets, children, &flexvol));
        }
        if let (Ok(entries), Ok(seen)) = (&entries, &records) {
            let installed = entries::drivers(entries);
            findings.extend(leftovers::missing_drivers(&seen.volumes(), &installed, &only, &flexvol));
        }
        if let Some(machine) = machine {
            findings.extend(judged(join(machine), Group::Kernel, "kernel", |seen| machine::judge(&seen)));
        }
        if drivers.iter().any(is_nfs) {
            findings.extend(judged(ask(nfs::Look, call), Group::Kernel, "NFS", |seen| nfs::judge(&seen)));
        }
        let root_shown = root.display().to_string();
        if let Some(mounts) = mounts {
            findings
                .extend(judged(join(mounts), Group::Mounts, &root_shown, |seen| mounts::judge(&seen, &root, &flexvol)));
        }
        let (Some(beneath), Some(loops)) = (beneath, loops) else { return };
        let (lies, loops) = (join(beneath), join(loops));
        for unseen in [lies.as_ref().err(), loops.as_ref().err(), children.as_ref().err()].into_iter().flatten() {
            findings.push(unseen.finding(Group::Volumes, &root_shown));
        }
        match records {
            Ok(seen) => {
                findings.extend(root::judge(&seen, &root));
                let ours = |child: &&traces::Child| {
                    child.call != call && drivers.iter().all(|driver| driver.call != child.call)
                };
                let children: Vec<_> = children.iter().flatten().filter(ours).cloned().collect();
                findings.extend(leftovers::judge(&leftovers::Left {
                    volumes: &seen.volumes(),
                    lies: &lies.unwrap_or_default(),
                    loops: &loops.unwrap_or_default(),
                    children: &children,
                    known: seen.is_known(),
                    flexvol: &flexvol,
                }));
            }
            Err(unseen) => findings.push(unseen.finding(Group::Root, &root_shown)),
        }
        // A root that hangs hides its mount and its volumes as well: that is told of the root.
        if findings.iter().any(|finding| finding.check == "hangs" && finding.group == Group::Root) {
            findings.retain(|finding| {
                finding.check != "hangs" || finding.group == Group::Root || finding.about != root_shown
            });
        }
    });
    // Commands that an error's hint names do not know how this one was called.
    for command in findings.iter_mut().flat_map(|finding| &mut finding.run) {
        if let Some(rest) = command.strip_prefix("flexvol ").filter(|_| !command.starts_with(&flexvol)) {
            *command = format!("{flexvol} {rest}");
        }
    }
    findings
}

/// A look's answer; a thread that died saw nothing.
fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T, Unseen>>) -> Result<T, Unseen> {
    thread.join().unwrap_or_else(|_| Err(Unseen::Failed("a thread of this program died".to_owned())))
}

fn judged<T>(
    seen: Result<T, Unseen>,
    group: Group,
    about: &str,
    judge: impl FnOnce(T) -> Vec<Finding>,
) -> Vec<Finding> {
    match seen {
        Ok(seen) => judge(seen),
        Err(unseen) => vec![unseen.finding(group, about)],
    }
}

/// Looks at a driver's file, and asks it `init` unless somebody else could have written it.
fn examine_driver(
    name: DriverName,
    look: driver::Look,
    config: &Config,
    call: &str,
    slow: &(dyn Fn(&DriverName, u64) + Sync),
) -> Examined {
    let seen = ask(look, call);
    // An id of its own, by which what it leaves running is found.
    let call = fresh_id().unwrap_or_else(|_| call.to_owned());
    let asked = match &seen {
        Ok(driver::Seen { exe, file: driver::File::Here(_), distrust: None, .. }) => {
            Some(init::ask(exe, &name, config.driver(&name), &call, &|seconds| slow(&name, seconds)))
        }
        Ok(_) | Err(_) => None,
    };
    Examined { name, seen, asked, call }
}

/// Whether this is the NFS driver, by its name; of a script it is seen what it calls.
fn is_nfs(driver: &Examined) -> bool {
    let is_program = |seen: &driver::Seen| matches!(&seen.file, driver::File::Here(here) if here.shell.is_none());
    driver.name.executable() == "nfs" && driver.seen.as_ref().is_ok_and(is_program)
}

fn judge_driver(
    driver: &Examined,
    config: &Config,
    has_secrets: bool,
    children: &[traces::Child],
    flexvol: &str,
) -> Vec<Finding> {
    let Examined { name, seen, asked, call } = driver;
    let seen = match seen {
        Ok(seen) => seen,
        Err(unseen) => return vec![unseen.finding(Group::Drivers, name.as_str())],
    };
    let patient =
        checkup::Patient { name, seen, asked: asked.as_ref(), config: config.driver(name), has_secrets, flexvol };
    let mut findings = patient.judge();
    let stays = match asked {
        Some(Asked::Answered(answered)) => match answered.exit {
            init::Exit::Stays(pid) => Some(pid),
            init::Exit::Code(_) | init::Exit::Signal(_) => None,
        },
        Some(Asked::NotStarted(_) | Asked::NotEnded(_)) | None => None,
    };
    for child in children.iter().filter(|child| child.call == *call && Some(child.id.pid) != stays) {
        findings.push(
            Finding::new(
                Group::Drivers,
                Severity::Note,
                "left",
                name.as_str(),
                format!("init left a process running: pid {} ({})", child.id.pid, child.name),
            )
            .why("every load of the driver, and every look like this one, leaves another"),
        );
    }
    findings
}

/// Settings for drivers that are not there: often a name that is misspelt.
fn unknown_settings(config: &Config, installed: &[DriverName], file: &str) -> Vec<Finding> {
    let unknown = config.drivers.keys().filter(|name| !installed.contains(name));
    unknown
        .map(|name| {
            Finding::new(
                Group::Settings,
                Severity::Note,
                "driver",
                file,
                format!("it has settings for {name}, which is not installed"),
            )
            .mend("if the name is misspelt, the driver runs with the defaults")
        })
        .collect()
}
