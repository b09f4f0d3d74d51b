//! How long to wait before something that failed is tried again: half a second, doubling to two minutes and two seconds,
//! as Kubernetes has it for operations of volumes.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(122);

/// The wait after that many failures in a row.
pub(crate) fn after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST.saturating_mul(1 << doublings).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_two_minutes_and_two_seconds() {
        let seconds: Vec<f64> = (1..=10).map(|failures| after(failures).as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 122.0, 122.0]);
        assert_eq!(after(u32::MAX), MOST);
    }
}
