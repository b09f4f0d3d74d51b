//! `flexvol ls`: every volume, who uses it, where it is, what went wrong.

use flexvolume_host::{
    Host,
    volume::{
        record::{Kind, Record},
        state::{At, Rung},
    },
};
use flexvolume_protocol::excerpt;
use serde::Serialize;

use super::ground::{Done, host};
use crate::{cli::Cli, output::Show, problem::Problems, speak::say};

/// One volume of one pod; a volume that no pod uses has no pod.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    key: String,
    volume: String,
    driver: String,
    kind: &'static str,
    namespace: String,
    pod: String,
    uid: String,
    state: String,
    device: String,
    path: String,
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
    trouble: Vec<String>,
}

pub(super) fn ls(cli: &Cli, show: &Show, usage: bool) -> Done {
    let host = host(cli, show)?;
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    for record in host.records()? {
        match record {
            Ok(record) => {
                let mut of_record = of(&host, &record);
                if usage {
                    of_record.iter_mut().for_each(|row| problems.extend(row.ask(&host, &record, show)));
                }
                rows.extend(of_record);
            }
            Err(error) => problems.push(Problems::from(error)),
        }
    }
    let cells = |row: &Row| {
        let mut cells =
            vec![row.whose(), row.volume.clone(), row.driver.clone(), row.state.clone(), row.device.clone()];
        if usage {
            cells.push(row.fill());
        }
        cells.push(row.path.clone());
        cells
    };
    let used = usage.then_some("USED");
    let headers: Vec<_> =
        ["POD", "VOLUME", "DRIVER", "STATE", "DEVICE"].into_iter().chain(used).chain(["PATH"]).collect();
    show.rows(&headers, &rows, cells, "no volumes")?;
    if show.is_table() {
        for row in &rows {
            for trouble in &row.trouble {
                say!("\n{}: {trouble}", row.key);
            }
        }
    }
    Problems::gather(problems)
}

impl Row {
    /// The pod as people name it; its uid where the rest is not known.
    fn whose(&self) -> String {
        match (self.uid.is_empty(), self.namespace.is_empty()) {
            (true, _) => "-".to_owned(),
            (false, true) => self.uid.clone(),
            (false, false) => format!("{}/{}", self.namespace, self.pod),
        }
    }

    fn ask(&mut self, host: &Host, record: &Record, show: &Show) -> Option<Problems> {
        match host.usage(record, &self.uid, &|note| show.note(note)) {
            Ok(usage) => {
                self.used_bytes = usage.map(|usage| usage.used);
                self.total_bytes = usage.map(|usage| usage.total);
                None
            }
            Err(error) => Some(Problems::from(error).about(&format!("volume {}", record.key))),
        }
    }

    fn fill(&self) -> String {
        match (self.used_bytes, self.total_bytes) {
            (Some(used), Some(total)) => format!("{} of {} MiB", used >> 20, total >> 20),
            (None, _) | (_, None) => "-".to_owned(),
        }
    }
}

fn of(host: &Host, record: &Record) -> Vec<Row> {
    let trouble: Vec<_> =
        record.state.trouble.iter().map(|(op, trouble)| format!("{op} failed: {}", trouble.last)).collect();
    let layout = &host.ground().layout;
    let row = |uid: &str, state: String, path: String| Row {
        key: record.key.clone(),
        volume: record.name.to_string(),
        driver: record.driver.to_string(),
        kind: match record.kind {
            Kind::Attachable => "attachable",
            Kind::Staged => "staged",
            Kind::Direct => "direct",
        },
        namespace: record.users.get(uid).map_or(String::new(), |user| user.namespace.clone()),
        pod: record.users.get(uid).map_or(String::new(), |user| user.pod.clone()),
        uid: uid.to_owned(),
        state,
        device: excerpt(record.state.rung.device(), 200),
        path,
        used_bytes: None,
        total_bytes: None,
        read_only: record.users.get(uid).is_some_and(|user| user.read_only),
        trouble: trouble.clone(),
    };
    let path = |uid: &str| layout.root().join(layout.place(uid, &record.driver, &record.name)).display().to_string();
    let rows: Vec<_> = record.users.keys().map(|uid| row(uid, state(host, record, uid), path(uid))).collect();
    if rows.is_empty() { vec![row("", rung(record), String::new())] } else { rows }
}

fn state(host: &Host, record: &Record, uid: &str) -> String {
    let wanted = record.state.want.places.contains(uid);
    if let Some(op) = &record.state.doing {
        return format!("{op} under way");
    }
    match (record.state.places.get(uid), wanted) {
        (Some(At::Ready), true) if host.is_mounted(record, uid) => "mounted".into(),
        (Some(At::Ready), true) => "lost: flexvol up makes it anew".into(),
        (Some(At::Ready | At::Mounted | At::Half), false) => "going".into(),
        (Some(At::Mounted), true) => "mounted, not finished".into(),
        (Some(At::Half), true) => "half mounted".into(),
        (None, true) => format!("waiting ({})", rung(record)),
        (None, false) => rung(record),
    }
}

fn rung(record: &Record) -> String {
    match &record.state.rung {
        Rung::Unsure => "unsure",
        Rung::Absent => "absent",
        Rung::Attached(_) => "attached",
        Rung::Half(_) => "half staged",
        Rung::Staged(_) => "staged",
    }
    .to_owned()
}
