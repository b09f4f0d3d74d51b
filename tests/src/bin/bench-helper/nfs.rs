//! Two drivers of NFS side by side, in a guest: a hundred pods on one share, by the same callers, in turn.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use flexvolume_protocol::VerbName;

use super::call::{Done, call};

/// How many pods use the share.
const PODS: usize = 100;

/// Of either side, and who begins changes. A round takes minutes.
const ROUNDS: usize = 2;

/// The port of NFS, as `/proc/net/tcp` writes it.
const PORT: &str = "0801";

/// One side: a driver, and a manifest of as many pods that use the share by it.
struct Side<'a> {
    name: &'static str,
    driver: &'a Path,
    manifest: PathBuf,
}

/// What a machine is to its server.
#[derive(Default)]
struct Ties {
    connections: usize,
    /// Its file systems on this machine, however often each is mounted.
    file_systems: usize,
    mounts: usize,
}

/// `manifests` holds `ours.yaml` and `other.yaml`.
pub(crate) fn pods(flexvol: &Path, ours: &Path, other: &Path, share: &str, manifests: &Path) -> Done {
    let side = |name, driver| Side { name, driver, manifest: manifests.join(format!("{name}.yaml")) };
    let sides = [side("ours", ours), side("other", other)];
    for round in 0..ROUNDS {
        for turn in 0..2 {
            let side = &sides[(round + turn) % 2];
            let mut lines = side.by_calls(share)?;
            lines.extend(side.by_command(flexvol)?);
            lines.iter().for_each(|(figure, value)| println!("{figure}\t{}\t{value}", side.name));
        }
    }
    Ok(())
}

impl Side<'_> {
    /// Each pod by a call of the driver, one after another.
    fn by_calls(&self, share: &str) -> Done<Vec<(&'static str, String)>> {
        let mut dirs = Vec::new();
        for pod in 0..PODS {
            let dir = format!("/run/bench/pods/{pod}/volumes/flexvol.io~nfs/data");
            fs::create_dir_all(&dir)?;
            dirs.push(dir);
        }
        let requests = requests()?;
        let start = Instant::now();
        for (pod, dir) in dirs.iter().enumerate() {
            call::<()>(self.driver, VerbName::Mount, &[dir, &options(share, pod)])?;
        }
        let come = start.elapsed();
        let asked = requests_since(requests)?;
        let ties = ties()?;
        self.expect(mounted_below("/run/bench/pods/")?, PODS)?;
        let start = Instant::now();
        for dir in &dirs {
            call::<()>(self.driver, VerbName::Unmount, &[dir])?;
        }
        let gone = start.elapsed();
        self.expect(self::ties()?.mounts, 0)?;
        Ok(vec![
            ("100 pods on one NFS share come", format!("{:.9}", come.as_secs_f64())),
            ("100 pods on one NFS share go", format!("{:.9}", gone.as_secs_f64())),
            ("connections to the server of 100 pods", ties.connections.to_string()),
            ("its file systems on the node", ties.file_systems.to_string()),
            ("NFS mounts on the node", ties.mounts.to_string()),
            ("requests to the server as 100 pods come", asked.to_string()),
        ])
    }

    /// All by the command, several at a time.
    fn by_command(&self, flexvol: &Path) -> Done<Vec<(&'static str, String)>> {
        let run = |verb: &str| -> Done<f64> {
            let start = Instant::now();
            let mut command = Command::new(flexvol);
            let ran = command.args([verb, "--jobs", "8"]).arg(&self.manifest).stdin(Stdio::null()).output()?;
            if !ran.status.success() {
                return Err(format!("flexvol {verb}: {}", String::from_utf8_lossy(&ran.stderr)).into());
            }
            Ok(start.elapsed().as_secs_f64())
        };
        let up = run("up")?;
        self.expect(mounted_below("/srv/root/pods/")?, PODS)?;
        let down = run("down")?;
        self.expect(ties()?.mounts, 0)?;
        Ok(vec![
            ("up of 100 pods with one NFS volume", format!("{up:.9}")),
            ("down of 100 pods with one NFS volume", format!("{down:.9}")),
        ])
    }

    fn expect(&self, found: usize, wanted: usize) -> Done {
        if found == wanted { Ok(()) } else { Err(format!("{}: {found} mounts, not {wanted}", self.name).into()) }
    }
}

/// What Kubernetes gives a driver with `mount`.
fn options(share: &str, pod: usize) -> String {
    format!(
        r#"{{"kubernetes.io/fsType":"","kubernetes.io/pod.name":"pod-{pod}","kubernetes.io/pod.namespace":"default","kubernetes.io/pod.uid":"uid-{pod}","kubernetes.io/pvOrVolumeName":"data","kubernetes.io/readwrite":"rw","kubernetes.io/serviceAccount.name":"default","server":"127.0.0.1","share":"{share}"}}"#
    )
}

/// The fields of each line of the mount table that is of NFS 4.
fn mounts() -> Done<Vec<Vec<String>>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let of_nfs = table.lines().filter(|line| line.contains(" - nfs4 "));
    Ok(of_nfs.map(|line| line.split(' ').map(str::to_owned).collect()).collect())
}

fn mounted_below(dir: &str) -> Done<usize> {
    Ok(mounts()?.iter().filter(|fields| fields.get(4).is_some_and(|point| point.starts_with(dir))).count())
}

fn ties() -> Done<Ties> {
    let mounts = mounts()?;
    let devices: BTreeSet<_> = mounts.iter().filter_map(|fields| fields.get(2)).collect();
    let sockets = fs::read_to_string("/proc/net/tcp")? + &fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    let is_established = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(2).is_some_and(|there| there.rsplit(':').next() == Some(PORT)) && fields.get(3) == Some(&"01")
    };
    let connections = sockets.lines().filter(is_established).count();
    Ok(Ties { connections, file_systems: devices.len(), mounts: mounts.len() })
}

/// How many requests the machine has sent to NFS servers since it runs.
fn requests() -> Done<u64> {
    let text = fs::read_to_string("/proc/net/rpc/nfs")?;
    let line = text.lines().find_map(|line| line.strip_prefix("rpc ")).ok_or("the kernel counts no requests")?;
    Ok(line.split(' ').next().unwrap_or_default().parse()?)
}

fn requests_since(before: u64) -> Done<u64> {
    Ok(requests()? - before)
}
