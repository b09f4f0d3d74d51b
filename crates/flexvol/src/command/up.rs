//! `flexvol up`: every flex volume of the pods in the manifests, published.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use flexvolume_host::{
    Host, Notes,
    volume::{
        admit::Request,
        record::{self, ContainerMount, Spec, User},
    },
};
use flexvolume_protocol::Secrets;
use serde::Serialize;

use super::ground::{Done, host};
use crate::{
    cli::Cli,
    manifest::{self, AccessMode, FsGroupPolicy, Objects, Origin, PodPlan, SecretRef, VolumePlan},
    output::Show,
    problem::Problems,
    speak::{self, tell},
};

/// One volume as `up` reports it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    namespace: String,
    pod: String,
    uid: String,
    volume: String,
    driver: String,
    path: String,
    changed: bool,
}

pub(super) fn up(cli: &Cli, show: &Show, files: &[String], jobs: usize) -> Done {
    let sources = manifest::gather(files)?;
    let objects = manifest::parse(&sources)?;
    drop(sources);
    tell_passed_over(show, &objects);
    let plans = manifest::resolve(&objects)?;
    if plans.is_empty() {
        return Err(Problems::usage(
            "there is no Pod in the manifests",
            "flexvol up publishes the volumes of pods; give a manifest with kind: Pod",
        ));
    }
    secrets_are_there(&objects, &plans)?;
    for plan in &plans {
        if show.is_table() && !plan.skipped.is_empty() {
            tell!("pod {}/{}: passed over, as no flex volumes: {}", plan.namespace, plan.name, plan.skipped.join(", "));
        }
    }
    let host = host(cli, show)?;
    let wishes: Vec<(&PodPlan, &VolumePlan)> =
        plans.iter().flat_map(|plan| plan.volumes.iter().map(move |volume| (plan, volume))).collect();
    let results = publish_all(&host, show, &objects, &wishes, jobs);
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    for result in results {
        match result {
            Ok(row) => rows.push(row),
            Err(problem) => problems.push(problem),
        }
    }
    let cells = |row: &Row| {
        let state = if row.changed { "mounted" } else { "mounted (unchanged)" };
        vec![
            format!("{}/{}", row.namespace, row.pod),
            row.volume.clone(),
            row.driver.clone(),
            state.into(),
            row.path.clone(),
        ]
    };
    show.rows(&["POD", "VOLUME", "DRIVER", "STATE", "PATH"], &rows, cells, "no volume was published")?;
    Problems::gather(problems)
}

