//! A volume made larger because somebody asks for just that.

use std::collections::BTreeSet;

use super::{Host, first};
use crate::{
    engine::{Scope, drive},
    error::{Error, Kind, Result},
    ledger::Durability,
    note::Notes,
    volume::{
        act::Keys,
        record::Record,
        rest::look_at_rest,
        state::{At, Event},
    },
};

impl Host {
    /// Makes a volume as large as `capacity`, in bytes, through its global mount, or through that of a pod (`at`); answers with the
    /// size it has then. One that is as large already is left alone, and nothing is ever made smaller. A raw device has no file
    /// system to follow.
    ///
    /// # Errors
    /// `NotFound` where nothing of it stands, `Refused` where it cannot be written to; else why its driver or its file system
    /// cannot grow: what was done stays, and the same call goes on from there.
    pub fn grow(&self, key: &str, capacity: u64, at: Option<&str>, keys: Keys<'_>, notes: Notes<'_>) -> Result<u64> {
        self.ground.ledger.check_writable()?;
        let _lock = self.ground.lock(key, notes)?;
        let Some(mut record) = self.ground.ledger.get(key)? else { return Err(no_such(key)) };
        if record.state.doing.is_some() || !self.is_current(&record) {
            // What was cut off ends first; nothing is begun.
            let want = Event::Want(record.state.want.clone());
            let failed = drive(&self.ground, &mut record, want, Scope::Down, keys, notes)?;
            if record.state.doing.is_some() {
                return Err(first(failed, "", key));
            }
        }
        let lost = look_at_rest(&self.ground, &record);
        let lost: BTreeSet<Option<&str>> =
            lost.places.iter().map(|place| Some(place.as_str())).chain(lost.stage.then_some(None)).collect();
        can_grow(&record, at, lost.contains(&at))?;
        if record.capacity >= capacity {
            return Ok(record.capacity);
        }
        record.capacity_wanted = capacity;
        let event = Event::Grow(at.map(str::to_owned));
        let failed = drive(&self.ground, &mut record, event, Scope::Both, keys, notes)?;
        if record.capacity >= capacity && record.state.doing.is_none() {
            return Ok(record.capacity);
        }
        if record.state.doing.is_none() {
            // Whoever asked has been told; the volume's next user did not ask for that.
            record.capacity_wanted = record.capacity;
            self.ground.ledger.put(&mut record, Durability::Process, true)?;
        }
        Err(first(failed, at.unwrap_or(""), key))
    }
}

fn no_such(key: &str) -> Error {
    Error::new(Kind::NotFound, format!("volume {key} is not up on this node"))
        .hint("it is grown where it is mounted: have it mounted here first")
}

/// Whether what it would be grown through is there and can be written to.
fn can_grow(record: &Record, at: Option<&str>, lost: bool) -> Result<()> {
    let key = &record.key;
    let (stands, read_only) = match at {
        Some(place) => (
            matches!(record.state.places.get(place), Some(At::Mounted | At::Growing | At::Ready))
                && record.state.want.places.contains(place),
            record.read_only || record.users.get(place).is_some_and(|user| user.read_only),
        ),
        None => (record.state.is_wanted() && record.state.is_staged(), record.read_only),
    };
    if record.rebuilt || !stands {
        return Err(no_such(key));
    }
    if lost {
        return Err(Error::new(Kind::NotFound, format!("the mount of volume {key} is gone or replaced"))
            .hint("have it mounted again first: it is made anew"));
    }
    if read_only {
        return Err(Error::new(Kind::Refused, format!("volume {key} is mounted read-only, so it cannot be grown"))
            .hint("have it mounted writable first"));
    }
    Ok(())
}
