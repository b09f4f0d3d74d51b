//! Watching one program to its end: one poll loop over its end, its pipes and the clock, and no thread.
//!
//! ```text
//!            ends by itself                      pipes closed, or answered, or `answer` is over
//!  running ─────────────────▶ ended ────────────────────────────────────────────────────────────▶ Exited, Signalled
//!   │  │ `answer` is over, and it has answered in full
//!   │  └────────────────────────────────────────────────────────────────────────────────────────▶ Stayed
//!   │ `at` is over, and it has not
//!   └─▶ asked (TERM) ──── its group is empty ───────────────────────────────────────────────────▶ Killed 15
//!        │ `grace` is over (Kill::After only)
//!        └─▶ killed (KILL) ── its group is empty ───────────────────────────────────────────────▶ Killed 9
//!             └─ and is not, another grace later ───────────────────────────────────────────────▶ Stuck
//! ```

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};

use super::{How, Kill, Limits, Outcome, ProcessId, Running, find::group_members};

/// The least time a killed process has to leave the kernel.
pub(super) const AFTER_KILL: Duration = Duration::from_secs(1);
/// How long a program that is past its limit, but has just answered in full, may take to end.
const PARTING: Duration = Duration::from_secs(1);
/// Between two looks at what has no descriptor to wait for: the members of a group, an end without a pidfd.
const TICK: Duration = Duration::from_millis(10);
/// Between two parses of an answer that still grows.
const PARSE_AGAIN: Duration = Duration::from_millis(50);

/// How far we have gone in ending the program.
#[derive(Clone, Copy, PartialEq)]
enum Pressure {
    None,
    Asked(Instant),
    Killed(Instant),
}

/// Whether the output is a whole answer; asked again only when there is more of it, and not too often.
struct Answer<'a> {
    complete: &'a dyn Fn(&[u8], &[u8]) -> bool,
    length: Option<usize>,
    parsed: Instant,
    whole: bool,
}

impl Running {
    /// Waits for the program's end within the limits, keeping its output and feeding its input.
    ///
    /// `complete` says whether these two streams hold a whole answer. A program that has ended is done once its pipes are
    /// closed or its answer is complete, whoever still holds the pipes; without a complete answer the pipes are waited
    /// for until `limits.answer`. After an answer nothing is killed. `slow` is told once, when `limits.answer` is over
    /// and the program has not ended; it gets the time since the start.
    pub fn wait(
        self,
        limits: &Limits,
        complete: &dyn Fn(&[u8], &[u8]) -> bool,
        slow: &mut dyn FnMut(Duration),
    ) -> Outcome {
        self.wait_long(limits, complete, slow, Duration::MAX, &mut || ())
    }

