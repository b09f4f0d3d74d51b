//! The verbs of extensions through the kit: a driver that keeps volumes and snapshots in memory, read as hosts read it.

use std::{cell::RefCell, collections::BTreeMap};

use flexvolume::{
    Capacity, Code, Condition, CreateSnapshot, CreateVolume, Created, DeleteSnapshot, DeleteVolume, Dispatcher, Driver,
    Extension, Failure, GetCapacity, GetHealth, Health, Id, ListSnapshots, ListVolumes, ModifyVolume, OptionsExt, Page,
    Result, Snapshot, SnapshotList, Source, Timestamp, VerbName, VolumeList, World, keys,
};
use flexvolume_protocol::{Answer, Came, Failed, InitReply, Said, Verdict, strict};
use serde_json::{Value, json};

const ROOM: u64 = 10_000;

/// Volumes by name with what they hold, and snapshots by name with whose they are.
#[derive(Default)]
struct Shelf {
    volumes: RefCell<BTreeMap<String, (u64, Option<Source>)>>,
    snapshots: RefCell<BTreeMap<String, Id>>,
    /// The one thing of a volume that can be changed.
    colours: RefCell<BTreeMap<String, String>>,
    busy: RefCell<u32>,
}

fn id_of(kind: &str, name: &str) -> Result<Id> {
    Ok(Id::parse(&format!("{kind}/{name}"))?)
}

impl Shelf {
    fn find(&self, id: &Id) -> Result<String> {
        let name = id.as_str().strip_prefix("v/").filter(|name| self.volumes.borrow().contains_key(*name));
        name.map(str::to_owned).ok_or_else(|| Failure::new(Code::NotFound, format!("there is no volume {id}")))
    }

    fn snapshot(name: &str, of: &Id) -> Result<Snapshot> {
        let created = Timestamp::from_unix(1_772_366_400, 0).unwrap();
        Ok(Snapshot { snapshot: id_of("s", name)?, id: Some(of.clone()), bytes: Some(100), created, ready: true })
    }
}

impl Driver for Shelf {
    const EXTENSIONS: &'static [Extension] = &[
        Extension::Block,
        Extension::Provision,
        Extension::Snapshot,
        Extension::Clone,
        Extension::Capacity,
        Extension::List,
        Extension::Health,
        Extension::Modify,
    ];

    fn createvolume(&self, call: &CreateVolume, _: &World) -> Result<Created> {
        let name: String = call.options.required(keys::NAME)?;
        let bytes = call.options.required(keys::REQUIRED_BYTES)?;
        let source = call.options.source()?;
        match &source {
            Some(Source::Volume(id)) => drop(self.find(id)?),
            Some(Source::Snapshot(id)) if !self.snapshots.borrow().contains_key(&id.as_str()[2..]) => {
                return Err(Failure::new(Code::NotFound, format!("there is no snapshot {id}")));
            }
            Some(Source::Snapshot(_)) | None => {}
        }
        let colour = colour(&call.options.mutable()?)?;
        let wish = (bytes, source);
        let mut volumes = self.volumes.borrow_mut();
        if *volumes.entry(name.clone()).or_insert_with(|| wish.clone()) != wish {
            return Err(Failure::new(Code::Conflict, format!("{name} is there already, and is another")));
        }
        self.colours.borrow_mut().extend(colour.map(|colour| (name.clone(), colour)));
        Ok(Created { id: id_of("v", &name)?, bytes: Some(bytes), options: [("name".to_owned(), name)].into() })
    }

    fn deletevolume(&self, call: &DeleteVolume, _: &World) -> Result<()> {
        if let Ok(name) = self.find(&call.options.required(keys::ID)?) {
            self.volumes.borrow_mut().remove(&name);
        }
        Ok(())
    }

    fn createsnapshot(&self, call: &CreateSnapshot, _: &World) -> Result<Snapshot> {
        let name: String = call.options.required(keys::NAME)?;
        let of: Id = call.options.required(keys::ID)?;
        self.find(&of)?;
        *self.busy.borrow_mut() += 1;
        if *self.busy.borrow() == 1 {
            return Err(Failure::in_progress());
        }
        let mut snapshots = self.snapshots.borrow_mut();
        if snapshots.entry(name.clone()).or_insert_with(|| of.clone()) != &of {
            return Err(Failure::new(Code::Conflict, format!("{name} is a snapshot of another volume")));
        }
        Self::snapshot(&name, &of)
    }

    fn deletesnapshot(&self, call: &DeleteSnapshot, _: &World) -> Result<()> {
        let id: Id = call.options.required(keys::SNAPSHOT)?;
        self.snapshots.borrow_mut().remove(&id.as_str()[2..]);
        Ok(())
    }

    fn listsnapshots(&self, call: &ListSnapshots, _: &World) -> Result<SnapshotList> {
        let of = call.options.optional::<Id>(keys::ID)?;
        let snapshots = self.snapshots.borrow();
        let fitting = snapshots.iter().filter(|(_, volume)| of.as_ref().is_none_or(|of| of == *volume));
        let all = fitting.map(|(name, of)| Self::snapshot(name, of)).collect::<Result<Vec<_>>>()?;
        let (snapshots, next) = Page::of(&call.options)?.cut(all, |one| &one.snapshot);
        Ok(SnapshotList { snapshots, next })
    }

    fn getcapacity(&self, _: &GetCapacity, _: &World) -> Result<Capacity> {
        let used: u64 = self.volumes.borrow().values().map(|(bytes, _)| bytes).sum();
        Ok(Capacity { available: ROOM - used, maximum: Some(ROOM - used) })
    }

    fn listvolumes(&self, call: &ListVolumes, _: &World) -> Result<VolumeList> {
        let volumes = self.volumes.borrow();
        let one = |(name, (bytes, _)): (&String, &(u64, Option<Source>))| {
            let options = [("name".to_owned(), name.clone())].into();
            Ok(Created { id: id_of("v", name)?, bytes: Some(*bytes), options })
        };
        let all = volumes.iter().map(one).collect::<Result<Vec<_>>>()?;
        let (volumes, next) = Page::of(&call.options)?.cut(all, |one| &one.id);
        Ok(VolumeList { volumes, next })
    }

    fn modifyvolume(&self, call: &ModifyVolume, _: &World) -> Result<()> {
        let name = self.find(&call.options.required(keys::ID)?)?;
        let colour = colour(&call.options.changes())?;
        self.colours.borrow_mut().extend(colour.map(|colour| (name, colour)));
        Ok(())
    }

    fn gethealth(&self, call: &GetHealth, _: &World) -> Result<Health> {
        match call.options.optional::<Id>(keys::ID)? {
            Some(id) => self.find(&id).map(|_| Health { condition: Condition::Ok, message: String::new() }),
            None => {
                let login = call.options.secrets().get("login").map(|secret| secret.expose().to_vec());
                let login = String::from_utf8(login.unwrap_or_default()).unwrap();
                Ok(Health { condition: Condition::Degraded, message: format!("the shelf leans{login}") })
            }
        }
    }
}

