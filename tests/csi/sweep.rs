//! The kill sweep through the bridge: it is killed before every effect of create, stage, publish, unpublish, unstage and delete, started
//! again, and called again with the same call. Then all is as if nothing had happened, and what was written is there.
//!
//! Each sweep meets its usual part of the effects; with `all` in the variable `FLEXVOL_SWEEP` it meets every one.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    thread,
};

use flexvolume_testkit::killat::{self, Orphans, Plan, Spec, Verdict};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    bed::{Bed, walk},
    scripts::{lives, until},
    volume::{Came, Volume},
};

/// What is done to a volume, in the order of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Create,
    Stage,
    Publish,
    Unpublish,
    Unstage,
    Delete,
}

struct Life {
    bed: Bed,
    volume: Volume,
}

/// A bridge that nobody is left to stop, since its caller has panicked.
struct Ends(u32);

impl Drop for Ends {
    fn drop(&mut self) {
        if thread::panicking() {
            signal(self.0, Signal::KILL);
        }
    }
}

/// What a traced run of one step came to.
struct Traced {
    came: Came,
    killed: bool,
}

impl Life {
    fn new() -> Option<Self> {
        let mut bed = Bed::of("loopback")?;
        let volume = bed.create("data");
        bed.delete(&volume).unwrap();
        bed.kill();
        Some(Self { bed, volume })
    }

    fn take(&self, step: Step) -> Came {
        let (bed, volume) = (&self.bed, &self.volume);
        match step {
            Step::Create => bed.try_create("data").map(|made| assert_eq!(made.id, volume.id)),
            Step::Stage => bed.stage(volume),
            Step::Publish => bed.publish(volume, "one"),
            Step::Unpublish => bed.unpublish(volume, "one"),
            Step::Unstage => bed.unstage(volume),
            Step::Delete => bed.delete(volume),
        }
    }

    /// Runs a bridge under the tracer: `again` first, to its end; then `step`, with the bridge killed before its `at`-th effect.
    fn traced(&self, again: Option<Step>, step: Step, at: u64, after: Orphans) -> Traced {
        let spec = Spec::new(self.bed.command.exe()).args(self.bed.arguments()).after(after);
        let spec = self.bed.command.env().into_iter().fold(spec, |spec, (name, value)| spec.env(name, value));
        let (counts, bridge, effects) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU64::new(0));
        let killed = AtomicBool::new(false);
        let came = thread::scope(|scope| {
            let caller = scope.spawn(|| {
                self.bed.until_it_answers();
                let pid = serving(&self.bed);
                bridge.store(pid, Ordering::SeqCst);
                let _ends = Ends(pid);
                if let Some(again) = again {
                    self.take(again)
                        .unwrap_or_else(|status| panic!("{again:?} again, before {step:?} at {at}: {status:?}"));
                    self.assert_after(again);
                }
                counts.store(true, Ordering::SeqCst);
                let came = self.take(step);
                counts.store(false, Ordering::SeqCst);
                if !killed.load(Ordering::SeqCst) {
                    signal(pid, Signal::TERM);
                }
                came
            });
            let report = killat::run_watched(&spec, Plan::Count, &mut |_| {
                if counts.load(Ordering::SeqCst) && effects.fetch_add(1, Ordering::SeqCst) + 1 == at {
                    let pid = bridge.load(Ordering::SeqCst);
                    killed.store(true, Ordering::SeqCst);
                    signal(pid, Signal::KILL);
                    until("the bridge to be dead", || !lives(pid));
                }
                Ok(Verdict::Runs)
            });
            let report = report.unwrap();
            assert!(!report.timed_out, "{step:?} at {at} hung");
            caller.join().unwrap()
        });
        Traced { came, killed: killed.into_inner() }
    }

    /// What must be so once a step is done, whatever came before it.
    #[track_caller]
    fn assert_after(&self, step: Step) {
        let sandbox = &self.bed.command.sandbox;
        let (mounts, loops) = (sandbox.mounts().unwrap().len(), sandbox.loops().unwrap().len());
        let file = self.bed.target("one").join("file");
        match step {
            Step::Create => assert_eq!((mounts, loops, self.images()), (0, 0, 1), "{step:?}"),
            Step::Stage | Step::Unpublish => {
                assert_eq!((mounts, loops, self.images()), (1, 1, 1), "{step:?}");
                assert!(!self.bed.target("one").exists(), "{step:?}");
            }
            Step::Publish => {
                assert_eq!((mounts, loops, self.images()), (2, 1, 1), "{step:?}");
                fs::write(&file, "kept").unwrap();
            }
            Step::Unstage => {
                self.bed.command.assert_clean();
                assert_eq!(self.images(), 1, "{step:?}");
            }
            Step::Delete => {
                self.bed.command.assert_clean();
                assert_eq!(self.images(), 0, "{step:?}: {:?}", walk(&sandbox.path().join("images")));
            }
        }
        self.bed.assert_no_panic();
    }

    /// Kills it in that step, if that has so many effects.
    fn is_killed(&self, again: Option<Step>, step: Step, at: u64, after: Orphans) -> bool {
        let traced = self.traced(again, step, at, after);
        assert!(traced.killed || traced.came.is_ok(), "{step:?}: {:?}", traced.came);
        traced.killed
    }

    /// Nobody is killed any more in that step.
    fn plainly(&mut self, again: Option<Step>, step: Step) {
        self.bed.start();
        for step in again.into_iter().chain([step]) {
            self.take(step).unwrap_or_else(|status| panic!("{step:?}: {status:?}"));
            self.assert_after(step);
        }
        self.bed.kill();
    }

    /// What was written has outlived all that was done to the volume.
    fn assert_kept(&mut self, at: u64) {
        self.bed.start();
        for step in [Step::Unstage, Step::Stage] {
            self.take(step).unwrap_or_else(|status| panic!("{step:?} at {at}: {status:?}"));
            self.assert_after(step);
        }
        self.take(Step::Publish).unwrap();
        let kept = fs::read_to_string(self.bed.target("one").join("file")).unwrap();
        assert_eq!(kept, "kept", "at {at}");
        self.take(Step::Unpublish).unwrap();
        self.take(Step::Unstage).unwrap();
        self.bed.kill();
    }

    fn images(&self) -> usize {
        walk(&self.bed.command.sandbox.path().join("images")).iter().filter(|path| is_image(path)).count()
    }
}

