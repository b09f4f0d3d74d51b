//! The figures that need many: many drivers, many volumes, many records, many calls that hang.

use super::bed::Bed;
use super::measure::{Figure, Mark, Samples, Unit, side_by_side, timed};
use crate::sh;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// All of them, in a folder that is swept afterwards.
pub(super) fn all(release: &Path) -> Result<Vec<Figure>> {
    let bed = Bed::new(release)?;
    let mut figures = vec![discovery(&bed)?];
    figures.extend(many_volumes(&bed)?);
    figures.push(many_records(&bed)?);
    figures.push(one_hangs(&bed)?);
    figures.extend(stuck(&bed)?);
    bed.scratch.sweep()?;
    Ok(figures)
}

/// A child that is ended with the figure, whatever comes of it.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes a program that nobody ever sees half, and gives its dot file; `rename` it over its place to install it.
fn written(place: &Path, text: &str) -> Result<PathBuf> {
    let dot = place.with_file_name(".new");
    fs::write(&dot, text).with_context(|| format!("cannot write {}", dot.display()))?;
    fs::set_permissions(&dot, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", dot.display()))?;
    Ok(dot)
}

fn renamed(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot rename {}", from.display()))
}

fn discovery(bed: &Bed) -> Result<Figure> {
    let place = bed.dir("plugins").join("bench~found/found");
    bed.scratch.make("plugins/bench~found")?;
    let mut watch = bed.at("root", "drivers");
    watch.args(["--watch", "-o", "json"]).stdout(Stdio::piped());
    let mut watch = Ended(watch.spawn().context("cannot run flexvol")?);
    let mut lines = BufReader::new(watch.0.stdout.take().context("no standard output")?).lines();
    // The two drivers of the bed are told of first.
    for _ in 0..2 {
        lines.next().context("`flexvol drivers --watch` has ended")?.context("cannot hear it")?;
    }
    let mut heard = |of: &str| -> Result<()> {
        let line = lines.next().context("`flexvol drivers --watch` has ended")?.context("cannot hear it")?;
        ensure!(line.contains(of) && line.contains("attachable"), "it said: {line}");
        Ok(())
    };
    let mut samples = Vec::new();
    for round in 0..550 {
        let dot = written(&place, "#!/bin/sh\necho '{\"status\":\"Success\"}'\n")?;
        // Whoever installs does not do so the moment after.
        std::thread::sleep(Duration::from_millis(10));
        let took = timed(|| renamed(&dot, &place).and_then(|()| heard("bench/found")))?;
        if round >= 50 {
            samples.push(took);
        }
    }
    drop(watch);
    Ok(Figure {
        name: "a driver found while running".into(),
        how: "From the rename of a shell driver over its place until `flexvol drivers --watch` has said that it answered `init`. \
              Two milliseconds of that are spent waiting whether more will change."
            .into(),
        unit: Unit::Time,
        ours: Samples::new(samples)?,
        other: None,
        mark: Mark::Tail(0.010),
    })
}

fn many_volumes(bed: &Bed) -> Result<Vec<Figure>> {
    const VOLUMES: usize = 500;
    let source = "{driver: flexvol.io/tmpfs, options: {size: 1m}}";
    let pods = bed.pods("many", (0..VOLUMES).map(|n| (format!("pod-{n}"), source.to_owned())))?;
    let run =
        |verb: &str, jobs: &str| timed(|| sh::output(bed.at("many", verb).args(["--jobs", jobs]).arg(&pods)).map(drop));
    let mut both = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..5 {
        for (n, jobs) in ["8", "1"].into_iter().enumerate() {
            both[n].push(run("up", jobs)?);
            both[n + 2].push(run("down", jobs)?);
        }
    }
    let [up, up_alone, down, down_alone] = both;
    let figure = |name: &str, ours, other| -> Result<Figure> {
        Ok(Figure {
            name: name.into(),
            how: format!(
                "{VOLUMES} pods with one tmpfs volume each, by one command, 8 at once; the other is the same one after another."
            ),
            unit: Unit::Time,
            ours: Samples::new(ours)?,
            other: Some(Samples::new(other)?),
            mark: Mark::None,
        })
    };
    Ok(vec![figure("500 volumes come up", up, up_alone)?, figure("500 volumes go down", down, down_alone)?])
}

fn many_records(bed: &Bed) -> Result<Figure> {
    let pod = bed.tmpfs_pod()?;
    for (root, count) in [("crowded", "10000"), ("roomy", "10")] {
        sh::output(bed.at(root, "ls").stdout(Stdio::null()))?;
        sh::output(Command::new(bed.release.join("bench-helper")).arg("records").arg(bed.dir(root)).arg(count))?;
    }
    let run = |root: &str| -> Result<f64> {
        let took = timed(|| sh::output(bed.at(root, "up").arg(&pod)).map(drop))?;
        sh::output(bed.at(root, "down").arg("scratch"))?;
        Ok(took)
    };
    let (ours, other) = side_by_side(20, &mut || run("crowded"), &mut || run("roomy"))?;
    Ok(Figure {
        name: "a start with 10,000 records".into(),
        how: "`up` of a pod with one tmpfs volume, from the start of the process to its end, where the ledger holds 10,000 other volumes; \
              the other where it holds 10."
            .into(),
        unit: Unit::Time,
        ours,
        other: Some(other),
        mark: Mark::Median(1.0),
    })
}

/// Mounts nothing and says nothing, for longer than anybody waits here; its pids stand beside it.
const HANGS: &str = r#"#!/bin/sh
case "$1" in
init) echo '{"status":"Success","capabilities":{"attach":false}}';;
mount) echo $$ >> "${0%/*}/.pids"; exec sleep 600;;
*) echo '{"status":"Success"}';;
esac
"#;

