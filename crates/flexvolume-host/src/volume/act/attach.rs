//! The first and last rung: attach and detach.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flexvolume_protocol::{Attach, Came, Detach, Device, Secrets};

use super::{Ended, Hands, directory::SOON};
use crate::{
    error::{Error, Kind, Result},
    task::{Done, Task},
    volume::{
        record,
        state::{Op, Seen},
    },
};

impl Hands<'_> {
    pub(super) fn attach(&mut self) -> Ended {
        match self.call_attach() {
            Ok(device) => Ended { answer: Ok(device), seen: Seen::Nothing },
            Err(error) => Ended::failed(error, Seen::Nothing),
        }
    }

    fn call_attach(&mut self) -> Result<String> {
        let driver = self.driver()?;
        let secrets = self.secrets(&driver, false)?;
        let options = self.device_options().with_secrets(secrets.clone());
        let node = self.ground.ident.node.clone();
        self.record.node.clone_from(&node);
        match self.call(&driver, &secrets, &Attach { options, node })? {
            Came::Done(device) => {
                let device = self.sound(device, &secrets)?;
                self.record.attached.clone_from(&device);
                Ok(device)
            }
            // As Kubernetes has it: a driver without attach has nothing to attach.
            Came::NotSupported => Ok(String::new()),
            Came::InProgress => Err(unfinished("attach")),
        }
    }

    pub(super) fn detach(&mut self) -> Ended {
        match self.call_detach() {
            Ok(()) => {
                self.end_leftovers(&Op::Detach);
                Ended { answer: Ok(String::new()), seen: Seen::Nothing }
            }
            Err(error) => Ended::failed(error, Seen::Nothing),
        }
    }

    fn call_detach(&mut self) -> Result<()> {
        let driver = self.driver()?;
        self.unused()?;
        // The node it was attached to: the machine may have been renamed since.
        let detach = Detach { name: self.record.name.as_str().to_owned(), node: self.record.node.clone() };
        match self.call(&driver, &Default::default(), &detach)? {
            Came::Done(()) | Came::NotSupported => Ok(()),
            Came::InProgress => Err(unfinished("detach")),
        }
    }
}

impl Hands<'_> {
    /// A device's name as it may be recorded and shown: bounded, and free of secrets.
    pub(super) fn sound(&self, device: Device, secrets: &Secrets) -> Result<String> {
        let Device(device) = device;
        let redactor = self.redactor(secrets);
        // A secret too short to look for cannot be found in a name either.
        let tells = !redactor.withhold() && redactor.text(&device) != device;
        if device.len() > LONGEST_DEVICE || tells {
            let what = format!("driver {} answered a device that is too long or holds a secret", self.record.driver);
            return Err(Error::new(Kind::Driver, what).hint("a device is a short name or a path"));
        }
        Ok(device)
    }

    /// A device that something still has open is not taken from under it. A staged driver looks itself, for it alone
    /// knows who else may share the device; and what lies outside of `/dev` is a word of the driver's, which may lead to
    /// a server that does not answer: it is not looked at.
    fn unused(&mut self) -> Result<()> {
        let device = PathBuf::from(self.record.state.rung.device());
        if self.record.kind == record::Kind::Staged || !device.starts_with("/dev") {
            return Ok(());
        }
        let start = Instant::now();
        while !self.is_free(&device)? {
            // A prober of the system or a namespace that is just being parted lets go at once.
            if start.elapsed() >= SHORTLY {
                let (what, at) = ("is still in use, so it is not detached", device.display());
                return Err(Error::new(Kind::Busy, format!("{at} {what}")).hint(format!(
                    "end what uses it, perhaps in another mount namespace (fuser -vm {at}), then: flexvol down --all"
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn is_free(&mut self, device: &Path) -> Result<bool> {
        match self.work(&Task::IsFree { device: device.to_owned() }, SOON)? {
            Done::Free(free) => Ok(free),
            Done::Plainly
            | Done::Told(_)
            | Done::Unmounted(_)
            | Done::Owned(_)
            | Done::Seen(_)
            | Done::Usage(_)
            | Done::Raw(_) => Ok(true),
        }
    }
}

/// How long a device may be held by somebody who is about to let go.
const SHORTLY: Duration = Duration::from_secs(2);

/// Longer than any path of a device.
const LONGEST_DEVICE: usize = 4096;

/// "In progress" is an answer of extension verbs only; the contract's own verbs end or fail.
pub(super) fn unfinished(verb: &str) -> Error {
    Error::new(Kind::Driver, format!("the driver answered In progress to {verb}, which cannot be waited for"))
}
