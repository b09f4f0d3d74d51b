//! Logical volumes made: never handed out before they are whole, never left behind when that fails.
//!
//! ```text
//! lvcreate with flexvol.state=creating ──▶ both ends zeroed (thick) ──▶ the state goes: from here on it may be used
//! ```
//! Cut off in between, it is found by its state, removed, and made again.

use std::{num::NonZeroU64, path::Path};

use flexvolume::{Code, Failure, Lock, Options, OptionsExt, Result, Size, World};
use flexvolume_linux::block::{Alone, Erase};

use crate::{
    active::activate,
    group::Group,
    kept,
    names::LvName,
    place::Place,
    remove::remove,
    report::{Vg, Volume},
    seal,
    stage::Stage,
    tags::{Ours, State, Wipe},
    taken::holds_another,
    thin::{promise, size},
    tool::Lvm,
    volume,
};

/// As much is zeroed at either end: what every probe for an empty device reads.
const ENDS: u64 = 1 << 20;

/// What a new volume shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// It has at least so many bytes.
    pub(crate) bytes: u64,
    /// And no more than these.
    pub(crate) most: Option<u64>,
    /// The thin pool that it takes its blocks from; without one it has them all from the start.
    pub(crate) pool: Option<LvName>,
    /// What it will say of itself.
    pub(crate) ours: Ours,
    /// And what else, as tags.
    pub(crate) tags: Vec<String>,
}

impl Wish {
    /// What the options of a volume say that is made when it is first attached.
    ///
    /// # Errors
    /// `invalid`: no size, or another option that makes no sense.
    pub(crate) fn at_attach(place: &Place, options: &Options) -> Result<Self> {
        let size: Size = options.required("size")?;
        Self::of(place, place.lv.as_str(), size.bytes(), None, options)
    }

    /// A volume of this name and size, the rest as the options say.
    ///
    /// # Errors
    /// `invalid`: an option makes no sense.
    pub(crate) fn of(place: &Place, name: &str, bytes: u64, most: Option<u64>, options: &Options) -> Result<Self> {
        let wipe = options.optional::<Wipe>("wipe")?.unwrap_or_default();
        let pool = options.optional::<LvName>("thinpool")?;
        let ours = Ours { name: name.to_owned(), id: place.id(), state: Some(State::Creating), wipe };
        Ok(Self { bytes, most, pool, ours, tags: kept::tags(options) })
    }

    /// All tags that it will have.
    pub(crate) fn all_tags(&self) -> Vec<String> {
        [self.ours.tags(), self.tags.clone()].concat()
    }
}

/// A volume that was made.
#[derive(Debug)]
pub(crate) struct Made {
    /// Its group.
    pub(crate) group: Group,
    /// How large it is.
    pub(crate) bytes: u64,
    /// A thick one was active for a moment, and is still. A thin one has never been, and was not looked at.
    pub(crate) active: Option<Volume>,
}

/// Makes the volume, free to be used. What an earlier attempt left is removed first. For a caller that holds the lock of the
/// volume.
///
/// # Errors
/// `exhausted`: there is no room. `invalid`: the pool is none, or would hand out others' blocks. `busy`: the volume has
/// come meanwhile. Nothing of it is left.
pub(crate) fn make(place: &Place, wish: &Wish, stage: Stage, lvm: &Lvm, world: &World) -> Result<Made> {
    begin(place, (wish, 0), stage, lvm, world, |bytes, group, lock| {
        let active = match wish.pool {
            None => Some(emptied(place, (group, lock, lvm), world)?),
            Some(_) => None,
        };
        publish(place, (group, lock, lvm))?;
        let tags = |volume: &Volume| volume.tags.clone().without(&State::Creating.tag());
        let active = active.map(|volume| Volume { active: true, tags: tags(&volume), ..volume });
        Ok(Made { group: group.clone(), bytes, active })
    })
}

