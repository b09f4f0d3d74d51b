//! From objects to plans: every reference followed, every name checked, every problem told at once.

use std::collections::{BTreeMap, BTreeSet};

use flexvolume_protocol::{DriverName, Namespace, PodName, PodUid, UserOptions, VolumeName};
use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodSecurityContext, Volume,
};
use sha2::{Digest, Sha256};

use super::claims::{self, Bound};
use super::object::{Found, Objects, check_name, types_of};
use super::plan::{AccessMode, FsGroupPolicy, Origin, PodPlan, SecretRef, VolumePlan};
use super::problem::{ManifestError, shown};
use super::tree::{Places, child, element};

/// Plans every pod of the input.
///
/// # Errors
/// All problems of all pods, in their order.
pub fn resolve(objects: &Objects) -> Result<Vec<PodPlan>, Vec<ManifestError>> {
    let mut problems = Vec::new();
    let mut plans: Vec<PodPlan> = Vec::new();
    let mut uids: BTreeMap<PodUid, String> = BTreeMap::new();
    for pod in &objects.pods {
        let Some(plan) = Planner { objects, pod, problems: &mut problems }.pod() else {
            continue;
        };
        if let Some(other) = uids.insert(plan.uid.clone(), pod.full_name()) {
            problems.push(
                ManifestError::new(
                    format!("Pod {}: metadata.uid", pod.full_name()),
                    format!("is also the uid of the pod {other}"),
                )
                .at(pod.places.value("metadata.uid"))
                .hint("leave the uid out: one is derived from namespace and name"),
            );
        }
        plans.push(plan);
    }
    if problems.is_empty() {
        return Ok(plans);
    }
    // What is wrong with a PersistentVolume is found once for every pod that uses it.
    let mut told = Vec::new();
    for problem in problems {
        if !told.contains(&problem) {
            told.push(problem);
        }
    }
    Err(told)
}

/// Who a pod is, even if its volumes cannot be resolved.
///
/// A pod without `metadata.uid` gets one derived from its namespace and name (the first half of a SHA-256, dressed as a
/// UUID of version 8), so that the same manifest is the same pod at every run.
///
/// # Errors
/// A name or uid that cannot be part of a path.
pub fn identify(pod: &Found<Pod>) -> Result<(Namespace, PodName, PodUid), ManifestError> {
    let wrong = |path: &str, why: String| {
        ManifestError::new(format!("Pod {}: {path}", pod.full_name()), why).at(pod.places.value(path))
    };
    let name = PodName::parse(&pod.name).map_err(|error| wrong("metadata.name", error.to_string()))?;
    let uid = match pod.object.metadata.uid.as_deref().filter(|uid| !uid.is_empty()) {
        Some(uid) => PodUid::parse(uid),
        None => PodUid::parse(&derived_uid(&pod.namespace, &name)),
    };
    let uid = uid.map_err(|error| wrong("metadata.uid", error.to_string()))?;
    Ok((pod.namespace.clone(), name, uid))
}

