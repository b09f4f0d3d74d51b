//! The engine: one loop that reads a volume's record, decides, writes down, does, and writes down what came of it.
//!
//! Nothing is held in memory between steps, so any thread of any process may run it: the volume's lock is taken, the
//! record read, and whatever an earlier run left unfinished is ended first. A `kill -9` between any two lines loses nothing.

use std::{mem, path::Path};

use flexvolume_linux::{
    fs::{Intent, Intents, Phase},
    process::ProcessId,
};

use crate::{
    crowd,
    error::{Error, Kind as ErrorKind, Result},
    ground::Ground,
    ident::{fresh_id, is_inhabited},
    ledger::{Durability, Entry},
    note::Notes,
    volume::{
        act::{Hands, Keys, Recovered, boot_changed, is_idle},
        record::{Kind, OpenCall, Record},
        state::{Event, Op, Seen},
        step::step,
    },
    wall::Wall,
};

/// A failed op of one run.
#[derive(Debug)]
pub struct Failed {
    /// Which.
    pub op: Op,
    /// Why.
    pub error: Error,
}

/// How far a run may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Wherever the wish leads.
    Both,
    /// Only undoing: what other pods still wait for stays as it is, for a run that has their specs and secrets at hand.
    Down,
}

/// Drives one volume, whose lock the caller holds, until nothing more can be done now; returns what failed on the way.
///
/// `record` may be new. It is in the ledger when this returns, or gone from it if it is over.
///
/// # Errors
/// When the ledger cannot be written, or something of an earlier run still lives: then nothing was done.
pub fn drive(
    ground: &Ground,
    record: &mut Record,
    event: Event,
    scope: Scope,
    keys: Keys<'_>,
    notes: Notes<'_>,
) -> Result<Vec<Failed>> {
    // What was pieced together has no spec to go up with.
    let scope = if record.rebuilt { Scope::Down } else { scope };
    if record.machine.is_some() && ground.ident.machine.is_some() && record.machine != ground.ident.machine {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("the record of volume {} was made on another machine", record.key),
        )
        .hint("this root was copied here; nothing is detached or deleted. Start with an empty root instead"));
    }
    let elsewhere = record.boot == ground.ident.boot && record.namespace != ground.ident.namespace;
    if elsewhere && is_inhabited(&record.namespace) {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("volume {} is handled in another mount namespace, {}", record.key, record.namespace),
        )
        .hint("its mounts are not seen here: run flexvol where it was run before, for the host itself: nsenter -t 1 -m flexvol …"));
    }
    let before = record.clone();
    if boot_changed(record, &ground.ident) {
        Hands::new(ground, record, keys, notes).look_after_reboot();
    }
    let mut failed = Vec::new();
    let mut told = Vec::new();
    if let Some(op) = record.state.doing.clone() {
        match Hands::new(ground, record, keys, notes).interrupted(&op)? {
            Recovered::Busy(error) => {
                give_up(ground, record, error.process(), &[]);
                return Err(error.during(op.name()));
            }
            Recovered::Over(seen) => {
                told.extend(record.call.take().map(|call| cut_off(&op, call)));
                record.state = step(record.state.clone(), Event::Came(Err("interrupted".into()), seen));
            }
        }
    }
    record.state = step(record.state.clone(), event);
    open_call(ground, record, scope, &mut failed)?;
    let is_wish_new = *record != before || before.generation == 0;
    if is_wish_new {
        write(ground, record, &told, !is_kept_later(record))?;
    }
    // What ops without effect and the one before them led to is written together.
    let mut told = Vec::new();
    while let Some(op) = record.state.doing.clone() {
        tracing::debug!(target: "flexvol::volume", volume = record.key, op = %op, "begun");
        let mut hands = Hands::new(ground, record, keys, notes);
        let ended = hands.perform(&op);
        told.extend(hands.told());
        let busy = ended.seen == Seen::Busy;
        let answer = match ended.answer {
            Ok(device) => Ok(device),
            Err(error) => {
                let story = error.story();
                tracing::warn!(target: "flexvol::volume", volume = record.key, op = %op, story, "failed");
                failed.push(Failed { op: op.clone(), error: error.during(op.name()) });
                Err(story)
            }
        };
        if busy {
            // The op stays open: whoever comes next finds its processes by the call's id.
            give_up(ground, record, failed.last().and_then(|failed| failed.error.process()), &told);
            return kept(ground, is_wish_new).map(|()| failed);
        }
        record.state = step(record.state.clone(), Event::Came(answer, ended.seen));
        forget_gone_users(record);
        open_call(ground, record, scope, &mut failed)?;
        // What is over is struck out below, at once and durably; till then the op under way stands there. So it does while an op is
        // done that changes nothing: were we killed there, it would be undone and done again with the one before.
        let is_joined =
            record.state.doing.as_ref().is_some_and(|next| is_idle(record, next)) && !touches_attachment(&op);
        if !record.state.is_over() && !is_joined {
            write(ground, record, &mem::take(&mut told), touches_attachment(&op))?;
        }
    }
    if record.state.is_over() {
        forget_format(&ground.layout.intent(&record.storage()?));
        ground.ledger.remove(&record.key)?;
        return Ok(failed);
    }
    kept(ground, is_wish_new).map(|()| failed)
}

