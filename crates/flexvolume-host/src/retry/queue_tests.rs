//! The queue by example, and against any order of things that may happen.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn driver(name: &str) -> DriverName {
    DriverName::parse(name).unwrap()
}

fn task(of: &str, volume: &str) -> Task {
    Task { driver: driver(of), volume: volume.into(), after: false }
}

fn taken(queue: &mut Queue, now: Instant) -> Vec<Id> {
    std::iter::from_fn(|| queue.take(now)).collect()
}

#[test]
fn a_driver_that_hangs_keeps_its_own_slots_only() {
    let now = Instant::now();
    let mut queue = Queue::new(2);
    for n in 0..4 {
        queue.add(task("v/hung", &n.to_string()), now);
    }
    let well = queue.add(task("v/well", "a"), now);
    assert_eq!(taken(&mut queue, now), [0, 1, well]);
    assert_eq!(queue.next(), None, "everything waits for a slot");
    queue.done(well);
    queue.done(0);
    assert_eq!(taken(&mut queue, now), [2]);
    assert!(queue.is_running(1) && !queue.is_running(3) && !queue.is_over());
}

#[test]
fn what_failed_comes_again_after_its_backoff_and_keeps_nobody() {
    let now = Instant::now();
    let mut queue = Queue::new(1);
    let (a, b) = (queue.add(task("v/d", "a"), now), queue.add(task("v/d", "b"), now));
    assert_eq!(queue.take(now), Some(a));
    let due = queue.failed(a, "attach", now);
    assert_eq!(due, now + Duration::from_millis(500));
    assert_eq!((queue.take(now), queue.take(now)), (Some(b), None), "its slot is free while it waits");
    queue.done(b);
    assert_eq!(queue.next(), Some(due));
    assert_eq!(queue.take(due), Some(a));
    assert_eq!(queue.failed(a, "attach", due), due + Duration::from_secs(1));
    let due = due + Duration::from_secs(1);
    assert_eq!(queue.take(due), Some(a));
    assert_eq!(queue.failed(a, "publish", due), due + Duration::from_millis(500));
    assert_eq!(queue.tries(a), 1);
}

#[test]
fn a_driver_that_came_makes_its_volumes_due_and_no_others() {
    let now = Instant::now();
    let mut queue = Queue::new(4);
    let ids: Vec<Id> = ["v/a", "v/a", "v/b"].iter().map(|d| queue.add(task(d, "x"), now)).collect();
    queue.apart(&driver("v/a"));
    for id in taken(&mut queue, now) {
        queue.failed(id, "init", now);
    }
    assert_eq!(queue.take(now), None);
    queue.wake(&driver("v/a"), now);
    queue.wake(&driver("v/nobody"), now);
    assert_eq!(taken(&mut queue, now), ids[..2]);
}

#[test]
fn a_driver_mended_while_a_try_runs_costs_that_try_no_backoff() {
    let now = Instant::now();
    let mut queue = Queue::new(1);
    let a = queue.add(task("v/d", "a"), now);
    assert_eq!(queue.take(now), Some(a));
    queue.wake(&driver("v/d"), now);
    assert_eq!(queue.failed(a, "attach", now), now);
    assert_eq!(queue.take(now), Some(a));
    assert_eq!(queue.failed(a, "attach", now), now + Duration::from_secs(1), "once is enough");
}

#[test]
fn writers_come_first_and_a_volume_is_worked_on_once_at_a_time() {
    let now = Instant::now();
    let mut queue = Queue::new(4);
    let reader = queue.add(Task { after: true, ..task("v/d", "x") }, now);
    let (one, two) = (queue.add(task("v/d", "x"), now), queue.add(task("v/d", "x"), now));
    assert_eq!(taken(&mut queue, now), [one]);
    queue.failed(one, "attach", now);
    assert_eq!(taken(&mut queue, now), [two]);
    queue.done(two);
    assert_eq!(queue.take(now), None, "a writer is still to be tried again");
    let later = queue.next().unwrap();
    assert_eq!(taken(&mut queue, later), [one]);
    queue.done(one);
    assert_eq!(taken(&mut queue, later), [reader]);
    queue.done(reader);
    assert!(queue.is_over());
}

