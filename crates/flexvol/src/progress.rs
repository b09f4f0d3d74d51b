//! One line on the terminal that says what the command waits for, drawn by a thread of its own, gone when all is done.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use flexvolume_host::Note;

use crate::screen;

/// What takes less is not worth drawing.
const DELAY: Duration = Duration::from_millis(500);

/// Between two drawings.
const TICK: Duration = Duration::from_millis(250);

/// Something in several steps, of which some may be under way at once.
pub(crate) struct Progress {
    /// `None` where nothing is drawn.
    drawer: Option<(Arc<Shared>, JoinHandle<()>)>,
}

/// One step under way; it counts as done when it is dropped.
pub(crate) struct Step<'a> {
    of: &'a Progress,
    number: usize,
}

struct Shared {
    board: Mutex<Board>,
    over: Condvar,
}

/// How far all is.
#[derive(Debug, Default)]
struct Board {
    total: usize,
    what: &'static str,
    begun: usize,
    done: usize,
    /// By number, so that the first is the one that began first.
    under_way: BTreeMap<usize, UnderWay>,
    over: bool,
}

#[derive(Debug)]
struct UnderWay {
    subject: String,
    at: At,
    since: Instant,
}

/// What a step is at.
#[derive(Debug)]
enum At {
    /// Between two calls.
    Work,
    /// The driver runs this verb.
    Verb(&'static str),
    /// For this one.
    Waiting(String),
}

impl Progress {
    /// Progress that is counted nowhere and never drawn.
    pub(crate) fn unseen() -> Self {
        Self { drawer: None }
    }

    /// Progress with `total` things, drawn where standard error can be drawn on.
    pub(crate) fn new(total: usize, what: &'static str) -> Self {
        if total == 0 || !screen::can_draw() {
            return Self::unseen();
        }
        let board = Mutex::new(Board { total, what, ..Board::default() });
        let shared = Arc::new(Shared { board, over: Condvar::new() });
        let drawing = shared.clone();
        // Where no thread can be had nothing is drawn, and nothing else is different.
        let thread = std::thread::Builder::new().name("progress".into()).spawn(move || drawing.draw()).ok();
        Self { drawer: thread.map(|thread| (shared, thread)) }
    }

    /// Begins a step.
    pub(crate) fn step(&self, subject: String) -> Step<'_> {
        let number = self.change(|board| board.begin(subject, Instant::now()));
        Step { of: self, number: number.unwrap_or_default() }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Board) -> T) -> Option<T> {
        self.drawer.as_ref().map(|(shared, _)| change(&mut shared.board()))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.change(|board| board.over = true);
        if let Some((shared, thread)) = self.drawer.take() {
            shared.over.notify_all();
            let _ = thread.join();
            screen::clear();
        }
    }
}

impl Step<'_> {
    /// Learns from a note what the step is at.
    pub(crate) fn heed(&self, note: &Note) {
        let at = match note {
            Note::Calling { verb, .. } => Some(At::Verb(verb)),
            Note::Called { .. } => Some(At::Work),
            Note::Waiting { whom, .. } => Some(At::Waiting(whom.clone())),
            Note::StillRunning { .. } | Note::Warning { .. } => None,
        };
        if let Some(at) = at {
            self.of.change(|board| board.is_at(self.number, at, Instant::now()));
        }
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.of.change(|board| board.end(self.number));
    }
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self) {
        let mut pause = DELAY;
        let mut board = self.board();
        while !board.over {
            let (woken, waited) = self.over.wait_timeout(board, pause).unwrap_or_else(PoisonError::into_inner);
            board = woken;
            if waited.timed_out() && !board.over {
                let text = board.text(Instant::now());
                // A terminal may be slow, or stopped; nobody at work waits for it.
                drop(board);
                screen::draw(&text);
                board = self.board();
                pause = TICK;
            }
        }
    }
}

impl Board {
    fn begin(&mut self, subject: String, now: Instant) -> usize {
        self.begun += 1;
        self.under_way.insert(self.begun, UnderWay { subject, at: At::Work, since: now });
        self.begun
    }

    fn is_at(&mut self, number: usize, at: At, now: Instant) {
        if let Some(step) = self.under_way.get_mut(&number) {
            step.at = at;
            step.since = now;
        }
    }

    fn end(&mut self, number: usize) {
        if self.under_way.remove(&number).is_some() {
            self.done += 1;
        }
    }

    /// Of the steps under way the one that has been at the same for longest: it is what all wait for.
    fn text(&self, now: Instant) -> String {
        let mut text = format!("{} of {} {}", self.done, self.total, self.what);
        if let Some(step) = self.under_way.values().min_by_key(|step| step.since) {
            let seconds = now.saturating_duration_since(step.since).as_secs();
            let at = match &step.at {
                At::Work => "working".to_owned(),
                At::Verb(verb) => (*verb).to_owned(),
                At::Waiting(whom) => format!("waiting for {whom},"),
            };
            text.push_str(&format!(" · {}: {at} {seconds} s", step.subject));
        }
        if self.under_way.len() > 1 {
            text.push_str(&format!(" · {} more", self.under_way.len() - 1));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_what_has_been_waited_for_longest() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut board = Board { total: 3, what: "volumes", ..Board::default() };
        assert_eq!(board.text(start), "0 of 3 volumes");
        let a = board.begin("default/web a".into(), start);
        let b = board.begin("default/web b".into(), later(1));
        board.is_at(a, At::Verb("mount"), later(2));
        board.is_at(b, At::Verb("attach"), later(4));
        assert_eq!(board.text(later(6)), "0 of 3 volumes · default/web a: mount 4 s · 1 more");
        board.is_at(a, At::Work, later(6));
        assert_eq!(board.text(later(7)), "0 of 3 volumes · default/web b: attach 3 s · 1 more");
        board.end(b);
        board.is_at(a, At::Waiting("pid 7".into()), later(8));
        assert_eq!(board.text(later(8)), "1 of 3 volumes · default/web a: waiting for pid 7, 0 s");
        board.end(a);
        board.end(a);
        assert_eq!(board.text(later(9)), "2 of 3 volumes");
    }
}
