//! `flexvol install`: a driver put into the plugin directory so that nobody ever sees half of it.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

use flexvolume_host::{Error, Kind};
use flexvolume_linux::beneath::trusted_chain;
use flexvolume_protocol::DriverName;
use serde::Serialize;

use super::ground::{Done, settings};
use crate::{cli::Cli, output::Show, problem::Problems};

#[derive(Serialize)]
struct Row {
    driver: String,
    path: String,
}

pub(super) fn install(cli: &Cli, show: &Show, file: &Path, name: Option<&str>) -> Done {
    let name = match name {
        Some(name) => name.to_owned(),
        None => file.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned(),
    };
    let name = DriverName::parse(&name)
        .map_err(|e| Problems::usage(e.to_string(), "name it with --as VENDOR/NAME, such as --as example.com/lvm"))?;
    let settings = settings(cli)?;
    let (plugin_dir, trust) = (settings.plugin_dir, settings.config.trust());
    let folder = plugin_dir.join(name.dir());
    let path = folder.join(name.executable());
    let fail = |what: String, error: io::Error| {
        Problems::from(failed(what, error).hint(format!(
            "if {} is read-only on this system, choose another with --plugin-dir or FLEXVOL_PLUGIN_DIR",
            plugin_dir.display()
        )))
    };
    let mut from = File::open(file).map_err(|e| {
        failed(format!("cannot open {}", file.display()), e)
            .hint("give the driver's executable, a file that can be read")
    })?;
    if !from.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err(Problems::usage(format!("{} is not a file", file.display()), "give the driver's executable"));
    }
    // Where others can write, what we make could end up anywhere, and would not be run in any case.
    if let Some(there) = folder.ancestors().find(|dir| dir.exists()) {
        trusted_chain(there, &trust)?;
    }
    if fs::symlink_metadata(&folder).is_ok_and(|meta| !meta.is_dir()) {
        return Err(Error::new(Kind::Refused, format!("{} is not a directory", folder.display()))
            .hint("a driver is looked for in a directory of that name, through no link: move it away")
            .into());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&folder)
        .map_err(|e| fail(format!("cannot create {}", folder.display()), e))?;
    // A new file each time: a copy in place would be run half, and a descriptor opened before could still write to it.
    let dot = folder.join(format!(".{}.{}", name.executable(), std::process::id()));
    let copied =
        copy(&mut from, &dot).and_then(|()| fs::rename(&dot, &path)).and_then(|()| File::open(&folder)?.sync_all());
    if let Err(error) = copied {
        let _ = fs::remove_file(&dot);
        return Err(fail(format!("cannot install {} as {}", file.display(), path.display()), error));
    }
    let row = Row { driver: name.to_string(), path: path.display().to_string() };
    show.rows(&["DRIVER", "PATH"], &[row], |row| vec![row.driver.clone(), row.path.clone()], "")
}

fn failed(what: String, error: io::Error) -> Error {
    let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::System };
    Error::new(kind, what).because(error)
}

fn copy(from: &mut File, to: &Path) -> io::Result<()> {
    let _ = fs::remove_file(to);
    let mut file = File::create_new(to)?;
    io::copy(from, &mut file)?;
    file.set_permissions(Permissions::from_mode(0o755))?;
    file.sync_all()
}
