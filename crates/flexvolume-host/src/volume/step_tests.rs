//! The machine searched exhaustively: every interleaving of wants, successes, failures with and without effect, lies,
//! crashes and reboots, against a model of the kernel. The same search is run on broken machines and must find them.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::super::state::{At, Event, Level, Op, Place, Rung, Seen, State, Want};
use super::{rebooted, step};

/// What is really there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct World {
    attached: bool,
    stage: bool,
    places: BTreeSet<Place>,
}

type Machine = fn(State, Event) -> State;
type Found<T> = Result<T, String>;

fn check(holds: bool, why: impl FnOnce() -> String) -> Found<()> {
    if holds { Ok(()) } else { Err(why()) }
}

impl World {
    fn after(&self, op: &Op, floor: Level) -> Found<World> {
        let mut world = self.clone();
        match op {
            Op::Attach => {
                check(floor == Level::Absent, || "attach above the floor".into())?;
                world.attached = true;
            }
            Op::Stage => {
                check(world.attached && floor < Level::Staged, || "stage without a device".into())?;
                world.stage = true;
            }
            Op::Publish(place) => {
                check(world.stage || floor == Level::Staged, || "publish without stage".into())?;
                world.places.insert(place.clone());
            }
            Op::Grow(None) => {
                check(world.stage && floor < Level::Staged, || "growth of what is not staged".into())?;
            }
            Op::Grow(Some(place)) => check(world.places.contains(place), || "growth of nothing".into())?,
            Op::Finish(place) => check(world.places.contains(place), || "finish of nothing".into())?,
            Op::Unpublish(place) => {
                world.places.remove(place);
            }
            Op::Unstage => {
                check(world.places.is_empty(), || "unstage below living places".into())?;
                world.stage = false;
            }
            Op::Detach => {
                let free = !world.stage && world.places.is_empty() && floor == Level::Absent;
                check(free, || "detach below a mount".into())?;
                world.attached = false;
            }
        }
        Ok(world)
    }

    fn look(&self, op: &Op) -> Seen {
        let mounted = match op {
            Op::Stage | Op::Unstage | Op::Grow(None) => self.stage,
            Op::Publish(place) | Op::Finish(place) | Op::Unpublish(place) | Op::Grow(Some(place)) => {
                self.places.contains(place)
            }
            Op::Attach | Op::Detach => false,
        };
        if mounted { Seen::Mounted } else { Seen::Nothing }
    }
}

fn wants(floor: Level) -> Vec<Want> {
    let want = |hold, places: &[&str]| Want { hold, places: places.iter().map(|p| (*p).to_owned()).collect() };
    let mut all = vec![
        want(Level::Absent, &[]),
        want(Level::Absent, &["a"]),
        want(Level::Absent, &["a", "b"]),
        want(Level::Absent, &["b"]),
    ];
    if floor < Level::Staged {
        all.extend([want(Level::Attached, &[]), want(Level::Staged, &[]), want(Level::Staged, &["a"])]);
    }
    all
}

fn device() -> Result<String, String> {
    Ok("d".into())
}

fn failed() -> Result<String, String> {
    Err("no".into())
}

fn explore(machine: Machine, floor: Level) -> Found<usize> {
    let start = (State::unknown(floor, "d".into()), World { attached: floor > Level::Absent, ..World::default() });
    let mut seen = HashSet::new();
    let mut todo = VecDeque::from([start]);
    while let Some((mut state, world)) = todo.pop_front() {
        // The words change nothing.
        state.trouble.values_mut().for_each(|trouble| trouble.last.clear());
        if seen.len() > 100_000 {
            return Err("the machine never settles".into());
        }
        if !seen.insert((state.clone(), world.clone())) {
            continue;
        }
        converges(machine, state.clone(), world.clone())?;
        rests(machine, state.clone(), world.clone())?;
        for want in wants(floor) {
            todo.push_back((machine(state.clone(), Event::Want(want)), world.clone()));
        }
        for op in state.trouble.keys() {
            todo.push_back((machine(state.clone(), Event::Again(op.clone())), world.clone()));
        }
        todo.push_back((rebooted(state.clone()), World { stage: false, places: BTreeSet::new(), ..world.clone() }));
        match &state.doing {
            None => at_rest(machine, &state, &world, &mut todo),
            Some(op) => under_way(machine, &state, op, &world, &mut todo)?,
        }
    }
    Ok(seen.len())
}

