//! Views are entered in child processes of this very executable, so it has its own `main` instead of the test harness.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::{
    env, fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use flexvolume_linux::{
    ErrorKind,
    namespace::{Shown, View, enter, exec},
};

/// A test: what is done in a child, given a directory of the host's that all may use.
type Test = fn(&Path);

const TESTS: &[(&str, Test)] = &[
    ("existing_places_are_covered_and_read_only_holds", existing_places_are_covered_and_read_only_holds),
    ("a_missing_place_below_the_root_is_made_in_a_skeleton", a_missing_place_below_the_root_is_made_in_a_skeleton),
    ("a_missing_place_deep_down_covers_its_ancestor_only", a_missing_place_deep_down_covers_its_ancestor_only),
    ("a_volume_inside_a_volume", a_volume_inside_a_volume),
    ("what_is_mounted_inside_a_volume_is_read_only_too", what_is_mounted_inside_a_volume_is_read_only_too),
    ("a_place_may_cover_a_source", a_place_may_cover_a_source),
    ("a_part_of_a_volume_is_found_beneath_its_root_only", a_part_of_a_volume_is_found_beneath_its_root_only),
    ("links_on_the_way_are_followed", links_on_the_way_are_followed),
    ("a_single_file_is_a_volume_too", a_single_file_is_a_volume_too),
    ("what_does_not_fit_is_told", what_does_not_fit_is_told),
    ("the_command_takes_our_place", the_command_takes_our_place),
    ("a_command_that_is_not_there_is_told", a_command_that_is_not_there_is_told),
];

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    if let (Some("child"), Some(name), Some(dir)) = (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        let (_, test) = TESTS.iter().find(|(known, _)| *known == name).unwrap();
        test(Path::new(&dir));
        return ExitCode::SUCCESS;
    }
    if !is_root() {
        eprintln!("skipped: mount namespaces need root");
        return ExitCode::SUCCESS;
    }
    let mut failed = false;
    for (name, _) in TESTS {
        let host = tempfile::tempdir().unwrap();
        fs::set_permissions(host.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for volume in ["one", "two"] {
            fs::create_dir(host.path().join(volume)).unwrap();
            fs::write(host.path().join(volume).join("name"), volume).unwrap();
        }
        let before = (listing(host.path()), traces(host.path()));
        let status = Command::new("/proc/self/exe").arg("child").arg(name).arg(host.path()).status().unwrap();
        let after = (listing(host.path()), traces(host.path()));
        let well = status.success() && before == after;
        eprintln!("test {name} ... {}", if well { "ok" } else { "FAILED" });
        if before != after {
            eprintln!("the host was changed: {before:?} became {after:?}");
        }
        failed |= !well;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What a view that got out would leave on the host: mounts of our volumes or skeletons, and mount points.
fn traces(host: &Path) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = |line: &&str| line.contains(host.to_str().unwrap()) || line.contains(" flexvol ");
    let mut all: Vec<String> = mounts.lines().filter(ours).map(str::to_owned).collect();
    all.extend(
        listing(Path::new("/"))
            .iter()
            .map(|path| path.display().to_string())
            .filter(|path| path.starts_with("/flexvol-")),
    );
    all
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn listing(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn shown(source: PathBuf, at: PathBuf, read_only: bool) -> Shown {
    Shown { source, part: None, at, read_only }
}

fn see(volumes: &[(PathBuf, &str, bool)]) {
    let volumes = volumes.iter().map(|(source, at, read_only)| shown(source.clone(), at.into(), *read_only));
    enter(&View { volumes: volumes.collect(), without: None }).unwrap_or_else(|error| panic!("{}", error.story()));
}

fn name(dir: &str) -> String {
    fs::read_to_string(Path::new(dir).join("name")).unwrap_or_else(|error| panic!("{dir}: {error}"))
}

/// Whether a file can be made there; the system's number if not.
fn write(dir: &str) -> Result<(), i32> {
    fs::write(Path::new(dir).join("written"), "x").map_err(|error| error.raw_os_error().unwrap())
}

fn existing_places_are_covered_and_read_only_holds(host: &Path) {
    see(&[(host.join("one"), "/mnt", false), (host.join("two"), "/srv", true)]);
    assert_eq!((name("/mnt"), name("/srv")), ("one".to_owned(), "two".to_owned()));
    assert_eq!(write("/mnt"), Ok(()));
    assert_eq!(write("/srv"), Err(30), "read-only");
    assert!(host.join("one/written").exists(), "the volume itself was written to");
    assert_eq!(env::current_dir().unwrap(), Path::new("/"));
}

fn a_missing_place_below_the_root_is_made_in_a_skeleton(host: &Path) {
    let before = listing(Path::new("/"));
    see(&[
        (host.join("one"), "/flexvol-data/app", false),
        (host.join("two"), "/flexvol-data/more/deep", true),
        (host.join("two"), "/flexvol-else", false),
    ]);
    assert_eq!(name("/flexvol-data/app"), "one");
    assert_eq!((name("/flexvol-data/more/deep"), name("/flexvol-else")), ("two".to_owned(), "two".to_owned()));
    let mut expected = before;
    expected.extend(["/flexvol-data", "/flexvol-else"].map(PathBuf::from));
    expected.sort();
    assert_eq!(listing(Path::new("/")), expected, "all else is there");
    for entry in listing(Path::new("/")) {
        if let Ok(target) = fs::read_link(&entry) {
            assert!(!target.as_os_str().is_empty());
        }
    }
    assert_eq!((write("/"), write("/flexvol-data")), (Err(30), Err(30)), "nothing is lost without a word");
    assert_eq!(write("/flexvol-data/app"), Ok(()));
    assert!(fs::write(host.join("beside"), "x").is_ok(), "the host's own directories stay writable");
    fs::remove_file(host.join("beside")).unwrap();
    assert!(fs::metadata("/proc/self/exe").is_ok(), "mounts beneath the root came along");
    assert!(Command::new("/bin/sh").args(["-c", "test -e /proc/1/status && : >/dev/null"]).status().unwrap().success());
    // A process that counts as confined could not make user namespaces.
    let user = Command::new("/usr/bin/unshare").args(["--user", "true"]).output();
    let text = user.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
    assert!(!text.contains("Operation not permitted"), "{text}");
}

fn a_missing_place_deep_down_covers_its_ancestor_only(host: &Path) {
    fs::create_dir_all(host.join("two/web/old")).unwrap();
    fs::write(host.join("two/web/index"), "page").unwrap();
    symlink("old", host.join("two/web/link")).unwrap();
    fs::set_permissions(host.join("two/web"), fs::Permissions::from_mode(0o751)).unwrap();
    let web = host.join("two/web");
    let at = web.join("data/here");
    see(&[(host.join("one"), at.to_str().unwrap(), false)]);
    assert_eq!(name(at.to_str().unwrap()), "one");
    assert_eq!(listing(&web), ["data", "index", "link", "old"].map(|entry| web.join(entry)));
    assert_eq!(fs::read_to_string(web.join("index")).unwrap(), "page");
    assert_eq!(fs::read_link(web.join("link")).unwrap(), Path::new("old"));
    assert_eq!(fs::metadata(&web).unwrap().mode() & 0o7777, 0o751);
    assert_eq!(write(web.join("link").to_str().unwrap()), Ok(()), "entries are the host's own");
    assert_eq!(write(web.to_str().unwrap()), Err(30));
    // Seen from outside nothing has changed: the covered directory itself has no `data`.
    let outside = Command::new("/usr/bin/nsenter")
        .args(["-m", "-t", &std::os::unix::process::parent_id().to_string(), "ls"])
        .arg(&web)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(outside.stdout).unwrap(), "index\nlink\nold\n");
}

fn a_volume_inside_a_volume(host: &Path) {
    fs::create_dir(host.join("one/inner")).unwrap();
    see(&[
        (host.join("two"), "/mnt/inner", false),
        (host.join("one"), "/mnt", false),
        (host.join("two"), "/mnt/made", true),
    ]);
    assert_eq!((name("/mnt"), name("/mnt/inner"), name("/mnt/made")), ("one".into(), "two".into(), "two".into()));
    assert_eq!(write("/mnt"), Ok(()));
    assert!(host.join("one/made").exists(), "as a container runtime does");
}

fn what_is_mounted_inside_a_volume_is_read_only_too(host: &Path) {
    see(&[]);
    let inner = host.join("one/inner");
    fs::create_dir(&inner).unwrap();
    let none = None::<&std::ffi::CStr>;
    rustix::mount::mount("inner", &inner, "tmpfs", rustix::mount::MountFlags::NOSUID, none).unwrap();
    fs::write(inner.join("name"), "inner").unwrap();
    see(&[(host.join("one"), "/mnt", true), (host.join("one"), "/srv", false)]);
    assert_eq!((name("/mnt/inner"), write("/mnt/inner")), ("inner".to_owned(), Err(30)));
    assert_eq!(write("/srv/inner"), Ok(()));
}

fn a_place_may_cover_a_source(host: &Path) {
    let one = host.join("one");
    see(&[(host.join("two"), one.to_str().unwrap(), false), (one.clone(), "/mnt", false)]);
    assert_eq!((name(one.to_str().unwrap()), name("/mnt")), ("two".into(), "one".into()));
}

fn a_part_of_a_volume_is_found_beneath_its_root_only(host: &Path) {
    fs::create_dir_all(host.join("one/deep/er")).unwrap();
    fs::write(host.join("one/deep/er/name"), "part").unwrap();
    symlink("/etc", host.join("one/out")).unwrap();
    let part = |part: &str, at: &str, read_only| Shown {
        source: host.join("one"),
        part: Some(part.into()),
        at: at.into(),
        read_only,
    };
    // Nothing of a view that fails is left: each attempt is a namespace of its own.
    let lost = enter(&View { volumes: vec![part("out", "/mnt", false)], without: None }).unwrap_err();
    assert!(lost.story().contains("one/out"), "{}", lost.story());
    enter(&View { volumes: vec![part("deep/er", "/mnt", true), part("new/made", "/srv", false)], without: None })
        .unwrap();
    assert_eq!(name("/mnt"), "part");
    assert!(Path::new("/srv").read_dir().unwrap().next().is_none());
    assert!(host.join("one/new/made").is_dir());
}

fn links_on_the_way_are_followed(host: &Path) {
    symlink("one", host.join("two/to-one")).unwrap();
    fs::create_dir(host.join("two/one")).unwrap();
    symlink(host.join("one"), host.join("two/volume")).unwrap();
    let at = host.join("two/to-one/missing");
    see(&[(host.join("two/volume"), at.to_str().unwrap(), false)]);
    assert_eq!(name(at.to_str().unwrap()), "one");
    assert_eq!(name(host.join("two/one/missing").to_str().unwrap()), "one");
}

fn a_single_file_is_a_volume_too(host: &Path) {
    see(&[(host.join("one/name"), "/flexvol-file", true), (host.join("two/name"), "/etc/hostname", true)]);
    assert_eq!(fs::read_to_string("/flexvol-file").unwrap(), "one");
    assert_eq!(fs::read_to_string("/etc/hostname").unwrap(), "two");
}

fn what_does_not_fit_is_told(host: &Path) {
    let tell = |source: &str, at: &str| {
        let error =
            enter(&View { volumes: vec![shown(host.join(source), at.into(), false)], without: None }).unwrap_err();
        (error.kind(), error.to_string())
    };
    let (kind, text) = tell("one", "/etc/passwd");
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(text.contains("the volume is a directory, but a file is there"), "{text}");
    assert!(tell("one/name", "/mnt").1.contains("the volume is a file, but a directory is there"));
    assert!(tell("none", "/mnt").1.contains("none"));
    assert_eq!(tell("one", "/etc/passwd/x").0, ErrorKind::Io);
    assert_eq!(tell("one", "mnt").0, ErrorKind::Invalid);
}

fn the_command_takes_our_place(host: &Path) {
    see(&[(host.join("one"), "/flexvol-data", false)]);
    let argv =
        ["sh", "-c", "test \"$(cat /flexvol-data/name)\" = one && test $$ = $1", "sh", &std::process::id().to_string()];
    panic!("{}", exec(&argv).story());
}

fn a_command_that_is_not_there_is_told(_: &Path) {
    let error = exec(&["no-such-command-anywhere"]);
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("PATH"), "{error}");
    assert_eq!(exec::<&str>(&[]).kind(), ErrorKind::Invalid);
    assert!(exec(&["/etc"]).to_string().ends_with("it is a directory"));
}
