//! The bridge: many volumes published and made through CSI calls, by one client and by many at once, among few and many mounts.

use super::bed::Bed;
use super::measure::{Figure, Mark, Row, Unit};
use crate::{musl, sh};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A driver in shell: the shortest there is, for the calls alone are measured.
const SHELL: &str = r#"#!/bin/sh
case $1 in
init) echo '{"status": "Success", "capabilities": {"attach": false}}' ;;
mount) mount -t tmpfs -o nosuid,nodev,size=1m bench "$2" && echo '{"status": "Success"}' ;;
unmount) umount "$2" && echo '{"status": "Success"}' ;;
*) echo '{"status": "Not supported"}' ;;
esac
"#;

/// The drivers of ours that are called, as releases have them: built for musl, where that is to be had.
const OURS: [&str; 2] = ["tmpfs", "loopback"];

/// Among how many mounts: the name, rows, and mounts in a row.
const CROWDS: [(&str, u32, u32); 2] = [("10 other mounts", 1, 10), ("10,000 other mounts", 100, 100)];
/// How many calls at once.
const AT_ONCE: [u32; 3] = [1, 8, 32];
/// How many volumes.
const VOLUMES: u32 = 200;

/// Aims of the bridge, as time for each call: a thousand calls a second with a driver in shell, three thousand with ours.
const AIM: f64 = 1.0 / 3000.0;
/// How much memory it may have resident.
const MEMORY: f64 = 8.0 * 1024.0 * 1024.0;

pub(super) fn all(release: &Path) -> Result<Vec<Figure>> {
    let bed = Bed::new(release)?;
    let shell = bed.dir("shell.sh");
    fs::write(&shell, SHELL).with_context(|| format!("cannot write {}", shell.display()))?;
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).context("cannot make it executable")?;
    bed.install(&shell, "bench/shell")?;
    let library = match musl::drivers(&OURS, true)? {
        Ok(dir) => {
            OURS.iter().try_for_each(|name| bed.install(&dir.join(name), &format!("flexvol.io/{name}")))?;
            MUSL
        }
        Err(why) => {
            println!("the drivers are those for glibc: {why}");
            "glibc"
        }
    };
    let mut heard = if library == MUSL { run(&bed, &alone())? } else { String::new() };
    for (name, rows, row) in CROWDS {
        heard += &run(&bed, &format!("{}\n{}", crowded(rows, row), published(name)))?;
    }
    heard += &run(&bed, &made())?;
    bed.scratch.sweep()?;
    rows(library).iter().map(|row| row.figure(&heard)).collect()
}

const MUSL: &str = "musl";

/// What the figure of the driver alone is called.
const ALONE: &str = "time for each call, no bridge, built for musl and for glibc";

/// The driver by itself, as it is called in what follows and as it is built for glibc.
fn alone() -> String {
    let name = ALONE.strip_prefix("time for each call, ").unwrap_or(ALONE);
    format!(
        r#"
        mkdir "$dir/alone"
        for round in 1 2 3; do
            "$bench" bare ours "$FLEXVOL_PLUGIN_DIR/flexvol.io~tmpfs/tmpfs" "$dir/alone" {VOLUMES} 1 "{name}"
            "$bench" bare other "$(dirname "$flexvol")/tmpfs" "$dir/alone" {VOLUMES} 1 "{name}"
        done"#
    )
}

/// In a mount namespace of its own, which goes with all its mounts.
fn run(bed: &Bed, script: &str) -> Result<String> {
    let mut unshare = bed.surround(Command::new("unshare"), "root");
    unshare.env("bench", bed.release.join("bench-csi"));
    unshare.args(["--mount", "--propagation", "private", "sh", "-e", "-c", script]);
    let mut heard = String::new();
    let end = sh::watch(&mut unshare, Duration::from_secs(1200), &mut |stream, line| match stream {
        sh::Stream::Out => heard = format!("{heard}{line}\n"),
        sh::Stream::Err => eprintln!("{line}"),
    })?;
    ensure!(end.success(), "the bench of the bridge did not end well: {end:?}");
    Ok(heard)
}

/// So many mounts more than there were: one row is mounted, and bound again with all that is in it.
fn crowded(rows: u32, row: u32) -> String {
    format!(
        r#"
        mkdir -p "$dir/crowd"; mount -t tmpfs crowd "$dir/crowd"; cd "$dir/crowd"
        mkdir 1; mount -t tmpfs crowd 1
        for n in $(seq 2 {row}); do mkdir 1/$n; mount -t tmpfs crowd 1/$n; done
        for n in $(seq 2 {rows}); do mkdir $n; mount --rbind 1 $n; done
        cd /"#
    )
}