/// Mounts that vanish, or die and stay, while nothing is under way.
fn at_rest(machine: Machine, state: &State, world: &World, todo: &mut VecDeque<(State, World)>) {
    let lost = |stage, places| machine(state.clone(), Event::Lost { device: false, stage, places });
    for at in [None, Some("a".to_owned()), Some("b".to_owned())] {
        todo.push_back((machine(state.clone(), Event::Grow(at)), world.clone()));
    }
    if world.stage && world.places.is_empty() {
        // A raw device: what was "staged" is nothing but its name.
        let gone = Event::Lost { device: true, stage: false, places: vec![] };
        todo.push_back((machine(state.clone(), gone), World { stage: false, ..world.clone() }));
    }
    todo.push_back((lost(true, vec![]), World { stage: false, ..world.clone() }));
    for place in state.places.keys() {
        let mut less = world.clone();
        less.places.remove(place);
        todo.push_back((lost(false, vec![place.clone()]), less));
        todo.push_back((lost(false, vec![place.clone()]), world.clone()));
    }
}

fn under_way(
    machine: Machine,
    state: &State,
    op: &Op,
    world: &World,
    todo: &mut VecDeque<(State, World)>,
) -> Found<()> {
    let done = world.after(op, state.floor)?;
    let came = |answer, seen| machine(state.clone(), Event::Came(answer, seen));
    todo.push_back((came(device(), done.look(op)), done.clone()));
    // Failed, or killed, before the deed.
    let before = came(failed(), world.look(op));
    let again_at_once = before.doing.as_ref() == Some(op) && !matches!(op, Op::Unpublish(_) | Op::Unstage);
    check(!again_at_once, || format!("tried again at once: {op:?}"))?;
    todo.push_back((before, world.clone()));
    // Failed, or killed, after the deed.
    todo.push_back((came(failed(), done.look(op)), done));
    if matches!(op, Op::Unpublish(_) | Op::Unstage) {
        // The lie: says unmounted and is not.
        todo.push_back((came(device(), world.look(op)), world.clone()));
    }
    let busy = came(failed(), Seen::Busy);
    check(busy == *state, || "a busy op was forgotten".into())?;
    Ok(())
}

/// From anywhere, if calls succeed from now on, the world becomes what is wanted, and stays.
fn converges(machine: Machine, state: State, mut world: World) -> Found<()> {
    let (want, floor) = (state.want.clone(), state.floor);
    let mut state = match state.doing.clone() {
        Some(op) => machine(state, Event::Came(Err("interrupted".into()), world.look(&op))),
        None => state,
    };
    state = machine(state, Event::Want(want.clone()));
    for _ in 0..20 {
        let Some(op) = state.doing.clone() else { break };
        world = world.after(&op, floor)?;
        state = machine(state, Event::Came(device(), world.look(&op)));
    }
    check(state.doing.is_none() && state.trouble.is_empty(), || format!("does not come to rest: {state:?}"))?;
    check(world.places == want.places, || format!("places: {world:?} {state:?}"))?;
    check(state.places.values().all(|at| *at == At::Ready), || format!("a place is not finished: {state:?}"))?;
    let goal = if want.places.is_empty() { want.hold } else { Level::Staged };
    check(floor == Level::Staged || world.stage == (goal == Level::Staged), || format!("stage: {state:?}"))?;
    check(floor > Level::Absent || world.attached == (goal > Level::Absent), || format!("device: {state:?}"))?;
    let over = want.places.is_empty() && want.hold <= floor;
    check(state.is_over() == over, || format!("is_over: {state:?}"))
}

