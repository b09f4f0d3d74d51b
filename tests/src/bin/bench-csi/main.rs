//! What `cargo xtask bench csi` needs a client of the bridge for: many volumes published and made, by many calls at once.
//!
//! Its lines are measurements: `name<TAB>ours|other<TAB>number`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its lines are its answer")]

#[path = "../../../csi/clients.rs"]
#[allow(clippy::all, clippy::wildcard_enum_match_arm, unreachable_pub, reason = "written by a program")]
#[rustfmt::skip]
mod clients;

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use clients::{controller_client::ControllerClient, node_client::NodeClient};
use flexvolume_csi::wire::csi::{
    CapacityRange, CreateVolumeRequest, DeleteVolumeRequest, NodePublishVolumeRequest, NodeStageVolumeRequest,
    NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest, VolumeCapability,
    volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
};
use tokio::{sync::Mutex, task::JoinSet};
use tonic::transport::{Channel, Endpoint};

type Done<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [what @ ("publish" | "create"), side, socket, targets, volumes, at_once, about] => {
            both(volumes.parse(), at_once.parse()).and_then(|(volumes, at_once)| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(many(what, side, socket, Path::new(targets), volumes, at_once, about))
            })
        }
        ["bare", side, driver, targets, volumes, at_once, about] => both(volumes.parse(), at_once.parse())
            .and_then(|(volumes, at_once)| bare(side, driver, Path::new(targets), volumes, at_once, about)),
        _ => Err("bench-csi publish|create|bare ours|other SOCKET|DRIVER TARGETS VOLUMES AT_ONCE ABOUT".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn both<E: Error + Send + Sync + 'static>(one: Result<usize, E>, other: Result<usize, E>) -> Done<(usize, usize)> {
    Ok((one?, other?))
}

/// Every volume gone through once, so many at a time: how long each call took, and the whole time by the number of calls.
async fn many(
    what: &str,
    side: &str,
    socket: &str,
    targets: &Path,
    volumes: usize,
    at_once: usize,
    about: &str,
) -> Done {
    let channel = Endpoint::from_shared(format!("unix://{socket}"))?.connect().await?;
    let next = Arc::new(Mutex::new(0..volumes));
    let start = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..at_once {
        let (channel, next, targets, creates) =
            (channel.clone(), Arc::clone(&next), targets.to_owned(), what == "create");
        all.spawn(async move {
            let mut took = Vec::new();
            while let Some(n) = { next.lock().await.next() } {
                if creates {
                    life(&channel, &targets, n, &mut took).await?;
                } else {
                    show(&channel, &targets, (&format!("volume-{n}"), &BTreeMap::new()), false, &mut took).await?;
                }
            }
            Done::Ok(took)
        });
    }
    let mut calls = Vec::new();
    while let Some(done) = all.join_next().await {
        calls.extend(done??);
    }
    tell(start, &calls, side, about);
    Ok(())
}

fn tell(start: Instant, calls: &[f64], side: &str, about: &str) {
    let each = start.elapsed().as_secs_f64() / calls.len() as f64;
    println!("time for each call, {about}\t{side}\t{each:.9}");
    for call in calls {
        println!("one call, {about}\t{side}\t{call:.9}");
    }
}

