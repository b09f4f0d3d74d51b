//! The judge: is a FlexVolume driver fit for the hosts there are? Any executable is called as the contract says, and what
//! came of it is looked at in the kernel: mounts, bytes, devices, processes.
//!
//! It knows nothing of our own host, whose leniency would hide what others fail for. One function does it all:
//!
//! ```no_run
//! use flexvolume_conformance::{Job, check};
//!
//! let report = check(&Job::new("/usr/libexec/my/driver"), &mut |_| ())?;
//! assert!(report.is_fit(), "{report}");
//! # Ok::<(), flexvolume_conformance::Trouble>(())
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
mod bed;
mod blame;
mod call;
mod check;
mod checks;
mod chosen;
mod dead;
mod described;
mod earlier;
mod going;
mod heard;
mod job;
mod known;
mod ledger;
mod letters;
mod level;
mod life;
mod notes;
mod patience;
mod patient;
mod proof;
mod report;
mod run;
mod scene;
mod shown;
mod sound;
mod stop;
mod trouble;
mod undo;

pub use check::Check;
pub use checks::ALL;
pub use chosen::{LEFT_OUT, NOT_ASKED, chosen};
pub use described::{Described, VolumeError};
pub use job::Job;
pub use level::{Level, Severity};
pub use report::{Count, Finding, Outcome, Report, Ruling};
pub use run::check;
pub use shown::{Call, Time};
pub use trouble::Trouble;
