//! The root directory and its ledger: whether volumes can be recorded there, and will be tomorrow.

use std::{
    fs,
    path::{Path, PathBuf},
};

use flexvolume_host::{Layout, ledger::Ledger};
use flexvolume_linux::{
    beneath::{Trust, trusted_chain},
    fs::{Usage, usage},
    mount,
};
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use super::{
    finding::{Finding, Group, Severity, count, quoted},
    record::{self, Volume},
    sight::{Shut, Sight, Told, above, if_there, is_read_only},
};

/// Looks at the root and its ledger.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) root: PathBuf,
    pub(crate) users: Vec<u32>,
}

/// What was seen.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Seen {
    /// It is not there; what is above it, and whether it could be made there.
    Missing { above: PathBuf, writable: bool },
    /// Whether it is there cannot be told.
    Shut(Shut),
    /// It is there.
    Here(Box<Here>),
}

/// A root that is there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Here {
    pub(crate) writable: bool,
    pub(crate) read_only: bool,
    pub(crate) distrust: Option<Told>,
    /// The type of the file system it is on.
    pub(crate) fs_type: String,
    pub(crate) usage: Option<Usage>,
    pub(crate) ledger: Records,
}

/// What the ledger says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Records {
    /// There is none.
    None,
    /// It cannot be read.
    Unreadable(Told),
    /// Its volumes, or why one of them cannot be believed.
    Read(Vec<Result<Volume, Told>>),
}

/// Below this nothing new is recorded: the ledger holds back a quarter of it for going down.
const FULL: u64 = 1 << 20;
/// Below this, and a twentieth of the whole, it is nearly full.
const NEARLY: u64 = 256 << 20;

impl Sight for Look {
    type Seen = Seen;

    fn look(self) -> Seen {
        let root = match if_there(fs::canonicalize(&self.root)) {
            Ok(Some(root)) => root,
            Ok(None) => {
                let above = above(&self.root);
                return Seen::Missing { writable: access(&above, Access::WRITE_OK).is_ok(), above };
            }
            Err(shut) => return Seen::Shut(shut),
        };
        let layout = Layout::new(&root);
        let ledger = match Ledger::peek(&layout.ledger()) {
            Ok(None) => Records::None,
            Err(error) => Records::Unreadable(error.into()),
            Ok(Some(records)) => {
                let volume = |record: flexvolume_host::volume::record::Record| record::read(&layout, &record);
                Records::Read(records.into_iter().map(|record| record.map(volume).map_err(Told::from)).collect())
            }
        };
        Seen::Here(Box::new(Here {
            writable: access(&root, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
            read_only: is_read_only(&root),
            distrust: trusted_chain(&root, &Trust::here().and(&self.users)).err().map(Told::from),
            fs_type: mount::propagation(None, &root).ok().flatten().map_or(String::new(), |covering| covering.fs_type),
            usage: usage(&root).ok(),
            ledger,
        }))
    }
}

impl Seen {
    /// Whether it is known what the records say: without that, nothing is unexplained.
    pub(crate) fn is_known(&self) -> bool {
        match self {
            Self::Missing { .. } => true,
            Self::Shut(_) => false,
            Self::Here(here) => match &here.ledger {
                Records::None => true,
                Records::Unreadable(_) => false,
                Records::Read(records) => records.iter().all(Result::is_ok),
            },
        }
    }

