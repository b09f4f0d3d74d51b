//! Drivers built for musl, where the toolchain has that target or can get it: glibc asks the processor for its caches at each start,
//! some dozens of times, and each time a virtual machine has to be left.

use crate::{machine, sh};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of those for the tests, beside all other executables.
const DIR: &str = "musl";
/// In its place: why there are none.
const REASON: &str = "musl.reason";
/// The cases that need them.
pub(crate) const TESTS: [&str; 2] = ["ours::tmpfs_for_musl", "ours::loopback_for_musl"];

/// Builds these drivers, in release or as tests want them, and says where they are; the inner error says why they cannot be had here.
pub(crate) fn drivers(names: &[&str], release: bool) -> Result<Result<PathBuf, String>> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    if let Err(why) = ready(&target) {
        return Ok(Err(why));
    }
    let mut cargo = sh::cargo();
    cargo.args(["build", "--quiet", "--target", &target]).args(names.iter().flat_map(|name| ["--package", name]));
    if release {
        cargo.arg("--release");
    }
    sh::run(&mut cargo)?;
    // Executables lie below the name of their target, ours too.
    let ours = sh::bin_dir()?;
    let all = ours.ancestors().nth(2).context("this executable does not lie where cargo puts it")?;
    Ok(Ok(all.join(target).join(if release { "release" } else { "debug" })))
}

/// Puts those that are judged beside the tests, or else the reason for which the tests are skipped.
pub(crate) fn for_tests() -> Result<()> {
    const JUDGED: [&str; 2] = ["tmpfs", "loopback"];
    let bin = sh::bin_dir()?;
    let (dir, reason) = (bin.join(DIR), bin.join(REASON));
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    sh::remove(JUDGED.map(|name| dir.join(name)))?;
    sh::remove([&reason])?;
    match drivers(&JUDGED, false)? {
        Ok(from) => JUDGED.iter().try_for_each(|name| {
            let (from, to) = (from.join(name), dir.join(name));
            std::fs::copy(&from, &to).map(drop).with_context(|| format!("cannot copy {}", from.display()))
        }),
        Err(why) => {
            println!("not built: {why}");
            std::fs::write(&reason, why).with_context(|| format!("cannot write {}", reason.display()))
        }
    }
}

/// Has the target added where rustup can do that.
fn ready(target: &str) -> Result<(), String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut rustc = Command::new(rustc);
    rustc.current_dir(sh::project()).args(["--print", "target-libdir", "--target", target]);
    if sh::output(&mut rustc).is_ok_and(|dir| Path::new(dir.trim()).is_dir()) {
        return Ok(());
    }
    let Some(rustup) = machine::find("rustup") else {
        return Err(format!("this Rust has no target {target}, and there is no rustup to add it"));
    };
    println!("Missing here: Rust's target {target}. rustup adds it, now:");
    sh::run(Command::new(rustup).current_dir(sh::project()).args(["target", "add", target]))
        .map_err(|error| format!("{error:#}"))
}