fn one_hangs(bed: &Bed) -> Result<Figure> {
    const BUSY: usize = 50;
    let tmpfs = bed.release.join("tmpfs");
    for n in 0..BUSY {
        bed.install(&tmpfs, &format!("bench/busy{n}"))?;
    }
    let hangs = bed.dir("hangs.sh");
    renamed(&written(&hangs, HANGS)?, &hangs)?;
    bed.install(&hangs, "bench/hangs")?;
    let busy = || (0..BUSY).map(|n| (format!("busy-{n}"), format!("{{driver: bench/busy{n}, options: {{size: 1m}}}}")));
    let hanging = (0..4).map(|n| (format!("hangs-{n}"), "{driver: bench/hangs}".to_owned()));
    let (with, without) = (bed.pods("with", hanging.chain(busy()))?, bed.pods("without", busy())?);
    let (mut ours, mut other) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        ours.extend(busy_ones(bed, &with, BUSY)?);
        other.extend(busy_ones(bed, &without, BUSY)?);
    }
    Ok(Figure {
        name: "one hung driver among 50 busy ones".into(),
        how: "One `up` of 50 tmpfs volumes of 50 drivers, and of four volumes of a driver whose `mount` hangs; from the start to the \
              `mount` of each of the 50. The other is the same without the driver that hangs."
            .into(),
        unit: Unit::Time,
        ours: Samples::new(ours)?,
        other: Some(Samples::new(other)?),
        mark: Mark::TailRatio(1.2),
    })
}

/// When each of the busy drivers' volumes was mounted, counted from the start of `up`; then the command is killed and all goes.
fn busy_ones(bed: &Bed, pods: &Path, count: usize) -> Result<Vec<f64>> {
    let start = Instant::now();
    let mut up = bed.at("hung", "up");
    let mut up = Ended(up.arg("-v").arg(pods).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?);
    let said = BufReader::new(up.0.stderr.take().context("no standard error")?);
    let mut mounted = Vec::new();
    for line in said.lines() {
        let line = line.context("cannot hear flexvol")?;
        if line.contains("bench/busy") && line.contains(" mount: Success") {
            mounted.push(start.elapsed().as_secs_f64());
        }
        if mounted.len() == count {
            break;
        }
    }
    ensure!(mounted.len() == count, "only {} of {count} came up", mounted.len());
    drop(up);
    let pids = bed.dir("plugins").join("bench~hangs/.pids");
    for pid in fs::read_to_string(&pids).unwrap_or_default().lines() {
        // One that has ended is as good as killed.
        sh::works(Command::new("kill").args(["-KILL", pid]));
    }
    let _ = fs::remove_file(&pids);
    sh::output(bed.at("hung", "down").arg("--all"))?;
    Ok(mounted)
}

