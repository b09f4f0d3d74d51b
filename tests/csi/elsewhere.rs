//! The bridge in a mount namespace that is not its own: as in a container, where it works in the host's.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use crate::{bed::Bed, scripts::until, volume::Volume};

/// A process that lives in a mount namespace of its own.
struct Other(Child);

impl Other {
    fn new() -> Self {
        let child = Command::new("unshare").args(["--mount", "sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap();
        let other = Self(child);
        until("another mount namespace", || {
            fs::read_link(other.namespace()).is_ok_and(|its| its != fs::read_link("/proc/self/ns/mnt").unwrap())
        });
        other
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/mnt", self.0.id())
    }

    fn sees(&self, path: &str) -> bool {
        sees(&self.0.id().to_string(), path)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sees(process: &str, path: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap().contains(path)
}

#[test]
fn volumes_are_mounted_in_the_namespace_that_is_named_and_known_there_by_the_next_bridge() {
    let other = Other::new();
    let Some(mut bed) = Bed::with("tmpfs", &["--mount-namespace", &other.namespace()]) else { return };
    let volume = Volume::named("scratch").of_any_type();
    bed.publish(&volume, "pod").unwrap();
    let target = bed.target("pod").display().to_string();
    assert!(other.sees(&target), "{target}");
    assert!(!sees("self", &target), "it is mounted here");
    bed.kill();
    bed.start();
    bed.publish(&volume, "pod").unwrap();
    bed.unpublish(&volume, "pod").unwrap();
    assert!(!other.sees(&target), "{target}");
}
