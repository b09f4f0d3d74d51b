//! The host's face: publish a volume for a pod, take it away, list what there is.

mod grow;
mod hold;
mod known;

use std::{collections::BTreeSet, path::PathBuf};

use flexvolume_linux::fs::Usage;
use flexvolume_protocol::{DriverName, Secrets, VolumeName};

use crate::{
    engine::{Failed, Scope, drive},
    error::{Error, Kind, Result},
    ground::Ground,
    ledger::{Durability, Retry},
    lock,
    note::{Note, Notes},
    rebuild,
    settings::Settings,
    standing::{self, Standing},
    volume::{
        act::{Hands, Keys},
        admit::{Request, admit},
        record::{self, OpenCall, Record},
        rest::{Lost, is_current, look_at_rest},
        state::{At, Event, Level, Want},
        step::step,
    },
};

/// A host over one root.
#[derive(Debug)]
pub struct Host {
    ground: Ground,
}

pub use hold::Held;
pub use known::Elsewhere;

/// A published volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The ledger's key.
    pub key: String,
    /// Where it is mounted for the pod.
    pub path: PathBuf,
    /// False if all was so before.
    pub changed: bool,
}

impl Host {
    /// Opens the root; a lost ledger is pieced together from directories and mounts.
    pub fn open(settings: Settings, notes: Notes<'_>) -> Result<Self> {
        let (ground, found) = Ground::open(settings)?;
        if let Some(aside) = &found.set_aside {
            notes(Note::Warning {
                volume: String::new(),
                text: format!(
                    "the ledger was damaged; it was set aside as {} and is rebuilt from what is mounted",
                    aside.display()
                ),
            });
        }
        if found.fresh {
            let _lock = ground.lock("ledger", notes)?;
            // Another command may have done it while we waited.
            if !ground.ledger.is_complete()? {
                rebuild::rebuild(&ground, notes)?;
                ground.ledger.set_complete()?;
            }
        }
        Ok(Self { ground })
    }

    /// What it stands on.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// Publishes one volume for one pod, whatever state it is in now; the same wish twice is a no-op.
    ///
    /// # Errors
    /// The first failure that keeps the volume from the pod. What was begun is recorded, and the next try goes on from there.
    pub fn publish(&self, request: &Request, keys: Keys<'_>, notes: Notes<'_>) -> Result<Published> {
        self.ground.ledger.check_writable()?;
        if request.spec.block {
            let what = format!("volume {} is a raw device, which is not mounted for a pod", request.name);
            return Err(Error::new(Kind::Invalid, what).hint("hold it, and give the pod its device"));
        }
        let kind = self.ground.drivers.get(&request.driver, notes).map_err(|e| e.during("init"))?.kind();
        let uid = request.uid.as_str();
        if let Some(mine) = self.own_record(request)? {
            if mine.kind != kind {
                return Err(Error::new(
                    Kind::Refused,
                    format!(
                        "driver {} now handles volumes another way than when {} was published",
                        request.driver, mine.key
                    ),
                )
                .hint("take its pods down with the old driver in place, then install the new one"));
            }
            let _lock = self.ground.lock(&mine.key, notes)?;
            if let Some(record) = self.ground.ledger.get(&mine.key)? {
                return self.publish_record(record, request, keys, notes);
            }
        }
        for name in request.names() {
            let key = record::key(&request.driver, &name, kind, uid);
            let _lock = self.ground.lock(&key, notes)?;
            let record = match self.ground.ledger.get(&key)? {
                Some(record) if request.is_other(&record) => continue,
                Some(record) => record,
                None => Record::new(request.driver.clone(), name, kind, uid, request.spec.clone(), &self.ground.ident),
            };
            return self.publish_record(record, request, keys, notes);
        }
        Err(Error::new(
            Kind::Refused,
            format!("another volume named {} of driver {} is in use", request.name, request.driver),
        )
        .hint("give the volume another name in the pod"))
    }

    /// The record of this very volume of this pod, under whatever name and however it was handled when it came up.
    fn own_record(&self, request: &Request) -> Result<Option<Record>> {
        let uid = request.uid.as_str();
        let mine = |record: &Record| {
            let same = |user: &record::User| user.volume == request.user.volume;
            record.driver == request.driver && record.users.get(uid).is_some_and(same)
        };
        if request.persistent && request.user.volume == request.name.as_str() {
            // It never had another name: not every record has to be looked at.
            return Ok(self.records_of(&request.driver, &request.name, Some(uid))?.into_iter().find(mine));
        }
        Ok(self.of_pod(uid)?.into_iter().find(mine))
    }

