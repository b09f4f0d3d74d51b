//! Strings of hostile symbols in every field of a manifest that names something or becomes a path.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use flexvolume_host::Layout;
use flexvolume_testkit::hostile;
use serde_json::{Value, json};

use super::*;

/// So many pods in one text: all problems of a text are told at once, each once.
const AT_ONCE: usize = 300;

/// Puts a text into a field of a pod.
type Put = fn(&mut Value, &str);

/// The fields of a pod that are resolved. The last three become no path, and are tried with shorter texts.
const FIELDS: [(&str, u32, Put); 9] = [
    ("uid", 3, |pod, text| pod["metadata"]["uid"] = text.into()),
    ("volume", 3, |pod, text| {
        pod["spec"]["volumes"][0]["name"] = text.into();
        pod["spec"]["containers"][0]["volumeMounts"][0]["name"] = text.into();
    }),
    ("driver", 3, |pod, text| pod["spec"]["volumes"][0]["flexVolume"]["driver"] = text.into()),
    ("secret", 3, |pod, text| pod["spec"]["volumes"][0]["flexVolume"]["secretRef"] = json!({"name": text})),
    ("mountPath", 3, |pod, text| pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] = text.into()),
    ("subPath", 3, |pod, text| pod["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = text.into()),
    ("option", 2, |pod, text| pod["spec"]["volumes"][0]["flexVolume"]["options"] = json!({text: text})),
    ("container", 2, |pod, text| pod["spec"]["containers"][0]["name"] = text.into()),
    ("account", 2, |pod, text| pod["spec"]["serviceAccountName"] = text.into()),
];

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/m"}]}],
            "volumes": [{"name": "v", "flexVolume": {"driver": "x/y"}}],
        },
    })
}

fn read(documents: &[Value]) -> Result<Objects, ManifestError> {
    let text = json!({"apiVersion": "v1", "kind": "List", "items": documents}).to_string();
    parse(&[Source { name: "hostile.json".into(), text }])
}

fn is_component(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none() && !name.contains('\0')
}

fn assert_safe(plan: &PodPlan, field: &str) {
    let layout = Layout::new("/root/below");
    for name in [plan.name.as_str(), plan.namespace.as_str(), plan.uid.as_str()] {
        assert!(is_component(name), "{field}: {name:?}");
    }
    for volume in &plan.volumes {
        let place = layout.place(plan.uid.as_str(), &volume.driver, &volume.name);
        let global = layout.global(&volume.driver, &volume.name);
        assert_eq!(place.components().filter(|part| matches!(part, Component::Normal(_))).count(), 5, "{place:?}");
        for path in [&place, &global] {
            assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{field}: {path:?}");
        }
        assert!(is_component(volume.pod_volume.as_str()));
    }
    for mount in plan.containers.iter().flat_map(|container| &container.mounts) {
        let mut at = mount.path.components();
        assert_eq!(at.next(), Some(Component::RootDir), "{field}: {:?}", mount.path);
        assert!(at.clone().next().is_some(), "{field}: {:?}", mount.path);
        let part = mount.sub_path.iter().flat_map(|part| part.components());
        assert!(at.chain(part).all(|part| matches!(part, Component::Normal(_))), "{field}: {mount:?}");
        let shown = format!("{}{}", mount.path.display(), mount.sub_path.as_deref().unwrap_or(Path::new("")).display());
        assert!(!shown.contains(char::is_control), "{field}: {shown:?}");
    }
}

#[test]
fn no_field_of_a_pod_leads_elsewhere() {
    for (field, longest, put) in FIELDS {
        let texts: Vec<_> = hostile::texts(longest).collect();
        let (mut accepted, mut refused) = (0, 0);
        for chunk in texts.chunks(AT_ONCE) {
            let pods = chunk.iter().enumerate().map(|(n, text)| {
                let mut pod = pod(&format!("p{n}"));
                put(&mut pod, text);
                pod
            });
            let mut objects = read(&pods.collect::<Vec<_>>()).unwrap_or_else(|error| panic!("{field}: {error}"));
            if let Err(problems) = resolve(&objects) {
                for problem in &problems {
                    let line = format!("{problem} {:?}", problem.hint);
                    assert!(!line.contains(char::is_control), "{field}: {line:?}");
                }
                let wrong: BTreeSet<&str> = problems
                    .iter()
                    .filter_map(|problem| problem.what.strip_prefix("Pod default/")?.split(':').next())
                    .collect();
                assert!(!wrong.is_empty(), "{field}: {problems:?}");
                refused += wrong.len();
                objects.pods.retain(|pod| !wrong.contains(pod.name.as_str()));
            }
            let plans = resolve(&objects).unwrap_or_else(|problems| panic!("{field}: {problems:#?}"));
            accepted += plans.len();
            plans.iter().for_each(|plan| assert_safe(plan, field));
        }
        assert!(accepted > 0, "{field}: nothing was accepted");
        assert!(refused > 500 || longest < 3, "{field}: {refused} refused");
    }
}

#[test]
fn no_object_has_a_hostile_name() {
    for text in hostile::texts(4) {
        let plain = text.starts_with('a') && text.ends_with('a') && text.bytes().all(|b| b"a.-".contains(&b));
        let labels = text.split('.').all(|label| label.starts_with('a') && label.ends_with('a'));
        assert_eq!(object::check_name(&text).is_ok(), plain && labels, "{text:?}");
    }
    for text in hostile::texts(2) {
        for kind in ["Pod", "PersistentVolume", "PersistentVolumeClaim", "Secret"] {
            for field in ["name", "namespace"] {
                let mut metadata = json!({"name": "n", "namespace": "default"});
                metadata[field] = text.as_str().into();
                let object =
                    json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": {"containers": []}});
                let fits = ["a", "aa"].contains(&text.as_str())
                    || field == "namespace" && ["", "a.", "a-"].contains(&text.as_str());
                match read(&[object]) {
                    Ok(_) => assert!(fits, "{kind}: {field} {text:?}"),
                    Err(error) => {
                        assert!(!fits, "{kind}: {error}");
                        assert!(!error.to_string().contains(char::is_control), "{error:?}");
                    }
                }
            }
        }
    }
}

/// What a claim is called and which volume it names are compared, never joined to anything.
#[test]
fn a_claim_of_a_hostile_name_finds_nothing() {
    for text in hostile::texts(2) {
        let mut pod = pod("p");
        pod["spec"]["volumes"][0] = json!({"name": "v", "persistentVolumeClaim": {"claimName": text}});
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "claim"}, "spec": {"volumeName": text},
        });
        let objects = read(&[pod.clone(), claim.clone()]).unwrap();
        assert!(resolve(&objects).is_err(), "{text:?}");
        pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = "claim".into();
        let objects = read(&[pod, claim]).unwrap();
        let problems = resolve(&objects).unwrap_err();
        assert!(problems.iter().all(|problem| !problem.to_string().contains(char::is_control)), "{problems:?}");
    }
}
