//! Tries crash points, as many as there is time for, and says how many that were.

use std::io::Write;
use std::process::Command;
use std::time::Instant;

use super::node::Node;
use flexvolume_testkit::powercut::{Mark, Point, Powered, Recording, Replay, Story, sample, survey};

/// What came of the points of a recording.
pub struct Outcome {
    /// What went wrong, each with its point.
    pub failures: Vec<String>,
}

/// A crash point under power.
pub struct Crash<'a> {
    /// The disks, in the order of the recording.
    pub disks: Vec<Powered>,
    /// What had been asked for and acknowledged.
    pub story: Story<'a>,
}

/// Recovers from each crash point of a recording, or from so many of them. `usual` is how many where nobody says.
pub fn sweep(
    name: &str,
    recording: &Recording,
    node: &Node,
    usual: usize,
    mut recover: impl FnMut(&Crash<'_>) -> Result<(), String>,
) -> Outcome {
    let start = Instant::now();
    let seed = number("FLEXVOL_POWERCUT_SEED").unwrap_or(1);
    let many = match std::env::var("FLEXVOL_POWERCUT_POINTS").as_deref() {
        Ok("all") => usize::MAX,
        Ok(_) => number("FLEXVOL_POWERCUT_POINTS").unwrap() as usize,
        Err(_) => usual,
    };
    let all = survey(recording, seed).unwrap();
    let points = sample(&all, many, seed);
    let surveyed = start.elapsed();
    let dir = node.work("points");
    let mut replay = Replay::new(recording, &dir).unwrap();
    let (mut failures, mut pages) = (Vec::new(), 0);
    for point in &points {
        pages += replay.show(point).unwrap();
        let disks = (0..recording.disks()).map(|n| Powered::up(&format!("{name}-{n}"), replay.image(n), &dir).unwrap());
        let crash = Crash { disks: disks.collect(), story: recording.told(point.told) };
        node.boot();
        if let Err(why) = recover(&crash) {
            failures.push(format!("{why}\n    {}", about(recording, point)));
            ask(&crash);
        }
        node.halt();
    }
    let took = start.elapsed();
    say(&format!(
        "power cut, {name}: {} of {} points, seed {seed}, {:.1} s ({:.1} s to survey, {:.0} ms a point, {pages} pages written), {} failed; \
         recorded: {}",
        points.len(),
        all.len(),
        took.as_secs_f64(),
        surveyed.as_secs_f64(),
        (took - surveyed).as_secs_f64() * 1e3 / points.len().max(1) as f64,
        failures.len(),
        recording.size(),
    ));
    Outcome { failures }
}

impl Outcome {
    /// Nothing went wrong.
    #[track_caller]
    pub fn is_well(&self) {
        let few = &self.failures[..self.failures.len().min(10)];
        assert!(few.is_empty(), "{} crash points failed:\n{}", self.failures.len(), few.join("\n"));
    }

    /// Something went wrong, as it must where a sync was left out.
    #[track_caller]
    pub fn is_found_out(&self, what: &str) {
        assert!(!self.failures.is_empty(), "{what}, and no crash point shows it: this test is blind");
        say(&format!("as it must be, for {what}: {}", self.failures[0]));
    }
}

/// For who looks into a failure: runs the shell command in `FLEXVOL_POWERCUT_ASK` at the point, its disks as `$1`, `$2` ….
fn ask(crash: &Crash<'_>) {
    let Ok(script) = std::env::var("FLEXVOL_POWERCUT_ASK") else { return };
    let disks = crash.disks.iter().map(|disk| disk.device());
    let ran = Command::new("sh").args(["-xc", &script, "sh"]).args(disks).output().unwrap();
    say(&format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr)));
}

fn about(recording: &Recording, point: &Point) -> String {
    let marks: Vec<String> = recording.story()[..point.told].iter().rev().take(3).map(words).collect();
    let steps = recording.before(point.event, 3);
    format!(
        "event {}, lost: {:?}; last told: {}; last steps: {}",
        point.event,
        point.loss,
        marks.join(" < "),
        steps.join(" < ")
    )
}

fn words(mark: &Mark) -> String {
    match mark {
        Mark::Begin(what) => format!("begin {what}"),
        Mark::Done(what) => format!("done {what}"),
        Mark::Tick(what) => what.clone(),
    }
}

/// Past the capture of the test harness: how much of a sweep was done is part of its result.
pub fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
