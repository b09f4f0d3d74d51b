//! The kill sweep: `up` and `down` of two pods that share a loopback volume, killed before an effect, run again, and
//! compared: nothing lost, nothing doubled, and what was written is there. Each effect is met in two of four ways; with `all` in the
//! variable `FLEXVOL_SWEEP` in each.

use std::{fs, io::Write, path::PathBuf};

use flexvolume_testkit::killat::{self, Effect, Orphans, Plan, Report, Spec, Victim};

use crate::bed::{Bed, pod};

/// One sweep: who dies, and whether the next run begins while orphans are still at it.
#[derive(Clone, Copy, Debug)]
struct Way {
    victim: Victim,
    after: Orphans,
}

struct Field {
    bed: Bed,
    pods: String,
}

impl Field {
    fn new() -> Option<Self> {
        let bed = Bed::with_drivers()?;
        let images = bed.sandbox.dir("images").unwrap();
        let source = format!(
            "{{driver: flexvol.io/loopback, fsType: ext4, options: {{volumeID: shared, size: 16m, create: \"true\", directory: {}}}}}",
            images.display()
        );
        let pods = ["one", "two"].map(|name| pod(name, &[("data", &source)])).join("---\n");
        let pods = bed.manifest("pods.yaml", &pods);
        Some(Self { bed, pods })
    }

    fn spec(&self, verb: &str) -> Spec {
        let spec = Spec::new(self.bed.exe());
        let args = match verb {
            "up" => vec!["up", "--jobs", "1", &self.pods],
            verb => vec![verb, &self.pods],
        };
        self.bed.env().into_iter().fold(spec, |spec, (name, value)| spec.env(name, value)).args(args)
    }

    fn trace(&self, verb: &str, plan: Plan, after: Orphans) -> Report {
        let report = killat::run(&self.spec(verb).after(after), plan).unwrap();
        assert!(!report.timed_out, "{verb} hung: {}", last(&report));
        report
    }

    fn count(&self, verb: &str) -> u64 {
        self.count_of(verb, |_| true)
    }

    fn count_of(&self, verb: &str, counts: impl Fn(&Effect) -> bool) -> u64 {
        let mut report = self.trace(verb, Plan::Count, Orphans::Await);
        report.effects.retain(counts);
        // Tests beside this one may take the free loop device first; then both calls are made again.
        let lost = ["0x4c82", "0x4c0a"].map(|ioctl| {
            report.effects.iter().filter(|effect| effect.detail.contains(ioctl)).count().saturating_sub(1) as u64
        });
        report.effects.len() as u64 - lost.iter().sum::<u64>()
    }

    /// Kills `verb` before its `at`-th effect and runs it again to its end. The second run must succeed, whatever was left.
    fn killed(&self, verb: &str, way: Way, at: u64) -> bool {
        let report = self.trace(verb, Plan::Kill { victim: way.victim, at }, way.after);
        let ran = self.bed.run(self.spec(verb).args.iter());
        assert_eq!(ran.code, 0, "{verb} again after {way:?} at {at}: {ran:?}\n{}", last(&report));
        report.struck.is_some()
    }

    fn paths(&self) -> [PathBuf; 2] {
        ["one", "two"].map(|pod| self.bed.path_of(pod, "data"))
    }

    /// One global mount, one bind per pod, one loop device, one record with both pods; and all of them work.
    fn assert_up(&self, about: &str) {
        self.bed.assert_shared(about);
        assert_eq!(self.bed.sandbox.loops().unwrap().len(), 1, "{about}: loop devices");
    }
}

fn last(report: &Report) -> String {
    format!("{:?}\n{:#?}", report.ended, report.effects.iter().rev().take(4).rev().collect::<Vec<_>>())
}

/// Which effects a way meets: every second one, two ways the odd and two the even ones, so that each is met in two ways; or all of them.
#[derive(Clone, Copy)]
enum Half {
    Odd,
    Even,
}

impl Half {
    fn of(self, most: u64) -> impl Iterator<Item = u64> {
        let stride = flexvol_tests::stride(2);
        let first = match self {
            Half::Odd => 1,
            Half::Even => stride,
        };
        (first..=most).step_by(stride as usize)
    }
}

/// Each N of every verb, first with no image there, then with one that holds data.
fn sweep(way: Way, half: Half) {
    let Some(field) = Field::new() else { return };
    let mut kills = 0;
    let ups = field.count("up");
    let downs = field.count("down");
    assert!(ups > 40 && downs > 20, "the tracer sees {ups} and {downs} effects");
    let mut due = 0;
    for at in half.of(ups.max(downs)) {
        due += u32::from(at <= ups) + u32::from(at <= downs);
        let about = format!("{way:?} at {at}");
        let images = field.bed.sandbox.path().join("images");
        for entry in fs::read_dir(&images).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        kills += u32::from(field.killed("up", way, at));
        field.assert_up(&about);
        let [one, two] = field.paths();
        fs::write(one.join("file"), &about).unwrap();
        assert_eq!(fs::read_to_string(two.join("file")).unwrap(), about, "the pods do not share");
        kills += u32::from(field.killed("down", way, at));
        field.bed.assert_clean();
        kills += u32::from(field.killed("up", way, at));
        field.assert_up(&about);
        assert_eq!(fs::read_to_string(two.join("file")).unwrap(), about, "data lost");
        field.bed.ok(["down", "--all"]);
        field.bed.assert_clean();
    }
    assert!(kills >= due, "only {kills} kills struck, {due} are the least");
    let _ = writeln!(std::io::stderr(), "{way:?}: {kills} kills, of {ups} effects up and {downs} down");
}

#[test]
fn the_count_is_the_same_every_time() {
    let Some(field) = Field::new() else { return };
    field.count("up");
    field.count("down");
    // On how many pages of the ledger a record lies depends on how many digits its times and pids have.
    let is_page = |effect: &Effect| effect.syscall == "pwrite64" && effect.detail.contains("ledger.db-wal");
    let count = |verb| field.count_of(verb, |effect| !is_page(effect));
    let counts: Vec<_> = (0..3).map(|_| (count("up"), count("down"))).collect();
    assert!(counts.iter().all(|(up, down)| *up > 40 && *down > 20), "{counts:?}");
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}

#[test]
fn the_host_dies_and_its_orphans_end_first() {
    sweep(Way { victim: Victim::Host, after: Orphans::Await }, Half::Odd);
}

#[test]
fn the_host_dies_and_is_restarted_while_orphans_run() {
    sweep(Way { victim: Victim::Host, after: Orphans::Leave }, Half::Even);
}

#[test]
fn the_acting_process_dies() {
    sweep(Way { victim: Victim::Actor, after: Orphans::Await }, Half::Odd);
}

#[test]
fn everything_dies() {
    sweep(Way { victim: Victim::Tree, after: Orphans::Await }, Half::Even);
}
