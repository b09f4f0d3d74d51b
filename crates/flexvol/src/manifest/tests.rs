//! Tests of reading and resolving whole manifests, rule by rule.

use std::path::{Path, PathBuf};

use flexvolume_protocol::{DriverName, Namespace};

use super::*;

/// One source named `in.yaml`.
pub(super) fn source(text: &str) -> Source {
    Source { name: "in.yaml".to_owned(), text: text.to_owned() }
}

pub(super) fn objects(text: &str) -> Result<Objects, ManifestError> {
    parse(&[source(text)])
}

pub(super) fn plans(text: &str) -> Result<Vec<PodPlan>, Vec<ManifestError>> {
    resolve(&objects(text).unwrap())
}

/// The only plan of a right manifest.
fn plan(text: &str) -> PodPlan {
    let mut plans = plans(text).unwrap();
    assert_eq!(plans.len(), 1);
    plans.remove(0)
}

/// All problems of a wrong manifest, a line each.
fn problems(text: &str) -> Vec<String> {
    plans(text).unwrap_err().iter().map(ToString::to_string).collect()
}

pub(super) const CLAIMING_POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers: [{name: c, volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: disk}}]
---
";

const CLAIM: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: disk}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
";

fn pv(name: &str, more: &str) -> String {
    format!(
        "
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  accessModes: [ReadWriteOnce, ReadOnlyMany]
  capacity: {{storage: 2Gi}}
  flexVolume: {{driver: flexvol/loopback, fsType: xfs, readOnly: true, options: {{volumeID: v7}}}}
{more}
---
"
    )
}

#[test]
fn a_pod_with_an_inline_volume() {
    let text = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec:
  serviceAccountName: keeper
  securityContext: {fsGroup: 2000, fsGroupChangePolicy: OnRootMismatch}
  initContainers:
  - {name: prepare, volumeMounts: [{name: data, mountPath: /in}]}
  containers:
  - name: main
    volumeMounts:
    - {name: data, mountPath: /data, readOnly: true, subPath: a/b}
    - {name: scratch, mountPath: /tmp}
    - {name: locked, mountPath: locked}
  - name: idle
  volumes:
  - name: data
    flexVolume:
      driver: flexvol/loopback
      fsType: ext4
      secretRef: {name: key}
      options: {volumeID: v1, size: "1000m"}
  - {name: scratch, emptyDir: {}}
  - {name: locked, flexVolume: {driver: tmpfs, readOnly: true}}
"#;
    let plan = plan(text);
    assert_eq!((plan.namespace.as_str(), plan.name.as_str()), ("shop", "web"));
    assert_eq!(plan.service_account, "keeper");
    assert_eq!((plan.fs_group, plan.fs_group_policy), (Some(2000), FsGroupPolicy::OnRootMismatch));
    assert_eq!(plan.skipped, ["scratch (emptyDir)"]);
    let [data, locked] = &plan.volumes[..] else {
        panic!("{:?}", plan.volumes);
    };
    assert_eq!((data.pod_volume.as_str(), data.name.as_str()), ("data", "data"));
    assert_eq!((data.driver.as_str(), data.fs_type.as_str()), ("flexvol/loopback", "ext4"));
    assert_eq!(data.options.get("size"), Some("1000m"));
    assert_eq!((&data.origin, data.read_only), (&Origin::Inline, false));
    let secret = data.secret.as_ref().unwrap();
    assert_eq!((secret.namespace.as_str(), secret.name.as_str()), ("shop", "key"));
    assert_eq!((locked.fs_type.as_str(), locked.read_only, &locked.secret), ("", true, &None));

    let [main, idle, prepare] = &plan.containers[..] else {
        panic!("{:?}", plan.containers);
    };
    assert_eq!((main.name.as_str(), main.init, main.mounts.len()), ("main", false, 2));
    assert_eq!((idle.name.as_str(), idle.mounts.len()), ("idle", 0));
    assert_eq!((prepare.name.as_str(), prepare.init), ("prepare", true));
    let mount = &main.mounts[0];
    assert_eq!((mount.volume.as_str(), mount.path.as_path()), ("data", Path::new("/data")));
    assert_eq!((mount.read_only, mount.sub_path.clone()), (true, Some(PathBuf::from("a/b"))));
    let mount = &main.mounts[1];
    assert_eq!((mount.read_only, mount.path.as_path()), (true, Path::new("/locked")));
    assert!(!prepare.mounts[0].read_only);
}

