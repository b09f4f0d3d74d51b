//! A machine as its owner has it: a volume group, the driver under the name of the original example, and pods by manifest.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::{
    bed::Bed,
    command::{self, Ran},
    group::{Group, POOL, lvm, report, targets},
    tools::{ended, files, text, tool},
};

/// The driver's name, as in the original example.
pub const DRIVER: &str = "kubernetes.io/lvm";

/// Where the kernel says which boot this is.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The machine.
pub struct Home {
    pub vg: Group,
    // Last: it takes away what the others stand on.
    pub bed: Bed,
}

impl Home {
    /// A machine with a volume group over disks of so many MiB; `None`, with the reason printed, where there can be none.
    pub fn new(disks: &[u64]) -> Option<Home> {
        let bed = Bed::new()?;
        let vg = bed.group(disks);
        Some(Home::over(bed, vg))
    }

    /// The same with a thin pool of so many MiB in it.
    pub fn with_pool(disks: &[u64], mib: u64) -> Option<Home> {
        let home = Home::new(disks)?;
        targets(&["thin-pool", "thin"])?;
        home.vg.pool(POOL, &format!("{mib}m"));
        Some(home)
    }

    /// A machine of this bed, with this group.
    pub fn over(bed: Bed, vg: Group) -> Home {
        bed.install("lvm", DRIVER);
        Home { vg, bed }
    }

    /// Writes the driver's settings.
    pub fn set(&self, json: &str) {
        let dir = self.bed.sandbox.dir("settings").unwrap();
        fs::write(dir.join("kubernetes.io~lvm.json"), json).unwrap();
    }

    /// The source of a volume, as manifests have it; the options name this machine's group.
    pub fn source(&self, fs: &str, volume: &str, more: &[(&str, &str)]) -> String {
        let named = [("volumeID", volume), ("volumegroup", &self.vg.name)];
        let options: Vec<_> = named.iter().chain(more).map(|(key, value)| format!("{key}: \"{value}\"")).collect();
        format!("{{driver: {DRIVER}, fsType: {fs}, options: {{{}}}}}", options.join(", "))
    }

    /// Writes the manifest of a pod with these volumes, each a name and a source, mounted at `/data/<name>`.
    pub fn pod(&self, name: &str, volumes: &[(&str, &str)]) -> String {
        self.bed.manifest(&format!("{name}.yaml"), &command::pod(name, volumes))
    }

    /// Runs a script where the pod's volumes are; gives what it printed.
    #[track_caller]
    pub fn exec(&self, pod: &str, script: &str) -> String {
        self.bed.ok(["exec", pod, "--", "sh", "-euc", script]).trim().to_owned()
    }

    /// The same, for a script that is to fail; gives what it said.
    #[track_caller]
    pub fn exec_fails(&self, pod: &str, script: &str) -> String {
        let ran = self.bed.run(["exec", pod, "--", "sh", "-euc", script]);
        assert_ne!(ran.code, 0, "{ran:?}");
        ran.stderr
    }

    /// Starts a script there that goes on beside the case.
    pub fn start(&self, pod: &str, script: &str) -> Child {
        let mut command = self.bed.command(["exec", pod, "--", "sh", "-euc", script]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs the command, insists that it fails, with these words.
    #[track_caller]
    pub fn fails(&self, args: &[&str], words: &[&str]) -> Ran {
        let ran = self.bed.run(args);
        assert_ne!(ran.code, 0, "{ran:?}");
        for word in words {
            assert!(ran.stderr.contains(word), "no {word:?} in:\n{}", ran.stderr);
        }
        ran
    }

    /// Calls the driver by hand; gives its answer.
    #[track_caller]
    pub fn call(&self, args: &[&str]) -> Value {
        let seen = self.bed.json(["call", DRIVER].iter().chain(args));
        let said = seen["stdout"].as_str().unwrap_or_default();
        serde_json::from_str(said).unwrap_or_else(|error| panic!("{args:?}: {error}: {seen}"))
    }

    /// Asks the driver to delete a volume; gives its answer.
    #[track_caller]
    pub fn delete(&self, volume: &str) -> Value {
        let id = format!("{{\"flexvol/id\":\"{}\"}}", self.vg.of(volume));
        self.call(&["deletevolume", &id])
    }

    /// Deletes a volume, however many calls that takes.
    #[track_caller]
    pub fn deleted(&self, volume: &str) {
        let said = ended(volume, || Some(self.delete(volume)).filter(|said| said["status"] != "In progress"));
        assert_eq!(said["status"], "Success", "{said}");
    }

    /// The file that says that the volume was handed out here.
    pub fn seen(&self, volume: &str) -> PathBuf {
        let state = self.bed.sandbox.path().join("state/kubernetes.io~lvm");
        state.join("seen").join(&self.vg.name).join(format!("{volume}.json"))
    }

    /// Nothing of any pod is left: no mount, no record, no directory, and no volume but a pool has a device.
    #[track_caller]
    pub fn assert_down(&self) {
        self.bed.assert_down();
        let active: Vec<_> = report("lvs", "lv_name,lv_active", &self.vg.name)
            .into_iter()
            .filter(|row| !row["lv_active"].is_empty() && row["lv_name"] != POOL)
            .collect();
        assert_eq!(active, [], "still active");
    }

    /// The driver keeps no note of any volume.
    #[track_caller]
    pub fn assert_forgotten(&self) {
        assert_eq!(files(&self.bed.sandbox.path().join("state")), Vec::<PathBuf>::new());
    }

    /// What a reset leaves: nothing is mounted, nothing is active, what was below `/run` is gone, and it is another boot.
    #[track_caller]
    pub fn reboot(&self) -> Rebooted {
        for mount in self.bed.sandbox.mounts().unwrap() {
            tool("umount", &[text(&mount.point)]);
        }
        lvm(["vgchange", "--quiet", "--activate", "n", &self.vg.name]);
        fs::remove_dir_all(self.bed.sandbox.path().join("run")).unwrap();
        let id = self.bed.manifest("boot_id", &fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap());
        tool("mount", &["--bind", &id, BOOT]);
        Rebooted
    }
}

/// Says that it is another boot for as long as it lives.
pub struct Rebooted;

impl Drop for Rebooted {
    fn drop(&mut self) {
        tool("umount", &[BOOT]);
    }
}

/// Manifests of a PersistentVolume, and of the claim that it is bound to.
pub fn claim(name: &str, size: &str, source: &str) -> String {
    format!(
        "apiVersion: v1
kind: PersistentVolume
metadata: {{name: pv-{name}}}
spec:
  capacity: {{storage: {size}}}
  accessModes: [ReadWriteMany]
  claimRef: {{namespace: default, name: {name}}}
  flexVolume: {source}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}}}
spec:
  accessModes: [ReadWriteMany]
  resources: {{requests: {{storage: 1Mi}}}}
---
"
    )
}

/// Manifest of a pod that uses claims, each mounted at `/data/<claim>`.
pub fn claiming(pod: &str, claims: &[&str], read_only: bool) -> String {
    let mounts: String = claims.iter().map(|one| format!("    - {{name: {one}, mountPath: /data/{one}}}\n")).collect();
    let volumes: String = claims
        .iter()
        .map(|one| format!("  - name: {one}\n    persistentVolumeClaim: {{claimName: {one}, readOnly: {read_only}}}\n"))
        .collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}}}\nspec:\n  containers:\n  - name: main\n    image: none\n    volumeMounts:\n{mounts}  volumes:\n{volumes}---\n"
    )
}
