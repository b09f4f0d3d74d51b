//! Which crash points there are: every state that the disks may be in when the power goes, each of them once.
//!
//! Most points of a recording leave the disks as another does: a mark changes nothing, zeroes over zeroes neither, and what
//! is left after all cached writes are lost is the state of the last flush. Of points with the same disks only those are
//! kept whose demands no other has: after "done" more is demanded than before it, before "begin" more than after it.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::io;

use super::disk::{Disk, Loss};
use super::random::Random;
use super::recording::{Recording, told};
use super::timeline::{Event, Mark};

/// A moment at which the power is cut, and what the disks' caches lose by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// So many events of the recording have passed.
    pub event: usize,
    /// So many marks of its story were passed.
    pub told: usize,
    /// For each disk, what of its cache is lost.
    pub loss: Vec<Loss>,
}

/// Every distinct point of a recording, in order. Of a long run of writes that nobody flushes, of which any may be lost, not
/// each is a point: the first 32, then every second, every third, and so on, and each that lasts at once. `seed` decides which writes are lost where some are.
///
/// # Errors
/// A log cannot be read.
pub fn survey(recording: &Recording, seed: u64) -> io::Result<Vec<Point>> {
    let mut disks = recording.rewound();
    let mut found: HashMap<u64, BTreeMap<usize, Point>> = HashMap::new();
    let mut count = 0;
    for (n, event) in recording.events.iter().enumerate() {
        let losses = match event {
            Event::Entry { disk, entry } => {
                disks[*disk].step(*entry)?;
                if !disks[*disk].is_telling() {
                    continue;
                }
                losses(&disks, seed ^ n as u64, 1)
            }
            // What was acknowledged has to stand whatever is lost.
            Event::Mark(Mark::Done(_)) => losses(&disks, seed ^ n as u64, 3),
            Event::Mark(Mark::Begin(_)) => losses(&disks, 0, 0),
            Event::Mark(Mark::Tick(_)) => continue,
        };
        count += usize::from(told(event).is_some());
        for loss in losses {
            let state = digest(&disks, &loss)?;
            let point = Point { event: n + 1, told: count, loss };
            found.entry(state).or_default().entry(count).or_insert(point);
        }
    }
    let mut points: Vec<Point> = found.into_values().flat_map(|same| strictest(same, recording.story())).collect();
    points.sort_unstable();
    Ok(points)
}

