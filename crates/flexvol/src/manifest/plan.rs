//! What a pod wants mounted, with every name checked and every reference followed: what the command hands to the engine.

use std::path::PathBuf;

use flexvolume_protocol::{DriverName, Namespace, PodName, PodUid, UserOptions, VolumeName};

/// One pod and its FlexVolumes.
#[derive(Debug, Clone, PartialEq)]
pub struct PodPlan {
    /// `metadata.namespace`, or `default`.
    pub namespace: Namespace,
    /// `metadata.name`.
    pub name: PodName,
    /// `metadata.uid`, or the uid derived from namespace and name (see [`super::identify`]).
    pub uid: PodUid,
    /// `spec.serviceAccountName`, or `default`.
    pub service_account: String,
    /// `spec.securityContext.fsGroup`.
    pub fs_group: Option<u32>,
    /// `spec.securityContext.fsGroupChangePolicy`.
    pub fs_group_policy: FsGroupPolicy,
    /// The pod's FlexVolumes, inline and by claim, in the order of the pod's `spec.volumes`.
    pub volumes: Vec<VolumePlan>,
    /// The containers, then the init containers, each in the order of the pod.
    pub containers: Vec<ContainerPlan>,
    /// The pod's other volumes, each as `name (type)`: not ours to mount.
    pub skipped: Vec<String>,
}

/// When ownership of a volume's files is set to the pod's fsGroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FsGroupPolicy {
    /// At every mount: the default of Kubernetes.
    #[default]
    Always,
    /// Only when the volume's root directory does not fit yet.
    OnRootMismatch,
}

/// One FlexVolume of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumePlan {
    /// The volume's name in the pod's spec.
    pub pod_volume: VolumeName,
    /// The name the driver and the paths know: the PersistentVolume's, or of an inline volume the one in the pod.
    pub name: VolumeName,
    /// Where it was described.
    pub origin: Origin,
    /// The driver that serves it.
    pub driver: DriverName,
    /// `fsType`; empty if unset.
    pub fs_type: String,
    /// Of an inline volume its `readOnly`; else that of the pod's `persistentVolumeClaim`, for a PersistentVolume's own
    /// `readOnly` has no effect in Kubernetes.
    pub read_only: bool,
    /// The driver's own options.
    pub options: UserOptions,
    /// The Secret to hand to the driver, if any; its values are had from [`super::secrets_for`].
    pub secret: Option<SecretRef>,
}

/// Where a volume was described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the pod itself.
    Inline,
    /// In a PersistentVolume, through a claim.
    Persistent {
        /// Name of the PersistentVolumeClaim, in the pod's namespace.
        claim: String,
        /// Access modes of the PersistentVolume.
        access_modes: Vec<AccessMode>,
        /// Capacity of the PersistentVolume in bytes, if stated.
        capacity: Option<u64>,
    },
}

/// Who may use a persistent volume at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessMode {
    /// One node, reading and writing.
    ReadWriteOnce,
    /// Many nodes, reading.
    ReadOnlyMany,
    /// Many nodes, reading and writing.
    ReadWriteMany,
    /// One pod, reading and writing.
    ReadWriteOncePod,
}

/// A Secret by name; never its content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretRef {
    /// The Secret's namespace.
    pub namespace: Namespace,
    /// The Secret's name.
    pub name: String,
}

/// One container and where its FlexVolumes lie in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPlan {
    /// The container's name.
    pub name: String,
    /// It is an init container.
    pub init: bool,
    /// Its mounts of the pod's FlexVolumes.
    pub mounts: Vec<MountPlan>,
}

/// One place in a container where a FlexVolume lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPlan {
    /// The volume, by its name in the pod ([`VolumePlan::pod_volume`]).
    pub volume: VolumeName,
    /// Absolute path in the container, without `.` and `..`, never `/`.
    pub path: PathBuf,
    /// A folder or file within the volume to be mounted instead of its root: relative, without `..`.
    pub sub_path: Option<PathBuf>,
    /// The mount or the volume is read-only.
    pub read_only: bool,
}

impl AccessMode {
    /// Reads the name Kubernetes uses; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::ReadWriteOnce, Self::ReadOnlyMany, Self::ReadWriteMany, Self::ReadWriteOncePod];
        all.into_iter().find(|mode| mode.as_str() == text)
    }

    /// The name Kubernetes uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadOnlyMany => "ReadOnlyMany",
            Self::ReadWriteMany => "ReadWriteMany",
            Self::ReadWriteOncePod => "ReadWriteOncePod",
        }
    }
}
