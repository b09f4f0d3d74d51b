//! Every exec of the whole process tree, seen at its door: no argument and no variable of our own processes, of kit drivers and
//! of all that they start holds a secret.

use std::{fs, os::unix::fs::PermissionsExt};

use flexvolume_testkit::{
    binary,
    killat::{self, Ended, Exec, Plan, Report, Spec},
};

use super::{Case, direct};
use crate::bed::pod;

/// Runs the command, or whatever `exe` is, under the tracer.
fn traced(case: &Case, exe: &std::path::Path, args: &[&str]) -> Report {
    let settings = case.bed.sandbox.path().join("settings");
    let env = case.bed.env().into_iter().chain([("FLEXVOL_SETTINGS", settings)]);
    let spec = env.fold(Spec::new(exe), |spec, (name, value)| spec.env(name, value));
    let report = killat::run(&spec.args(args.iter().copied()).execs(), Plan::Count).unwrap();
    assert_eq!(report.ended, Ended::Exited(0), "{args:?}: {}", String::from_utf8_lossy(&report.stderr));
    case.assert_not_in(&report.stdout, &format!("stdout of {args:?}"));
    case.assert_not_in(&report.stderr, &format!("stderr of {args:?}"));
    case.assert_not_in_files();
    report
}

/// The execs of a program, by the end of its path.
fn of<'a>(report: &'a Report, path: &str) -> Vec<&'a Exec> {
    let all: Vec<_> = report.execs.iter().filter(|exec| exec.path.ends_with(path.as_bytes())).collect();
    assert!(!all.is_empty(), "nobody started {path}");
    all
}

