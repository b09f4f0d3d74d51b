//! The decision: what to do next with one volume, as a pure and total function of its state and one event.
//!
//! ```text
//!    Staged    ── publish, finish per place ──▶ places {uid: Half, Mounted, Ready}
//!      ▲ │ unstage
//! stage│ ▼                    wanted: a level to hold, and places
//!   Attached                  so: a rung (Unsure, Absent, Attached, Half, Staged), and each place
//! attach▲ │ detach            under way: at most one op; trouble per op
//!      │ ▼
//!    Absent      floors: attachable and staged drivers start at Absent, a node half at Attached, direct ones at Staged
//! ```
//!
//! The op named by [`step`] is written down, then done, then its end is written down. Going up, a driver's Success
//! is believed (and checked before it comes here); going down, only the kernel is. A mount left by a call that did not
//! succeed is *Half*: it is undone and made again, never adopted.

use super::state::{At, Event, Level, Op, Place, Rung, Seen, State, Trouble};

/// Takes one event in and names what is to be done in `doing`.
pub fn step(mut state: State, event: Event) -> State {
    match event {
        Event::Want(want) => {
            state.want = want;
            state.trouble.values_mut().for_each(|trouble| trouble.held = false);
        }
        Event::Again(op) => {
            if let Some(trouble) = state.trouble.get_mut(&op) {
                trouble.held = false;
            }
        }
        Event::Lost { device, stage, places } => {
            lost(&mut state, stage, places);
            if device {
                state.rung = forgotten(state.floor, state.rung);
            }
        }
        Event::Grow(place) => {
            if state.doing.is_none() && can_grow(&state, place.as_ref()) {
                state.doing = Some(Op::Grow(place));
            }
        }
        Event::Came(_, Seen::Busy) => return state,
        Event::Came(answer, seen) => {
            if let Some(op) = state.doing.take() {
                settle(&mut state, op, answer, seen == Seen::Mounted);
            }
        }
    }
    if state.doing.is_none() {
        let useful = useful(&state);
        let mut trouble = std::mem::take(&mut state.trouble);
        // What failed and left something is not forgotten while that is undone, else it would be tried for ever.
        trouble.retain(|op, _| useful.contains(op) || is_behind_undo(&state, op));
        state.trouble = trouble;
        // One place's failure starves no other: the first that is not held.
        state.doing = useful.into_iter().find(|op| state.trouble.get(op).is_none_or(|trouble| !trouble.held));
    }
    state
}

/// The machine was started anew since the record was written: mounts are gone, device names mean nothing.
pub fn rebooted(mut state: State) -> State {
    state.doing = None;
    state.places.clear();
    state.rung = forgotten(state.floor, state.rung);
    state
}

/// The rung once what its device is called means nothing any more.
fn forgotten(floor: Level, rung: Rung) -> Rung {
    match (floor, rung) {
        (Level::Absent, Rung::Absent) => Rung::Absent,
        (Level::Absent, Rung::Unsure | Rung::Attached(_) | Rung::Half(_) | Rung::Staged(_)) => Rung::Unsure,
        (Level::Attached, rung) => Rung::Attached(rung.device().to_owned()),
        (Level::Staged, Rung::Unsure | Rung::Absent | Rung::Attached(_) | Rung::Half(_) | Rung::Staged(_)) => {
            Rung::Staged(String::new())
        }
    }
}

/// What is grown is mounted, and nobody wants it gone.
fn can_grow(state: &State, place: Option<&Place>) -> bool {
    match place {
        Some(place) => state.want.places.contains(place) && state.places.get(place).is_some_and(|at| *at != At::Half),
        None => state.is_wanted() && state.floor < Level::Staged && state.is_staged(),
    }
}

fn lost(state: &mut State, stage: bool, places: Vec<String>) {
    if stage
        && state.floor < Level::Staged
        && let Rung::Staged(device) = &state.rung
    {
        state.rung = Rung::Half(device.clone());
    }
    for place in places {
        state.places.entry(place).and_modify(|at| *at = At::Half);
    }
}