/// What the bridge cannot be faster than: the driver's `mount` and `unmount` run by themselves, so many at a time.
fn bare(side: &str, driver: &str, targets: &Path, volumes: usize, at_once: usize, about: &str) -> Done {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let life = || -> Done<Vec<f64>> {
        let mut took = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= volumes {
                return Ok(took);
            }
            let target = targets.join(format!("bare-{n}"));
            fs::create_dir(&target)?;
            for words in [&["mount", "{}"][..], &["unmount"]] {
                let start = Instant::now();
                let mut command = Command::new(driver);
                command.arg(words[0]).arg(&target).args(&words[1..]).stdin(Stdio::null()).stderr(Stdio::inherit());
                let end = command.output()?;
                took.push(start.elapsed().as_secs_f64());
                if !end.status.success() {
                    return Err(
                        format!("{command:?} did not end well: {}", String::from_utf8_lossy(&end.stdout)).into()
                    );
                }
            }
            fs::remove_dir(&target)?;
        }
    };
    let ended: Vec<Done<Vec<f64>>> = thread::scope(|scope| {
        let all: Vec<_> = (0..at_once).map(|_| scope.spawn(life)).collect();
        all.into_iter().map(|one| one.join().unwrap_or_else(|_| Err("a thread died".into()))).collect()
    });
    let calls = ended.into_iter().collect::<Done<Vec<_>>>()?.concat();
    tell(start, &calls, side, about);
    Ok(())
}

fn capability() -> Option<VolumeCapability> {
    let mode = AccessMode { mode: Mode::SingleNodeWriter.into() };
    Some(VolumeCapability { access_mode: Some(mode), access_type: Some(AccessType::Mount(MountVolume::default())) })
}

async fn timed<T>(took: &mut Vec<f64>, call: impl Future<Output = Result<T, tonic::Status>>) -> Done<T> {
    let start = Instant::now();
    let answer = call.await?;
    took.push(start.elapsed().as_secs_f64());
    Ok(answer)
}

/// Published and unpublished; staged before and unstaged after, where that is asked for.
async fn show(
    channel: &Channel,
    targets: &Path,
    volume: (&str, &BTreeMap<String, String>),
    stages: bool,
    took: &mut Vec<f64>,
) -> Done {
    let (id, context) = volume;
    let mut node = NodeClient::new(channel.clone());
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let own = targets.join(id.replace('/', "-"));
    let (target, staging) = (text(own.with_extension("target")), text(own.with_extension("staging")));
    let (volume_id, volume_context, volume_capability) = (id.to_owned(), context.clone(), capability());
    if stages {
        let request = NodeStageVolumeRequest {
            volume_id: volume_id.clone(),
            staging_target_path: staging.clone(),
            volume_capability: volume_capability.clone(),
            volume_context: volume_context.clone(),
            ..NodeStageVolumeRequest::default()
        };
        timed(took, node.node_stage_volume(request)).await?;
    }
    let request = NodePublishVolumeRequest {
        volume_id: volume_id.clone(),
        staging_target_path: if stages { staging.clone() } else { String::new() },
        target_path: target.clone(),
        volume_capability,
        volume_context,
        ..NodePublishVolumeRequest::default()
    };
    timed(took, node.node_publish_volume(request)).await?;
    let request = NodeUnpublishVolumeRequest { volume_id: volume_id.clone(), target_path: target };
    timed(took, node.node_unpublish_volume(request)).await?;
    if stages {
        let request = NodeUnstageVolumeRequest { volume_id, staging_target_path: staging };
        timed(took, node.node_unstage_volume(request)).await?;
    }
    Ok(())
}

/// Made, staged, published, and all of it back.
async fn life(channel: &Channel, targets: &Path, n: usize, took: &mut Vec<f64>) -> Done {
    let mut controller = ControllerClient::new(channel.clone());
    let request = CreateVolumeRequest {
        name: format!("bench-{n}"),
        capacity_range: Some(CapacityRange { required_bytes: 16 << 20, limit_bytes: 0 }),
        volume_capabilities: capability().into_iter().collect(),
        ..CreateVolumeRequest::default()
    };
    let made = timed(took, controller.create_volume(request)).await?.into_inner();
    let volume = made.volume.ok_or("the bridge made no volume")?;
    show(channel, targets, (&volume.volume_id, &volume.volume_context), true, took).await?;
    let request = DeleteVolumeRequest { volume_id: volume.volume_id, ..DeleteVolumeRequest::default() };
    timed(took, controller.delete_volume(request)).await?;
    Ok(())
}
