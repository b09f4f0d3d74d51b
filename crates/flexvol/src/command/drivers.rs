//! `flexvol drivers`: what is in the plugin directory, what each says it can do, and what comes and goes there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc,
};

use flexvolume_host::{
    Error, Host, Kind,
    drivers::{
        driver::Driver,
        watch::{Seen, Watch},
    },
};
use flexvolume_protocol::DriverName;
use serde::Serialize;

use super::{
    ground::{Done, host},
    words,
};
use crate::{cli::Cli, output::Show, problem::Problems, speak::tell};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    driver: String,
    kind: &'static str,
    extensions: Vec<String>,
    path: String,
    error: Option<String>,
    /// Volumes that need a driver which is not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    volumes: Vec<String>,
    /// How many of them clients of the bridge have.
    #[serde(skip)]
    clients: usize,
}

/// What needs a driver.
#[derive(Default)]
struct Users {
    volumes: Vec<String>,
    /// How many of them clients of the bridge have.
    clients: usize,
}

pub(super) fn drivers(cli: &Cli, show: &Show, follow: bool) -> Done {
    let host = host(cli, show)?;
    if follow {
        return watch(&host, show);
    }
    let drivers = &host.ground().drivers;
    let mut problems = Vec::new();
    let mut rows = Vec::new();
    let mut users = users(&host)?;
    let names: BTreeSet<_> = drivers.names()?.into_iter().chain(users.keys().cloned()).collect();
    for name in &names {
        match drivers.get(name, &|note| show.note(note)) {
            Ok(driver) => rows.push(Row::ready(&driver)),
            Err(error) if error.kind() == Kind::NotFound && users.contains_key(name) => {
                let row = Row::missing(name, users.remove(name));
                problems.push(left_behind(&row).into());
                rows.push(row);
            }
            Err(error) => {
                rows.push(Row::broken(name, &error));
                problems.push(Problems::from(error));
            }
        }
    }
    let nothing =
        format!("no drivers in {}; put one there with flexvol install FILE --as VENDOR/NAME", cli.plugin_dir.display());
    let cells = |row: &Row| vec![row.driver.clone(), row.kind.into(), row.extensions.join(","), row.path.clone()];
    show.rows(&["DRIVER", "KIND", "EXTENSIONS", "PATH"], &rows, cells, &nothing)?;
    Problems::gather(problems)
}

/// One line for each driver that comes, changes or goes, until nobody reads it any more.
fn watch(host: &Host, show: &Show) -> Done {
    let (send, seen) = mpsc::channel();
    let tell = move |seen| drop(send.send(seen));
    let _watch = Watch::start(host.ground().drivers.clone(), None, tell)?;
    if show.is_table() {
        // Where no driver is, nothing else would say that it works.
        tell!("watching {}", host.ground().drivers.dir().display());
    }
    for seen in seen {
        let (row, error) = match seen {
            Seen::Ready(driver) => (Row::ready(&driver), None),
            Seen::Failed { name, error } => (Row::broken(&name, &error), Some(error)),
            Seen::Gone(name) => {
                let row = Row::missing(&name, users(host)?.remove(&name));
                let error = (!row.volumes.is_empty()).then(|| left_behind(&row));
                (row, error)
            }
            Seen::Trouble(error) => {
                Problems::from(error).tell();
                continue;
            }
            Seen::Note(note) => {
                show.note(note);
                continue;
            }
        };
        if !show.line(&row, &format!("{}  {}  {}", row.driver, row.kind, row.extensions.join(",")))? {
            return Ok(());
        }
        if let Some(error) = error {
            Problems::from(error).tell();
        }
    }
    Ok(())
}

impl Row {
    fn ready(driver: &Driver) -> Self {
        Self {
            driver: driver.name.to_string(),
            kind: words::kind(driver.kind()),
            extensions: driver.extensions.iter().map(ToString::to_string).collect(),
            path: driver.found.exe.display().to_string(),
            error: None,
            volumes: Vec::new(),
            clients: 0,
        }
    }

    fn broken(name: &DriverName, error: &Error) -> Self {
        Self { error: Some(error.story()), ..Self::bare(name, "broken") }
    }

    fn missing(name: &DriverName, users: Option<Users>) -> Self {
        let Users { volumes, clients } = users.unwrap_or_default();
        Self { volumes, clients, ..Self::bare(name, "missing") }
    }

    fn bare(name: &DriverName, kind: &'static str) -> Self {
        Self {
            driver: name.to_string(),
            kind,
            extensions: Vec::new(),
            path: String::new(),
            error: None,
            volumes: Vec::new(),
            clients: 0,
        }
    }
}

/// The volumes of each driver that has any.
fn users(host: &Host) -> Done<BTreeMap<DriverName, Users>> {
    let mut users: BTreeMap<_, Users> = BTreeMap::new();
    for record in host.records()?.into_iter().flatten() {
        let of = users.entry(record.driver.clone()).or_default();
        of.clients += usize::from(words::is_clients(&record));
        of.volumes.push(record.key);
    }
    Ok(users)
}

/// A driver is gone and its volumes are not: they stay as they are, and cannot go without it.
fn left_behind(row: &Row) -> Error {
    const SHOWN: usize = 5;
    const DOWN: &str = "flexvol down POD";
    const CLIENTS: &str = "what flexvol csi holds goes when its clients unpublish and unstage it \
                           (NodeUnpublishVolume, NodeUnstageVolume)";
    let more = row.volumes.len().saturating_sub(SHOWN);
    let named = row.volumes.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let then = match row.clients {
        0 => DOWN.to_owned(),
        some if some == row.volumes.len() => CLIENTS.to_owned(),
        _ => format!("{DOWN}; {CLIENTS}"),
    };
    Error::new(
        Kind::NotFound,
        format!("driver {} is not there any more, and volumes need it: {named}{more}", row.driver),
    )
    .hint(format!(
        "they stay mounted; to take them away put it back: flexvol install FILE --as {}; then: {then}",
        row.driver
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_a_driver_that_is_gone_go_with_whom_has_them() {
        let hint = |clients| {
            let users = Users { volumes: vec!["v/d/a".into(), "v/d/b".into()], clients };
            let row = Row::missing(&DriverName::parse("v/d").unwrap(), Some(users));
            left_behind(&row).next().unwrap().to_owned()
        };
        let said = |clients| (hint(clients).contains("down POD"), hint(clients).contains("NodeUnstageVolume"));
        assert_eq!([said(0), said(1), said(2)], [(true, false), (true, true), (false, true)]);
    }
}
