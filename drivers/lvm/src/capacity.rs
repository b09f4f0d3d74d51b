//! How much room there is for new volumes.

use flexvolume::{Capacity, Options, OptionsExt, Result, World};

use crate::{
    names::LvName,
    place::{self, VG_UUID},
    report::Vg,
    settings::Settings,
    thin::Pool,
    tool::Lvm,
    volume,
};

/// What volumes with these parameters can have: of a group what no volume has, of a thin pool what it may still promise.
///
/// # Errors
/// `notFound`: the group or the pool is not on this node. `invalid`: the parameters name none. Or LVM's own.
pub(crate) fn capacity(options: &Options, world: &World) -> Result<Capacity> {
    let settings = Settings::read(world)?;
    let vg = place::group(options, &settings)?;
    settings.allow(&vg, world)?;
    let pool = options.optional::<LvName>("thinpool")?;
    let lvm = Lvm::find()?;
    let (group, rows) = volume::all(&vg, options.optional(VG_UUID)?.as_ref(), &lvm, world)?;
    let vg = volume::group(&group, &rows, &lvm)?;
    let available = match pool {
        None => thick(&vg),
        Some(pool) => thin(&vg, &Pool::look(pool.as_str(), &rows, &group)?, &settings),
    };
    Ok(Capacity { available, maximum: Some(available) })
}

/// LVM changes nothing in a group that has lost a disk.
fn thick(vg: &Vg) -> u64 {
    if vg.missing_disks > 0 { 0 } else { vg.free }
}

fn thin(vg: &Vg, pool: &Pool, settings: &Settings) -> u64 {
    if vg.missing_disks > 0 { 0 } else { vg.round_down(pool.left(settings)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vg() -> Vg {
        crate::report::read(include_bytes!("../tests/reports/vgs.json")).unwrap().remove(0)
    }

    #[test]
    fn a_group_has_what_no_volume_has_unless_a_disk_is_missing() {
        assert_eq!(thick(&vg()), 301_989_888);
        assert_eq!(thick(&Vg { missing_disks: 1, ..vg() }), 0);
    }

    #[test]
    fn a_pool_has_what_it_may_promise() {
        let extent = 4 << 20;
        let pool = Pool {
            name: "vg/pool".into(),
            bytes: 10 * extent,
            promised: 7 * extent,
            zeroes: true,
            health: String::new(),
        };
        let settings = |text: &str| serde_json::from_str::<Settings>(text).unwrap();
        assert_eq!(thin(&vg(), &pool, &settings("{}")), 3 * extent);
        assert_eq!(thin(&vg(), &pool, &settings(r#"{"thinOvercommit":1.55}"#)), 8 * extent, "whole extents");
        assert_eq!(thin(&vg(), &pool, &settings(r#"{"thinOvercommit":0.5}"#)), 0);
        let ill = Pool { health: "failed".into(), ..pool.clone() };
        assert_eq!(thin(&vg(), &ill, &settings("{}")), 0);
        assert_eq!(thin(&Vg { missing_disks: 1, ..vg() }, &pool, &settings("{}")), 0);
    }
}