    /// As [`Running::wait`]; `lasting` is told once, if the program has not ended that `long` after its start.
    pub fn wait_long(
        mut self,
        limits: &Limits,
        complete: &dyn Fn(&[u8], &[u8]) -> bool,
        slow: &mut dyn FnMut(Duration),
        long: Duration,
        lasting: &mut dyn FnMut(),
    ) -> Outcome {
        let mut long = Some(long);
        let mut answer = Answer { complete, length: None, parsed: self.began, whole: false };
        let mut pressure = Pressure::None;
        let mut ended = None;
        let mut told = false;
        let mut stays: Option<Instant> = None;
        let mut buffer = Vec::new();
        loop {
            // In this order: once the program is known to have ended, the pipes hold all it ever wrote.
            if ended.is_none() {
                ended = self.ended();
            }
            self.out.take(&mut buffer);
            self.err.take(&mut buffer);
            self.feed.give();

            let now = Instant::now();
            let age = now.duration_since(self.began);
            let mut wake = Alarm::new(now);
            match long.filter(|_| ended.is_none()) {
                Some(after) if age >= after => {
                    long = None;
                    lasting();
                }
                Some(after) => wake.at(self.began, after),
                None => {}
            }
            match (ended, pressure) {
                (Some(how), Pressure::None) => {
                    let closed = self.out.open().is_none() && self.err.open().is_none();
                    if closed || age >= limits.answer || answer.is_whole(&self, now, &mut wake) {
                        return self.finish(how, age);
                    }
                    wake.at(self.began, limits.answer);
                }
                (None, Pressure::None) => {
                    if age >= limits.answer {
                        if !told {
                            told = true;
                            slow(age);
                        }
                        if answer.is_whole(&self, now, &mut wake) {
                            let since = *stays.get_or_insert(now);
                            if now.duration_since(since) >= PARTING {
                                let id = self.id;
                                return self.finish(How::Stayed(id), age);
                            }
                            wake.at(since, PARTING);
                        }
                    } else {
                        wake.at(self.began, limits.answer);
                    }
                    if let Some(at) = limits.kill.at() {
                        if age < at {
                            wake.at(self.began, at);
                        } else if !answer.is_whole(&self, now, &mut wake) && !answer.is_whole_now(&self, now) {
                            self.signal(&[Signal::TERM, Signal::CONT]);
                            pressure = Pressure::Asked(now);
                            continue;
                        }
                    }
                }
                (_, Pressure::Asked(since)) => {
                    if ended.is_some() && self.others().is_none() {
                        return self.finish(How::Killed { signal: Signal::TERM.as_raw() }, age);
                    }
                    if let Kill::After { grace, .. } = limits.kill {
                        if now.duration_since(since) >= grace {
                            self.signal(&[Signal::KILL]);
                            pressure = Pressure::Killed(now);
                            continue;
                        }
                        wake.at(since, grace);
                    }
                    if age < limits.answer {
                        wake.at(self.began, limits.answer);
                    } else if !told {
                        told = true;
                        slow(age);
                    }
                    wake.after(if ended.is_some() { TICK } else { Duration::MAX });
                }
                (_, Pressure::Killed(since)) => {
                    let left = if ended.is_some() { self.others() } else { Some(self.id) };
                    let Some(left) = left else {
                        return self.finish(How::Killed { signal: Signal::KILL.as_raw() }, age);
                    };
                    let patience = limits.kill.grace().max(AFTER_KILL);
                    if now.duration_since(since) >= patience {
                        return self.finish(How::Stuck(left), age);
                    }
                    wake.at(since, patience);
                    wake.after(if ended.is_some() { TICK } else { Duration::MAX });
                }
            }
            self.sleep(ended.is_some(), wake);
        }
    }

    /// Until something happens to the program or its pipes, or the alarm.
    fn sleep(&self, ended: bool, mut wake: Alarm) {
        let mut polled = Vec::with_capacity(4);
        match self.end_signal() {
            Some(end) if !ended => polled.push(PollFd::from_borrowed_fd(end, PollFlags::IN)),
            None if !ended => wake.after(TICK),
            Some(_) | None => {}
        }
        for stream in [self.out.open(), self.err.open()].into_iter().flatten() {
            polled.push(PollFd::from_borrowed_fd(stream, PollFlags::IN));
        }
        if let Some(feed) = self.feed.open() {
            polled.push(PollFd::from_borrowed_fd(feed, PollFlags::OUT));
        }
        match poll(&mut polled, wake.0.map(timespec).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // Out of memory: the clock still has to be watched.
            Err(_) => thread::sleep(TICK),
        }
    }

    /// Looks whether the program has ended, without reaping it: as a zombie it keeps its pid, and so the number of its
    /// group, from being reused while we may still send signals to it.
    fn ended(&self) -> Option<How> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.pid), options) {
            Ok(None) | Err(Errno::INTR) => None,
            Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => How::Exited(code),
                (None, signal) => How::Signalled(signal.unwrap_or(0)),
            }),
            // Somebody else has reaped it (SIGCHLD was ignored): ended, with a code nobody will ever know.
            Err(_) => Some(How::Exited(255)),
        }
    }

    /// Any living process of its group.
    fn others(&self) -> Option<ProcessId> {
        group_members(self.id.pid).ok()?.first().copied()
    }

    fn signal(&self, signals: &[Signal]) {
        for signal in signals {
            // ESRCH: nobody is left, which the next look shows.
            let _ = kill_process_group(self.pid, *signal);
        }
    }

    fn finish(mut self, how: How, took: Duration) -> Outcome {
        // The last words of a group's other members may have come after the pipes were looked at.
        let mut buffer = Vec::new();
        self.out.take(&mut buffer);
        self.err.take(&mut buffer);
        let held = matches!(how, How::Exited(_)) && (self.out.open().is_some() || self.err.open().is_some());
        self.let_go();
        let stdout = std::mem::take(&mut self.out.kept);
        let stderr = std::mem::take(&mut self.err.kept);
        Outcome { stdout, stderr, cut: self.out.cut || self.err.cut, held, how, took }
    }
}