/// What the volume's colour shall be; nothing else of it can be changed.
fn colour(wanted: &BTreeMap<&str, &str>) -> Result<Option<String>> {
    match wanted.keys().find(|name| **name != "colour") {
        Some(name) => Err(Failure::new(Code::Invalid, format!("no volume has a {name}"))),
        None => Ok(wanted.get("colour").map(|colour| (*colour).to_owned())),
    }
}

fn say<R: Answer>(driver: &impl Driver, verb: VerbName, options: &Value) -> std::result::Result<Came<R>, Verdict> {
    let json = options.to_string();
    let answered = Dispatcher::new(["/exec/v~shelf/shelf", verb.as_str(), "-"])
        .with_stdin(std::io::Cursor::new(json.into_bytes()))
        .dispatch(driver);
    strict(verb, &Said { stdout: answered.text.as_bytes(), stderr: b"", exit_ok: answered.success })
}

fn done<R: Answer>(driver: &impl Driver, verb: VerbName, options: Value) -> R {
    match say(driver, verb, &options) {
        Ok(Came::Done(reply)) => reply,
        Ok(Came::NotSupported | Came::InProgress) => panic!("{verb} {options}: no Success"),
        Err(verdict) => panic!("{verb} {options}: {verdict}"),
    }
}

fn refused(driver: &impl Driver, verb: VerbName, options: Value) -> Option<Code> {
    match say::<()>(driver, verb, &options) {
        Err(Verdict::Failed(Failed { code, .. })) => code,
        other => panic!("{verb} {options}: {other:?}"),
    }
}

