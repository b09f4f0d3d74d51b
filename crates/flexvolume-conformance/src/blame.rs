//! One cause is told once: what keeps many checks from being made is a failure of the one that is about it, and the others are
//! skipped because of that.

use flexvolume_protocol::Code;

use crate::{bed::Bed, call::Call, stop::Stop};

/// What is known of faults that keep many checks from being made.
#[derive(Debug, Default)]
pub(crate) struct Blame {
    /// The check that is made at the moment.
    pub(crate) check: &'static str,
    /// Where its calls begin.
    pub(crate) since: usize,
    /// What worked once fails for a reason of the check that is made then.
    worked: Vec<&'static str>,
    causes: Vec<Cause>,
    /// What the description of the volume has wrong.
    pub(crate) refused: Option<String>,
}

/// A fault, and the check that is about it.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub(crate) check: &'static str,
    pub(crate) seen: String,
    pub(crate) calls: Vec<Call>,
}

/// How a reason begins if it is that another check failed.
const BECAUSE: &str = "because ";

/// The reason of a check that says nothing since another one failed.
pub(crate) fn because(check: &str) -> String {
    format!("{BECAUSE}{check} failed")
}

/// Whether a reason is such a one.
pub(crate) fn is_because(reason: &str) -> bool {
    reason.starts_with(BECAUSE)
}

impl Blame {
    /// What was found beside the check that is about it.
    pub(crate) fn causes(&self) -> &[Cause] {
        &self.causes
    }
}

impl Bed<'_> {
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
}