    /// Takes back what was begun with settings that never brought the volume up, so that the new ones find nothing of it.
    fn undo(&self, record: &mut Record, place: &str, keys: Keys<'_>, notes: Notes<'_>) -> Result<()> {
        let nothing = Want { hold: Level::Absent, places: BTreeSet::new() };
        let failed = drive(&self.ground, record, Event::Want(nothing), Scope::Down, keys, notes)?;
        if !record.state.is_over() {
            return Err(first(failed, place, &record.key));
        }
        record.users.clear();
        Ok(())
    }

    fn publish_record(
        &self,
        mut record: Record,
        request: &Request,
        keys: Keys<'_>,
        notes: Notes<'_>,
    ) -> Result<Published> {
        let place = request.uid.as_str().to_owned();
        let path = self.ground.layout.root().join(self.ground.layout.place(&place, &record.driver, &record.name));
        let mut read = record.clone();
        if request.supersedes(&record) {
            self.undo(&mut record, &place, keys, notes)?;
        }
        admit(&mut record, request)?;
        // What is seen at rest says nothing while an op is open: the drive below looks up how that ended.
        if record.state.doing.is_none() && self.is_current(&record) {
            self.notice_losses(&mut record, Some(&place), keys, notes);
            if record.probe != read.probe {
                self.note_probe(&mut record)?;
                read.generation = record.generation;
            }
        }
        let asked = |record: &Record| (record.users.clone(), record.spec.clone(), record.alone);
        if read.generation > 0 && asked(&record) != asked(&read) {
            self.ground.ledger.put(&mut record, Durability::Power, false)?;
        }
        let mut places = record.state.want.places.clone();
        places.insert(place.clone());
        let want = Event::Want(Want { hold: record.state.want.hold, places });
        let failed = drive(&self.ground, &mut record, want, Scope::Both, keys, notes)?;
        let changed = record.generation != read.generation;
        match (record.state.places.get(&place), record.state.doing.is_some()) {
            (Some(At::Ready), false) => Ok(Published { key: record.key, path, changed }),
            (Some(At::Half | At::Mounted | At::Growing | At::Ready) | None, _) => {
                Err(first(failed, &place, &record.key))
            }
        }
    }

    /// Mounts that somebody took away or replaced, and this pod's (of the node, if no pod asks) if it does not answer, are to
    /// be made anew.
    fn notice_losses(&self, record: &mut Record, place: Option<&str>, keys: Keys<'_>, notes: Notes<'_>) {
        let mut lost = look_at_rest(&self.ground, record);
        let places: Vec<String> = record.places.keys().cloned().collect();
        let raw = record.spec.block;
        let mut hands = Hands::new(&self.ground, record, keys, notes);
        let is_seen = |lost: &Lost, place: &str| lost.places.iter().any(|lost| lost == place);
        let is_suspect = match place {
            Some(place) if !is_seen(&lost, place) && hands.is_dead(place) => {
                lost.places.push(place.to_owned());
                true
            }
            Some(_) => false,
            None => !lost.stage,
        };
        // A share that its server has forgotten is dead wherever it is shown, and so is whatever is bound from it.
        if is_suspect && hands.is_stage_dead() {
            lost.stage = true;
            let unseen: Vec<_> = places.into_iter().filter(|other| !is_seen(&lost, other)).collect();
            lost.places.extend(unseen.into_iter().filter(|other| hands.is_dead(other)));
        }
        if lost == Lost::default() {
            return;
        }
        let what = match (lost.stage, lost.places.len()) {
            (true, _) if raw => "its device".to_owned(),
            (true, _) => "its global mount".to_owned(),
            (false, 1) => "the mount of a pod".to_owned(),
            (false, many) => format!("the mounts of {many} pods"),
        };
        let text = format!("{what} is gone, replaced or dead; it is made anew");
        notes(Note::Warning { volume: record.key.clone(), text });
        record.state = step(
            record.state.clone(),
            Event::Lost { device: raw && lost.stage, stage: lost.stage && !raw, places: lost.places },
        );
        // The drive decides with the wish in hand; nothing was begun.
        record.state.doing = None;
    }

    /// The volumes that a pod has, or that still are where it had them, in the order of their keys.
    pub fn of_pod(&self, uid: &str) -> Result<Vec<Record>> {
        Ok(self.ground.ledger.of_pod(uid)?.into_iter().flatten().filter(|record| record.is_of(uid)).collect())
    }

    /// Every record of a volume that users have each for themselves, or why it cannot be believed.
    pub fn of_users(&self, driver: &DriverName, name: &VolumeName) -> Result<Vec<Result<Record>>> {
        self.ground.ledger.of_users(driver, name)
    }

