//! The ways of a volume through the bridge: staged, attached and bound, attached and mounted by the driver, mounted alone, as a device.

use flexvolume_testkit::scripted::{Answer, Script, Scripted};
use serde_json::json;

use crate::{
    bed::Bed,
    command,
    scripts::{self, image},
    volume::Volume,
};

/// A way, a bed where it is gone, and a volume.
pub struct Flow {
    pub name: &'static str,
    pub bed: Bed,
    pub volume: Volume,
    /// The script, where the driver is one.
    pub script: Option<Scripted>,
    pub is_staged: bool,
}

/// Attaches an image of its own; what is mounted is left to the host.
fn attachable(bed: &command::Bed) -> Script {
    let file = bed.sandbox.path().join("disk.img");
    image(&file, 16);
    scripts::attachable(&file)
}

/// The same with a `mount` of its own: the device once more.
fn mounting(bed: &command::Bed) -> Script {
    let file = bed.sandbox.path().join("disk.img");
    let mount = format!(r#"mount "$(losetup -n -O NAME -j {} | head -n 1)" "$2""#, file.display());
    attachable(bed).on("mount", Answer::success().run(mount)).on("unmount", Answer::success().run(r#"umount "$2""#))
}

/// Binds a directory.
pub fn direct(bed: &command::Bed) -> Script {
    let share = bed.sandbox.dir("share").unwrap();
    Script::sh()
        .on("init", Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}})))
        .on("mount", Answer::success().run(format!(r#"mount --bind {} "$2""#, share.display())))
        .on("unmount", Answer::success().run(r#"umount "$2""#))
}

impl Flow {
    /// A staged driver: our own loopback.
    pub fn staged() -> Option<Self> {
        let bed = Bed::of("loopback")?;
        let volume = bed.create("data");
        Some(Self { name: "staged", bed, volume, script: None, is_staged: true })
    }

    fn scripted(name: &'static str, script: fn(&command::Bed) -> Script, is_staged: bool) -> Option<Self> {
        let (bed, driver) = Bed::script(script)?;
        let volume = Volume::named("data");
        let volume = if is_staged { volume } else { volume.of_any_type() };
        Some(Self { name, bed, volume, script: Some(driver), is_staged })
    }

    /// A driver with attach, and nothing else.
    pub fn attachable() -> Option<Self> {
        Self::scripted("attachable", attachable, true)
    }

    /// One with attach and `mount`.
    pub fn mounting() -> Option<Self> {
        Self::scripted("attachable with mount", mounting, true)
    }

    /// One without attach.
    pub fn direct() -> Option<Self> {
        Self::scripted("direct", direct, false)
    }

    /// All four, one after the other; none where this machine cannot.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::staged, Self::attachable, Self::mounting, Self::direct].into_iter().map_while(|flow| flow())
    }

    /// Stages, where that is a step of this way.
    #[track_caller]
    pub fn stage(&self) {
        if self.is_staged {
            self.bed.stage(&self.volume).unwrap_or_else(|status| panic!("{}: stage: {status:?}", self.name));
        }
    }

    #[track_caller]
    pub fn unstage(&self) {
        if self.is_staged {
            self.bed.unstage(&self.volume).unwrap_or_else(|status| panic!("{}: unstage: {status:?}", self.name));
        }
    }

    #[track_caller]
    pub fn publish(&self, pod: &str) {
        let came = self.bed.publish(&self.volume, pod);
        came.unwrap_or_else(|status| panic!("{}: publish for {pod}: {status:?}", self.name));
    }

    #[track_caller]
    pub fn unpublish(&self, pod: &str) {
        let came = self.bed.unpublish(&self.volume, pod);
        came.unwrap_or_else(|status| panic!("{}: unpublish of {pod}: {status:?}", self.name));
    }
}
