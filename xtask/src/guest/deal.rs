//! Gives cases out to lanes: each takes the next one, until there are none.

use super::{
    case::Case,
    report::{Listener, Report, Verdict},
};
use std::collections::VecDeque;
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::Instant;

/// Opened once. Until then one lane works alone, and what it has to say waits.
pub(super) type Gate = OnceLock<()>;

/// What runs cases one after the other.
pub(super) trait Runner {
    fn run(&mut self, case: &Case) -> Verdict;
}

/// Gives the cases out, each to whoever is free first. The lane that begins before the gate is open begins with the last suite.
pub(super) fn deal<R: Runner>(
    cases: Vec<Case>,
    lanes: usize,
    deadline: Option<Instant>,
    gate: &Gate,
    runner: &(dyn Fn() -> R + Sync),
    hear: &mut dyn FnMut(mpsc::Receiver<Report>),
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
                    gate.wait();
                }
                // Made here, for a machine ends with the thread that has started it.
                let mut runner = runner();
                while let Some(case) = next(suite) {
                    suite = Some(case.suite);
                    let start = Instant::now();
                    let verdict = if deadline.is_none_or(|deadline| start < deadline) {
                        runner.run(&case)
                    } else {
                        Listener::new().lost("not begun: the time for all guests was over")
                    };
                    if send.send(Report { case, took: start.elapsed(), verdict }).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        gate.wait();
        hear(reports);
    });
}

/// The next case: of this suite, for whose cases a lane has its machine, while there are any.
fn next(queue: &mut VecDeque<Case>, suite: Option<&str>) -> Option<Case> {
    let place = queue.iter().position(|case| Some(case.suite) == suite).unwrap_or(0);
    queue.remove(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn case(name: &str) -> Case {
        Case { suite: "x", name: name.into(), full: format!("x::{name}") }
    }

    fn open() -> Gate {
        OnceLock::from(())
    }

    struct Counting<'a>(&'a Mutex<Vec<String>>);

    impl Runner for Counting<'_> {
        fn run(&mut self, case: &Case) -> Verdict {
            self.0.lock().unwrap().push(case.name.clone());
            Listener::new().lost("")
        }
    }

    #[test]
    fn each_case_is_run_once_by_any_number_of_lanes() {
        for lanes in [1, 2, 7, 100] {
            let (ran, mut heard) = (Mutex::new(Vec::new()), Vec::new());
            let cases: Vec<Case> = (0..20).map(|number| case(&format!("{number:02}"))).collect();
            let later = Instant::now() + Duration::from_secs(600);
            deal(cases, lanes, Some(later), &open(), &|| Counting(&ran), &mut |reports| {
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
        let of = |suite, name: &str| Case { suite, ..case(name) };
        let mut queue = VecDeque::from([of("x", "a"), of("x", "b"), of("y", "c")]);
        let names = [Some("y"), Some("y"), None].map(|suite| next(&mut queue, suite).unwrap().name);
        assert_eq!(names, ["c", "a", "b"]);
        assert_eq!(next(&mut queue, Some("x")), None);
    }

    struct Slow<'a>(&'a AtomicUsize);

    impl Runner for Slow<'_> {
        fn run(&mut self, _: &Case) -> Verdict {
            std::thread::sleep(Duration::from_millis(5));
            self.0.fetch_add(1, Ordering::SeqCst);
            Listener::new().lost("")
        }
    }

    #[test]
    fn before_the_gate_is_open_one_lane_works_and_nothing_is_said() {
        let (gate, lanes, ran) = (Gate::new(), AtomicUsize::new(0), AtomicUsize::new(0));
        let cases = (0..6).map(|number| case(&number.to_string())).collect();
        let lane = || {
            lanes.fetch_add(1, Ordering::SeqCst);
            Slow(&ran)
        };
        let mut heard = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while ran.load(Ordering::SeqCst) < 6 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let begun = lanes.load(Ordering::SeqCst);
                gate.set(()).unwrap();
                assert_eq!(begun, 1);
            });
            deal(cases, 3, None, &gate, &lane, &mut |reports| {
                assert!(gate.get().is_some());
                heard = reports.into_iter().count();
            });
        });
        assert_eq!((heard, lanes.into_inner()), (6, 3));
    }

    #[test]
    fn what_has_not_begun_in_time_fails() {
        let (ran, mut lost) = (Mutex::new(Vec::new()), 0);
        let cases = vec![case("a"), case("b")];
        deal(cases, 2, Some(Instant::now()), &open(), &|| Counting(&ran), &mut |reports| {
            lost = reports.into_iter().filter(|report| matches!(report.verdict, Verdict::Lost { .. })).count();
        });
        assert_eq!((ran.into_inner().unwrap().len(), lost), (0, 2));
    }
}
