//! attach of a volume that was handed out here before and is as it was: LVM is not asked first, but told to activate it on
//! condition, which is one command; and of one that is attached already nothing is asked at all.
//!
//! The condition is all that the usual questions would find out: the same UUID, the same tags to the last one, nothing
//! missing, still a volume. LVM judges it under its own lock, and where it does not hold does nothing. Whether it did is
//! for the kernel's device to say. In every other case the usual way is gone, which finds the words for what is wrong.

use std::path::PathBuf;

use flexvolume::{Code, Lock, Result, World};

use crate::{
    active::only,
    devices,
    dm::Dm,
    held::Held,
    names::dm_uuid,
    place::Place,
    seal,
    seen::{Last, Seen},
    tags::Tags,
    taken::Pending,
    tool::Lvm,
};

/// The volume as it is attached now, where all is as it was.
///
/// # Errors
/// `busy`: LVM works, and does not end. What else is wrong is for the usual way to find.
pub(crate) fn attach(
    place: &Place,
    seen: &Seen,
    held: Option<&Held>,
    (lock, lvm): (&Lock, &Lvm),
    world: &World,
) -> Result<Option<Held>> {
    let Some(last) = seen.last.as_ref().filter(|last| fits(place, seen, last)) else { return Ok(None) };
    if let Some(dm) = Dm::with_uuid(&dm_uuid(&seen.vg_uuid, &seen.lv_uuid))? {
        let ours = held.filter(|held| held.lv_uuid == seen.lv_uuid && held.dm().as_ref() == Some(&dm));
        return Ok(ours.filter(|_| !dm.suspended()).cloned());
    }
    let Ok(found) = devices::find(&place.vg, Some(&seen.vg_uuid), lvm, world) else { return Ok(None) };
    seal::set(place, world)?;
    let (storage, condition) = (place.storage(), condition(seen, last));
    let words = ["lvchange", "-ay", "-K", "-S", &condition, &storage];
    match lvm.change(&format!("activate {storage}"), lock, &found.group, &words) {
        Err(failure) if failure.code() == Some(Code::Busy) => return Err(failure),
        Err(_) | Ok(()) => {}
    }
    let now = Held {
        vg_uuid: seen.vg_uuid.clone(),
        lv_uuid: seen.lv_uuid.clone(),
        device: PathBuf::from(&last.device),
        disks: found.group.devices,
        pending: Pending::default(),
    };
    Ok(now.dm().is_some().then_some(now))
}

/// Whether there is nothing that only the usual way can do or tell: a pool to look at, a state, what a clone lacks.
fn fits(place: &Place, seen: &Seen, last: &Last) -> bool {
    let tags = Tags::of(last.tags.clone());
    seen.pool.is_none()
        && place.vg_uuid.as_ref().is_none_or(|uuid| *uuid == seen.vg_uuid)
        && tags.ours().is_none_or(|ours| ours.state.is_none())
        && Pending::read(&tags) == Pending::default()
}

/// What LVM must find for the volume to be the one that was handed out, unchanged.
fn condition(seen: &Seen, last: &Last) -> String {
    let tags: Vec<String> = last.tags.iter().map(|tag| format!("\"{tag}\"")).collect();
    format!(
        "{} && lv_tags=[{}] && lv_role=[\"public\"] && lv_health_status!=\"partial\"",
        only(&seen.lv_uuid),
        tags.join(" && ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        names::{LvName, Uuid, VgName},
        tags::{Ours, State, Wipe, tag},
    };

    const LV: &str = "4swbg6-XmD8-Vivq-AelE-8XO4-zsJ3-JdoK8j";
    const VG: &str = "8au2SC-Xce1-AWR1-S8Nc-txox-CP2s-DrnVmR";

    fn seen(pool: Option<&str>, tags: &[String]) -> Seen {
        let last = Last { device: "/dev/vg/vol1".into(), tags: tags.to_vec() };
        let uuid = |text| Uuid::parse(text).unwrap();
        Seen { lv_uuid: uuid(LV), vg_uuid: uuid(VG), pool: pool.map(str::to_owned), last: Some(last) }
    }

    fn fits_so(vg_uuid: Option<&str>, pool: Option<&str>, tags: &[String]) -> bool {
        let vg_uuid = vg_uuid.map(|text| Uuid::parse(text).unwrap());
        let place = Place { vg: VgName::parse("vg").unwrap(), lv: LvName::parse("vol1").unwrap(), vg_uuid };
        let seen = seen(pool, tags);
        fits(&place, &seen, seen.last.as_ref().unwrap())
    }

    fn ours(state: Option<State>) -> Vec<String> {
        Ours { name: "n".into(), id: "vg/vol1".into(), state, wipe: Wipe::Zero }.tags()
    }

    #[test]
    fn what_needs_more_than_activation_goes_the_usual_way() {
        assert!(fits_so(None, None, &[]) && fits_so(Some(VG), None, &ours(None)));
        assert!(!fits_so(Some(LV), None, &[]), "another group");
        assert!(!fits_so(None, Some("pool"), &[]), "a pool to look at");
        for state in [State::Creating, State::Deleting, State::Unknown] {
            assert!(!fits_so(None, None, &ours(Some(state))), "{state:?}");
        }
        for lacks in ["renew", "grow"] {
            assert!(!fits_so(None, None, &[ours(None), vec![tag(lacks, "x")]].concat()), "{lacks}");
        }
    }

    #[test]
    fn every_tag_is_part_of_the_condition_and_none_is_too() {
        let of = |tags: &[String]| {
            let seen = seen(None, tags);
            condition(&seen, seen.last.as_ref().unwrap())
        };
        let wanted = format!("lv_uuid={LV} && lv_tags=[\"a\" && \"b\"] && ");
        assert!(of(&["a".into(), "b".into()]).starts_with(&wanted));
        assert!(of(&[]).contains(" && lv_tags=[] && "), "{}", of(&[]));
    }
}
