//! The first thing a user types: a pod's volumes mounted, used and taken away by real drivers, each step shown and checked.

mod kernel;
pub(crate) mod scratch;

use crate::{machine, say, sh};
use anyhow::{Context, Result, bail, ensure};
use kernel::Mount;
use machine::Need;
use scratch::Scratch;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The packages the demo builds; each is one executable of that name.
pub(crate) const PROGRAMS: &[&str] = &["flexvol", "tmpfs", "loopback"];

const POD: &str = "demo";
const HELLO: &str = "hello from the pod";

/// What was asked for on the command line.
#[derive(Default, Debug)]
struct Asked {
    bin: Option<PathBuf>,
    scratch: Option<PathBuf>,
    /// We are the copy of ourselves that runs in its own user and mount namespace.
    inside: bool,
}

fn parse(args: &[String]) -> Result<Asked> {
    let mut asked = Asked::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut folder =
            || args.next().map(|dir| Some(PathBuf::from(dir))).with_context(|| format!("{arg} wants a folder"));
        match arg.as_str() {
            "--bin" => asked.bin = folder()?,
            "--scratch" => asked.scratch = folder()?,
            "--inside-namespace" => asked.inside = true,
            _ => bail!("demo knows no `{arg}`; see `cargo xtask help`"),
        }
    }
    Ok(asked)
}

/// The door.
pub(crate) fn main(args: &[String]) -> Result<()> {
    let mut asked = parse(args)?;
    if asked.inside {
        return show(&asked);
    }
    let need = if machine::is_root() { Need::All } else { Need::Rootless };
    let missing = machine::provide(need)?;
    ensure!(missing.is_empty(), "the demo cannot run without: {}", missing.join(" "));
    let bin = match asked.bin.take() {
        Some(bin) => bin,
        None => build()?,
    };
    asked.bin = Some(bin.canonicalize().with_context(|| format!("there is no folder {}", bin.display()))?);
    if !machine::is_root() {
        return in_a_namespace(&asked);
    }
    ensure!(
        machine::may_mount(),
        "root may not mount here (no CAP_SYS_ADMIN). In a container, start it with `--privileged`; or run the demo as a plain user"
    );
    show(&asked)
}

fn build() -> Result<PathBuf> {
    say::header("Building the command and two drivers; the first time this takes a minute or two");
    let mut cargo = sh::cargo();
    cargo.arg("build");
    for program in PROGRAMS {
        cargo.args(["--package", program]);
    }
    say::command(&sh::typed(&cargo));
    sh::run(&mut cargo)?;
    sh::bin_dir()
}

/// Without root: once more, in a user namespace where we may mount, and a mount namespace that nobody else sees.
fn in_a_namespace(asked: &Asked) -> Result<()> {
    println!(
        "You are not root, so all of this happens in a user and mount namespace of its own, with the tmpfs driver only."
    );
    if let Some(why) = machine::no_user_namespace(&mut Command::new("env")) {
        bail!(
            "{why}. Run the demo as root, or let users have namespaces (sysctl kernel.unprivileged_userns_clone, or kernel.apparmor_restrict_unprivileged_userns on Ubuntu)"
        );
    }
    let exe = std::env::current_exe().context("cannot find out where this executable lies")?;
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount"]).arg(exe).args(["demo", "--inside-namespace"]);
    if let Some(bin) = &asked.bin {
        unshare.arg("--bin").arg(bin);
    }
    // Chosen out here, where we still know who we are: in there everybody is root.
    let scratch = asked.scratch.clone().map_or_else(|| scratch::usual("demo"), Ok)?;
    unshare.arg("--scratch").arg(scratch);
    sh::run(&mut unshare).context("the demo in its own namespace failed")
}

fn show(asked: &Asked) -> Result<()> {
    let bin = asked.bin.clone().context("the demo was not told where its executables are")?;
    let scratch = Scratch::open(asked.scratch.as_deref())?;
    let no_loops = if asked.inside { Some("loop devices need root".into()) } else { machine::no_loop_devices() };
    if let (Some(why), false) = (&no_loops, asked.inside) {
        println!("skipped: the loopback driver: {why}");
    }
    let demo = Demo::new(&scratch, bin, no_loops.is_none())?;
    demo.run()?;
    // The drop of the scratch folder would do this too, but only here can it fail the demo.
    scratch.sweep()?;
    say::header("Done: everything came, was used, and went again");
    Ok(())
}

