//! A driver asked for what concerns no volume on this node: made, deleted, copied, counted. Nothing of it is written down, so whoever
//! was cut off calls again, and the driver goes on from where it was.

use std::time::Instant;

use flexvolume_host::{
    Error, Kind,
    drivers::{
        call::{Calling, PATIENCE, PAUSE, call},
        driver::Driver,
    },
    fresh_id,
};
use flexvolume_protocol::{Came, Id, Options, Redactor, Secrets, UserOptions, Verb, keys};

use super::{Plugin, Trouble};
use crate::status;

impl Plugin {
    /// Calls the driver until its work is done.
    ///
    /// # Errors
    /// What the driver says; `ABORTED` if it still works on it.
    pub(crate) fn ask<V: Verb>(
        &self,
        driver: &Driver,
        about: &str,
        secrets: &Secrets,
        verb: &V,
    ) -> Result<V::Reply, Trouble> {
        let unknown = || Error::new(Kind::Driver, format!("driver {} does not know {}", driver.name, V::NAME));
        Ok(self.try_ask(driver, about, secrets, verb)?.ok_or_else(unknown)?)
    }

    /// The same for a call that a driver need not know: `None` if it does not.
    ///
    /// # Errors
    /// As [`Plugin::ask`].
    pub(crate) fn try_ask<V: Verb>(
        &self,
        driver: &Driver,
        about: &str,
        secrets: &Secrets,
        verb: &V,
    ) -> Result<Option<V::Reply>, Trouble> {
        self.ask_knowing(driver, about, &Redactor::new(secrets), verb)
    }

    /// The same, with whatever the driver may say taken out that `redactor` knows.
    ///
    /// # Errors
    /// As [`Plugin::ask`].
    pub(crate) fn ask_knowing<V: Verb>(
        &self,
        driver: &Driver,
        about: &str,
        redactor: &Redactor,
        verb: &V,
    ) -> Result<Option<V::Reply>, Trouble> {
        let start = Instant::now();
        loop {
            let id = fresh_id()?;
            let calling = Calling {
                driver,
                volume: about,
                call: &id,
                redactor,
                notes: &|note| self.tell(note),
                watched: &mut |_| (),
            };
            match call(calling, verb)? {
                Came::Done(reply) => return Ok(Some(reply)),
                Came::NotSupported => return Ok(None),
                Came::InProgress if start.elapsed() >= PATIENCE => {
                    let (name, verb) = (&driver.name, V::NAME);
                    return Err(status::pending(format!("driver {name} is still at work ({verb}); call again")).into());
                }
                Came::InProgress => std::thread::sleep(PAUSE),
            }
        }
    }
}

/// Options with the secrets of a call, where they do not travel in argv.
pub(crate) fn with_secrets(driver: &Driver, options: Options, secrets: &Secrets) -> Options {
    if driver.by_stdin() { options.with_secrets(secrets.clone()) } else { options }
}

/// What is known of a volume, with no word of how it is used.
pub(crate) fn about(id: &Id, options: &UserOptions) -> Options {
    let mut about = of(keys::ID, id);
    options.iter().for_each(|(key, value)| about.insert(key, value));
    about
}

/// Options that hold nothing but an id.
pub(crate) fn of(key: &str, id: &Id) -> Options {
    let mut options = Options::default();
    options.insert(key, id.as_str());
    options
}
