//! The kernel and its tools: what flexvol and drivers use of them, and what is lost where it is not there.

use std::{fs, path::Path};

use flexvolume_linux::{
    fs::{FsType, Needed, needed},
    kernel::{self, Feature, FsSupport, Has},
};
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use super::{
    finding::{Finding, Group, Severity},
    sight::{Installer, Sight},
};

/// Looks at the kernel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Look;

/// What was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) release: String,
    pub(crate) features: Vec<(Feature, Has)>,
    pub(crate) root: bool,
    pub(crate) may_mount: bool,
    /// A device node: whether it is there, and may be used.
    pub(crate) loop_control: Node,
    pub(crate) fuse: Node,
    pub(crate) file_systems: Vec<(String, FsSupport)>,
    pub(crate) tools: Vec<Needed>,
    /// How many user namespaces a user may make, and what else forbids them.
    pub(crate) user_namespaces: Option<u64>,
    pub(crate) restricted: Option<String>,
    pub(crate) installer: Installer,
}

/// A device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Node {
    Usable,
    Closed,
    Missing,
}

/// Settings that keep users from making user namespaces, and the value that does.
const RESTRICTIONS: &[(&str, &str)] =
    &[("kernel.unprivileged_userns_clone", "0"), ("kernel.apparmor_restrict_unprivileged_userns", "1")];

impl Sight for Look {
    type Seen = Seen;

    fn look(self) -> Seen {
        let node = |path: &str| match (Path::new(path).exists(), access(path, Access::READ_OK | Access::WRITE_OK)) {
            (false, _) => Node::Missing,
            (true, Ok(())) => Node::Usable,
            (true, Err(_)) => Node::Closed,
        };
        let setting = |name: &str| {
            let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
            Some(text.trim().to_owned())
        };
        let types = FsType::ALL.iter().map(|one| one.as_str()).chain(["tmpfs", "fuse"]);
        let restricted = RESTRICTIONS.iter().find(|(name, value)| setting(name).as_deref() == Some(value));
        Seen {
            release: kernel::release(),
            features: Feature::ALL.iter().map(|feature| (*feature, feature.ask())).collect(),
            root: rustix::process::geteuid().is_root(),
            may_mount: kernel::may_mount(),
            loop_control: node("/dev/loop-control"),
            fuse: node("/dev/fuse"),
            file_systems: types.map(|name| (name.to_owned(), kernel::file_system(name))).collect(),
            tools: needed(),
            user_namespaces: setting("user.max_user_namespaces").and_then(|text| text.parse().ok()),
            restricted: restricted.map(|(name, _)| (*name).to_owned()),
            installer: Installer::look(),
        }
    }
}

/// What it means.
pub(crate) fn judge(seen: &Seen) -> Vec<Finding> {
    let mut findings = features(seen);
    findings.extend(rights(seen));
    findings.extend(devices(seen));
    findings.extend(file_systems(seen));
    findings.extend(tools(seen));
    findings
}

fn finding(severity: Severity, check: &'static str, about: impl Into<String>, seen: impl Into<String>) -> Finding {
    Finding::new(Group::Kernel, severity, check, about, seen)
}

fn features(seen: &Seen) -> Vec<Finding> {
    let about = format!("kernel {}", seen.release);
    let mut findings = Vec::new();
    for (feature, has) in &seen.features {
        let (name, severity, lost) = match feature {
            Feature::Statmount => (
                "statmount",
                Severity::Note,
                "the whole mount table is read for each look, which is slow with very many mounts",
            ),
            Feature::Openat2 => ("openat2", Severity::Problem, "no volume can be mounted: paths are resolved with it"),
            Feature::MountApi => ("open_tree and move_mount", Severity::Problem, "no volume can be bound for a pod"),
            Feature::MountSetattr => {
                ("mount_setattr", Severity::Problem, "no mount can be made read-only, nosuid and nodev")
            }
            Feature::Pidfd => {
                ("pidfd_open", Severity::Warning, "processes are looked at from time to time instead of waited for")
            }
        };
        // Whoever may not mount is refused this one for that reason alone.
        let expected = *feature == Feature::MountSetattr && !seen.may_mount && *has == Has::Forbidden;
        match has {
            Has::Yes => {}
            Has::Forbidden if expected => {}
            Has::No => findings.push(
                finding(severity, "feature", &about, format!("{name} is not there"))
                    .why(lost)
                    .mend(format!("kernel {} has it; in a container its sandbox may hide it", feature.since())),
            ),
            Has::Forbidden => {
                findings.push(finding(severity, "feature", &about, format!("{name} is forbidden here")).why(lost).mend(
                    "a sandbox around this process forbids it: run flexvol outside, or loosen its seccomp profile",
                ))
            }
        }
    }
    if findings.is_empty() {
        findings.push(finding(Severity::Ok, "feature", about, "has all that flexvol uses"));
    }
    findings
}

