//! What past calls left that nobody needs any more, or that waits for somebody: each with how it is cleared.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    slice,
};

use flexvolume_host::kernel_stack;
use flexvolume_protocol::{DriverName, excerpt};

use super::{
    finding::{Finding, Group, Severity, count, quoted},
    record::{Doing, Failed, Volume, Whose},
    traces::{Child, Gone, Lies},
};

/// What was found on the machine, beside the records.
pub(crate) struct Left<'a> {
    pub(crate) volumes: &'a [&'a Volume],
    pub(crate) lies: &'a Lies,
    pub(crate) loops: &'a [Gone],
    pub(crate) children: &'a [Child],
    /// The ledger could be read: without it nothing is unexplained.
    pub(crate) known: bool,
    /// The command as it was called.
    pub(crate) flexvol: &'a str,
}

/// How a volume goes on that a client of the bridge has: no `up` or `down` touches it.
const CLIENTS: &str = "its client's next NodeStageVolume or NodePublishVolume mounts it anew, NodeUnpublishVolume and NodeUnstageVolume \
                       take it away";

/// As much of a failure is shown.
const SHOWN: usize = 300;

fn finding(severity: Severity, check: &'static str, about: impl Into<String>, seen: impl Into<String>) -> Finding {
    Finding::new(Group::Volumes, severity, check, about, seen)
}

/// All that is left.
pub(crate) fn judge(left: &Left<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for volume in left.volumes {
        findings.extend(judge_volume(volume, left));
    }
    if left.known {
        findings.extend(unexplained(left));
    }
    findings.extend(left.loops.iter().map(gone));
    findings.extend(stuck(left));
    findings.extend(left.children.iter().filter_map(|child| leftover(child, left)));
    if findings.is_empty() {
        let number = left.volumes.len();
        findings.push(finding(
            Severity::Ok,
            "volumes",
            "volumes",
            format!("{}, nothing left over", count(number, "record")),
        ));
    }
    findings
}

/// Drivers that are gone while volumes need them: all of them, or those of `only`.
pub(crate) fn missing_drivers(
    volumes: &[&Volume],
    installed: &[DriverName],
    only: &[DriverName],
    flexvol: &str,
) -> Vec<Finding> {
    let mut needed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for volume in volumes {
        let is = |name: &DriverName| name.as_str() == volume.driver;
        if !installed.iter().any(is) && (only.is_empty() || only.iter().any(is)) {
            needed.entry(&volume.driver).or_default().push(&volume.key);
        }
    }
    let told = |(driver, keys): (&str, Vec<&str>)| {
        let first: Vec<_> = keys.iter().take(3).copied().collect();
        let seen =
            format!("it is not there, and the ledger has {} of it: {}", count(keys.len(), "volume"), first.join(", "));
        Finding::new(Group::Drivers, Severity::Problem, "missing", driver, seen)
            .why("its volumes stay as they are, and cannot be taken down without it")
            .mend(format!("put it back: {flexvol} install FILE --as {driver}"))
    };
    needed.into_iter().map(told).collect()
}