#[test]
fn defaults_and_a_stable_uid() {
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: []}}";
    let first = plan(text);
    assert_eq!((first.namespace.as_str(), first.service_account.as_str()), ("default", "default"));
    assert_eq!((first.fs_group, first.fs_group_policy), (None, FsGroupPolicy::Always));
    // Written out, for a changed uid would make a new pod of every running one.
    assert_eq!(first.uid.as_str(), "67f8519d-b1b5-824a-a960-fb491abd7f2f");
    assert_eq!(plan(text).uid, first.uid);
    assert_ne!(plan(&text.replace("web", "web2")).uid, first.uid);
    assert_ne!(plan(&text.replace("name: web", "name: web, namespace: b")).uid, first.uid);
    assert_eq!(plan(&text.replace("name: web", "name: web, uid: abc-1")).uid.as_str(), "abc-1");
}

#[test]
fn a_claim_by_each_of_the_three_ways() {
    let by_name = CLAIM.replace("spec: {", "spec: {volumeName: pv1, ");
    let with_ref = "  claimRef: {namespace: default, name: disk}";
    for text in [
        format!("{CLAIMING_POD}{by_name}{}{}", pv("pv1", ""), pv("pv2", "")),
        format!("{CLAIMING_POD}{CLAIM}{}{}", pv("pv1", with_ref), pv("pv2", "")),
        format!("{CLAIMING_POD}{CLAIM}{}{}", pv("pv1", ""), pv("pv2", "  storageClassName: fast")),
        format!("{CLAIMING_POD}{CLAIM}{}{}", pv("pv1", ""), pv("pv2", "").replace("2Gi", "900Mi")),
        format!("{CLAIMING_POD}{CLAIM}{}{}", pv("pv1", ""), pv("pv2", "").replace("ReadWriteOnce, ", "")),
        format!("{CLAIMING_POD}{CLAIM}{}{}", pv("pv1", ""), pv("pv2", "  claimRef: {namespace: b, name: disk}")),
    ] {
        let plan = plan(&text);
        let volume = &plan.volumes[0];
        assert_eq!((volume.pod_volume.as_str(), volume.name.as_str()), ("data", "pv1"), "{text}");
        let access_modes = vec![AccessMode::ReadWriteOnce, AccessMode::ReadOnlyMany];
        let origin = Origin::Persistent { claim: "disk".into(), access_modes, capacity: Some(2 << 30) };
        assert_eq!(volume.origin, origin);
        assert_eq!((volume.driver.as_str(), volume.fs_type.as_str()), ("flexvol/loopback", "xfs"));
        assert_eq!(volume.options.get("volumeID"), Some("v7"));
        assert_eq!(plan.containers[0].mounts[0].volume.as_str(), "data");
    }
}

#[test]
fn read_only_of_a_claim_is_the_pods_word() {
    let text = format!("{CLAIMING_POD}{CLAIM}{}", pv("pv1", ""));
    assert!(!plan(&text).volumes[0].read_only);
    assert!(!plan(&text).containers[0].mounts[0].read_only);
    let warnings = objects(&text).unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("no effect"), "{warnings:?}");
    let text = text.replace("claimName: disk", "claimName: disk, readOnly: true");
    assert!(plan(&text).volumes[0].read_only);
    assert!(plan(&text).containers[0].mounts[0].read_only);
}

#[test]
fn h_55_the_secret_of_a_persistent_volume_is_in_its_own_namespace_or_in_the_pods() {
    let text = format!("{CLAIMING_POD}{CLAIM}{}", pv("pv1", "")).replace("name: web", "name: web, namespace: shop");
    let text = text.replace("name: disk}\n", "name: disk, namespace: shop}\n");
    for (reference, namespace) in
        [("{name: key, namespace: vault}", Some("vault")), ("{name: key}", Some("shop")), ("{namespace: vault}", None)]
    {
        let plan = plan(&text.replace("fsType: xfs", &format!("fsType: xfs, secretRef: {reference}")));
        let secret = plan.volumes[0].secret.as_ref();
        assert_eq!(secret.map(|secret| secret.namespace.as_str()), namespace);
    }
}

#[test]
fn volumes_of_other_types_are_named() {
    let other = pv("pv1", "").replace(
        "flexVolume: {driver: flexvol/loopback, fsType: xfs, readOnly: true, options: {volumeID: v7}}",
        "nfs: {server: s, path: /x}",
    );
    let plan = plan(&format!("{CLAIMING_POD}{CLAIM}{other}"));
    assert!(plan.volumes.is_empty() && plan.containers[0].mounts.is_empty());
    assert_eq!(plan.skipped, ["data (claim disk, PersistentVolume pv1, which is no flexVolume)"]);
}