/// A few at a time, in the order of the manifests; the results in that order too.
fn publish_all(
    host: &Host,
    show: &Show,
    objects: &Objects,
    wishes: &[(&PodPlan, &VolumePlan)],
    jobs: usize,
) -> Vec<Done<Row>> {
    // Who writes comes first: a volume that a reader brought up alone is read-only on the whole node.
    let (readers, writers): (Vec<usize>, Vec<usize>) = (0..wishes.len()).partition(|index| wishes[*index].1.read_only);
    let results: Mutex<Vec<(usize, Done<Row>)>> = Mutex::new(Vec::new());
    let progress = show.progress(wishes.len(), "volumes");
    let work = |groups: &[Vec<usize>], next: &AtomicUsize| {
        loop {
            let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            for &index in group {
                let (pod, volume) = wishes[index];
                progress.begin(index, || format!("{}/{} {}", pod.namespace, pod.name, volume.pod_volume));
                let notes = |note| {
                    progress.heed(index, &note);
                    show.note(note);
                };
                let result = publish(host, &notes, objects, pod, volume);
                progress.end(index);
                if let Ok(mut results) = results.lock() {
                    results.push((index, result));
                }
            }
        }
    };
    for indices in [writers, readers] {
        let groups = by_volume(wishes, &indices);
        let next = AtomicUsize::new(0);
        let jobs = jobs.min(groups.len());
        if jobs <= 1 {
            work(&groups, &next);
        } else {
            std::thread::scope(|scope| (0..jobs).for_each(|_| drop(scope.spawn(|| work(&groups, &next)))));
        }
    }
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Pods that may share a volume take their turn: side by side they would only wait for each other's lock, in vain at last.
fn by_volume(wishes: &[(&PodPlan, &VolumePlan)], indices: &[usize]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known: BTreeMap<_, usize> = BTreeMap::new();
    for &index in indices {
        let volume = wishes[index].1;
        let group = *known.entry((&volume.driver, &volume.name)).or_insert(groups.len());
        match groups.get_mut(group) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

fn publish(host: &Host, notes: Notes<'_>, objects: &Objects, pod: &PodPlan, volume: &VolumePlan) -> Done<Row> {
    let request = request(pod, volume);
    let secrets = |_: &record::SecretRef| match &volume.secret {
        Some(wanted) => secrets(objects, wanted, volume)
            .map_err(|e| flexvolume_host::Error::new(flexvolume_host::Kind::Invalid, e.to_string())),
        None => Ok(Secrets::default()),
    };
    let subject = format!("pod {}/{}, volume {}", pod.namespace, pod.name, volume.pod_volume);
    let published = host.publish(&request, &secrets, notes).map_err(|e| Problems::from(e).about(&subject))?;
    Ok(Row {
        namespace: pod.namespace.to_string(),
        pod: pod.name.to_string(),
        uid: pod.uid.to_string(),
        volume: volume.pod_volume.to_string(),
        driver: volume.driver.to_string(),
        path: published.path.display().to_string(),
        changed: published.changed,
    })
}

fn request(pod: &PodPlan, volume: &VolumePlan) -> Request {
    let (persistent, exclusive, capacity) = match &volume.origin {
        Origin::Inline => (false, false, None),
        Origin::Persistent { access_modes, capacity, .. } => {
            (true, access_modes.contains(&AccessMode::ReadWriteOncePod), *capacity)
        }
    };
    let mounts = pod.containers.iter().flat_map(|container| {
        container.mounts.iter().filter(|mount| mount.volume == volume.pod_volume).map(|mount| ContainerMount {
            container: container.name.clone(),
            path: mount.path.clone(),
            sub_path: mount.sub_path.clone(),
            read_only: mount.read_only,
        })
    });
    Request {
        driver: volume.driver.clone(),
        name: volume.name.clone(),
        persistent,
        exclusive,
        capacity,
        uid: pod.uid.clone(),
        spec: Spec {
            fs_type: volume.fs_type.clone(),
            options: volume.options.clone(),
            secret: volume
                .secret
                .as_ref()
                .map(|s| record::SecretRef { namespace: s.namespace.to_string(), name: s.name.clone() }),
        },
        user: User {
            pod: pod.name.to_string(),
            namespace: pod.namespace.to_string(),
            uid: pod.uid.to_string(),
            service_account: pod.service_account.clone(),
            fs_group: pod.fs_group,
            fs_group_on_mismatch: pod.fs_group_policy == FsGroupPolicy::OnRootMismatch,
            read_only: volume.read_only,
            volume: volume.pod_volume.to_string(),
            mounts: mounts.collect(),
        },
    }
}

/// Checked before anything is begun: a missing Secret is a mistake in the manifests, not in the volume.
fn secrets_are_there(objects: &Objects, plans: &[PodPlan]) -> Done {
    let volumes = plans.iter().flat_map(|plan| &plan.volumes);
    let missing =
        volumes.filter_map(|volume| volume.secret.as_ref().and_then(|wanted| secrets(objects, wanted, volume).err()));
    Problems::gather(missing.map(Problems::from).collect())
}

fn secrets(objects: &Objects, wanted: &SecretRef, volume: &VolumePlan) -> Result<Secrets, manifest::ManifestError> {
    manifest::secrets_for(objects, wanted, &volume.driver)
}

fn tell_passed_over(show: &Show, objects: &Objects) {
    for warning in &objects.warnings {
        speak::warn("", &warning.to_string());
    }
    if show.is_table() {
        for other in &objects.passed_over {
            tell!(
                "{}: {} {} passed over: flexvol reads pods, volumes, claims and secrets",
                other.place,
                other.kind,
                other.name
            );
        }
    }
}
