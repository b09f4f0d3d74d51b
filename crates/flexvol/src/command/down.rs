//! `flexvol down`: the volumes of pods, taken away. What cannot be taken is reported; the rest is taken all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use flexvolume_csi::place;
use flexvolume_host::{
    Elsewhere, Error, Host, Kind, Note,
    retry::{pool::Work, queue::Task},
    volume::record::{Record, SecretRef},
};
use flexvolume_protocol::{Secrets, excerpt};
use serde::Serialize;

use super::{
    ground::{Done, host, no_secrets},
    pods::{self, Pod},
    words,
    work::{self, Job, Wait},
};
use crate::{
    cli::Cli,
    manifest::{self, Objects},
    output::Show,
    problem::Problems,
    speak::tell,
};

/// One volume as `down` reports it.
#[derive(Serialize)]
struct Row {
    namespace: String,
    pod: String,
    uid: String,
    volume: String,
}

pub(super) fn down(cli: &Cli, show: &Show, what: &[String], all: bool, slots: u8) -> Done {
    // Manifests are read before anything is begun, so that a typing mistake takes nothing half away.
    let (files, names): (Vec<String>, Vec<String>) = what.iter().cloned().partition(|arg| is_file(arg));
    let objects = if files.is_empty() { Objects::default() } else { manifest::parse(&manifest::gather(&files)?)? };
    let mut chosen = pods_of(&objects)?;
    let host = host(cli, show)?;
    let known = pods::all(&host)?;
    let seen = host.elsewhere()?;
    let clients = clients(&host, &seen)?;
    if all {
        chosen.extend(known.clone().into_iter().filter(|(uid, _)| !clients.contains_key(uid)));
        left_alone(show, &clients);
    }
    let (names, unknown): (Vec<_>, Vec<_>) = names.iter().partition(|name| pods::is_known(&known, name));
    for name in names {
        let pod = pods::find(&known, name)?;
        chosen.insert(pod.uid.clone(), pod);
    }
    let mut problems = refuse_shown(&mut chosen, &clients);
    let (jobs, keys) = jobs_of(&host, chosen.values())?;
    let leftovers = jobs.iter().filter(|job| job.uid.is_empty()).count();
    // A pod that is not known may be one of which an earlier `down` left something, which goes now.
    if let (0, Some(name)) = (leftovers, unknown.first()) {
        pods::find(&known, name)?;
    }
    let host = Arc::new(host);
    let work: Work<()> = {
        let (host, jobs) = (host.clone(), jobs.clone());
        Arc::new(move |id, tell| {
            let (key, uid) = (&keys[id], &jobs[id].uid);
            let notes = |note| tell.note(id, note);
            let secrets = |wanted: &SecretRef| secret_of(&objects, wanted);
            if uid.is_empty() { host.settle(key, &secrets, &notes) } else { host.unpublish(key, uid, &secrets, &notes) }
        })
    };
    let worked = work::all(&host, show, &jobs, slots, Wait::No, work);
    let mut rows = Vec::new();
    problems.extend(worked.asked.map(Problems::asked));
    for (job, done) in jobs.into_iter().zip(worked.results) {
        match done {
            Ok(()) if job.uid.is_empty() => {}
            Ok(()) => rows.push(Row { namespace: job.namespace, pod: job.pod, uid: job.uid, volume: job.volume }),
            Err(problem) => problems.push(problem),
        }
    }
    let (left, unread): (Vec<_>, Vec<_>) = host.records()?.into_iter().partition(Result::is_ok);
    problems.extend(unread.into_iter().filter_map(Result::err).map(Problems::from));
    let held: Vec<Record> = left.into_iter().flatten().filter(|record| record.state.is_held()).collect();
    if !rows.is_empty() || problems.is_empty() {
        let cells =
            |row: &Row| vec![words::whose(&row.namespace, &row.pod, &row.uid), row.volume.clone(), "gone".into()];
        let nothing = match (leftovers, held.len()) {
            (0, 0) => "nothing to take down",
            (0, _) => "nothing to take down but what flexvol csi holds, and that stays",
            (_, _) => "what no pod wanted any more is gone",
        };
        show.rows(&["POD", "VOLUME", "STATE"], &rows, cells, nothing)?;
    }
    if all && !held.is_empty() {
        // Clients may have come and gone meanwhile.
        tell_held(&host, &held, &host.elsewhere()?);
    }
    Problems::gather(problems)
}

