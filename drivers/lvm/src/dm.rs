//! The kernel's device of a logical volume, as sysfs tells it: found and recognised without asking LVM.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use flexvolume::Result;
use flexvolume_linux::{Error, mount::table};
use rustix::fs::{major, minor};

/// More users than these are not named.
const MOST_TOLD: usize = 3;

/// A device of device-mapper's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dm {
    number: (u32, u32),
    uuid: String,
}

impl Dm {
    /// The device whose node is at `path`; `None` if there is none, or it is none of device-mapper's.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok().filter(|meta| meta.file_type().is_block_device())?;
        Self::numbered((major(meta.rdev()), minor(meta.rdev())))
    }

    /// The device with that number.
    pub(crate) fn numbered(number: (u32, u32)) -> Option<Self> {
        let uuid = fs::read_to_string(folder(number).join("dm/uuid")).ok()?;
        Some(Self { number, uuid: uuid.trim().to_owned() })
    }

    /// The device that device-mapper knows by that UUID, whatever it is called.
    ///
    /// # Errors
    /// The kernel's list cannot be read.
    pub(crate) fn with_uuid(uuid: &str) -> Result<Option<Self>> {
        let list = fs::read_dir("/sys/block").map_err(|error| Error::io("read", "/sys/block", error))?;
        for entry in list.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"dm-")) {
            let text = |file: &str| fs::read_to_string(entry.path().join(file)).ok();
            if text("dm/uuid").is_some_and(|found| found.trim() == uuid) {
                return Ok(text("dev").and_then(|dev| number(dev.trim())).and_then(Self::numbered));
            }
        }
        Ok(None)
    }

    /// What device-mapper knows it by.
    pub(crate) fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Whether it takes no I/O until somebody lets it go on.
    pub(crate) fn suspended(&self) -> bool {
        self.text("dm/suspended") == "1"
    }

    /// Whether nothing can be written to it.
    pub(crate) fn read_only(&self) -> bool {
        self.text("ro") == "1"
    }

    /// Its size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.text("size").parse::<u64>().map_or(0, |sectors| sectors * 512)
    }

    /// Who has it, for a person: devices made of it, mounts here, programs. Empty if nobody is found, which is no proof.
    pub(crate) fn users(&self) -> String {
        let mut told = Vec::new();
        let holders = fs::read_dir(folder(self.number).join("holders")).into_iter().flatten().flatten();
        told.extend(holders.map(|holder| format!("the device {}", holder.file_name().to_string_lossy())));
        let mounts = table::of_device(self.number).unwrap_or_default();
        told.extend(mounts.iter().map(|mounted| format!("the mount at {}", mounted.point.display())));
        told.extend(self.programs());
        told.truncate(MOST_TOLD);
        told.join(", ")
    }

    /// Programs that have its node open, by the names that the kernel shows; nothing of theirs is touched.
    fn programs(&self) -> Vec<String> {
        let (name, nodes) = (self.text("dm/name"), fs::read_dir("/proc").into_iter().flatten().flatten());
        let kernel = fs::read_link(folder(self.number)).unwrap_or_default();
        let kernel = kernel.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let paths = [Path::new("/dev/mapper").join(name), Path::new("/dev").join(kernel)];
        let has = |pid: &Path| {
            let open = fs::read_dir(pid.join("fd")).into_iter().flatten().flatten();
            open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|to| paths.contains(&to))
        };
        nodes
            .filter(|node| node.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) && has(&node.path()))
            .map(|node| {
                let called = fs::read_to_string(node.path().join("comm")).unwrap_or_default();
                format!("process {} ({})", node.file_name().to_string_lossy(), called.trim())
            })
            .collect()
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(folder(self.number).join(file)).unwrap_or_default().trim().to_owned()
    }
}

fn folder((major, minor): (u32, u32)) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{major}:{minor}"))
}

fn number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_device_of_device_mapper_is_none() {
        for path in ["/", "/dev/null", "/nowhere", "/dev/loop0"] {
            assert_eq!(Dm::at(Path::new(path)), None, "{path}");
        }
        assert_eq!(Dm::with_uuid("LVM-none").unwrap(), None);
        assert_eq!((number("253:4"), number("253"), number("x:1")), (Some((253, 4)), None, None));
    }
}
