//! A volume's life as Kubernetes leads it: each step with what a host does around it and by default.

use std::{fs, io, path::Path};

use flexvolume_linux::{
    ErrorKind,
    mount::{self, Flags, Unmount},
};
use flexvolume_protocol::{
    Attach, Came, Code, Detach, Device, Dir, Extension, IsAttached, Mount, MountDevice, Options,
    Unmount as UnmountVerb, UnmountDevice, UserOptions, WaitForAttach,
};

use crate::{
    bed::{Bed, Pod, Volume},
    blame::{Cause, because},
    stop::{Stop, Verdict, fault, skip},
    trouble::Trouble,
};

impl Bed<'_> {
    /// Whether strangers attach before they mount.
    pub(crate) fn attaches(&self) -> bool {
        self.init.capabilities.attach
    }

    /// Checks of `attach` and its like are skipped where the driver has none.
    pub(crate) fn attaching(&self) -> Verdict {
        if self.attaches() || self.has(Extension::Staged) {
            return Ok(());
        }
        skip("the driver says attach: false, so nobody calls this")
    }

    /// `attach`; "Not supported" is an empty device.
    pub(crate) fn attach(&mut self, volume: &Volume) -> Result<Device, Stop> {
        self.up.attached.insert(volume.name.clone());
        let call = Attach { options: self.options(volume), node: self.node() };
        self.first("attach.succeeds", |bed| Ok(bed.caller.ask(&call)?.done("attach")?.unwrap_or_default()))
    }

    /// `waitforattach`; "Not supported" is the device as it came.
    pub(crate) fn wait(&mut self, volume: &Volume, device: &Device) -> Result<Device, Stop> {
        let call = WaitForAttach { device: device.clone(), options: self.options(volume) };
        Ok(self.caller.ask(&call)?.done("waitforattach")?.unwrap_or_else(|| device.clone()))
    }

    /// What `isattached` says; nothing if it is not supported.
    pub(crate) fn is_attached(&mut self, volume: &Volume) -> Result<Option<bool>, Stop> {
        let call = IsAttached { options: self.options(volume), node: self.node() };
        Ok(self.caller.ask(&call)?.done("isattached")?.map(|attached| attached.0))
    }

    /// `mountdevice`. Whether the driver did it: by default the host would format and mount, which is not the driver's.
    pub(crate) fn mount_device(&mut self, volume: &Volume, device: &Device) -> Result<bool, Stop> {
        let dir = self.global(volume)?;
        make(dir.as_path())?;
        self.up.staged.insert(volume.name.clone(), device.clone());
        let call = MountDevice { dir, device: device.clone(), options: self.options(volume) };
        Ok(self.caller.ask(&call)?.done("mountdevice")?.is_some())
    }

    /// Attached, waited for, and mounted for the node.
    pub(crate) fn stage(&mut self, volume: &Volume) -> Result<Device, Stop> {
        let device = self.attach(volume)?;
        let device = self.wait(volume, &device)?;
        if !self.mount_device(volume, &device)? && !device.0.is_empty() {
            return skip(
                "the driver leaves it to the host to format and mount its device, which the judge does not do",
            );
        }
        Ok(device)
    }

    /// `mount` with these options; by default the host binds what is mounted for the node.
    pub(crate) fn mount_with(&mut self, volume: &Volume, n: usize, options: Options) -> Verdict {
        let pod = self.pod(n, volume)?;
        make(pod.dir.as_path())?;
        self.up.pods.insert(n);
        let heard = self.caller.ask(&Mount { dir: pod.dir.clone(), options })?;
        self.host_mounts = matches!(heard.came, Ok(Came::NotSupported));
        if heard.done("mount")?.is_some() {
            return Ok(());
        }
        if !self.attaches() {
            return fault(
                "mount answered \"Not supported\", and the driver says attach: false: nothing can mount the volume",
            );
        }
        let global = self.global(volume)?;
        Ok(mount::bind(global.as_path(), pod.dir.as_path(), Flags::default())?)
    }

    /// `mount` for the n-th pod.
    pub(crate) fn mount(&mut self, volume: &Volume, n: usize) -> Verdict {
        let pod = self.pod(n, volume)?;
        self.mount_with(volume, n, self.pod_options(volume, &pod, false))
    }

    /// All that has to be before `mount` can be called.
    pub(crate) fn ready(&mut self, volume: &Volume) -> Verdict {
        if self.attaches() && !self.up.staged.contains_key(&volume.name) {
            self.stage(volume)?;
        }
        Ok(())
    }

    /// Up for the n-th pod, and really mounted.
    pub(crate) fn up(&mut self, volume: &Volume, n: usize) -> Result<Pod, Stop> {
        self.ready(volume)?;
        self.mount(volume, n)?;
        let pod = self.pod(n, volume)?;
        if self.mounted(&pod.dir)?.is_none() {
            return fault(format!("mount succeeded, and nothing is mounted at {}", pod.dir.as_str()));
        }
        Ok(pod)
    }

    /// `unmount`; by default the host unmounts. The folder goes as hosts have it go.
    pub(crate) fn unmount(&mut self, pod: &Pod) -> Verdict {
        let heard = self.caller.ask(&UnmountVerb { dir: pod.dir.clone() })?;
        if heard.done("unmount")?.is_none() {
            by_default(&pod.dir)?;
        }
        Ok(())
    }

    /// Unmounted, with nothing mounted there and nothing in the folder.
    pub(crate) fn down(&mut self, volume: &Volume, n: usize) -> Verdict {
        let pod = self.pod(n, volume)?;
        self.unmount(&pod)?;
        self.is_clean("unmount", &pod.dir)?;
        self.up.pods.remove(&n);
        remove(&pod.dir);
        Ok(())
    }

    /// Nothing is mounted there, and nothing lies there.
    pub(crate) fn is_clean(&self, verb: &str, dir: &Dir) -> Verdict {
        if let Some(mounted) = self.mounted(dir)? {
            return fault(format!("after {verb} {} is still mounted at {}", mounted.source, dir.as_str()));
        }
        match fs::read_dir(dir.as_path()).map(|mut all| all.next().is_some()) {
            Ok(true) => fault(format!("after {verb} there are files in {}", dir.as_str())),
            Ok(false) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Trouble::io("look into", dir.as_path(), error).into()),
        }
    }

    /// `unmountdevice`; by default the host unmounts.
    pub(crate) fn unmount_device(&mut self, volume: &Volume) -> Verdict {
        let dir = self.global(volume)?;
        if self.caller.ask(&UnmountDevice { dir: dir.clone() })?.done("unmountdevice")?.is_none() {
            by_default(&dir)?;
        }
        Ok(())
    }

    /// `detach`, which knows the name alone.
    pub(crate) fn detach(&mut self, volume: &Volume) -> Verdict {
        let call = Detach { name: volume.name.clone(), node: self.node() };
        self.caller.ask(&call)?.done("detach").map(drop)
    }

    /// Not mounted for the node any more, and detached.
    pub(crate) fn unstage(&mut self, volume: &Volume) -> Verdict {
        if self.up.staged.contains_key(&volume.name) {
            let dir = self.global(volume)?;
            // Hosts do not call where nothing is mounted.
            if self.mounted(&dir)?.is_some() {
                self.unmount_device(volume)?;
            }
            self.is_clean("unmountdevice", &dir)?;
            remove(&dir);
            self.up.staged.remove(&volume.name);
        }
        if self.up.attached.contains(&volume.name) {
            self.detach(volume)?;
            self.up.attached.remove(&volume.name);
        }
        Ok(())
    }

    /// Does what only `check` is about as long as it never worked.
    pub(crate) fn first<T>(
        &mut self,
        check: &'static str,
        act: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        if let Some(why) = &self.blame.refused {
            return Err(Stop::Skip(why.clone()));
        }
        let is_its = self.blame.check == check;
        if !is_its && self.blame.causes.iter().any(|cause| cause.check == check) {
            return Err(Stop::Skip(because(check)));
        }
        match act(self) {
            Ok(done) => {
                if !self.blame.worked.contains(&check) {
                    self.blame.worked.push(check);
                }
                Ok(done)
            }
            Err(Stop::Fault(seen)) if !is_its && !self.blame.worked.contains(&check) => {
                let calls = self.caller.since(self.blame.since);
                self.blame.causes.push(Cause { check, seen: self.caller.clean(&seen), calls });
                Err(Stop::Skip(because(check)))
            }
            Err(stop) => Err(stop),
        }
    }

    /// A volume that cannot be made of what the description says is no fault of the driver's, as long as none was made.
    pub(crate) fn refusal(&mut self, check: &'static str, code: Option<Code>, seen: &str) -> Option<Stop> {
        if code != Some(Code::Invalid) || self.blame.worked.contains(&check) {
            return None;
        }
        let why = format!("the driver refuses what the description says under `create`: {}", self.caller.clean(seen));
        self.blame.refused = Some(why.clone());
        Some(Stop::Skip(why))
    }

    /// Makes a volume of its own.
    pub(crate) fn create(
        &mut self,
        name: &str,
        parameters: &UserOptions,
        more: &[(&str, &str)],
    ) -> Result<Volume, Stop> {
        const CHECK: &str = "provision.creates";
        let created = self.first(CHECK, |bed| {
            let heard = bed.ask_create(name, parameters, more)?;
            let code = heard.code;
            heard.success("createvolume").map_err(|stop| match stop {
                Stop::Fault(seen) if more.is_empty() => bed.refusal(CHECK, code, &seen).unwrap_or(Stop::Fault(seen)),
                stop @ (Stop::Fault(_) | Stop::Skip(_) | Stop::Trouble(_)) => stop,
            })
        })?;
        let options = UserOptions::parse(created.options)
            .map_err(|error| Stop::Fault(format!("createvolume answers options that no volume may have: {error}")))?;
        Ok(Volume { name: name.to_owned(), options, id: Some(created.id) })
    }

    /// `createvolume`, called again as long as it is in progress.
    pub(crate) fn ask_create(
        &mut self,
        name: &str,
        parameters: &UserOptions,
        more: &[(&str, &str)],
    ) -> Result<crate::answer::Heard<flexvolume_protocol::Created>, Stop> {
        let options = self.create_options(name, parameters, more);
        Ok(self.patiently(&flexvolume_protocol::CreateVolume { options })?)
    }

    /// `deletevolume` of one that the judge made.
    pub(crate) fn delete(&mut self, volume: &Volume) -> Verdict {
        if volume.id.is_none() {
            return Ok(());
        }
        let call = flexvolume_protocol::DeleteVolume { options: self.made_options(volume) };
        self.patiently(&call)?.success("deletevolume")
    }
}

/// Where a host would mount: with its parents, only for root.
pub(crate) fn make(dir: &Path) -> Verdict {
    Ok(fs::create_dir_all(dir).map_err(|error| Trouble::io("make the folder", dir, error))?)
}

/// What hosts do where the driver does not unmount itself.
pub(crate) fn by_default(dir: &Dir) -> Verdict {
    match mount::unmount(dir.as_path(), Unmount::Plain) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return fault(format!("{dir} cannot be unmounted by default: {error}", dir = dir.as_str())),
    }
    remove(dir);
    Ok(())
}

/// The folder goes if it is empty.
pub(crate) fn remove(dir: &Dir) {
    let _ = fs::remove_dir(dir.as_path());
}