/// Starts a bridge for each side, and waits until it answers: `serve SIDE DRIVER`.
const SERVE: &str = r#"
serve() {
    mkdir -p "$dir/kubelet-$1"
    FLEXVOL_ROOT=$dir/root-$1 "$flexvol" csi --driver $2 --kubelet-dir "$dir/kubelet-$1" --endpoint "$dir/$1.sock" &
    eval "$1=$!"
    while [ ! -S "$dir/$1.sock" ]; do sleep 0.05; done
    sleep 0.2
}
memory() {
    eval "pid=\$$1"
    kib=$(sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' /proc/$pid/status)
    printf 'memory of the bridge, %s\t%s\t%s\n' "$2" "$1" $((kib * 1024))
}
stop() {
    eval "pid=\$$1"
    kill $pid; wait $pid
}"#;

fn published(among: &str) -> String {
    let counts = AT_ONCE.map(|count| count.to_string()).join(" ");
    format!(
        r#"{SERVE}
        serve ours flexvol.io/tmpfs
        serve other bench/shell
        for round in 1 2 3; do for count in {counts}; do for side in ours other; do
            "$bench" publish $side "$dir/$side.sock" "$dir/kubelet-$side" {VOLUMES} $count "$count at once, {among}"
            case $side in ours) driver=flexvol.io~tmpfs/tmpfs ;; other) driver=bench~shell/shell ;; esac
            "$bench" bare $side "$FLEXVOL_PLUGIN_DIR/$driver" "$dir/kubelet-$side" {VOLUMES} $count "no bridge, $count at once, {among}"
        done; done; done
        for side in ours other; do memory $side "{among}"; stop $side; done"#
    )
}

/// Loopback volumes from their making to their end.
fn made() -> String {
    let counts = AT_ONCE.map(|count| count.to_string()).join(" ");
    format!(
        r#"{SERVE}
        mkdir -m 0700 "$dir/images"
        echo "{{\"directory\": \"$dir/images\"}}" > "$dir/settings.json"
        export FLEXVOL_SETTINGS="$dir/settings.json"
        serve ours flexvol.io/loopback
        for count in {counts}; do
            "$bench" create ours "$dir/ours.sock" "$dir/kubelet-ours" {VOLUMES} $count "$count at once, loopback"
        done
        memory ours loopback
        stop ours"#
    )
}

fn rows(library: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    // Rows live as long as the program.
    let row = |name: String, how: &'static str, unit, mark| Row { name: name.leak(), how, unit, mark };
    let published: &str = format!(
        "200 volumes published and unpublished: the whole time by the number of calls, three rounds. Ours is the tmpfs driver, built for \
         {library}; the other is a driver of eight lines of shell that runs mount and umount."
    )
    .leak();
    let alone = row(
        ALONE.to_owned(),
        "The tmpfs driver run by itself, `mount` and `unmount` of 200 volumes, three rounds. Ours is built as in all that follows, the other \
         for glibc, which asks the processor for its caches at each start: a virtual machine is left for each question.",
        Unit::Time,
        Mark::None,
    );
    if library == MUSL {
        rows.push(alone);
    }
    for (among, ..) in CROWDS {
        for count in AT_ONCE {
            let mark = if count == 8 { Mark::Median(AIM) } else { Mark::None };
            rows.push(row(format!("time for each call, {count} at once, {among}"), published, Unit::Time, mark));
            rows.push(row(
                format!("one call, {count} at once, {among}"),
                "How long each of these calls took.",
                Unit::Time,
                Mark::None,
            ));
            rows.push(row(
                format!("time for each call, no bridge, {count} at once, {among}"),
                "The same drivers run by themselves, `mount` and `unmount` for each volume: no bridge that calls them can be faster.",
                Unit::Time,
                Mark::None,
            ));
        }
        rows.push(row(
            format!("memory of the bridge, {among}"),
            "The most that was resident at once (`VmHWM`), after all of that.",
            Unit::Memory,
            Mark::Median(MEMORY),
        ));
    }
    for count in AT_ONCE {
        rows.push(row(
            format!("time for each call, {count} at once, loopback"),
            "200 volumes of 16 MiB made, staged (attached, formatted, mounted), published, and all of it back: the whole time by the \
             number of calls, of which there are six for each volume.",
            Unit::Time,
            Mark::None,
        ));
        rows.push(row(
            format!("one call, {count} at once, loopback"),
            "How long each of these calls took.",
            Unit::Time,
            Mark::None,
        ));
    }
    rows.push(row(
        "memory of the bridge, loopback".to_owned(),
        "As above, after these.",
        Unit::Memory,
        Mark::Median(MEMORY),
    ));
    rows
}
