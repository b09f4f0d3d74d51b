//! A file system that was shut down beneath its mount.

use super::*;
use crate::mount::table::{self, Backend};

#[test]
fn what_was_shut_down_is_found_unmounted_and_whole_again() {
    private_mounts(|dir| {
        for fs_type in [FsType::Ext4, FsType::Xfs] {
            let disk = Disk::new(dir, mib(fs_type));
            let point = dir.join(fs_type.to_string());
            fs::create_dir(&point).unwrap();
            format_and_mount(&disk.wanted(fs_type), &point).unwrap();
            fs::write(point.join("data"), "mine").unwrap();
            let mounted = table::at(&point).unwrap().unwrap();
            assert_eq!(shut_down(dir, mounted.dev).unwrap_err().kind(), ErrorKind::Invalid);
            assert_eq!(fs::read_to_string(point.join("data")).unwrap(), "mine");

            shut_down(&point, mounted.dev).unwrap();
            assert!(fs::write(point.join("more"), "lost").is_err());
            assert_eq!(table::at(&point).unwrap().unwrap().id, mounted.id);
            // XFS says nothing even of its root.
            assert!(Backend::Mountinfo.at(&point).unwrap().is_some());
            unmount(&point, Unmount::Plain).unwrap();
            assert!(table::at(&point).unwrap().is_none());

            format_and_mount(&disk.wanted(fs_type), &point).unwrap();
            assert_eq!(fs::read_to_string(point.join("data")).unwrap(), "mine");
            leave(&point);
        }
    });
}