#[test]
fn volumes_that_nobody_shares_take_no_turns() {
    let now = Instant::now();
    let mut queue = Queue::new(4);
    let first = queue.add(task("v/direct", "data"), now);
    let reader = queue.add(Task { after: true, ..task("v/direct", "data") }, now);
    let other = queue.add(task("v/direct", "data"), now);
    assert_eq!(taken(&mut queue, now), [first]);
    queue.apart(&driver("v/direct"));
    assert_eq!(taken(&mut queue, now), [reader, other]);
}

/// What may happen to a queue.
#[derive(Clone, Debug)]
enum Happens {
    Take,
    Done(usize),
    Failed(usize, bool),
    Wake(usize),
    Apart(usize),
    Later(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => Just(Happens::Take),
        2 => (0..12_usize).prop_map(Happens::Done),
        3 => (0..12_usize, any::<bool>()).prop_map(|(n, b)| Happens::Failed(n, b)),
        1 => (0..3_usize).prop_map(Happens::Wake),
        1 => (0..3_usize).prop_map(Happens::Apart),
        2 => (0..3000_u64).prop_map(Happens::Later),
    ]
}

const DRIVERS: [&str; 3] = ["v/a", "v/b", "v/c"];

/// What must hold of whatever was just begun, and of all that runs.
fn check(queue: &Queue, begun: Id, apart: &[bool; 3], slots: usize) {
    let task = queue.task(begun);
    let of = DRIVERS.iter().position(|name| task.driver == driver(name)).unwrap();
    let others = |id: &Id| queue.task(*id).driver == task.driver;
    let running: Vec<Id> = (0..queue.tasks.len()).filter(|id| queue.is_running(*id)).filter(others).collect();
    assert!(running.len() <= slots, "more than the slots of a driver");
    if !apart[of] {
        let same = running.iter().filter(|id| queue.task(**id).volume == task.volume).count();
        assert_eq!(same, 1, "a volume is worked on twice at once");
        let open = |entry: &Entry| entry.phase != Phase::Over && entry.task.volume == task.volume;
        let writers = queue.tasks.iter().filter(|e| e.task.driver == task.driver && open(e) && !e.task.after).count();
        assert!(!task.after || writers == 0, "a reader before a writer");
    }
}

proptest! {
    #[test]
    fn in_any_order_slots_and_turns_are_kept_and_everything_comes_to_its_end(
        slots in 1..4_usize,
        tasks in proptest::collection::vec((0..3_usize, 0..2_u8, any::<bool>()), 1..12),
        story in proptest::collection::vec(happens(), 0..60),
    ) {
        let mut now = Instant::now();
        let mut queue = Queue::new(slots);
        let mut apart = [false; 3];
        for (of, volume, after) in &tasks {
            queue.add(Task { after: *after, ..task(DRIVERS[*of], &volume.to_string()) }, now);
        }
        for event in story {
            match event {
                Happens::Take => {
                    if let Some(id) = queue.take(now) {
                        check(&queue, id, &apart, slots);
                    }
                }
                Happens::Done(n) if n < tasks.len() => queue.done(n),
                Happens::Failed(n, other) if n < tasks.len() => {
                    let due = queue.failed(n, if other { "attach" } else { "publish" }, now);
                    prop_assert!(due >= now);
                }
                Happens::Done(_) | Happens::Failed(..) => {}
                Happens::Wake(n) => queue.wake(&driver(DRIVERS[n]), now),
                Happens::Apart(n) => {
                    queue.apart(&driver(DRIVERS[n]));
                    apart[n] = true;
                }
                Happens::Later(ms) => now += Duration::from_millis(ms),
            }
        }
        // From anywhere: if all succeeds from now on, all is over at last.
        for _ in 0..3 * tasks.len() + 3 {
            (0..tasks.len()).filter(|id| queue.is_running(*id)).collect::<Vec<_>>().into_iter().for_each(|id| queue.done(id));
            while let Some(id) = queue.take(now) {
                check(&queue, id, &apart, slots);
            }
            now = queue.next().unwrap_or(now).max(now);
        }
        prop_assert!(queue.is_over(), "{queue:?}");
    }
}
