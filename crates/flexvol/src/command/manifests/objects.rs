//! The objects that say what the driver can do: CSIDriver, StorageClass, VolumeSnapshotClass.

use flexvolume_protocol::Extension;
use k8s_openapi::{
    api::storage::v1::{CSIDriver, CSIDriverSpec, StorageClass},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::{Deserialize, Serialize};

use super::{document::Document, plan::Plan};

/// A class of snapshots. The type is no part of Kubernetes itself, but of its snapshot controller.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VolumeSnapshotClass {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) metadata: ObjectMeta,
    pub(super) driver: String,
    pub(super) deletion_policy: String,
}

pub(super) fn csi_driver(plan: &Plan) -> Document {
    let mut modes = vec!["Persistent".to_owned()];
    let mut comment = Vec::new();
    if plan.inline.is_some() {
        modes.push("Ephemeral".to_owned());
        comment.push("Whoever may make a pod may write down volumes with the options that --allow-inline names.");
    }
    // What the capability `fsGroup` says to a host of FlexVolume drivers: give the volume to the pod's group, whatever its type and
    // access mode, or never. ReadWriteOnceWithFSType would leave out volumes whose class names no type of file system.
    let fs_group = if plan.offer.capabilities.fs_group { "File" } else { "None" };
    let driver = CSIDriver {
        metadata: plan.of_cluster(plan.name.to_string()),
        spec: CSIDriverSpec {
            attach_required: Some(plan.offer.attaches_by_controller()),
            fs_group_policy: Some(fs_group.to_owned()),
            pod_info_on_mount: Some(true),
            requires_republish: Some(false),
            se_linux_mount: Some(false),
            storage_capacity: Some(plan.tells_capacity()),
            volume_lifecycle_modes: Some(modes),
            ..CSIDriverSpec::default()
        },
    };
    Document::new(&driver, &comment)
}

/// For what the driver makes itself.
pub(super) fn storage_class(plan: &Plan) -> Option<Document> {
    let class = StorageClass {
        metadata: plan.of_cluster(plan.name.to_string()),
        provisioner: plan.name.to_string(),
        allow_volume_expansion: Some(plan.offer.expands()),
        reclaim_policy: Some("Delete".to_owned()),
        // What lives on one node is made where its pod shall run.
        volume_binding_mode: Some(if plan.is_local() { "WaitForFirstConsumer" } else { "Immediate" }.to_owned()),
        ..StorageClass::default()
    };
    let comment = [
        "Add `parameters` for what the driver reads when it makes a volume: its own options, as text, and",
        "csi.storage.k8s.io/fstype. Kubernetes lets nobody change them later; a class of another name is another set of them.",
    ];
    plan.has(Extension::Provision).then(|| Document::new(&class, &comment))
}

pub(super) fn snapshot_class(plan: &Plan) -> Option<Document> {
    let class = VolumeSnapshotClass {
        api_version: "snapshot.storage.k8s.io/v1".to_owned(),
        kind: "VolumeSnapshotClass".to_owned(),
        metadata: plan.of_cluster(plan.name.to_string()),
        driver: plan.name.to_string(),
        deletion_policy: "Delete".to_owned(),
    };
    let mut comment =
        vec!["Needs the snapshot controller and its types in the cluster (kubernetes-csi/external-snapshotter)."];
    if plan.is_local() {
        comment.push("For volumes that live on one node start it with --enable-distributed-snapshotting.");
    }
    plan.has(Extension::Snapshot).then(|| Document::new(&class, &comment))
}
