//! What attach does with a volume: a pure function of what LVM says, what this node has seen before, and what is wished.

use std::path::Path;

use flexvolume::{Code, Failure, Result};

use crate::{
    place::Place,
    report::{Kind, Volume},
    seen::Seen,
    tags::{Ours, State, Tags},
};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is there and may be used.
    Use {
        /// It is somebody else's, and shall be ours from now on.
        adopt: bool,
    },
    /// It never was: make it.
    Create,
    /// Its creation was cut off and it was never handed out: remove that, then make it.
    Remake,
}

/// What decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// Which volume is meant.
    pub(crate) place: &'a Place,
    /// What is there.
    pub(crate) volume: Option<&'a Volume>,
    /// What was handed out here before, and the file that says so.
    pub(crate) seen: Option<(&'a Seen, &'a Path)>,
    /// It is attached by this driver, in this boot.
    pub(crate) attached: bool,
    /// The option `create`.
    pub(crate) create: bool,
    /// The option `adopt`.
    pub(crate) adopt: bool,
    /// The volume is wanted for reading alone: nothing is made or changed for that.
    pub(crate) reads_only: bool,
}

/// The decision.
///
/// # Errors
/// `notFound`: it is not there, or was lost. `busy`: somebody else's, and in use. `conflict`: another volume in its place.
/// `invalid`: no volume at all. `unsupported`: a later version of this driver works on it.
pub(crate) fn decide(facts: &Facts<'_>) -> Result<Step> {
    let Some(volume) = facts.volume else {
        return match facts.seen {
            Some((_, file)) => Err(lost(facts, file, "is gone")),
            None => absent(facts).map(|()| Step::Create),
        };
    };
    usable_kind(facts, volume)?;
    let ours = volume.tags.ours();
    let state = ours.as_ref().and_then(|ours| ours.state);
    match (facts.seen, state) {
        (Some((seen, file)), _) if seen.lv_uuid != volume.uuid => {
            return Err(lost(facts, file, &format!("is gone; another one ({}) has its name now", volume.uuid)));
        }
        (_, Some(State::Deleting)) => {
            let message = format!("{} is being deleted; call deletevolume again to end that", facts.place.storage());
            return Err(Failure::new(Code::NotFound, message));
        }
        (_, Some(State::Unknown)) => {
            let message = format!("a later version of this driver works on {}; use that one", facts.place.storage());
            return Err(Failure::new(Code::Unsupported, message));
        }
        (_, Some(State::Creating)) => return unfinished(facts, volume),
        (_, None) => {}
    }
    if volume.partial {
        return Err(partial(facts.place, volume));
    }
    match ours {
        Some(ours) => is_meant(facts, &ours).map(|()| Step::Use { adopt: false }),
        None => theirs(facts, volume),
    }
}

/// The failure for a volume that is not whole. It has no code: the volume is there, and so is what its other disks hold.
pub(crate) fn partial(place: &Place, volume: &Volume) -> Failure {
    Failure::internal(format!(
        "a disk of {} is missing (the volume group {} misses {}); bring it back; if LVM goes on calling it missing: \
         vgextend --restoremissing {} DISK",
        place.storage(),
        place.vg,
        volume.group.missing_disks,
        place.vg
    ))
}

/// One of ours: the very one, and no snapshot.
fn is_meant(facts: &Facts<'_>, ours: &Ours) -> Result<()> {
    if ours.is_called(&facts.place.lv) {
        return Ok(());
    }
    let message = format!(
        "{} is not that volume: its tag says that it is {}; give it back its name: lvrename",
        facts.place.storage(),
        ours.id
    );
    Err(Failure::new(Code::Conflict, message))
}

/// Somebody else's: used as it is, unless somebody is at it already, who may be the system itself.
fn theirs(facts: &Facts<'_>, volume: &Volume) -> Result<Step> {
    if volume.open && !facts.attached {
        let message = format!(
            "{} was not made by this driver and is in use already; end who uses it first",
            facts.place.storage()
        );
        return Err(Failure::new(Code::Busy, message));
    }
    Ok(Step::Use { adopt: facts.adopt && !facts.reads_only })
}

fn usable_kind(facts: &Facts<'_>, volume: &Volume) -> Result<()> {
    let what = match &volume.kind {
        Kind::ThinPool => "a thin pool",
        Kind::Inner => "a part of other volumes",
        Kind::Thick | Kind::Thin { .. } | Kind::ThickSnapshot if is_snapshot(&volume.tags) => "a snapshot of ours",
        Kind::Thick | Kind::Thin { .. } | Kind::ThickSnapshot => return Ok(()),
    };
    Err(Failure::new(Code::Invalid, format!("{} is {what} and no volume", facts.place.storage())))
}

/// Whether it is a snapshot that this driver made.
pub(crate) fn is_snapshot(tags: &Tags) -> bool {
    tags.ours().is_some() && tags.get("snapshot").is_some()
}

/// A creation that was cut off. Copies go on where they were, at the word of who asked for them.
fn unfinished(facts: &Facts<'_>, volume: &Volume) -> Result<Step> {
    if facts.create && !facts.reads_only && volume.tags.get("from").is_none() {
        return Ok(Step::Remake);
    }
    let message = format!(
        "{} is not finished: its creation was cut off or goes on; call createvolume again to end that",
        facts.place.storage()
    );
    Err(Failure::new(Code::NotFound, message))
}

/// It is not there and never was: may it be made?
fn absent(facts: &Facts<'_>) -> Result<()> {
    let storage = facts.place.storage();
    let message = match (facts.create, facts.reads_only) {
        (true, false) => return Ok(()),
        (_, true) => format!("there is no logical volume {storage}, and none is made for a reader alone"),
        (false, false) => format!(
            "there is no logical volume {storage}; make it (lvcreate), or let it be made with the options create: \
             \"true\" and size"
        ),
    };
    Err(Failure::new(Code::NotFound, message))
}

fn lost(facts: &Facts<'_>, file: &Path, what: &str) -> Failure {
    let message = format!(
        "the logical volume {} was used on this node and {what}; restore it from a backup, or, to begin with another \
         volume, remove {}",
        facts.place.storage(),
        file.display()
    );
    Failure::new(Code::NotFound, message)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
