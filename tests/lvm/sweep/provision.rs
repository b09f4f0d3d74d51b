//! Volumes made, grown and deleted at a host's word: `createvolume`, `expandvolume`, `deletevolume` with its wiping.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use flexvolume_testkit::{driver::J, killat::Part};
use serde_json::Value;

use super::{
    field::{ALL_DIE, Field, NONE, THE_ACTING_DIES, Way, active},
    tried::Tried,
};
use crate::{
    group::dmsetup,
    tools::{run, text},
};

const OLD: u64 = 8 << 20;
const NEW: u64 = 16 << 20;
const SECRET: &[u8] = b"property of the last tenant";

struct Storage {
    field: Field,
}

/// A volume, as a host knows it.
struct Volume {
    wish: String,
    id: String,
    /// What every later call gets.
    j: J,
    name: String,
}

impl Volume {
    fn by_id(&self) -> String {
        J::default().with("flexvol/id", &self.id).text()
    }
}

impl Storage {
    fn volume(&self, name: &str) -> Volume {
        let wish = J::default().with("flexvol/name", name).with("flexvol/requiredBytes", &OLD.to_string());
        let id = format!("{}/{name}", self.field.vg.name);
        let j = J::default().with("flexvol/id", &id).with("kubernetes.io/pvOrVolumeName", name);
        let wish = wish.with("volumegroup", &self.field.vg.name).text();
        Volume {
            wish,
            id,
            j: j.with("kubernetes.io/fsType", "ext4").with("kubernetes.io/readwrite", "rw"),
            name: name.to_owned(),
        }
    }

    /// Calls until it is no longer in progress.
    #[track_caller]
    fn delete(&self, volume: &Volume, about: &str) {
        let said = self.field.ended(&["deletevolume", &volume.by_id()]);
        assert_eq!(said.get("status"), "Success", "{about}: deletevolume again: {said:?}");
    }

    /// Attaches it, gives the device to somebody, detaches it.
    #[track_caller]
    fn with_device<T>(&self, volume: &Volume, work: impl FnOnce(&Path) -> T) -> T {
        let device = self.field.call(&["attach", &volume.j.text(), "node"]).ok().word("device");
        assert_eq!(active(&self.field.vg).len(), 1);
        let done = work(Path::new(&device));
        self.field.call(&["detach", &volume.name, "node"]).ok();
        assert_eq!(active(&self.field.vg), Vec::<String>::new());
        done
    }

    /// Where on the disk the volume's first bytes lie.
    fn offset(&self, device: &Path) -> u64 {
        let table = run(dmsetup().args(["table", text(device)]));
        let words: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(words[2], "linear", "{table}");
        words[4].parse::<u64>().unwrap() * 512
    }

    /// Whether nothing but zeros is on the disk from there on.
    fn is_blank(&self, offset: u64) -> bool {
        let skip = format!("--ignore-initial={offset}:0");
        let bytes = format!("--bytes={OLD}");
        let disk = text(&self.field.vg.disks[0].file);
        Command::new("cmp").args(["-s", &skip, &bytes, disk, "/dev/zero"]).status().unwrap().success()
    }
}

/// Writes the secret to a device at both ends of its first bytes.
fn keep_secret(device: &Path) {
    let file = File::options().write(true).open(device).unwrap();
    file.write_all_at(SECRET, 0).unwrap();
    file.write_all_at(SECRET, OLD - 4096).unwrap();
    file.sync_all().unwrap();
}

fn has_secret(device: &Path) -> bool {
    let (file, mut found) = (File::open(device).unwrap(), vec![0; SECRET.len()]);
    file.read_exact_at(&mut found, OLD - 4096).unwrap();
    found == SECRET
}

/// Each call killed and called again, one after the other, on a volume whose bytes are somebody's.
fn sweep(name: &'static str, way: Way, usual: Part) {
    let Some(field) = Field::new(way) else { return };
    let (storage, mut tried) = (Storage { field }, Tried::new(name, usual));
    storage.turn(&mut tried, None, "counted");
    for (_, at) in tried.turns() {
        storage.turn(&mut tried, Some(at), &format!("v{at}"));
    }
    tried.tell();
}

impl Storage {
    /// Kills a call, or counts its effects where no point is given.
    #[track_caller]
    fn strike(&self, tried: &mut Tried, call: &'static str, words: &[&str], at: Option<u64>) -> String {
        let args: Vec<&str> = [call].iter().chain(words).copied().collect();
        match at {
            None => {
                tried.has(call, self.field.count(&args));
                call.to_owned()
            }
            Some(at) => tried.note(call, &self.field.killed(&args, tried.within(call, at))),
        }
    }

    /// The whole life of one volume.
    fn turn(&self, tried: &mut Tried, at: Option<u64>, name: &str) {
        let (field, volume) = (&self.field, self.volume(name));
        let about = self.strike(tried, "createvolume", &[&volume.wish], at);
        let created = field.call(&["createvolume", &volume.wish]).ok();
        assert_eq!((created.word("id"), created.get("bytes")), (volume.id.clone(), &Value::from(OLD)), "{about}");
        field.assert_volumes(&[name], &about);
        field.assert_down(&about);
        let offset = self.with_device(&volume, |device| {
            keep_secret(device);
            self.offset(device)
        });

        let (j, place) = (volume.j.text(), field.place("none"));
        let grow = [&j, text(&place), &NEW.to_string(), &OLD.to_string()];
        let about = self.strike(tried, "expandvolume", &grow, at);
        let grown = field.call(&[&["expandvolume"], &grow[..]].concat()).ok();
        assert_eq!(grown.get("bytes"), &Value::from(NEW), "{about}");
        assert_eq!(field.vg.row(name, "lv_size")["lv_size"], NEW.to_string(), "{about}");
        field.assert_volumes(&[name], &about);
        assert!(self.with_device(&volume, has_secret), "{about}: data lost");

        let about = self.strike(tried, "deletevolume", &[&volume.by_id()], at);
        // As long as it can be had it is whole.
        if at.is_some_and(|at| at % 2 == 0) {
            let said = field.call(&["attach", &j, "node"]);
            if said.get("status") == "Success" {
                assert!(has_secret(Path::new(&said.word("device"))), "{about}: half-deleted and handed out");
            }
            // A host lets go of what it did not get as well.
            field.call(&["detach", name, "node"]).ok();
        }
        self.delete(&volume, &about);
        field.assert_volumes(&NONE, &about);
        field.assert_down(&about);
        assert_eq!(field.lasting(), Vec::<PathBuf>::new(), "{about}: remembered");
        assert!(self.is_blank(offset), "{about}: the tenant's bytes are on the disk still");
    }
}

#[test]
fn all_die_at_every_effect() {
    sweep("all but LVM die, provisioning", ALL_DIE, Part::every(29, 5));
}

#[test]
fn the_acting_dies_at_every_effect() {
    sweep("the acting process dies, provisioning", THE_ACTING_DIES, Part::every(11, 3));
}
