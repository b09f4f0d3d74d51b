//! The flexvol command: all of it is in the library, so that it can be tested.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: this executable is also the worker that the engine throws away.
    if let Some(code) = flexvolume_host::worker() {
        return code;
    }
    flexvol::run()
}
