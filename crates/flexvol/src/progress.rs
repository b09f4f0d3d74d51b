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

/// How far it is with so many things, of which some may be under way at once.
pub(crate) struct Progress {
    /// `None` where nothing is drawn.
    drawer: Option<(Arc<Shared>, JoinHandle<()>)>,
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
    done: usize,
    /// By what the caller calls them.
    under_way: BTreeMap<usize, UnderWay>,
    over: bool,
}

#[derive(Debug)]
struct UnderWay {
    subject: String,
    at: At,
    since: Instant,
}

/// What is being done.
#[derive(Debug)]
enum At {
    /// Between two calls.
    Work,
    /// The driver is at this verb.
    Verb(&'static str),
    /// It waits for this one.
    Waiting(String),
    /// It failed, and waits for its next try.
    Again,
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

    /// Begins with one of the things; `id` is any number that no other has.
    pub(crate) fn begin(&self, id: usize, subject: impl FnOnce() -> String) {
        self.change(|board| board.begin(id, subject(), Instant::now()));
    }

    /// Learns from a note what it is at.
    pub(crate) fn heed(&self, id: usize, note: &Note) {
        let at = match note {
            Note::Calling { verb, .. } => At::Verb(verb),
            Note::Called { .. } => At::Work,
            Note::Waiting { whom, .. } => At::Waiting(whom.clone()),
            Note::StillRunning { .. } | Note::Said { .. } | Note::News { .. } | Note::Warning { .. } => return,
        };
        self.change(|board| board.is_at(id, at, Instant::now()));
    }

    /// It failed, and is begun once more after a while.
    pub(crate) fn again(&self, id: usize) {
        self.change(|board| board.is_at(id, At::Again, Instant::now()));
    }

    /// It is over, well or not.
    pub(crate) fn end(&self, id: usize) {
        self.change(|board| board.end(id));
    }

    fn change(&self, change: impl FnOnce(&mut Board)) {
        if let Some((shared, _)) = &self.drawer {
            change(&mut shared.board());
        }
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
    fn begin(&mut self, id: usize, subject: String, now: Instant) {
        self.under_way.insert(id, UnderWay { subject, at: At::Work, since: now });
    }

    fn is_at(&mut self, id: usize, at: At, now: Instant) {
        if let Some(one) = self.under_way.get_mut(&id) {
            one.at = at;
            one.since = now;
        }
    }

    fn end(&mut self, id: usize) {
        if self.under_way.remove(&id).is_some() {
            self.done += 1;
        }
    }

    /// Of what is under way the one that has been at the same for longest: it is what all wait for.
    fn text(&self, now: Instant) -> String {
        let mut text = format!("{} of {} {}", self.done, self.total, self.what);
        if let Some(longest) = self.under_way.values().min_by_key(|one| one.since) {
            let seconds = now.saturating_duration_since(longest.since).as_secs();
            let at = match &longest.at {
                At::Work => "working".to_owned(),
                At::Verb(verb) => (*verb).to_owned(),
                At::Waiting(whom) => format!("waiting for {whom},"),
                At::Again => "failed, waiting to try again,".to_owned(),
            };
            text.push_str(&format!(" · {}: {at} {seconds} s", longest.subject));
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
        let (a, b) = (7, 3);
        board.begin(a, "default/web a".into(), start);
        board.begin(b, "default/web b".into(), later(1));
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
