//! What each access of a request is read as, and which driver serves it.

use flexvolume_protocol::Capabilities;
use tonic::Code;

use super::*;
use crate::request::capability::AttachBy;
use crate::wire::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode::Mode as Csi};

fn capability(access_type: AccessType, mode: Csi) -> VolumeCapability {
    VolumeCapability { access_type: Some(access_type), access_mode: Some(AccessMode { mode: mode.into() }) }
}

fn mount(fs_type: &str, flags: &[&str]) -> AccessType {
    let mount_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    AccessType::Mount(MountVolume { fs_type: fs_type.to_owned(), mount_flags, volume_mount_group: String::new() })
}

const BLOCK: AccessType = AccessType::Block(BlockVolume {});

fn access(access_type: AccessType, mode: Csi) -> Access {
    Access::of(Some(&capability(access_type, mode))).unwrap()
}

#[test]
fn what_is_asked_for_is_read() {
    let got = access(mount("ext4", &["nodev"]), Csi::SingleNodeWriter);
    let flags = Flags { nodev: true, ..Flags::default() };
    assert_eq!(got, Access { kind: Kind::Mount { fs_type: "ext4".into(), flags }, mode: Mode::SingleNodeWriter });
    assert_eq!(access(BLOCK, Csi::MultiNodeMultiWriter).kind, Kind::Block);
    for fs_type in ["", "xfs", "fuse.sshfs", "nfs4", "fuse-overlay_fs"] {
        assert!(Access::of(Some(&capability(mount(fs_type, &[]), Csi::SingleNodeWriter))).is_ok(), "{fs_type}");
    }
}

#[test]
fn what_is_missing_or_unknown_is_refused() {
    let good = capability(BLOCK, Csi::SingleNodeWriter);
    let group = MountVolume { volume_mount_group: "7".into(), ..MountVolume::default() };
    let odd = AccessMode { mode: 99 };
    let rows = [
        ("nothing", None),
        ("no type", Some(VolumeCapability { access_type: None, ..good.clone() })),
        ("no mode", Some(VolumeCapability { access_mode: None, ..good.clone() })),
        ("unknown mode", Some(capability(BLOCK, Csi::Unknown))),
        ("a mode of later days", Some(VolumeCapability { access_mode: Some(odd), ..good.clone() })),
        ("a group", Some(capability(AccessType::Mount(group), Csi::SingleNodeWriter))),
        ("a bad flag", Some(capability(mount("", &["suid"]), Csi::SingleNodeWriter))),
        ("a long type", Some(capability(mount(&"x".repeat(129), &[]), Csi::SingleNodeWriter))),
        ("a path", Some(capability(mount("../x", &[]), Csi::SingleNodeWriter))),
        ("a slash", Some(capability(mount("ext4/x", &[]), Csi::SingleNodeWriter))),
        ("an argument", Some(capability(mount("-x", &[]), Csi::SingleNodeWriter))),
        ("a blank", Some(capability(mount("ext4 -n", &[]), Csi::SingleNodeWriter))),
    ];
    for (what, capability) in rows {
        let status = Access::of(capability.as_ref()).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{what}");
    }
    assert!(Access::all(&[]).is_err());
    assert!(Access::all(&[good.clone(), capability(BLOCK, Csi::Unknown)]).is_err());
    assert_eq!(Access::all(&[good.clone(), good]).unwrap().len(), 2);
}

#[test]
fn modes_say_who_writes_where() {
    let rows = [
        (Csi::SingleNodeWriter, false, false, false),
        (Csi::SingleNodeReaderOnly, true, false, false),
        (Csi::MultiNodeReaderOnly, true, true, false),
        (Csi::MultiNodeSingleWriter, false, true, false),
        (Csi::MultiNodeMultiWriter, false, true, false),
        (Csi::SingleNodeSingleWriter, false, false, true),
        (Csi::SingleNodeMultiWriter, false, false, false),
    ];
    for (mode, read_only, multi_node, exclusive) in rows {
        let access = access(mount("", &[]), mode);
        assert_eq!(access.is_read_only(), read_only, "{mode:?}");
        assert_eq!(access.mode.is_multi_node(), multi_node, "{mode:?}");
        assert_eq!(access.mode.is_exclusive(), exclusive, "{mode:?}");
    }
    assert!(access(mount("", &["ro"]), Csi::SingleNodeWriter).is_read_only());
}

#[test]
fn a_driver_serves_what_it_announces() {
    let offer = |extensions: &[Extension]| Offer {
        capabilities: Capabilities::default(),
        extensions: extensions.iter().copied().collect(),
        attach_by: AttachBy::Node,
    };
    let (share, device) = (offer(&[Extension::Staged]), offer(&[Extension::Block]));
    let (local, local_device) = (offer(&[Extension::Local]), offer(&[Extension::Local, Extension::Block]));
    let serves =
        |offer: &Offer, access_type: AccessType, mode: Csi| access(access_type, mode).is_beyond(offer).is_none();
    let (dir, single) =
        (mount("", &[]), [Csi::SingleNodeWriter, Csi::SingleNodeReaderOnly, Csi::SingleNodeMultiWriter]);
    for mode in single.into_iter().chain([Csi::SingleNodeSingleWriter]) {
        assert!(serves(&share, dir.clone(), mode) && !serves(&share, BLOCK, mode), "{mode:?}");
        assert!(serves(&device, dir.clone(), mode) && serves(&device, BLOCK, mode), "{mode:?}");
        assert!(serves(&local, dir.clone(), mode) && !serves(&local, BLOCK, mode), "{mode:?}");
        assert!(serves(&local_device, dir.clone(), mode) && serves(&local_device, BLOCK, mode), "{mode:?}");
    }
    for mode in [Csi::MultiNodeReaderOnly, Csi::MultiNodeSingleWriter, Csi::MultiNodeMultiWriter] {
        assert!(serves(&share, dir.clone(), mode) && !serves(&share, BLOCK, mode), "{mode:?}");
        assert!(serves(&device, BLOCK, mode), "{mode:?}");
        assert_eq!(serves(&device, dir.clone(), mode), mode == Csi::MultiNodeReaderOnly, "{mode:?}");
        assert!(!serves(&local, dir.clone(), mode) && !serves(&local, BLOCK, mode), "{mode:?}");
        assert!(!serves(&local_device, dir.clone(), mode) && !serves(&local_device, BLOCK, mode), "{mode:?}");
    }
}

#[test]
fn a_type_of_file_system_is_one_if_all_uses_name_it() {
    let uses = |types: &[&str]| -> Vec<_> {
        types.iter().map(|fs_type| access(mount(fs_type, &[]), Csi::SingleNodeWriter)).collect()
    };
    for (types, one) in [
        (&["xfs"][..], Some("xfs")),
        (&["xfs", "xfs"], Some("xfs")),
        (&["xfs", "ext4"], None),
        (&["xfs", ""], None),
        (&[""], None),
        (&[], None),
    ] {
        assert_eq!(one_fs_type(&uses(types)), one, "{types:?}");
    }
    assert_eq!(one_fs_type(&[access(BLOCK, Csi::SingleNodeWriter)]), None);
    assert_eq!(one_fs_type(&[uses(&["xfs"]), vec![access(BLOCK, Csi::SingleNodeWriter)]].concat()), None);
}
