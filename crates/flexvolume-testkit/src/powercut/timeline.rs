//! What happened to all disks of a machine, in one order.
//!
//! Each disk has a log of its own, and the same marks stand in all of them. Between two marks the logs are laid one after
//! the other: what happens there to one disk does not wait for another, else there would be a mark.
//!
//! The kernel writes a write down when it is flushed, not when it ends, and until then a mark overtakes it. So each mark
//! also tells how many sectors the disk had taken by then, and every write is put back to where it ended. Without that, the
//! log would say that a disk never holds anything that was not flushed while another disk goes on.

use std::io;

use super::log::{END, Entry, Log, What};

/// A note of the recorder in every log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// This is being asked for now.
    Begin(String),
    /// This was acknowledged.
    Done(String),
    /// A moment between two things that one program did one after the other.
    Tick(String),
}

impl Mark {
    /// As it stands in a log, after the number of sectors.
    pub(super) fn words(&self) -> String {
        match self {
            Mark::Begin(what) => format!("begin {what}"),
            Mark::Done(what) => format!("done {what}"),
            Mark::Tick(what) => format!("tick {what}"),
        }
    }

    fn parse(words: &str) -> Option<Mark> {
        let (kind, what) = words.split_once(' ')?;
        match kind {
            "begin" => Some(Mark::Begin(what.to_owned())),
            "done" => Some(Mark::Done(what.to_owned())),
            "tick" => Some(Mark::Tick(what.to_owned())),
            _ => None,
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A disk took an entry of its log; both by number.
    Entry {
        /// Which disk.
        disk: usize,
        /// Which entry of its log.
        entry: usize,
    },
    /// A mark.
    Mark(Mark),
}

/// Lays the logs side by side. A disk that its recorder knew to be `sizes[n]` bytes long has the n-th log.
pub(super) fn merge(logs: &[Log], sizes: &[u64]) -> io::Result<Vec<Event>> {
    let mut marks: Option<Vec<Mark>> = None;
    let mut windows = Vec::new();
    for (disk, (log, size)) in logs.iter().zip(sizes).enumerate() {
        let about = |e: io::Error| io::Error::new(e.kind(), format!("the log of disk {disk}: {e}"));
        if !log.is_whole() {
            return Err(about(bad("it has no end: it ran full, or its recorder died")));
        }
        within(log, *size).map_err(about)?;
        let read = Read::of(log).map_err(about)?;
        match &marks {
            Some(marks) if *marks != read.marks => return Err(about(bad("its marks are not those of the first disk"))),
            Some(_) => {}
            None => marks = Some(read.marks.clone()),
        }
        windows.push(read.windows());
    }
    let mut events = Vec::new();
    let marks = marks.unwrap_or_default();
    for window in 0..=marks.len() {
        for (disk, windows) in windows.iter().enumerate() {
            events.extend(windows[window].iter().map(|entry| Event::Entry { disk, entry: *entry }));
        }
        events.extend(marks.get(window).cloned().map(Event::Mark));
    }
    Ok(events)
}

fn within(log: &Log, size: u64) -> io::Result<()> {
    for (n, entry) in log.entries().iter().enumerate() {
        let range = match &entry.what {
            What::Write { range, .. } | What::Discard(range) => range,
            What::Nothing | What::Mark(_) => continue,
        };
        if range.at.checked_add(range.bytes).is_none_or(|end| end > size) {
            return Err(bad(&format!("entry {n} lies beyond the disk's {size} bytes")));
        }
    }
    Ok(())
}

/// A log with its marks understood.
struct Read<'a> {
    log: &'a Log,
    marks: Vec<Mark>,
    /// Per mark: the sectors that had been taken by then.
    taken: Vec<u64>,
}

impl Read<'_> {
    fn of(log: &Log) -> io::Result<Read<'_>> {
        let (mut marks, mut taken) = (Vec::new(), Vec::new());
        for entry in log.entries() {
            let What::Mark(text) = &entry.what else { continue };
            if text == END {
                continue;
            }
            let parts = text.split_once(' ').and_then(|(n, words)| Some((n.parse().ok()?, Mark::parse(words)?)));
            let Some((sectors, mark)) = parts else {
                return Err(bad(&format!("a mark that is none of ours: {text:?}")));
            };
            marks.push(mark);
            taken.push(sectors);
        }
        Ok(Read { log, marks, taken })
    }

    /// For each window (before the first mark, …, after the last) the entries that ended in it, in order.
    fn windows(&self) -> Vec<Vec<usize>> {
        let mut windows = vec![Vec::new(); self.marks.len() + 1];
        let (mut passed, mut flushed, mut total) = (0, 0, 0);
        for (n, entry) in self.log.entries().iter().enumerate() {
            let window = match &entry.what {
                What::Mark(_) => {
                    passed = (passed + 1).min(self.marks.len());
                    continue;
                }
                What::Nothing => passed,
                What::Write { range, .. } | What::Discard(range) => {
                    total += range.bytes / 512;
                    self.ended(entry, total, flushed, passed)
                }
            };
            if entry.flush {
                flushed = passed;
            }
            windows[window].push(n);
        }
        windows
    }

    /// The window in which an entry ended: after the flush before it, and no later than the log has it.
    fn ended(&self, entry: &Entry, total: u64, flushed: usize, passed: usize) -> usize {
        // These are written down at once.
        if entry.fua || entry.flush {
            return passed;
        }
        let counted = self.taken.partition_point(|taken| *taken < total);
        counted.clamp(flushed, passed)
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::super::made::Made;
    use super::*;

    const S: usize = 512;

    fn words(logs: &[Log]) -> Vec<String> {
        let events = merge(logs, &vec![1 << 20; logs.len()]).unwrap();
        let word = |event: &Event| match event {
            Event::Entry { disk, entry } => format!("{disk}.{entry}"),
            Event::Mark(mark) => mark.words(),
        };
        events.iter().map(word).collect()
    }

    #[test]
    fn logs_meet_at_their_marks() {
        let a = Made::new(S).mark("0 begin x").write(0, &[1; S]).flush().mark("1 done x").mark(END).log();
        let b = Made::new(S).fua(0, &[1; S]).mark("1 begin x").mark("1 done x").fua(0, &[2; S]).mark(END).log();
        assert_eq!(words(&[a, b]), ["1.0", "begin x", "0.1", "0.2", "done x", "1.3"]);
    }

    #[test]
    fn a_write_stands_where_it_ended_and_not_where_it_was_flushed() {
        // Two writes end before the first mark, one before the second; the flush comes long after both.
        let late = Made::new(S).mark("2 tick 1").mark("3 tick 2").mark("3 tick 3");
        let late = late.write(0, &[1; S]).write(1, &[1; S]).write(2, &[1; S]).flush().mark(END).log();
        assert_eq!(words(&[late]), ["0.3", "0.4", "tick 1", "0.5", "tick 2", "tick 3", "0.6"]);
    }

    #[test]
    fn no_write_passes_the_flush_before_it() {
        // It ended while the flush was under way: that flush did not save it.
        let log = Made::new(S).mark("2 tick 1").write(0, &[1; S]).flush().write(1, &[1; S]).flush().mark(END).log();
        assert_eq!(words(&[log]), ["0.1", "tick 1", "0.2", "0.3", "0.4"]);
        // The count may lag behind the log, but what is in the log has happened.
        let log = Made::new(S).write(0, &[1; S]).flush().mark("0 tick 1").mark("1 tick 2").mark(END).log();
        assert_eq!(words(&[log]), ["0.0", "0.1", "tick 1", "tick 2"]);
    }

    #[test]
    fn logs_that_do_not_fit_are_refused() {
        let log = |mark: &str| Made::new(S).mark(mark).mark(END).log();
        let refused = |logs: &[Log]| merge(logs, &vec![1 << 20; logs.len()]).unwrap_err().to_string();
        assert!(refused(&[log("0 begin x"), log("0 begin y")]).contains("disk 1: its marks"));
        assert!(refused(&[log("begin x")]).contains("none of ours"));
        assert!(refused(&[log("0 hello x")]).contains("none of ours"));
        assert!(refused(&[Made::new(S).mark("0 begin x").log()]).contains("no end"));
        let far = Made::new(S).write(2048, &[1; S]).mark(END).log();
        assert!(refused(&[far]).contains("entry 0 lies beyond"));
    }
}
