//! Which logical volume a call means: named by its options, or by the id of a volume that was provisioned.

use std::path::PathBuf;

use flexvolume::{Code, Failure, Lock, Options, OptionsExt, Result, World, keys};
use flexvolume_linux::fs::Intents;

use crate::{
    names::{LvName, Uuid, VgName},
    notes::{Lasting, Note, make_dirs},
    settings::Settings,
};

/// The place of one volume. That it exists is not said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its volume group.
    pub(crate) vg: VgName,
    /// Its logical volume.
    pub(crate) lv: LvName,
    /// The group's own UUID, where the volume was provisioned: a group of the same name is then not enough.
    pub(crate) vg_uuid: Option<Uuid>,
}

/// Option: the group's UUID, kept with provisioned volumes.
pub(crate) const VG_UUID: &str = "volumegroupUUID";

impl Place {
    /// As a call's options say: by `volumeID` and `volumegroup`, else by `flexvol/id`.
    ///
    /// # Errors
    /// `invalid`: they name no volume, or not by LVM's rules. `notFound`: no volume can have that id. `permission`: the settings do not allow that group.
    pub(crate) fn of(options: &Options, world: &World) -> Result<Self> {
        let settings = Settings::read(world)?;
        let vg_uuid = options.optional::<Uuid>(VG_UUID)?;
        let (vg, lv) = match (options.optional::<LvName>("volumeID")?, options.get(keys::ID)) {
            (Some(lv), _) => (group(options, &settings)?, lv),
            (None, Some(id)) => split(id)?,
            (None, None) => {
                let message = "the option \"volumeID\" is missing; it names the logical volume";
                return Err(Failure::new(Code::Invalid, message));
            }
        };
        settings.allow(&vg, world)?;
        Ok(Self { vg, lv, vg_uuid })
    }

    /// The place of an id that is to be deleted; `None` for one that was never given to anybody, which is gone as it is.
    ///
    /// # Errors
    /// Those of [`Place::of_id`] but `notFound`.
    pub(crate) fn to_delete(id: &str, world: &World) -> Result<Option<Self>> {
        match Self::of_id(id, world) {
            Err(failure) if failure.code() == Some(Code::NotFound) => Ok(None),
            place => place.map(Some),
        }
    }

    /// The place that [`Place::storage`] and [`Place::id`] name.
    ///
    /// # Errors
    /// `notFound`: it is no `VG/LV`. `permission`: the settings do not allow that group.
    pub(crate) fn of_id(id: &str, world: &World) -> Result<Self> {
        let (vg, lv) = split(id)?;
        Settings::read(world)?.allow(&vg, world)?;
        Ok(Self { vg, lv, vg_uuid: None })
    }

    /// The place that was recorded when it was attached; whatever the settings say by now, it can be let go.
    ///
    /// # Errors
    /// `invalid`: it is no `VG/LV`.
    pub(crate) fn recorded(storage: &str) -> Result<Self> {
        let (vg, lv) = split(storage)?;
        Ok(Self { vg, lv, vg_uuid: None })
    }

    /// What names the storage on this node: `VG/LV`, as LVM's commands take it.
    pub(crate) fn storage(&self) -> String {
        format!("{}/{}", self.vg, self.lv)
    }

    /// The id of a provisioned volume. The same text.
    pub(crate) fn id(&self) -> String {
        self.storage()
    }

    /// The driver's own lock on this volume. Whoever has it is alone with the volume: what an earlier call that died has
    /// left at work on it has ended, also what was lent the group's lock.
    ///
    /// # Errors
    /// `busy`: another call, or what one left, has one of them for too long.
    pub(crate) fn lock(&self, world: &World) -> Result<Lock> {
        let lock = world.lock(&self.storage())?;
        // Who changes this volume under the group's lock has taken this lock first. So nobody who lives does it now.
        drop(world.lock(&self.group_lock_key())?);
        Ok(lock)
    }

    /// The key of the driver's own lock on the group: whoever changes LVM's metadata holds it. Taken after the
    /// volume's own.
    pub(crate) fn group_lock_key(&self) -> String {
        group_lock_key(&self.vg)
    }

    /// A note about this volume, in a folder that says what about.
    pub(crate) fn note(&self, about: &str, lasting: Lasting, world: &World) -> Result<Note> {
        let base = match lasting {
            Lasting::ThisBoot => world.run_dir().to_owned(),
            Lasting::Durable => world.state_dir()?,
        };
        Ok(Note::new(base.join(about).join(self.vg.as_str()).join(format!("{}.json", self.lv)), lasting))
    }
}

/// The key of the driver's own lock on a whole group.
pub(crate) fn group_lock_key(vg: &VgName) -> String {
    // No volume's key: those have a slash.
    format!("group {vg}")
}

/// The volume group of volumes whose options name one, or of all others.
///
/// # Errors
/// `invalid`: there is none.
pub(crate) fn group(options: &Options, settings: &Settings) -> Result<VgName> {
    options.optional::<VgName>("volumegroup")?.or_else(|| settings.volumegroup.clone()).ok_or_else(|| {
        let message = "the option \"volumegroup\" is missing, and the settings name no volume group for all";
        Failure::new(Code::Invalid, message)
    })
}

