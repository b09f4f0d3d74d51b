//! The one table from failures to the codes of gRPC, by the error tables of the CSI specification.
//!
//! A code tells the orchestrator also whether anything may be left of the call. After any but `ABORTED`, `CANCELLED`,
//! `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED` and `UNAVAILABLE`, Kubernetes takes it that nothing was made, and never asks to have it undone.

use flexvolume_host::{Error, Kind};
use flexvolume_protocol::{Code as Said, excerpt};
use tonic::{Code, Status};

/// A status may take so many bytes of a header, with everything that is written as `%XX` there. Some clients take no more than 8 KiB
/// of headers in all.
const MESSAGE: usize = 4096;

/// Which page of a list was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// The first: no token came with the call.
    First,
    /// The one that a token stands for.
    Later,
}

impl Page {
    /// The one that begins at a token; without one it is the first.
    pub(crate) fn of(token: &str) -> Self {
        if token.is_empty() { Self::First } else { Self::Later }
    }
}

/// A call of CSI that can fail for a reason of the driver or the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rpc {
    /// Controller.
    CreateVolume,
    /// Controller.
    DeleteVolume,
    /// Controller.
    ControllerPublishVolume,
    /// Controller.
    ControllerUnpublishVolume,
    /// Controller.
    ValidateVolumeCapabilities,
    /// Controller.
    ListVolumes(Page),
    /// Controller.
    ControllerListVolumeHealth(Page),
    /// Controller.
    ControllerGetVolumeHealth,
    /// Controller.
    ControllerModifyVolume,
    /// Controller.
    GetCapacity,
    /// Controller.
    CreateSnapshot,
    /// Controller.
    DeleteSnapshot,
    /// Controller.
    ListSnapshots(Page),
    /// Controller.
    GetSnapshot,
    /// Controller.
    ControllerExpandVolume,
    /// Node.
    NodeStageVolume,
    /// Node.
    NodeUnstageVolume,
    /// Node.
    NodePublishVolume,
    /// Node.
    NodeUnpublishVolume,
    /// Node.
    NodeGetVolumeStats,
    /// Node.
    NodeGetVolumeHealth,
    /// Node.
    NodeGetStorageHealth,
    /// Node.
    NodeExpandVolume,
    /// Who this is, what it can do, whether it is ready: of any service.
    About,
}

/// What a call does, as far as its failures go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Makes something that must be undone one day.
    Make,
    /// Makes a volume ready for use on a node: the same, and "the volume cannot do that" is a state, not a bad field.
    Ready,
    /// Makes larger: the size is all that can be wrong with the request.
    Expand,
    /// Changes what is there.
    Change,
    /// Takes away: the request is nothing but a name.
    Undo,
    /// Only asks.
    Ask,
    /// Asks for a page whose token may be wrong.
    Turn,
}

impl Rpc {
    fn does(self) -> Does {
        match self {
            Self::CreateVolume | Self::CreateSnapshot | Self::ControllerPublishVolume => Does::Make,
            Self::NodeStageVolume | Self::NodePublishVolume => Does::Ready,
            Self::ControllerExpandVolume | Self::NodeExpandVolume => Does::Expand,
            Self::ControllerModifyVolume => Does::Change,
            Self::DeleteVolume
            | Self::DeleteSnapshot
            | Self::ControllerUnpublishVolume
            | Self::NodeUnstageVolume
            | Self::NodeUnpublishVolume => Does::Undo,
            Self::ListVolumes(Page::Later)
            | Self::ControllerListVolumeHealth(Page::Later)
            | Self::ListSnapshots(Page::Later) => Does::Turn,
            Self::ListVolumes(Page::First)
            | Self::ControllerListVolumeHealth(Page::First)
            | Self::ListSnapshots(Page::First)
            | Self::ValidateVolumeCapabilities
            | Self::ControllerGetVolumeHealth
            | Self::GetCapacity
            | Self::GetSnapshot
            | Self::NodeGetVolumeStats
            | Self::NodeGetVolumeHealth
            | Self::NodeGetStorageHealth
            | Self::About => Does::Ask,
        }
    }

    /// The code where something is wrong with us or the driver, and nobody can say what is left of the call.
    fn broken(self) -> Code {
        match self.does() {
            Does::Make | Does::Ready | Does::Expand | Does::Change => Code::Unavailable,
            Does::Undo | Does::Ask | Does::Turn => Code::Internal,
        }
    }

    fn by_word(self, said: Said) -> Code {
        match said {
            Said::Conflict => Code::AlreadyExists,
            Said::NotFound => Code::NotFound,
            Said::Exhausted => Code::ResourceExhausted,
            Said::Busy => Code::FailedPrecondition,
            Said::Permission => Code::PermissionDenied,
            Said::Invalid => match self.does() {
                Does::Expand => Code::OutOfRange,
                Does::Turn => Code::Aborted,
                Does::Make | Does::Ready | Does::Change | Does::Undo | Does::Ask => Code::InvalidArgument,
            },
            Said::Unsupported => match self.does() {
                Does::Ready | Does::Undo => Code::FailedPrecondition,
                Does::Make | Does::Expand | Does::Change | Does::Ask | Does::Turn => Code::InvalidArgument,
            },
        }
    }
}

