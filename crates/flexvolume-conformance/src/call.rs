//! One call of the driver: run as hosts run it, read twice, and remembered with all that was wrong in its answer.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use flexvolume_linux::process::{self, How, Kill, Limits, Outcome, ProcessId, Program, Running};
use flexvolume_protocol::{Answer, Came, Redactor, Said, Verb, VerbName, Verdict, Wire, excerpt, strict, tolerant};

use crate::{
    answer::{Heard, ended, words_of},
    going::{self, Going, UnderWay},
    heard,
    job::Job,
    known::Known,
    ledger::{Ledger, Thing},
    notes::{Noted, Notes},
    patience::{Leave, may_end},
    shown::{Call, Time},
    trouble::Trouble,
};

/// The variable by which the driver's processes are found again.
pub(crate) const MARK: &str = "FLEXVOL_CHECK";

/// The longest text of a driver, and the longest argument, that is shown.
const SHOWN: usize = 600;

/// How long the output of a call that has ended may be held open before that is told.
const HELD: Duration = Duration::from_secs(2);

/// How long what is asked to end gets before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// How often it is looked whether the judge is asked to end.
const TICK: Duration = Duration::from_millis(50);

/// Calls the driver. Any thread may.
pub(crate) struct Caller {
    exe: PathBuf,
    mark: String,
    limit: Duration,
    redactor: Redactor,
    /// What there is may be lost.
    may_destroy: bool,
    /// Whoever began what is noted said so of it.
    begun_to_destroy: bool,
    /// The volumes in use were made by the judge.
    own: AtomicBool,
    /// Tells whether the judge is asked to end.
    asked: Option<fn() -> bool>,
    /// Hears of every call.
    told: Option<fn(&Call)>,
    /// What was begun is being undone, which goes on whoever asks for an end.
    undoing: AtomicBool,
    /// What was begun, for whoever comes when the judge is killed.
    notes: Notes,
    heard: Mutex<Known>,
}

/// A call that is over for the judge.
struct Over {
    outcome: Outcome,
    /// It goes on: it did not end in time and may not be ended.
    spared: bool,
}

impl Caller {
    pub(crate) fn new(job: &Job, mark: String, redactor: Redactor, notes: Notes) -> Self {
        Self {
            exe: job.driver.clone(),
            mark,
            limit: job.limit,
            redactor,
            may_destroy: job.may_destroy,
            begun_to_destroy: job.may_destroy,
            own: AtomicBool::new(false),
            asked: job.asked,
            told: job.on_call,
            undoing: AtomicBool::new(false),
            notes,
            heard: Mutex::default(),
        }
    }

    /// The same, for what an earlier judge had begun that is dead. Calls of his that may be ended are; what his volume holds may be
    /// lost only where both who began and who goes on said so.
    pub(crate) fn of_the_dead(job: &Job, mark: String, redactor: Redactor, notes: Notes, noted: Noted) -> Self {
        let caller = Self::new(job, mark, redactor, notes);
        let may_destroy = noted.may_destroy && job.may_destroy;
        let leave = Leave { all: may_destroy, volumes: false };
        let going = going::of_the_dead(&noted.calls, &caller.marked(), leave);
        let ended: Vec<_> = going.iter().filter(|call| may_end(&call.verb, leave)).map(|call| call.id).collect();
        process::end(&ended, GRACE, true);
        let known = Known {
            ledger: Ledger::of_the_dead(noted.begun),
            groups: noted.calls.iter().filter_map(|call| Some(call.id?.pid)).collect(),
            going,
            calls_now: noted.calls,
            ..Known::default()
        };
        Self { may_destroy, begun_to_destroy: noted.may_destroy, heard: Mutex::new(known), ..caller }
    }

    /// The driver's processes, and those that they began, as far as that can be seen.
    fn marked(&self) -> Vec<ProcessId> {
        process::marked(MARK, &self.mark).unwrap_or_default()
    }

    /// What was begun was begun by a judge that is dead.
    pub(crate) fn is_of_the_dead(&self) -> bool {
        self.known().ledger.is_of_the_dead()
    }

    /// From now on the volumes in use are such as the judge made, or not.
    pub(crate) fn set_own(&self, own: bool) {
        self.own.store(own, Ordering::Relaxed);
    }

    /// From now on what was begun is undone, or not any more.
    pub(crate) fn set_undoing(&self, undoing: bool) {
        self.undoing.store(undoing, Ordering::Relaxed);
    }

    /// Whether the judge is asked to end, and may not go on with what it does.
    pub(crate) fn is_asked(&self) -> bool {
        !self.undoing.load(Ordering::Relaxed) && self.asked.is_some_and(|asked| asked())
    }

    /// What was begun and not undone, the last one first.
    pub(crate) fn begun(&self) -> Vec<Thing> {
        self.known().ledger.backwards()
    }

    /// It is undone, or nothing can be done about it any more.
    pub(crate) fn strike(&self, thing: &Thing) {
        let mut known = self.known();
        known.ledger.strike(thing);
        let _ = self.note(&known);
    }