fn rights(seen: &Seen) -> Vec<Finding> {
    if seen.may_mount {
        let who = if seen.root { "root" } else { "with the right to mount" };
        return vec![finding(Severity::Ok, "rights", "rights", format!("run as {who}"))];
    }
    let mut findings = Vec::new();
    let may = finding(Severity::Note, "rights", "rights", "this process may not mount")
        .why("up and down will fail; looking works");
    findings.push(match (seen.root, &seen.restricted, seen.user_namespaces) {
        (true, _, _) => may.mend("it is root without CAP_SYS_ADMIN, as in a container: give it that capability"),
        (false, Some(setting), _) => {
            let value = if setting.ends_with("clone") { 1 } else { 0 };
            may.mend("run it as root; users may not make user namespaces here")
                .run(format!("sysctl -w {setting}={value}"))
        }
        (false, None, Some(0)) => may
            .mend("run it as root; users may not make user namespaces here")
            .run("sysctl -w user.max_user_namespaces=15000"),
        (false, None, _) => {
            may.mend("run it as root, or in a user namespace of your own").run("unshare --user --map-root-user --mount")
        }
    });
    findings
}

fn devices(seen: &Seen) -> Vec<Finding> {
    let mut findings = Vec::new();
    match seen.loop_control {
        Node::Usable => {
            findings.push(finding(Severity::Ok, "loop", "/dev/loop-control", "loop devices can be attached"))
        }
        // Whoever may not mount could do nothing with them.
        Node::Closed if !seen.root => {}
        Node::Closed => findings.push(
            finding(Severity::Note, "loop", "/dev/loop-control", "it may not be used")
                .why("the loopback driver needs it")
                .mend("in a container: give it the device, and the right to make loop devices"),
        ),
        Node::Missing => findings.push(
            finding(Severity::Note, "loop", "/dev/loop-control", "it is not there")
                .why("the loopback driver needs it")
                .mend("in a container: --device /dev/loop-control")
                .run("modprobe loop"),
        ),
    }
    match seen.fuse {
        Node::Usable => findings.push(finding(Severity::Ok, "fuse", "/dev/fuse", "FUSE file systems can be mounted")),
        Node::Closed if !seen.root => {}
        Node::Closed => findings.push(
            finding(Severity::Note, "fuse", "/dev/fuse", "it may not be used")
                .why("drivers that mount FUSE file systems (sshfs, s3fs and others) need it")
                .mend("in a container: give it the device"),
        ),
        Node::Missing => findings.push(
            finding(Severity::Note, "fuse", "/dev/fuse", "it is not there")
                .why("drivers that mount FUSE file systems (sshfs, s3fs and others) need it")
                .run("modprobe fuse"),
        ),
    }
    findings
}

fn file_systems(seen: &Seen) -> Vec<Finding> {
    let of = |wanted: FsSupport| -> Vec<&str> {
        let of = seen.file_systems.iter().filter(|(_, support)| *support == wanted);
        of.map(|(name, _)| name.as_str()).collect()
    };
    let mut findings = Vec::new();
    let usable = [of(FsSupport::Here), of(FsSupport::Module)].concat();
    if !usable.is_empty() {
        findings.push(finding(
            Severity::Ok,
            "fileSystems",
            "file systems",
            format!("can be mounted: {}", usable.join(", ")),
        ));
    }
    let none = of(FsSupport::None);
    if !none.is_empty() {
        findings.push(
            finding(Severity::Note, "fileSystems", "file systems", format!("cannot be mounted: {}", none.join(", ")))
                .why("this kernel has neither the driver nor a module of it")
                .mend("only volumes of such a type are concerned"),
        );
    }
    findings
}

