//! What the judge made and began and has not undone, in its order: read off the calls themselves, so that no check can forget it.

use std::collections::BTreeMap;

use flexvolume_protocol::{Came, Created, Id, Said, Snapshot, VerbName, Verdict, keys, tolerant};
use serde::{Deserialize, Serialize};

/// Something that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Thing {
    /// `mount` was called for this directory.
    Mount(String),
    /// `mountdevice` was called for this directory.
    MountDevice(String),
    /// `attach` was called for a volume of this name.
    Attached { name: String, node: String },
    /// `createvolume` was called.
    Volume(Made),
    /// `createsnapshot` was called.
    Snapshot(Made),
}

/// Something that the driver was asked to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Made {
    /// With which options; asked once more, it says once more what it made.
    pub(crate) asked: BTreeMap<String, String>,
    /// What it is called, once the driver said so.
    pub(crate) id: Option<Id>,
    /// What is handed back to the driver with its id.
    pub(crate) options: BTreeMap<String, String>,
    /// Some of what was asked for is secret and was not noted: asked once more, the driver might make another one, or refuse.
    pub(crate) is_cut: bool,
}

/// What was begun and not undone, the last one last.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    things: Vec<Thing>,
    /// A judge had begun it that is dead.
    is_of_the_dead: bool,
}

impl Ledger {
    /// What an earlier judge had begun that is dead, in its order.
    pub(crate) fn of_the_dead(begun: Vec<Thing>) -> Self {
        Self { things: begun, is_of_the_dead: true }
    }

    /// A judge had begun it that is dead.
    pub(crate) fn is_of_the_dead(&self) -> bool {
        self.is_of_the_dead
    }

    /// All of it, in its order.
    pub(crate) fn all(&self) -> &[Thing] {
        &self.things
    }

    /// All of it, the last one first.
    pub(crate) fn backwards(&self) -> Vec<Thing> {
        self.things.iter().rev().cloned().collect()
    }

    /// It is undone, or nothing can be done about it any more.
    pub(crate) fn strike(&mut self, thing: &Thing) {
        self.things.retain(|one| one != thing);
    }

    /// Before a call: what it may begin.
    pub(crate) fn begin(&mut self, argv: &[&str]) {
        let Some(thing) = begun(argv) else { return };
        let is_known = self.things.iter().any(|one| match (one, &thing) {
            (Thing::Volume(one), Thing::Volume(new)) | (Thing::Snapshot(one), Thing::Snapshot(new)) => {
                one.asked == new.asked
            }
            (one, new) => one == new,
        });
        if !is_known {
            self.things.push(thing);
        }
    }

    /// After a call that came to its end: what it made or undid. A call that failed may have begun something all the same;
    /// what is made under a name is there or not.
    pub(crate) fn end(&mut self, argv: &[&str], said: &Said<'_>) {
        let Some(verb) = verb_of(argv) else { return };
        let is_done = || matches!(tolerant::<()>(verb, said).verdict, Ok(Came::Done(()) | Came::NotSupported));
        let is_gone = || matches!(tolerant::<()>(verb, said).verdict, Ok(Came::Done(())));
        let word = argv.get(1).copied().unwrap_or_default();
        match verb {
            VerbName::Unmount => {
                if is_done() {
                    self.strike(&Thing::Mount(word.to_owned()));
                }
            }
            VerbName::UnmountDevice => {
                if is_done() {
                    self.strike(&Thing::MountDevice(word.to_owned()));
                }
            }
            VerbName::Detach => {
                if is_done() {
                    self.things.retain(|one| !matches!(one, Thing::Attached { name, .. } if name == word));
                }
            }
            VerbName::CreateVolume => {
                if let Some(made) = settled(tolerant::<Created>(verb, said).verdict) {
                    self.made(argv, made.map(|made| (made.id, made.options)));
                }
            }
            VerbName::CreateSnapshot => {
                if let Some(made) = settled(tolerant::<Snapshot>(verb, said).verdict) {
                    self.made(argv, made.map(|made| (made.snapshot, BTreeMap::new())));
                }
            }
            VerbName::DeleteVolume => {
                if is_gone() {
                    let id = options(word).remove(keys::ID);
                    self.things.retain(|one| !matches!(one, Thing::Volume(made) if is_called(made, id.as_deref())));
                }
            }
            VerbName::DeleteSnapshot => {
                if is_gone() {
                    let id = options(word).remove(keys::SNAPSHOT);
                    self.things.retain(|one| !matches!(one, Thing::Snapshot(made) if is_called(made, id.as_deref())));
                }
            }
            VerbName::Init
            | VerbName::GetVolumeName
            | VerbName::Attach
            | VerbName::IsAttached
            | VerbName::WaitForAttach
            | VerbName::MountDevice
            | VerbName::Mount
            | VerbName::ExpandVolume
            | VerbName::ExpandFs
            | VerbName::ListSnapshots
            | VerbName::GetCapacity
            | VerbName::ListVolumes
            | VerbName::GetHealth
            | VerbName::ModifyVolume => {}
        }
    }

