//! Fake drivers that are told what to say and write down what they heard, as real shell scripts in a plugin directory.
//!
//! ```no_run
//! use std::time::Duration;
//! use flexvolume_testkit::{Sandbox, scripted::{Answer, Script}};
//! # fn main() -> std::io::Result<()> {
//! let sandbox = Sandbox::new()?;
//! let driver = Script::sh()
//!     .on("init", Answer::text(r#"{"status":"Success","capabilities":{"attach":false}}"#))
//!     .on("mount", Answer::success().run(r#"mount -t tmpfs none "$2""#))
//!     .on_each("unmount", [Answer::failure("busy"), Answer::success().sleep(Duration::from_secs(1))])
//!     .install(&sandbox.plugins(), "acme/disk")?;
//! // … let the host call it …
//! for call in driver.calls()? {
//!     assert_eq!(call.env.get("FLEXVOL_CALL").map(String::len), Some(16));
//! }
//! # Ok(()) }
//! ```
//!
//! One call is one shell process that runs builtins only, unless told to sleep, to run something or to keep stdin.

mod calls;
mod installed;
mod script;
mod write;

pub use calls::Call;
pub use installed::Scripted;
pub use script::{Answer, Script, Shell};
