//! `flexvol ls`: every volume, who uses it, where it is, what went wrong.

use std::collections::BTreeMap;

use flexvolume_host::{Elsewhere, Host, ledger::Retry, volume::record::Record};
use flexvolume_protocol::excerpt;
use serde::Serialize;

use super::{
    ground::{Done, host},
    words::{self, Again},
};
use crate::{cli::Cli, output::Show, problem::Problems, speak::say};

/// One volume of one pod; a volume that no pod uses has no pod, and one that could not even be begun has no key.
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
    /// It stands for who holds the volume, and for no pod.
    held: bool,
    targets: Vec<String>,
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
    trouble: Vec<String>,
    /// What a command that waits will try again.
    retry: Option<Again>,
}

pub(super) fn ls(cli: &Cli, show: &Show, usage: bool) -> Done {
    let host = host(cli, show)?;
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    let mut retries: BTreeMap<_, Retry> =
        host.retries()?.into_iter().map(|retry| ((retry.uid.clone(), retry.volume.clone()), retry)).collect();
    let elsewhere = host.elsewhere()?;
    for record in host.records()? {
        match record {
            Ok(record) => {
                let mut of_record = of(&host, &record, &elsewhere);
                for row in &mut of_record {
                    let volume = record.users.get(&row.uid).map_or(String::new(), |user| user.volume.clone());
                    row.retry = retries.remove(&(row.uid.clone(), volume)).map(|retry| Again::new(&retry));
                }
                if usage {
                    of_record
                        .iter_mut()
                        .filter(|row| !row.uid.is_empty())
                        .for_each(|row| problems.extend(row.ask(&host, &record, show)));
                }
                rows.extend(of_record);
            }
            Err(error) => problems.push(Problems::from(error)),
        }
    }
    rows.extend(retries.values().map(Row::not_begun));
    let cells = |row: &Row| {
        let state = match &row.retry {
            Some(retry) => format!("{}; {}", row.state, retry.short()),
            None => row.state.clone(),
        };
        let mut cells = vec![row.whose(), row.volume.clone(), row.driver.clone(), state, row.device.clone()];
        if usage {
            cells.push(row.fill());
        }
        cells.push(row.path.clone());
        if show.is_wide() {
            cells.push(row.targets.join(", "));
        }
        cells
    };
    let (used, targets) = (usage.then_some("USED"), show.is_wide().then_some("TARGETS"));
    let headers: Vec<_> =
        ["POD", "VOLUME", "DRIVER", "STATE", "DEVICE"].into_iter().chain(used).chain(["PATH"]).chain(targets).collect();
    show.rows(&headers, &rows, cells, "no volumes")?;
    if show.is_table() {
        if rows.iter().any(|row| row.held) {
            say!(
                "\nheld: by flexvol csi, for clients that staged these volumes; they go when those unstage them (NodeUnstageVolume)"
            );
        }
        for row in &rows {
            for trouble in &row.trouble {
                say!("\n{}: {trouble}", row.key);
            }
            if let (Some(retry), true) = (&row.retry, row.trouble.is_empty()) {
                say!("\n{} {}: {}", row.whose(), row.volume, retry.long());
            }
        }
    }
    Problems::gather(problems)
}

impl Row {
    fn whose(&self) -> String {
        if self.uid.is_empty() { "-".to_owned() } else { words::whose(&self.namespace, &self.pod, &self.uid) }
    }

    /// A volume that has no record yet: its driver is not there, or does not answer.
    fn not_begun(retry: &Retry) -> Self {
        Self {
            key: String::new(),
            volume: retry.volume.clone(),
            driver: retry.driver.clone(),
            kind: "unknown",
            namespace: retry.namespace.clone(),
            pod: retry.pod.clone(),
            uid: retry.uid.clone(),
            state: "not begun".to_owned(),
            device: String::new(),
            path: String::new(),
            held: false,
            targets: Vec::new(),
            read_only: false,
            used_bytes: None,
            total_bytes: None,
            trouble: Vec::new(),
            retry: Some(Again::new(retry)),
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

fn of(host: &Host, record: &Record, elsewhere: &Elsewhere) -> Vec<Row> {
    let trouble: Vec<_> =
        record.state.trouble.iter().map(|(op, trouble)| format!("{op} failed: {}", trouble.last)).collect();
    let layout = &host.ground().layout;
    let row = |uid: &str, state: String, path: String| Row {
        key: record.key.clone(),
        volume: record.name.to_string(),
        driver: record.driver.to_string(),
        kind: words::kind(record.kind),
        namespace: record.users.get(uid).map_or(String::new(), |user| user.namespace.clone()),
        pod: record.users.get(uid).map_or(String::new(), |user| user.pod.clone()),
        uid: uid.to_owned(),
        state,
        device: excerpt(record.state.rung.device(), 200),
        path,
        held: uid.is_empty() && record.state.is_held(),
        targets: elsewhere.of(host, record, uid).iter().map(|path| path.display().to_string()).collect(),
        used_bytes: None,
        total_bytes: None,
        read_only: record.users.get(uid).is_some_and(|user| user.read_only),
        trouble: trouble.clone(),
        retry: None,
    };
    let path = |uid: &str| layout.root().join(layout.place(uid, &record.driver, &record.name)).display().to_string();
    let mut rows: Vec<_> =
        record.users.keys().map(|uid| row(uid, words::state(host, record, uid), path(uid))).collect();
    if rows.is_empty() || record.state.is_held() {
        let global = words::global(host, record).map(|path| path.display().to_string());
        rows.push(row("", words::state(host, record, ""), global.unwrap_or_default()));
    }
    rows
}