    /// Whose volumes are on this node.
    pub fn holders(&self) -> Result<BTreeSet<DriverName>> {
        self.ground.ledger.drivers()
    }

    /// Takes one volume away from one pod.
    ///
    /// # Errors
    /// The first failure that keeps it there. What was begun is recorded, and the next try goes on from there.
    pub fn unpublish(&self, key: &str, uid: &str, keys: Keys<'_>, notes: Notes<'_>) -> Result<()> {
        self.take(key, Some(uid), keys, notes)
    }

    /// Ends what interrupted runs left of a volume, and takes it down if nobody wants it any more.
    ///
    /// # Errors
    /// As [`Host::unpublish`].
    pub fn settle(&self, key: &str, keys: Keys<'_>, notes: Notes<'_>) -> Result<()> {
        self.take(key, None, keys, notes)
    }

    /// Takes one volume from one pod; with no pod named only ends what was begun.
    fn take(&self, key: &str, uid: Option<&str>, keys: Keys<'_>, notes: Notes<'_>) -> Result<()> {
        self.ground.ledger.check_writable()?;
        let _lock = self.ground.lock(key, notes)?;
        let Some(mut record) = self.ground.ledger.get(key)? else { return Ok(()) };
        let mut want = record.state.want.clone();
        if let Some(uid) = uid {
            want.places.remove(uid);
        }
        let failed = drive(&self.ground, &mut record, Event::Want(want), Scope::Down, keys, notes)?;
        let left = uid.is_some_and(|uid| record.state.places.contains_key(uid));
        let stays = !record.state.is_wanted() && !record.state.is_over();
        if left || stays || record.state.doing.is_some() {
            return Err(first(failed, uid.unwrap_or(""), key));
        }
        Ok(())
    }

    /// Whether the record's mounts are of this boot and this mount namespace.
    fn is_current(&self, record: &Record) -> bool {
        is_current(&self.ground.ident, record)
    }

    /// Whether what the record says is mounted for a pod still is, in this boot.
    pub fn is_mounted(&self, record: &Record, uid: &str) -> bool {
        record.boot == self.ground.ident.boot
            && !look_at_rest(&self.ground, record).places.iter().any(|lost| lost == uid)
    }

    /// How full a pod's volume is; `None` for a driver that does not announce `supportsMetrics`.
    ///
    /// # Errors
    /// The file system did not answer, or the driver cannot be loaded.
    pub fn usage(&self, record: &Record, uid: &str, notes: Notes<'_>) -> Result<Option<Usage>> {
        let keyless = |_: &record::SecretRef| Ok(Secrets::default());
        let mut asked = record.clone();
        let usage = Hands::new(&self.ground, &mut asked, &keyless, notes).usage(uid);
        // Whoever works on the volume meanwhile will find out for itself.
        if asked.probe != record.probe
            && let Some(_lock) = self.ground.try_lock(&record.key)
            && let Some(mut now) = self.ground.ledger.get(&record.key)?
        {
            now.probe = asked.probe;
            let _ = self.note_probe(&mut now);
        }
        usage
    }

    /// Writes down which worker a mount holds, or that none is held any more; it changes nothing else.
    fn note_probe(&self, record: &mut Record) -> Result<()> {
        self.ground.ledger.put(record, Durability::Process, true)
    }

    /// Every record, or why it cannot be believed.
    pub fn records(&self) -> Result<Vec<Result<Record>>> {
        self.ground.ledger.all()
    }

    /// How the op under way of a record stands.
    pub fn standing(&self, record: &Record) -> Standing {
        standing::of(record, &self.ground.layout, &self.ground.ident)
    }

    /// The call under way of a record, with its process as soon as that lives.
    pub fn call_of(&self, record: &Record) -> Option<OpenCall> {
        let lock = self.ground.layout.lock(&record.key);
        record.call.clone().map(|call| lock::with_note(&lock, call))
    }

    /// What living commands will try again.
    pub fn retries(&self) -> Result<Vec<Retry>> {
        let boot = &self.ground.ident.boot;
        Ok(self.ground.ledger.retries()?.into_iter().filter(|retry| retry.is_living(boot)).collect())
    }
}

/// The failure that kept `place` waiting: of the last one that concerns it or the ladder beneath it.
fn first(failed: Vec<Failed>, place: &str, key: &str) -> Error {
    let concerns = |failed: &Failed| place.is_empty() || failed.op.place().is_none_or(|other| other == place);
    match failed.into_iter().find(concerns) {
        Some(failed) => failed.error,
        None => Error::new(Kind::Busy, format!("volume {key} is not done yet"))
            .hint("try again; on this node flexvol ls shows what it waits for"),
    }
}
