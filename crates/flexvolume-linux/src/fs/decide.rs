//! Whether a device is kept, formatted or refused: a pure function of what it holds and what is on record.

use super::{
    intent::{Intent, Phase},
    kind::FsType,
    probe::Content,
};
use crate::{Error, ErrorKind, Result};

/// What to do with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It holds what was asked for.
    Keep,
    /// Whole and ours, but the record does not say that mkfs ended: check it without writing; keep it if it is clean,
    /// format it again if not, for it was never handed out.
    Prove,
    /// Proven empty: format.
    Format,
    /// A format of ours was cut off: format again.
    Again,
}

/// What is asked of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) device: &'a str,
    pub(super) identity: &'a str,
    pub(super) fs_type: FsType,
    pub(super) record: &'a str,
}

pub(super) fn decide(found: &Content, intent: Option<&Intent>, asked: &Asked<'_>) -> Result<Step> {
    let refuse = |why: String| Refusal { asked, why };
    if let Some(intent) = intent
        && intent.identity != asked.identity
    {
        return Err(refuse(format!("its format record {} belongs to other storage", asked.record)).error(
            ErrorKind::Refused,
            "give every volume a record of its own; if the storage was replaced on purpose, remove the record",
        ));
    }
    let phase = intent.map(|intent| intent.phase);
    match found {
        Content::Empty => match phase {
            None => Ok(Step::Format),
            Some(Phase::Proven) => Ok(Step::Again),
            Some(Phase::Formatted) => Err(refuse(gone(asked, "it is empty")).lost()),
        },
        Content::Unsigned { at } => match phase {
            None => Err(refuse(format!("unknown data, byte {at} is not zero and no probe knows what it is")).foreign()),
            Some(Phase::Proven) => Ok(Step::Again),
            Some(Phase::Formatted) => Err(refuse(gone(asked, "no file system is recognised")).lost()),
        },
        Content::Unknown { why } => Err(refuse(why.clone()).foreign()),
        Content::Filesystem { fs_type, uuid, in_progress } => {
            if let Some(intent) = intent
                && intent.uuid != *uuid
            {
                let why = format!("it holds {fs_type} {uuid}, not the {} that the record names", intent.uuid);
                return Err(refuse(why).error(
                    ErrorKind::Refused,
                    "find out whose file system that is; if it is meant to be this volume's, remove the record",
                ));
            }
            match (in_progress, phase) {
                (true, Some(Phase::Proven)) => Ok(Step::Again),
                (true, Some(Phase::Formatted)) => Err(refuse(gone(asked, "its superblock says unfinished")).lost()),
                (true, None) => Err(refuse(format!("a {fs_type} whose mkfs did not end, and not by us")).foreign()),
                (false, _) if fs_type != asked.fs_type.as_str() => {
                    Err(refuse(format!("it holds {fs_type}, {} was asked for", asked.fs_type))
                        .error(ErrorKind::Refused, "ask for the type that is there, or empty the device by hand"))
                }
                (false, Some(Phase::Proven)) => Ok(Step::Prove),
                (false, Some(Phase::Formatted) | None) => Ok(Step::Keep),
            }
        }
    }
}

fn gone(asked: &Asked<'_>, what: &str) -> String {
    format!("{what}, yet by the record {} it was formatted and may have held data", asked.record)
}

struct Refusal<'a> {
    asked: &'a Asked<'a>,
    why: String,
}

impl Refusal<'_> {
    fn error(self, kind: ErrorKind, hint: &str) -> Error {
        Error::new(kind, format!("{} is not touched: {}", self.asked.device, self.why)).with_hint(hint)
    }

    fn foreign(self) -> Error {
        self.error(
            ErrorKind::Refused,
            "if nothing on it is needed, empty it by hand (wipefs, then zero its first and last MiB)",
        )
    }

    fn lost(self) -> Error {
        self.error(
            ErrorKind::Corrupted,
            "restore the data; only to begin anew with an empty volume, remove the record and empty the device",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "11111111-1111-4111-8111-111111111111";
    const OTHER: &str = "22222222-2222-4222-8222-222222222222";

    fn intent(phase: Phase) -> Intent {
        Intent { identity: "v".into(), size: 1, fs_type: FsType::Xfs, uuid: OURS.into(), phase }
    }

    fn fs(fs_type: &str, uuid: &str, in_progress: bool) -> Content {
        Content::Filesystem { fs_type: fs_type.into(), uuid: uuid.into(), in_progress }
    }

    /// The whole table: what is found, then the verdict without a record, when proven, when formatted.
    #[test]
    fn the_table() {
        use ErrorKind::{Corrupted, Refused};
        use Step::{Again, Format, Keep, Prove};
        let rows: [(Content, [std::result::Result<Step, ErrorKind>; 3]); 9] = [
            (Content::Empty, [Ok(Format), Ok(Again), Err(Corrupted)]),
            (Content::Unsigned { at: 9 }, [Err(Refused), Ok(Again), Err(Corrupted)]),
            (Content::Unknown { why: "LUKS".into() }, [Err(Refused), Err(Refused), Err(Refused)]),
            (fs("xfs", OURS, false), [Ok(Keep), Ok(Prove), Ok(Keep)]),
            (fs("xfs", OURS, true), [Err(Refused), Ok(Again), Err(Corrupted)]),
            (fs("xfs", OTHER, false), [Ok(Keep), Err(Refused), Err(Refused)]),
            (fs("xfs", OTHER, true), [Err(Refused), Err(Refused), Err(Refused)]),
            (fs("ext4", OURS, false), [Err(Refused), Err(Refused), Err(Refused)]),
            (fs("vfat", "", false), [Err(Refused), Err(Refused), Err(Refused)]),
        ];
        for (found, verdicts) in rows {
            let phases = [None, Some(Phase::Proven), Some(Phase::Formatted)];
            for (phase, verdict) in phases.into_iter().zip(verdicts) {
                let intent = phase.map(intent);
                let asked = |identity| Asked { device: "/dev/x", identity, fs_type: FsType::Xfs, record: "/r" };
                let got = decide(&found, intent.as_ref(), &asked("v")).map_err(|error| error.kind());
                assert_eq!(got, verdict, "{found:?} {phase:?}");
                if intent.is_some() {
                    let got = decide(&found, intent.as_ref(), &asked("w")).map_err(|error| error.kind());
                    assert_eq!(got, Err(Refused), "a record of other storage decides nothing");
                }
            }
        }
    }

    #[test]
    fn another_type_names_both() {
        let asked = Asked { device: "/dev/x", identity: "v", fs_type: FsType::Ext4, record: "/r" };
        let text = decide(&fs("xfs", OTHER, false), None, &asked).unwrap_err().to_string();
        assert!(text.contains("xfs") && text.contains("ext4"), "{text}");
    }
}
