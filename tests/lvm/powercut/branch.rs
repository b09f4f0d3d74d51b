//! A snapshot of a volume that is in use, and a clone of it: what was acknowledged is there, and nothing is offered that is
//! half made.

use std::fs;
use std::path::Path;

use flexvolume_testkit::powercut::{Recorder, Recording, Source, Story};
use serde_json::{Value, json};

use super::life::{CREATE, Life, MOUNT, Volume, WRITE, WRITE_MORE, WRITTEN, by_id, device};
use super::node::{content, nothing, write_durably};
use super::sweep::Crash;
use crate::tools::text;

const SNAPSHOT: &str = "snapshot";
const CLONE: &str = "clone";
const MOUNT_CLONE: &str = "mount the clone";
const WRITE_CLONE: &str = "write to the clone";
const DELETE_CLONE: &str = "delete the clone";
const DELETE_SNAPSHOT: &str = "delete the snapshot";

/// The story of a volume, its snapshot and its clone.
pub struct Branch<'a> {
    pub life: Life<'a>,
}

/// The story as it was lived and recorded.
pub struct Branched<'a> {
    life: &'a Life<'a>,
    pub recording: Recording,
    /// The snapshot's id.
    snapshot: String,
    /// The clone's.
    clone: String,
}

impl Branch<'_> {
    /// Lives it once, recorded.
    pub fn record(&self, images: &[Source<'_>]) -> Branched<'_> {
        let life = &self.life;
        let recorder = Recorder::start(&life.node.work("logs"), images).unwrap();
        let devices: Vec<&Path> = (0..images.len()).map(|n| recorder.device(n)).collect();
        life.disks.up(life.node, &devices).unwrap();
        let call = |what: &str, words: &[&str]| life.node.recorded(&recorder, nothing, what, words);
        let write = |what: &str, volume: &Volume<'_>| {
            recorder.begin(what).unwrap();
            write_durably(&volume.dir().join(what), &content("a", what, WRITTEN));
            recorder.done(what).unwrap();
        };
        let (volume, clone) = (life.volume("a"), life.volume("clone"));

        let j = volume.kept(&call(CREATE, &["createvolume", &volume.wish()]));
        let it = device(&call("attach", &["attach", &j, "node"]));
        call(MOUNT, &["mountdevice", text(&volume.dir()), &it, &j]);
        write(WRITE, &volume);
        let snapshot = of(&call(SNAPSHOT, &["createsnapshot", &wish(&j)]));
        write(WRITE_MORE, &volume);

        let cloned = call(CLONE, &["createvolume", &from(&clone, &snapshot)]);
        let j = clone.kept(&cloned);
        let it = device(&call("attach the clone", &["attach", &j, "node"]));
        call(MOUNT_CLONE, &["mountdevice", text(&clone.dir()), &it, &j]);
        write(WRITE_CLONE, &clone);
        call("unmount the clone", &["unmountdevice", text(&clone.dir())]);
        call("detach the clone", &["detach", "pv-clone", "node"]);
        call(DELETE_CLONE, &["deletevolume", &by_id(&j)]);
        call(DELETE_SNAPSHOT, &["deletesnapshot", &by_snapshot(&snapshot)]);
        life.node.halt();
        let clone = cloned["id"].as_str().unwrap().to_owned();
        Branched { life, recording: recorder.stop().unwrap(), snapshot, clone }
    }
}