/// The places that clients of CSI have, each with the target that it is still shown at.
fn clients(host: &Host, seen: &Elsewhere) -> Done<BTreeMap<String, Option<PathBuf>>> {
    let points = seen.points().map(|point| (place::of(point).to_string(), point.to_owned()));
    let mut shown: BTreeMap<String, PathBuf> = points.collect();
    let users = host.records()?.into_iter().flatten().flat_map(|record| record.users);
    // A lost record does not tell the two apart; what is mounted does.
    let theirs = users.filter_map(|(uid, user)| {
        let target = shown.remove(&uid);
        (target.is_some() || user.uid != uid).then_some((uid, target))
    });
    Ok(theirs.collect())
}

/// Says what is passed over, and who takes it away.
fn left_alone(show: &Show, clients: &BTreeMap<String, Option<PathBuf>>) {
    if clients.is_empty() {
        return;
    }
    let names: Vec<_> = clients
        .iter()
        .map(|(uid, target)| target.as_ref().map_or_else(|| uid.clone(), |target| target.display().to_string()))
        .collect();
    let (many, names) = (names.len(), excerpt(&names.join(", "), 400));
    let text = format!(
        "{many} left alone, which clients of CSI have (flexvol csi): {names}; they go when their clients unpublish them, \
         as Kubernetes does when a pod is deleted"
    );
    show.note(Note::Warning { volume: String::new(), text });
}

/// Takes out what a client still has at a target: it would be taken from beneath whoever uses it there.
fn refuse_shown(chosen: &mut BTreeMap<String, Pod>, clients: &BTreeMap<String, Option<PathBuf>>) -> Vec<Problems> {
    let mut problems = Vec::new();
    chosen.retain(|uid, pod| match clients.get(uid) {
        Some(Some(target)) => {
            let target = target.display();
            let what = format!("the volume of {pod} is published at {target}, for a client of CSI (flexvol csi)");
            let hint = "have its client unpublish it, as Kubernetes does when the pod is deleted; what a client has left behind goes \
                        with NodeUnpublishVolume";
            problems.push(Error::new(Kind::Refused, what).hint(hint).into());
            false
        }
        Some(None) | None => true,
    });
    problems
}

/// What stays, for whom, and how it goes.
fn tell_held(host: &Host, held: &[Record], seen: &Elsewhere) {
    for record in held {
        let at = words::global(host, record).map(|path| format!(", staged at {}", path.display()));
        let at = at.unwrap_or_else(|| format!(" ({})", words::rung(&record.state.rung)));
        let targets: Vec<_> = seen.of(host, record, "").iter().map(|path| path.display().to_string()).collect();
        let seen = if targets.is_empty() { String::new() } else { format!(", published at {}", targets.join(", ")) };
        tell!("volume {} stays: flexvol csi holds it{at}{seen}", record.key);
    }
    tell!(
        "what is held goes when its client unpublishes and unstages it (NodeUnpublishVolume, NodeUnstageVolume); under Kubernetes: delete its pods. Until then no folder of flexvol's may be deleted"
    );
}

/// What is to be taken from these pods, and what earlier runs left that no pod wants any more; each with its key.
fn jobs_of<'a>(host: &Host, pods: impl Iterator<Item = &'a Pod>) -> Done<(Vec<Job>, Vec<String>)> {
    let mut jobs = Vec::new();
    let mut keys = Vec::new();
    let mut job = |record: Record, pod: &Pod| {
        let volume = record.users.get(&pod.uid).map_or(record.key.clone(), |user| user.volume.clone());
        let task = Task { driver: record.driver, volume: record.key.clone(), after: false };
        let Pod { namespace, name, uid } = pod.clone();
        jobs.push(Job { task, namespace, pod: name, uid, volume });
        keys.push(record.key);
    };
    let mut tried = BTreeSet::new();
    for pod in pods {
        for record in host.of_pod(&pod.uid)? {
            tried.insert(record.key.clone());
            job(record, pod);
        }
    }
    let nobody = Pod { namespace: String::new(), name: String::new(), uid: String::new() };
    for record in host.records()?.into_iter().flatten() {
        if !record.state.is_wanted() && !tried.contains(&record.key) {
            job(record, &nobody);
        }
    }
    Ok((jobs, keys))
}

/// A pod's name never looks like a path to a manifest.
fn is_file(arg: &str) -> bool {
    let manifest_like = [".yaml", ".yml", ".json"].iter().any(|end| arg.ends_with(end));
    arg == "-" || arg.starts_with(['.', '/']) || manifest_like || Path::new(arg).exists()
}

/// Nothing going down is given a secret; one that is at hand is taken out of what drivers say.
fn secret_of(objects: &Objects, wanted: &SecretRef) -> flexvolume_host::Result<Secrets> {
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
