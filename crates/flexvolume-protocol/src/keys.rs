//! The option keys that hosts write, in one place so that no spelling is typed twice.

/// File system type of the source; always present, `""` when unset.
pub const FS_TYPE: &str = "kubernetes.io/fsType";
/// `ro` or `rw`.
pub const READ_WRITE: &str = "kubernetes.io/readwrite";
/// Name of the persistent volume, or of the pod's own volume when it is inline.
pub const PV_OR_VOLUME_NAME: &str = "kubernetes.io/pvOrVolumeName";
/// Name of the pod (mount only).
pub const POD_NAME: &str = "kubernetes.io/pod.name";
/// Namespace of the pod (mount only).
pub const POD_NAMESPACE: &str = "kubernetes.io/pod.namespace";
/// Uid of the pod (mount only).
pub const POD_UID: &str = "kubernetes.io/pod.uid";
/// Service account of the pod (mount only).
pub const SERVICE_ACCOUNT: &str = "kubernetes.io/serviceAccount.name";
/// Decimal group id the volume shall belong to, as Kubernetes 1.15 and later spell it (mount only).
pub const FS_GROUP_ARGS: &str = "kubernetes.io/mounterArgs.FsGroup";
/// The same, as Kubernetes 1.6 to 1.14 and the documents spell it.
pub const FS_GROUP: &str = "kubernetes.io/fsGroup";
/// What stands before the name of each secret; the value is standard padded base64.
pub const SECRET_PREFIX: &str = "kubernetes.io/secret/";

/// Extensions `provision` and `snapshot`: the name a volume or a snapshot shall be created under.
pub const NAME: &str = "flexvol/name";
/// Extension `provision`: bytes the volume must have at least, decimal.
pub const REQUIRED_BYTES: &str = "flexvol/requiredBytes";
/// Extension `provision`: bytes the volume may have at most, decimal.
pub const LIMIT_BYTES: &str = "flexvol/limitBytes";
/// Extensions `provision` and `modify`: the names of those parameters of `createvolume` that `modifyvolume` can change later, with
/// commas between them.
pub const MUTABLE: &str = "flexvol/mutable";
/// The id that `createvolume` answered: what is to be deleted, expanded, snapshotted, modified or looked after; in `listsnapshots`,
/// whose snapshots.
pub const ID: &str = "flexvol/id";
/// Extension `snapshot`: the id that `createsnapshot` answered.
pub const SNAPSHOT: &str = "flexvol/snapshot";
/// Extension `clone`: the id of the volume whose content the new one begins with.
pub const SOURCE_VOLUME: &str = "flexvol/sourceVolume";
/// Extension `clone`: the id of the snapshot whose content the new volume begins with.
pub const SOURCE_SNAPSHOT: &str = "flexvol/sourceSnapshot";
/// Extensions `list` and `snapshot`: what the page before answered as `next`; absent or empty for the first page.
pub const TOKEN: &str = "flexvol/token";
/// Extensions `list` and `snapshot`: how many a page may hold at most, decimal; absent or 0 leaves it to the driver.
pub const MAX: &str = "flexvol/max";
