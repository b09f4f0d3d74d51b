//! One call of a driver, the same for whoever is measured: run, its answer read, reaped.

use std::{
    error::Error,
    path::Path,
    process::{Command, Stdio},
};

use flexvolume_protocol::{Answer, Came, Said, VerbName, tolerant};

/// What a piece of work comes to.
pub(crate) type Done<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

pub(crate) fn call<R: Answer>(driver: &Path, verb: VerbName, words: &[&str]) -> Done<R> {
    let ran = Command::new(driver).arg(verb.as_str()).args(words).stdin(Stdio::null()).output()?;
    let said = Said { stdout: &ran.stdout, stderr: &ran.stderr, exit_ok: ran.status.success() };
    let about = || format!("{} {verb}: {}", driver.display(), String::from_utf8_lossy(&ran.stdout));
    match tolerant::<R>(verb, &said).verdict {
        Ok(Came::Done(answer)) => Ok(answer),
        Ok(Came::NotSupported | Came::InProgress) | Err(_) => Err(about().into()),
    }
}