impl Answer<'_> {
    fn is_whole(&mut self, running: &Running, now: Instant, wake: &mut Alarm) -> bool {
        let length = running.out.kept.len() + running.err.kept.len();
        if self.length == Some(length) {
            return self.whole;
        }
        if self.length.is_some() && now.duration_since(self.parsed) < PARSE_AGAIN {
            wake.at(self.parsed, PARSE_AGAIN);
            return self.whole;
        }
        self.is_whole_now(running, now)
    }

    /// Before anything is killed: no answer may be overlooked.
    fn is_whole_now(&mut self, running: &Running, now: Instant) -> bool {
        let length = running.out.kept.len() + running.err.kept.len();
        if self.length != Some(length) {
            self.whole = (self.complete)(&running.out.kept, &running.err.kept);
            self.length = Some(length);
            self.parsed = now;
        }
        self.whole
    }
}

impl Kill {
    fn at(&self) -> Option<Duration> {
        match self {
            Self::After { at, .. } | Self::Ask { at } => Some(*at),
            Self::Never => None,
        }
    }

    fn grace(&self) -> Duration {
        match self {
            Self::After { grace, .. } => *grace,
            Self::Ask { .. } | Self::Never => Duration::ZERO,
        }
    }
}

/// The time until the next thing the clock brings, if any.
#[derive(Clone, Copy)]
struct Alarm(Option<Duration>, Instant);

impl Alarm {
    fn new(now: Instant) -> Self {
        Self(None, now)
    }

    fn at(&mut self, since: Instant, length: Duration) {
        self.after(length.saturating_sub(self.1.duration_since(since)));
    }

    fn after(&mut self, time: Duration) {
        self.0 = Some(self.0.map_or(time, |other| other.min(time)));
    }
}

