//! Where figures that mount are measured: the command with the drivers of the release build, in a folder of its own.

use super::measure::LeftOut;
use crate::{
    demo::scratch::{self, Scratch},
    machine, sh,
};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The command with the drivers of this build, in a folder of its own.
pub(super) struct Bed {
    pub(super) scratch: Scratch,
    pub(super) release: PathBuf,
}

impl Bed {
    /// A bed; an error is a [`LeftOut`] where nobody may mount.
    pub(super) fn new(release: &Path) -> Result<Bed> {
        if !machine::is_root() || !machine::may_mount() {
            return Err(LeftOut("mounting needs root".into()).into());
        }
        let scratch = Scratch::open(Some(&scratch::usual("bench")?))?;
        let bed = Bed { scratch, release: release.to_owned() };
        for driver in ["tmpfs", "loopback"] {
            bed.install(&release.join(driver), &format!("flexvol.io/{driver}"))?;
        }
        Ok(bed)
    }

    pub(super) fn install(&self, exe: &Path, name: &str) -> Result<()> {
        sh::output(self.at("root", "install").arg(exe).args(["--as", name])).map(drop)
    }

    pub(super) fn dir(&self, name: &str) -> PathBuf {
        self.scratch.dir.join(name)
    }

    /// `flexvol <verb>` with this folder for its root.
    pub(super) fn at(&self, root: &str, verb: &str) -> Command {
        let mut command = self.surround(Command::new(self.release.join("flexvol")), root);
        command.arg(verb);
        command
    }

    /// `sh -c <script>` with all that a `flexvol` in it needs, and `$dir` for the folder.
    pub(super) fn script(&self, script: &str) -> Command {
        let mut command = self.surround(Command::new("sh"), "root");
        command.args(["-e", "-c", script]);
        command
    }

    pub(super) fn surround(&self, mut command: Command, root: &str) -> Command {
        command
            .env("FLEXVOL_ROOT", self.dir(root))
            .env("FLEXVOL_PLUGIN_DIR", self.dir("plugins"))
            .env("FLEXVOL_CONFIG", self.dir("flexvol.json"))
            .env("FLEXVOL_RUN", self.dir("run"))
            .env("FLEXVOL_STATE", self.dir("state"))
            .env("flexvol", self.release.join("flexvol"))
            .env("dir", &self.scratch.dir)
            .stdin(Stdio::null());
        command
    }

    /// A pod with one volume of this source.
    pub(super) fn pod(&self, name: &str, source: &str) -> Result<PathBuf> {
        self.pods(name, [(name.to_owned(), source.to_owned())])
    }

    /// A manifest `<file>.yaml` with pods of one volume each, by name and source.
    pub(super) fn pods(&self, file: &str, pods: impl IntoIterator<Item = (String, String)>) -> Result<PathBuf> {
        let path = self.dir(&format!("{file}.yaml"));
        let one = |(name, source): (String, String)| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: main\n    image: none\n    \
                 volumeMounts: [{{name: data, mountPath: /data}}]\n  volumes:\n  - name: data\n    flexVolume: {source}\n"
            )
        };
        let text: String = pods.into_iter().map(one).collect();
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    pub(super) fn tmpfs_pod(&self) -> Result<PathBuf> {
        self.pod("scratch", "{driver: flexvol.io/tmpfs, options: {size: 1m}}")
    }
}
