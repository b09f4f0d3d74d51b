//! The figures that need whole pods: volumes that come and go, a crowd of mounts around them, memory.

use super::bed::Bed;
use super::measure::{Figure, Mark, Samples, Unit, side_by_side, timed};
use crate::{machine, sh};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// All of them, in a folder that is swept afterwards.
pub(super) fn all(release: &Path) -> Result<Vec<Figure>> {
    let bed = Bed::new(release)?;
    let mut figures = Vec::new();
    match machine::no_loop_devices() {
        None => figures.extend(loopback(&bed)?),
        Some(why) => println!("left out: the loopback volume, for {why}"),
    }
    figures.push(crowd(&bed)?);
    figures.extend(memory(&bed)?);
    bed.scratch.sweep()?;
    Ok(figures)
}

const OURS: &str = r#"
"$flexvol" up "$dir/disk.yaml" > "$dir/said"
"$flexvol" down "$dir/disk.yaml" > "$dir/said"
rm "$dir/images/bench.img" "$dir"/images/.bench.*
"#;

/// What a person would type; the options of mkfs and mount are ours.
const BY_HAND: &str = r#"
truncate -s 64M "$dir/by-hand.img"
device=$(losetup -f --show "$dir/by-hand.img")
mkfs.ext4 -q -F -m0 "$device"
mount -t ext4 -o nosuid,nodev,errors=remount-ro "$device" "$dir/by-hand"
umount "$dir/by-hand"
losetup -d "$device"
rm "$dir/by-hand.img"
"#;

/// What a careful person would type, with as much to show for it.
const CAREFULLY: &str = r#"
truncate -s 64M "$dir/by-hand.img"
sync "$dir/by-hand.img"
device=$(losetup -f --show "$dir/by-hand.img")
if blkid -p "$device"; then exit 1; fi
mkfs.ext4 -q -F -m0 "$device"
mount -t ext4 -o nosuid,nodev,errors=remount-ro "$device" "$dir/by-hand"
mkdir -p "$dir/pod"
mount --bind "$dir/by-hand" "$dir/pod"
sync "$dir"
umount "$dir/pod"
rmdir "$dir/pod"
umount "$dir/by-hand"
losetup -d "$device"
rm "$dir/by-hand.img"
sync "$dir"
"#;

fn loopback(bed: &Bed) -> Result<Vec<Figure>> {
    let images = bed.scratch.make("images")?;
    bed.scratch.make("by-hand")?;
    let options = format!("{{volumeID: bench, size: 64Mi, create: \"true\", directory: {}}}", images.display());
    bed.pod("disk", &format!("{{driver: flexvol.io/loopback, fsType: ext4, options: {options}}}"))?;
    let run = |script: &str| timed(|| sh::output(&mut bed.script(script)).map(drop));
    let figure = |name: &str, how: &str, script: &str, mark: Mark| -> Result<Figure> {
        let (ours, other) = side_by_side(100, &mut || run(OURS), &mut || run(script))?;
        let how = format!("{how} Both are run by `sh -e`:\n\n```sh{OURS}```\n\n```sh{script}```");
        Ok(Figure { name: name.into(), how, unit: Unit::Time, ours, other: Some(other), mark })
    };
    Ok(vec![
        figure(
            "a loopback volume comes and goes",
            "A pod with a new ext4 volume of 64 MiB: `up`, `down`, and its image removed. The other is a shell script that makes, mounts \
             and removes such a volume, without a look at what is there, a place of the pod's own, or a record that outlives a power cut. \
             It takes seven programs and four syncs (all of mkfs); ours fourteen programs (the command twice, seven calls of the driver, \
             two workers, blkid, mkfs, rm) and 25 syncs.",
            BY_HAND,
            Mark::Ratio(1.0),
        )?,
        figure(
            "the same, with care",
            "As above; the script looks before it formats, binds the volume at a place of the pod's own, and syncs what must not be lost.",
            CAREFULLY,
            Mark::None,
        )?,
    ])
}

/// How many mounts stand around, few and many: a ten and a hundred times a hundred.
const FEW: (u32, u32) = (1, 10);
const MANY: (u32, u32) = (100, 100);

fn crowd(bed: &Bed) -> Result<Figure> {
    bed.tmpfs_pod()?;
    let (mut many, mut few) = (Crowd::new(bed, "many", MANY)?, Crowd::new(bed, "few", FEW)?);
    let (ours, other) = side_by_side(200, &mut || many.up(), &mut || few.up())?;
    Ok(Figure {
        name: "up among 10,000 mounts".into(),
        how: "`up` of a pod with one tmpfs volume among 10,000 other mounts; the other is the same among 10. Each side lives in a mount \
              namespace of its own, for the whole time. The `down` in between is not counted."
            .into(),
        unit: Unit::Time,
        ours,
        other: Some(other),
        mark: Mark::Ratio(1.2),
    })
}

