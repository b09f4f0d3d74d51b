//! Builds the programs in Go that tests ask, where Go is to be had: Kubernetes' own FlexVolume host, and its suite for CSI drivers.

use crate::{machine, sh};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// After this a build is taken for hung; the first one on a busy machine takes a quarter of it.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// A program that is built in its pinned version, with the checksums of all it is made of beside it in `go.sum`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The name of its executable.
    pub(crate) name: &'static str,
    /// What is left in its place where it cannot be built: a file that says why.
    pub(crate) reason: &'static str,
    /// The folder of its Go module, in the project's.
    module: &'static str,
    package: &'static str,
    /// Whether the code is ours, and so kept in order by us.
    ours: bool,
}

/// Kubernetes' own FlexVolume host.
pub(crate) const WITNESS: Program =
    Program { name: "witness", reason: "witness.reason", module: "tests/witness", package: ".", ours: true };

/// Kubernetes' suite for CSI drivers.
pub(crate) const SANITY: Program = Program {
    name: "csi-sanity",
    reason: "csi-sanity.reason",
    module: "tests/sanity",
    package: "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity",
    ours: false,
};

/// Go and what it shall build.
struct Builder<'a> {
    go: PathBuf,
    program: &'a Program,
}

impl Program {
    /// Builds it beside the tests. Where that cannot be tried, the reason is left there instead, and each test that needs it is
    /// skipped for it; what is tried and fails is a failure.
    pub(crate) fn build(&self) -> Result<()> {
        let dir = sh::bin_dir()?;
        let (exe, reason) = (dir.join(self.name), dir.join(self.reason));
        sh::remove([&exe, &reason])?;
        let leave =
            |why: &str| std::fs::write(&reason, why).with_context(|| format!("cannot write {}", reason.display()));
        leave("its build failed, which is a failure by itself")?;
        let builder = match Builder::find(self)? {
            Ok(builder) => builder,
            Err(why) => {
                println!("not built: {why}");
                return leave(&why);
            }
        };
        println!("Go builds it; the first time that takes some minutes");
        builder.build(&exe)?;
        std::fs::remove_file(&reason).with_context(|| format!("cannot remove {}", reason.display()))?;
        if self.ours { builder.check() } else { Ok(()) }
    }
}

impl<'a> Builder<'a> {
    /// The inner error says why nothing can be built here: no Go, one too old, modules that cannot be fetched.
    fn find(program: &'a Program) -> Result<Result<Self, String>> {
        let go = match machine::go() {
            Ok(go) => go,
            Err(why) => return Ok(Err(why)),
        };
        let builder = Self { go, program };
        let mod_file = builder.module().join("go.mod");
        let text = std::fs::read_to_string(&mod_file).with_context(|| format!("cannot read {}", mod_file.display()))?;
        let wanted = text.lines().find_map(|line| line.strip_prefix("go ")).context("go.mod names no version of Go")?;
        // A Go of 1.21 or newer fetches the one that is wanted, if it may; then that one answers.
        let here = match sh::output(builder.command().args(["env", "GOVERSION"])) {
            Ok(version) => version.trim().trim_start_matches("go").to_owned(),
            Err(error) => return Ok(Err(format!("Go does not work here: {error:#}"))),
        };
        if machine::release(&here) < machine::release(wanted) {
            return Ok(Err(format!("Go {here} is too old, {wanted} is needed")));
        }
        // Fetches what is missing, and compiles nothing.
        match sh::output(builder.command().args(["list", "-deps", program.package])) {
            Err(error) if is_about_fetching(&error.to_string()) => {
                let error = error.to_string();
                let line = error.lines().find(|line| is_about_fetching(line)).unwrap_or_default();
                Ok(Err(format!("its modules cannot be fetched: {line}")))
            }
            Err(error) => Err(error),
            Ok(_) => Ok(Ok(builder)),
        }
    }

    fn module(&self) -> PathBuf {
        sh::project().join(self.program.module)
    }

    fn command(&self) -> Command {
        let mut go = Command::new(&self.go);
        // Static, so that it runs in guests too, whatever libraries those have.
        go.current_dir(self.module()).env("CGO_ENABLED", "0");
        go
    }

    fn build(&self, exe: &Path) -> Result<()> {
        let mut go = self.command();
        // The folder may belong to somebody whom git does not trust, and nobody asks the program for its commit.
        go.args(["build", "-buildvcs=false", "-o"]).arg(exe).arg(self.program.package);
        let end = sh::watch(&mut go, LIMIT, &mut |_, line| println!("{line}"))?;
        match end {
            sh::End::Status(status) if status.success() => Ok(()),
            sh::End::Status(status) => bail!("`{}` ended with {status}", sh::typed(&go)),
            sh::End::TimedOut => bail!("`{}` was not done after {} s", sh::typed(&go), LIMIT.as_secs()),
        }
    }

    fn check(&self) -> Result<()> {
        let gofmt = self.go.with_file_name("gofmt");
        let odd = sh::output(Command::new(&gofmt).args(["-l", "."]).current_dir(self.module()))?;
        if !odd.is_empty() {
            bail!(
                "not as gofmt writes it, in {}: {}",
                self.program.module,
                odd.split_whitespace().collect::<Vec<_>>().join(", ")
            );
        }
        sh::run(self.command().args(["vet", self.program.package]))
    }
}

/// Errors about the network name the address that was asked; those about our own files name none.
fn is_about_fetching(error: &str) -> bool {
    error.contains("://") || error.contains("GOPROXY=off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_not_there_is_told_from_files_that_are_wrong() {
        let network = [
            "host.go:9:2: k8s.io/api@v0.1.0: Get \"http://127.0.0.1:9/k8s.io/api/@v/v0.1.0.zip\": dial tcp: refused",
            "host.go:9:2: module lookup disabled by GOPROXY=off",
        ];
        let ours = [
            "host.go:9:2: missing go.sum entry for module providing package k8s.io/api/core/v1",
            "go: updates to go.mod needed; to update it:\n\tgo mod tidy",
            "verifying k8s.io/api@v0.1.0: checksum mismatch",
        ];
        assert!(network.iter().all(|error| is_about_fetching(error)));
        assert!(!ours.iter().any(|error| is_about_fetching(error)));
    }
}
