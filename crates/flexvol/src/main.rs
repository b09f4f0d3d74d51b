//! The flexvol command: all of it is in the library, so that it can be tested.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: this executable is also the workers that the engine and the doctor throw away.
    if let Some(code) = flexvolume_host::worker().or_else(flexvol::worker) {
        return code;
    }
    flexvol::run()
}