    /// The process groups that calls were.
    pub(crate) fn groups(&self) -> BTreeSet<u32> {
        self.known().groups.clone()
    }

    /// A call that goes on, if there is one.
    pub(crate) fn going(&self) -> Option<Going> {
        let mut known = self.known();
        known.going.retain(|call| call.now(|| self.marked()).is_some());
        known.going.first().and_then(|call| call.now(|| self.marked()))
    }

    /// The driver's executable.
    pub(crate) fn exe(&self) -> String {
        self.exe.display().to_string()
    }

    /// Writes down what is known of what was begun.
    fn note(&self, known: &Known) -> Result<(), Trouble> {
        let (driver, begun, calls) = (self.exe.clone(), known.ledger.all().to_vec(), known.calls_now.clone());
        self.notes.write(&Noted { driver, may_destroy: self.begun_to_destroy, begun, calls }, &self.redactor)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a call may take.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// `text` without secrets.
    pub(crate) fn clean(&self, text: &str) -> String {
        self.redactor.text(text)
    }

    /// Calls `verb`.
    pub(crate) fn ask<V: Verb>(&self, verb: &V) -> Result<Heard<V::Reply>, Trouble> {
        self.ask_by(verb, false)
    }

    /// Calls `verb` with its options on standard input.
    pub(crate) fn ask_by<V: Verb>(&self, verb: &V, by_stdin: bool) -> Result<Heard<V::Reply>, Trouble> {
        let wire = Wire::render(verb, by_stdin);
        let over = self.run(&wire.argv, wire.stdin.as_deref().map(|text| text.as_bytes().to_vec()), None)?;
        let Over { outcome, spared } = over;
        let said = said(&outcome);
        let reading = tolerant::<V::Reply>(V::NAME, &said);
        self.listen::<V>(&outcome, &said, &reading.verdict);
        let code = reading.verdict.as_ref().err().and_then(Verdict::code);
        let came = match ended(&outcome.how, spared) {
            Some(cut) => Err(cut),
            None => reading.verdict.map_err(|verdict| verdict.redacted(&self.redactor).to_string()),
        };
        Ok(Heard { came, code, raw: [&outcome.stdout[..], &outcome.stderr].concat(), how: outcome.how })
    }

    /// Calls with words that the contract does not have; no check listens.
    pub(crate) fn ask_words(&self, words: &[&str]) -> Result<Heard<()>, Trouble> {
        self.ask_program(self.exe.clone(), words)
    }

    /// Runs another program that runs the driver.
    pub(crate) fn ask_program(&self, exe: PathBuf, words: &[&str]) -> Result<Heard<()>, Trouble> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let Over { outcome, spared } = self.run_at(exe, &words, None, None)?;
        let reading = tolerant::<()>(VerbName::Init, &said(&outcome));
        let came = match ended(&outcome.how, spared) {
            Some(cut) => Err(cut),
            None => reading.verdict.map_err(|verdict| verdict.redacted(&self.redactor).to_string()),
        };
        Ok(Heard { came, code: None, raw: [&outcome.stdout[..], &outcome.stderr].concat(), how: outcome.how })
    }

    /// Calls `verb` and kills it and its process group after `at`. Whether it was still running then.
    pub(crate) fn kill<V: Verb>(&self, verb: &V, at: Duration) -> Result<bool, Trouble> {
        let wire = Wire::render(verb, false);
        let Over { outcome, .. } = self.run(&wire.argv, None, Some(at))?;
        Ok(matches!(outcome.how, How::Killed { .. } | How::Stuck(_)))
    }

    fn run<S: AsRef<str>>(&self, argv: &[S], stdin: Option<Vec<u8>>, kill: Option<Duration>) -> Result<Over, Trouble> {
        self.run_at(self.exe.clone(), argv, stdin, kill)
    }