/// What may be lost: nothing, all, that of one disk but not of another, and `some` times a part of it.
fn losses(disks: &[Disk<'_>], seed: u64, some: u64) -> Vec<Vec<Loss>> {
    let unsafe_ones: Vec<usize> = (0..disks.len()).filter(|n| !disks[*n].is_safe()).collect();
    let each = |loss: &dyn Fn(usize) -> Loss| -> Vec<Loss> { (0..disks.len()).map(loss).collect() };
    let mut all = vec![each(&|_| Loss::Nothing)];
    if unsafe_ones.is_empty() {
        return all;
    }
    all.push(each(&|_| Loss::Everything));
    if unsafe_ones.len() > 1 {
        for it in unsafe_ones {
            all.push(each(&|n| if n == it { Loss::Everything } else { Loss::Nothing }));
        }
    }
    let mut random = Random::new(seed);
    for _ in 0..some {
        let seeds: Vec<u64> = disks.iter().map(|_| random.next()).collect();
        all.push(each(&|n| Loss::Some(seeds[n])));
    }
    all
}

fn digest(disks: &[Disk<'_>], loss: &[Loss]) -> io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    for (disk, loss) in disks.iter().zip(loss) {
        disk.digest(*loss)?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// Of points with the same disks, by how much of the story was told, those that no other makes needless.
fn strictest(same: BTreeMap<usize, Point>, story: &[Mark]) -> Vec<Point> {
    let at: BTreeSet<usize> = same.keys().copied().collect();
    let only = |from: usize, to: usize, begin: bool| {
        story[from..to].iter().all(|mark| matches!(mark, Mark::Begin(_)) == begin)
    };
    let needless = |told: usize| {
        let more_done = at.range(told + 1..).any(|later| only(told, *later, false));
        more_done || at.range(..told).any(|earlier| only(*earlier, told, true))
    };
    same.into_iter().filter(|(told, _)| !needless(*told)).map(|(_, point)| point).collect()
}

/// The points in the order in which to try them when there may not be time for all: of each part of the story its last
/// point first, then others by the seed, in turn, so that no part is left out.
#[must_use]
pub fn ranked(points: &[Point], seed: u64) -> Vec<Point> {
    let mut parts: BTreeMap<usize, Vec<&Point>> = BTreeMap::new();
    for point in points {
        parts.entry(point.told).or_default().push(point);
    }
    let mut random = Random::new(seed);
    for part in parts.values_mut() {
        let last = part.len() - 1;
        random.shuffle(&mut part[..last]);
    }
    let mut ranked = Vec::with_capacity(points.len());
    while ranked.len() < points.len() {
        for part in parts.values_mut() {
            ranked.extend(part.pop().cloned());
        }
    }
    ranked
}

#[cfg(test)]
mod tests {
    use super::super::log::END;
    use super::super::made::{Made, recording};
    use super::*;

    const S: usize = 512;

    #[test]
    fn each_state_stands_once_with_its_strictest_demands() {
        let log = Made::new(S)
            .mark("0 begin a")
            .write(0, &[1; S])
            .flush()
            .mark("1 done a")
            .mark("1 tick x")
            .mark("1 begin b")
            .write(0, &[1; S]) // nothing new
            .flush()
            .mark("2 done b")
            .mark(END);
        let recording = recording(vec![log]);
        let points = survey(&recording, 1).unwrap();
        // Blank before `a` is asked for (never seen, it has no event), blank after, and written: after "done a" and after "done b".
        let seen: Vec<(usize, &[Loss])> = points.iter().map(|point| (point.told, point.loss.as_slice())).collect();
        assert_eq!(seen, [(1, &[Loss::Nothing][..]), (2, &[Loss::Nothing]), (4, &[Loss::Nothing])]);
    }

    #[test]
    fn what_is_not_flushed_is_lost_also_after_it_was_acknowledged() {
        let log = Made::new(S).mark("0 begin a").mark("2 done a").write(0, &[1; S]).write(1, &[2; S]).flush().mark(END);
        let recording = recording(vec![log]);
        let points = survey(&recording, 1).unwrap();
        // Blank disks where `a` was acknowledged: what the control of any test with this machinery looks for.
        assert!(points.iter().any(|point| point.told == 2 && point.loss == [Loss::Everything]), "{points:?}");
        assert!(points.iter().any(|point| point.told == 2 && point.loss == [Loss::Nothing]), "{points:?}");
    }

    #[test]
    fn one_disk_may_lose_what_another_keeps() {
        let one = || Made::new(S).mark("0 begin a").write(0, &[1; S]).mark("1 done a").flush().mark(END);
        let recording = recording(vec![one(), one()]);
        let points = survey(&recording, 1).unwrap();
        let has = |a, b| points.iter().any(|point| point.told == 2 && point.loss == [a, b]);
        assert!(has(Loss::Everything, Loss::Nothing) && has(Loss::Nothing, Loss::Everything), "{points:?}");
    }

    #[test]
    fn what_lasts_at_once_is_a_point_in_any_run() {
        // Of the 33rd to 63rd write every second is one.
        for many in 32..40 {
            let run = (0..many).fold(Made::new(S).mark("0 begin a"), |log, n| log.write(n, &[1; S]));
            let log = run.fua(100, &[2; S]).write(101, &[3; S]).mark(END);
            let points = survey(&recording(vec![log]), 1).unwrap();
            let at = many as usize + 2;
            assert!(points.iter().any(|it| it.event == at && it.loss == [Loss::Everything]), "{many}: {points:?}");
        }
    }

    #[test]
    fn the_end_of_every_part_comes_first() {
        let point = |event, told| Point { event, told, loss: vec![Loss::Nothing] };
        let all: Vec<Point> = (0..100).map(|n| point(n, (n / 10).min(4))).collect();
        let mut ranked = ranked(&all, 7);
        assert_eq!(ranked[..5], [(9, 0), (19, 1), (29, 2), (39, 3), (99, 4)].map(|(event, told)| point(event, told)));
        let told: Vec<usize> = ranked[5..10].iter().map(|point| point.told).collect();
        assert_eq!(told, [0, 1, 2, 3, 4]);
        assert!(ranked == super::ranked(&all, 7) && ranked != super::ranked(&all, 8));
        ranked.sort_unstable();
        assert_eq!(ranked, all);
    }
}
