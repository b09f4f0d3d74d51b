//! A lost ledger pieced together from directories and mounts. What is rebuilt may be unmounted and detached, never used further.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use flexvolume_linux::mount::{self, Presence, table};
use flexvolume_protocol::{DriverName, PodUid, UserOptions, VolumeName};

use crate::{
    error::{Error, Kind as ErrorKind, Result},
    ground::Ground,
    layout::Layout,
    ledger::Durability,
    note::{Note, Notes},
    volume::{
        record::{self, Kind, Made, Record, Spec, User},
        state::{At, Rung},
        trace::Trace,
    },
};

/// Records every volume that has a directory beneath the root and no record.
pub(crate) fn rebuild(ground: &Ground, notes: Notes<'_>) -> Result<()> {
    let root = ground.layout.root();
    let mut records: BTreeMap<String, Record> = BTreeMap::new();
    for (driver, name) in globals(&root.join("plugins/kubernetes.io/flexvolume"))? {
        let path = root.join(ground.layout.global(&driver, &name));
        let mut record = unknown(ground, driver.clone(), name, kind(ground, &driver, Kind::Attachable, notes), "");
        remember(&mut record, None, &path)?;
        if let Some(made) = made(&path) {
            record.state.rung = Rung::Staged(String::new());
            record.stage = Some(made);
        }
        records.insert(record.key.clone(), record);
    }
    for (uid, driver, name) in places(&root.join("pods"))? {
        let path = root.join(ground.layout.place(&uid, &driver, &name));
        let staged = records.contains_key(&record::key(&driver, &name, Kind::Attachable, &uid));
        let kind = kind(ground, &driver, if staged { Kind::Attachable } else { Kind::Direct }, notes);
        let new = unknown(ground, driver, name, kind, &uid);
        let record = records.entry(new.key.clone()).or_insert(new);
        record.users.insert(uid.clone(), nobody(&uid, record.name.as_str()));
        record.state.want.places.insert(uid.clone());
        record.state.places.insert(uid.clone(), At::Ready);
        remember(record, Some(&uid), &path)?;
        if let Some(made) = made(&path) {
            record.places.insert(uid, made);
        }
    }
    for record in records.values_mut() {
        // Cut off halfway the last time: what was recorded then may have moved on since.
        if ground.ledger.get(&record.key)?.is_some() {
            continue;
        }
        notes(Note::Warning {
            volume: record.key.clone(),
            text: "recorded anew from what is mounted; it can be taken down".into(),
        });
        ground.ledger.put(record, Durability::Power, true)?;
    }
    Ok(())
}

/// Every directory that is, or was, one of a volume, relative to the root: of the node, then of pods. Nothing that may be
/// mounted at one of them is looked into.
pub fn directories(layout: &Layout) -> Result<Vec<PathBuf>> {
    let root = layout.root();
    let globals = globals(&root.join("plugins/kubernetes.io/flexvolume"))?;
    let places = places(&root.join("pods"))?;
    let globals = globals.iter().map(|(driver, name)| layout.global(driver, name));
    let places = places.iter().map(|(uid, driver, name)| layout.place(uid, driver, name));
    Ok(globals.chain(places).collect())
}

fn unknown(ground: &Ground, driver: DriverName, name: VolumeName, kind: Kind, uid: &str) -> Record {
    let spec = Spec {
        fs_type: String::new(),
        options: UserOptions::default(),
        secret: None,
        block: false,
        mount_options: Vec::new(),
    };
    Record { rebuilt: true, ..Record::new(driver, name, kind, uid, spec, &ground.ident) }
}

/// As the driver says now; where it says nothing, as the directories suggest.
fn kind(ground: &Ground, driver: &DriverName, guess: Kind, notes: Notes<'_>) -> Kind {
    ground.drivers.get(driver, notes).map_or(guess, |driver| driver.kind())
}

fn made(path: &Path) -> Option<Made> {
    match mount::look(path) {
        Ok(Presence::Mount(id)) => Some(Made::Mount(id)),
        Ok(Presence::Corrupted(_) | Presence::Absent | Presence::Plain | Presence::Symlink | Presence::Other)
        | Err(_) => None,
    }
}

/// What lies there is what it is known by: a mount, or a directory that its driver fills.
fn remember(record: &mut Record, place: Option<&str>, path: &Path) -> Result<()> {
    if let Ok(Presence::Mount(_) | Presence::Plain) = mount::look(path) {
        let (_, part) = mount::part(path)?;
        record.remember(place, Trace::Part(part));
        for inner in table::beneath(path)? {
            record.remember_inner(Trace::of(&inner));
        }
    }
    Ok(())
}

fn nobody(uid: &str, volume: &str) -> User {
    User {
        pod: uid.to_owned(),
        namespace: String::new(),
        uid: uid.to_owned(),
        service_account: String::new(),
        fs_group: None,
        fs_group_on_mismatch: false,
        read_only: false,
        volume: volume.to_owned(),
        mounts: Vec::new(),
    }
}

/// Names of what lies in `dir`, sorted; a directory that is not there holds nothing, one that cannot be read is an error.
fn list(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let fail =
        |e| Error::new(ErrorKind::System, format!("cannot see what is mounted below {}", dir.display())).because(e);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(fail(error)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        all.extend(entry.file_name().into_string().ok().map(|name| (name, entry.path())));
    }
    all.sort();
    Ok(all)
}

/// `<driver>/mounts/<name>`, where the driver's name is one or two levels deep.
fn globals(dir: &Path) -> Result<Vec<(DriverName, VolumeName)>> {
    let mut found = Vec::new();
    for (first, path) in list(dir)? {
        let mut drivers = vec![(first.clone(), path.join("mounts"))];
        let deeper = list(&path)?.into_iter().filter(|(second, _)| second != "mounts");
        drivers.extend(deeper.map(|(second, path)| (format!("{first}/{second}"), path.join("mounts"))));
        for (driver, mounts) in drivers {
            let Ok(driver) = DriverName::parse(&driver) else { continue };
            let names = list(&mounts)?.into_iter().filter_map(|(name, _)| VolumeName::parse(&name).ok());
            found.extend(names.map(|name| (driver.clone(), name)));
        }
    }
    Ok(found)
}

/// `<uid>/volumes/<vendor~driver>/<name>`.
fn places(dir: &Path) -> Result<Vec<(String, DriverName, VolumeName)>> {
    let mut found = Vec::new();
    for (uid, path) in list(dir)? {
        if PodUid::parse(&uid).is_err() {
            continue;
        }
        for (driver, path) in list(&path.join("volumes"))? {
            let Ok(driver) = DriverName::from_dir(&driver) else { continue };
            let names = list(&path)?.into_iter().filter_map(|(name, _)| VolumeName::parse(&name).ok());
            found.extend(names.map(|name| (uid.clone(), driver.clone(), name)));
        }
    }
    Ok(found)
}
