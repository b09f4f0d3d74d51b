//! What stays on the disk: the ledger with its log, its index, its damaged copies and its ballast, and the records of kit
//! drivers; while a call runs, after a kill in the middle of it, after damage, and when all is over.

use std::{fs, process::Child};

use flexvolume_testkit::{
    binary,
    killat::{self, Plan, Spec, Victim},
    scripted::{Answer, Scripted},
};
use serde_json::json;

use super::{Case, direct};
use crate::scripts::until;

/// A driver that has told everything on standard error and now takes its time over `mount`.
struct Busy {
    driver: Scripted,
    up: Child,
    words: std::path::PathBuf,
}

impl Busy {
    fn new(case: &Case, extensions: &[&str], file: &str) -> Self {
        let noise = case.said("noise", &case.everything());
        let go = case.bed.sandbox.path().join("go");
        let waits = format!(
            "cat '{noise}' >&2; mount -t tmpfs none \"$2\"; while [ ! -e {} ]; do sleep 0.05; done; cat '{noise}'; _end 1",
            go.display()
        );
        let driver = case.bed.script("v/direct", direct(case, extensions).on("mount", Answer::shell(waits)));
        let words = case.bed.sandbox.path().join("words");
        let log = fs::File::create(&words).unwrap();
        let mut command = case.bed.command(["-vv", "up", file]);
        let up = command.env("FLEXVOL_LOG", "trace").stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        until("mount to be called", || driver.verbs().unwrap().contains(&"mount".to_owned()));
        Self { driver, up, words }
    }

    fn kill(mut self, case: &Case) {
        self.up.kill().unwrap();
        self.up.wait().unwrap();
        case.assert_not_in(&fs::read(&self.words).unwrap(), "the words of the killed command");
        fs::write(case.bed.sandbox.path().join("go"), "").unwrap();
        let ended = || self.driver.calls().unwrap().iter().all(|call| call.ended.is_some());
        until("the orphan to end", ended);
        fs::remove_file(case.bed.sandbox.path().join("go")).unwrap();
    }
}

#[test]
fn no_file_holds_a_secret_while_a_call_runs_and_after_a_kill_in_the_middle_of_it() {
    for (case, extensions) in Case::all().zip([&[][..], &["stdin"]].into_iter().cycle()) {
        let file = case.manifest("v/direct");
        let busy = Busy::new(&case, extensions, &file);
        let root = case.bed.sandbox.root();
        let names: Vec<_> = super::files(&root).iter().map(|it| it.file_name().unwrap().to_owned()).collect();
        for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm", "ballast"] {
            assert!(names.iter().any(|it| it == name), "{name} is not there to be searched: {names:?}");
        }
        assert!(case.is_told_of(&root, b"v/direct"), "the record is not there to be searched");
        case.assert_not_in_files();
        busy.kill(&case);
        case.assert_not_in_files();
        // What the killed run left half done is found, undone and told.
        case.bed.script("v/direct", direct(&case, extensions));
        assert_eq!(case.run(["-vv", "-o", "json", "up", &file]).code, 0);
        assert_eq!(case.run(["-vv", "down", "web"]).code, 0);
        case.bed.assert_clean();
    }
}

#[test]
fn no_copy_of_a_damaged_ledger_holds_a_secret() {
    for case in Case::all() {
        case.bed.script("v/direct", direct(&case, &["stdin"]));
        let file = case.manifest("v/direct");
        let root = case.bed.sandbox.root();
        for damage in [1, 2] {
            assert_eq!(case.run(["up", &file]).code, 0);
            let ledger = root.join("ledger.db");
            let mut bytes = fs::read(&ledger).unwrap();
            bytes[..4096].fill(b'?');
            fs::write(&ledger, bytes).unwrap();
            let ran = case.run(["-vv", "-o", "yaml", "ls"]);
            assert!(ran.stderr.contains("damaged"), "{ran:?}");
            assert!(root.join(format!("ledger.db.damaged-{damage}")).exists());
            assert_eq!(case.run(["-vv", "down", "--all"]).code, 0);
        }
        case.bed.assert_clean();
    }
}

/// A stranger calls, and is killed with the driver: what lies in the folders of the driver, and beside the image, was written
/// before the kill.
#[test]
fn no_record_of_a_kit_driver_that_was_killed_holds_a_secret() {
    for (round, case) in Case::all().enumerate() {
        let images = case.bed.sandbox.dir("images").unwrap();
        let place = case.bed.sandbox.dir("pods/stranger").unwrap();
        let options = json!({
            "volumeID": "v", "size": "16m", "create": "true", "directory": images, "kubernetes.io/pvOrVolumeName": "pv",
            "kubernetes.io/secret/password": super::base64(&case.secret),
        });
        let call = |plan| {
            let spec = case.bed.env().into_iter().fold(Spec::new(binary("loopback").unwrap()), |s, (n, v)| s.env(n, v));
            let report =
                killat::run(&spec.args(["mount", place.to_str().unwrap(), &options.to_string()]), plan).unwrap();
            case.assert_not_in(&report.stdout, "the answer");
            case.assert_not_in(&report.stderr, "the other stream");
            for folder in ["run", "state", "images"] {
                case.assert_not_beneath(&case.bed.sandbox.path().join(folder));
            }
            report
        };
        for at in (6 + round as u64..60).step_by(18) {
            assert_eq!(call(Plan::Kill { victim: Victim::Tree, at }).struck, Some(at));
        }
        call(Plan::Count);
        assert!(!super::files(&case.bed.sandbox.path().join("run")).is_empty(), "no record to be searched");
        let undo = case.bed.sandbox.unmount_all();
        assert!(undo.is_ok(), "{undo:?}");
    }
}

impl Case {
    /// Whether some file beneath the directory holds these bytes.
    fn is_told_of(&self, dir: &std::path::Path, bytes: &[u8]) -> bool {
        let holds = |file: &std::path::PathBuf| {
            fs::read(file).is_ok_and(|text| text.windows(bytes.len()).any(|piece| piece == bytes))
        };
        super::files(dir).iter().any(holds)
    }
}