/// The stage on which all is shown.
struct Demo {
    bin: PathBuf,
    dir: PathBuf,
    root: PathBuf,
    plugins: PathBuf,
    /// With the loopback driver, or with tmpfs alone?
    loopback: bool,
}

impl Demo {
    fn new(scratch: &Scratch, bin: PathBuf, loopback: bool) -> Result<Demo> {
        scratch.make("images")?;
        let (root, plugins) = (scratch.make("root")?, scratch.make("plugins")?);
        Ok(Demo { bin, dir: scratch.dir.clone(), root, plugins, loopback })
    }

    fn run(&self) -> Result<()> {
        say::header("Everything below happens in one folder, with nothing else running");
        say::command(&format!("cd {}", self.dir.display()));
        say::command("export FLEXVOL_ROOT=$PWD/root FLEXVOL_PLUGIN_DIR=$PWD/plugins");
        self.install()?;
        self.manifest()?;

        say::header("Up: each volume is attached, made ready and mounted at its pod's path");
        self.flexvol(&["up", "pod.yaml"])?;
        let first = self.expect_up()?;
        let listed = self.flexvol(&["ls"])?;
        for volume in self.volumes() {
            ensure!(listed.contains(volume), "`flexvol ls` does not name the volume {volume}");
        }
        say::header("The kernel's own view: these are real mounts, on real devices");
        self.kernel_view()?;

        say::header(
            "Used as the pod would use it: a command in a mount namespace where the volumes lie at their mountPaths",
        );
        let file = if self.loopback { "/data/hello" } else { "/scratch/hello" };
        let script = format!("echo \"{HELLO}\" > {file}; cat {file}");
        self.expect_hello(&["exec", POD, "--", "sh", "-c", &script])?;

        say::header("Up once more: all is as it should be, so nothing happens");
        self.flexvol(&["up", "pod.yaml"])?;
        ensure!(self.expect_up()? == first, "the second `up` changed the mounts, although nothing was to be done");
        self.expect_hello(&["exec", POD, "--", "cat", file])?;

        say::header("Down: unmounted and detached; the kernel has nothing left of it");
        self.flexvol(&["down", "pod.yaml"])?;
        self.kernel_view()?;
        self.expect_down()?;

        if self.loopback {
            say::header("Up again: the data was in the volume, and a volume outlives its pod");
            self.flexvol(&["up", "pod.yaml"])?;
            self.expect_up()?;
            self.expect_hello(&["exec", POD, "--", "cat", "/data/hello"])?;
        } else {
            say::header("Up again: a tmpfs is empty at each beginning");
            self.flexvol(&["up", "pod.yaml"])?;
            self.expect_up()?;
            let listed = self.flexvol(&["exec", POD, "--", "ls", "-A", "/scratch"])?;
            ensure!(listed.trim().is_empty(), "a fresh tmpfs should be empty and holds: {}", listed.trim());
        }
        say::header("Down for good");
        self.flexvol(&["down", "pod.yaml"])?;
        self.expect_down()
    }

    fn install(&self) -> Result<()> {
        say::header("Installing drivers: each is one executable in the plugin directory");
        for driver in self.drivers() {
            let program = self.bin.join(driver);
            let name = format!("flexvol.io/{driver}");
            self.flexvol(&["install", &program.to_string_lossy(), "--as", &name])?;
        }
        let listed = self.flexvol(&["drivers"])?;
        for driver in self.drivers() {
            ensure!(
                listed.contains(&format!("flexvol.io/{driver}")),
                "`flexvol drivers` does not name flexvol.io/{driver}"
            );
        }
        Ok(())
    }

    fn manifest(&self) -> Result<()> {
        say::header("A pod as Kubernetes knows it: its volumes name those drivers");
        let manifest = manifest(self.loopback.then(|| self.dir.join("images")).as_deref());
        let path = self.dir.join("pod.yaml");
        std::fs::write(&path, &manifest).with_context(|| format!("cannot write {}", path.display()))?;
        say::command("cat pod.yaml");
        print!("{manifest}");
        Ok(())
    }

