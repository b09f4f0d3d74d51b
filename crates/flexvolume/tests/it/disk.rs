//! A staged driver over real loop devices that can be told to die at its n-th step, and the machine it runs on.

use std::{
    cell::{Cell, RefCell},
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use flexvolume::{
    Answered, Attach, Bytes, Detach, Device, Dispatcher, Driver, ExpandFs, ExpandVolume, Expanded, Extension, Failure,
    MountDevice, Options, OptionsExt, Result, UnmountDevice, WaitForAttach, World,
};
use flexvolume_linux::{
    loopdev,
    mount::{Flags, FsMount, Mounted, Unmount, mount, table, unmount},
};
use flexvolume_testkit::{Sandbox, is_root, skip};

/// The option `image` names the file; `wrong` names a verb that shall fail after its work is done.
#[derive(Default)]
pub(crate) struct Disk {
    /// The verbs that were called, with what they were called for.
    pub(crate) heard: RefCell<Vec<String>>,
    /// Panics at this step; each verb has one before and one after its work.
    pub(crate) dies_at: Cell<Option<u32>>,
    steps: Cell<u32>,
}

impl Disk {
    fn step(&self) {
        self.steps.set(self.steps.get() + 1);
        if self.dies_at.get() == Some(self.steps.get()) {
            panic!("killed");
        }
    }

    fn does<T>(&self, what: String, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.heard.borrow_mut().push(what);
        self.step();
        let done = work()?;
        self.step();
        Ok(done)
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.heard.take()
    }
}

fn tag(storage: &str) -> String {
    // The last bytes hold the sandbox's name and the image's.
    storage[storage.len().saturating_sub(60)..].to_owned()
}

impl Driver for Disk {
    const EXTENSIONS: &'static [Extension] = &[Extension::Staged, Extension::Local, Extension::Expand];

    fn storage(&self, options: &Options, _: &World) -> Result<String> {
        options.required("image")
    }

    fn attach(&self, call: &Attach, world: &World) -> Result<Device> {
        self.does("attach".into(), || {
            let image = self.storage(&call.options, world)?;
            if let Some(there) = loopdev::find(&tag(&image))? {
                return Ok(Device(there.device.to_string_lossy().into_owned()));
            }
            let file = File::options().read(true).write(true).open(&image)?;
            let device = loopdev::attach(file, &tag(&image), false)?;
            Ok(Device(device.to_string_lossy().into_owned()))
        })
    }

    fn waitforattach(&self, call: &WaitForAttach, _: &World) -> Result<Device> {
        self.does("waitforattach".into(), || Ok(call.device.clone()))
    }

    fn mountdevice(&self, call: &MountDevice, _: &World) -> Result<()> {
        self.does(format!("mountdevice {}", if call.options.read_only() { "ro" } else { "rw" }), || {
            let source = Some(call.device.0.as_str());
            let flags = Flags::default();
            mount(&FsMount { fs_type: "ext4", source, options: &[], flags }, call.dir.as_path())?;
            match call.options.get("wrong") {
                Some("mountdevice") => Err(Failure::internal("it broke after the mount")),
                _ => Ok(()),
            }
        })
    }

    fn unmountdevice(&self, call: &UnmountDevice, _: &World) -> Result<()> {
        self.does("unmountdevice".into(), || Ok(unmount(call.dir.as_path(), Unmount::Plain)?))
    }

    fn detach(&self, call: &Detach, world: &World) -> Result<()> {
        self.does("detach".into(), || {
            let Some(known) = world.attachments().get(&call.name)? else { return Ok(()) };
            let there = loopdev::find(&tag(&known.storage))?.map(|there| there.device);
            // Without the records there is only what the mount table said.
            let device = there.or_else(|| Some(known.device).filter(|it| !it.is_empty()).map(PathBuf::from));
            device.map_or(Ok(()), |device| Ok(loopdev::detach(&device, Duration::from_secs(5))?))
        })
    }

    fn expandvolume(&self, call: &ExpandVolume, _: &World) -> Result<Expanded> {
        self.does(format!("expandvolume {}", call.new), || {
            let image: String = call.options.required("image")?;
            File::options().write(true).open(image)?.set_len(call.new.0)?;
            Ok(Expanded { bytes: Some(call.new.0) })
        })
    }

    fn expandfs(&self, call: &ExpandFs, _: &World) -> Result<()> {
        self.does("expandfs".into(), || Ok(loopdev::grow(Path::new(&call.device.0))?))
    }
}

/// A machine of its own: folders for pods, images, and the driver's notes.
pub(crate) struct Machine {
    pub(crate) sandbox: Sandbox,
}

impl Machine {
    /// `None`, said aloud, where mounting is not possible.
    pub(crate) fn new() -> Option<Self> {
        if !is_root() {
            skip("loop devices and mounts need root");
            return None;
        }
        Some(Self { sandbox: Sandbox::new().unwrap() })
    }

    /// A formatted image of 16 MiB.
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        let image = self.sandbox.path().join(name);
        File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").arg(&image).status().unwrap();
        assert!(made.success());
        image
    }

    /// A pod's directory of the volume, made as hosts make it.
    pub(crate) fn place(&self, pod: &str, volume: &str) -> PathBuf {
        let place = self.sandbox.path().join("pods").join(pod).join(volume);
        fs::create_dir_all(&place).unwrap();
        place
    }

    pub(crate) fn options(&self, name: &str, image: &Path, more: &[(&str, &str)]) -> String {
        let mut options = Options::default();
        options.insert("kubernetes.io/pvOrVolumeName", name);
        options.insert("kubernetes.io/readwrite", "rw");
        options.insert("image", image.to_str().unwrap());
        for (key, value) in more {
            options.insert(*key, *value);
        }
        options.render().to_string()
    }

    pub(crate) fn call(&self, driver: &impl Driver, argv: &[&str]) -> Answered {
        let argv = std::iter::once("/exec/test~disk/disk").chain(argv.iter().copied());
        Dispatcher::new(argv).with_env("FLEXVOL_RUN", self.sandbox.path().join("run")).dispatch(driver)
    }

    pub(crate) fn mount(&self, driver: &impl Driver, place: &Path, options: &str) -> Answered {
        self.call(driver, &["mount", place.to_str().unwrap(), options])
    }

    pub(crate) fn unmount(&self, driver: &impl Driver, place: &Path) -> Answered {
        self.call(driver, &["unmount", place.to_str().unwrap()])
    }

    pub(crate) fn mounted(&self, place: &Path) -> Vec<Mounted> {
        table::stacked(place).unwrap()
    }

    /// How many of our loop devices there are.
    pub(crate) fn loops(&self) -> usize {
        self.sandbox.loops().unwrap().len()
    }

    /// Nothing is mounted, attached, recorded or locked any more.
    pub(crate) fn assert_clean(&self, when: &str) {
        assert_eq!(self.sandbox.mounts().unwrap().len(), 0, "mounts {when}");
        assert_eq!(self.loops(), 0, "loop devices {when}");
        let left = files(&self.sandbox.path().join("run"));
        assert!(left.is_empty(), "{left:?} {when}");
    }

    pub(crate) fn lose_records(&self) {
        fs::remove_dir_all(self.sandbox.path().join("run")).unwrap();
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

pub(crate) fn ok(answered: &Answered) {
    assert!(answered.text.contains(r#""status":"Success""#), "{}", answered.text);
}

pub(crate) fn bytes(mib: u64) -> String {
    Bytes(mib << 20).to_string()
}
