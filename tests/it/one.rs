//! One driver, one pod, one volume: what most tests of a driver's behaviour begin with.

use std::{
    fs,
    path::{Path, PathBuf},
};

use flexvolume_testkit::scripted::{Call, Script, Scripted};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, Ran, pod},
    scripts::{attachable, image},
};

/// What a scripted driver runs to mount at its first argument.
pub const MOUNT: &str = r#"mount -t tmpfs none "$2""#;
/// The same for what it unmounts.
pub const UMOUNT: &str = r#"umount "$2""#;

/// A bed with this driver, and the pod `web` whose volume `data` it serves.
pub struct One {
    pub bed: Bed,
    pub driver: Scripted,
    pub file: String,
}

impl One {
    /// The driver `v/d`, with a volume that says nothing more.
    pub fn new(script: Script) -> Option<Self> {
        Self::with(script, "{driver: v/d}")
    }

    /// The driver `v/d`, with a volume as written.
    pub fn with(script: Script, source: &str) -> Option<Self> {
        let bed = Bed::new()?;
        let driver = bed.script("v/d", script);
        let file = bed.manifest("pod.yaml", &pod("web", &[("data", source)]));
        Some(Self { bed, driver, file })
    }

    /// An attachable driver over an image of 16 MiB, changed as wanted; by itself it knows attach and detach only.
    pub fn disk(change: impl FnOnce(Script) -> Script) -> Option<Self> {
        let bed = Bed::new()?;
        let disk = bed.sandbox.path().join("image");
        image(&disk, 16);
        let driver = bed.script("v/d", change(attachable(&disk)));
        let file = bed.manifest("pod.yaml", &pod("web", &[("data", "{driver: v/d}")]));
        Some(Self { bed, driver, file })
    }

    /// Writes the manifest anew.
    pub fn wants(&self, text: &str) {
        fs::write(&self.file, text).unwrap();
    }

    /// The manifest with `spec` of the pod changed to hold this as well.
    pub fn wants_also(&self, spec: &str) {
        self.wants(&fs::read_to_string(&self.file).unwrap().replace("spec:\n", &format!("spec:\n  {spec}\n")));
    }

    /// Settings for this driver alone.
    pub fn set(&self, settings: Value) {
        self.bed.manifest("flexvol.json", &json!({"drivers": {"v/d": settings}}).to_string());
    }

    pub fn up(&self) -> Ran {
        self.bed.run(["up", &self.file])
    }

    pub fn down(&self) -> Ran {
        self.bed.run(["down", &self.file])
    }

    /// Up without a failure; gives what was said.
    pub fn comes(&self, what: &str) -> Ran {
        let ran = self.up();
        assert_eq!(ran.code, 0, "{what}: {ran:?}");
        ran
    }

    /// Down without a failure, and nothing left.
    pub fn goes(&self, what: &str) {
        let down = self.down();
        assert_eq!(down.code, 0, "{what}: {down:?}");
        self.bed.assert_clean();
    }

    /// Up and down; gives what was said on the way up.
    pub fn works(&self, what: &str) -> Ran {
        let ran = self.comes(what);
        self.goes(what);
        ran
    }

    /// The pod's directory of the volume.
    pub fn path(&self) -> PathBuf {
        self.bed.path_of("web", "data")
    }

    /// The volume's directory of the node.
    pub fn global(&self) -> PathBuf {
        self.bed.sandbox.root().join("plugins/kubernetes.io/flexvolume/v/d/mounts/data")
    }

    pub fn is_mounted(&self) -> bool {
        is_mounted(&self.path())
    }

    /// The verbs called, `init` apart.
    pub fn verbs(&self) -> Vec<String> {
        self.driver.verbs().unwrap().into_iter().filter(|verb| verb != "init").collect()
    }

    pub fn count(&self, verb: &str) -> usize {
        self.verbs().iter().filter(|other| *other == verb).count()
    }

    /// The calls of one verb.
    pub fn calls(&self, verb: &str) -> Vec<Call> {
        self.driver.calls().unwrap().into_iter().filter(|call| call.verb() == verb).collect()
    }

    /// The options of the last call of a verb.
    pub fn options(&self, verb: &str) -> Value {
        let call = self.calls(verb).pop().unwrap_or_else(|| panic!("{verb} was not called"));
        options_of(&call).unwrap_or_else(|| panic!("{verb} had no options: {:?}", call.argv))
    }
}

/// The options of a call, if it has any.
pub fn options_of(call: &Call) -> Option<Value> {
    call.argv.iter().find(|argument| argument.starts_with('{')).map(|json| serde_json::from_str(json).unwrap())
}

pub fn is_mounted(path: &Path) -> bool {
    flexvolume_linux::mount::table::at(path).unwrap().is_some()
}
