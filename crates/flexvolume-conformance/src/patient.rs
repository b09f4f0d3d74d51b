//! Calls that may answer "In progress" are made again until they do not, or the time is over.

use std::{
    thread,
    time::{Duration, Instant},
};

use flexvolume_protocol::{Came, Options, UserOptions, Verb, keys};

use crate::{
    answer::Heard,
    bed::{Bed, Volume},
    trouble::Trouble,
};

/// Between two calls, at first; and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

impl Bed<'_> {
    /// What the driver answers in the end: the same call, again and again, as hosts make it.
    pub(crate) fn patiently<V: Verb>(&self, verb: &V) -> Result<Heard<V::Reply>, Trouble> {
        self.until(|bed| {
            let heard = bed.caller.ask(verb)?;
            let is_over = !matches!(heard.came, Ok(Came::InProgress));
            Ok((heard, is_over))
        })
    }

    /// Asks until the second part of the answer is true, or a call's time is over.
    pub(crate) fn until<T, E>(&self, mut ask: impl FnMut(&Self) -> Result<(T, bool), E>) -> Result<T, E> {
        let end = Instant::now() + self.caller.limit();
        let mut pause = PAUSE.0;
        loop {
            let (answer, is_over) = ask(self)?;
            if is_over || Instant::now() + pause > end {
                return Ok(answer);
            }
            thread::sleep(pause);
            pause = (2 * pause).min(PAUSE.1);
        }
    }

    /// The options of `createvolume`.
    pub(crate) fn create_options(&self, name: &str, parameters: &UserOptions, more: &[(&str, &str)]) -> Options {
        let mut options = Options::default();
        parameters.iter().for_each(|(key, value)| options.insert(key, value));
        options.insert(keys::NAME, name);
        options.insert(keys::REQUIRED_BYTES, self.job.volume.bytes.unwrap_or(64 << 20).to_string());
        more.iter().for_each(|(key, value)| options.insert(*key, *value));
        options
    }

    /// The options of calls about a volume that the judge made.
    pub(crate) fn made_options(&self, volume: &Volume) -> Options {
        let mut options = Options::default();
        volume.options.iter().for_each(|(key, value)| options.insert(key, value));
        options.insert(keys::ID, volume.id.as_ref().map_or("", |id| id.as_str()));
        options
    }
}
