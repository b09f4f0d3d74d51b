//! How often one volume's operation has failed, and so how long it waits: another operation's failure begins anew.

use std::time::Duration;

use crate::backoff;

/// The failures of one volume's operation; another operation's failure begins anew, and success is its being dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    operation: &'static str,
    tries: u32,
}

impl Backoff {
    /// Takes in that `operation` failed; gives how long to wait before it is tried again.
    pub fn failed(&mut self, operation: &'static str) -> Duration {
        if self.operation != operation {
            *self = Self { operation, tries: 0 };
        }
        self.tries = self.tries.saturating_add(1);
        backoff::after(self.tries)
    }

    /// How often the operation has failed in a row.
    pub fn tries(&self) -> u32 {
        self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(backoff: &mut Backoff, operation: &'static str, times: usize) -> Vec<f64> {
        (0..times).map(|_| backoff.failed(operation).as_secs_f64()).collect()
    }

    #[test]
    fn h_97_half_a_second_doubles_to_122_seconds_and_begins_anew_for_another_operation() {
        let mut backoff = Backoff::default();
        let whole = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 122.0, 122.0, 122.0];
        assert_eq!(waits(&mut backoff, "attach", 11), whole);
        assert_eq!(backoff.tries(), 11);
        assert_eq!(waits(&mut backoff, "publish", 3), [0.5, 1.0, 2.0]);
        assert_eq!((backoff.tries(), waits(&mut backoff, "attach", 2)), (3, vec![0.5, 1.0]));
    }

    #[test]
    fn it_goes_on_for_ever() {
        let mut backoff = Backoff { operation: "stage", tries: u32::MAX };
        assert_eq!(backoff.failed("stage"), Duration::from_secs(122));
        assert_eq!(backoff.tries(), u32::MAX);
    }
}
