//! Who sees the mounts that flexvol makes: our mount namespace against that of process 1, and the peer groups of the root.

use std::path::{Path, PathBuf};

use flexvolume_linux::{
    kernel::mount_namespace,
    mount::{Propagation, propagation},
};
use serde::{Deserialize, Serialize};

use super::{
    finding::{Finding, Group, Severity, quoted},
    sight::Sight,
};

/// Looks at the mount that the root directory lies in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) root: PathBuf,
}

/// What was seen; `None` where it may not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) own: Option<String>,
    pub(crate) first: Option<String>,
    /// The mount that the root lies in, as we see it.
    pub(crate) here: Option<Propagation>,
    /// As process 1 sees that path.
    pub(crate) there: Option<Propagation>,
}

impl Sight for Look {
    type Seen = Seen;

    fn look(self) -> Seen {
        let real =
            self.root.ancestors().find_map(|path| std::fs::canonicalize(path).ok()).unwrap_or_else(|| "/".into());
        Seen {
            own: mount_namespace(None),
            first: mount_namespace(Some(1)),
            here: propagation(None, &real).ok().flatten(),
            there: propagation(Some(1), &real).ok().flatten(),
        }
    }
}

/// What it means; `flexvol` is the command as it was called.
pub(crate) fn judge(seen: &Seen, root: &Path, flexvol: &str) -> Vec<Finding> {
    let about = root.display().to_string();
    let finding = |severity, check, text: String| Finding::new(Group::Mounts, severity, check, &about, text);
    let Some(here) = &seen.here else {
        return vec![finding(Severity::Note, "propagation", "the mount table cannot be read".into())];
    };
    match (&seen.own, &seen.first) {
        (Some(own), Some(first)) if own == first => vec![match here.peers {
            Some(_) => finding(
                Severity::Ok,
                "propagation",
                format!("its mount, {}, is shared: what is mounted beneath it is seen all over this machine", here.point.display()),
            ),
            None => finding(Severity::Note, "propagation", format!("its mount, {}, is private", here.point.display()))
                .why("volumes are seen in this mount namespace alone, not in services and containers that have one of their own")
                .mend("if they shall see volumes too")
                .run(format!("mount --make-shared {}", quoted(&here.point))),
        }],
        (Some(_), Some(_)) => {
            let peers = here.peers.is_some() && seen.there.as_ref().is_some_and(|there| there.peers == here.peers);
            vec![if peers {
                finding(
                    Severity::Ok,
                    "namespace",
                    "this process has a mount namespace of its own, and what it mounts beneath the root is seen outside too".into(),
                )
            } else {
                finding(Severity::Warning, "namespace", "this process has a mount namespace of its own".into())
                    .why("volumes that are mounted here are seen nowhere else, and are gone when its last process ends")
                    .mend("in a service: no PrivateTmp=, PrivateMounts=, ProtectSystem= and the like. By hand, in that of process 1")
                    .run(format!("nsenter --mount=/proc/1/ns/mnt -- {flexvol} doctor"))
            }]
        }
        (Some(_) | None, None) | (None, Some(_)) => vec![
            finding(Severity::Note, "namespace", "whether this is the machine's own mount namespace cannot be told".into())
                .why("process 1 may not be looked at from here")
                .mend("run with all of root's rights, outside of containers"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(peers: Option<u64>) -> Option<Propagation> {
        Some(Propagation { point: "/srv".into(), fs_type: "ext4".into(), peers, follows: None })
    }

    fn judged(first: Option<&str>, here: Option<u64>, there: Option<u64>) -> (Severity, &'static str, String) {
        let seen = Seen {
            own: Some("mnt:[1]".into()),
            first: first.map(str::to_owned),
            here: mount(here),
            there: mount(there),
        };
        let mut findings = judge(&seen, Path::new("/srv/root"), "flexvol");
        assert_eq!(findings.len(), 1);
        let finding = findings.remove(0);
        (finding.severity, finding.check, finding.run.join("; "))
    }

    #[test]
    fn who_sees_the_mounts_is_judged() {
        let same = Some("mnt:[1]");
        assert_eq!(judged(same, Some(1), Some(1)).0, Severity::Ok);
        assert_eq!(judged(same, None, None), (Severity::Note, "propagation", "mount --make-shared /srv".into()));
        let other = Some("mnt:[2]");
        assert_eq!(judged(other, Some(7), Some(7)).0, Severity::Ok);
        for (here, there) in [(None, Some(7)), (Some(8), Some(7)), (None, None)] {
            let (severity, check, run) = judged(other, here, there);
            assert_eq!((severity, check), (Severity::Warning, "namespace"));
            assert!(run.contains("nsenter"), "{run}");
        }
        assert_eq!(judged(None, Some(1), None).0, Severity::Note);
    }
}
