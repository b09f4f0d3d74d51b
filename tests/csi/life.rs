//! The whole life of a volume through the bridge, which is killed between any two steps; what was written is looked for at each.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path};

use flexvolume_csi::wire::csi::{
    CapacityRange, ControllerExpandVolumeRequest, CreateSnapshotRequest, CreateVolumeRequest, DeleteSnapshotRequest,
    ListSnapshotsRequest, ListVolumesRequest, NodeExpandVolumeRequest, NodeGetVolumeStatsRequest, VolumeContentSource,
    volume_capability::{AccessType, access_mode::Mode::SingleNodeMultiWriter},
    volume_content_source::{SnapshotSource, Type, VolumeSource},
};

use super::{
    bed::Bed,
    volume::{Volume, map, mounted, refused},
};

/// What volumes are made with.
pub struct Kind {
    pub parameters: BTreeMap<String, String>,
    /// Of the file system; empty where the driver has one of its own.
    pub fs_type: &'static str,
    /// Bytes at first.
    pub size: u64,
    /// And later.
    pub grown: u64,
    /// The controller has a part in making it larger.
    pub by_controller: bool,
}

impl Kind {
    /// Made without parameters.
    pub fn plain(fs_type: &'static str, size: u64, grown: u64) -> Self {
        Self { parameters: map([]), fs_type, size, grown, by_controller: false }
    }

    fn made(&self, bed: &Bed, name: &str, bytes: u64, source: Option<Type>) -> Volume {
        let mut capability = mounted(SingleNodeMultiWriter);
        if let Some(AccessType::Mount(mount)) = &mut capability.access_type {
            self.fs_type.clone_into(&mut mount.fs_type);
        }
        let request = CreateVolumeRequest {
            name: name.to_owned(),
            capacity_range: Some(CapacityRange { required_bytes: bytes.try_into().unwrap(), limit_bytes: 0 }),
            volume_capabilities: vec![capability.clone()],
            parameters: self.parameters.clone(),
            volume_content_source: source.map(|of| VolumeContentSource { r#type: Some(of) }),
            ..CreateVolumeRequest::default()
        };
        let made = bed.client.create_volume(request).unwrap().volume.unwrap();
        Volume { id: made.volume_id, context: made.volume_context, capability, ..Volume::named(name) }
    }
}

/// One more step, by a bridge that knows nothing but what is written down.
fn step(bed: &mut Bed) -> &Bed {
    bed.restart();
    bed
}

#[track_caller]
fn holds(file: &Path, text: &str, when: &str) {
    assert_eq!(fs::read_to_string(file).unwrap_or_else(|error| panic!("{when}: {error}")), text, "{when}");
}

#[track_caller]
fn only_read(file: &Path) {
    let came = fs::write(file, "no").unwrap_err();
    assert_eq!(came.kind(), ErrorKind::ReadOnlyFilesystem, "{came}");
}

/// Lives one. Whoever calls looks at what is left.
pub fn lives(bed: &mut Bed, kind: &Kind) {
    let volume = kind.made(bed, "data", kind.size, None);
    let file = bed.target("one").join("file");
    step(bed).stage(&volume).unwrap();
    step(bed).publish(&volume, "one").unwrap();
    fs::write(&file, "first").unwrap();
    step(bed).unpublish(&volume, "one").unwrap();
    assert!(!file.exists(), "still seen");
    step(bed).unstage(&volume).unwrap();
    step(bed).stage(&volume).unwrap();
    step(bed).publish(&volume, "one").unwrap();
    holds(&file, "first", "staged anew");

    step(bed).publish_read_only(&volume, "reader").unwrap();
    let readers = bed.target("reader").join("file");
    holds(&readers, "first", "by who only reads");
    only_read(&readers);
    step(bed).unpublish(&volume, "reader").unwrap();
    assert!(!readers.exists(), "still seen by who only read");

    grows(bed, kind, &volume);
    holds(&file, "first", "grown");

    let request = CreateSnapshotRequest {
        source_volume_id: volume.id.clone(),
        name: "then".to_owned(),
        ..CreateSnapshotRequest::default()
    };
    let snapshot = step(bed).client.create_snapshot(request).unwrap().snapshot.unwrap();
    assert!(snapshot.ready_to_use && snapshot.source_volume_id == volume.id, "{snapshot:?}");
    fs::write(&file, "second").unwrap();

    let snapshot_id = snapshot.snapshot_id;
    let of_then = Type::Snapshot(SnapshotSource { snapshot_id: snapshot_id.clone() });
    let of_now = Type::Volume(VolumeSource { volume_id: volume.id.clone() });
    for (name, source, text) in [("then", of_then, "first"), ("now", of_now, "second")] {
        let copy = kind.made(step(bed), &format!("copy-of-{name}"), kind.grown, Some(source));
        step(bed).stage(&copy).unwrap();
        bed.publish_read_only(&copy, "copy").unwrap();
        let copied = bed.target("copy").join("file");
        holds(&copied, text, name);
        only_read(&copied);
        step(bed).unpublish(&copy, "copy").unwrap();
        bed.unstage(&copy).unwrap();
        step(bed).delete(&copy).unwrap();
    }
    holds(&file, "second", "copied");

    refused(step(bed).delete(&volume), tonic::Code::FailedPrecondition, &[]);
    holds(&file, "second", "not deleted");
    step(bed).unpublish(&volume, "one").unwrap();
    bed.unstage(&volume).unwrap();
    for _ in 0..2 {
        let request = DeleteSnapshotRequest { snapshot_id: snapshot_id.clone(), ..DeleteSnapshotRequest::default() };
        step(bed).client.delete_snapshot(request).unwrap();
        bed.delete(&volume).unwrap();
    }
    assert_eq!(bed.client.list_volumes(ListVolumesRequest::default()).unwrap().entries, []);
    assert_eq!(bed.client.list_snapshots(ListSnapshotsRequest::default()).unwrap().entries, []);
}

/// Grows the volume while it is published for the pod `one`.
fn grows(bed: &mut Bed, kind: &Kind, volume: &Volume) {
    let target = bed.target("one").to_str().unwrap().to_owned();
    let bytes = i64::try_from(kind.grown).unwrap();
    let stats = NodeGetVolumeStatsRequest {
        volume_id: volume.id.clone(),
        volume_path: target.clone(),
        ..NodeGetVolumeStatsRequest::default()
    };
    let room = |bed: &Bed| {
        let usage = bed.client.node_get_volume_stats(stats.clone()).unwrap().usage;
        u64::try_from(usage[0].total).unwrap()
    };
    let before = room(bed);
    let range = Some(CapacityRange { required_bytes: bytes, limit_bytes: 0 });
    if kind.by_controller {
        let request = ControllerExpandVolumeRequest {
            volume_id: volume.id.clone(),
            capacity_range: range,
            ..ControllerExpandVolumeRequest::default()
        };
        assert_eq!(step(bed).client.controller_expand_volume(request).unwrap().capacity_bytes, bytes);
    }
    let request = NodeExpandVolumeRequest {
        volume_id: volume.id.clone(),
        volume_path: target,
        capacity_range: range,
        ..NodeExpandVolumeRequest::default()
    };
    for _ in 0..2 {
        assert_eq!(step(bed).client.node_expand_volume(request.clone()).unwrap().capacity_bytes, bytes);
    }
    let after = room(bed);
    // A file system of its own needs some of its device for itself; one that is shared has what it had.
    let least = if kind.fs_type.is_empty() { before } else { before + (kind.grown - kind.size) / 2 };
    assert!(after >= least, "{before} became {after}");
}
