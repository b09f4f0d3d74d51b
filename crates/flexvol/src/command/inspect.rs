//! `flexvol inspect`: all that is known of one volume, of what is wanted, of what is so, and of what was tried.

mod find;
mod kernel;
mod view;

use flexvolume_host::{ledger::Retry, volume::record::Record};

use super::ground::{Done, host};
use crate::{
    cli::Cli,
    output::Show,
    problem::Problems,
    speak::{say, tell},
};
use find::Known;
use view::View;

pub(super) fn inspect(cli: &Cli, show: &Show, volume: &str) -> Done {
    let host = host(cli, show)?;
    let mut records: Vec<Record> = Vec::new();
    let mut unreadable = Vec::new();
    for record in host.records()? {
        match record {
            Ok(record) => records.push(record),
            Err(error) => unreadable.push(Problems::from(error)),
        }
    }
    let retries = host.retries()?;
    let begun = |retry: &&Retry| !records.iter().any(|record| of(record, retry));
    let not_begun: Vec<&Retry> = retries.iter().filter(begun).collect();
    let known: Vec<Known> =
        records.iter().map(Known::of_record).chain(not_begun.iter().map(|retry| Known::of_retry(retry))).collect();
    let at = find::find(&known, volume)?;
    let view = match records.get(at) {
        Some(record) => {
            let retries: Vec<&Retry> = retries.iter().filter(|retry| of(record, retry)).collect();
            View::of_record(&host, record, &retries)?
        }
        None => View::of_retry(not_begun[at - records.len()]),
    };
    if show.is_table() {
        tell_people(show, &view)?;
    } else {
        show.value(&view)?;
    }
    Problems::gather(unreadable)
}

/// Whether the retry is about a volume of this record.
fn of(record: &Record, retry: &Retry) -> bool {
    record.users.get(&retry.uid).is_some_and(|user| user.volume == retry.volume)
}

fn tell_people(show: &Show, view: &View) -> Done {
    let line = |name: &str, text: &str| {
        if !text.is_empty() {
            say!("{:<12}{text}", format!("{name}:"));
        }
    };
    say!("\x1b[1m{}\x1b[0m", if view.key.is_empty() { &view.volume } else { &view.key });
    line("driver", &format!("{} ({})", view.driver, view.kind));
    line("state", &view.state);
    for device in &view.devices {
        line("device", &device.words());
    }
    line("wanted", &view.wanted.words());
    if let Some(doing) = &view.under_way {
        line("under way", &doing.words());
        doing.processes.iter().for_each(|process| say!("{:<12}{}", "", process.words()));
    }
    line("lock", view.lock.as_deref().map_or("free", |whom| whom));
    line("fsType", if view.spec.block { "none: a raw device" } else { &view.spec.fs_type });
    line("options", &view.spec.words());
    line("secret", view.spec.secret_ref.as_deref().unwrap_or_default());
    line("capacity", &view.spec.capacity());
    line("format", &view.format.as_ref().map_or(String::new(), view::Format::words));
    if view.rebuilt {
        tell!("the record was lost and pieced together from what is mounted: the volume can only be taken down");
    }
    for retry in &view.retries {
        line("retry", &format!("{}; {}", retry.short(), retry.long()));
    }
    for trouble in &view.trouble {
        line("trouble", &trouble.words());
    }
    for other in &view.elsewhere {
        line("also at", &other.display().to_string());
    }
    if !view.pods.is_empty() {
        say!("");
        let cells = |pod: &view::Pod| vec![pod.whose(), pod.volume.clone(), pod.state.clone(), pod.asks()];
        show.rows(&["POD", "VOLUME", "STATE", "ASKS"], &view.pods, cells, "")?;
    }
    if !view.mounts.is_empty() {
        say!("");
        let cells = |mount: &kernel::Mount| {
            vec![mount.path.display().to_string(), mount.whose().to_owned(), mount.seen.to_owned(), mount.what()]
        };
        show.rows(&["PATH", "FOR", "SEEN", "WHAT"], &view.mounts, cells, "")?;
    }
    if view.history.is_empty() {
        return Ok(());
    }
    say!("");
    let cells = |call: &view::Call| {
        vec![call.at.clone(), call.op.clone(), call.verb.unwrap_or("-").to_owned(), call.took(), call.verdict.clone()]
    };
    show.rows(&["WHEN", "OP", "VERB", "TOOK", "VERDICT"], &view.history, cells, "")
}