/// Every op that brings the volume nearer to what is wanted, in the order they are tried: undo, ladder, serve.
fn useful(state: &State) -> Vec<Op> {
    let goal = if state.want.places.is_empty() { state.want.hold } else { Level::Staged };
    let empty = state.places.is_empty();
    let down = |to: Level| goal < to && state.floor < to && empty;
    let undo = state
        .places
        .iter()
        .filter(|(place, at)| **at == At::Half || !state.want.places.contains(*place))
        .map(|(place, _)| Op::Unpublish(place.clone()));
    let ladder = match &state.rung {
        Rung::Unsure | Rung::Absent if goal > Level::Absent => Some(Op::Attach),
        Rung::Unsure => empty.then_some(Op::Detach),
        Rung::Absent => None,
        Rung::Attached(_) if goal > Level::Attached => Some(Op::Stage),
        Rung::Attached(_) => down(Level::Attached).then_some(Op::Detach),
        // Lost below living places: put it back beneath them rather than take it away.
        Rung::Half(_) => Some(if empty { Op::Unstage } else { Op::Stage }),
        Rung::Staged(_) => down(Level::Staged).then_some(Op::Unstage),
    };
    let staged = state.is_staged();
    let serve = state.want.places.iter().filter(|_| staged).filter_map(|place| match state.places.get(place) {
        None => Some(Op::Publish(place.clone())),
        Some(At::Mounted | At::Growing) => Some(Op::Finish(place.clone())),
        Some(At::Half | At::Ready) => None,
    });
    undo.chain(ladder).chain(serve).collect()
}

/// Whether `op` will be useful once what lies in its way is undone.
fn is_behind_undo(state: &State, op: &Op) -> bool {
    match (op, &state.rung) {
        (Op::Publish(place), _) => state.places.get(place) == Some(&At::Half) && state.want.places.contains(place),
        (Op::Stage, Rung::Half(_)) => !state.want.places.is_empty() || state.want.hold == Level::Staged,
        (Op::Stage, Rung::Unsure | Rung::Absent | Rung::Attached(_) | Rung::Staged(_)) => false,
        (Op::Attach | Op::Finish(_) | Op::Unpublish(_) | Op::Unstage | Op::Detach | Op::Grow(_), _) => false,
    }
}

fn settle(state: &mut State, op: Op, answer: Result<String, String>, mounted: bool) {
    let device = state.rung.device().to_owned();
    let reached = match (&op, &answer) {
        (Op::Attach, Ok(device)) => {
            state.rung = Rung::Attached(device.clone());
            true
        }
        (Op::Detach, Ok(_)) => {
            state.rung = Rung::Absent;
            true
        }
        (Op::Attach | Op::Detach, Err(_)) => {
            state.rung = Rung::Unsure;
            false
        }
        (Op::Stage, Ok(device)) => {
            state.rung = Rung::Staged(device.clone());
            true
        }
        (Op::Stage | Op::Unstage, _) => {
            state.rung = if mounted { Rung::Half(device) } else { Rung::Attached(device) };
            op == Op::Unstage && !mounted
        }
        (Op::Publish(place), Ok(_)) => {
            state.places.insert(place.clone(), At::Mounted);
            true
        }
        (Op::Publish(place) | Op::Unpublish(place), _) if mounted => {
            state.places.insert(place.clone(), At::Half);
            false
        }
        (Op::Publish(_), Err(_)) => false,
        (Op::Unpublish(place), _) => {
            state.places.remove(place);
            true
        }
        (Op::Finish(place), Ok(_)) => {
            state.places.insert(place.clone(), At::Ready);
            true
        }
        (Op::Finish(_), Err(_)) => false,
        (Op::Grow(_), answer) => answer.is_ok(),
    };
    if reached {
        state.trouble.remove(&op);
    } else {
        let last =
            answer.err().unwrap_or_else(|| format!("{op}: the driver answered Success, the kernel shows otherwise"));
        state.trouble.insert(op, Trouble { last, held: true });
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