    /// What was asked for is called this; or it was refused, and is not there for all that was asked.
    fn made(&mut self, argv: &[&str], come: Option<(Id, BTreeMap<String, String>)>) {
        let Some(thing @ (Thing::Volume(_) | Thing::Snapshot(_))) = begun(argv) else { return };
        let Some((id, options)) = come else {
            // Asked for anew, it may be refused where it was made before; and who asks for a dead judge knows nothing of what came since.
            if !self.is_of_the_dead {
                self.strike(&thing);
            }
            return;
        };
        let is_known = |one: &Thing| match (one, &thing) {
            (Thing::Volume(one), Thing::Volume(_)) | (Thing::Snapshot(one), Thing::Snapshot(_)) => {
                one.id.as_ref() == Some(&id)
            }
            _ => false,
        };
        if self.things.iter().any(is_known) {
            return self.strike(&thing);
        }
        self.strike(&thing);
        let set = |made: Made| Made { id: Some(id), options, ..made };
        match thing {
            Thing::Volume(made) => self.things.push(Thing::Volume(set(made))),
            Thing::Snapshot(made) => self.things.push(Thing::Snapshot(set(made))),
            Thing::Mount(_) | Thing::MountDevice(_) | Thing::Attached { .. } => {}
        }
    }
}

/// What a call that makes something has made, or that it made nothing; `None` where it may be there, or come to be.
fn settled<T>(verdict: Result<Came<T>, Verdict>) -> Option<Option<T>> {
    match verdict {
        Ok(Came::Done(made)) => Some(Some(made)),
        Ok(Came::NotSupported) | Err(Verdict::Failed(_)) => Some(None),
        Ok(Came::InProgress)
        | Err(
            Verdict::NoAnswer { .. }
            | Verdict::NotJson { .. }
            | Verdict::WrongShape { .. }
            | Verdict::OddStatus { .. }
            | Verdict::SuccessButExit { .. },
        ) => None,
    }
}

/// What a call may begin.
fn begun(argv: &[&str]) -> Option<Thing> {
    let word = |place: usize| argv.get(place).map(|word| (*word).to_owned()).unwrap_or_default();
    let made = || Made { asked: options(&word(1)), id: None, options: BTreeMap::new(), is_cut: false };
    match verb_of(argv)? {
        VerbName::Mount => Some(Thing::Mount(word(1))),
        VerbName::MountDevice => Some(Thing::MountDevice(word(1))),
        VerbName::Attach => {
            let name = options(&word(1)).remove(keys::PV_OR_VOLUME_NAME).unwrap_or_default();
            Some(Thing::Attached { name, node: word(2) })
        }
        VerbName::CreateVolume => Some(Thing::Volume(made())),
        VerbName::CreateSnapshot => Some(Thing::Snapshot(made())),
        VerbName::Init
        | VerbName::GetVolumeName
        | VerbName::IsAttached
        | VerbName::WaitForAttach
        | VerbName::Unmount
        | VerbName::UnmountDevice
        | VerbName::Detach
        | VerbName::ExpandVolume
        | VerbName::ExpandFs
        | VerbName::DeleteVolume
        | VerbName::DeleteSnapshot
        | VerbName::ListSnapshots
        | VerbName::GetCapacity
        | VerbName::ListVolumes
        | VerbName::GetHealth
        | VerbName::ModifyVolume => None,
    }
}

fn verb_of(argv: &[&str]) -> Option<VerbName> {
    VerbName::parse(argv.first()?)
}

