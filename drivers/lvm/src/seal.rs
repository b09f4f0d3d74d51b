//! What is inside a volume is nothing to this machine's udev: whatever a tenant writes there, nothing of it is started.
//!
//! By its usual rules udev looks into each device that comes or was written to, and starts the arrays (mdadm) and volume
//! groups that it finds. LVM has no option that keeps it out of a volume. So each volume that we give a device is sealed:
//! a note says that it is ours, and a rule for this boot, which we put where udev reads such rules, has it passed over.
//!
//! ```text
//! sealed, then activated ──▶ udev: the rule finds the note, the rules after it find nothing to start
//! deactivated, then the seal is lifted
//! ```

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use flexvolume::{Failure, Result, World};
use flexvolume_linux::{
    Error,
    process::{How, Kill, Limits, Program, on_path, spawn},
};
use serde::{Deserialize, Serialize};

use crate::{
    notes::{Lasting, Note},
    place::Place,
};

/// What udev keeps for this boot. It is not there where udev does not run.
const UDEV: &str = "/run/udev";

/// Where its command is when PATH does not say so.
const PLACES: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// udev answers at once, unless it is stuck itself.
const RELOAD: Limits = Limits {
    answer: Duration::from_secs(20),
    kill: Kill::After { at: Duration::from_secs(20), grace: Duration::from_secs(5) },
};

/// udev looks by itself whether rules have changed, but not again within three seconds.
const BY_ITSELF: Duration = Duration::from_secs(4);

#[derive(Serialize, Deserialize)]
struct Sealed {}

/// Seals the volume; from here on it may be activated.
///
/// # Errors
/// The note or the rule cannot be written.
pub(crate) fn set(place: &Place, world: &World) -> Result<()> {
    if !is_set(place, world)? {
        note(place, world)?.write(&Sealed {})?;
    }
    if keep_rule(Path::new(UDEV), world.name().as_str(), &world.name().dir(), &folder(world))? {
        reload();
    }
    Ok(())
}

/// Takes the seal away from a volume that has no device any more.
///
/// # Errors
/// The note cannot be removed.
pub(crate) fn lift(place: &Place, world: &World) -> Result<()> {
    note(place, world)?.remove()
}

/// Whether the volume is sealed, and so may have been activated by us.
///
/// # Errors
/// The folder of notes is not known.
pub(crate) fn is_set(place: &Place, world: &World) -> Result<bool> {
    Ok(note(place, world)?.path().exists())
}

/// Where the rule looks for the notes.
fn folder(world: &World) -> PathBuf {
    world.run_dir().join("sealed")
}

fn note(place: &Place, world: &World) -> Result<Note> {
    place.note("sealed", Lasting::ThisBoot, world)
}

/// Puts the rule where udev reads it; `true` if it was not there yet, or was another one.
fn keep_rule(udev: &Path, driver: &str, dir: &str, notes: &Path) -> Result<bool> {
    if !udev.is_dir() {
        return Ok(false);
    }
    let (text, rules) = (rule(driver, notes)?, udev.join("rules.d"));
    // After the rules that recognise what a device holds, whatever they are called, and before those that start it.
    let file = rules.join(format!("62-flexvol-{dir}.rules"));
    if fs::read(&file).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(false);
    }
    // udev passes over what is not called `.rules`.
    let fresh = rules.join(format!(".{dir}.{}.new", std::process::id()));
    let put = || -> io::Result<()> {
        fs::create_dir_all(&rules)?;
        fs::write(&fresh, &text)?;
        fs::rename(&fresh, &file)
    };
    put().map_err(|error| Failure::from(Error::io("write udev's rule", &file, error))).map(|()| true)
}

/// The rule. Other rules are told to pass by, as device-mapper's own do it; those that do not heed that (mdadm's) go by the
/// type of what was recognised.
fn rule(driver: &str, notes: &Path) -> Result<String> {
    let notes = notes.to_str().filter(|text| text.chars().all(|c| c.is_ascii_alphanumeric() || "/._~+-".contains(c)));
    let Some(notes) = notes else {
        return Err(Failure::internal("udev's rules cannot name the driver's folder below /run (FLEXVOL_RUN)"));
    };
    Ok(format!(
        "# Written by the flexvol driver {driver} for this boot: what is inside volumes that it has in use is not started.\n\
         SUBSYSTEM!=\"block\", GOTO=\"flexvol_end\"\n\
         ENV{{DM_LV_NAME}}!=\"?*\", GOTO=\"flexvol_end\"\n\
         TEST!=\"{notes}/$env{{DM_VG_NAME}}/$env{{DM_LV_NAME}}.json\", GOTO=\"flexvol_end\"\n\
         ENV{{DM_UDEV_DISABLE_OTHER_RULES_FLAG}}=\"1\"\n\
         ENV{{ID_FS_TYPE}}==\"?*\", ENV{{ID_FS_USAGE}}!=\"filesystem|crypto\", ENV{{ID_FS_TYPE}}=\"sealed\"\n\
         LABEL=\"flexvol_end\"\n"
    ))
}

/// Has udev read its rules, however long that takes.
fn reload() {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(PLACES.map(PathBuf::from));
    let told = dirs.filter_map(|dir| on_path("udevadm", dir.as_os_str())).next().is_some_and(|exe| {
        let words = ["control", "--reload"].map(|word| word.to_owned().into());
        let program = Program { args: words.into(), ..Program::new(exe) };
        let ended = spawn(&program).map(|run| run.wait(&RELOAD, &|_, _| false, &mut |_| {}).how);
        matches!(ended, Ok(How::Exited(0)))
    });
    // In a container it may be the host's udev, and its command is not here.
    if !told {
        sleep(BY_ITSELF);
    }
}

#[cfg(test)]
mod tests {
    use flexvolume::DriverName;

    use super::*;

    fn keep(udev: &Path, notes: &str) -> Result<bool> {
        keep_rule(udev, "v/lvm", "v~lvm", Path::new(notes))
    }

    #[test]
    fn the_rule_is_written_once_and_again_when_it_is_another() {
        let tmp = tempfile::tempdir().unwrap();
        let (udev, file) = (tmp.path().join("udev"), tmp.path().join("udev/rules.d/62-flexvol-v~lvm.rules"));
        assert_eq!(keep(&udev, "/run/x/sealed"), Ok(false), "there is no udev");
        fs::create_dir(&udev).unwrap();
        assert_eq!((keep(&udev, "/run/x/sealed"), keep(&udev, "/run/x/sealed")), (Ok(true), Ok(false)));
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("TEST!=\"/run/x/sealed/$env{DM_VG_NAME}/$env{DM_LV_NAME}.json\""), "{text}");
        assert_eq!(keep(&udev, "/run/y/sealed"), Ok(true));
        assert_eq!(fs::read_dir(udev.join("rules.d")).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn no_folder_writes_a_rule_of_its_own() {
        for bad in ["/run/a\"b", "/run/a\nb", "/run/$env{X}", "/run/a*", "/run/ä"] {
            assert!(rule("v/lvm", Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_seal_is_where_the_rule_looks() {
        let tmp = tempfile::tempdir().unwrap();
        let world = World::below(DriverName::parse("v/lvm").unwrap(), tmp.path());
        let place = Place::recorded("kube_vg/vol1").unwrap();
        let file = folder(&world).join("kube_vg/vol1.json");
        note(&place, &world).unwrap().write(&Sealed {}).unwrap();
        assert!(file.exists());
        lift(&place, &world).unwrap();
        lift(&place, &world).unwrap();
        assert!(!file.exists());
    }
}
