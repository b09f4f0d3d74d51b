//! What the NFS driver needs of this machine, looked at where one is installed.

use flexvolume_linux::kernel::{self, FsSupport};
use serde::{Deserialize, Serialize};

use super::{
    finding::{Finding, Group, Severity},
    sight::{Installer, Sight, is_installed},
};

/// Looks at the kernel's NFS and its program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Look;

/// What was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Of NFS 4, and of NFS 3.
    pub(crate) kernel: [FsSupport; 2],
    pub(crate) helper: bool,
    pub(crate) installer: Installer,
}

/// The program that mounts what the kernel cannot mount from options alone, and its package.
const HELPER: &str = "mount.nfs";
const PACKAGE: &str = "nfs-common";

impl Sight for Look {
    type Seen = Seen;

    fn look(self) -> Seen {
        Seen {
            kernel: ["nfs4", "nfs"].map(kernel::file_system),
            helper: is_installed(HELPER),
            installer: Installer::look(),
        }
    }
}

/// What it means.
pub(crate) fn judge(seen: &Seen) -> Vec<Finding> {
    let finding = |severity, about, words: &str| Finding::new(Group::Kernel, severity, "nfs", about, words);
    let mut findings = Vec::new();
    let [four, three] = seen.kernel;
    findings.push(match four {
        FsSupport::Here | FsSupport::Module => finding(Severity::Ok, "NFS 4", "it can be mounted"),
        FsSupport::None if three != FsSupport::None => finding(Severity::Warning, "NFS 4", "it cannot be mounted")
            .why("this kernel has neither its driver nor a module of it, and volumes have it that name no protocol")
            .mend("use a kernel with CONFIG_NFS_V4, or \"protocol\": \"3\""),
        FsSupport::None => finding(Severity::Problem, "NFS", "it cannot be mounted")
            .why("this kernel has neither its driver nor a module of it, so no volume of the driver comes up")
            .mend("use a kernel with CONFIG_NFS_FS and CONFIG_NFS_V4; in a container: that of its host"),
        FsSupport::Unknown => finding(Severity::Warning, "NFS 4", "the kernel does not have it now")
            .why("no list of modules is here that says whether it can be loaded")
            .mend("in a container: load it on its host")
            .run("modprobe nfsv4"),
    });
    if seen.helper {
        findings.push(finding(Severity::Ok, HELPER, "it is installed"));
    } else {
        findings.push(
            finding(Severity::Note, HELPER, "it is not installed")
                .why("only volumes with protocol 3 or with Kerberos need it")
                .install(seen.installer.packages(PACKAGE)),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kernel: [FsSupport; 2], helper: bool) -> Vec<(Severity, String, String)> {
        let found = judge(&Seen { kernel, helper, installer: Installer::Apt });
        let bad = found.into_iter().filter(|finding| finding.severity > Severity::Ok);
        bad.map(|finding| (finding.severity, finding.about, finding.run.join("; "))).collect()
    }

    #[test]
    fn what_is_lacking_is_told_by_how_bad_it_is() {
        use FsSupport::{Here, Module, None, Unknown};
        for kernel in [[Here, Here], [Module, Module], [Module, None]] {
            assert_eq!(told(kernel, true), []);
        }
        let one = |severity, about: &str, run: &str| vec![(severity, about.to_owned(), run.to_owned())];
        assert_eq!(told([None, None], true), one(Severity::Problem, "NFS", ""));
        assert_eq!(told([None, Module], true), one(Severity::Warning, "NFS 4", ""));
        assert_eq!(told([Unknown, Unknown], true), one(Severity::Warning, "NFS 4", "modprobe nfsv4"));
        assert_eq!(told([Here, None], false), one(Severity::Note, "mount.nfs", "apt-get install nfs-common"));
    }
}