#[test]
fn claims_that_cannot_be_followed() {
    let by_name = CLAIM.replace("spec: {", "spec: {volumeName: pv1, ");
    let rival = CLAIM.replace("disk", "rival");
    let with_ref = "  claimRef: {namespace: default, name: disk}";
    let its = "  claimRef: {namespace: default, name: other}";
    let (pv1, pv2) = (pv("pv1", ""), pv("pv2", ""));
    for (text, words) in [
        (
            String::new(),
            "PersistentVolumeClaim default/disk (of the pod default/web): is not among the manifests; looked in in.yaml",
        ),
        (by_name.clone(), "the PersistentVolume pv1, is not among the manifests"),
        (format!("{by_name}{}", pv("pv1", its)), "belongs to the claim default/other by its claimRef"),
        (
            format!("{by_name}{}{pv1}", by_name.replace("disk", "rival")),
            "the claim default/rival wants the same PersistentVolume pv1",
        ),
        (
            format!("{by_name}{}", pv1.replace("2Gi", "1Mi")),
            "pv1 does not fit it: it is smaller than the 1Gi asked for",
        ),
        (format!("{by_name}{}", pv("pv1", "  storageClassName: x")), "its storageClassName is `x`, not ``"),
        (format!("{CLAIM}{}", pv("pv1", with_ref).replace("2Gi", "1Mi")), "it is smaller than the 1Gi asked for"),
        (
            format!("{CLAIM}{}{}", pv("pv1", with_ref), pv("pv2", with_ref)),
            "two PersistentVolumes name it in claimRef: pv1 and pv2",
        ),
        (CLAIM.to_owned(), "no PersistentVolume among the manifests fits it"),
        (format!("{CLAIM}{}", pv1.replace("2Gi", "1Mi")), "fits it; pv1: it is smaller than the 1Gi asked for"),
        (format!("{CLAIM}{pv1}{pv2}"), "2 PersistentVolumes fit it, among them pv1 and pv2"),
        (format!("{CLAIM}{rival}{pv1}"), "the PersistentVolume pv1 fits the claim default/rival as well"),
        (
            format!("{}{pv1}", CLAIM.replace("spec: {", "spec: {selector: {matchLabels: {a: b}}, ")),
            "pv1: it lacks the label a: b",
        ),
        (
            format!("{CLAIM}{}", pv1.replace("2Gi", "2GB")),
            "in.yaml:21:23 (document 3): PersistentVolume pv1: spec.capacity.storage (of the pod default/web): `2GB` is no size",
        ),
    ] {
        let found = problems(&format!("{CLAIMING_POD}{text}"));
        assert!(found.len() == 1 && found[0].contains(words), "{words}\n{found:#?}");
    }
}

#[test]
fn what_flex_volumes_lack_is_refused() {
    for (more, words) in [
        ("  volumeMode: Block", "spec.volumeMode: a FlexVolume is always mounted as a file system"),
        ("  mountOptions: [noatime]", "spec.mountOptions: a FlexVolume takes no mount options"),
    ] {
        let with_ref = format!("  claimRef: {{namespace: default, name: disk}}\n{more}");
        let found = problems(&format!("{CLAIMING_POD}{CLAIM}{}", pv("pv1", &with_ref)));
        assert!(found.len() == 1 && found[0].contains(words), "{found:#?}");
    }
    let bad = format!("{CLAIM}{}", pv("pv1", "  mountOptions: [noatime]"));
    let found = problems(&format!("{CLAIMING_POD}{}{bad}", CLAIMING_POD.replace("name: web", "name: web2")));
    assert_eq!(found.len(), 1, "once, though two pods use it: {found:#?}");
    let annotated =
        pv("pv1", "").replace("name: pv1", "name: pv1, annotations: {volume.beta.kubernetes.io/mount-options: ro}");
    let found = problems(&format!("{CLAIMING_POD}{CLAIM}{annotated}"));
    assert!(found.len() == 1 && found[0].contains("takes no mount options"), "{found:#?}");
    let found = problems(&format!("{CLAIMING_POD}{CLAIM}{}", pv("pv1", "").replace("ReadOnlyMany", "Often")));
    assert!(found.len() == 1 && found[0].contains("spec.accessModes[1]: `Often` is none"), "{found:#?}");
}

#[test]
fn secrets_are_found_by_namespace_name_and_type() {
    let text = "
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: shop}
type: foo/cifs
data:
  password: aHVudGVyMg==
  user: dXNlcg==
  long: |
    aHVu
    dGVyMg==
  none:
