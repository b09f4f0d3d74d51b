//! Sorts the documents of all sources by kind, so that each kind we read is typed and every other is named and passed over.

use std::collections::BTreeMap;

use flexvolume_protocol::Namespace;
use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use serde::de::DeserializeOwned;

use super::object::{Found, Objects, PassedOver, check_name, types_of};
use super::problem::{ManifestError, Place, shown};
use super::secrets::SecretObject;
use super::source::Source;
use super::tree::{self, Node, Places, Value, child, element};
use super::typed::typed;

/// Sorts every document of every source; a `List` counts as the objects in it.
///
/// # Errors
/// The first thing found wrong: bad YAML, a document that is no object, a field of the wrong type, a hostile name, the
/// same object twice.
pub fn parse(sources: &[Source]) -> Result<Objects, ManifestError> {
    let mut sorter = Sorter::default();
    for source in sources {
        sorter.objects.sources.push(source.name.clone());
        for document in tree::read(source)? {
            sorter.document(&document, source, None)?;
        }
    }
    Ok(sorter.objects)
}

#[derive(Default)]
struct Sorter {
    objects: Objects,
    seen: BTreeMap<(&'static str, String), Place>,
}

/// Kind and apiVersion of a document, whatever else it is.
struct Head<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

impl Sorter {
    /// `outer` is the kind that a typed list (`PodList`) gives to items which do not name their own.
    fn document(&mut self, node: &Node, source: &Source, outer: Option<&str>) -> Result<(), ManifestError> {
        if node.is_null() {
            return Ok(());
        }
        let head = head(node, source, outer)?;
        if head.group.is_empty() {
            if let Some(kind) = head.kind.strip_suffix("List")
                && matches!(kind, "" | "Pod" | "PersistentVolume" | "PersistentVolumeClaim" | "Secret")
            {
                return self.list(node, source, Some(kind).filter(|kind| !kind.is_empty()));
            }
            if matches!(head.kind, "Pod" | "PersistentVolume" | "PersistentVolumeClaim" | "Secret")
                && head.version != "v1"
            {
                return Err(ManifestError::new(
                    head.kind,
                    format!("there is no version `{}` of it", shown(head.version)),
                )
                .at(node.get("apiVersion").unwrap_or(node).at.place(source))
                .hint("write `apiVersion: v1`"));
            }
            match head.kind {
                "Pod" => {
                    let pod = self.found("Pod", node, source, read_as::<Pod>)?;
                    self.warn_of_pod(node, source, &pod);
                    self.objects.pods.push(pod);
                    return Ok(());
                }
                "PersistentVolume" => {
                    let volume = self.found("PersistentVolume", node, source, read_as)?;
                    self.warn_of_volume(node, source, &volume);
                    self.objects.volumes.push(volume);
                    return Ok(());
                }
                "PersistentVolumeClaim" => {
                    let claim = self.found("PersistentVolumeClaim", node, source, read_as)?;
                    self.objects.claims.push(claim);
                    return Ok(());
                }
                "Secret" => {
                    let secret = self.found("Secret", node, source, SecretObject::read)?;
                    self.objects.secrets.push(secret);
                    return Ok(());
                }
                _ => {}
            }
        }
        let name = node.get("metadata").and_then(|metadata| metadata.get("name"));
        self.objects.passed_over.push(PassedOver {
            kind: shown(head.kind),
            name: shown(name.and_then(Node::text).unwrap_or_default()),
            place: node.at.place(source),
        });
        Ok(())
    }

    fn list(&mut self, node: &Node, source: &Source, kind: Option<&str>) -> Result<(), ManifestError> {
        let Some(items) = node.get("items") else {
            return Ok(());
        };
        if !matches!(items.value, Value::List(_) | Value::Null) {
            return Err(ManifestError::new("List: items", "is no list").at(items.at.place(source)));
        }
        for item in items.elements() {
            self.document(item, source, kind)?;
        }
        Ok(())
    }