#[test]
fn a_driver_serves_all_that_it_announces() {
    let shelf = Shelf::default();
    let init: InitReply = {
        let answered = Dispatcher::new(["/exec/v~shelf/shelf", "init"]).dispatch(&shelf);
        match strict(VerbName::Init, &Said { stdout: answered.text.as_bytes(), stderr: b"", exit_ok: true }) {
            Ok(Came::Done(reply)) => reply,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(init.extensions.len(), Shelf::EXTENSIONS.len() + 1, "and stdin");
    assert!(init.unknown.is_empty());
    for verb in VerbName::ALL.iter().filter(|verb| verb.extension().is_some_and(|by| init.extensions.contains(&by))) {
        assert_ne!(say::<()>(&shelf, *verb, &json!({})), Ok(Came::NotSupported), "{verb}");
    }

    let make = |name: &str, bytes: u64| json!({keys::NAME: name, keys::REQUIRED_BYTES: bytes.to_string()});
    for name in ["a", "b", "c"] {
        let made: Created = done(&shelf, VerbName::CreateVolume, make(name, 100));
        assert_eq!(made, done(&shelf, VerbName::CreateVolume, make(name, 100)), "the same again is the same");
    }
    assert_eq!(refused(&shelf, VerbName::CreateVolume, make("a", 200)), Some(Code::Conflict));

    let room: Capacity = done(&shelf, VerbName::GetCapacity, json!({"class": "fast"}));
    assert_eq!(room, Capacity { available: ROOM - 300, maximum: Some(ROOM - 300) });

    let snap = |name: &str, of: &str| json!({keys::NAME: name, keys::ID: of});
    let first = snap("s1", "v/a");
    assert_eq!(say::<Snapshot>(&shelf, VerbName::CreateSnapshot, &first), Ok(Came::InProgress));
    let taken: Snapshot = done(&shelf, VerbName::CreateSnapshot, first.clone());
    assert_eq!(taken, done(&shelf, VerbName::CreateSnapshot, first));
    assert_eq!((taken.snapshot.as_str(), taken.created.to_string()), ("s/s1", "2026-03-01T12:00:00Z".to_owned()));
    assert_eq!(refused(&shelf, VerbName::CreateSnapshot, snap("s1", "v/b")), Some(Code::Conflict));
    assert_eq!(refused(&shelf, VerbName::CreateSnapshot, snap("s2", "v/none")), Some(Code::NotFound));
    assert_eq!(refused(&shelf, VerbName::CreateSnapshot, snap("s2", "/v/a")), Some(Code::Invalid));
    done::<Snapshot>(&shelf, VerbName::CreateSnapshot, snap("s2", "v/b"));

    let of_b: SnapshotList = done(&shelf, VerbName::ListSnapshots, json!({keys::ID: "v/b"}));
    assert_eq!(of_b.snapshots.iter().map(|one| one.snapshot.as_str()).collect::<Vec<_>>(), ["s/s2"]);
    let none: SnapshotList = done(&shelf, VerbName::ListSnapshots, json!({keys::ID: "v/none"}));
    assert_eq!(none, SnapshotList::default());

    let clone = |name: &str, key: &str, of: &str| {
        let mut wish = make(name, 100);
        wish[key] = of.into();
        wish
    };
    done::<Created>(&shelf, VerbName::CreateVolume, clone("d", keys::SOURCE_SNAPSHOT, "s/s1"));
    done::<Created>(&shelf, VerbName::CreateVolume, clone("e", keys::SOURCE_VOLUME, "v/a"));
    assert_eq!(refused(&shelf, VerbName::CreateVolume, make("e", 100)), Some(Code::Conflict), "it had a source");
    assert_eq!(refused(&shelf, VerbName::CreateVolume, clone("f", keys::SOURCE_VOLUME, "v/x")), Some(Code::NotFound));

    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page: VolumeList = done(&shelf, VerbName::ListVolumes, json!({keys::MAX: "2", keys::TOKEN: token}));
        names.push(page.volumes.iter().map(|one| one.options["name"].clone()).collect::<Vec<_>>().concat());
        let Some(next) = page.next else { break };
        token = next;
    }
    assert_eq!(names, ["ab", "cd", "e"]);

    let health: Health = done(&shelf, VerbName::GetHealth, json!({keys::ID: "v/a"}));
    assert_eq!((health.condition, health.message.as_str()), (Condition::Ok, ""));
    let health: Health = done(&shelf, VerbName::GetHealth, json!({}));
    assert_eq!((health.condition, health.message.as_str()), (Condition::Degraded, "the shelf leans"));
    let health: Health = done(&shelf, VerbName::GetHealth, json!({"kubernetes.io/secret/login": "aHVudGVyMjI="}));
    assert_eq!(health.message, "the shelf leans[redacted]");
    assert_eq!(refused(&shelf, VerbName::GetHealth, json!({keys::ID: "v/none"})), Some(Code::NotFound));

    for _ in 0..2 {
        done::<()>(&shelf, VerbName::DeleteSnapshot, json!({keys::SNAPSHOT: "s/s1"}));
        done::<()>(&shelf, VerbName::DeleteVolume, json!({keys::ID: "v/a"}));
    }
    assert_eq!(refused(&shelf, VerbName::ListVolumes, json!({keys::MAX: "many"})), Some(Code::Invalid));
}

#[test]
fn what_can_be_changed_is_known_from_what_is_made_for_good() {
    let shelf = Shelf::default();
    let colour = |name: &str| shelf.colours.borrow().get(name).cloned();
    let make = |name: &str, more: Value| {
        let mut wish = json!({keys::NAME: name, keys::REQUIRED_BYTES: "100"});
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        wish
    };
    // A parameter that nobody will change is passed over if it is unknown.
    done::<Created>(&shelf, VerbName::CreateVolume, make("a", json!({"shape": "round", "colour": "red"})));
    assert_eq!(colour("a"), None);
    let red = json!({"shape": "round", "colour": "red", keys::MUTABLE: "colour"});
    done::<Created>(&shelf, VerbName::CreateVolume, make("b", red));
    assert_eq!(colour("b").as_deref(), Some("red"));
    let both = json!({"shape": "round", "colour": "red", keys::MUTABLE: "colour,shape"});
    assert_eq!(refused(&shelf, VerbName::CreateVolume, make("c", both)), Some(Code::Invalid));
    assert_eq!(refused(&shelf, VerbName::GetHealth, json!({keys::ID: "v/c"})), Some(Code::NotFound), "nothing is made");

    let host = json!({"kubernetes.io/secret/login": "aHVudGVyMjI=", "kubernetes.io/fsType": "ext4"});
    let modify = |id: &str, more: Value| {
        let mut wish = json!({keys::ID: id});
        for more in [&host, &more] {
            wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        }
        wish
    };
    for _ in 0..2 {
        done::<()>(&shelf, VerbName::ModifyVolume, modify("v/b", json!({"colour": "blue"})));
        assert_eq!(colour("b").as_deref(), Some("blue"));
    }
    done::<()>(&shelf, VerbName::ModifyVolume, modify("v/b", json!({})));
    let odd = json!({"colour": "green", "shape": "flat"});
    assert_eq!(refused(&shelf, VerbName::ModifyVolume, modify("v/b", odd)), Some(Code::Invalid));
    assert_eq!(colour("b").as_deref(), Some("blue"), "nothing of it");
    let none = modify("v/none", json!({"colour": "green"}));
    assert_eq!(refused(&shelf, VerbName::ModifyVolume, none), Some(Code::NotFound));
}

/// An empty volume would pass for the copy that was asked for.
#[test]
fn what_a_driver_does_not_announce_is_refused_when_a_volume_is_made() {
    struct Empty;
    impl Driver for Empty {
        const EXTENSIONS: &'static [Extension] = &[Extension::Provision];
        fn createvolume(&self, _: &CreateVolume, _: &World) -> Result<Created> {
            Ok(Created { id: id_of("v", "empty")?, bytes: None, options: [].into() })
        }
    }
    for key in [keys::SOURCE_VOLUME, keys::SOURCE_SNAPSHOT] {
        assert_eq!(refused(&Empty, VerbName::CreateVolume, json!({key: "v/a"})), Some(Code::Unsupported), "{key}");
    }
    let mutable = json!({keys::NAME: "a", "colour": "red", keys::MUTABLE: "colour"});
    assert_eq!(refused(&Empty, VerbName::CreateVolume, mutable), Some(Code::Unsupported));
    done::<Created>(&Empty, VerbName::CreateVolume, json!({keys::NAME: "a"}));
}

/// What only asks has no business with "In progress".
#[test]
fn in_progress_is_busy_from_verbs_that_only_ask() {
    struct Slow;
    impl Driver for Slow {
        fn deletesnapshot(&self, _: &DeleteSnapshot, _: &World) -> Result<()> {
            Err(Failure::in_progress())
        }
        fn listsnapshots(&self, _: &ListSnapshots, _: &World) -> Result<SnapshotList> {
            Err(Failure::in_progress())
        }
        fn getcapacity(&self, _: &GetCapacity, _: &World) -> Result<Capacity> {
            Err(Failure::in_progress())
        }
        fn listvolumes(&self, _: &ListVolumes, _: &World) -> Result<VolumeList> {
            Err(Failure::in_progress())
        }
        fn gethealth(&self, _: &GetHealth, _: &World) -> Result<Health> {
            Err(Failure::in_progress())
        }
    }
    assert_eq!(say::<()>(&Slow, VerbName::DeleteSnapshot, &json!({})), Ok(Came::InProgress));
    for verb in [VerbName::ListSnapshots, VerbName::GetCapacity, VerbName::ListVolumes, VerbName::GetHealth] {
        assert_eq!(refused(&Slow, verb, json!({})), Some(Code::Busy), "{verb}");
    }
}
