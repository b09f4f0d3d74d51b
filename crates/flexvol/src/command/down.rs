//! `flexvol down`: the volumes of pods, taken away. What cannot be taken is reported; the rest is taken all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use flexvolume_host::volume::record::SecretRef;
use flexvolume_protocol::Secrets;
use serde::Serialize;

use super::{
    ground::{Done, host, no_secrets},
    pods::{self, Pod},
};
use crate::{
    cli::Cli,
    manifest::{self, Objects},
    output::Show,
    problem::Problems,
};

/// One volume as `down` reports it.
#[derive(Serialize)]
struct Row {
    namespace: String,
    pod: String,
    uid: String,
    volume: String,
}

pub(super) fn down(cli: &Cli, show: &Show, what: &[String], all: bool) -> Done {
    // Manifests are read before anything is begun, so that a typing mistake takes nothing half away.
    let (files, names): (Vec<String>, Vec<String>) = what.iter().cloned().partition(|arg| is_file(arg));
    let objects = if files.is_empty() { Objects::default() } else { manifest::parse(&manifest::gather(&files)?)? };
    let mut chosen = pods_of(&objects)?;
    let secrets = |wanted: &SecretRef| known(&objects, wanted);
    let host = host(cli, show)?;
    let known = pods::all(&host)?;
    if all {
        chosen.extend(known.clone());
    }
    for name in &names {
        let pod = pods::find(&known, name)?;
        chosen.insert(pod.uid.clone(), pod);
    }
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    let mut tried = BTreeSet::new();
    let progress = show.progress(chosen.len(), "pods");
    for (id, pod) in chosen.values().enumerate() {
        progress.begin(id, || format!("{}/{}", pod.namespace, pod.name));
        let notes = |note| {
            progress.heed(id, &note);
            show.note(note);
        };
        for (record, done) in host.unpublish(&pod.uid, &secrets, &notes)? {
            tried.insert(record.key.clone());
            let volume = record.users.get(&pod.uid).map_or(record.key, |user| user.volume.clone());
            let subject = format!("pod {}/{}, volume {volume}", pod.namespace, pod.name);
            match done {
                Ok(()) => rows.push(Row {
                    namespace: pod.namespace.clone(),
                    pod: pod.name.clone(),
                    uid: pod.uid.clone(),
                    volume,
                }),
                Err(error) => problems.push(Problems::from(error).about(&subject)),
            }
        }
        progress.end(id);
    }
    drop(progress);
    for (record, done) in host.settle(&tried, &secrets, &|note| show.note(note))? {
        if let Err(error) = done {
            problems.push(Problems::from(error).about(&format!("volume {}", record.key)));
        }
    }
    for error in host.records()?.into_iter().filter_map(Result::err) {
        problems.push(error.into());
    }
    if !rows.is_empty() || problems.is_empty() {
        let cells = |row: &Row| vec![format!("{}/{}", row.namespace, row.pod), row.volume.clone(), "gone".into()];
        show.rows(&["POD", "VOLUME", "STATE"], &rows, cells, "nothing to take down")?;
    }
    Problems::gather(problems)
}

/// A pod's name never looks like a path to a manifest.
fn is_file(arg: &str) -> bool {
    let manifest_like = [".yaml", ".yml", ".json"].iter().any(|end| arg.ends_with(end));
    arg == "-" || arg.starts_with(['.', '/']) || manifest_like || Path::new(arg).exists()
}

/// Nothing going down is given a secret; one that is at hand is taken out of what drivers say.
fn known(objects: &Objects, wanted: &SecretRef) -> flexvolume_host::Result<Secrets> {
    let is_it = |namespace: &str, name: &str| namespace == wanted.namespace && name == wanted.name;
    let found = objects.secrets.iter().find(|secret| is_it(secret.namespace.as_str(), &secret.name));
    found.map_or_else(|| no_secrets(wanted), |secret| Ok(secret.object.values.clone()))
}

fn pods_of(objects: &Objects) -> Done<BTreeMap<String, Pod>> {
    let mut pods = BTreeMap::new();
    for pod in &objects.pods {
        // Who the pod is suffices: its volumes may have been edited since, and must still go.
        let (namespace, name, uid) = manifest::identify(pod)?;
        let pod = Pod { namespace: namespace.to_string(), name: name.to_string(), uid: uid.to_string() };
        pods.insert(pod.uid.clone(), pod);
    }
    Ok(pods)
}