    /// Checks name and namespace, sees that the object is the first of its name, and reads it.
    fn found<T>(
        &mut self,
        kind: &'static str,
        node: &Node,
        source: &Source,
        read: impl FnOnce(&str, &Node, &Places) -> Result<T, ManifestError>,
    ) -> Result<Found<T>, ManifestError> {
        let places = Places::of(node, source);
        let metadata = node.get("metadata");
        let field = |key| metadata.and_then(|metadata| metadata.get(key));
        let Some(name) = field("name").filter(|name| !name.is_null()) else {
            let error = ManifestError::new(kind, "has no metadata.name").at(places.value("metadata"));
            return Err(match field("generateName") {
                Some(_) => error.hint("generateName needs an API server; write `name:` instead"),
                None => error.hint("write `metadata: {name: …}`"),
            });
        };
        let wrong = |key: &str, node: &Node, why: String| {
            ManifestError::new(format!("{kind}: metadata.{key}"), why).at(node.at.place(source))
        };
        let Some(text) = name.text() else {
            return Err(wrong("name", name, "is no text".into()).hint("write it in quotes"));
        };
        check_name(text).map_err(|why| wrong("name", name, why))?;
        let namespace = match field("namespace").filter(|namespace| !namespace.is_null()) {
            None => Namespace::parse(super::DEFAULT),
            Some(node) => match node.text() {
                None => {
                    return Err(wrong("namespace", node, "is no text".into()).hint("write it in quotes"));
                }
                Some("") => Namespace::parse(super::DEFAULT),
                Some(text) => Namespace::parse(text),
            },
        };
        let namespace =
            namespace.map_err(|error| wrong("namespace", field("namespace").unwrap_or(name), error.to_string()))?;
        // A PersistentVolume belongs to no namespace, whatever it says.
        let full_name = match kind {
            "PersistentVolume" => text.to_owned(),
            _ => format!("{namespace}/{text}"),
        };
        let place = places.start();
        if let Some(first) = self.seen.insert((kind, full_name.clone()), place.clone()) {
            return Err(ManifestError::new(
                format!("{kind} {full_name}"),
                format!("is here a second time; the first is at {first}"),
            )
            .at(place)
            .hint("give each object once: take one of them out or give it another name"));
        }
        Ok(Found {
            object: read(&format!("{kind} {full_name}"), node, &places)?,
            name: text.to_owned(),
            namespace,
            places,
        })
    }

    fn warn_of_pod(&mut self, node: &Node, source: &Source, pod: &Found<Pod>) {
        let volumes = node.get("spec").and_then(|spec| spec.get("volumes"));
        for (index, volume) in volumes.map_or(&[][..], Node::elements).iter().enumerate() {
            let path = element("spec.volumes", index);
            if let Some(flex) = volume.get("flexVolume") {
                self.warn_of_unknown(flex, source, &child(&path, "flexVolume"));
            }
            let known = pod.object.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
            let known = known.and_then(|volumes| volumes.get(index));
            if known.is_none_or(|volume| !types_of(volume).is_empty()) {
                continue;
            }
            for (key, value) in volume.entries().iter().filter(|(key, _)| key.text != "name") {
                let why = match value.is_null() {
                    true => "is empty",
                    false => "is no type of volume",
                };
                let place = key.at.place(source);
                self.warn(format!("{place}: `{}` {why} and is ignored", shown(&key.text)));
            }
        }
    }

    fn warn_of_volume(&mut self, node: &Node, source: &Source, volume: &Found<PersistentVolume>) {
        let Some(flex) = node.get("spec").and_then(|spec| spec.get("flexVolume")) else {
            return;
        };
        self.warn_of_unknown(flex, source, "spec.flexVolume");
        let spec = volume.object.spec.as_ref();
        let read_only = spec.and_then(|spec| spec.flex_volume.as_ref()?.read_only);
        if read_only == Some(true) {
            self.warn(format!(
                "{}: readOnly of a PersistentVolume has no effect, in Kubernetes neither: set it on the pod's persistentVolumeClaim",
                volume.places.key("spec.flexVolume.readOnly")
            ));
        }
    }

    fn warn_of_unknown(&mut self, flex: &Node, source: &Source, path: &str) {
        const KNOWN: [&str; 5] = ["driver", "fsType", "options", "readOnly", "secretRef"];
        for (key, _) in flex.entries() {
            if !KNOWN.contains(&key.text.as_str()) {
                self.warn(format!(
                    "{}: {} is no field of a flexVolume and is ignored; the fields are {}",
                    key.at.place(source),
                    child(path, &key.text),
                    KNOWN.join(", ")
                ));
            }
        }
    }

    fn warn(&mut self, warning: String) {
        self.objects.warnings.push(warning);
    }
}

fn head<'a>(node: &'a Node, source: &Source, outer: Option<&'a str>) -> Result<Head<'a>, ManifestError> {
    let wrong = |why: &str, at: &Node| {
        ManifestError::new("the document", why)
            .at(at.at.place(source))
            .hint("a manifest has apiVersion, kind, metadata and spec")
    };
    if !matches!(node.value, Value::Map(_)) {
        return Err(wrong("is no Kubernetes object", node));
    }
    let kind = match node.get("kind") {
        None => outer.ok_or_else(|| wrong("has no kind", node))?,
        Some(kind) => kind.text().ok_or_else(|| wrong("has a kind that is no text", kind))?,
    };
    let version = match node.get("apiVersion") {
        None if outer.is_some() => "v1",
        None => return Err(wrong("has no apiVersion", node)),
        Some(version) => version.text().ok_or_else(|| wrong("has an apiVersion that is no text", version))?,
    };
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    Ok(Head { group, version, kind })
}

fn read_as<T: DeserializeOwned>(what: &str, node: &Node, places: &Places) -> Result<T, ManifestError> {
    typed(node).map_err(|misfit| {
        let what = match misfit.path.is_empty() {
            true => what.to_owned(),
            false => format!("{what}: {}", misfit.path),
        };
        let place = Place { line: misfit.at.line, column: misfit.at.column, ..places.start() };
        let error = ManifestError::new(what, misfit.why).at(place);
        match misfit.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}
