//! The plugin directory: where it is, where others have theirs, and whether drivers can be put there and run.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use flexvolume_host::settings::PLUGIN_DIR;
use flexvolume_linux::{
    beneath::{Trust, trusted_chain},
    mount, process,
};
use flexvolume_protocol::DriverName;
use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
use serde::{Deserialize, Serialize};

use super::{
    finding::{Finding, Group, Severity, count, quoted},
    sight::{Shut, Sight, Told, above, if_there, is_read_only},
};

/// Where systems have moved the directory to, and which do.
const KNOWN: &[(&str, &str)] = &[
    (PLUGIN_DIR, "the kubelet's default; k3s, MicroK8s and Talos keep it"),
    ("/var/lib/kubelet/volumeplugins", "RKE2, Rancher, and clusters on Flatcar or Container Linux"),
    ("/var/lib/kubelet/volume-plugins", "some clusters with a read-only /usr"),
    ("/opt/libexec/kubernetes/kubelet-plugins/volume/exec", "kubeadm on Flatcar"),
    ("/home/kubernetes/flexvolume", "GKE, on Container-Optimized OS"),
    ("/etc/kubernetes/volumeplugins", "AKS"),
    ("/etc/kubernetes/kubelet-plugins/volume/exec", "OpenShift, Fedora CoreOS"),
    ("/usr/libexec/k0s/kubelet-plugins/volume/exec", "k0s"),
];

/// Looks at the plugin directory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) dir: PathBuf,
    pub(crate) users: Vec<u32>,
}

/// Looks at the places that others use: one that hangs hides ours no more than ours hides them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LookElsewhere {
    pub(crate) dir: PathBuf,
}

/// Where else drivers may lie.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Elsewhere {
    pub(crate) others: Vec<Other>,
    pub(crate) kubelets: Vec<Kubelet>,
}

/// The plugin directory itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Here {
    /// It is not there; the deepest directory above it that is, and whether that is on a read-only file system.
    Missing { above: PathBuf, read_only: bool },
    /// Whether it is there cannot be told.
    Shut(Shut),
    /// Something else is there.
    NotDirectory,
    /// It is there.
    Directory {
        /// We may put something there.
        writable: bool,
        /// Its file system is read-only.
        read_only: bool,
        /// Nothing there can be run; where that mount is.
        noexec: Option<PathBuf>,
        /// Others could have written there.
        distrust: Option<Told>,
        /// It cannot be listed.
        closed: Option<String>,
    },
}

/// Another place, and how many drivers it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Other {
    pub(crate) path: PathBuf,
    pub(crate) drivers: usize,
}

/// A kubelet that runs here, and where it looks for drivers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kubelet {
    pub(crate) pid: u32,
    pub(crate) dir: PathBuf,
}

impl Sight for Look {
    type Seen = Here;

    fn look(self) -> Here {
        here(&self.dir, &Trust::here().and(&self.users))
    }
}

impl Sight for LookElsewhere {
    type Seen = Elsewhere;

    fn look(self) -> Elsewhere {
        let others = KNOWN.iter().map(|(path, _)| Path::new(path)).filter(|path| !is_same(path, &self.dir));
        let others = others.filter_map(|path| Some(Other { path: path.to_owned(), drivers: drivers(path)? })).collect();
        let processes = process::command_lines().unwrap_or_default();
        let kubelets = processes.into_iter().filter_map(|(pid, argv)| {
            let read = |path: &str| fs::read_to_string(format!("/proc/{pid}/root{path}")).ok();
            Some(Kubelet { pid, dir: kubelets_dir(&argv, &read)? })
        });
        Elsewhere { others, kubelets: kubelets.collect() }
    }
}

