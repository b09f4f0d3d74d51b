//! What a target is called beneath our own root, where a driver mounts for it.

use std::path::Path;

use flexvolume_protocol::PodUid;
use sha2::{Digest, Sha256};

/// The name of a user beneath our own root: of its target's resolved path, in the shape of a pod's uid, which drivers may cut out of paths.
pub fn of(target: &Path) -> PodUid {
    let digest = Sha256::digest(target.as_os_str().as_encoded_bytes());
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let uid = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    PodUid::parse(&uid).unwrap_or_else(|_| unreachable!("digits and dashes, a digit first"))
}
