//! `flexvol drivers`: what is in the plugin directory, and what each says it can do.

use flexvolume_host::{drivers::driver::Driver, volume::record::Kind};
use serde::Serialize;

use super::ground::{Done, host};
use crate::{cli::Cli, output::Show, problem::Problems};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    driver: String,
    kind: &'static str,
    extensions: Vec<String>,
    path: String,
    error: Option<String>,
}

pub(super) fn drivers(cli: &Cli, show: &Show) -> Done {
    let host = host(cli, show)?;
    let drivers = &host.ground().drivers;
    let mut problems = Vec::new();
    let mut rows = Vec::new();
    for name in drivers.names()? {
        let row = match drivers.get(&name, &|note| show.note(note)) {
            Ok(driver) => of(&driver),
            Err(error) => {
                let story = error.story();
                problems.push(Problems::from(error));
                Row {
                    driver: name.to_string(),
                    kind: "broken",
                    extensions: Vec::new(),
                    path: String::new(),
                    error: Some(story),
                }
            }
        };
        rows.push(row);
    }
    let nothing =
        format!("no drivers in {}; put one there with flexvol install FILE --as VENDOR/NAME", cli.plugin_dir.display());
    let cells = |row: &Row| vec![row.driver.clone(), row.kind.into(), row.extensions.join(","), row.path.clone()];
    show.rows(&["DRIVER", "KIND", "EXTENSIONS", "PATH"], &rows, cells, &nothing)?;
    Problems::gather(problems)
}

fn of(driver: &Driver) -> Row {
    Row {
        driver: driver.name.to_string(),
        kind: match driver.kind() {
            Kind::Attachable => "attachable",
            Kind::Staged => "staged",
            Kind::Direct => "direct",
        },
        extensions: driver.extensions.iter().map(ToString::to_string).collect(),
        path: driver.found.exe.display().to_string(),
        error: None,
    }
}
