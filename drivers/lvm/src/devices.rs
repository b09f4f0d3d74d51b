//! The disks of a volume group: asked for once per boot, so that each command can be held to them.

use crate::{
    group::Group,
    names::{Uuid, VgName},
    notes::{Lasting, Note},
    report::Pv,
    tool::Lvm,
};
use flexvolume::{Code, Failure, Result, World};

/// A group, and whether its disks were looked for just now.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The group.
    pub(crate) group: Group,
    /// `false`: remembered from an earlier call, and perhaps no longer so.
    pub(crate) fresh: bool,
}

/// The group of that name; with `uuid` only that very one. Remembered from an earlier call of this boot, else asked.
///
/// # Errors
/// As [`ask`].
pub(crate) fn find(name: &VgName, uuid: Option<&Uuid>, lvm: &Lvm, world: &World) -> Result<Found> {
    let remembered: Option<Group> = note(name, world).read()?;
    match remembered.filter(|group| group.name == *name && uuid.is_none_or(|uuid| *uuid == group.uuid)) {
        Some(group) => Ok(Found { group, fresh: false }),
        None => ask(name, uuid, lvm, world).map(|group| Found { group, fresh: true }),
    }
}

/// The same, asked of LVM whatever is remembered. One that is whole is remembered from now on.
///
/// # Errors
/// `notFound`: it is not on this node, belongs to another host, or is another one than `uuid`. `conflict`: two groups
/// have that name, or a disk is there twice. `unsupported`: it is exported or shared by several hosts.
pub(crate) fn ask(name: &VgName, uuid: Option<&Uuid>, lvm: &Lvm, world: &World) -> Result<Group> {
    let note = note(name, world);
    note.remove()?;
    let disks = |args: &[&str]| -> Result<Vec<Pv>> {
        let answer = lvm.ask::<Option<Pv>>(None, args)?;
        let rows: Vec<Pv> = answer.rows.into_iter().flatten().collect();
        match answer.failed {
            Some(failure) if !rows.iter().any(|pv| pv.vg == *name) => Err(failure),
            Some(_) | None => Ok(rows),
        }
    };
    // With `-a`, copies of disks are told too.
    let mut here = disks(&["-a"])?;
    let foreign = !here.iter().any(|pv| pv.vg == *name);
    if foreign {
        // Those of other hosts, and those shared with them, are told only to those who ask for them.
        here = disks(&["-a", "--foreign", "--shared"])?;
    }
    let (group, whole) = choose(&here, name, uuid, foreign)?;
    if whole {
        note.write(&group)?;
    }
    Ok(group)
}

fn note(name: &VgName, world: &World) -> Note {
    Note::new(world.run_dir().join("groups").join(format!("{name}.json")), Lasting::ThisBoot)
}

/// The group that is meant among all disks, and whether all of it is there. `foreign`: LVM tells of it only if asked for
/// those of other hosts.
fn choose(disks: &[Pv], name: &VgName, uuid: Option<&Uuid>, foreign: bool) -> Result<(Group, bool)> {
    let named: Vec<&Pv> = disks.iter().filter(|pv| pv.vg == *name).collect();
    let mut uuids: Vec<&Uuid> = named.iter().map(|pv| &pv.vg_uuid).collect();
    uuids.sort_unstable();
    uuids.dedup();
    let meant = match (uuid, uuids.as_slice()) {
        (_, []) => {
            let message = format!(
                "there is no volume group {name} on this node; is it another node's, or are its disks missing? see: pvs"
            );
            return Err(Failure::new(Code::NotFound, message));
        }
        (Some(uuid), found) if !found.contains(&uuid) => {
            let message = format!(
                "the volume group {name} of this node ({}) is not the one that the volume was made in ({uuid}): this is \
                 the wrong node, or its disks were replaced",
                listed(found)
            );
            return Err(Failure::new(Code::NotFound, message));
        }
        (Some(uuid), _) => uuid,
        (None, [one]) => one,
        (None, several) => {
            let message = format!(
                "{} volume groups are called {name}: {}; rename one: vgrename UUID NEW_NAME",
                several.len(),
                several
                    .iter()
                    .map(|one| format!("{one} on {}", devices(&named, one).join(", ")))
                    .collect::<Vec<_>>()
                    .join("; ")
            );
            return Err(Failure::new(Code::Conflict, message));
        }
    };
    let disks: Vec<&Pv> = named.into_iter().filter(|pv| pv.vg_uuid == *meant).collect();
    usable(&disks, name, foreign)?;
    let group = Group { name: name.clone(), uuid: meant.clone(), devices: devices(&disks, meant) };
    if group.devices.is_empty() {
        return Err(Failure::new(
            Code::NotFound,
            format!("all disks of the volume group {name} are missing; see: pvs"),
        ));
    }
    Ok((group, disks.iter().all(|pv| !pv.missing && pv.device.is_some())))
}

