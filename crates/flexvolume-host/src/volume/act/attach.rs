//! The first and last rung: attach and detach.

use flexvolume_protocol::{Attach, Came, Detach};

use super::{Ended, Hands};
use crate::{
    error::{Error, Kind, Result},
    volume::state::{Op, Seen},
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
        match self.call(&driver, &secrets, &Attach { options, node })? {
            Came::Done(device) => Ok(device.0),
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
        let detach = Detach { name: self.record.name.as_str().to_owned(), node: self.ground.ident.node.clone() };
        match self.call(&driver, &Default::default(), &detach)? {
            Came::Done(()) | Came::NotSupported => Ok(()),
            Came::InProgress => Err(unfinished("detach")),
        }
    }
}

/// "In progress" is an answer of extension verbs only; the contract's own verbs end or fail.
pub(super) fn unfinished(verb: &str) -> Error {
    Error::new(Kind::Driver, format!("the driver answered In progress to {verb}, which cannot be waited for"))
}