fn judge_volume(volume: &Volume, left: &Left<'_>) -> Vec<Finding> {
    let Left { flexvol, children, .. } = left;
    let down =
        |finding: Finding, whose: &[Whose], before: &str| clear(finding, volume, whose, &format!("{before}{flexvol}"));
    let mut findings = Vec::new();
    // Told of the root, once for all.
    if !volume.own_machine {
        return findings;
    }
    if let Some(pid) = volume.elsewhere {
        let found = finding(
            Severity::Warning,
            "namespace",
            &volume.key,
            format!("it is mounted in another mount namespace, in which pid {pid} lives"),
        )
        .why("from here it can neither be seen nor taken down");
        findings.push(down(found, &[Whose::Node], &format!("nsenter --mount=/proc/{pid}/ns/mnt -- ")));
        return findings;
    }
    if let Some(Doing { op, whose, call }) = &volume.doing {
        let at_work: Vec<_> = children.iter().filter(|child| child.call == *call).collect();
        findings.push(match at_work.first() {
            Some(child) => finding(
                Severity::Note,
                "underWay",
                &volume.key,
                format!("{op} is under way, by pid {} ({})", child.id.pid, child.name),
            ),
            None => {
                let seen = format!("{op} was interrupted, and nothing of it runs any more");
                let found = finding(Severity::Warning, "interrupted", &volume.key, seen).why(if volume.is_clients {
                    "it is undone, or done again, by the next call that concerns it"
                } else {
                    "it is undone, or done again, by the next up or down that concerns it"
                });
                down(found, slice::from_ref(whose), "")
            }
        });
    }
    for Failed { op, whose, words } in &volume.trouble {
        let seen = format!("{op} failed: {}", excerpt(words, SHOWN));
        let found = finding(Severity::Warning, "trouble", &volume.key, seen)
            .mend("once its cause is gone, up or down tries again");
        findings.push(down(found, slice::from_ref(whose), ""));
    }
    if volume.own_boot && !volume.lost.is_empty() {
        let of = |whose: &Whose| match whose {
            Whose::Node => "the node as a whole".to_owned(),
            Whose::Pod(pod) => format!("pod {pod}"),
        };
        let lost: Vec<_> = volume.lost.iter().map(of).collect();
        let seen = format!("its mount for {} is gone, or something else is mounted there", lost.join(" and for "));
        let found = finding(Severity::Warning, "lost", &volume.key, seen)
            .why("somebody unmounted it, or mounted over it; what pods write meanwhile goes to the host's own disk")
            .mend("flexvol up with the manifests makes it anew; or");
        findings.push(down(found, &volume.lost, ""));
    }
    if !volume.own_boot && findings.is_empty() {
        let found = finding(Severity::Note, "boot", &volume.key, "it was mounted before this machine was started anew")
            .mend("flexvol up with the manifests mounts it again; or");
        findings.push(down(found, &[Whose::Node], ""));
    } else if volume.idle && findings.is_empty() {
        let seen = format!("no pod wants it, and it is still here {}", volume.device);
        let found = finding(Severity::Warning, "idle", &volume.key, seen.trim_end());
        findings.push(down(found, &[Whose::Node], ""));
    }
    if volume.rebuilt {
        let seen = "its record was lost and pieced together from what is mounted";
        let found =
            finding(Severity::Note, "rebuilt", &volume.key, seen).why("it can be taken down and is not used further");
        findings.push(down(found, &[Whose::Node], ""));
    }
    findings
}

/// Names the pods that are to go down, and no other: whose volumes are well keep them.
fn clear(finding: Finding, volume: &Volume, whose: &[Whose], flexvol: &str) -> Finding {
    if volume.is_clients {
        return finding.mend(CLIENTS);
    }
    let of = |one: &Whose| match one {
        Whose::Node => volume.pods.clone(),
        Whose::Pod(pod) => vec![pod.clone()],
    };
    let pods: BTreeSet<_> = whose.iter().flat_map(of).map(quoted).collect();
    if pods.is_empty() {
        let words = finding.mend.trim_end_matches("; or").to_owned();
        let next = "the next down, of whatever pod, clears it, and so does an up that uses it";
        return finding.mend(if words.is_empty() { next.to_owned() } else { format!("{words}; {next}") });
    }
    finding.run(format!("{flexvol} down {}", Vec::from_iter(pods).join(" ")))
}

/// Mounts and directories beneath the root that no record explains.
fn unexplained(left: &Left<'_>) -> Vec<Finding> {
    let recorded: Vec<&PathBuf> = left.volumes.iter().flat_map(|volume| &volume.paths).collect();
    // A driver may have mounted further things within its own.
    let explained = |path: &Path| recorded.iter().any(|known| path.starts_with(known));
    let mut findings = Vec::new();
    let mut told: Vec<&PathBuf> = Vec::new();
    for point in left.lies.mounts.iter().filter(|point| !explained(point)) {
        if told.iter().any(|above| point.starts_with(above)) {
            continue;
        }
        told.push(point);
        findings.push(
            finding(
                Severity::Warning,
                "mount",
                point.display().to_string(),
                "it is mounted beneath the root, and no record explains it",
            )
            .why("flexvol neither uses it nor takes it away")
            .mend("look what it is; if nobody needs it")
            .run(format!("umount -R {}", quoted(point))),
        );
    }
    for (directory, names) in left.lies.directories.iter().filter(|(directory, _)| !explained(directory)) {
        let about = directory.display().to_string();
        findings.push(if names.is_empty() {
            finding(Severity::Note, "directory", about, "an empty directory of a volume that no record knows")
                .run(format!("rmdir -p --ignore-fail-on-non-empty {}", quoted(directory)))
        } else {
            finding(
                Severity::Warning,
                "directory",
                about,
                format!(
                    "a directory of a volume that no record knows, with files in it: {}",
                    excerpt(&names.join(", "), SHOWN)
                ),
            )
            .why("flexvol never deletes files there")
            .mend("keep or delete them by hand")
            .run(format!("ls -la {}", quoted(directory)))
        });
    }
    findings
}