fn tools(seen: &Seen) -> Vec<Finding> {
    let missing: Vec<_> = seen.tools.iter().filter(|tool| tool.path.is_none()).collect();
    if missing.is_empty() {
        return vec![finding(Severity::Ok, "tools", "tools", "all that format, check and grow file systems are here")];
    }
    // What everything needs, what the default type needs, and the rest: each told once.
    let needs =
        |of: &dyn Fn(Option<FsType>) -> bool| -> Vec<_> { missing.iter().filter(|tool| of(tool.fs_type)).collect() };
    let mut findings = Vec::new();
    let told = [
        (
            needs(&|of| of.is_none()),
            Severity::Warning,
            "no device can be proven empty without it, so none is formatted",
        ),
        (
            needs(&|of| matches!(of, Some(FsType::Ext3 | FsType::Ext4))),
            Severity::Warning,
            "ext4 is what volumes get that name no type",
        ),
        (
            needs(&|of| matches!(of, Some(FsType::Xfs | FsType::Btrfs))),
            Severity::Note,
            "only volumes of that type need them",
        ),
    ];
    for (tools, severity, why) in told.into_iter().filter(|(tools, _, _)| !tools.is_empty()) {
        let names: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
        let mut packages: Vec<_> = tools.iter().map(|tool| tool.package.as_str()).collect();
        packages.dedup();
        let finding = finding(severity, "tools", "tools", format!("not installed: {}", names.join(", "))).why(why);
        findings.push(finding.install(seen.installer.packages(&packages.join(" "))));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        let tool = |name: &str, fs_type| Needed {
            name: name.into(),
            package: format!("{name}-package"),
            fs_type,
            path: Some(format!("/sbin/{name}").into()),
        };
        Seen {
            release: "6.18".into(),
            features: Feature::ALL.map(|feature| (feature, Has::Yes)).to_vec(),
            root: true,
            may_mount: true,
            loop_control: Node::Usable,
            fuse: Node::Usable,
            file_systems: vec![("ext4".into(), FsSupport::Here)],
            tools: vec![
                tool("blkid", None),
                tool("mkfs.ext4", Some(FsType::Ext4)),
                tool("mkfs.xfs", Some(FsType::Xfs)),
            ],
            user_namespaces: Some(100),
            restricted: None,
            installer: Installer::Other,
        }
    }

    fn bad(seen: &Seen) -> Vec<(Severity, &'static str, String)> {
        let bad = judge(seen).into_iter().filter(|finding| finding.severity > Severity::Ok);
        bad.map(|finding| (finding.severity, finding.check, finding.run.join("; "))).collect()
    }

    #[test]
    fn a_whole_machine_is_in_order_and_each_lack_is_told() {
        assert_eq!(bad(&seen()), []);
        let lacks = |feature: Feature, has: Has| {
            let mut seen = seen();
            seen.features = vec![(feature, has)];
            bad(&seen)[0].0
        };
        assert_eq!(lacks(Feature::Openat2, Has::No), Severity::Problem);
        assert_eq!(lacks(Feature::Statmount, Has::No), Severity::Note);
        assert_eq!(lacks(Feature::Pidfd, Has::Forbidden), Severity::Warning);
        let note = |check: &'static str, run: &str| vec![(Severity::Note, check, run.to_owned())];
        assert_eq!(bad(&Seen { loop_control: Node::Missing, ..seen() }), note("loop", "modprobe loop"));
        assert_eq!(bad(&Seen { fuse: Node::Missing, ..seen() }), note("fuse", "modprobe fuse"));
        assert_eq!(bad(&Seen { loop_control: Node::Closed, ..seen() }), note("loop", ""));
        let closed = Seen { fuse: Node::Closed, ..seen() };
        assert_eq!(bad(&closed), note("fuse", ""));
        let of_a_user = judge(&Seen { root: false, ..closed });
        assert!(of_a_user.iter().all(|finding| finding.check != "fuse"), "{of_a_user:?}");
        let systems = vec![("xfs".into(), FsSupport::None), ("ext4".into(), FsSupport::Module)];
        assert_eq!(bad(&Seen { file_systems: systems, ..seen() }), note("fileSystems", ""));
    }

    #[test]
    fn who_may_not_mount_is_told_how_to() {
        let user = Seen { root: false, may_mount: false, loop_control: Node::Closed, ..seen() };
        let run = |seen: &Seen| bad(seen)[0].2.clone();
        assert_eq!(run(&user), "unshare --user --map-root-user --mount");
        let none = Seen { user_namespaces: Some(0), ..user.clone() };
        assert_eq!(run(&none), "sysctl -w user.max_user_namespaces=15000");
        let restricted =
            Seen { restricted: Some("kernel.apparmor_restrict_unprivileged_userns".into()), ..user.clone() };
        assert_eq!(run(&restricted), "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
        // The call is there; it is only not for this user.
        let refused = Seen { features: vec![(Feature::MountSetattr, Has::Forbidden)], ..user };
        assert!(bad(&refused).iter().all(|(_, check, _)| *check == "rights"));
    }

    #[test]
    fn tools_are_told_by_what_needs_them() {
        let mut without = seen();
        without.tools.iter_mut().for_each(|tool| tool.path = None);
        let told: Vec<_> = bad(&without).into_iter().map(|(severity, check, _)| (severity, check)).collect();
        assert_eq!(told, [(Severity::Warning, "tools"), (Severity::Warning, "tools"), (Severity::Note, "tools")]);
    }
}