fn derived_uid(namespace: &Namespace, name: &PodName) -> String {
    let digest = Sha256::digest(format!("flexvol pod\n{namespace}/{name}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

/// Plans one pod, gathering what is wrong with it.
struct Planner<'a> {
    objects: &'a Objects,
    pod: &'a Found<Pod>,
    problems: &'a mut Vec<ManifestError>,
}

/// What has to be checked in inline volumes and PersistentVolumes alike.
struct Flex<'a> {
    driver: &'a str,
    options: Option<&'a BTreeMap<String, String>>,
    secret: Option<&'a SecretRef>,
}

impl<'a> Planner<'a> {
    /// Notes a problem at a field of the pod.
    fn wrong(&mut self, path: &str, why: impl Into<String>, hint: &str) {
        let error = ManifestError::new(format!("Pod {}: {path}", self.pod.full_name()), why);
        self.note(error.at(self.pod.places.value(path)), hint);
    }

    fn note(&mut self, error: ManifestError, hint: &str) {
        self.problems.push(match hint.is_empty() {
            true => error,
            false => error.hint(hint),
        });
    }

    /// Keeps the good, notes the bad.
    fn keep<T>(&mut self, result: Result<T, ManifestError>) -> Option<T> {
        result.map_err(|error| self.problems.push(error)).ok()
    }

    fn pod(mut self) -> Option<PodPlan> {
        let pod = self.pod;
        let (namespace, name, uid) = self.keep(identify(pod))?;
        let Some(spec) = &pod.object.spec else {
            self.wrong("spec", "is missing", "");
            return None;
        };
        let account = |account: &'a Option<String>| account.as_deref().filter(|name| !name.is_empty());
        let service_account = match (account(&spec.service_account_name), account(&spec.service_account)) {
            (Some(name), _) => name,
            (None, Some(name)) => name,
            (None, None) => super::DEFAULT,
        };
        if let Err(why) = check_name(service_account) {
            self.wrong("spec.serviceAccountName", why, "");
        }
        let (fs_group, fs_group_policy) = self.fs_group(spec.security_context.as_ref());
        let mut volumes: Vec<VolumePlan> = Vec::new();
        let mut skipped = Vec::new();
        let mut names = BTreeSet::new();
        for (index, volume) in spec.volumes.iter().flatten().enumerate() {
            let path = element("spec.volumes", index);
            if !names.insert(volume.name.as_str()) {
                let why = format!("the pod has two volumes named {}", shown(&volume.name));
                self.wrong(&child(&path, "name"), why, "name them apart");
                continue;
            }
            match self.volume(volume, &path, &namespace) {
                Ok(Some(plan)) => {
                    let same = |other: &&VolumePlan| other.name == plan.name && other.driver == plan.driver;
                    if let Some(other) = volumes.iter().find(same) {
                        let why = format!("is the same volume of {} as {}", plan.driver, other.pod_volume);
                        self.wrong(&path, why, "list it once and give it two volumeMounts");
                    } else {
                        volumes.push(plan);
                    }
                }
                Ok(None) => {}
                Err(of_type) => skipped.push(format!("{} ({of_type})", shown(&volume.name))),
            }
        }
        let found = super::mounts::containers(pod, spec, &volumes);
        self.problems.extend(found.problems);
        Some(PodPlan {
            namespace,
            name,
            uid,
            service_account: service_account.to_owned(),
            fs_group,
            fs_group_policy,
            volumes,
            containers: found.containers,
            skipped,
        })
    }

    fn fs_group(&mut self, context: Option<&PodSecurityContext>) -> (Option<u32>, FsGroupPolicy) {
        const GROUP: &str = "spec.securityContext.fsGroup";
        const POLICY: &str = "spec.securityContext.fsGroupChangePolicy";
        let Some(context) = context else {
            return (None, FsGroupPolicy::Always);
        };
        let group = context.fs_group.and_then(|group| {
            let checked = u32::try_from(group).ok().filter(|group| i32::try_from(*group).is_ok());
            if checked.is_none() {
                self.wrong(GROUP, format!("{group} is no group id: 0 to 2147483647"), "");
            }
            checked
        });
        let policy = match context.fs_group_change_policy.as_deref() {
            None | Some("Always") => FsGroupPolicy::Always,
            Some("OnRootMismatch") => FsGroupPolicy::OnRootMismatch,
            Some(other) => {
                self.wrong(POLICY, format!("`{}` is none", shown(other)), "write Always or OnRootMismatch");
                FsGroupPolicy::Always
            }
        };
        (group, policy)
    }

    /// The plan of one volume; none if something is wrong with it; as an error its type if it is not ours.
    fn volume(&mut self, volume: &'a Volume, path: &str, namespace: &Namespace) -> Result<Option<VolumePlan>, String> {
        let types = types_of(volume);
        match &types[..] {
            [] => return Err("no type".to_owned()),
            [_] => {}
            several => {
                self.wrong(path, format!("has more than one type: {}", several.join(", ")), "leave one");
                return Ok(None);
            }
        }
        if let Some(flex) = &volume.flex_volume {
            let secret = flex.secret_ref.as_ref().map(|reference| reference.name.as_str());
            let secret = secret
                .filter(|name| !name.is_empty())
                .map(|name| SecretRef { namespace: namespace.clone(), name: name.to_owned() });
            let flex_volume = Flex { driver: &flex.driver, options: flex.options.as_ref(), secret: secret.as_ref() };
            let owner = format!("Pod {}", self.pod.full_name());
            let checked = self.flex(flex_volume, &owner, &self.pod.places, &child(path, "flexVolume"));
            let name = self.volume_name(&volume.name, path);
            return Ok(checked.zip(name).map(|((driver, options), name)| VolumePlan {
                pod_volume: name.clone(),
                name,
                origin: Origin::Inline,
                driver,
                fs_type: flex.fs_type.clone().unwrap_or_default(),
                read_only: flex.read_only == Some(true),
                options,
                secret,
            }));
        }
        if let Some(source) = &volume.persistent_volume_claim {
            return self.claimed(volume, source, path, namespace);
        }
        Err(types.join(", "))
    }

    fn volume_name(&mut self, name: &str, path: &str) -> Option<VolumeName> {
        VolumeName::parse(name).map_err(|error| self.wrong(&child(path, "name"), error.to_string(), "")).ok()
    }

    fn claimed(
        &mut self,
        volume: &Volume,
        source: &PersistentVolumeClaimVolumeSource,
        path: &str,
        namespace: &Namespace,
    ) -> Result<Option<VolumePlan>, String> {
        let bound = claims::bind(self.objects, namespace, &source.claim_name).map_err(|error| {
            let from = format!("{} (of the pod {})", error.what, self.pod.full_name());
            let place = error.place.clone().unwrap_or_else(|| self.pod.places.value(path));
            ManifestError { what: from, ..error }.at(place)
        });
        let Some(Bound { claim, volume: pv }) = self.keep(bound) else {
            return Ok(None);
        };
        let spec = pv.object.spec.as_ref();
        let Some((spec, flex)) = spec.and_then(|spec| Some((spec, spec.flex_volume.as_ref()?))) else {
            return Err(format!("claim {}, PersistentVolume {}, which is no flexVolume", claim.name, pv.name));
        };
        let owner = format!("PersistentVolume {}", pv.name);
        let before = self.problems.len();
        self.refuse_what_flex_lacks(&owner, pv, claim);
        let mut access_modes = Vec::new();
        for (index, text) in spec.access_modes.iter().flatten().enumerate() {
            match AccessMode::parse(text) {
                Some(mode) => access_modes.push(mode),
                None => {
                    let path = element("spec.accessModes", index);
                    let error = ManifestError::new(format!("{owner}: {path}"), format!("`{}` is none", shown(text)))
                        .at(pv.places.value(&path));
                    self.note(error, "write ReadWriteOnce, ReadOnlyMany, ReadWriteMany or ReadWriteOncePod");
                }
            }
        }
        let capacity = claims::capacity(pv);
        let capacity = self.keep(capacity).flatten();
        let secret = flex.secret_ref.as_ref().and_then(|reference| {
            let name = reference.name.clone().filter(|name| !name.is_empty())?;
            let namespace = match reference.namespace.as_deref().filter(|name| !name.is_empty()) {
                None => namespace.clone(),
                Some(text) => {
                    const PATH: &str = "spec.flexVolume.secretRef.namespace";
                    let parsed = Namespace::parse(text).map_err(|error| {
                        ManifestError::new(format!("{owner}: {PATH}"), error.to_string()).at(pv.places.value(PATH))
                    });
                    self.keep(parsed)?
                }
            };
            Some(SecretRef { namespace, name })
        });
        let flex_volume = Flex { driver: &flex.driver, options: flex.options.as_ref(), secret: secret.as_ref() };
        let checked = self.flex(flex_volume, &owner, &pv.places, "spec.flexVolume");
        let pod_volume = self.volume_name(&volume.name, path);
        let name = VolumeName::parse(&pv.name).map_err(|error| {
            ManifestError::new(format!("{owner}: metadata.name"), error.to_string())
                .at(pv.places.value("metadata.name"))
        });
        let name = self.keep(name);
        let (Some((driver, options)), Some(pod_volume), Some(name)) = (checked, pod_volume, name) else {
            return Ok(None);
        };
        if self.problems.len() > before {
            return Ok(None);
        }
        Ok(Some(VolumePlan {
            pod_volume,
            name,
            origin: Origin::Persistent { claim: claim.name.clone(), access_modes, capacity },
            driver,
            fs_type: flex.fs_type.clone().unwrap_or_default(),
            read_only: source.read_only == Some(true),
            options,
            secret,
        }))
    }

    /// What a PersistentVolume may ask for in general but not of a FlexVolume.
    fn refuse_what_flex_lacks(
        &mut self,
        owner: &str,
        pv: &Found<PersistentVolume>,
        claim: &Found<PersistentVolumeClaim>,
    ) {
        let spec = pv.object.spec.as_ref();
        let mode = |mode: Option<&String>| mode.is_some_and(|mode| mode != "Filesystem");
        let block = mode(spec.and_then(|spec| spec.volume_mode.as_ref()));
        let claimed = mode(claim.object.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref()));
        let places: Option<&Places> = match (block, claimed) {
            (true, _) => Some(&pv.places),
            (false, true) => Some(&claim.places),
            (false, false) => None,
        };
        if let Some(places) = places {
            let error = ManifestError::new(
                format!("{owner}: spec.volumeMode"),
                "a FlexVolume is always mounted as a file system; Kubernetes gives none to a pod as a raw device either",
            );
            self.note(error.at(places.value("spec.volumeMode")), "write `volumeMode: Filesystem`, or leave it out");
        }
        const ANNOTATION: &str = "volume.beta.kubernetes.io/mount-options";
        let options = spec.and_then(|spec| spec.mount_options.as_ref());
        let annotations = pv.object.metadata.annotations.as_ref();
        let path = if options.is_some_and(|options| !options.is_empty()) {
            "spec.mountOptions".to_owned()
        } else if annotations.is_some_and(|all| all.contains_key(ANNOTATION)) {
            child("metadata.annotations", ANNOTATION)
        } else {
            return;
        };
        let error = ManifestError::new(
            format!("{owner}: {path}"),
            "a FlexVolume takes no mount options; in Kubernetes the mount fails too (MountOptionSupport check failed)",
        );
        self.note(error.at(pv.places.value(&path)), "give the driver an option of its own, if it has one for this");
    }

    /// Checks what every flexVolume has; `owner` and `places` are those of the object that holds it.
    fn flex(&mut self, flex: Flex<'_>, owner: &str, places: &Places, path: &str) -> Option<(DriverName, UserOptions)> {
        let at = |key: &str| places.value(&child(path, key));
        let wrong =
            |key: &str, why: String| ManifestError::new(format!("{owner}: {}", child(path, key)), why).at(at(key));
        let driver = match flex.driver.is_empty() {
            true => Err(wrong("driver", "is missing".to_owned())),
            false => DriverName::parse(flex.driver).map_err(|error| wrong("driver", error.to_string())),
        };
        let options = UserOptions::parse(flex.options.cloned().unwrap_or_default()).map_err(|error| {
            let path = child(&child(path, "options"), &error.key);
            let why = "the key is reserved: kubernetes.io, k8s.io and all domains below them are the host's";
            ManifestError::new(format!("{owner}: {path}"), why)
                .at(places.key(&path))
                .hint("give the option another name")
        });
        let secret = match flex.secret {
            Some(secret) => check_name(&secret.name).map_err(|why| wrong("secretRef", why)),
            None => Ok(()),
        };
        // Each is kept before any is looked at, so that all that is wrong is told.
        let (driver, options, secret) = (self.keep(driver), self.keep(options), self.keep(secret));
        secret.and(driver.zip(options))
    }
}
