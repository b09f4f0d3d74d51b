//! Tries crash points, as many as there is time for, and says how many that were.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use super::node::Node;
use flexvolume_testkit::powercut::{Mark, Point, Powered, Recording, Replay, Story, ranked, survey};

/// What came of the points of a recording.
pub struct Outcome {
    /// What went wrong, each with its point.
    failures: Vec<String>,
    /// So many points were tried, of so many.
    tried: usize,
    all: usize,
}

/// A crash point under power.
pub struct Crash<'a> {
    /// The disks, in the order of the recording.
    pub disks: Vec<Powered>,
    /// What had been asked for and acknowledged.
    pub story: Story<'a>,
}

/// After so many points it is known how long one takes.
const FEW: usize = 6;

/// How many points are tried.
enum Many {
    /// So many.
    Points(usize),
    /// As many as there is time for.
    AsTimeAllows,
}

impl Many {
    fn wished() -> Many {
        match std::env::var("FLEXVOL_POWERCUT_POINTS").as_deref() {
            Ok("all") => Many::Points(usize::MAX),
            Ok(number) => Many::Points(number.parse().unwrap()),
            Err(_) => Many::AsTimeAllows,
        }
    }
}

/// A sweep under way.
struct Sweep<'a, R> {
    name: &'a str,
    recording: &'a Recording,
    node: &'a Node,
    recover: R,
    part: Part,
    failures: Vec<String>,
    pages: usize,
}

/// What of a recording is tried.
#[derive(Clone, Copy)]
pub struct Part {
    /// For so long, where nobody says otherwise.
    pub time: Duration,
    /// Only points at which the latest mark is this one.
    pub after: Option<&'static str>,
    /// Only until something goes wrong.
    pub is_control: bool,
}

impl Part {
    /// Anything.
    pub const ALL: Part = Part { time: Duration::from_secs(30), after: None, is_control: false };

    /// A control: it goes red soon, and on a slow machine no later than anybody waits.
    pub const CONTROL: Part = Part { time: Duration::from_secs(300), after: None, is_control: true };

    /// A control, of what is left while this is being done.
    pub fn during(begin: &'static str) -> Part {
        Part { after: Some(begin), ..Part::CONTROL }
    }
}

/// Recovers from each crash point of a recording, or from as many of them as there is time for.
pub fn sweep(
    name: &str,
    part: Part,
    recording: &Recording,
    node: &Node,
    recover: impl FnMut(&Crash<'_>) -> Result<(), String>,
) -> Outcome {
    let start = Instant::now();
    let seed = std::env::var("FLEXVOL_POWERCUT_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut all = ranked(&survey(recording, seed).unwrap(), seed);
    all.retain(|point| part.after.is_none_or(|mark| recording.told(point.told).latest() == mark));
    let surveyed = start.elapsed();
    let mut sweep = Sweep { name, recording, node, recover, part, failures: Vec::new(), pages: 0 };
    let tried = match Many::wished() {
        Many::Points(many) => sweep.go(&all[..many.min(all.len())]),
        Many::AsTimeAllows => {
            let (mut tried, mut next, begun) = (0, FEW, Instant::now());
            while tried < all.len() && next > 0 && !sweep.is_over() {
                tried += sweep.go(&all[tried..all.len().min(tried + next)]);
                let one = begun.elapsed().as_millis() / tried as u128;
                // Nine tenths of the rest: the next guess is a better one.
                let rest = part.time.saturating_sub(start.elapsed()).as_millis() * 9 / 10;
                next = usize::try_from(rest / one.max(1)).unwrap_or(usize::MAX);
                // No more than there were so far: those of a control's higher ranks show something sooner, and the first, which
                // lie early in a story, take less time than others.
                next = next.min(tried);
            }
            tried
        }
    };
    let took = start.elapsed();
    say(&format!(
        "power cut, {name}: {tried} of {} points, seed {seed}, {:.0} s ({:.1} s to find them, {:.0} ms each, {} pages written), {} failed; \
         recorded {}",
        all.len(),
        took.as_secs_f64(),
        surveyed.as_secs_f64(),
        (took - surveyed).as_secs_f64() * 1e3 / tried.max(1) as f64,
        sweep.pages,
        sweep.failures.len(),
        recording.size(),
    ));
    Outcome { failures: sweep.failures, tried, all: all.len() }
}

impl<R: FnMut(&Crash<'_>) -> Result<(), String>> Sweep<'_, R> {
    /// In their order, for there is no way back; says how many that were.
    fn go(&mut self, points: &[Point]) -> usize {
        let (mut points, mut tried) = (points.to_vec(), 0);
        points.sort_unstable();
        let dir = tempfile::tempdir_in(self.node.work("points")).unwrap();
        let mut replay = Replay::new(self.recording, dir.path()).unwrap();
        for point in &points {
            self.pages += replay.show(point).unwrap();
            let up = |n| Powered::up(&format!("{}-{n}", self.name), replay.image(n), dir.path()).unwrap();
            let disks = (0..self.recording.disks()).map(up).collect();
            let crash = Crash { disks, story: self.recording.told(point.told) };
            self.node.boot();
            if let Err(why) = (self.recover)(&crash) {
                self.failures.push(format!("{why}\n    {}", about(self.recording, point)));
                ask(&crash);
            }
            self.node.halt();
            tried += 1;
            if self.is_over() {
                break;
            }
        }
        tried
    }

    fn is_over(&self) -> bool {
        self.part.is_control && !self.failures.is_empty()
    }
}

impl Outcome {
    /// Nothing went wrong, at points enough to say so.
    #[track_caller]
    pub fn is_well(&self) {
        assert!(self.tried > 0 && self.tried >= FEW.min(self.all), "{} of {} points tried", self.tried, self.all);
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

/// Past the capture of the test harness, and the door passes it on: how much of a sweep was done is part of its result.
pub fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "note: {words}");
}