/// As [`make`], but what is made is left in the state `creating`, and nothing is written to it; and there must be room for so
/// many bytes `more`, if it is thick.
///
/// # Errors
/// As [`make`].
pub(crate) fn half(place: &Place, wish: &Wish, more: u64, lvm: &Lvm, world: &World) -> Result<Volume> {
    begin(place, (wish, more), Stage::set(place, place.vg_uuid.as_ref(), lvm, world)?, lvm, world, |_, _, _| {
        volume::made(place, lvm, world)
    })
}

/// Makes it, and does with it what comes next. If that fails it is taken away again.
fn begin<T>(
    place: &Place,
    (wish, more): (&Wish, u64),
    stage: Stage,
    lvm: &Lvm,
    world: &World,
    next: impl FnOnce(u64, &Group, &Lock) -> Result<T>,
) -> Result<T> {
    let Stage { lock, group, mut volumes } = stage;
    if let Some(left) = volumes.iter().find(|one| one.is(&place.lv)) {
        let is_blank = left.tags.ours().is_some_and(|ours| ours.state == Some(State::Creating));
        if !is_blank || holds_another(&left.tags) {
            let message = format!("{} has come while it was to be made; try again", place.storage());
            return Err(Failure::new(Code::Busy, message));
        }
        remove(place, left, Some(State::Creating), (&group, &lock, lvm))?;
        seal::lift(place, world)?;
        // What it had, and what it was promised, is free again.
        volumes = volume::all(&place.vg, Some(&group.uuid), lvm, world)?.1;
    }
    let vg = volume::group(&group, &volumes, lvm)?;
    let bytes = rounded(wish, &vg)?;
    match &wish.pool {
        None => room(&vg, bytes.saturating_add(vg.round_up(more)))?,
        Some(pool) => {
            let pool = promise(pool.as_str(), bytes, &volumes, &group, world)?;
            if wish.ours.wipe != Wipe::None {
                pool.keeps_secrets()?;
            }
        }
    }
    match lvcreate(place, wish, bytes, (&group, &lock, lvm), world).and_then(|()| next(bytes, &group, &lock)) {
        Ok(made) => Ok(made),
        Err(failure) => match undo(place, (&group, &lock, lvm), world) {
            Ok(()) => Err(failure),
            Err(undo) => Err(failure.within(&format!("what was made of it is still there ({undo})"))),
        },
    }
}

fn lvcreate(
    place: &Place,
    wish: &Wish,
    bytes: u64,
    (group, lock, lvm): (&Group, &Lock, &Lvm),
    world: &World,
) -> Result<()> {
    let (bytes, tags) = (format!("{bytes}b"), wish.all_tags());
    let mut words = vec!["lvcreate", "-y", "-n", place.lv.as_str(), "-Wn"];
    match &wish.pool {
        None => {
            // It is active from the start, with whatever its blocks held before.
            seal::set(place, world)?;
            // At boot it stays inactive, be it half-made, as a clone is for long. Of other kinds lvcreate does not take this.
            words.extend(["-Zn", "-L", &bytes, "--setautoactivation", "n"]);
        }
        // Nothing is written to it before it is attached.
        Some(pool) => words.extend(["-an", "-V", &bytes, "--thinpool", pool.as_str()]),
    }
    words.extend(tags.iter().flat_map(|tag| ["--addtag", tag]));
    words.push(place.vg.as_str());
    lvm.change(&format!("make the logical volume {}", place.storage()), lock, group, &words)
}

/// Gives a thick volume that was just made its device, and empties its ends.
fn emptied(place: &Place, change: (&Group, &Lock, &Lvm), world: &World) -> Result<Volume> {
    let volume = volume::made(place, change.2, world)?;
    zero_ends(&activate(place, &volume, change, world)?)?;
    Ok(volume)
}

/// From now on it may be used; at boot it stays inactive: until it is attached, nothing of the system's looks into it. `lock`
/// is that of the group.
///
/// # Errors
/// LVM's own.
pub(crate) fn publish(place: &Place, change: (&Group, &Lock, &Lvm)) -> Result<()> {
    whole(place, &["--setautoactivation", "n"], change)
}