/// What the id of a volume says. One of another shape was never given to anybody.
///
/// # Errors
/// `notFound`.
fn split(id: &str) -> Result<(VgName, LvName)> {
    let parts = id.split_once('/').and_then(|(vg, lv)| Some((VgName::parse(vg).ok()?, LvName::parse(lv).ok()?)));
    parts.ok_or_else(|| {
        let id = id.chars().take(80).collect::<String>();
        Failure::new(Code::NotFound, format!("{id:?} is no id of this driver's: those are VG/LV"))
    })
}

/// The durable record of the format of a logical volume. Its folder is made.
///
/// # Errors
/// The folder cannot be made.
pub(crate) fn intents(lv: &Uuid, world: &World) -> Result<Intents> {
    let dir: PathBuf = world.state_dir()?.join("format");
    make_dirs(&dir, Lasting::Durable).map_err(|error| flexvolume_linux::Error::io("make the folder", &dir, error))?;
    Ok(Intents::new(dir.join(format!("{lv}.json"))))
}

/// The durable note of how far the copy to a logical volume has come.
///
/// # Errors
/// The folder of notes is not known.
pub(crate) fn copied(lv: &Uuid, world: &World) -> Result<Note> {
    Ok(Note::new(world.state_dir()?.join("copy").join(format!("{lv}.json")), Lasting::Durable))
}

/// The durable note of why that copy has failed, for as long as anything of it is left.
///
/// # Errors
/// The folder of notes is not known.
pub(crate) fn not_copied(lv: &Uuid, world: &World) -> Result<Note> {
    Ok(Note::new(world.state_dir()?.join("copy").join(format!("{lv}.failed.json")), Lasting::Durable))
}

#[cfg(test)]
mod tests {
    use flexvolume::DriverName;
    use flexvolume_testkit::hostile;

    use super::*;

    fn world(settings: &str) -> (tempfile::TempDir, World) {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join("settings.json"), settings).unwrap();
        let world = World::below(DriverName::parse("v/lvm").unwrap(), tmp.path());
        (tmp, world)
    }

    fn options(pairs: &[(&str, &str)]) -> Options {
        let mut options = Options::default();
        for (key, value) in pairs {
            options.insert(*key, *value);
        }
        options
    }

    #[test]
    fn options_or_an_id_name_a_volume() {
        let (_tmp, world) = world(r#"{"volumegroup":"usual"}"#);
        let of = |pairs: &[(&str, &str)]| Place::of(&options(pairs), &world).map(|place| place.storage());
        assert_eq!(of(&[("volumeID", "vol1"), ("volumegroup", "kube_vg")]).unwrap(), "kube_vg/vol1");
        assert_eq!(of(&[("volumeID", "vol1")]).unwrap(), "usual/vol1");
        assert_eq!(of(&[(keys::ID, "kube_vg/vol1")]).unwrap(), "kube_vg/vol1");
        assert_eq!(of(&[(keys::ID, "a/b"), ("volumeID", "vol1")]).unwrap(), "usual/vol1");
        for bad in [
            &[][..],
            &[("volumegroup", "x")],
            &[("volumeID", "../x")],
            &[("volumeID", "pool_tdata")],
            &[("volumeID", "v"), ("volumegroup", "-x")],
            &[("volumeID", "v"), (VG_UUID, "x")],
        ] {
            assert_eq!(of(bad).unwrap_err().code(), Some(Code::Invalid), "{bad:?}");
        }
        assert_eq!(of(&[(keys::ID, "vol1")]).unwrap_err().code(), Some(Code::NotFound));
    }

    #[test]
    fn a_group_that_is_not_on_the_list_is_not_touched() {
        let (_tmp, world) = world(r#"{"volumegroups":["fast"]}"#);
        let of = |vg| Place::of(&options(&[("volumeID", "v"), ("volumegroup", vg)]), &world).map_err(|one| one.code());
        assert!(of("fast").is_ok());
        assert_eq!(of("system"), Err(Some(Code::Permission)));
        assert_eq!(Place::of_id("system/root", &world).map_err(|one| one.code()), Err(Some(Code::Permission)));
        assert!(Place::to_delete("system/root", &world).is_err());
        let none = Place::of(&options(&[("volumeID", "v")]), &world).unwrap_err();
        assert!(none.to_string().contains("volumegroup"), "{none}");
    }

    #[test]
    fn an_id_of_another_shape_is_unknown_and_gone() {
        let (_tmp, world) = world("{}");
        for id in ["fake", "a/b/c", "../x", "vg/-x", "vg/", "/lv", ""] {
            assert_eq!(Place::of_id(id, &world).map_err(|one| one.code()), Err(Some(Code::NotFound)), "{id:?}");
            assert_eq!(Place::to_delete(id, &world).unwrap(), None, "{id:?}");
        }
    }

    #[test]
    fn no_option_of_hostile_symbols_leads_a_note_out_of_its_folder() {
        let (tmp, world) = world("{}");
        for text in hostile::texts(4) {
            let places = [
                options(&[("volumeID", &text), ("volumegroup", &text)]),
                options(&[(keys::ID, &format!("{text}/{text}"))]),
            ];
            for place in places.iter().filter_map(|options| Place::of(options, &world).ok()) {
                assert_eq!(Place::of_id(&place.storage(), &world).unwrap(), place);
                for (lasting, base) in [(Lasting::ThisBoot, "run"), (Lasting::Durable, "state")] {
                    let note = place.note("seen", lasting, &world).unwrap();
                    assert_eq!(note.path().ancestors().nth(2), Some(tmp.path().join(base).join("seen").as_path()));
                    assert_eq!(note.path().components().collect::<PathBuf>(), note.path(), "{text:?}");
                }
            }
        }
    }
}
