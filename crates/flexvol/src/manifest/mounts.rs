//! Where a pod's FlexVolumes lie in its containers, with every path made safe to be joined to a root.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, VolumeMount};

use super::object::{Found, check_name};
use super::plan::{ContainerPlan, MountPlan, VolumePlan};
use super::problem::{ManifestError, shown};
use super::tree::{child, element};

/// The containers of a pod, and what is wrong with them.
pub(super) struct Containers {
    pub(super) containers: Vec<ContainerPlan>,
    pub(super) problems: Vec<ManifestError>,
}

/// Reads containers and init containers; mounts of volumes that are not in `volumes` are left out.
pub(super) fn containers(pod: &Found<Pod>, spec: &PodSpec, volumes: &[VolumePlan]) -> Containers {
    let declared = spec.volumes.iter().flatten().map(|volume| volume.name.as_str());
    let mut reader =
        Reader { pod, volumes, declared: declared.collect(), names: BTreeSet::new(), problems: Vec::new() };
    let mut containers = Vec::new();
    let init = spec.init_containers.iter().flatten();
    let of_init = init.enumerate().map(|(n, container)| (element("spec.initContainers", n), container, true));
    let main = spec.containers.iter().enumerate();
    let all = main.map(|(n, container)| (element("spec.containers", n), container, false)).chain(of_init);
    for (path, container, init) in all {
        containers.push(reader.container(container, &path, init));
    }
    Containers { containers, problems: reader.problems }
}

struct Reader<'a> {
    pod: &'a Found<Pod>,
    volumes: &'a [VolumePlan],
    /// The names of all the pod's volumes, ours or not.
    declared: BTreeSet<&'a str>,
    names: BTreeSet<String>,
    problems: Vec<ManifestError>,
}

impl Reader<'_> {
    fn wrong(&mut self, path: &str, why: impl Into<String>, hint: &str) {
        let error = ManifestError::new(format!("Pod {}: {path}", self.pod.full_name()), why);
        let error = error.at(self.pod.places.value(path));
        self.problems.push(match hint.is_empty() {
            true => error,
            false => error.hint(hint),
        });
    }

    fn container(&mut self, container: &Container, path: &str, init: bool) -> ContainerPlan {
        let name = child(path, "name");
        if let Err(why) = check_name(&container.name) {
            self.wrong(&name, why, "");
        } else if !self.names.insert(container.name.clone()) {
            let why = format!("the pod has two containers named {}", container.name);
            self.wrong(&name, why, "name them apart");
        }
        for (index, device) in container.volume_devices.iter().flatten().enumerate() {
            if self.volumes.iter().any(|volume| volume.pod_volume.as_str() == device.name) {
                let path = element(&child(path, "volumeDevices"), index);
                self.wrong(&path, "a FlexVolume is no raw device", "mount it: put it under volumeMounts");
            }
        }
        let mut mounts: Vec<MountPlan> = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
            let path = element(&child(path, "volumeMounts"), index);
            if !self.declared.contains(mount.name.as_str()) {
                let why = format!("the pod has no volume named `{}`", shown(&mount.name));
                self.wrong(&child(&path, "name"), why, "add it to spec.volumes");
                continue;
            }
            let Some(plan) = self.mount(mount, &path) else {
                continue;
            };
            if !seen.insert(plan.0.clone()) {
                let why = format!("two volumes of the container lie at {}", shown(&mount.mount_path));
                self.wrong(&child(&path, "mountPath"), why, "give each a path of its own");
                continue;
            }
            mounts.extend(plan.1);
        }
        ContainerPlan { name: container.name.clone(), init, mounts }
    }

    /// The path, and the mount itself if the volume is ours; none if something is wrong with it.
    fn mount(&mut self, mount: &VolumeMount, path: &str) -> Option<(PathBuf, Option<MountPlan>)> {
        let place = match absolute(&mount.mount_path) {
            Ok(place) => place,
            Err(why) => {
                self.wrong(&child(path, "mountPath"), why, "write the absolute path of a folder");
                return None;
            }
        };
        let volume = self.volumes.iter().find(|volume| volume.pod_volume.as_str() == mount.name);
        let Some(volume) = volume else {
            return Some((place, None));
        };
        if mount.sub_path_expr.as_ref().is_some_and(|text| !text.is_empty()) {
            let why = "is not expanded here: the environment of a container is not read";
            self.wrong(&child(path, "subPathExpr"), why, "write the path out, as subPath");
            return None;
        }
        let sub_path = match mount.sub_path.as_deref().filter(|text| !text.is_empty()).map(relative) {
            None => None,
            Some(Ok(sub_path)) => sub_path,
            Some(Err(why)) => {
                self.wrong(&child(path, "subPath"), why, "write a path within the volume");
                return None;
            }
        };
        let plan = MountPlan {
            volume: volume.pod_volume.clone(),
            path: place.clone(),
            sub_path,
            read_only: mount.read_only == Some(true) || volume.read_only,
        };
        Some((place, Some(plan)))
    }
}

/// A path in a container; one without a leading slash is below `/`, as for the kubelet.
fn absolute(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("is missing".to_owned());
    }
    if text.contains(':') {
        return Err(format!("`{}` has a colon, which Kubernetes forbids", shown(text)));
    }
    let below = plain(text.trim_start_matches('/'))?;
    match below.as_os_str().is_empty() {
        true => Err("is the root of the container, which no volume can replace".to_owned()),
        false => Ok(Path::new("/").join(below)),
    }
}

/// A path within a volume; none if it is the volume's root.
fn relative(text: &str) -> Result<Option<PathBuf>, String> {
    if text.starts_with('/') {
        return Err(format!("`{}` is absolute", shown(text)));
    }
    let path = plain(text)?;
    Ok(Some(path).filter(|path| !path.as_os_str().is_empty()))
}

fn plain(text: &str) -> Result<PathBuf, String> {
    if text.chars().any(char::is_control) {
        return Err(format!("`{}` has a control character", shown(text)));
    }
    let mut path = PathBuf::new();
    for part in Path::new(text).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(format!("`{}` has a `..`, which could lead anywhere", shown(text)));
            }
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_a_container() {
        for (text, wanted) in [
            ("/data", Some("/data")),
            ("data/x", Some("/data/x")),
            ("//a/./b//", Some("/a/b")),
            ("/", None),
            ("", None),
            ("/.", None),
            ("/a/../..", None),
            ("/a:b", None),
            ("/a\0b", None),
            ("/a\nb", None),
        ] {
            assert_eq!(absolute(text).ok().as_deref(), wanted.map(Path::new), "{text:?}");
        }
    }

    #[test]
    fn no_path_of_hostile_symbols_leads_out() {
        let normal = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        for text in flexvolume_testkit::hostile::texts(4) {
            if let Ok(path) = absolute(&text) {
                let below = path.strip_prefix("/").unwrap();
                assert!(normal(below) && below != Path::new(""), "{text:?} is {path:?}");
                assert!(!path.to_str().unwrap().contains(char::is_control), "{text:?}");
            }
            if let Ok(Some(path)) = relative(&text) {
                assert!(normal(&path) && path != Path::new(""), "{text:?} is {path:?}");
                assert!(!path.to_str().unwrap().contains(char::is_control), "{text:?}");
            }
        }
    }

    #[test]
    fn paths_within_a_volume() {
        assert_eq!(relative("a//b/."), Ok(Some(PathBuf::from("a/b"))));
        assert_eq!(relative("."), Ok(None));
        for text in ["/a", "..", "a/../b", "a\0"] {
            assert!(relative(text).is_err(), "{text:?}");
        }
    }
}
