//! The testkit's own tests: a tool that lies would make every test above it worthless.
#![allow(clippy::unwrap_used)]

mod hung;
mod killat;
mod sandbox;
mod scripted;

use std::time::{Duration, Instant};

/// Waits for something that must come to pass, with a limit that only a failure reaches.
fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < until, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
