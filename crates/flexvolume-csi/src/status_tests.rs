//! Rows of the specification's error tables, and what holds for every call.

use super::*;

const ALL: [Rpc; 26] = [
    Rpc::CreateVolume,
    Rpc::DeleteVolume,
    Rpc::ControllerPublishVolume,
    Rpc::ControllerUnpublishVolume,
    Rpc::ValidateVolumeCapabilities,
    Rpc::ListVolumes(Page::First),
    Rpc::ListVolumes(Page::Later),
    Rpc::ControllerListVolumeHealth(Page::First),
    Rpc::ControllerListVolumeHealth(Page::Later),
    Rpc::ControllerGetVolumeHealth,
    Rpc::ControllerModifyVolume,
    Rpc::GetCapacity,
    Rpc::CreateSnapshot,
    Rpc::DeleteSnapshot,
    Rpc::ListSnapshots(Page::First),
    Rpc::ListSnapshots(Page::Later),
    Rpc::GetSnapshot,
    Rpc::ControllerExpandVolume,
    Rpc::NodeStageVolume,
    Rpc::NodeUnstageVolume,
    Rpc::NodePublishVolume,
    Rpc::NodeUnpublishVolume,
    Rpc::NodeGetVolumeStats,
    Rpc::NodeGetVolumeHealth,
    Rpc::NodeGetStorageHealth,
    Rpc::NodeExpandVolume,
];

#[test]
fn what_is_there_in_another_way_is_there() {
    let refused = || Error::new(Kind::Refused, "x");
    for rpc in [Rpc::NodeStageVolume, Rpc::NodePublishVolume] {
        assert_eq!(of(&refused().otherwise(), rpc).code(), Code::AlreadyExists);
        assert_eq!(of(&refused(), rpc).code(), Code::FailedPrecondition);
    }
}

fn told(said: Said, rpc: Rpc) -> Code {
    of(&Error::new(Kind::Driver, "x").with_code(Some(said)), rpc).code()
}

fn kind(kind: Kind, rpc: Rpc) -> Code {
    of(&Error::new(kind, "x"), rpc).code()
}

/// Rows of the specification's tables, each by its condition there.
#[test]
fn what_the_driver_says_has_the_codes_of_the_specification() {
    let rows = [
        ("source does not exist", Said::NotFound, Rpc::CreateVolume, Code::NotFound),
        ("source incompatible or not supported", Said::Unsupported, Rpc::CreateVolume, Code::InvalidArgument),
        ("volume exists but is incompatible", Said::Conflict, Rpc::CreateVolume, Code::AlreadyExists),
        ("unable to provision", Said::Exhausted, Rpc::CreateVolume, Code::ResourceExhausted),
        ("invalid field", Said::Invalid, Rpc::CreateVolume, Code::InvalidArgument),
        ("volume in use", Said::Busy, Rpc::DeleteVolume, Code::FailedPrecondition),
        ("no field can be at fault", Said::Unsupported, Rpc::DeleteVolume, Code::FailedPrecondition),
        ("max volumes attached", Said::Exhausted, Rpc::ControllerPublishVolume, Code::ResourceExhausted),
        ("published to another node", Said::Busy, Rpc::ControllerPublishVolume, Code::FailedPrecondition),
        ("invalid starting token", Said::Invalid, Rpc::ListVolumes(Page::Later), Code::Aborted),
        ("invalid starting token", Said::Invalid, Rpc::ListSnapshots(Page::Later), Code::Aborted),
        ("no token to be wrong", Said::Invalid, Rpc::ListSnapshots(Page::First), Code::InvalidArgument),
        ("snapshot exists but is incompatible", Said::Conflict, Rpc::CreateSnapshot, Code::AlreadyExists),
        ("not enough resources", Said::Exhausted, Rpc::CreateSnapshot, Code::ResourceExhausted),
        ("cannot be copied while in use", Said::Busy, Rpc::CreateSnapshot, Code::FailedPrecondition),
        ("snapshot in use", Said::Busy, Rpc::DeleteSnapshot, Code::FailedPrecondition),
        ("snapshot does not exist", Said::NotFound, Rpc::GetSnapshot, Code::NotFound),
        ("unsupported capacity range", Said::Invalid, Rpc::ControllerExpandVolume, Code::OutOfRange),
        ("exceeds capabilities", Said::Unsupported, Rpc::ControllerExpandVolume, Code::InvalidArgument),
        ("volume in use", Said::Busy, Rpc::NodeExpandVolume, Code::FailedPrecondition),
        ("volume does not exist", Said::NotFound, Rpc::NodeStageVolume, Code::NotFound),
        ("exceeds capabilities", Said::Unsupported, Rpc::NodeStageVolume, Code::FailedPrecondition),
        ("exceeds capabilities", Said::Unsupported, Rpc::NodePublishVolume, Code::FailedPrecondition),
        ("permission denied", Said::Permission, Rpc::NodePublishVolume, Code::PermissionDenied),
        ("volume does not exist", Said::NotFound, Rpc::ControllerGetVolumeHealth, Code::NotFound),
        ("parameters not supported", Said::Invalid, Rpc::ControllerModifyVolume, Code::InvalidArgument),
        ("parameters not supported by it", Said::Unsupported, Rpc::ControllerModifyVolume, Code::InvalidArgument),
        ("volume does not exist", Said::NotFound, Rpc::ControllerModifyVolume, Code::NotFound),
        ("volume in use", Said::Busy, Rpc::ControllerModifyVolume, Code::FailedPrecondition),
        ("no room for it", Said::Exhausted, Rpc::ControllerModifyVolume, Code::ResourceExhausted),
    ];
    for (condition, said, rpc, code) in rows {
        assert_eq!(told(said, rpc), code, "{rpc:?}: {condition}");
    }
}

