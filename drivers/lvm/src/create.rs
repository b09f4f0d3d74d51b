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
    active::{activate, only},
    group::Group,
    kept,
    names::{LvName, Uuid},
    place::Place,
    remove::remove,
    report::{Vg, Volume},
    seal,
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

/// Makes the volume: active, and free to be used. What an earlier attempt left is removed first. For a caller that holds
/// the lock of the volume.
///
/// # Errors
/// `exhausted`: there is no room. `invalid`: the pool is none, or would hand out others' blocks. `busy`: the volume has
/// come meanwhile. Nothing of it is left.
pub(crate) fn make(place: &Place, wish: &Wish, lvm: &Lvm, world: &World) -> Result<(Group, Volume)> {
    let lock = world.lock(&place.group_lock_key())?;
    begin(place, (wish, 0), &lock, lvm, world, |group| {
        let volume = finish(place, wish, (group, &lock, lvm), world)?;
        Ok((group.clone(), volume))
    })
}

/// As [`make`], but what is made is left in the state `creating`, and nothing is written to it; and there must be room for so
/// many bytes `more`, if it is thick.
///
/// # Errors
/// As [`make`].
pub(crate) fn half(place: &Place, wish: &Wish, more: u64, lvm: &Lvm, world: &World) -> Result<Volume> {
    let lock = world.lock(&place.group_lock_key())?;
    begin(place, (wish, more), &lock, lvm, world, |_| {
        let made = volume::look(place, &[], lvm, world)?.volume;
        made.ok_or_else(|| Failure::internal(format!("{} was made and is not there", place.storage())))
    })
}

/// Makes it, and does with it what comes next. If that fails it is taken away again.
fn begin<T>(
    place: &Place,
    (wish, more): (&Wish, u64),
    lock: &Lock,
    lvm: &Lvm,
    world: &World,
    next: impl FnOnce(&Group) -> Result<T>,
) -> Result<T> {
    let (group, mut volumes) = volume::all(&place.vg, place.vg_uuid.as_ref(), lvm, world)?;
    if let Some(at) = volumes.iter().position(|one| one.is(&place.lv)) {
        // What it was promised is free again.
        let left = &volumes.remove(at);
        let is_blank = left.tags.ours().is_some_and(|ours| ours.state == Some(State::Creating));
        if !is_blank || holds_another(&left.tags) {
            let message = format!("{} has come while it was to be made; try again", place.storage());
            return Err(Failure::new(Code::Busy, message));
        }
        remove(place, left, State::Creating, (&group, lock, lvm))?;
    }
    let vg = volume::group(&group, lvm)?;
    let bytes = rounded(wish, &vg)?;
    match &wish.pool {
        None => room(&vg, bytes.saturating_add(vg.round_up(more)))?,
        Some(pool) => {
            let pool = promise(pool.as_str(), bytes, &volumes, (&group, lvm), world)?;
            if wish.ours.wipe != Wipe::None {
                pool.keeps_secrets()?;
            }
        }
    }
    match lvcreate(place, wish, bytes, (&group, lock, lvm), world).and_then(|()| next(&group)) {
        Ok(made) => Ok(made),
        Err(failure) => match undo(place, (&group, lock, lvm), world) {
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
    // It is active from the start, with whatever its blocks held before.
    seal::set(place, world)?;
    let (bytes, tags) = (format!("{bytes}b"), wish.all_tags());
    let mut words = vec!["lvcreate", "-y", "-n", place.lv.as_str(), "-Wn"];
    match &wish.pool {
        // At boot it stays inactive, be it half-made, as a clone is for long. Of other kinds lvcreate does not take this.
        None => words.extend(["-Zn", "-L", &bytes, "--setautoactivation", "n"]),
        Some(pool) => words.extend(["-V", &bytes, "--thinpool", pool.as_str()]),
    }
    words.extend(tags.iter().flat_map(|tag| ["--addtag", tag]));
    words.push(place.vg.as_str());
    lvm.change(&format!("make the logical volume {}", place.storage()), lock, group, &words)
}

/// From made to fit for use.
fn finish(place: &Place, wish: &Wish, (group, lock, lvm): (&Group, &Lock, &Lvm), world: &World) -> Result<Volume> {
    let volume = volume::look(place, &[], lvm, world)?
        .volume
        .ok_or_else(|| Failure::internal(format!("{} was made and is not there", place.storage())))?;
    let device = activate(place, &volume, (group, lock, lvm), world)?;
    if wish.pool.is_none() {
        zero_ends(&device)?;
    }
    publish(place, &volume.uuid, (group, lock, lvm))?;
    let tags = volume.tags.clone().without(&State::Creating.tag());
    Ok(Volume { active: true, tags, ..volume })
}

/// From now on it may be used. `lock` is that of the group.
///
/// # Errors
/// LVM's own.
pub(crate) fn publish(place: &Place, uuid: &Uuid, (group, lock, lvm): (&Group, &Lock, &Lvm)) -> Result<()> {
    let (storage, state) = (place.storage(), State::Creating.tag());
    // At boot it stays inactive: until it is attached, nothing of the system's looks into it.
    let words = ["lvchange", "--deltag", &state, "--setautoactivation", "n", "-S", &only(uuid), &storage];
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
            remove(place, &left, State::Creating, change)?;
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