/// How many calls hang in the kernel at once: as many as the host bears.
const STUCK: usize = 64;
/// Of one driver.
const STUCK_EACH: usize = 16;

fn stuck(bed: &Bed) -> Result<Vec<Figure>> {
    let pod = bed.tmpfs_pod()?;
    let limit = r#"{"answer": 0.5, "kill": 1}"#;
    let of = |n: usize| format!(r#""bench/frozen{n}": {{"limits": {{"mount": {limit}, "unmount": {limit}}}}}"#);
    let drivers: Vec<_> = (0..STUCK / STUCK_EACH).map(of).collect();
    let settings = bed.dir("flexvol.json");
    fs::write(&settings, format!(r#"{{"drivers": {{{}}}}}"#, drivers.join(", ")))
        .with_context(|| format!("cannot write {}", settings.display()))?;
    let frozen = bed.dir("frozen.sh");
    let hungfs = bed.release.join("hungfs");
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in\ninit) echo '{{\"status\":\"Success\",\"capabilities\":{{\"attach\":false}}}}';;\n\
         mount) {} \"$2\" 0; ls \"$2\";;\n*) echo '{{\"status\":\"Success\"}}';;\nesac\n",
        hungfs.display()
    );
    renamed(&written(&frozen, &script)?, &frozen)?;
    for n in 0..STUCK / STUCK_EACH {
        bed.install(&frozen, &format!("bench/frozen{n}"))?;
    }
    let pods = bed.pods(
        "frozen",
        (0..STUCK).map(|n| (format!("frozen-{n}"), format!("{{driver: bench/frozen{}}}", n % (STUCK / STUCK_EACH)))),
    )?;
    let mut up = bed.at("stuck", "up");
    let hung =
        Ended(up.args(["--wait", "--jobs", "16"]).arg(&pods).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let figures = frozen_around(bed, &pod, hung);
    thaw(&bed.scratch.dir)?;
    sh::output(bed.at("stuck", "down").arg("--all"))?;
    let _ = fs::remove_file(&settings);
    figures
}

fn frozen_around(bed: &Bed, pod: &Path, mut hung: Ended) -> Result<Vec<Figure>> {
    let start = Instant::now();
    while frozen_below(&bed.scratch.dir)?.len() < STUCK {
        ensure!(start.elapsed() < Duration::from_secs(120), "only some of the calls hang");
        std::thread::sleep(Duration::from_millis(50));
    }
    let run = |root: &str| -> Result<f64> {
        let took = timed(|| sh::output(bed.at(root, "up").arg(pod)).map(drop))?;
        sh::output(bed.at(root, "down").arg("scratch"))?;
        Ok(took)
    };
    // The host that began them is killed; whoever comes next serves others.
    let _ = hung.0.kill();
    let restart = Samples::new(vec![run("stuck")?])?;
    let (ours, other) = side_by_side(200, &mut || run("stuck"), &mut || run("calm"))?;
    Ok(vec![
        Figure {
            name: "the first up after kill -9 with 64 calls stuck".into(),
            how: "64 calls of four drivers hang in the kernel, on FUSE file systems that never answer. The host that made them is killed; \
                  then `up` of a pod with a tmpfs volume on the same root, once."
                .into(),
            unit: Unit::Time,
            ours: restart,
            other: None,
            mark: Mark::Median(1.0),
        },
        Figure {
            name: "up among 64 stuck calls".into(),
            how: "The same, again and again; the other is on a root of its own where nothing hangs.".into(),
            unit: Unit::Time,
            ours,
            other: Some(other),
            mark: Mark::TailRatio(1.2),
        },
    ])
}

/// The connections of the FUSE file systems mounted below here.
fn frozen_below(dir: &Path) -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mount table")?;
    let dir = dir.display().to_string();
    let below = table.lines().filter(|line| line.contains(&dir) && line.contains(" - fuse"));
    Ok(below.filter_map(|line| line.split(' ').nth(2)?.split(':').nth(1).map(str::to_owned)).collect())
}

/// Ends what hangs: all who wait get an error.
fn thaw(dir: &Path) -> Result<()> {
    for connection in frozen_below(dir)? {
        let abort = format!("/sys/fs/fuse/connections/{connection}/abort");
        if let Err(error) = fs::write(&abort, "1") {
            bail!("cannot end {abort}: {error}");
        }
    }
    Ok(())
}