/// The code of a failure.
fn code(error: &Error, rpc: Rpc) -> Code {
    match error.kind() {
        Kind::Invalid => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::Refused if error.is_otherwise() => Code::AlreadyExists,
        Kind::Refused => Code::FailedPrecondition,
        // Somebody is at it, or still is: the same call again will see what came of it.
        Kind::Busy | Kind::Stuck => Code::Aborted,
        Kind::Driver => match (error.code(), error.is_drivers_word()) {
            (Some(said), _) => rpc.by_word(said),
            (None, true) => Code::Internal,
            (None, false) => rpc.broken(),
        },
        Kind::System | Kind::Ledger => rpc.broken(),
    }
}

/// What the client of this call is told of a failure of the host or the driver: what, why, what next.
pub(crate) fn of(error: &Error, rpc: Rpc) -> Status {
    let mut text = error.story();
    // The host's own hints are for who works on the node.
    let next = if error.is_otherwise() && rpc == Rpc::NodePublishVolume {
        Some("unpublish it there first (NodeUnpublishVolume), or ask for it as it is")
    } else if error.is_otherwise() && rpc == Rpc::NodeStageVolume {
        Some("unpublish and unstage it first (NodeUnstageVolume), or ask for it as it is")
    } else {
        error.next()
    };
    if let Some(hint) = next {
        text.push_str("; ");
        text.push_str(&hint.replace('\n', "; "));
    }
    say(code(error, rpc), &text)
}

/// The answer of the driver cannot be passed on. What it made, if it made anything, is there.
pub(crate) fn bad_answer(rpc: Rpc, text: impl AsRef<str>) -> Status {
    say(rpc.broken(), text.as_ref())
}

/// The work goes on: call again.
pub(crate) fn pending(text: impl AsRef<str>) -> Status {
    say(Code::Aborted, text.as_ref())
}

/// A token that is none of ours: begin the list anew.
pub(crate) fn bad_token(text: impl AsRef<str>) -> Status {
    say(Code::Aborted, text.as_ref())
}

/// It cannot be told what is left of the call, or nothing can be done now: call again.
pub(crate) fn unavailable(text: impl AsRef<str>) -> Status {
    say(Code::Unavailable, text.as_ref())
}

/// Whether clients take it from this status that nothing is left of the call, so that they never ask to have it undone.
pub(crate) fn is_final(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::Aborted | Code::Cancelled | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Unavailable
    )
}

/// Something in the request is missing, makes no sense, or is nothing that this driver can do.
pub(crate) fn invalid(text: impl AsRef<str>) -> Status {
    say(Code::InvalidArgument, text.as_ref())
}

/// A required field is missing.
pub(crate) fn missing(field: &str) -> Status {
    invalid(format!("the request has no {field}"))
}

/// No volume can have such a size.
pub(crate) fn out_of_range(text: impl AsRef<str>) -> Status {
    say(Code::OutOfRange, text.as_ref())
}

/// There is no such volume, snapshot or node.
pub(crate) fn not_found(text: impl AsRef<str>) -> Status {
    say(Code::NotFound, text.as_ref())
}

/// As things are that cannot be done.
pub(crate) fn refused(text: impl AsRef<str>) -> Status {
    say(Code::FailedPrecondition, text.as_ref())
}

/// No room is left for it here.
pub(crate) fn exhausted(text: impl AsRef<str>) -> Status {
    say(Code::ResourceExhausted, text.as_ref())
}

/// A call that is not among the capabilities.
pub(crate) fn unimplemented(text: impl AsRef<str>) -> Status {
    say(Code::Unimplemented, text.as_ref())
}

fn say(code: Code, text: &str) -> Status {
    let text = excerpt(text, MESSAGE);
    match text.is_empty() {
        true => Status::new(code, code.description()),
        false => Status::new(code, bounded(&text)),
    }
}

/// The text as long as it fits, cut between two characters.
fn bounded(text: &str) -> String {
    const CUT: &str = "%E2%80%A6";
    let weight = |c: char| match c {
        ' ' | '"' | '#' | '%' | '<' | '>' | '`' | '?' | '{' | '}' => 3,
        c if c.is_ascii_graphic() => 1,
        c => 3 * c.len_utf8(),
    };
    if text.chars().map(weight).sum::<usize>() <= MESSAGE {
        return text.to_owned();
    }
    let mut room = MESSAGE - CUT.len();
    let fits = |c: &char| {
        let left = room.checked_sub(weight(*c));
        room = left.unwrap_or_default();
        left.is_some()
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