/// A shell in a mount namespace of its own, full of mounts; it ends when its standard input does, and the mounts with it.
struct Crowd {
    shell: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Crowd {
    /// `rows` times `row` mounts more than there were: one row is mounted, and bound again with all that is in it.
    fn new(bed: &Bed, name: &str, (rows, row): (u32, u32)) -> Result<Crowd> {
        bed.scratch.make(name)?;
        let script = format!(
            r#"
            cd "$dir/{name}"
            mkdir 1; mount -t tmpfs crowd 1
            for n in $(seq 2 {row}); do mkdir 1/$n; mount -t tmpfs crowd 1/$n; done
            for n in $(seq 2 {rows}); do mkdir $n; mount --rbind 1 $n; done
            cd /; grep -c " $dir/{name}/" /proc/self/mountinfo
            while read verb; do "$flexvol" $verb "$dir/scratch.yaml" > /dev/null; echo done; done
            "#
        );
        let mut unshare = bed.surround(Command::new("unshare"), name);
        unshare.args(["--mount", "--propagation", "private", "sh", "-e", "-c", &script]);
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = unshare.spawn().context("cannot run unshare")?;
        let to = shell.stdin.take();
        let from = BufReader::new(shell.stdout.take().context("a shell without a standard output")?);
        let mut crowd = Crowd { shell, to, from };
        let mounts = crowd.hear()?;
        ensure!(mounts == (rows * row).to_string(), "the crowd has {mounts} mounts");
        Ok(crowd)
    }

    fn up(&mut self) -> Result<f64> {
        let took = timed(|| self.say("up"))?;
        self.say("down")?;
        Ok(took)
    }

    fn say(&mut self, verb: &str) -> Result<()> {
        let to = self.to.as_mut().context("the shell is gone")?;
        writeln!(to, "{verb}").context("cannot tell the shell")?;
        let said = self.hear()?;
        ensure!(said == "done", "the shell said {said:?} to {verb}");
        Ok(())
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.from.read_line(&mut line).context("cannot hear the shell")?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.to = None;
        let _ = self.shell.wait();
    }
}

fn memory(bed: &Bed) -> Result<Vec<Figure>> {
    let pod = bed.tmpfs_pod()?;
    let figure = |name: &str, how: &str, peak: &mut dyn FnMut() -> Result<f64>| -> Result<Figure> {
        let ours = Samples::new((0..20).map(|_| peak()).collect::<Result<_>>()?)?;
        let how = format!(
            "{how} The most memory that was resident at once (`VmHWM`), read while the process waits to print its result."
        );
        Ok(Figure { name: name.into(), how, unit: Unit::Memory, ours, other: None, mark: Mark::None })
    };
    let mut up = || {
        let peak = peak(bed.at("root", "up").arg(&pod))?;
        sh::output(bed.at("root", "down").arg(&pod))?;
        Ok(peak)
    };
    let up = figure("memory of up", "The process of `flexvol up` of a pod with one tmpfs volume.", &mut up)?;
    sh::output(bed.at("root", "up").arg(&pod))?;
    let ls = figure("memory of ls", "The process of `flexvol ls` where one volume is mounted.", &mut || {
        peak(&mut bed.at("root", "ls"))
    })?;
    sh::output(bed.at("root", "down").arg(&pod))?;
    let driver = bed.dir("plugins").join("flexvol.io~tmpfs/tmpfs");
    let call = figure("memory of a driver call", "The process of the tmpfs driver at `init`.", &mut || {
        peak(Command::new(&driver).arg("init"))
    })?;
    Ok(vec![up, ls, call])
}

/// What a fresh pipe holds.
const PIPE: usize = 64 << 10;

/// The most memory a program had resident, in bytes: it is held where it prints, for its output is a full pipe.
fn peak(command: &mut Command) -> Result<f64> {
    let (mut reader, mut writer) = std::io::pipe().context("cannot make a pipe")?;
    writer.write_all(&[0; PIPE]).context("cannot fill a pipe")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .spawn()
        .with_context(|| format!("cannot run `{}`", sh::typed(command)))?;
    // It holds the other end of the pipe, too.
    command.stdout(Stdio::null());
    let waiting = held(&mut child);
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let read = reader.read_to_end(&mut Vec::new());
    let end = child.wait().context("cannot wait for a child")?;
    waiting?;
    read.context("cannot read a pipe")?;
    ensure!(end.success(), "`{}` ended with {end}", sh::typed(command));
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    Ok(kib.context("the kernel does not tell a process's memory")? * 1024.0)
}

/// Waits until the kernel has the process waiting for room in its pipe.
fn held(child: &mut Child) -> Result<()> {
    let start = Instant::now();
    let wchan = format!("/proc/{}/wchan", child.id());
    while start.elapsed() < Duration::from_secs(60) {
        if fs::read_to_string(&wchan).is_ok_and(|place| place.contains("pipe_write")) {
            return Ok(());
        }
        if let Some(end) = child.try_wait().context("cannot wait for a child")? {
            bail!("it printed nothing and ended with {end}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("it has not printed anything for a minute")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_program_is_seen() {
        // A shell takes well under 8 MiB, and the buffer of dd shows.
        let small = peak(Command::new("sh").args(["-c", "echo"])).unwrap();
        let large = peak(Command::new("sh").args(["-c", "exec dd if=/dev/zero bs=32M count=1 status=none"])).unwrap();
        assert!(small > 100.0 * 1024.0 && small < 8e6, "{small}");
        assert!(large > 32e6, "{large}");
        assert!(peak(&mut Command::new("true")).is_err(), "it never prints");
    }
}