stringData: {user: other}
---
{apiVersion: v1, kind: Secret, metadata: {name: plain, namespace: shop}, data: {a: YQ==}}
";
    let objects = objects(text).unwrap();
    let wanted =
        |namespace: &str, name: &str| SecretRef { namespace: Namespace::parse(namespace).unwrap(), name: name.into() };
    let cifs = DriverName::parse("foo/cifs").unwrap();
    let secrets = secrets_for(&objects, &wanted("shop", "key"), &cifs).map_err(|error| error.to_string());
    let Ok(secrets) = secrets else {
        panic!("no secrets");
    };
    let value = |key: &str| secrets.get(key).unwrap().expose().to_vec();
    assert_eq!(
        (value("password"), value("user"), value("long")),
        (b"hunter2".to_vec(), b"other".to_vec(), b"hunter2".to_vec())
    );

    for (namespace, name, driver, why, hint) in [
        ("shop", "none", "foo/cifs", "is not among the manifests; looked in in.yaml", "type: foo/cifs"),
        ("default", "key", "foo/cifs", "is not among the manifests", "in the namespace shop"),
        ("shop", "key", "foo/CIFS", "has the type `foo/cifs`; the driver foo/CIFS is given only", "type: foo/CIFS"),
        ("shop", "plain", "foo/cifs", "has the type `Opaque`", "type: foo/cifs"),
    ] {
        let driver = DriverName::parse(driver).unwrap();
        let Err(error) = secrets_for(&objects, &wanted(namespace, name), &driver) else {
            panic!("{namespace}/{name} was handed out");
        };
        assert!(error.why.contains(why), "{error}");
        assert!(error.hint.as_ref().unwrap().contains(hint), "{error:?}");
    }
    assert!(!format!("{objects:?}").contains("hunter2"));
}

#[test]
fn lists_documents_and_other_kinds() {
    let text = "
---
# nothing but a comment
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: []}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}
- apiVersion: v1
  kind: PodList
  items: [{metadata: {name: b}, spec: {containers: []}}]
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {x: 5}}
---
{apiVersion: example.com/v1, kind: Pod, metadata: {name: foreign}}
---
---
";
    let objects = objects(text).unwrap();
    let names: Vec<&str> = objects.pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let passed: Vec<String> =
        objects.passed_over.iter().map(|it| format!("{} {} {}", it.kind, it.name, it.place.line)).collect();
    assert_eq!(passed, ["Deployment d 9", "ConfigMap c 14", "Pod foreign 16"]);
    assert_eq!(objects.passed_over[1].place.document, 3);
}

#[test]
fn doubtful_fields_give_warnings() {
    let text = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers: []
  volumes:
  - name: a
    flexVolume:
      driver: x/y
      option: {size: '1'}
  - name: b
    flexvolume: {driver: x/y}
  - {name: c, emptyDir: }
";
    let warnings = objects(text).unwrap().warnings;
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    assert!(warnings[0].starts_with("in.yaml:11:7: spec.volumes[0].flexVolume.option is no field"), "{warnings:#?}");
    assert!(warnings[1].starts_with("in.yaml:13:5: `flexvolume` is no type of volume"), "{warnings:#?}");
    assert!(warnings[2].contains("`emptyDir` is empty"), "{warnings:#?}");
    assert_eq!(plan(text).skipped, ["b (no type)", "c (no type)"]);
}

#[test]
fn all_problems_are_told_at_once() {
    let text = "
apiVersion: v1
kind: Pod
metadata: {name: one, uid: same}
spec:
  securityContext: {fsGroup: -1, fsGroupChangePolicy: Never}
  containers:
  - {name: c, volumeMounts: [{name: nope, mountPath: /x}]}
  volumes:
  - {name: a, flexVolume: {driver: ../../bin/sh, options: {kubernetes.io/fsType: x}, secretRef: {name: ../x}}}
  - {name: b, flexVolume: {}}
---
{apiVersion: v1, kind: Pod, metadata: {name: two, uid: same}}
";
    let found = problems(text);
    let words = [
        "-1 is no group id",
        "`Never` is none",
        "volumes[0].flexVolume.driver",
        "fsType\"]: the key is reserved",
        "secretRef",
        "volumes[1].flexVolume.driver: is missing",
        "no volume named `nope`",
        "Pod default/two: spec: is missing",
    ];
    assert_eq!(found.len(), words.len(), "{found:#?}");
    for words in words {
        assert!(found.iter().any(|line| line.contains(words)), "{words}: {found:#?}");
    }
}
