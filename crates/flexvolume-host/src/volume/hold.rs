//! Who may hold a volume on the node without a pod, and what a hold meets: the same once more, something that never came up, or
//! another volume.

use std::collections::BTreeSet;

use flexvolume_protocol::{DriverName, Extension, VolumeName};

use super::{
    admit::{otherwise_up, pieced_together},
    record::{Kind, Record, Spec},
    state::{Level, State},
    trace::Trace,
};
use crate::{
    error::{Error, Kind as ErrorKind, Result},
    ident::Ident,
};

/// A wish to have a volume on the node, staged, whether pods use it or not.
#[derive(Clone, Debug)]
pub struct Hold {
    /// The driver.
    pub driver: DriverName,
    /// The volume.
    pub name: VolumeName,
    /// What it is.
    pub spec: Spec,
    /// Nobody on this node may write to it.
    pub read_only: bool,
    /// Other nodes may write to it at the same time: a file system that the host itself makes on a device does not bear that.
    pub shared: bool,
    /// The device, if somebody else attached it and will detach it: a name as the driver answered it there, perhaps empty.
    pub attached: Option<String>,
}

/// What is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// The same volume, however far up.
    Same,
    /// It was begun in another way and is of no use to anybody: it is undone first.
    Stale,
}

impl Hold {
    /// The hold that `record` is, or would be.
    pub(crate) fn of(record: &Record) -> Self {
        Self {
            driver: record.driver.clone(),
            name: record.name.clone(),
            spec: record.spec.clone(),
            read_only: record.read_only,
            shared: record.shared,
            attached: (record.state.floor == Level::Attached).then(|| record.attached.clone()),
        }
    }

    /// Whether such a volume can be held at all.
    pub(crate) fn check(&self, kind: Kind, extensions: &BTreeSet<Extension>) -> Result<()> {
        let no = |why: &str, hint: &str| {
            let what = format!("volume {} of driver {} {why}", self.name, self.driver);
            Err(Error::new(ErrorKind::Invalid, what).hint(hint))
        };
        match kind {
            Kind::Attachable | Kind::Staged => {}
            Kind::Direct => {
                return no(
                    "is mounted for each pod by itself, so it cannot be held on the node",
                    "publish it for a pod",
                );
            }
        }
        // What a driver has not announced may do anything to a device that it did not make to be given away.
        if self.spec.block && !extensions.contains(&Extension::Block) {
            return no(
                "cannot be given raw: its driver does not announce block",
                "ask for it with a file system, or use another driver",
            );
        }
        Ok(())
    }

    /// A record of it, where there is none.
    pub(crate) fn record(&self, kind: Kind, ident: &Ident) -> Record {
        let mut record = Record::new(self.driver.clone(), self.name.clone(), kind, "", self.spec.clone(), ident);
        record.read_only = self.read_only;
        record.shared = self.shared;
        if let Some(device) = &self.attached {
            record.attached.clone_from(device);
            record.state = State::unknown(Level::Attached, device.clone());
        }
        record
    }

    fn floor(&self, kind: Kind) -> Level {
        if self.attached.is_some() { Level::Attached } else { kind.floor() }
    }

    /// What `record` is to this hold, or why it is in its way. A record that is not `current` tells of mounts that are gone.
    pub(crate) fn meets(&self, record: &Record, kind: Kind, current: bool) -> Result<Met> {
        if record.rebuilt {
            return Err(pieced_together(record));
        }
        let refused = |why: String, hint: &str| {
            let what = format!("volume {} {why}", record.key);
            Err(Error::new(ErrorKind::Refused, what).otherwise().hint(hint))
        };
        if record.kind != kind {
            return refused(
                format!("was brought up when driver {} handled volumes another way", record.driver),
                "take it down with the old driver in place, then install the new one",
            );
        }
        let wanted = &record.state.want.places;
        let used = !record.users.is_empty() || !wanted.is_empty();
        let stands = current && (record.state.is_staged() || !record.state.places.is_empty());
        let stale = !used && !stands;
        if !record.spec.is_same(&self.spec) {
            if stale {
                return Ok(Met::Stale);
            }
            return Err(otherwise_up(&record.key, &record.spec, &self.spec));
        }
        let other_device = self.attached.as_ref().is_some_and(|device| *device != record.attached);
        if record.state.floor != self.floor(kind) || other_device {
            if stale {
                return Ok(Met::Stale);
            }
            let by = |attached: bool| if attached { "elsewhere, as another device" } else { "by this node" };
            return refused(
                format!("is up with a device that was attached {}", by(record.state.floor == Level::Attached)),
                "take it down first, then bring it up with the new device",
            );
        }
        if self.shared && !record.shared && !stale && record.traces.last().is_some_and(Trace::is_on_device) {
            return refused(
                "is mounted on this node from a device, for this node alone".into(),
                "take it down first, or ask for it for one node",
            );
        }
        match (record.read_only, self.read_only) {
            (true, true) | (false, false) => Ok(Met::Same),
            (true, false) | (false, true) if stale => Ok(Met::Stale),
            // Who only reads can do so through a mount that others write to.
            (false, true) => Ok(Met::Same),
            (true, false) => refused(
                "is mounted read-only on this node".into(),
                "take it down first, or ask for the volume read-only",
            ),
        }
    }
}

#[cfg(test)]
#[path = "hold_tests.rs"]
mod tests;
