//! `flexvol call`: one call by hand, with all there is to see of it.

use flexvolume_host::{
    drivers::{call::program, scan},
    settings::Config,
};
use flexvolume_linux::process::{self, How};
use flexvolume_protocol::{
    Answer, Attached, Capacity, Created, Device, DriverName, Expanded, Health, InitReply, Options, Redactor, Said,
    Secret, Secrets, Snapshot, SnapshotList, VerbName, VolumeList, VolumeNameReply, excerpt, is_complete,
};
use serde::Serialize;
use zeroize::Zeroizing;

use super::ground::{Done, settings};
use crate::{
    cli::Cli,
    output::Show,
    problem::Problems,
    reading::{Readings, said, word},
    speak::{say, tell},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    argv: Vec<String>,
    ended: String,
    milliseconds: f64,
    stdout: String,
    stderr: String,
    kubernetes: String,
    flexvol: String,
    forgiven: Vec<String>,
}

pub(super) fn call(cli: &Cli, show: &Show, driver: &str, verb: &str, args: &[String]) -> Done {
    let name =
        DriverName::parse(driver).map_err(|e| Problems::usage(e.to_string(), "flexvol drivers lists what there is"))?;
    let settings = settings(cli)?;
    let _ = process::settle();
    let found = scan::find(&settings.plugin_dir, &name, &settings.config.trust())?;
    let verb_name = VerbName::parse(verb);
    let limits = limits(&settings.config, &name, verb_name);
    let argv: Vec<_> =
        std::iter::once(verb).chain(args.iter().map(String::as_str)).map(|arg| arg.to_owned().into()).collect();
    let mut stdin = None;
    // `-` stands for standard input where a driver takes its options there; ours is handed on.
    if args.iter().any(|arg| arg == "-") {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::stdin(), &mut text).map_err(|e| {
            Problems::usage(format!("cannot read standard input: {e}"), "give the options as JSON there")
        })?;
        stdin = Some(text.into());
    }
    let redactor = redactor(&argv, stdin.as_ref());
    let outcome =
        process::spawn(&program(&found.exe, argv, stdin, "by-hand"))?.wait(&limits, &is_complete, &mut |after| {
            tell!("still running after {} s", after.as_secs());
        });
    let (kubernetes, flexvol, mut forgiven) = verdicts(verb_name, &said(&outcome), &redactor);
    if outcome.held {
        forgiven.push(
            "a process that the driver left behind holds its output open; Kubernetes waits until that ends".to_owned(),
        );
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(&redactor.bytes(bytes)).into_owned();
    let seen = Seen {
        argv: std::iter::once(found.exe.display().to_string())
            .chain([verb.to_owned()])
            .chain(args.iter().map(|arg| redactor.text(arg)))
            .collect(),
        ended: ended(&outcome.how),
        milliseconds: outcome.took.as_micros() as f64 / 1e3,
        stdout: text(&outcome.stdout),
        stderr: text(&outcome.stderr),
        kubernetes,
        flexvol,
        forgiven,
    };
    if show.is_table() {
        tell(&seen)
    } else {
        show.value(&seen)?
    }
    Ok(())
}

/// Knows the secrets in the options that were given: what is shown here is often shown to others.
fn redactor(argv: &[Zeroizing<String>], stdin: Option<&Zeroizing<String>>) -> Redactor {
    let given = argv.iter().chain(stdin).filter_map(|text| Options::parse(text).ok());
    let secrets = given.flat_map(|options| {
        let secrets = options.secrets().iter().map(|(_, secret)| Secret::new(secret.expose().to_vec()));
        secrets.collect::<Vec<_>>()
    });
    Redactor::new(&secrets.enumerate().map(|(n, secret)| (n.to_string(), secret)).collect::<Secrets>())
}

/// Programs read this: it does not follow the names in our code.
fn ended(how: &How) -> String {
    match how {
        How::Exited(code) => format!("exited({code})"),
        How::Signalled(signal) => format!("signalled({signal})"),
        How::Killed { signal } => format!("killed({signal})"),
        How::Stayed(process) => format!("stayed({})", process.pid),
        How::Stuck(process) => format!("stuck({})", process.pid),
    }
}

fn limits(config: &Config, name: &DriverName, verb: Option<VerbName>) -> process::Limits {
    config.driver(name).limits(verb.unwrap_or(VerbName::Init))
}

/// As many characters of a line are shown to people.
const LONGEST: usize = 4000;

fn tell(seen: &Seen) {
    let stream = |text: &str| match text.trim_end() {
        "" => " (empty)".to_owned(),
        text => text.lines().map(|line| format!("\n  {}", excerpt(line, LONGEST))).collect(),
    };
    for (n, arg) in seen.argv.iter().enumerate() {
        say!("argv[{n}]: {arg}");
    }
    say!("ended: {} after {:.1} ms", seen.ended, seen.milliseconds);
    say!("stdout:{}", stream(&seen.stdout));
    say!("stderr:{}", stream(&seen.stderr));
    // A list may be a mebibyte; `-o json` shows all of it.
    say!("Kubernetes would say: {}", excerpt(&seen.kubernetes, LONGEST));
    say!("flexvol says: {}", excerpt(&seen.flexvol, LONGEST));
    for forgiven in &seen.forgiven {
        say!("  forgiven: {forgiven}");
    }
}

/// The answer under both readings. A verb nobody knows is judged by its status alone.
fn verdicts(verb: Option<VerbName>, said: &Said<'_>, redactor: &Redactor) -> (String, String, Vec<String>) {
    match verb {
        Some(verb @ VerbName::Init) => both::<InitReply>(verb, said, redactor),
        Some(verb @ VerbName::GetVolumeName) => both::<VolumeNameReply>(verb, said, redactor),
        Some(verb @ (VerbName::Attach | VerbName::WaitForAttach)) => both::<Device>(verb, said, redactor),
        Some(verb @ VerbName::IsAttached) => both::<Attached>(verb, said, redactor),
        Some(verb @ (VerbName::ExpandVolume | VerbName::ExpandFs)) => both::<Expanded>(verb, said, redactor),
        Some(verb @ VerbName::CreateVolume) => both::<Created>(verb, said, redactor),
        Some(verb @ VerbName::CreateSnapshot) => both::<Snapshot>(verb, said, redactor),
        Some(verb @ VerbName::ListSnapshots) => both::<SnapshotList>(verb, said, redactor),
        Some(verb @ VerbName::GetCapacity) => both::<Capacity>(verb, said, redactor),
        Some(verb @ VerbName::ListVolumes) => both::<VolumeList>(verb, said, redactor),
        Some(verb @ VerbName::GetHealth) => both::<Health>(verb, said, redactor),
        Some(
            verb @ (VerbName::MountDevice
            | VerbName::Mount
            | VerbName::Unmount
            | VerbName::UnmountDevice
            | VerbName::Detach
            | VerbName::DeleteVolume
            | VerbName::DeleteSnapshot
            | VerbName::ModifyVolume),
        ) => both::<()>(verb, said, redactor),
        None => both::<()>(VerbName::Mount, said, redactor),
    }
}

fn both<R: Answer>(verb: VerbName, said: &Said<'_>, redactor: &Redactor) -> (String, String, Vec<String>) {
    let readings = Readings::<R>::of(verb, said).redacted(redactor);
    let forgiven = readings.forgiven();
    (word(readings.kubernetes, redactor), word(readings.flexvol.verdict, redactor), forgiven)
}