/// Takes the state off a volume or snapshot that was made; by that LVM knows it. While its own lock is held no call of ours makes
/// another of its name; what a person has renamed or removed meanwhile is not looked for, here as little as a moment later.
///
/// # Errors
/// LVM's own.
pub(crate) fn whole(place: &Place, more: &[&str], (group, lock, lvm): (&Group, &Lock, &Lvm)) -> Result<()> {
    let (storage, state) = (place.storage(), State::Creating.tag());
    let half = format!("lv_tags={{\"{state}\"}}");
    let words = [&["lvchange", "--deltag", &state], more, &["-S", &half, &storage]].concat();
    lvm.change(&format!("publish {storage}"), lock, group, &words)
}

/// What others left at the ends of the blocks that a thick volume was given is no file system of its own.
fn zero_ends(device: &Path) -> Result<()> {
    let alone = Alone::open(device)?;
    let step = NonZeroU64::new(ENDS).unwrap_or(NonZeroU64::MIN);
    for range in [0..ENDS.min(alone.size()), alone.size().saturating_sub(ENDS)..alone.size()] {
        alone.erase(Erase::Zero, range, step, &mut |_| true)?;
    }
    Ok(())
}

/// Takes away what a failed creation left.
fn undo(place: &Place, change: (&Group, &Lock, &Lvm), world: &World) -> Result<()> {
    match volume::look(place, &[], change.2, world)?.volume {
        Some(left) if left.tags.ours().is_some_and(|ours| ours.state == Some(State::Creating)) => {
            remove(place, &left, Some(State::Creating), change)?;
            seal::lift(place, world)
        }
        None => seal::lift(place, world),
        Some(_) => Ok(()),
    }
}

/// LVM's sizes are whole extents.
///
/// # Errors
/// `invalid`: it would become larger than it may be.
pub(crate) fn rounded(wish: &Wish, vg: &Vg) -> Result<u64> {
    let bytes = vg.round_up(wish.bytes);
    match wish.most {
        Some(most) if bytes > most => {
            let message = format!(
                "sizes in {} are multiples of {}: {} would become {}, and no more than {} are wanted",
                vg.name,
                size(vg.extent),
                size(wish.bytes),
                size(bytes),
                size(most)
            );
            Err(Failure::new(Code::Invalid, message))
        }
        Some(_) | None => Ok(bytes),
    }
}

/// Whether the group has so many bytes left.
///
/// # Errors
/// `exhausted`, with the figures.
pub(crate) fn room(vg: &Vg, more: u64) -> Result<()> {
    if vg.free >= more {
        return Ok(());
    }
    let message = format!(
        "the volume group {} has {} of {} left, and {} are needed; extend it (vgextend) or delete volumes",
        vg.name,
        size(vg.free),
        size(vg.bytes),
        size(more)
    );
    Err(Failure::new(Code::Exhausted, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vg() -> Vg {
        crate::report::read(include_bytes!("../tests/reports/vgs.json")).unwrap().remove(0)
    }

    fn wish(bytes: u64, most: Option<u64>) -> Wish {
        let ours = Ours { name: "n".into(), id: "vg/n".into(), state: Some(State::Creating), wipe: Wipe::Zero };
        Wish { bytes, most, pool: None, ours, tags: Vec::new() }
    }

    #[test]
    fn sizes_are_whole_extents_within_the_limit() {
        let extent = 4 << 20;
        for (bytes, most, wanted) in [
            (1, None, Some(extent)),
            (extent, Some(extent), Some(extent)),
            (extent + 1, None, Some(2 * extent)),
            (extent + 1, Some(2 * extent - 1), None),
            (1000 << 20, None, Some(1000 << 20)),
        ] {
            assert_eq!(rounded(&wish(bytes, most), &vg()).ok(), wanted, "{bytes} {most:?}");
        }
        let failure = rounded(&wish(1, Some(1)), &vg()).unwrap_err();
        assert!(failure.code() == Some(Code::Invalid) && failure.to_string().contains("4m"), "{failure}");
    }

    #[test]
    fn a_full_group_tells_its_figures() {
        assert!(room(&vg(), 301_989_888).is_ok());
        let failure = room(&vg(), 301_989_889).unwrap_err();
        assert!(failure.code() == Some(Code::Exhausted) && failure.to_string().contains("288m"), "{failure}");
    }
}
