//! Our host: `up` and `down` of two pods that share a volume.

use std::{fs, path::PathBuf};

use flexvolume_testkit::killat::{self, Orphans, Part, Plan, Report, Spec};

use super::{
    field::{ALL_DIE, ORPHANS_WORK_ON, THE_ACTING_DIES, THE_CALLED_DIES, Way, active},
    tried::Tried,
};
use crate::{
    bed::Bed,
    command::pod,
    group::{Group, lvm},
};

struct Host {
    bed: Bed,
    group: Group,
    pods: String,
    way: Way,
}

impl Host {
    fn new(way: Way) -> Option<Host> {
        let bed = Bed::new()?;
        bed.install("lvm", "kubernetes.io/lvm");
        let group = bed.group(&[64]);
        let source = format!(
            "{{driver: kubernetes.io/lvm, fsType: ext4, options: {{volumeID: shared, volumegroup: {}, size: 8m, create: \"true\"}}}}",
            group.name
        );
        let pods = ["one", "two"].map(|name| pod(name, &[("data", &source)])).join("---\n");
        let pods = bed.manifest("pods.yaml", &pods);
        Some(Host { bed, group, pods, way })
    }

    fn spec(&self, verb: &str) -> Spec {
        let args = match verb {
            "up" => vec!["up", "--jobs", "1", &self.pods],
            verb => vec![verb, &self.pods],
        };
        let spec =
            self.bed.env().into_iter().fold(Spec::new(self.bed.exe()), |spec, (name, value)| spec.env(name, value));
        self.way.spec(spec.args(args))
    }

    fn count(&self, verb: &str) -> u64 {
        let report = killat::run(&self.spec(verb).after(Orphans::Await), Plan::Count).unwrap();
        assert_eq!(report.ended, killat::Ended::Exited(0), "{verb}: {}", String::from_utf8_lossy(&report.stderr));
        report.count()
    }

    fn killed(&self, verb: &str, at: u64) -> Report {
        killat::run(&self.spec(verb), Plan::Kill { victim: self.way.victim, at }).unwrap()
    }

    /// Runs it to its end; it must succeed, whatever was left.
    #[track_caller]
    fn again(&self, verb: &str, about: &str) {
        let ran = self.bed.run(self.spec(verb).args.iter());
        assert_eq!(ran.code, 0, "{about}: again: {ran:?}");
    }

    fn paths(&self) -> [PathBuf; 2] {
        ["one", "two"].map(|pod| self.bed.path_of(pod, "data"))
    }

    /// One global mount, one bind per pod, one device that works, one record with both pods.
    #[track_caller]
    fn assert_up(&self, about: &str) {
        self.bed.assert_shared(about);
        assert_eq!(active(&self.group).len(), 1, "{about}: {:?}", active(&self.group));
    }

    #[track_caller]
    fn assert_down(&self, about: &str) {
        self.bed.assert_down();
        assert_eq!(active(&self.group), Vec::<String>::new(), "{about}: devices left");
    }

    /// The one volume is whole; it goes, and all memory of it.
    #[track_caller]
    fn clear(&self, about: &str) {
        let row = self.group.row("shared", "lv_tags");
        assert!(!row["lv_tags"].contains("state"), "{about}: half-made: {row:?}");
        lvm(["lvremove", "--yes", "--force", &self.group.name]);
        let state = self.bed.sandbox.path().join("state");
        fs::remove_dir_all(state).unwrap();
    }
}

/// Every point of every verb: first with no volume there, then with one that holds data.
fn sweep(name: &'static str, way: Way, usual: Part) {
    let Some(host) = Host::new(way) else { return };
    let mut tried = Tried::new(name, usual);
    tried.has("up", host.count("up"));
    tried.has("down", host.count("down"));
    tried.has("up again", host.count("up"));
    host.again("down", "at first");
    host.clear("at first");
    for (_, at) in tried.turns() {
        let about = tried.note("up", &host.killed("up", at));
        host.again("up", &about);
        host.assert_up(&about);
        let [one, two] = host.paths();
        fs::write(one.join("file"), &about).unwrap();
        let read =
            |about: &str| fs::read_to_string(two.join("file")).unwrap_or_else(|error| panic!("{about}: {error}"));
        assert_eq!(read(&about), about, "the pods do not share");
        let then = tried.note("down", &host.killed("down", tried.within("down", at)));
        host.again("down", &then);
        host.assert_down(&then);
        let then = tried.note("up again", &host.killed("up", tried.within("up again", at)));
        host.again("up", &then);
        host.assert_up(&then);
        assert_eq!(read(&then), about, "{then}: data lost");
        host.again("down", &then);
        host.assert_down(&then);
        host.clear(&about);
    }
    tried.tell();
}

#[test]
fn the_host_dies_and_its_orphans_end_first() {
    sweep("the host dies, orphans end first", THE_CALLED_DIES, Part::every(139, 23));
}

#[test]
fn the_host_dies_and_is_restarted_while_orphans_run() {
    sweep("the host dies, orphans work on", ORPHANS_WORK_ON, Part::every(97, 17));
}

#[test]
fn the_acting_process_dies() {
    sweep("the acting process dies under the host", THE_ACTING_DIES, Part::every(83, 11));
}

#[test]
fn everything_dies() {
    sweep("all but LVM die under the host", ALL_DIE, Part::every(97, 37));
}