    /// The volumes that can be believed.
    pub(crate) fn volumes(&self) -> Vec<&Volume> {
        match self {
            Self::Missing { .. } | Self::Shut(_) => Vec::new(),
            Self::Here(here) => match &here.ledger {
                Records::None | Records::Unreadable(_) => Vec::new(),
                Records::Read(records) => records.iter().flatten().collect(),
            },
        }
    }
}

/// What it means.
pub(crate) fn judge(seen: &Seen, root: &Path) -> Vec<Finding> {
    let finding =
        |severity, check, text: String| Finding::new(Group::Root, severity, check, root.display().to_string(), text);
    let here = match seen {
        Seen::Missing { writable: true, .. } => {
            return vec![finding(Severity::Ok, "directory", "it is not there yet; the first up makes it".into())];
        }
        Seen::Missing { above, writable: false } => {
            return vec![
                finding(
                    Severity::Note,
                    "directory",
                    format!("it is not there, and may not be made in {}", above.display()),
                )
                .mend("run as root, or give a folder of yours with --root or FLEXVOL_ROOT"),
            ];
        }
        Seen::Shut(shut) => return vec![shut.finding(Group::Root, root)],
        Seen::Here(here) => here,
    };
    let mut findings = Vec::new();
    if here.read_only {
        findings.push(
            finding(Severity::Problem, "writable", "its file system is read-only".into())
                .why("nothing can be recorded, so nothing is brought up or taken down")
                .mend("mend the disk (dmesg says what is wrong), then")
                .run(format!("mount -o remount,rw {}", quoted(root))),
        );
    } else if !here.writable {
        findings.push(
            finding(Severity::Note, "writable", "this user may not write there".into())
                .mend("run as root, or choose another with --root"),
        );
    }
    if let Some(told) = &here.distrust {
        findings.push(
            finding(Severity::Problem, "trust", told.distrust())
                .why("paths beneath it could be changed while drivers work as you; no verb starts")
                .hint(&told.hint),
        );
    }
    if ["tmpfs", "ramfs", "rootfs"].contains(&here.fs_type.as_str()) {
        findings.push(
            finding(Severity::Warning, "lasting", format!("it is on a {}, in memory", here.fs_type))
                .why("after a reboot nobody knows what was attached or half formatted")
                .mend("choose a folder on a disk with --root or FLEXVOL_ROOT"),
        );
    }
    findings.extend(here.usage.and_then(|usage| room(usage, root)));
    findings.extend(ledger(&here.ledger, root));
    if findings.is_empty() {
        findings.push(finding(Severity::Ok, "directory", format!("on {}, writable, with room", here.fs_type)));
    }
    findings
}

fn room(usage: Usage, root: &Path) -> Option<Finding> {
    let finding = |severity, text: String| {
        Finding::new(Group::Root, severity, "room", root.display().to_string(), text)
            .run(format!("df -h -i {}", quoted(root)))
    };
    let no_inodes = usage.inodes > 0 && usage.inodes_free == 0;
    if usage.total > 0 && (usage.available < FULL || no_inodes) {
        let what = if no_inodes { "no inodes are left" } else { "its disk is full" };
        return Some(
            finding(Severity::Problem, what.into())
                .why("nothing new can be recorded; down still works")
                .mend("free some space"),
        );
    }
    let nearly = usage.available < NEARLY && usage.available < usage.total / 20;
    nearly.then(|| {
        finding(Severity::Warning, format!("its disk is nearly full: {} MiB are left", usage.available >> 20))
            .why("once it is full nothing new can be recorded")
            .mend("free some space")
    })
}

fn ledger(records: &Records, root: &Path) -> Vec<Finding> {
    let finding =
        |severity, check, text: String| Finding::new(Group::Root, severity, check, root.display().to_string(), text);
    match records {
        Records::None => Vec::new(),
        Records::Unreadable(told) => vec![finding(Severity::Problem, "ledger", told.story()).hint(&told.hint)],
        Records::Read(records) => {
            let bad = records.iter().filter_map(|record| record.as_ref().err());
            let mut findings: Vec<_> =
                bad.map(|told| finding(Severity::Problem, "record", told.story()).mend(told.hint.clone())).collect();
            let foreign = records.iter().flatten().filter(|volume| !volume.own_machine).count();
            if foreign > 0 {
                findings.push(
                    finding(Severity::Warning, "machine", format!("{} recorded on another machine", were(foreign)))
                        .why("nothing of them is detached or deleted here, and nothing is brought up")
                        .mend("a root belongs to one machine: begin with an empty one")
                        .run(format!("mv {0} {0}.old", quoted(root))),
                );
            }
            findings
        }
    }
}

fn were(number: usize) -> String {
    format!("{} {}", count(number, "volume"), if number == 1 { "was" } else { "were" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Here {
        Here {
            writable: true,
            read_only: false,
            distrust: None,
            fs_type: "ext4".into(),
            usage: Some(Usage {
                total: 100 << 30,
                available: 50 << 30,
                inodes: 10,
                inodes_free: 5,
                ..Usage::default()
            }),
            ledger: Records::None,
        }
    }

    fn judged(here: Here) -> (Severity, &'static str, String) {
        let mut findings = judge(&Seen::Here(Box::new(here)), Path::new("/r"));
        assert_eq!(findings.len(), 1, "{findings:?}");
        let finding = findings.remove(0);
        (finding.severity, finding.check, finding.run.join("; "))
    }

    #[test]
    fn each_state_of_the_root_is_judged() {
        let told = |severity, check, run: &str| (severity, check, run.to_owned());
        assert_eq!(judged(here()), told(Severity::Ok, "directory", ""));
        let read_only = Here { read_only: true, writable: false, ..here() };
        assert_eq!(judged(read_only), told(Severity::Problem, "writable", "mount -o remount,rw /r"));
        assert_eq!(judged(Here { fs_type: "tmpfs".into(), ..here() }), told(Severity::Warning, "lasting", ""));
        let usage = |available, total, inodes_free| {
            Some(Usage { total, available, inodes: 9, inodes_free, ..Usage::default() })
        };
        for (usage, severity) in [
            (usage(1000, 1 << 30, 5), Severity::Problem),
            (usage(1 << 30, 2 << 30, 0), Severity::Problem),
            (usage(10 << 20, 1 << 30, 5), Severity::Warning),
            // A small disk that is half empty, a large one with much left: neither is nearly full.
            (usage(10 << 20, 20 << 20, 5), Severity::Ok),
            (usage(1 << 30, 1 << 40, 5), Severity::Ok),
        ] {
            assert_eq!(judged(Here { usage, ..here() }).0, severity, "{usage:?}");
        }
        let distrust = Some(Told { what: "x".into(), hint: "run: chmod go-w /r".into(), ..Told::default() });
        assert_eq!(judged(Here { distrust, ..here() }), told(Severity::Problem, "trust", "chmod go-w /r"));
        let ledger = Records::Unreadable(Told {
            what: "damaged".into(),
            hint: "rebuilt; run: flexvol ls".into(),
            ..Told::default()
        });
        assert_eq!(judged(Here { ledger, ..here() }), told(Severity::Problem, "ledger", "flexvol ls"));
        let ledger = Records::Read(vec![Ok(Volume { own_machine: false, ..Volume::default() })]);
        assert_eq!(judged(Here { ledger, ..here() }), told(Severity::Warning, "machine", "mv /r /r.old"));
        let missing = |writable| judge(&Seen::Missing { above: "/".into(), writable }, Path::new("/r"))[0].severity;
        assert_eq!((missing(true), missing(false)), (Severity::Ok, Severity::Note));
        let unseen = Look { root: "/proc/self/status/root".into(), users: Vec::new() }.look();
        let finding = judge(&unseen, Path::new("/r")).remove(0);
        assert_eq!((finding.check, finding.severity), ("unseen", Severity::Problem), "it is not called missing");
        assert!(!unseen.is_known());
    }
}
