//! `flexvol exec`: a command where a pod's volumes lie at their mount paths, seen by it alone.

use std::{ffi::OsString, path::PathBuf};

use flexvolume_host::{
    Error, Host, Kind,
    volume::{
        record::{ContainerMount, Record},
        state::At,
    },
};
use flexvolume_linux::namespace::{self, Shown, View};

use super::{
    ground::{Done, host},
    pods,
};
use crate::{cli::Cli, output::Show, problem::Problems};

pub(super) fn exec(cli: &Cli, show: &Show, pod: &str, container: Option<&str>, argv: &[OsString]) -> Done {
    let here = std::env::current_dir().ok();
    let host = host(cli, show)?;
    let pod = pods::find(&pods::all(&host)?, pod)?;
    let mounts = mounts(&host, &pod.uid)?;
    let name = match container {
        Some(name) => name.to_owned(),
        None => mounts.first().map(|(_, mount)| mount.container.clone()).unwrap_or_default(),
    };
    let volumes: Vec<_> = mounts
        .iter()
        .filter(|(_, mount)| mount.container == name)
        .map(|(volume, mount)| Shown {
            source: volume.clone(),
            part: mount.sub_path.clone(),
            at: mount.path.clone(),
            read_only: mount.read_only,
        })
        .collect();
    if volumes.is_empty() {
        let known: std::collections::BTreeSet<_> = mounts.iter().map(|(_, mount)| mount.container.as_str()).collect();
        let hint = if known.is_empty() {
            "no container of this pod mounts a flex volume".to_owned()
        } else {
            format!("containers that mount one: {}", known.into_iter().collect::<Vec<_>>().join(", "))
        };
        return Err(Error::new(
            Kind::NotFound,
            format!("container {name:?} of pod {}/{} mounts no flex volume", pod.namespace, pod.name),
        )
        .hint(hint)
        .into());
    }
    let root = host.ground().layout.root().to_owned();
    // The ledger is closed before another program takes this process over.
    drop(host);
    namespace::enter(&View { volumes, without: Some(root) })?;
    if let Some(here) = here {
        let _ = std::env::set_current_dir(here);
    }
    let error = Error::from(namespace::exec(argv));
    // As every command that runs another one has it.
    let code = if error.kind() == Kind::NotFound { 127 } else { 126 };
    Err(Problems::from(error).code(code))
}

/// Where the pod's volumes are now, and where its containers want them; all must be there.
fn mounts(host: &Host, uid: &str) -> Done<Vec<(PathBuf, ContainerMount)>> {
    let layout = &host.ground().layout;
    let mut mounts = Vec::new();
    for record in host.records()?.into_iter().flatten() {
        let Some(user) = record.users.get(uid) else { continue };
        if !is_ready(&record, uid) || !host.is_mounted(&record, uid) {
            return Err(Error::new(Kind::Busy, format!("volume {} of pod {} is not mounted", user.volume, user.pod))
                .hint("run flexvol up again; flexvol ls shows what went wrong")
                .into());
        }
        let path = layout.root().join(layout.place(uid, &record.driver, &record.name));
        mounts.extend(user.mounts.iter().map(|mount| {
            let read_only = mount.read_only || user.read_only;
            (path.clone(), ContainerMount { read_only, ..mount.clone() })
        }));
    }
    Ok(mounts)
}

fn is_ready(record: &Record, uid: &str) -> bool {
    match record.state.places.get(uid) {
        // One that could not be made larger serves on as it is.
        Some(At::Ready | At::Growing) => record.state.doing.is_none(),
        Some(At::Half | At::Mounted) | None => false,
    }
}