fn is_image(path: &Path) -> bool {
    path.extension() == Some("img".as_ref())
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let _ = kill_process(pid.unwrap(), signal);
}

/// The process that serves at the bed's socket.
fn serving(bed: &Bed) -> u32 {
    let socket = bed.socket();
    let socket = socket.as_os_str().as_encoded_bytes();
    let processes =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_it = |pid: &u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|word| word == socket)
    };
    processes.filter(is_it).min().unwrap()
}

/// A life for each N that is met by such strides, until no step has so many effects.
fn sweep(after: Orphans, usual: u64) {
    let Some(mut life) = Life::new() else { return };
    let stride = flexvol_tests::stride(usual);
    let (mut kills, mut at, mut lives) = (0, 0, 0);
    let mut over = BTreeSet::new();
    while over.len() < 6 {
        at += if at == 0 { 1 } else { stride };
        lives += 1;
        let mut again = None;
        for step in [Step::Create, Step::Stage, Step::Publish, Step::Unpublish, Step::Unstage, Step::Delete] {
            if step == Step::Delete {
                life.assert_kept(at);
                again = None;
            }
            if over.contains(&step) {
                life.plainly(again, step);
                again = None;
                continue;
            }
            match life.is_killed(again, step, at, after) {
                true => kills += 1,
                false => drop(over.insert(step)),
            }
            again = Some(step);
        }
        life.bed.start();
        life.take(Step::Delete).unwrap();
        life.assert_after(Step::Delete);
        life.bed.assert_clean();
        life.bed.kill();
    }
    let _ = writeln!(
        std::io::stderr(),
        "{after:?}: {kills} kills in {lives} lives, of up to {at} effects by strides of {stride}"
    );
    assert!(kills * stride > 60, "only {kills} kills struck");
}

#[test]
fn the_bridge_dies_and_its_orphans_end_first() {
    sweep(Orphans::Await, 2);
}

#[test]
fn the_bridge_dies_and_is_started_while_orphans_run() {
    // What the orphans do meanwhile is swept at every effect in the command's own sweep.
    sweep(Orphans::Leave, 7);
}
