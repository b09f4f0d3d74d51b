//! How full a volume is, asked once for each place at a time, by a worker that may never come back.

use std::path::Path;

use flexvolume_host::target::Trace;
use flexvolume_protocol::excerpt;
use tonic::Status;

use crate::{
    plugin::{Plugin, Trouble},
    request::{limits, name::volume_name},
    status::{self, Rpc},
    wire::csi::{NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, VolumeUsage, volume_usage::Unit},
};

impl Plugin {
    /// The path at which a volume is said to be. One that cannot be is one where nothing is.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: it is missing. `NOT_FOUND`.
    pub(super) fn published<'a>(&self, path: &'a str) -> Result<&'a Path, Status> {
        if path.is_empty() {
            return Err(status::missing("volume_path"));
        }
        let nothing = || {
            status::not_found(format!(
                "no volume is at {}; name a path beneath --kubelet-dir where one is published",
                excerpt(path, 200)
            ))
        };
        let path = limits::path("volume_path", path).map_err(|_| nothing())?;
        self.targets.relative(path).map_err(|_| nothing())?;
        Ok(path)
    }

    pub(super) fn stats(&self, request: NodeGetVolumeStatsRequest) -> Result<NodeGetVolumeStatsResponse, Trouble> {
        let id = limits::volume(&request.volume_id)?;
        let path = self.published(&request.volume_path)?;
        let (driver, name) = (&self.serving.driver, volume_name(&id));
        let held = self.host.held(driver, &name)?;
        let is_staging = !request.staging_target_path.is_empty() && request.staging_target_path == request.volume_path;
        let unknown = || status::not_found(format!("nothing of volume {id} is published at {}", path.display()));
        let at = match (self.targets.at(path)?, held) {
            (Some(mounted), _) => {
                let ours = self.host.traces(driver, &name, Some(self.place_of(path)?.as_str()))?;
                if !ours.contains(&Trace::of(&mounted)) {
                    return Err(unknown().into());
                }
                mounted.point
            }
            (None, Some(held)) if is_staging && !held.spec.block => held.path,
            (None, Some(_) | None) => return Err(unknown().into()),
        };
        if let Some(bytes) = self.targets.device_size(&at)? {
            let total = limits::bytes(Rpc::NodeGetVolumeStats, Some(bytes))?;
            let usage = VolumeUsage { total, unit: Unit::Bytes.into(), ..VolumeUsage::default() };
            return Ok(NodeGetVolumeStatsResponse { usage: vec![usage] });
        }
        let usage = self.targets.usage(&at)?;
        let number = |bytes| limits::bytes(Rpc::NodeGetVolumeStats, Some(bytes));
        let one = |unit: Unit, total: u64, used: u64, available: u64| -> Result<_, Trouble> {
            Ok(VolumeUsage {
                available: number(available)?,
                total: number(total)?,
                used: number(used)?,
                unit: unit.into(),
            })
        };
        let bytes = one(Unit::Bytes, usage.total, usage.used, usage.available)?;
        // A file system that counts no files, btrfs for one, says 0 of all.
        let inodes = one(Unit::Inodes, usage.inodes, usage.inodes_used, usage.inodes_free)?;
        let usage = if usage.inodes > 0 { vec![bytes, inodes] } else { vec![bytes] };
        Ok(NodeGetVolumeStatsResponse { usage })
    }
}