fn here(dir: &Path, trust: &Trust) -> Here {
    match if_there(fs::metadata(dir)) {
        Ok(Some(meta)) if !meta.is_dir() => return Here::NotDirectory,
        Ok(Some(_)) => {}
        Ok(None) => {
            let above = above(dir);
            return Here::Missing { read_only: is_read_only(&above), above };
        }
        Err(shut) => return Here::Shut(shut),
    }
    let noexec = statvfs(dir).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::NOEXEC));
    let point = || {
        let real = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        mount::propagation(None, &real).ok().flatten().map_or(real, |covering| covering.point)
    };
    Here::Directory {
        writable: access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
        read_only: is_read_only(dir),
        noexec: noexec.then(point),
        distrust: trusted_chain(dir, trust).err().map(Told::from),
        closed: fs::read_dir(dir).err().map(|error| error.to_string()),
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other
        || matches!((fs::metadata(one), fs::metadata(other)), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
}

/// How many drivers lie there; `None` if there is no such directory.
fn drivers(dir: &Path) -> Option<usize> {
    let is_driver = |entry: fs::DirEntry| {
        let name = DriverName::from_dir(entry.file_name().to_str()?).ok()?;
        process::runnable(&entry.path().join(name.executable())).then_some(())
    };
    Some(fs::read_dir(dir).ok()?.flatten().filter_map(is_driver).count())
}

/// Where the kubelet with this command line looks; `None` if it is none. `read` gives the text of its settings file.
fn kubelets_dir(argv: &[String], read: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let program = argv.first()?.rsplit('/').next()?;
    let is_kubelet = match program {
        "kubelet" | "kubelite" => true,
        "hyperkube" => argv.get(1).is_some_and(|word| word == "kubelet"),
        // RKE2 starts a kubelet of its own, which is found by itself.
        "k3s" => argv.get(1).is_some_and(|word| word == "server" || word == "agent"),
        _ => false,
    };
    if !is_kubelet {
        return None;
    }
    let values = |flag: &'static str| {
        let after = argv.iter().skip(1).map(Some).chain([None]);
        argv.iter().zip(after).filter_map(move |(word, next)| {
            let rest = word.strip_prefix('-')?.trim_start_matches('-').strip_prefix(flag)?;
            if rest.is_empty() { next.map(String::as_str) } else { rest.strip_prefix('=') }
        })
    };
    // Of a flag that is given twice the kubelet takes the last.
    let value = |flag| values(flag).last().map(str::to_owned);
    // k3s hands each of these on.
    let passed_on = || {
        let given =
            values("kubelet-arg").filter_map(|arg| arg.trim_start_matches('-').strip_prefix("volume-plugin-dir="));
        given.last().map(str::to_owned)
    };
    let configured = || {
        let text = read(&value("config")?)?;
        let line = text.lines().find_map(|line| line.trim().strip_prefix("volumePluginDir:"))?.trim().to_owned();
        Some(line.trim_matches(['"', '\'']).to_owned())
    };
    Some(value("volume-plugin-dir").or_else(passed_on).or_else(configured).unwrap_or_else(|| PLUGIN_DIR.into()).into())
}