    fn run_at<S: AsRef<str>>(
        &self,
        exe: PathBuf,
        argv: &[S],
        stdin: Option<Vec<u8>>,
        kill: Option<Duration>,
    ) -> Result<Over, Trouble> {
        if self.is_asked() {
            return Err(Trouble::Asked);
        }
        let shown_input = stdin.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let words: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        let mut program = Program::new(exe);
        program.args = words.iter().map(|word| (*word).to_owned().into()).collect();
        program.stdin = stdin.map(Into::into);
        program.env = vec![(MARK.to_owned(), self.mark.clone())];
        let verb = words.first().copied().unwrap_or_default();
        {
            let mut known = self.known();
            known.ledger.begin(&words);
            known.calls_now.push(UnderWay::new(verb));
            let noted = self.note(&known);
            // What is not noted is not begun; what is being undone is undone all the same.
            if !self.undoing.load(Ordering::Relaxed)
                && let Err(trouble) = noted
            {
                known.born(verb, None);
                return Err(trouble);
            }
        }
        let over = self.over(&program, verb, kill)?;
        let Over { outcome, spared } = &over;
        {
            let mut known = self.known();
            if let How::Exited(_) | How::Signalled(_) = outcome.how {
                known.ledger.end(&words, &said(outcome));
            }
            known.over();
            let _ = self.note(&known);
        }
        let text = |bytes: &[u8]| excerpt(&self.redactor.text(&String::from_utf8_lossy(bytes)), SHOWN);
        let call = Call {
            argv: words.iter().map(|word| excerpt(&self.redactor.text(word), SHOWN)).collect(),
            stdin: shown_input.map(|input| excerpt(&self.redactor.text(&input), SHOWN)),
            stdout: text(&outcome.stdout),
            stderr: text(&outcome.stderr),
            ended: words_of(&outcome.how, kill.is_some(), *spared),
            ms: u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX),
        };
        if let Some(told) = self.told {
            told(&call);
        }
        self.known().calls.push(call);
        if self.is_asked() { Err(Trouble::Asked) } else { Ok(over) }
    }

    /// Runs it to its end, to that of its time, or to that of the judge's.
    fn over(&self, program: &Program, verb: &str, kill: Option<Duration>) -> Result<Over, Trouble> {
        let leave = Leave { all: self.may_destroy, volumes: self.own.load(Ordering::Relaxed) };
        let may_end = kill.is_some() || may_end(verb, leave);
        let usual = self.usual(verb).unwrap_or_default();
        // What a call leaves running, and another call of ours that begins at this moment, may hold its output for a moment.
        let answer = kill.unwrap_or(self.limit.min(HELD + 4 * usual));
        let kill = match kill {
            None if may_end => Kill::After { at: self.limit, grace: GRACE },
            None => Kill::Never,
            Some(at) => Kill::After { at, grace: Duration::ZERO },
        };
        let began = Instant::now();
        let spawned = process::spawn(program);
        {
            let mut known = self.known();
            known.born(verb, spawned.as_ref().ok().map(Running::id));
            let _ = self.note(&known);
        }
        let running = spawned?;
        let id = running.id();
        let (to, from) = mpsc::channel();
        // Left behind with a call that is.
        thread::spawn(move || {
            drop(to.send(running.wait(&Limits { answer, kill }, &|_, _| false, &mut |_| ())));
        });
        let mut is_told = false;
        loop {
            match from.recv_timeout(TICK) {
                Ok(outcome) => return Ok(Over { outcome, spared: false }),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Trouble::Lost),
            }
            if may_end && !is_told && self.is_asked() {
                is_told = true;
                process::end(&process::group_members(id.pid)?, GRACE, true);
            }
            if !may_end && began.elapsed() >= self.limit {
                self.known().going.push(Going { verb: verb.to_owned(), id });
                let (stdout, stderr) = (Vec::new(), Vec::new());
                let (how, took) = (How::Stuck(id), began.elapsed());
                return Ok(Over {
                    outcome: Outcome { stdout, stderr, cut: false, held: false, how, took },
                    spared: true,
                });
            }
        }
    }

    /// Notes what is wrong with an answer, whatever it says.
    fn listen<V: Verb>(&self, outcome: &Outcome, said: &Said<'_>, meant: &Result<Came<V::Reply>, Verdict>)
    where
        V::Reply: Answer,
    {
        let verb = V::NAME.as_str();
        let mut known = self.known();
        known.took.entry(verb).or_default().push(outcome.took);
        if ended(&outcome.how, false).is_none() {
            let is_unsupported = matches!(meant, Ok(Came::NotSupported));
            // A failure says nothing of what the driver can do.
            let before =
                if meant.is_ok() { *known.unsupported.entry(verb).or_insert(is_unsupported) } else { is_unsupported };
            if before != is_unsupported {
                let seen = format!("{verb} answered \"Not supported\" once and something else another time");
                known.faults.entry(heard::NOT_SUPPORTED).or_default().push(seen);
            }
        }
        let strict = strict::<V::Reply>(V::NAME, said);
        for (check, seen) in heard::faults(verb, outcome, said, &strict, meant) {
            let seen = format!("{} ({})", self.redactor.text(&seen), words_of(&outcome.how, false, false));
            known.faults.entry(check).or_default().push(seen);
        }
    }

    /// What a check that listens to all calls has found.
    pub(crate) fn faults(&self, check: &str) -> Vec<String> {
        self.known().faults.get(check).cloned().unwrap_or_default()
    }

    /// A mark in the list of calls.
    pub(crate) fn place(&self) -> usize {
        self.known().calls.len()
    }

    /// As [`Known::since`].
    pub(crate) fn since(&self, place: usize) -> Vec<Call> {
        self.known().since(place)
    }

    /// As [`Known::usual`].
    pub(crate) fn usual(&self, verb: &str) -> Option<Duration> {
        self.known().usual(verb)
    }

    /// As [`Known::last`].
    pub(crate) fn last(&self, verb: &str) -> Option<Duration> {
        self.known().last(verb)
    }

    /// As [`Known::times`].
    pub(crate) fn times(&self) -> Vec<Time> {
        self.known().times()
    }
}

fn said(outcome: &Outcome) -> Said<'_> {
    Said { stdout: &outcome.stdout, stderr: &outcome.stderr, exit_ok: matches!(outcome.how, How::Exited(0)) }
}
