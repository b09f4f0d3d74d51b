//! Gives cases out to lanes: each takes the next one, until there are none.

use super::{
    case::{Case, Suite},
    report::{Listener, Report, Verdict},
    times::Times,
};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Instant;

/// What runs cases one after the other.
pub(super) trait Runner {
    fn run(&mut self, case: &Case) -> Verdict;
}

/// Gives the cases out, each to whoever is free first. One lane does not wait until the gate is open, and begins with the last suite;
/// what it has to say waits.
pub(super) fn deal<R: Runner>(
    cases: Vec<Case>,
    lanes: usize,
    times: &Times,
    runner: &(dyn Fn() -> R + Sync),
    hear: impl FnOnce(mpsc::Receiver<Report>),
) {
    let lanes = lanes.min(cases.len());
    let early = cases.last().map(|case| case.suite);
    let queue = Mutex::new(VecDeque::from(cases));
    let next = |suite| next(&mut queue.lock().unwrap_or_else(PoisonError::into_inner), suite);
    std::thread::scope(|scope| {
        let (send, reports) = mpsc::channel();
        for lane in 0..lanes {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                let mut suite = None;
                if lane == 0 {
                    suite = early;
                } else {
                    times.wait();
                }
                // Made here, for a machine ends with the thread that has started it.
                let mut runner = runner();
                while let Some(case) = next(suite) {
                    suite = Some(case.suite);
                    let start = Instant::now();
                    let verdict = if times.are_over() {
                        Listener::new().lost("not begun: the time for all guests was over")
                    } else {
                        runner.run(&case)
                    };
                    if send.send(Report { case, took: start.elapsed(), verdict }).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        times.wait();
        hear(reports);
    });
}

/// The next case: of this suite, for whose cases a lane has its machine, while there are any.
fn next(queue: &mut VecDeque<Case>, suite: Option<&Suite>) -> Option<Case> {
    let place = queue.iter().position(|case| Some(case.suite) == suite).unwrap_or(0);
    queue.remove(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn opened(times: Times) -> Times {
        times.open();
        times
    }

    struct Counting<'a>(&'a Mutex<Vec<String>>);

    impl Runner for Counting<'_> {
        fn run(&mut self, case: &Case) -> Verdict {
            self.0.lock().unwrap().push(case.name.clone());
            // Long enough for other lanes to begin, if they may.
            std::thread::sleep(Duration::from_millis(5));
            Listener::new().lost("")
        }
    }

    #[test]
    fn each_case_is_run_once_by_any_number_of_lanes() {
        for lanes in [1, 2, 7, 100] {
            let (ran, mut heard) = (Mutex::new(Vec::new()), Vec::new());
            let cases: Vec<Case> = (0..20).map(|number| Case::sample(number % 2, &format!("{number:02}"))).collect();
            deal(cases, lanes, &opened(Times::usual()), &|| Counting(&ran), |reports| {
                heard.extend(reports.into_iter().map(|report| report.case.name));
            });
            let mut ran = ran.into_inner().unwrap();
            ran.sort();
            heard.sort();
            assert_eq!(ran, (0..20).map(|number| format!("{number:02}")).collect::<Vec<_>>());
            assert_eq!(ran, heard);
        }
    }

    #[test]
    fn a_lane_stays_with_its_suite_while_there_is_something_of_it() {
        let (first, second) = (Case::sample(0, "a"), Case::sample(1, "c"));
        let mut queue = VecDeque::from([first.clone(), Case::sample(0, "b"), second.clone()]);
        let names = [Some(second.suite), Some(second.suite), None].map(|suite| next(&mut queue, suite).unwrap().name);
        assert_eq!(names, ["c", "a", "b"]);
        assert_eq!(next(&mut queue, Some(first.suite)), None);
    }

    #[test]
    fn before_the_gate_is_open_one_lane_works_from_the_last_suite_on_and_nothing_is_said() {
        let (times, lanes, ran) = (Times::usual(), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let cases = ["0", "1", "2"].map(|name| Case::sample(0, name)).into_iter();
        let cases = cases.chain(["3", "4"].map(|name| Case::sample(1, name))).collect();
        let lane = || {
            lanes.fetch_add(1, Ordering::SeqCst);
            Counting(&ran)
        };
        let (mut alone, mut heard) = (None, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // It opens in the end whatever happens, so that what is wrong fails instead of hanging.
                for _ in 0..1000 {
                    if ran.lock().unwrap().len() == 5 {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                alone = Some((lanes.load(Ordering::SeqCst), ran.lock().unwrap().concat()));
                times.open();
            });
            deal(cases, 3, &times, &lane, |reports| heard = reports.into_iter().count());
        });
        assert_eq!((alone, heard, lanes.into_inner()), (Some((1, "34012".into())), 5, 3));
    }

    #[test]
    fn what_is_said_before_the_gate_is_open_waits() {
        let (times, ran, opened) = (Times::usual(), Mutex::new(Vec::new()), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                opened.store(1, Ordering::SeqCst);
                times.open();
            });
            deal(vec![Case::sample(0, "a")], 1, &times, &|| Counting(&ran), |_| {
                assert_eq!(opened.load(Ordering::SeqCst), 1);
            });
        });
    }

    #[test]
    fn what_has_not_begun_in_time_fails() {
        let (ran, mut lost) = (Mutex::new(Vec::new()), 0);
        let cases = ["a", "b"].map(|name| Case::sample(0, name)).to_vec();
        deal(cases, 2, &opened(Times::none()), &|| Counting(&ran), |reports| {
            lost = reports.into_iter().filter(|report| matches!(report.verdict, Verdict::Lost { .. })).count();
        });
        assert_eq!((ran.into_inner().unwrap().len(), lost), (0, 2));
    }
}