/// What it means; `drivers` is how many lie in the plugin directory.
pub(crate) fn judge(seen: &Here, dir: &Path, drivers: usize, flexvol: &str) -> Vec<Finding> {
    let finding =
        |severity, check, text: String| Finding::new(Group::Plugins, severity, check, dir.display().to_string(), text);
    let mut findings = Vec::new();
    match seen {
        Here::Missing { above, read_only: true } => findings.push(
            finding(Severity::Warning, "directory", format!("it is not there, and {} is read-only", above.display()))
                .why("no driver can be installed here")
                .mend("choose a directory that can be written, for this shell and for services")
                .run("export FLEXVOL_PLUGIN_DIR=/var/lib/kubelet/volumeplugins"),
        ),
        Here::Missing { .. } => findings.push(
            finding(Severity::Note, "directory", "it is not there yet".into())
                .mend("installing the first driver makes it")
                .run(format!("{flexvol} install FILE --as VENDOR/NAME")),
        ),
        Here::Shut(shut) => findings.push(shut.finding(Group::Plugins, dir)),
        Here::NotDirectory => findings.push(
            finding(Severity::Problem, "directory", "it is no directory".into())
                .mend("give the directory that holds the drivers with --plugin-dir or FLEXVOL_PLUGIN_DIR"),
        ),
        Here::Directory { writable, read_only, noexec, distrust, closed } => {
            if let Some(point) = noexec {
                findings.push(
                    finding(Severity::Problem, "noexec", format!("{} is mounted noexec", point.display()))
                        .why("no driver in it can be run")
                        .run(format!("mount -o remount,exec {}", quoted(point))),
                );
            }
            if let Some(told) = distrust {
                findings.push(
                    finding(Severity::Problem, "trust", told.distrust())
                        .why("what somebody else could have written is not run")
                        .hint(&told.hint),
                );
            }
            if let Some(why) = closed {
                findings.push(
                    finding(Severity::Problem, "directory", format!("it cannot be listed: {why}")).mend("run as root"),
                );
            }
            if *read_only {
                findings.push(
                    finding(Severity::Note, "writable", "its file system is read-only".into())
                        .why("the drivers in it can be used; none can be installed or replaced"),
                );
            } else if !writable {
                findings.push(finding(Severity::Note, "writable", "this user may not install drivers here".into()));
            }
            if findings.is_empty() {
                findings.push(finding(Severity::Ok, "directory", format!("{}, writable", count(drivers, "driver"))));
            }
        }
    }
    findings
}

/// Drivers or a kubelet in another directory than ours.
pub(crate) fn judge_elsewhere(seen: &Elsewhere, dir: &Path, drivers: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    let export = |path: &Path| format!("export FLEXVOL_PLUGIN_DIR={}", quoted(path));
    for other in seen.others.iter().filter(|other| other.drivers > 0) {
        let who = KNOWN.iter().find(|(path, _)| Path::new(path) == other.path).map_or("", |(_, who)| who);
        // With nothing here, what lies there is probably what was meant.
        let severity = if drivers == 0 { Severity::Warning } else { Severity::Note };
        findings.push(
            Finding::new(
                Group::Plugins,
                severity,
                "elsewhere",
                other.path.display().to_string(),
                format!("{} here, where flexvol does not look ({who})", count(other.drivers, "driver")),
            )
            .mend("to use these")
            .run(export(&other.path)),
        );
    }
    for kubelet in seen.kubelets.iter().filter(|kubelet| !is_same_text(&kubelet.dir, dir)) {
        findings.push(
            Finding::new(
                Group::Plugins,
                Severity::Warning,
                "kubelet",
                kubelet.dir.display().to_string(),
                format!("the kubelet (pid {}) looks for drivers here, flexvol in {}", kubelet.pid, dir.display()),
            )
            .why("a driver installed for one is not seen by the other")
            .mend("to use the kubelet's")
            .run(export(&kubelet.dir)),
        );
    }
    findings
}