    fn drivers(&self) -> &'static [&'static str] {
        if self.loopback { &["loopback", "tmpfs"] } else { &["tmpfs"] }
    }

    fn volumes(&self) -> &'static [&'static str] {
        if self.loopback { &["data", "scratch"] } else { &["scratch"] }
    }

    /// Runs the command, shows it and what it prints, and gives its output back.
    fn flexvol(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(self.bin.join("flexvol"));
        command
            .args(args)
            .current_dir(&self.dir)
            .env("FLEXVOL_ROOT", &self.root)
            .env("FLEXVOL_PLUGIN_DIR", &self.plugins);
        command.env("PATH", path_with_system_tools()).stdin(Stdio::null()).stderr(Stdio::inherit());
        let line = sh::typed(&command);
        say::command(&line);
        let output = command.output().with_context(|| format!("cannot run {}", self.bin.join("flexvol").display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        print!("{text}");
        say::flush();
        ensure!(output.status.success(), "`{line}` ended with {}", output.status);
        Ok(text)
    }

    fn expect_hello(&self, args: &[&str]) -> Result<()> {
        let said = self.flexvol(args)?;
        ensure!(
            said.contains(HELLO),
            "the pod's file should say `{HELLO}` and says `{}`: its data is gone",
            said.trim()
        );
        Ok(())
    }

    /// Every volume is mounted at its pod's path; gives back all mounts beneath the root.
    fn expect_up(&self) -> Result<Vec<Mount>> {
        let mounts = kernel::mounts(&self.root)?;
        let mut wanted = vec!["volumes/flexvol.io~tmpfs/scratch"];
        if self.loopback {
            wanted.push("volumes/flexvol.io~loopback/data");
            let loops = kernel::loops(&self.dir)?;
            ensure!(loops.len() == 1, "one loop device should be attached, there are {}: {loops:?}", loops.len());
        }
        for path in wanted {
            let here = mounts.iter().filter(|mount| mount.point.ends_with(path)).count();
            ensure!(here == 1, "one mount should lie at …/{path}, there are {here}; beneath the root: {mounts:?}");
        }
        Ok(mounts)
    }

    /// Nothing is left: no mount beneath the root, no loop device on a file of ours.
    fn expect_down(&self) -> Result<()> {
        let (mounts, loops) = (kernel::mounts(&self.dir)?, kernel::loops(&self.dir)?);
        ensure!(mounts.is_empty(), "after `down` these mounts are left: {mounts:?}");
        ensure!(loops.is_empty(), "after `down` these loop devices are left: {loops:?}");
        Ok(())
    }

    /// What findmnt and losetup say of our folder.
    fn kernel_view(&self) -> Result<()> {
        let root = self.root.to_string_lossy();
        say::command("findmnt --list --output TARGET,SOURCE,FSTYPE,OPTIONS | grep $FLEXVOL_ROOT");
        let all = sh::output(tool("findmnt").args([
            "--list",
            "--noheadings",
            "--notruncate",
            "--output",
            "TARGET,SOURCE,FSTYPE,OPTIONS",
        ]))?;
        let ours: Vec<String> = all
            .lines()
            .filter(|line| line.contains(&*root))
            .map(|line| line.replace(&*root, "$FLEXVOL_ROOT"))
            .collect();
        print_or_nothing(&ours);
        if self.loopback {
            let dir = self.dir.to_string_lossy();
            say::command("losetup --list --output NAME,BACK-FILE | grep $PWD");
            let all = sh::output(tool("losetup").args(["--list", "--noheadings", "--output", "NAME,BACK-FILE"]))?;
            let ours: Vec<String> =
                all.lines().filter(|line| line.contains(&*dir)).map(|line| line.replace(&*dir, "$PWD")).collect();
            print_or_nothing(&ours);
        }
        Ok(())
    }
}

fn print_or_nothing(lines: &[String]) {
    match lines {
        [] => println!("(nothing)"),
        lines => println!("{}", lines.join("\n")),
    }
}

fn tool(name: &str) -> Command {
    Command::new(machine::find(name).unwrap_or_else(|| name.into()))
}

/// A plain user's path on Debian leaves out where mkfs and its like are.
fn path_with_system_tools() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
    std::env::join_paths(all).unwrap_or(path)
}