/// Whether a new wish may be brought to the disk after what is done for it: what is taken away, or mounted without a device that stays
/// attached, goes with the machine.
fn is_kept_later(record: &Record) -> bool {
    record.kind == Kind::Direct || record.state.doing.as_ref().is_none_or(Op::goes_down)
}

/// Who wants what survives a power cut, before anybody is told that it is so.
fn kept(ground: &Ground, is_wish_new: bool) -> Result<()> {
    if is_wish_new { ground.ledger.sync() } else { Ok(()) }
}

/// Every op has an id of its own, written down before anything carries it. One that is beyond the scope, or one more for
/// a driver of which too many hang, is not begun.
fn open_call(ground: &Ground, record: &mut Record, scope: Scope, failed: &mut Vec<Failed>) -> Result<()> {
    if scope == Scope::Down && record.state.doing.as_ref().is_some_and(|op| !op.goes_down()) {
        record.state.doing = None;
    }
    if record.call.is_some() && record.state.doing.as_ref().is_some_and(|op| is_idle(record, op)) {
        // It has no process that would carry one.
        return Ok(());
    }
    if let Some(op) = record.state.doing.take() {
        match crowd::admit(ground, record) {
            Ok(()) => record.state.doing = Some(op),
            Err(error) => failed.push(Failed { error: error.during(op.name()), op }),
        }
    }
    record.call = match record.state.doing {
        Some(_) => Some(OpenCall::new(fresh_id()?)),
        None => None,
    };
    Ok(())
}

fn forget_gone_users(record: &mut Record) {
    let Record { users, state, .. } = record;
    users.retain(|place, _| state.want.places.contains(place) || state.places.contains_key(place));
}

fn touches_attachment(op: &Op) -> bool {
    match op {
        Op::Attach | Op::Detach => true,
        Op::Stage | Op::Publish(_) | Op::Finish(_) | Op::Unpublish(_) | Op::Unstage | Op::Grow(_) => false,
    }
}

/// The record of a format goes with the volume, unless the format was cut off: what it left on the device looks like
/// unknown data to whoever does not have the record, and would never be formatted again.
fn forget_format(path: &Path) {
    let intents = Intents::new(path);
    if let Ok(Some(Intent { phase: Phase::Formatted, .. })) = intents.read() {
        let _ = intents.clear();
    }
}

/// An intent to attach or detach, or the end of one, must survive a power cut; mounts die with the machine.
fn write(ground: &Ground, record: &mut Record, told: &[Entry], ended_attachment: bool) -> Result<()> {
    let begins_attachment = record.state.doing.as_ref().is_some_and(touches_attachment);
    let durability = if ended_attachment || begins_attachment { Durability::Power } else { Durability::Process };
    let spare = record.state.doing.as_ref().is_none_or(Op::goes_down);
    ground.ledger.put_with(record, told, durability, spare)
}

/// Writes down which process of the call under way does not end. Where that cannot be written, the next run finds out as
/// this one did.
fn give_up(ground: &Ground, record: &mut Record, stuck: Option<ProcessId>, told: &[Entry]) {
    let Some(call) = record.call.as_mut().filter(|call| stuck.is_some() && call.stuck != stuck) else { return };
    call.stuck = stuck;
    let _ = ground.ledger.put_with(record, told, Durability::Process, true);
}

/// The history's word on a call whose end nobody saw.
fn cut_off(op: &Op, call: OpenCall) -> Entry {
    Entry {
        at: call.began.unwrap_or_else(Wall::now),
        op: op.clone(),
        verb: call.verb,
        micros: None,
        verdict: "cut off: the command that watched it ended first".into(),
        pid: call.process.map(|process| process.pid),
        call: call.id,
    }
}