/// A loop device without its image.
fn gone(gone: &Gone) -> Finding {
    let Gone { device, image, mounted } = gone;
    let about = device.display().to_string();
    let seen = match mounted {
        Some(point) => format!("its image {image} was deleted while it is mounted at {}", point.display()),
        None => format!("it is attached to {image}, which was deleted; no mount of it is seen from here"),
    };
    // Told by the shell, since cp -n that finds a file there may call that success.
    let (device, image) = (quoted(device), quoted(image));
    let rescue = format!("test ! -e {image} && cp -n --sparse=always {device} {image}");
    finding(Severity::Warning, "loop", about, seen)
        .why("it is the last copy of its data: when it is detached, that is gone")
        .mend(
            "to rescue it, while nothing writes to it; if there is a new file in its place, give the copy another name",
        )
        .run(match mounted {
            Some(_) => rescue,
            None => format!("{rescue} && losetup -d {device}"),
        })
}

/// The volume that a call was made for, as far as its record still names the call.
fn volume_of<'a>(child: &Child, left: &Left<'a>) -> Option<&'a Volume> {
    let named = |volume: &&&Volume| {
        let doing = volume.doing.as_ref().is_some_and(|doing| doing.call == child.call);
        doing || volume.leftovers.contains(&child.call)
    };
    left.volumes.iter().find(named).copied()
}

/// Processes that no signal ends: told once for each volume and for what they wait.
fn stuck(left: &Left<'_>) -> Vec<Finding> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Child>> = BTreeMap::new();
    for child in left.children {
        if let Some(waits) = &child.stuck {
            let key = volume_of(child, left).map_or("", |volume| volume.key.as_str());
            groups.entry((key, waits)).or_default().push(child);
        }
    }
    let told = |((key, waits), children): ((&str, &str), Vec<&Child>)| {
        let pids: Vec<_> = children.iter().map(|child| child.id.pid.to_string()).collect();
        let mut names: Vec<_> = children.iter().map(|child| what(child)).collect();
        names.sort_unstable();
        names.dedup();
        let first = pids.first().cloned().unwrap_or_default();
        let about = match pids.len() {
            1 => format!("pid {first}"),
            number => format!("pid {first} and {} more", number - 1),
        };
        let place = if waits.is_empty() || waits == "0" { String::new() } else { format!(" ({waits})") };
        let whose = if key.is_empty() { ", for no volume of this root".to_owned() } else { format!(", for {key}") };
        let waiting = if pids.len() == 1 { "waits" } else { "wait" };
        let finding = finding(
            Severity::Warning,
            "stuck",
            about,
            format!("{} {waiting} in the kernel{place}{whose}", names.join(", ")),
        )
        .why("no signal ends that; the volume is busy until what is waited for answers, or is taken away")
        .run(kernel_stack(children[0].id.pid));
        // The two kinds of servers that may never answer, by the kernel's name for waiting for one.
        if waits.contains("fuse") || waits == "request_wait_answer" {
            finding
                .mend("a FUSE server does not answer: start it anew, or abort its connection; N is the minor number of the mount's device in /proc/self/mountinfo")
                .run("echo 1 > /sys/fs/fuse/connections/N/abort")
        } else if waits.contains("rpc_") || waits.contains("nfs") {
            finding.mend("an NFS server does not answer: bring it back, or").run("umount -f MOUNTPOINT")
        } else {
            finding.mend("see what it waits for, and mend or unmount that")
        }
    };
    groups.into_iter().map(told).collect()
}

fn what(child: &Child) -> &str {
    if child.worker { "a worker of flexvol" } else { &child.name }
}

/// A process that an interrupted call left, and that nobody has ended yet.
fn leftover(child: &Child, left: &Left<'_>) -> Option<Finding> {
    let volume = volume_of(child, left).filter(|volume| volume.leftovers.contains(&child.call))?;
    child.stuck.is_none().then(|| {
        let seen = format!("{} was left by an interrupted call, for {}", what(child), volume.key);
        finding(Severity::Note, "leftover", format!("pid {}", child.id.pid), seen)
            .mend("the next up or down that concerns the volume ends it")
    })
}