#[test]
fn what_the_host_found_is_told_alike_everywhere() {
    for rpc in ALL {
        assert_eq!(kind(Kind::Invalid, rpc), Code::InvalidArgument, "{rpc:?}");
        assert_eq!(kind(Kind::NotFound, rpc), Code::NotFound, "{rpc:?}");
        assert_eq!(kind(Kind::Refused, rpc), Code::FailedPrecondition, "{rpc:?}");
        assert_eq!(kind(Kind::Busy, rpc), Code::Aborted, "{rpc:?}");
        assert_eq!(kind(Kind::Stuck, rpc), Code::Aborted, "{rpc:?}");
    }
}

#[test]
fn nobody_is_told_that_nothing_was_made_unless_it_is_known() {
    let makes = [
        Rpc::CreateVolume,
        Rpc::CreateSnapshot,
        Rpc::ControllerPublishVolume,
        Rpc::NodeStageVolume,
        Rpc::NodePublishVolume,
        Rpc::ControllerExpandVolume,
        Rpc::NodeExpandVolume,
        Rpc::ControllerModifyVolume,
    ];
    for rpc in ALL {
        let unknown = if makes.contains(&rpc) { Code::Unavailable } else { Code::Internal };
        for of_kind in [Kind::Driver, Kind::System, Kind::Ledger] {
            assert_eq!(kind(of_kind, rpc), unknown, "{rpc:?} {of_kind:?}");
        }
        assert_eq!(bad_answer(rpc, "x").code(), unknown, "{rpc:?}");
        let failed = Error::new(Kind::Driver, "x").with_code(None);
        assert_eq!(of(&failed, rpc).code(), Code::Internal, "{rpc:?}: the driver says that it failed");
    }
}

#[test]
fn only_a_bad_token_lets_a_driver_say_aborted() {
    let words = [Said::Conflict, Said::NotFound, Said::Exhausted, Said::Busy, Said::Invalid, Said::Unsupported];
    for rpc in ALL {
        for said in words {
            let token = said == Said::Invalid && rpc.does() == Does::Turn;
            assert_eq!(told(said, rpc) == Code::Aborted, token, "{rpc:?} {said:?}");
        }
    }
}

#[test]
fn the_message_says_what_why_and_what_next() {
    let error = Error::new(Kind::System, "cannot mount\u{1b}[31m x").because("no\nsuch device").hint("one\ntwo");
    let status = of(&error, Rpc::NodePublishVolume);
    assert_eq!(status.message(), "cannot mount\\u{1b}[31m x: no\\nsuch device; one; two");
    assert!(status.details().is_empty());
    assert!(!invalid("").message().is_empty());
}

#[test]
fn the_message_has_bounds_as_it_is_written_in_the_header() {
    for (text, characters) in [("a", 4087), ("ä", 681), ("%", 1362), ("\u{1f600}", 340)] {
        let status = of(&Error::new(Kind::System, text.repeat(9000)), Rpc::NodePublishVolume);
        let written = status.clone().into_http::<()>().headers()["grpc-message"].len();
        assert!((MESSAGE - 24..=MESSAGE).contains(&written), "{text}: {written}");
        assert_eq!(status.message().chars().count(), characters + 1, "{text}");
        assert!(status.message().ends_with('…'), "{text}");
    }
    let fits = "a".repeat(MESSAGE);
    assert_eq!(invalid(&fits).message(), fits);
}