/// If every op that brings something fails from now on, after its deed, the machine gives up till somebody says so.
fn rests(machine: Machine, mut state: State, mut world: World) -> Found<()> {
    for _ in 0..20 {
        let Some(op) = state.doing.clone() else { return Ok(()) };
        world = world.after(&op, state.floor)?;
        let answer = if op.goes_down() { device() } else { failed() };
        state = machine(state, Event::Came(answer, world.look(&op)));
    }
    Err(format!("tries for ever: {state:?}"))
}

const FLOORS: [Level; 3] = [Level::Absent, Level::Attached, Level::Staged];

#[test]
fn no_road_leads_astray() {
    for floor in FLOORS {
        let states = explore(step, floor).unwrap_or_else(|why| panic!("floor {floor:?}: {why}"));
        assert!(states > 50, "the search saw only {states} states");
    }
}

/// Each is the machine with one fault; the search must find every one of them.
const BROKEN: [(&str, Machine); 10] = [
    ("forgets what failed while it undoes it", |s, e| {
        let mut s = step(s, e);
        let half = s.doing.as_ref().is_some_and(Op::goes_down);
        s.trouble.retain(|op, _| !half || op.goes_down());
        s
    }),
    ("adopts a half-made stage", |s, e| {
        let mut s = step(s, e);
        if let Rung::Half(device) = &s.rung {
            s.rung = Rung::Staged(device.clone());
        }
        s
    }),
    ("forgets an interrupted attach", |s, e| {
        let attach = s.doing == Some(Op::Attach);
        let mut s = step(s, e);
        if attach && s.rung == Rung::Unsure {
            s.rung = Rung::Absent;
            s.doing = None;
        }
        s
    }),
    ("believes a driver that says unmounted", |s, e| match (s.doing.clone(), e) {
        (Some(Op::Unpublish(_) | Op::Unstage), Event::Came(Ok(d), Seen::Mounted)) => {
            step(s, Event::Came(Ok(d), Seen::Nothing))
        }
        (_, e) => step(s, e),
    }),
    ("tries at once what just failed", |s, e| {
        let mut s = step(s, e);
        s.trouble.values_mut().for_each(|t| t.held = false);
        if s.doing.is_none() {
            s.doing = s.trouble.keys().next().cloned();
        }
        s
    }),
    ("never finishes a place", |s, e| {
        let mut s = step(s, e);
        if matches!(s.doing, Some(Op::Finish(_))) {
            s.doing = None;
        }
        s
    }),
    ("forgets an op whose process still lives", |s, e| {
        let busy = matches!(e, Event::Came(_, Seen::Busy));
        let mut s = step(s, e);
        if busy {
            s.doing = None;
        }
        s
    }),
    ("takes a failed publish for done", |s, e| match (s.doing.clone(), e) {
        (Some(Op::Publish(_)), Event::Came(Err(_), seen)) => step(s, Event::Came(device(), seen)),
        (_, e) => step(s, e),
    }),
    ("grows what is not there", |s, e| {
        if let (Event::Grow(at), None) = (&e, &s.doing) {
            return State { doing: Some(Op::Grow(at.clone())), ..s };
        }
        step(s, e)
    }),
    ("detaches below a half-made stage", |s, e| {
        let mut s = step(s, e);
        if s.doing == Some(Op::Unstage) {
            s.doing = Some(Op::Detach);
        }
        s
    }),
];

#[test]
fn the_search_finds_a_broken_machine() {
    for (fault, machine) in BROKEN {
        assert!(FLOORS.iter().any(|floor| explore(machine, *floor).is_err()), "not found: a machine that {fault}");
    }
}