#[cfg(test)]
mod tests {
    use flexvolume_linux::process::ProcessId;

    use super::*;

    fn volume() -> Volume {
        Volume {
            key: "v/d/one".into(),
            driver: "v/d".into(),
            pods: vec!["default/web".into()],
            own_machine: true,
            own_boot: true,
            paths: vec!["/r/pods/u/volumes/v~d/one".into()],
            ..Volume::default()
        }
    }

    fn left<'a>(volumes: &'a [&'a Volume], lies: &'a Lies) -> Left<'a> {
        Left { volumes, lies, loops: &[], children: &[], known: true, flexvol: "flexvol" }
    }

    fn judged(
        volumes: &[&Volume],
        lies: &Lies,
        loops: &[Gone],
        children: &[Child],
    ) -> Vec<(Severity, &'static str, String)> {
        judge(&Left { loops, children, ..left(volumes, lies) })
            .into_iter()
            .map(|finding| (finding.severity, finding.check, finding.run.join("; ")))
            .collect()
    }

    fn of(volume: &Volume) -> (Severity, &'static str, String) {
        let mut findings = judged(&[volume], &Lies::default(), &[], &[]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.remove(0)
    }

    fn child(call: &str, stuck: bool) -> Child {
        let id = ProcessId { pid: 42, started: 1 };
        Child { id, call: call.into(), name: "sshfs".into(), stuck: stuck.then(|| "fuse_wait".into()), worker: false }
    }

    #[test]
    fn each_state_of_a_record_is_judged() {
        let told = |severity, check, run: &str| (severity, check, run.to_owned());
        let down = "flexvol down default/web";
        assert_eq!(of(&volume()), told(Severity::Ok, "volumes", ""));
        let doing = Some(Doing { op: "stage".into(), whose: Whose::Node, call: "c1".into() });
        assert_eq!(of(&Volume { doing: doing.clone(), ..volume() }), told(Severity::Warning, "interrupted", down));
        let trouble = vec![Failed { op: "attach".into(), whose: Whose::Node, words: "no disk".into() }];
        assert_eq!(of(&Volume { trouble, ..volume() }), told(Severity::Warning, "trouble", down));
        let lost = vec![Whose::Pod("default/web".into())];
        assert_eq!(of(&Volume { lost, ..volume() }), told(Severity::Warning, "lost", down));
        assert_eq!(of(&Volume { own_boot: false, ..volume() }), told(Severity::Note, "boot", down));
        assert_eq!(of(&Volume { idle: true, ..volume() }), told(Severity::Warning, "idle", down));
        let run = "nsenter --mount=/proc/7/ns/mnt -- flexvol down default/web";
        assert_eq!(of(&Volume { elsewhere: Some(7), ..volume() }), told(Severity::Warning, "namespace", run));
        assert_eq!(of(&Volume { rebuilt: true, ..volume() }), told(Severity::Note, "rebuilt", down));
        let foreign = Volume { own_machine: false, idle: true, ..volume() };
        assert_eq!(of(&foreign).0, Severity::Ok, "told of the root");
        let at_work = judged(&[&Volume { doing, ..volume() }], &Lies::default(), &[], &[child("c1", false)]);
        assert_eq!(at_work, [told(Severity::Note, "underWay", "")]);
    }

    #[test]
    fn no_command_takes_down_more_than_it_is_about() {
        let failed = |whose| vec![Failed { op: "unpublish".into(), whose, words: "busy".into() }];
        let shared = Volume { pods: vec!["default/db".into(), "default/web".into()], ..volume() };
        let web = Whose::Pod("default/web".into());
        assert_eq!(of(&Volume { trouble: failed(web.clone()), ..shared.clone() }).2, "flexvol down default/web");
        assert_eq!(of(&Volume { lost: vec![web.clone()], ..shared.clone() }).2, "flexvol down default/web");
        let doing = Some(Doing { op: "publish".into(), whose: web.clone(), call: "c1".into() });
        assert_eq!(of(&Volume { doing, ..shared.clone() }).2, "flexvol down default/web");
        let whole = Volume { lost: vec![web, Whose::Node], ..shared };
        assert_eq!(of(&whole).2, "flexvol down default/db default/web", "each pod once");
        // Of a volume without pods there is none to be named.
        let bare = Volume { pods: Vec::new(), ..volume() };
        let doing = Some(Doing { op: "unstage".into(), whose: Whose::Node, call: "c1".into() });
        for volume in [
            Volume { trouble: failed(Whose::Node), ..bare.clone() },
            Volume { doing, ..bare.clone() },
            Volume { idle: true, ..bare.clone() },
            Volume { own_boot: false, ..bare.clone() },
            Volume { rebuilt: true, ..bare.clone() },
            Volume { lost: vec![Whose::Node], ..bare.clone() },
            Volume { elsewhere: Some(7), ..bare },
        ] {
            let told = judge(&left(&[&volume], &Lies::default())).remove(0);
            assert!(told.run.is_empty() && told.mend.contains("the next down"), "{told:?}");
            assert!(!told.mend.contains("or;"), "{told:?}");
        }
    }

    #[test]
    fn what_a_client_of_the_bridge_has_no_up_or_down_mends() {
        let lost = vec![Whose::Pod("default/web".into()), Whose::Node];
        let boot = Volume { own_boot: false, is_clients: true, ..volume() };
        for volume in [Volume { lost, is_clients: true, ..volume() }, boot] {
            let told = judge(&left(&[&volume], &Lies::default())).remove(0);
            assert!(told.run.is_empty() && told.mend.contains("NodeUnstageVolume"), "{told:?}");
            assert!(!told.mend.contains("flexvol up") && !told.mend.contains("down"), "{told:?}");
        }
    }

    #[test]
    fn what_no_record_explains_is_told_once() {
        let one = volume();
        let lies = Lies {
            mounts: ["/r/pods/u/volumes/v~d/one", "/r/pods/u/volumes/v~d/one/in", "/r/x", "/r/x/y"]
                .map(PathBuf::from)
                .to_vec(),
            directories: vec![
                ("/r/pods/u/volumes/v~d/two".into(), Vec::new()),
                ("/r/pods/u/volumes/v~d/three".into(), vec!["file".into()]),
            ],
        };
        let told = judged(&[&one], &lies, &[], &[]);
        let checks: Vec<_> = told.iter().map(|(severity, check, _)| (*severity, *check)).collect();
        let expected = [(Severity::Warning, "mount"), (Severity::Note, "directory"), (Severity::Warning, "directory")];
        assert_eq!(checks, expected);
        assert_eq!(told[0].2, "umount -R /r/x");
        assert_eq!(
            judge(&Left { known: false, ..left(&[], &lies) })[0].severity,
            Severity::Ok,
            "without a ledger nothing is known to be unexplained"
        );
    }

    #[test]
    fn devices_and_processes_are_told_with_the_way_out() {
        let gone = |mounted: Option<&str>| Gone {
            device: "/dev/loop9".into(),
            image: "/srv/i.img".into(),
            mounted: mounted.map(PathBuf::from),
        };
        let run = |gone: Gone| judged(&[], &Lies::default(), &[gone], &[])[0].2.clone();
        let copy = "test ! -e /srv/i.img && cp -n --sparse=always /dev/loop9 /srv/i.img";
        assert_eq!(run(gone(Some("/m"))), copy);
        assert_eq!(run(gone(None)), format!("{copy} && losetup -d /dev/loop9"), "none that fails is gone on from");
        let of = |child: Child, volumes: &[&Volume]| judged(volumes, &Lies::default(), &[], &[child])[0].clone();
        let (severity, check, run) = of(child("x", true), &[]);
        assert_eq!((severity, check), (Severity::Warning, "stuck"));
        assert!(run.starts_with("cat /proc/42/stack; echo 1 > /sys/fs/fuse/"), "{run}");
        let crowd: Vec<_> =
            (1..30).map(|pid| Child { id: ProcessId { pid, started: 1 }, ..child("x", true) }).collect();
        let told = judge(&Left { children: &crowd, ..left(&[], &Lies::default()) });
        assert!(told.len() == 1 && told[0].about == "pid 1 and 28 more", "{told:?}");
        assert!(told[0].seen.ends_with("sshfs wait in the kernel (fuse_wait), for no volume of this root"), "{told:?}");
        assert_eq!(of(child("x", false), &[]).0, Severity::Ok, "a daemon of a call that ended well");
        let with = Volume { leftovers: vec!["x".into()], ..volume() };
        assert_eq!(of(child("x", false), &[&with]).1, "leftover");
    }
}
