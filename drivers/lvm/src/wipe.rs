//! The blocks of a deleted volume, overwritten in slices: each call works for some seconds and says how far it came.

use std::{
    num::NonZeroU64,
    path::Path,
    time::{Duration, Instant},
};

use flexvolume::{Result, World};
use flexvolume_linux::{
    ErrorKind,
    block::{Alone, Erase},
};
use serde::{Deserialize, Serialize};

use crate::{
    names::Uuid,
    notes::{Lasting, Note},
    place::Place,
    settings::Settings,
    tags::Wipe,
};

/// As much is asked of the device at once: a slow one is done with it long before a slice is over.
const STEP: NonZeroU64 = NonZeroU64::new(32 << 20).unwrap();

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing of the old content can be read any more.
    Done,
    /// All before this byte is done; call again.
    Until(u64),
}

/// What the note of an unfinished wipe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Offset {
    /// All before this byte is done, durably.
    done: u64,
}

/// The durable note of how far the wipe of a logical volume has come.
///
/// # Errors
/// The folder of notes is not known.
pub(crate) fn note(lv: &Uuid, world: &World) -> Result<Note> {
    Ok(Note::new(world.state_dir()?.join("wipe").join(format!("{lv}.json")), Lasting::Durable))
}

/// Wipes for one slice, from where the last one ended. Nobody else can have the device meanwhile.
///
/// # Errors
/// `busy`: somebody uses it. Else that the device cannot be written.
pub(crate) fn slice(place: &Place, lv: &Uuid, device: &Path, how: Wipe, world: &World) -> Result<Progress> {
    let note = note(lv, world)?;
    let begin = note.read::<Offset>()?.map_or(0, |offset| offset.done);
    let alone = Alone::open(device)?;
    let until = work(&alone, begin, how, Settings::read(world)?.slice.time(), &|why| {
        world.log(format_args!("{}: {why}", place.storage()))
    })?;
    if until >= alone.size() {
        return Ok(Progress::Done);
    }
    note.write(&Offset { done: until })?;
    Ok(Progress::Until(until))
}

/// Works from `begin` on until the time is over. A device that cannot discard is zeroed instead.
fn work(alone: &Alone, begin: u64, how: Wipe, time: Duration, tell: &dyn Fn(&str)) -> Result<u64> {
    let end = Instant::now() + time;
    let rest = begin.min(alone.size())..alone.size();
    let mut go_on = |_| Instant::now() < end;
    let discarded = match how {
        Wipe::None => return Ok(alone.size()),
        Wipe::Zero => None,
        Wipe::Discard => Some(alone.erase(Erase::Discard, rest.clone(), STEP, &mut go_on)),
    };
    match discarded {
        Some(Err(error)) if error.kind() == ErrorKind::Unsupported => {
            tell("its disk cannot discard, so it is zeroed");
            Ok(alone.erase(Erase::Zero, rest, STEP, &mut go_on)?)
        }
        Some(done) => Ok(done?),
        None => Ok(alone.erase(Erase::Zero, rest, STEP, &mut go_on)?),
    }
}