/// Whether this node may work in the group that has these disks.
fn usable(disks: &[&Pv], name: &VgName, foreign: bool) -> Result<()> {
    if let Some(copy) = disks.iter().find(|pv| pv.duplicate) {
        let message = format!(
            "a disk of the volume group {name} is there twice, the second time as {}; take the copy away, or hide it by a \
             filter in lvm.conf",
            copy.device.as_deref().unwrap_or("an unknown device")
        );
        return Err(Failure::new(Code::Conflict, message));
    }
    if disks.iter().any(|pv| pv.exported) {
        let message = format!("the volume group {name} is exported; if it belongs here: vgimport {name}");
        return Err(Failure::new(Code::Unsupported, message));
    }
    if disks.iter().any(|pv| pv.shared) {
        let message = format!("the volume group {name} is shared by several hosts, which this driver does not serve");
        return Err(Failure::new(Code::Unsupported, message));
    }
    if foreign {
        let system = disks.iter().map(|pv| pv.system.as_str()).find(|system| !system.is_empty()).unwrap_or("unknown");
        let message = format!(
            "the volume group {name} belongs to another host, by its system ID {system:?}: this is the wrong node; if it \
             was moved here for good, see lvmsystemid(7)"
        );
        return Err(Failure::new(Code::NotFound, message));
    }
    Ok(())
}

fn devices(disks: &[&Pv], uuid: &Uuid) -> Vec<String> {
    disks.iter().filter(|pv| pv.vg_uuid == *uuid).filter_map(|pv| pv.device.clone()).collect()
}

fn listed(uuids: &[&Uuid]) -> String {
    uuids.iter().map(|uuid| uuid.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "4swbg6-XmD8-Vivq-AelE-8XO4-zsJ3-JdoK8j";
    const TWO: &str = "8au2SC-Xce1-AWR1-S8Nc-txox-CP2s-DrnVmR";

    fn uuid(text: &str) -> Uuid {
        Uuid::parse(text).unwrap()
    }

    fn pv(device: &str, group: &str) -> Pv {
        Pv {
            device: Some(device.to_owned()),
            vg: VgName::parse("vg").unwrap(),
            vg_uuid: uuid(group),
            system: String::new(),
            exported: false,
            shared: false,
            missing: false,
            duplicate: false,
        }
    }

    fn chosen(disks: &[Pv], uuid: Option<&Uuid>, foreign: bool) -> Result<(Group, bool)> {
        choose(disks, &VgName::parse("vg").unwrap(), uuid, foreign)
    }

    #[track_caller]
    fn refused(disks: &[Pv], wanted: Option<&str>, foreign: bool, code: Code, words: &[&str]) {
        let failure = chosen(disks, wanted.map(uuid).as_ref(), foreign).unwrap_err();
        assert_eq!(failure.code(), Some(code), "{failure}");
        for word in words {
            assert!(failure.to_string().contains(word), "no {word:?} in: {failure}");
        }
    }

    #[test]
    fn a_group_has_its_own_disks_alone() {
        let other = Pv { vg: VgName::parse("other").unwrap(), ..pv("/dev/c", TWO) };
        let disks = [pv("/dev/a", ONE), other, pv("/dev/b", ONE)];
        let (group, whole) = chosen(&disks, None, false).unwrap();
        assert_eq!((group.devices.as_slice(), whole), (["/dev/a".to_owned(), "/dev/b".to_owned()].as_slice(), true));
        assert_eq!(group.uuid, uuid(ONE));
    }

    #[test]
    fn what_is_missing_is_not_remembered_as_whole() {
        let gone = Pv { device: None, missing: true, ..pv("", ONE) };
        let (group, whole) = chosen(&[pv("/dev/a", ONE), gone.clone()], None, false).unwrap();
        assert_eq!((group.devices.as_slice(), whole), (["/dev/a".to_owned()].as_slice(), false));
        let back = Pv { missing: true, ..pv("/dev/b", ONE) };
        let (group, whole) = chosen(&[pv("/dev/a", ONE), back], None, false).unwrap();
        assert_eq!((group.devices.len(), whole), (2, false), "LVM still counts it as missing");
        refused(&[gone], None, false, Code::NotFound, &["missing"]);
    }

    #[test]
    fn two_groups_of_one_name_are_both_named_unless_one_is_meant() {
        let disks = [pv("/dev/a", ONE), pv("/dev/b", TWO)];
        refused(&disks, None, false, Code::Conflict, &[ONE, TWO, "/dev/a", "/dev/b", "vgrename"]);
        assert_eq!(chosen(&disks, Some(&uuid(TWO)), false).unwrap().0.devices, ["/dev/b"]);
    }

    #[test]
    fn the_wrong_node_is_told() {
        refused(&[], None, false, Code::NotFound, &["no volume group vg"]);
        refused(&[pv("/dev/a", ONE)], Some(TWO), false, Code::NotFound, &["wrong node", ONE, TWO]);
        let theirs = Pv { system: "host-b".to_owned(), ..pv("/dev/a", ONE) };
        refused(&[theirs], None, true, Code::NotFound, &["wrong node", "host-b"]);
    }

    #[test]
    fn what_lvm_would_not_let_us_use_is_told() {
        let disk = || pv("/dev/a", ONE);
        refused(
            &[disk(), Pv { duplicate: true, ..pv("/dev/b", ONE) }],
            None,
            false,
            Code::Conflict,
            &["twice", "/dev/b"],
        );
        refused(&[Pv { exported: true, ..disk() }], None, false, Code::Unsupported, &["vgimport vg"]);
        refused(&[Pv { shared: true, ..disk() }], None, false, Code::Unsupported, &["several hosts"]);
    }
}
