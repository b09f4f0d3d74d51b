//! The life of a volume, step by step, and what has to be true of it after a power cut at any moment.

use std::fs;
use std::path::{Path, PathBuf};

use flexvolume_testkit::powercut::{Recorder, Recording, Source, Story};
use serde_json::{Value, json};

use super::node::{Node, Omitted, content, marker, write_durably};
use super::sweep::Crash;
use crate::tools::text;

/// Names of the steps in the story.
pub(super) const CREATE: &str = "create";
pub(super) const MOUNT: &str = "mount";
pub(super) const WRITE: &str = "write";
const EXPAND: &str = "expand";
const EXPAND_FS: &str = "expand its file system";
pub(super) const WRITE_MORE: &str = "write more";
const DELETE: &str = "delete";
const CREATE_NEXT: &str = "create next";
const MOUNT_NEXT: &str = "mount next";
const WRITE_NEXT: &str = "write next";

/// How much a tenant writes, in KiB.
pub(super) const WRITTEN: usize = 64;

/// The disks of a node, and how a driver's storage comes up on them.
pub trait Disks {
    /// Brings up what the driver needs, on these devices; the first time and after each power cut.
    fn up(&self, node: &Node, devices: &[&Path]) -> Result<(), String>;

    /// What a class of such volumes says.
    fn parameters(&self) -> Value;

    /// Bytes of a volume, and of it when it has grown.
    fn sizes(&self) -> (u64, u64);
}

/// A node on which volumes of a driver live.
pub struct Life<'a> {
    pub node: &'a Node,
    pub disks: &'a dyn Disks,
}

/// A life that was lived and recorded.
pub struct Lived<'a> {
    life: &'a Life<'a>,
    pub recording: Recording,
    /// What a host kept of the first volume.
    first: String,
}

/// A volume, as a host knows it.
pub(super) struct Volume<'a> {
    life: &'a Life<'a>,
    tenant: &'static str,
}

impl<'a> Life<'a> {
    pub(super) fn volume(&'a self, tenant: &'static str) -> Volume<'a> {
        Volume { life: self, tenant }
    }

    /// Lives it once, recorded. What `omitted` says is left out of what the driver does.
    pub fn record(&'a self, images: &[Source<'_>], omitted: Omitted) -> Lived<'a> {
        let node = self.node;
        let recorder = Recorder::start(&node.work("logs"), images).unwrap();
        let devices: Vec<&Path> = (0..images.len()).map(|n| recorder.device(n)).collect();
        self.disks.up(node, &devices).unwrap();
        let call = |what: &str, words: &[&str]| node.recorded(&recorder, omitted, what, words);
        let write = |what: &str, file: PathBuf, data: Vec<u8>| {
            recorder.begin(what).unwrap();
            write_durably(&file, &data);
            recorder.done(what).unwrap();
        };
        let (first, next) = (self.volume("a"), self.volume("b"));
        let (old, new) = self.sizes();

        let dir = first.dir();
        let j = first.kept(&call(CREATE, &["createvolume", &first.wish()]));
        let device = device(&call("attach", &["attach", &j, "node"]));
        call(MOUNT, &["mountdevice", text(&dir), &device, &j]);
        write(WRITE, dir.join(WRITE), content("a", WRITE, WRITTEN));
        call(EXPAND, &["expandvolume", &j, text(&dir), &new, &old]);
        call(EXPAND_FS, &["expandfs", &j, &device, text(&dir), &new, &old]);
        write(WRITE_MORE, dir.join(WRITE_MORE), content("a", WRITE_MORE, WRITTEN));
        call("unmount", &["unmountdevice", text(&dir)]);
        call("detach", &["detach", "pv-a", "node"]);
        call(DELETE, &["deletevolume", &by_id(&j)]);
        let first = j;

        let dir = next.dir();
        let j = next.kept(&call(CREATE_NEXT, &["createvolume", &next.wish()]));
        let device = self::device(&call("attach next", &["attach", &j, "node"]));
        call(MOUNT_NEXT, &["mountdevice", text(&dir), &device, &j]);
        write(WRITE_NEXT, dir.join(WRITE_NEXT), content("b", WRITE_NEXT, WRITTEN));
        node.halt();
        Lived { life: self, recording: recorder.stop().unwrap(), first }
    }

    fn sizes(&self) -> (String, String) {
        let (old, new) = self.disks.sizes();
        (old.to_string(), new.to_string())
    }
}

impl Lived<'_> {
    /// After a power cut: the driver is called again, as a host does that has seen no answer, and all is as it was
    /// acknowledged.
    pub fn recover(&self, crash: &Crash<'_>) -> Result<(), String> {
        let story = crash.story;
        let devices: Vec<&Path> = crash.disks.iter().map(|disk| disk.device()).collect();
        self.life.disks.up(self.life.node, &devices)?;
        let (first, next) = (self.life.volume("a"), self.life.volume("b"));
        if story.begun(DELETE) {
            first.goes(&self.first, story)?;
            next.is_there(story, &[WRITE_NEXT], Some("a"))
        } else if story.begun(CREATE) {
            first.is_there(story, &[WRITE, WRITE_MORE], None)
        } else {
            Ok(())
        }
    }
}

