//! Many volumes worked on at once, and again after a failure: what is due when, how long to wait, and who does it.

pub mod backoff;
pub mod pool;
pub mod queue;