/// The pod's manifest; with a folder for images it has a volume of the loopback driver too.
fn manifest(images: Option<&Path>) -> String {
    let (mut mounts, mut volumes) = (String::new(), String::new());
    if let Some(images) = images {
        mounts.push_str("        - { name: data, mountPath: /data }\n");
        let images = images.to_string_lossy().replace('\\', r"\\").replace('"', "\\\"");
        volumes = format!(
            r#"    - name: data                        # a file system in an image file: it lasts
      flexVolume:
        driver: flexvol.io/loopback
        fsType: ext4
        options:
          volumeID: demo-data
          size: 64Mi
          create: "true"
          directory: "{images}"
"#
        );
    }
    mounts.push_str("        - { name: scratch, mountPath: /scratch }\n");
    volumes.push_str(
        r#"    - name: scratch                     # a file system in memory: it does not
      flexVolume:
        driver: flexvol.io/tmpfs
        options:
          size: 16Mi
          mode: "0755"
"#,
    );
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {POD}\nspec:\n  containers:\n    - name: shell\n      image: none                         # flexvol mounts volumes; it runs no images\n      volumeMounts:\n{mounts}  volumes:\n{volumes}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Runs the demo against a `flexvol` that is a shell script, without the loopback driver.
    fn against(script: &str) -> Result<()> {
        let bin = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let flexvol = bin.path().join("flexvol");
        std::fs::write(&flexvol, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&flexvol, std::fs::Permissions::from_mode(0o755)).unwrap();
        let scratch = Scratch::open(Some(dir.path())).unwrap();
        Demo::new(&scratch, bin.path().into(), false)?.run()
    }

    fn reason(script: &str) -> String {
        format!("{:#}", against(script).unwrap_err())
    }

    /// A host that is honest in all but one verb: by its name, a shell function replaces the true one.
    fn honest_but(lie: &str) -> String {
        format!(
            r#"
at="$FLEXVOL_ROOT/pods/1/volumes/flexvol.io~tmpfs/scratch"
do_install() {{ :; }}
do_drivers() {{ echo flexvol.io/tmpfs; }}
do_up() {{ mkdir -p "$at"; mountpoint -q "$at" || mount -t tmpfs none "$at"; }}
do_ls() {{ echo demo scratch; }}
do_exec() {{ case "$*" in *echo*) echo '{HELLO}' > "$at/hello"; cat "$at/hello";; *cat*) cat "$at/hello";; *) ls -A "$at";; esac; }}
do_down() {{ umount "$at"; }}
{lie}
do_$1 "$@""#
        )
    }

    #[test]
    fn a_host_that_only_claims_to_mount_is_caught() {
        assert!(reason("exit 1").contains("ended with"), "a failing command");
        assert!(reason("exit 0").contains("does not name flexvol.io/tmpfs"), "a silent command");
        assert!(reason("echo flexvol.io/tmpfs").contains("one mount should lie at"), "a command that mounts nothing");
    }

    #[test]
    fn every_lie_is_caught_and_the_truth_passes() {
        if !machine::is_root() || !machine::may_mount() {
            eprintln!("skipped: mounting needs root");
            return;
        }
        against(&honest_but("")).unwrap();
        let lies = [
            ("do_ls() { :; }", "does not name the volume"),
            ("do_exec() { echo nothing; }", "its data is gone"),
            ("do_down() { :; }", "these mounts are left"),
            (r#"do_up() { mkdir -p "$at"; mount -t tmpfs none "$at"; }"#, "there are 2"),
            (
                r#"do_up() { mkdir -p "$at"; umount "$at" 2>&1; mount -t tmpfs none "$at"; }"#,
                "cat /scratch/hello` ended with",
            ),
        ];
        for (lie, reason_wanted) in lies {
            let why = reason(&honest_but(lie));
            assert!(why.contains(reason_wanted), "{lie}: {why}");
        }
    }

    #[test]
    fn the_command_line_is_read() {
        let args = |args: &[&str]| parse(&args.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(args(&["--bin", "/b", "--scratch", "/s"]).unwrap().scratch.unwrap(), Path::new("/s"));
        assert!(args(&["--bin"]).is_err());
        assert!(args(&["--nonsense"]).is_err());
    }
}