fn options(text: &str) -> BTreeMap<String, String> {
    serde_json::from_str(text).unwrap_or_default()
}

fn is_called(made: &Made, id: Option<&str>) -> bool {
    made.id.as_ref().map(Id::as_str) == id && id.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said<'_> {
        Said { stdout: text.as_bytes(), stderr: b"", exit_ok: true }
    }

    fn call(ledger: &mut Ledger, argv: &[&str], answer: &str) {
        ledger.begin(argv);
        ledger.end(argv, &said(answer));
    }

    const DONE: &str = r#"{"status":"Success"}"#;
    const NO: &str = r#"{"status":"Failure","message":"no"}"#;

    #[test]
    fn what_was_begun_is_there_until_it_was_undone() {
        let mut ledger = Ledger::default();
        call(&mut ledger, &["attach", r#"{"kubernetes.io/pvOrVolumeName":"v"}"#, "n"], DONE);
        call(&mut ledger, &["mountdevice", "/g", "/dev/x", "{}"], DONE);
        // One that failed may have mounted, and one that was killed never comes to its end.
        call(&mut ledger, &["mount", "/p", "{}"], NO);
        ledger.begin(&["mount", "/q", "{}"]);
        ledger.begin(&["mount", "/q", "{}"]);
        let attached = Thing::Attached { name: "v".into(), node: "n".into() };
        let all = [Thing::Mount("/q".into()), Thing::Mount("/p".into()), Thing::MountDevice("/g".into()), attached];
        assert_eq!(ledger.backwards(), all);
        call(&mut ledger, &["unmount", "/q"], NO);
        assert_eq!(ledger.backwards().len(), 4);
        call(&mut ledger, &["unmount", "/q"], DONE);
        call(&mut ledger, &["unmount", "/p"], r#"{"status":"Not supported"}"#);
        call(&mut ledger, &["unmountdevice", "/g"], DONE);
        call(&mut ledger, &["detach", "w", "n"], DONE);
        assert_eq!(ledger.backwards().len(), 1);
        call(&mut ledger, &["detach", "v", "n"], DONE);
        assert_eq!(ledger.backwards(), []);
    }

    #[test]
    fn a_volume_is_there_from_the_question_on_and_once() {
        let mut ledger = Ledger::default();
        let (one, again) =
            (["createvolume", r#"{"flexvol/name":"a"}"#], ["createvolume", r#"{"flexvol/name":"a","x":""}"#]);
        let made = r#"{"status":"Success","id":"i","options":{"k":"v"}}"#;
        call(&mut ledger, &one, r#"{"status":"In progress"}"#);
        assert!(matches!(&ledger.backwards()[..], [Thing::Volume(Made { id: None, .. })]));
        call(&mut ledger, &one, made);
        call(&mut ledger, &one, made);
        call(&mut ledger, &again, made);
        call(&mut ledger, &["createvolume", r#"{"flexvol/name":"b"}"#], NO);
        // The same name with another size is refused, and the volume stays.
        call(&mut ledger, &again, NO);
        let all = ledger.backwards();
        assert!(matches!(&all[..], [Thing::Volume(made)] if made.options["k"] == "v"), "{all:?}");
        call(&mut ledger, &["deletevolume", r#"{"flexvol/id":"other"}"#], DONE);
        assert_eq!(ledger.backwards().len(), 1);
        call(&mut ledger, &["deletevolume", r#"{"flexvol/id":"i"}"#], DONE);
        assert_eq!(ledger.backwards(), []);
    }

    /// What is refused now may have been made then.
    #[test]
    fn a_failure_says_nothing_of_what_a_dead_judge_asked_for() {
        let asked = ["createvolume", r#"{"flexvol/name":"a"}"#];
        let mut ledger = Ledger::default();
        ledger.begin(&asked);
        let mut ledger = Ledger::of_the_dead(ledger.backwards());
        call(&mut ledger, &asked, NO);
        assert_eq!(ledger.backwards().len(), 1);
        call(&mut ledger, &asked, r#"{"status":"Success","id":"i"}"#);
        call(&mut ledger, &["deletevolume", r#"{"flexvol/id":"i"}"#], DONE);
        assert_eq!(ledger.backwards(), []);
    }
}