impl Volume<'_> {
    pub(super) fn dir(&self) -> PathBuf {
        self.life.node.dir(&format!("mounts/{}", self.tenant))
    }

    pub(super) fn call(&self, words: &[&str]) -> Result<Value, String> {
        self.life.node.call(words)
    }

    /// What `createvolume` is called with. The second is as large as the first became, so that it gets all its blocks.
    pub(super) fn wish(&self) -> String {
        let (small, large) = self.life.disks.sizes();
        let mut wish = self.life.disks.parameters();
        wish["flexvol/name"] = format!("volume-{}", self.tenant).into();
        wish["flexvol/requiredBytes"] = if self.tenant == "a" { small } else { large }.to_string().into();
        wish.to_string()
    }

    /// What every later call gets, by the answer of `createvolume`.
    pub(super) fn kept(&self, created: &Value) -> String {
        let mut all = created["options"].as_object().cloned().unwrap_or_default();
        all.insert("flexvol/id".into(), created["id"].clone());
        all.insert("kubernetes.io/fsType".into(), "ext4".into());
        all.insert("kubernetes.io/readwrite".into(), "rw".into());
        all.insert("kubernetes.io/pvOrVolumeName".into(), format!("pv-{}", self.tenant).into());
        Value::from(all).to_string()
    }

    /// Called again from its creation on, it holds what was acknowledged and nothing that nobody wrote; no block of
    /// it is that of the tenant `before`.
    pub(super) fn is_there(&self, story: Story<'_>, files: &[&str], before: Option<&str>) -> Result<(), String> {
        let j = self.kept(&self.call(&["createvolume", &self.wish()])?);
        let device = device(&self.call(&["attach", &j, "node"])?);
        if let Some(before) = before
            && let Some(at) = find(Path::new(&device), marker(before).as_bytes())?
        {
            return Err(format!("the next tenant reads the words of the one before, at byte {at}"));
        }
        let device = self::device(&self.call(&["waitforattach", &device, &j])?);
        let dir = self.dir();
        self.call(&["mountdevice", text(&dir), &device, &j])?;
        self.holds(story, files)?;
        if self.tenant == "a" && story.begun(EXPAND) {
            let (old, new) = self.life.sizes();
            if !story.done(EXPAND_FS) {
                self.call(&["expandvolume", &j, text(&dir), &new, &old])?;
                self.call(&["expandfs", &j, &device, text(&dir), &new, &old])?;
            }
            let size = rustix::fs::statvfs(&dir).map_err(|e| e.to_string())?;
            let (bytes, least) = (size.f_blocks * size.f_frsize, self.life.disks.sizes().1 * 8 / 10);
            if bytes < least {
                return Err(format!("expanded to {new} bytes, it has {bytes}"));
            }
        }
        self.call(&["unmountdevice", text(&dir)])?;
        self.call(&["detach", &format!("pv-{}", self.tenant), "node"])?;
        Ok(())
    }

    pub(super) fn holds(&self, story: Story<'_>, files: &[&str]) -> Result<(), String> {
        let dir = self.dir();
        for file in files {
            let found = fs::read(dir.join(file)).unwrap_or_default();
            let written = content(self.tenant, file, WRITTEN);
            if story.done(file) && found != written {
                let same = found.iter().zip(written).take_while(|(a, b)| **a == *b).count();
                return Err(format!(
                    "\"{file}\" was acknowledged and is lost: {} bytes, {same} of them right",
                    found.len()
                ));
            }
            if !story.begun(file) && !found.is_empty() {
                return Err(format!("\"{file}\" was never written and is there"));
            }
        }
        for entry in fs::read_dir(&dir).map_err(|e| e.to_string())? {
            let name = entry.map_err(|e| e.to_string())?.file_name().into_string().unwrap_or_default();
            if name != "lost+found" && !files.contains(&name.as_str()) {
                return Err(format!("somebody else's file: {name:?}"));
            }
        }
        Ok(())
    }

    /// Its deletion was asked for: as long as it is offered it is whole, and asked to go once more, it goes.
    fn goes(&self, j: &str, story: Story<'_>) -> Result<(), String> {
        if let Ok(answer) = self.call(&["attach", j, "node"]) {
            if story.done(DELETE) {
                return Err("it was deleted and is offered".to_owned());
            }
            let dir = self.dir();
            self.call(&["mountdevice", text(&dir), &device(&answer), j])?;
            self.holds(story, &[WRITE, WRITE_MORE])?;
            self.call(&["unmountdevice", text(&dir)])?;
            self.call(&["detach", "pv-a", "node"])?;
        }
        self.call(&["deletevolume", &by_id(j)]).map(drop)
    }
}

/// What a host that knows nothing else can say of a volume.
pub(super) fn by_id(j: &str) -> String {
    let j: Value = serde_json::from_str(j).unwrap();
    json!({"flexvol/id": j["flexvol/id"]}).to_string()
}

/// Where these bytes are in a device.
fn find(device: &Path, needle: &[u8]) -> Result<Option<usize>, String> {
    let all = fs::read(device).map_err(|e| format!("{}: {e}", device.display()))?;
    // Every line of a tenant's file has the marker, so that looking at what is not zero is enough.
    let blocks = all.chunks(4096).enumerate().filter(|(_, block)| block.iter().any(|byte| *byte != 0));
    let seen = blocks.filter(|(_, block)| block.windows(needle.len()).any(|it| it == needle));
    Ok(seen.map(|(n, _)| n * 4096).next())
}

pub(super) fn device(answer: &Value) -> String {
    answer["device"].as_str().unwrap_or_default().to_owned()
}