fn words(exec: &Exec) -> Vec<String> {
    exec.argv.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn assert_in_none(case: &Case, report: &Report) {
    for exec in &report.execs {
        case.assert_not_in(&exec.shown(), &format!("an exec of {}", String::from_utf8_lossy(&exec.path)));
    }
}

/// A pod with a volume of each of our drivers and of a foreign one that announces `stdin`, each with the secret; and logs.
fn ours(case: &Case) -> String {
    let images = case.bed.sandbox.dir("images").unwrap();
    let (logs, settings) = (case.bed.sandbox.dir("logs").unwrap(), case.bed.sandbox.dir("settings").unwrap());
    for driver in ["tmpfs", "loopback"] {
        let exe = binary(driver).unwrap();
        case.bed.ok(["install", exe.to_str().unwrap(), "--as", &format!("flexvol.io/{driver}")]);
        let text = serde_json::json!({"log": logs.join(driver)}).to_string();
        fs::write(settings.join(format!("flexvol.io~{driver}.json")), text).unwrap();
    }
    case.bed.script("v/spares", direct(case, &["stdin"]).records_stdin());
    let loopback = format!(
        "{{driver: flexvol.io/loopback, fsType: ext4, secretRef: {{name: loopback}}, options: {{volumeID: v, size: 16m, create: \"true\", directory: {}}}}}",
        images.display()
    );
    let volumes = [
        ("tmpfs", "{driver: flexvol.io/tmpfs, secretRef: {name: tmpfs}}"),
        ("loopback", &loopback),
        ("foreign", "{driver: v/spares, secretRef: {name: foreign}}"),
    ];
    let secrets = [("tmpfs", "flexvol.io/tmpfs"), ("loopback", "flexvol.io/loopback"), ("foreign", "v/spares")];
    let secrets: String =
        secrets.iter().map(|(name, driver)| format!("---\n{}\n", case.secret(name, driver))).collect();
    case.bed.manifest("pod.yaml", &format!("{secrets}---\n{}", pod("web", &volumes)))
}

#[test]
fn no_exec_of_ours_holds_a_secret() {
    for case in Case::all() {
        let file = ours(&case);
        let exe = case.bed.exe().to_owned();
        let up = traced(&case, &exe, &["-vv", "up", &file]);
        assert_in_none(&case, &up);
        // All of it was seen: the command, a worker, the drivers at the moment of their secret, and the tools they start.
        assert_eq!(words(of(&up, "/flexvol")[0])[1..], ["-vv", "up", file.as_str()]);
        assert!(up.execs.iter().any(|exec| words(exec) == ["flexvol-worker"]), "no worker");
        for (driver, verb) in
            [("/tmpfs", "mount"), ("/loopback", "attach"), ("/loopback", "mountdevice"), ("/spares", "mount")]
        {
            let calls: Vec<_> = of(&up, driver).into_iter().map(words).filter(|argv| argv[1] == verb).collect();
            assert!(calls.iter().any(|argv| argv.contains(&"-".to_owned())), "{driver} {verb}: {calls:?}");
        }
        of(&up, "/mkfs.ext4");
        for args in
            [&["-o", "json", "ls", "--usage"][..], &["drivers"], &["exec", "web", "--", "true"], &["down", &file]]
        {
            assert_in_none(&case, &traced(&case, &exe, args));
        }
        // Both kit drivers logged what they did.
        for driver in ["tmpfs", "loopback"] {
            let log = fs::read_to_string(case.bed.sandbox.path().join("logs").join(driver)).unwrap();
            assert!(log.contains("Success"), "{log}");
        }
        case.bed.assert_clean();
    }
}

/// The control, and what the warning of such drivers is about: the secret is in the driver's own exec, and in no other.
#[test]
fn the_exec_of_a_driver_that_takes_secrets_in_argv_is_the_only_one_that_holds_it() {
    for case in Case::all() {
        case.bed.script("v/direct", direct(&case, &[]));
        let file = case.manifest("v/direct");
        let exe = case.bed.exe().to_owned();
        let up = traced(&case, &exe, &["-vv", "up", &file]);
        let (holding, other): (Vec<_>, Vec<_>) =
            up.execs.iter().partition(|exec| case.needles.find(&exec.shown()).is_some());
        let holding: Vec<_> = holding.into_iter().map(words).collect();
        assert!(holding.len() == 1 && holding[0][1] == "mount", "{holding:?}");
        assert!(!other.is_empty() && String::from_utf8_lossy(&up.stderr).contains("takes secrets in argv"));
        assert_in_none(&case, &traced(&case, &exe, &["-vv", "down", &file]));
        case.bed.assert_clean();
    }
}

/// A stranger, who gives them in argv, has them go no further.
#[test]
fn a_kit_driver_hands_secrets_to_nobody() {
    for case in Case::all() {
        ours(&case);
        let place = case.bed.sandbox.dir("pods/stranger").unwrap();
        let images = case.bed.sandbox.path().join("images");
        for (driver, more) in [
            ("tmpfs", serde_json::json!({})),
            ("loopback", serde_json::json!({"volumeID": "w", "size": "16m", "create": "true", "directory": images})),
        ] {
            let exe = case.bed.sandbox.plugins().join(format!("flexvol.io~{driver}/{driver}"));
            let mut options = more;
            options["kubernetes.io/secret/password"] = super::base64(&case.secret).into();
            options["kubernetes.io/pvOrVolumeName"] = "pv".into();
            let options = options.to_string();
            for args in
                [&["init"][..], &["mount", place.to_str().unwrap(), &options], &["unmount", place.to_str().unwrap()]]
            {
                let report = traced(&case, &exe, args);
                let (own, others) = report.execs.split_first().unwrap();
                assert_eq!(words(own)[1..], *args);
                for exec in others {
                    case.assert_not_in(&exec.shown(), "an exec of a kit driver");
                }
            }
            assert_eq!(fs::metadata(&exe).unwrap().permissions().mode() & 0o777, 0o755);
        }
        assert_eq!(case.bed.sandbox.mounts().unwrap(), []);
        assert_eq!(case.bed.sandbox.loops().unwrap(), []);
    }
}
