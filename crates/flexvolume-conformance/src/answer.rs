//! What came of one call: the answer as it is meant, and how the call ended, in words.

use flexvolume_linux::process::How;
use flexvolume_protocol::{Came, Code};

use crate::stop::Stop;

/// What the driver answered.
pub(crate) struct Heard<R> {
    /// As it is meant, however it is dressed: what is wrong with the dress is told by checks of its own.
    pub(crate) came: Result<Came<R>, String>,
    /// The code of a failure.
    pub(crate) code: Option<Code>,
    /// Both streams as they came. Not to be shown.
    pub(crate) raw: Vec<u8>,
    /// How it ended.
    pub(crate) how: How,
}

impl<R> Heard<R> {
    /// The answer if there is one: "Not supported" is none.
    pub(crate) fn done(self, what: &str) -> Result<Option<R>, Stop> {
        match self.came {
            Ok(Came::Done(reply)) => Ok(Some(reply)),
            Ok(Came::NotSupported) => Ok(None),
            Ok(Came::InProgress) => Err(Stop::Fault(format!("{what} answered \"In progress\" to the end"))),
            Err(why) => Err(Stop::Fault(format!("{what}: {why}"))),
        }
    }

    /// The answer; "Not supported" is a fault.
    pub(crate) fn success(self, what: &str) -> Result<R, Stop> {
        self.done(what)?.ok_or_else(|| Stop::Fault(format!("{what} answered \"Not supported\"")))
    }
}

/// Why there is no answer to be read, if there is none.
pub(crate) fn ended(how: &How, spared: bool) -> Option<String> {
    match how {
        How::Exited(_) | How::Signalled(_) => None,
        How::Killed { .. } => Some("it did not answer in time, and was ended".to_owned()),
        How::Stuck(process) | How::Stayed(process) if spared => Some(format!(
            "it did not answer in time; it goes on as pid {}, since to end it may cost what the volume holds",
            process.pid
        )),
        How::Stuck(process) | How::Stayed(process) => {
            Some(format!("it did not answer in time, and pid {} cannot be ended", process.pid))
        }
    }
}

/// The same in the few words that stand beside a call.
pub(crate) fn words_of(how: &How, wanted: bool, spared: bool) -> String {
    match how {
        How::Exited(code) => format!("exit {code}"),
        How::Signalled(signal) => format!("died of signal {signal}"),
        How::Killed { .. } if wanted => "killed by the judge in its middle".to_owned(),
        How::Killed { .. } => "did not end in time, and was ended".to_owned(),
        How::Stuck(process) | How::Stayed(process) if spared => {
            format!("did not end in time, and goes on as pid {}", process.pid)
        }
        How::Stuck(process) | How::Stayed(process) => format!("did not end: pid {} is held by the kernel", process.pid),
    }
}
