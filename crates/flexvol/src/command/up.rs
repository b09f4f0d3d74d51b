//! `flexvol up`: every flex volume of the pods in the manifests, published.

use std::{sync::Arc, time::Duration};

use flexvolume_host::{
    Error, Host, Kind,
    retry::{
        pool::Teller,
        queue::{Id, Task},
    },
    volume::{
        admit::Request,
        record::{self, ContainerMount, Spec, User},
    },
};
use flexvolume_protocol::Secrets;
use serde::Serialize;

use super::{
    ground::{Done, host},
    work::{self, Job, Wait},
};
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

/// Everything that is wanted, for threads that may outlive whoever asked for it.
struct Wishes {
    host: Arc<Host>,
    objects: Objects,
    plans: Vec<PodPlan>,
    /// Pod and volume by their places above, in the order of the manifests.
    order: Vec<(usize, usize)>,
}

/// `wait` says whether to try again, and for how long.
pub(super) fn up(cli: &Cli, show: &Show, files: &[String], slots: u8, wait: Option<Option<Duration>>) -> Done {
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
    let host = Arc::new(host(cli, show)?);
    let wishes = Wishes::new(host.clone(), objects, plans);
    let jobs = wishes.jobs();
    let wait = wait.map_or(Wait::No, Wait::For);
    let worked = work::all(&host, show, &jobs, slots, wait, Arc::new(move |id, tell| wishes.publish(id, tell)));
    let mut rows = Vec::new();
    let mut problems: Vec<Problems> = worked.asked.map(Problems::asked).into_iter().collect();
    for result in worked.results {
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
    show.rows(&["POD", "VOLUME", "DRIVER", "STATE", "PATH"], &rows, cells, "nothing was published")?;
    Problems::gather(problems)
}

impl Wishes {
    fn new(host: Arc<Host>, objects: Objects, plans: Vec<PodPlan>) -> Self {
        let places = |(pod, plan): (usize, &PodPlan)| (0..plan.volumes.len()).map(move |volume| (pod, volume));
        let order = plans.iter().enumerate().flat_map(places).collect();
        Self { host, objects, plans, order }
    }

    fn get(&self, id: Id) -> (&PodPlan, &VolumePlan) {
        let (pod, volume) = self.order[id];
        (&self.plans[pod], &self.plans[pod].volumes[volume])
    }

    /// In the order of the manifests.
    fn jobs(&self) -> Vec<Job> {
        let job = |id| {
            let (pod, volume) = self.get(id);
            // Pods that may share a volume take turns: side by side they would only wait for each other's lock, in vain at
            // last. Who writes comes first: a volume that a reader brought up alone is read-only on the whole node.
            let task = Task { driver: volume.driver.clone(), volume: volume.name.to_string(), after: volume.read_only };
            Job {
                task,
                namespace: pod.namespace.to_string(),
                pod: pod.name.to_string(),
                uid: pod.uid.to_string(),
                volume: volume.pod_volume.to_string(),
            }
        };
        (0..self.order.len()).map(job).collect()
    }

    fn publish(&self, id: Id, tell: &Teller<Row>) -> Result<Row, Error> {
        let (pod, volume) = self.get(id);
        let notes = |note| tell.note(id, note);
        let driver = self.host.ground().drivers.get(&volume.driver, &notes).map_err(|error| error.during("init"))?;
        match driver.kind() {
            record::Kind::Direct => tell.apart(&volume.driver),
            record::Kind::Attachable | record::Kind::Staged => {}
        }
        let secrets = |_: &record::SecretRef| match &volume.secret {
            Some(wanted) => {
                secrets(&self.objects, wanted, volume).map_err(|e| Error::new(Kind::Invalid, e.to_string()))
            }
            None => Ok(Secrets::default()),
        };
        let published = self.host.publish(&request(pod, volume), &secrets, &notes)?;
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
            block: false,
            mount_options: Vec::new(),
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