/// A time to poll for, never rounded down to a busy loop and never more than the kernel takes.
pub(crate) fn timespec(time: Duration) -> Timespec {
    const DAY: Duration = Duration::from_secs(86_400);
    let time = time.min(DAY);
    Timespec { tv_sec: time.as_secs().try_into().unwrap_or(86_400), tv_nsec: time.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::process::{OUTPUT_LIMIT, Program, alive, end, marked, spawn};

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(200);

    fn shell(script: &str) -> Program {
        let args = vec!["-c".to_owned().into(), script.to_owned().into()];
        Program { args, ..Program::new("/bin/sh") }
    }

    fn has_end(stdout: &[u8], _: &[u8]) -> bool {
        stdout.ends_with(b"END\n")
    }

    /// Runs it to its end, and tells how often `slow` was told.
    fn run(program: &Program, answer: Duration, kill: Kill) -> (Outcome, u32) {
        let mut told = 0;
        let running = spawn(program).unwrap();
        let outcome = running.wait(&Limits { answer, kill }, &has_end, &mut |_| told += 1);
        (outcome, told)
    }

    #[test]
    fn streams_are_kept_apart_and_the_code_is_told() {
        let (outcome, told) = run(&shell("echo out; echo err >&2; exit 7"), LONG, Kill::Never);
        assert_eq!((&*outcome.stdout, &*outcome.stderr), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!((outcome.how, outcome.cut, told), (How::Exited(7), false, 0));
        assert_eq!(run(&shell("kill -USR1 $$"), LONG, Kill::Never).0.how, How::Signalled(10));
    }

    #[test]
    fn argv_environment_directory_and_input_are_as_promised() {
        let mut program = shell("echo \"$0|$1|$MARK|$PWD|$(pwd)|$(cat)|$(ps -o pgid= -p $$ | tr -d ' ')|$$\"");
        program.args.push("/un/../resolved".to_owned().into());
        program.args.push("two words".to_owned().into());
        program.env.push(("MARK".to_owned(), "m".to_owned()));
        let (outcome, _) = run(&program, LONG, Kill::Never);
        let text = String::from_utf8(outcome.stdout).unwrap();
        let fields: Vec<&str> = text.trim_end().split('|').collect();
        assert_eq!(fields[..6], ["/un/../resolved", "two words", "m", "/", "/", ""], "{text}");
        assert_eq!(fields[6], fields[7], "it leads a group of its own");
    }

    #[test]
    fn the_program_is_named_as_it_was_written() {
        let args = vec!["-c".to_owned().into(), "tr '\\0' '\\n' </proc/$$/cmdline | head -1".to_owned().into()];
        let program = Program { args, ..Program::new("/usr/../bin/./sh") };
        assert_eq!(run(&program, LONG, Kill::Never).0.stdout, b"/usr/../bin/./sh\n");
    }

    #[test]
    fn a_child_dies_of_sigpipe_as_programs_expect_and_gets_no_descriptor_of_ours() {
        let (outcome, _) = run(&shell("grep SigIgn /proc/self/status; ls /proc/$$/fd"), LONG, Kill::Never);
        let text = String::from_utf8(outcome.stdout).unwrap();
        let ignored = text.split_whitespace().nth(1).unwrap();
        assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 1 << 12, 0, "{text}");
        let open: Vec<&str> = text.lines().skip(1).filter(|fd| fd.parse::<u32>().unwrap() < 10).collect();
        assert_eq!(open, ["0", "1", "2"]);
    }

    #[test]
    fn long_input_meets_long_output_without_a_knot() {
        let text = vec![b'x'; 900_000];
        let mut program = shell("cat; cat </dev/null; echo; echo END");
        program.stdin = Some(text.clone().into());
        let (outcome, _) = run(&program, LONG, Kill::Never);
        assert_eq!(outcome.stdout.len(), text.len() + 5);
        assert_eq!(outcome.how, How::Exited(0));
    }

    #[test]
    fn input_that_nobody_reads_is_no_failure() {
        let mut program = shell("exec <&-; sleep 0.1; echo END");
        program.stdin = Some(vec![b'x'; 900_000].into());
        let (outcome, _) = run(&program, LONG, Kill::Never);
        assert_eq!((outcome.how, &*outcome.stdout), (How::Exited(0), &b"END\n"[..]));
        program.stdin = Some(Vec::new().into());
        assert_eq!(run(&program, LONG, Kill::Never).0.how, How::Exited(0));
    }

    #[test]
    fn more_than_the_limit_is_read_and_dropped() {
        let script = "head -c 3000000 /dev/zero; head -c 1048577 /dev/zero >&2; exit 3";
        let (outcome, _) = run(&shell(script), LONG, Kill::Never);
        assert_eq!((outcome.stdout.len(), outcome.stderr.len()), (OUTPUT_LIMIT, OUTPUT_LIMIT));
        assert_eq!((outcome.cut, outcome.how), (true, How::Exited(3)));
        let exact = run(&shell("head -c 1048576 /dev/zero"), LONG, Kill::Never).0;
        assert_eq!((exact.stdout.len(), exact.cut), (OUTPUT_LIMIT, false));
    }

    #[test]
    fn a_daemon_that_holds_the_pipe_does_not_hold_the_answer() {
        let value = format!("holds-{}", std::process::id());
        let mut program = shell("sleep 1000 & echo END");
        program.env.push(("FLEXVOL_TEST_HOLDS".to_owned(), value.clone()));
        let (outcome, told) = run(&program, LONG, Kill::After { at: LONG, grace: LONG });
        assert_eq!((outcome.how, told), (How::Exited(0), 0));
        assert!(outcome.took < LONG);
        let daemons = marked("FLEXVOL_TEST_HOLDS", &value).unwrap();
        assert_eq!(daemons.len(), 1, "after an answer nothing is killed");
        assert!(end(&daemons, LONG, true).is_empty());
    }

    #[test]
    fn an_answer_that_a_background_child_completes_is_waited_for() {
        let value = format!("completes-{}", std::process::id());
        let mut program = shell("(sleep 0.3; echo END; exec sleep 1000) & echo BEGIN");
        program.env.push(("FLEXVOL_TEST_COMPLETES".to_owned(), value.clone()));
        let (outcome, _) = run(&program, LONG, Kill::Never);
        assert_eq!((&*outcome.stdout, outcome.how), (&b"BEGIN\nEND\n"[..], How::Exited(0)));
        assert!(outcome.took < LONG);
        let daemons = marked("FLEXVOL_TEST_COMPLETES", &value).unwrap();
        assert!(end(&daemons, LONG, true).is_empty());
    }

    #[test]
    fn a_held_pipe_without_an_answer_costs_the_answer_limit_and_no_more() {
        let value = format!("mute-{}", std::process::id());
        let mut program = shell("sleep 1000 & echo nonsense");
        program.env.push(("FLEXVOL_TEST_MUTE".to_owned(), value.clone()));
        let (outcome, told) = run(&program, SHORT, Kill::After { at: SHORT, grace: SHORT });
        assert_eq!((outcome.how, told, &*outcome.stdout), (How::Exited(0), 0, &b"nonsense\n"[..]));
        assert!(outcome.took >= SHORT);
        let daemons = marked("FLEXVOL_TEST_MUTE", &value).unwrap();
        assert_eq!(daemons.len(), 1);
        assert!(end(&daemons, LONG, true).is_empty());
    }

    #[test]
    fn a_program_that_turns_into_its_own_daemon_is_left_alone() {
        let limits = Kill::After { at: SHORT, grace: SHORT };
        let (outcome, told) = run(&shell("echo END; exec sleep 1000"), SHORT, limits);
        let How::Stayed(id) = outcome.how else { panic!("{outcome:?}") };
        assert_eq!((&*outcome.stdout, told), (&b"END\n"[..], 1));
        assert!(alive(&id));
        assert!(end(&[id], LONG, true).is_empty());
    }

    #[test]
    fn slow_is_told_once_and_the_program_goes_on() {
        let (outcome, told) = run(&shell("sleep 0.6; echo END"), SHORT, Kill::Ask { at: LONG });
        assert_eq!((outcome.how, told, &*outcome.stdout), (How::Exited(0), 1, &b"END\n"[..]));
    }

    #[test]
    fn term_reaches_the_whole_group() {
        // The shell itself dies of TERM at once; its child takes its time and must be waited for.
        let script =
            "sh -c 'trap \"sleep 0.3; echo child ended; exit\" TERM; echo up; while :; do sleep 0.05; done' & wait";
        let (outcome, told) = run(&shell(script), LONG, Kill::After { at: Duration::from_secs(1), grace: LONG });
        assert_eq!((outcome.how, told), (How::Killed { signal: 15 }, 0));
        assert_eq!(String::from_utf8(outcome.stdout).unwrap(), "up\nchild ended\n");
    }

    #[test]
    fn one_that_ignores_term_is_killed_with_its_children() {
        let value = format!("deaf-{}", std::process::id());
        let mut program = shell("trap '' TERM; sh -c 'while :; do sleep 0.05; done' & while :; do sleep 0.05; done");
        program.env.push(("FLEXVOL_TEST_DEAF".to_owned(), value.clone()));
        let (outcome, _) = run(&program, LONG, Kill::After { at: SHORT, grace: SHORT });
        assert_eq!(outcome.how, How::Killed { signal: 9 });
        assert!(marked("FLEXVOL_TEST_DEAF", &value).unwrap().is_empty());
    }

    #[test]
    fn asking_never_kills() {
        let began = Instant::now();
        let script = "trap 'echo asked' TERM; for i in 1 2 3 4 5 6 7 8; do sleep 0.1; done; echo END";
        let (outcome, told) = run(&shell(script), SHORT, Kill::Ask { at: SHORT });
        assert_eq!(outcome.how, How::Killed { signal: 15 });
        assert_eq!(String::from_utf8(outcome.stdout).unwrap(), "asked\nEND\n", "it went to its own end");
        assert_eq!(told, 1);
        assert!(began.elapsed() >= SHORT);
    }

    #[test]
    fn one_dropped_before_its_end_runs_on_and_is_reaped_later() {
        let running = spawn(&shell("sleep 0.2")).unwrap();
        let id = running.id();
        drop(running);
        assert!(alive(&id));
        while alive(&id) {
            thread::sleep(TICK);
        }
        while std::path::Path::new(&format!("/proc/{id}")).exists() {
            crate::process::sweep();
            thread::sleep(TICK);
        }
    }
}
