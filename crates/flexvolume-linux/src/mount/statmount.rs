//! The mount table by `statmount` and `listmount` (kernel 6.8 and later): one mount costs microseconds, however many
//! there are.

use std::{ffi::OsString, io, os::unix::ffi::OsStringExt, path::PathBuf};

use linux_raw_sys::general::{
    LSMT_ROOT, MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME, MS_RDONLY, MS_SHARED, STATMOUNT_FS_SUBTYPE,
    STATMOUNT_FS_TYPE, STATMOUNT_MNT_BASIC, STATMOUNT_MNT_POINT, STATMOUNT_MNT_ROOT, STATMOUNT_SB_BASIC,
    STATMOUNT_SB_SOURCE,
};

use super::{AccessTimes, MountId, Mounted, mountinfo, raw};
use crate::{Error, Result};

const WANTED: u32 = STATMOUNT_SB_BASIC
    | STATMOUNT_MNT_BASIC
    | STATMOUNT_MNT_ROOT
    | STATMOUNT_MNT_POINT
    | STATMOUNT_FS_TYPE
    | STATMOUNT_FS_SUBTYPE
    | STATMOUNT_SB_SOURCE;

/// A mount with what `statmount` could not tell still open.
struct Row {
    mounted: Mounted,
    /// The small reusable number, the key into mountinfo.
    old_id: u64,
    complete: bool,
}

/// Whether this kernel answers `statmount` here (a sandbox may forbid it).
pub(super) fn works(id: MountId) -> bool {
    id.is_unique() && raw::stat_mount(id.0, u64::from(STATMOUNT_MNT_BASIC)).is_ok()
}

/// The mount with this number, if it is in this mount namespace and below this process's root.
pub(super) fn by_id(id: MountId) -> Result<Option<Mounted>> {
    let Some(row) = row(id.0)? else { return Ok(None) };
    Ok(complete(vec![row])?.pop())
}

/// Every mount, in the order in which they were made.
pub(super) fn all() -> Result<Vec<Mounted>> {
    complete(rows()?)
}

/// The unique number of the mount that has the small number `old_id` now.
pub(super) fn unique(old_id: u64) -> Result<Option<MountId>> {
    Ok(rows()?.into_iter().find(|row| row.old_id == old_id).map(|row| row.mounted.id))
}

/// Every mount beneath that one, at any depth.
pub(super) fn under(id: MountId) -> Result<Vec<Mounted>> {
    complete(rows_under(id.0, 0)?)
}

/// Those of them that were made later: the kernel walks by number, and numbers grow.
pub(super) fn later_under(id: MountId) -> Result<Vec<Mounted>> {
    complete(rows_under(id.0, id.0)?)
}

fn rows() -> Result<Vec<Row>> {
    rows_under(i64::from(LSMT_ROOT).cast_unsigned(), 0)
}

/// Those beneath `top` with numbers above `last`.
fn rows_under(top: u64, mut last: u64) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut ids = [0_u64; 512];
    loop {
        let count = raw::list_mounts(top, last, &mut ids).map_err(|e| Error::os("cannot list the mounts", e))?;
        for id in &ids[..count] {
            rows.extend(row(*id)?);
            last = *id;
        }
        if count < ids.len() {
            return Ok(rows);
        }
    }
}

/// `None` if the mount went away or cannot be seen from this process's root.
fn row(id: u64) -> Result<Option<Row>> {
    let answer = match raw::stat_mount(id, u64::from(WANTED)) {
        Ok(answer) => answer,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::os(format!("cannot ask the kernel about mount {id}"), error)),
    };
    let fixed = answer.fixed();
    let has = |bit: u32| fixed.mask & u64::from(bit) != 0;
    let text = |bit: u32, offset: u32| if has(bit) { answer.string(offset) } else { Vec::new() };
    let point = text(STATMOUNT_MNT_POINT, fixed.mnt_point);
    if point.is_empty() {
        return Ok(None);
    }
    let mut fs_type = lossy(&text(STATMOUNT_FS_TYPE, fixed.fs_type));
    let subtype = lossy(&text(STATMOUNT_FS_SUBTYPE, fixed.fs_subtype));
    if !subtype.is_empty() {
        fs_type = format!("{fs_type}.{subtype}");
    }
    let attr = |bit: u32| fixed.mnt_attr & u64::from(bit) != 0;
    let mounted = Mounted {
        id: MountId(fixed.mnt_id),
        parent: MountId(fixed.mnt_parent_id),
        point: PathBuf::from(OsString::from_vec(point)),
        source: lossy(&text(STATMOUNT_SB_SOURCE, fixed.sb_source)),
        fs_type,
        root: PathBuf::from(OsString::from_vec(text(STATMOUNT_MNT_ROOT, fixed.mnt_root))),
        dev: (fixed.sb_dev_major, fixed.sb_dev_minor),
        read_only: attr(MOUNT_ATTR_RDONLY) || fixed.sb_flags & MS_RDONLY != 0,
        nosuid: attr(MOUNT_ATTR_NOSUID),
        nodev: attr(MOUNT_ATTR_NODEV),
        noexec: attr(MOUNT_ATTR_NOEXEC),
        times: match fixed.mnt_attr & u64::from(MOUNT_ATTR__ATIME) {
            none if none == u64::from(MOUNT_ATTR_NOATIME) => AccessTimes::None,
            every if every == u64::from(MOUNT_ATTR_STRICTATIME) => AccessTimes::Every,
            _ => AccessTimes::Some,
        },
        no_directory_times: attr(MOUNT_ATTR_NODIRATIME),
        shared: fixed.mnt_propagation & u64::from(MS_SHARED) != 0,
    };
    Ok(Some(Row { mounted, old_id: u64::from(fixed.mnt_id_old), complete: has(STATMOUNT_SB_SOURCE) }))
}

/// Kernels from 6.8 to 6.12 do not tell source and subtype this way: those two come from mountinfo.
fn complete(rows: Vec<Row>) -> Result<Vec<Mounted>> {
    let lines = if rows.iter().all(|row| row.complete) { Vec::new() } else { mountinfo::all()? };
    let fill = |row: Row| {
        let mut mounted = row.mounted;
        if let Some(line) = lines.iter().find(|line| !row.complete && line.id.0 == row.old_id) {
            mounted.source.clone_from(&line.source);
            mounted.fs_type.clone_from(&line.fs_type);
        }
        mounted
    };
    Ok(rows.into_iter().map(fill).collect())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_older_kernels_leave_out_comes_from_mountinfo() {
        let whole = rows().unwrap();
        let expected: Vec<_> = whole.iter().map(|row| row.mounted.clone()).collect();
        let strip = |mut row: Row| {
            row.mounted.source.clear();
            row.mounted.fs_type.truncate(4);
            Row { complete: false, ..row }
        };
        assert_eq!(complete(whole.into_iter().map(strip).collect()).unwrap(), expected);
    }

    #[test]
    fn small_numbers_lead_to_unique_ones() {
        let row = rows().unwrap().remove(0);
        assert!(row.mounted.id.is_unique());
        assert_eq!(unique(row.old_id).unwrap(), Some(row.mounted.id));
        assert_eq!(unique(u64::from(u32::MAX)).unwrap(), None);
    }
}