/// The same path but for slashes.
fn is_same_text(one: &Path, other: &Path) -> bool {
    one.components().eq(other.components())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_kubelet_says_where_it_looks() {
        let none = |_: &str| None;
        let of = |text: &str| kubelets_dir(&argv(text), &none).map(|dir| dir.display().to_string());
        assert_eq!(of("/usr/bin/kubelet --volume-plugin-dir=/a --v=2").as_deref(), Some("/a"));
        assert_eq!(of("kubelet --v 2 --volume-plugin-dir /a").as_deref(), Some("/a"));
        assert_eq!(of("hyperkube kubelet -volume-plugin-dir=/a").as_deref(), Some("/a"));
        assert_eq!(of("/usr/local/bin/k3s server --kubelet-arg=volume-plugin-dir=/a").as_deref(), Some("/a"));
        let several = "k3s agent --kubelet-arg v=2 --kubelet-arg volume-plugin-dir=/a --kubelet-arg=max-pods=9";
        assert_eq!(of(several).as_deref(), Some("/a"));
        assert_eq!(of("kubelet --volume-plugin-dir=/a --volume-plugin-dir=/b").as_deref(), Some("/b"));
        assert_eq!(of("k3s server --kubelet-arg=v=2").as_deref(), Some(PLUGIN_DIR));
        assert_eq!(of("kubelet --volume-plugin-dirs=/a").as_deref(), Some(PLUGIN_DIR));
        for none in
            ["kube-proxy --volume-plugin-dir=/a", "vi kubelet", "k3s kubectl get", "rke2 server", "rke2 agent", ""]
        {
            assert_eq!(of(none), None, "{none}");
        }
        let settings = |path: &str| (path == "/etc/k.yaml").then(|| "kind: X\nvolumePluginDir: \"/b\"\n".to_owned());
        assert_eq!(kubelets_dir(&argv("kubelet --config=/etc/k.yaml"), &settings), Some("/b".into()));
    }

    fn directory() -> Here {
        Here::Directory { writable: true, read_only: false, noexec: None, distrust: None, closed: None }
    }

    fn judged(here: Here, drivers: usize) -> Vec<Finding> {
        judge(&here, Path::new("/p"), drivers, "flexvol")
    }

    #[test]
    fn each_state_of_the_directory_is_judged() {
        let one = |here: Here| {
            let findings = judged(here, 1);
            assert_eq!(findings.len(), 1, "{findings:?}");
            (findings[0].severity, findings[0].run.join("; "))
        };
        assert_eq!(one(directory()), (Severity::Ok, String::new()));
        assert_eq!(one(Here::NotDirectory).0, Severity::Problem);
        let unseen = here(Path::new("/proc/self/status/plugins"), &Trust::here());
        assert_eq!(one(unseen).0, Severity::Problem, "it is not called missing");
        let missing = |read_only| Here::Missing { above: "/usr".into(), read_only };
        assert_eq!(one(missing(false)), (Severity::Note, "flexvol install FILE --as VENDOR/NAME".into()));
        let (severity, run) = one(missing(true));
        assert!(severity == Severity::Warning && run.starts_with("export FLEXVOL_PLUGIN_DIR="), "{run}");
        let noexec = Here::Directory {
            writable: true,
            read_only: false,
            noexec: Some("/home".into()),
            distrust: None,
            closed: None,
        };
        assert_eq!(one(noexec), (Severity::Problem, "mount -o remount,exec /home".into()));
        let told = Told { what: "cannot trust /p".into(), hint: "run: chmod go-w '/p'".into(), ..Told::default() };
        let open =
            Here::Directory { writable: true, read_only: false, noexec: None, distrust: Some(told), closed: None };
        assert_eq!(one(open), (Severity::Problem, "chmod go-w '/p'".into()));
    }

    #[test]
    fn drivers_elsewhere_and_another_kubelet_are_told() {
        let seen = Elsewhere {
            others: vec![
                Other { path: "/etc/kubernetes/volumeplugins".into(), drivers: 2 },
                Other { path: "/home/kubernetes/flexvolume".into(), drivers: 0 },
            ],
            kubelets: vec![Kubelet { pid: 7, dir: "/p/".into() }, Kubelet { pid: 8, dir: "/q".into() }],
        };
        let findings = judge_elsewhere(&seen, Path::new("/p"), 0);
        let told: Vec<_> = findings.iter().map(|finding| (finding.check, finding.severity)).collect();
        let expected = [("elsewhere", Severity::Warning), ("kubelet", Severity::Warning)];
        assert_eq!(told, expected);
        assert!(findings[0].seen.contains("AKS"), "{findings:?}");
        assert!(findings[1].seen.contains("pid 8"), "{findings:?}");
        assert_eq!(judge_elsewhere(&seen, Path::new("/p"), 1)[0].severity, Severity::Note);
    }
}
