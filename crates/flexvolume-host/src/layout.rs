//! Where things lie beneath the root: laid out as the kubelet lays out its own, since drivers cut names out of paths.

use std::path::{Path, PathBuf};

use flexvolume_protocol::{DriverName, VolumeName};

/// Mode of every directory we make, as the kubelet has it.
pub(crate) const MODE: u32 = 0o750;

/// The paths beneath one root.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout beneath `root`, an absolute path.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The global directory, relative to the root: `plugins/kubernetes.io/flexvolume/<driver>/mounts/<name>`.
    pub fn global(&self, driver: &DriverName, name: &VolumeName) -> PathBuf {
        ["plugins/kubernetes.io/flexvolume", driver.as_str(), "mounts", name.as_str()].iter().collect()
    }

    /// A pod's directory of the volume, relative to the root: `pods/<uid>/volumes/<vendor~driver>/<name>`.
    pub fn place(&self, uid: &str, driver: &DriverName, name: &VolumeName) -> PathBuf {
        ["pods", uid, "volumes", driver.dir().as_str(), name.as_str()].iter().collect()
    }

    /// Whether we ourselves mount a volume of that driver at that absolute path: at a global directory or in a pod.
    pub fn is_of(&self, driver: &DriverName, path: &Path) -> bool {
        let Ok(path) = path.strip_prefix(&self.root) else { return false };
        let globals: PathBuf = ["plugins/kubernetes.io/flexvolume", driver.as_str(), "mounts"].iter().collect();
        let parts: Vec<_> = path.iter().collect();
        let dir = driver.dir();
        path.parent() == Some(&globals)
            || matches!(parts[..], [pods, _, volumes, of, _] if pods == "pods" && volumes == "volumes" && of == dir.as_str())
    }

    /// The ledger's file.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.db")
    }

    /// The lock of one volume; `key` may hold slashes and is spread over a flat name.
    pub fn lock(&self, key: &str) -> PathBuf {
        self.root.join("locks").join(format!("{}.lock", flat(key)))
    }

    /// The durable intent to format the device of one volume.
    pub fn intent(&self, key: &str) -> PathBuf {
        self.root.join("formats").join(format!("{}.json", flat(key)))
    }
}

/// A key as one file name: every byte outside `[A-Za-z0-9._-]` becomes `%XX`, so no two keys meet.
fn flat(key: &str) -> String {
    let name: String = key
        .bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect();
    if name.len() <= 200 { name } else { format!("{}-{}", &name[..120], crate::digest::hex(key.as_bytes(), 32)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h_60_paths_look_like_the_kubelets() {
        let layout = Layout::new("/var/lib/flexvol");
        let driver = DriverName::parse("foo/cifs").unwrap();
        let name = VolumeName::parse("vol1").unwrap();
        assert_eq!(layout.global(&driver, &name), Path::new("plugins/kubernetes.io/flexvolume/foo/cifs/mounts/vol1"));
        assert_eq!(layout.place("u-1", &driver, &name), Path::new("pods/u-1/volumes/foo~cifs/vol1"));
    }

    #[test]
    fn w_27_beneath_the_usual_root_the_pods_uid_is_the_fifth_component() {
        let layout = Layout::new(crate::settings::ROOT);
        let place = layout.place("u-1", &DriverName::parse("foo/cifs").unwrap(), &VolumeName::parse("vol1").unwrap());
        let path = layout.root().join(place);
        let parts: Vec<_> = path.iter().skip(1).collect();
        assert_eq!((parts[4].to_str(), parts.len()), (Some("u-1"), 8), "{}", path.display());
    }

    #[test]
    fn our_own_places_are_known() {
        let layout = Layout::new("/root");
        let driver = DriverName::parse("foo/cifs").unwrap();
        let is = |path: &str| layout.is_of(&driver, Path::new(path));
        assert!(is("/root/plugins/kubernetes.io/flexvolume/foo/cifs/mounts/other"));
        assert!(is("/root/pods/u-2/volumes/foo~cifs/other"));
        for not in [
            "/mnt",
            "/root/plugins/kubernetes.io/flexvolume/foo/nfs/mounts/other",
            "/root/plugins/kubernetes.io/flexvolume/foo/cifs/mounts/other/sub",
            "/root/pods/u-2/volumes/foo~nfs/other",
            "/root/pods/u-2/volumes/foo~cifs/other/sub",
            "/other/pods/u-2/volumes/foo~cifs/other",
        ] {
            assert!(!is(not), "{not}");
        }
    }

    #[test]
    fn keys_never_meet_in_a_file_name() {
        assert_eq!(flat("foo/cifs/a"), "foo%2Fcifs%2Fa");
        assert_ne!(flat("a/b"), flat("a%2Fb"));
        let long = |end: &str| flat(&format!("{}{end}", "x".repeat(300)));
        assert!(long("a").len() < 255);
        assert_ne!(long("a"), long("b"));
    }
}