impl Branched<'_> {
    /// After a power cut: called again, all is as it was acknowledged.
    pub fn recover(&self, crash: &Crash<'_>) -> Result<(), String> {
        let (life, story, snapshot) = (self.life, crash.story, &self.snapshot);
        let devices: Vec<&Path> = crash.disks.iter().map(|disk| disk.device()).collect();
        life.disks.up(life.node, &devices)?;
        if !story.begun(CREATE) {
            return Ok(());
        }
        // Asked for anew it would be there again.
        if story.done(DELETE_CLONE) && self.is_cloned()? {
            return Err("the clone was deleted and is offered".to_owned());
        }
        let (volume, clone) = (life.volume("a"), life.volume("clone"));
        if story.begun(SNAPSHOT) {
            let j = volume.kept(&volume.call(&["createvolume", &volume.wish()])?);
            if story.begun(DELETE_SNAPSHOT) {
                let offered = self.listed()?;
                if story.done(DELETE_SNAPSHOT) && offered.is_some() {
                    return Err("the snapshot was deleted and is offered".to_owned());
                }
                volume.call(&["deletesnapshot", &by_snapshot(snapshot)])?;
                if self.listed()?.is_some() {
                    return Err("deleted once more, the snapshot is still offered".to_owned());
                }
            } else {
                self.snapshot_is_there(&volume, &clone, &j, story)?;
            }
        }
        volume.is_there(story, &[WRITE, WRITE_MORE], None)
    }

    /// The snapshot that is offered.
    fn listed(&self) -> Result<Option<String>, String> {
        let all = self.life.node.call(&["listsnapshots", "{}"])?;
        Ok(all["snapshots"].as_array().and_then(|all| all.first()).map(of))
    }

    /// Whether the clone is offered.
    fn is_cloned(&self) -> Result<bool, String> {
        let all = self.life.node.call(&["listvolumes", "{}"])?;
        Ok(all["volumes"].as_array().is_some_and(|all| all.iter().any(|it| it["id"] == *self.clone)))
    }

    fn snapshot_is_there(
        &self,
        volume: &Volume<'_>,
        clone: &Volume<'_>,
        j: &str,
        story: Story<'_>,
    ) -> Result<(), String> {
        let before = self.listed()?;
        let snapshot = of(&volume.call(&["createsnapshot", &wish(j)])?);
        if story.done(SNAPSHOT) && before.as_ref() != Some(&snapshot) {
            return Err(format!("the snapshot {snapshot} was acknowledged, and {before:?} is offered"));
        }
        let j = clone.kept(&clone.call(&["createvolume", &from(clone, &snapshot)])?);
        if !story.begun(DELETE_CLONE) {
            let it = device(&clone.call(&["attach", &j, "node"])?);
            clone.call(&["mountdevice", text(&clone.dir()), &it, &j])?;
            self.clone_holds(clone, before.is_some(), story)?;
            clone.call(&["unmountdevice", text(&clone.dir())])?;
            clone.call(&["detach", "pv-clone", "node"])?;
        }
        clone.call(&["deletevolume", &by_id(&j)]).map(drop)
    }

    /// What was written before the snapshot, whole; nothing of what came after it, unless it had to be taken anew.
    fn clone_holds(&self, clone: &Volume<'_>, kept: bool, story: Story<'_>) -> Result<(), String> {
        let read = |file: &str| fs::read(clone.dir().join(file)).unwrap_or_default();
        let whole = |file: &str| read(file) == content("a", file, WRITTEN);
        if !whole(WRITE) {
            return Err("the clone lacks what was written before the snapshot".to_owned());
        }
        if kept && !read(WRITE_MORE).is_empty() {
            return Err("the clone has what was written after the snapshot".to_owned());
        }
        if story.done(WRITE_CLONE) && !whole(WRITE_CLONE) {
            return Err("what was written to the clone was acknowledged and is lost".to_owned());
        }
        Ok(())
    }
}

/// What `createsnapshot` is called with.
fn wish(j: &str) -> String {
    let j: Value = serde_json::from_str(j).unwrap();
    json!({"flexvol/name": "snapshot", "flexvol/id": j["flexvol/id"]}).to_string()
}

/// What `createvolume` is called with for the clone.
fn from(clone: &Volume<'_>, snapshot: &str) -> String {
    let mut wish: Value = serde_json::from_str(&clone.wish()).unwrap();
    wish["flexvol/sourceSnapshot"] = snapshot.into();
    wish.to_string()
}

fn by_snapshot(snapshot: &str) -> String {
    json!({"flexvol/snapshot": snapshot}).to_string()
}

fn of(answer: &Value) -> String {
    answer["snapshot"].as_str().unwrap_or_default().to_owned()
}
