//! The top: the volume mounted at a pod's directory, and taken from there.

use std::path::PathBuf;

use flexvolume_linux::mount::Presence;
use flexvolume_protocol::{Came, Dir, Mount, OLD_CONTRACT, Options, PodKeys, Unmount, VerbName};

use super::{
    Ended, Hands,
    attach::unfinished,
    directory::{SOON, Target},
};
use crate::{
    drivers::driver::Driver,
    error::{Error, Kind, Result},
    task::Task,
    volume::{
        record::{self, Made, User},
        state::{Op, Seen},
    },
};

impl Hands<'_> {
    pub(super) fn place(&self, place: &str) -> PathBuf {
        self.ground.layout.place(place, &self.record.driver, &self.record.name)
    }

    pub(super) fn publish(&mut self, place: &str) -> Ended {
        let user = match self.user(place) {
            Ok(user) => user,
            Err(error) => return Ended::failed(error, Seen::Nothing),
        };
        let relative = self.place(place);
        let target = match self.make(&relative) {
            Ok(target) => target,
            Err(error) => {
                let _ = self.prune(&relative);
                return Ended::failed(error, Seen::Nothing);
            }
        };
        match self.publish_at(&target, place, &user) {
            Ok(made) => {
                self.record.places.insert(place.to_owned(), made);
                Ended { answer: Ok(String::new()), seen: Seen::Mounted }
            }
            Err(error) => {
                let gone = target.seen() == Seen::Nothing && self.cleared(&target, &relative);
                Ended::failed(error, if gone { Seen::Nothing } else { Seen::Mounted })
            }
        }
    }

    fn publish_at(&mut self, target: &Target, place: &str, user: &User) -> Result<Made> {
        match target.look()? {
            Presence::Absent | Presence::Plain => {}
            Presence::Mount(_) | Presence::Corrupted(_) => {
                return Err(Error::new(
                    Kind::Refused,
                    format!("something nobody recorded is mounted at {}", target.path.display()),
                )
                .hint("it is taken away now; try again"));
            }
            Presence::Symlink | Presence::Other => {
                return Err(Error::new(Kind::Refused, format!("{} is no directory", target.path.display()))
                    .hint("move it out of the way, then try again"));
            }
        }
        let driver = self.driver()?;
        match self.record.kind {
            record::Kind::Staged => self.bind(target, user.read_only)?,
            record::Kind::Attachable | record::Kind::Direct => {
                let secrets = self.secrets(&driver, true)?;
                let options = self.pod_options(user).with_secrets(secrets.clone());
                let dir = Dir::try_from(target.path.as_path()).map_err(|e| Error::new(Kind::Invalid, e.to_string()))?;
                let came =
                    self.call(&driver, &secrets, &Mount { dir, options }).map_err(|error| old(error, &driver))?;
                match (came, self.record.kind) {
                    (Came::Done(()), _) => {}
                    (Came::NotSupported, record::Kind::Attachable | record::Kind::Staged) => {
                        self.bind(target, user.read_only)?
                    }
                    (Came::NotSupported, record::Kind::Direct) => {
                        return Err(Error::new(
                            Kind::Driver,
                            format!("driver {} says attach:false but does not know mount, so it can serve nothing", driver.name),
                        )
                        .hint("a driver without attach must mount; drivers for Kubernetes before 1.6 speak another contract"));
                    }
                    (Came::InProgress, _) => return Err(unfinished("mount")),
                }
            }
        }
        let nothing_staged = self.record.stage == Some(Made::NoMount);
        let may_be_empty = driver.config.allow_unmounted || nothing_staged;
        self.judge(target, Some(place), user.read_only, may_be_empty)
    }

    /// The global mount bound at the pod's directory: one step of the kernel, read-only before anyone sees it.
    fn bind(&mut self, target: &Target, read_only: bool) -> Result<()> {
        let source = self.absolute(&self.ground.layout.global(&self.record.driver, &self.record.name));
        let power = self.power(read_only)?;
        self.work(&Task::Bind { source, target: target.path.clone(), power }, SOON).map(drop)
    }

    fn pod_options(&self, user: &User) -> Options {
        let pod = PodKeys {
            name: user.pod.clone(),
            namespace: user.namespace.clone(),
            uid: user.uid.clone(),
            service_account: user.service_account.clone(),
            fs_group: user.fs_group,
        };
        Options::compose(&self.host_keys(user.read_only), Some(&pod), &self.record.spec.options)
    }

    pub(super) fn unpublish(&mut self, place: &str) -> Ended {
        // The place alone must do, even where the record forgot the rest.
        let relative = self.place(place);
        let (result, seen) = match self.existing(&relative) {
            Ok(None) => (Ok(()), Seen::Nothing),
            Ok(Some(target)) => {
                let result = self.unpublish_at(&target);
                // Files left behind are as much in the way as a mount.
                let there = result.is_err() && target.look().is_ok_and(|presence| presence != Presence::Absent);
                (result, if there { Seen::Mounted } else { target.seen() })
            }
            Err(error) => (Err(error), Seen::Mounted),
        };
        let (result, seen) = match result.map(|()| self.prune(&relative)) {
            Ok(Err(error)) => (Err(error), Seen::Mounted),
            Ok(Ok(())) => (Ok(()), seen),
            Err(error) => (Err(error), seen),
        };
        match result {
            Ok(()) => {
                self.record.places.remove(place);
                self.record.place_traces.remove(place);
                self.end_leftovers(&Op::Unpublish(place.to_owned()));
                Ended { answer: Ok(String::new()), seen }
            }
            Err(error) => Ended::failed(error, seen),
        }
    }

    fn unpublish_at(&mut self, target: &Target) -> Result<()> {
        if target.look()? == Presence::Absent {
            return Ok(());
        }
        let said = match self.record.kind {
            record::Kind::Staged => Ok(()),
            record::Kind::Attachable | record::Kind::Direct => self.call_unmount(target),
        };
        self.clear(target, said)
    }

    fn call_unmount(&mut self, target: &Target) -> Result<()> {
        let driver = self.driver()?;
        let dir = Dir::try_from(target.path.as_path()).map_err(|e| Error::new(Kind::Invalid, e.to_string()))?;
        match self.call(&driver, &Default::default(), &Unmount { dir })? {
            Came::Done(()) => Ok(()),
            Came::NotSupported => self.take_away(&target.path),
            Came::InProgress => Err(unfinished("unmount")),
        }
    }
}

/// A driver that attaches and then fails to mount, and knows none of the calls between the two, may be one of long ago.
fn old(error: Error, driver: &Driver) -> Error {
    let between = [VerbName::WaitForAttach, VerbName::MountDevice];
    if error.kind() != Kind::Driver || !driver.capabilities.attach || !between.iter().all(|verb| driver.lacks(*verb)) {
        return error;
    }
    let hint = match error.next() {
        Some(hint) => format!("{hint}; {OLD_CONTRACT}"),
        None => OLD_CONTRACT.to_owned(),
    };
    error.hint(hint)
}
