//! `flexvol completions`: what a shell needs to know to complete our command line.

use clap_complete::Shell;

use super::ground::Done;
use crate::{cli, speak::say};

pub(super) fn completions(shell: Shell) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "flexvol", &mut script);
    say!("{}", String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
