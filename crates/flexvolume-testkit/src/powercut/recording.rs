//! A recording of a machine's disks: what each held at first, and all that happened to them since.

use std::fs::File;
use std::io;

use super::disk::Disk;
use super::log::{Log, Range, What};
use super::pages::Pages;
use super::timeline::{self, Event, Mark};

/// What a disk was before the recording, and its log.
pub struct Reel {
    /// Whoever reads a report knows the disk by this name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Where the order of writes is kept although nobody flushes: a user of the disk relies on that, rightly or not, and it
    /// is not what is tested. `Range::NONE` if there is no such place.
    pub ordered: Range,
    pub(super) base: Pages,
    /// What was written since.
    pub log: Log,
}

impl Reel {
    /// The disk was as this file is, and then this log was written.
    ///
    /// # Errors
    /// `InvalidData` if the log is none, or a file cannot be read.
    pub fn new(name: &str, base: &File, log: File) -> io::Result<Reel> {
        let bytes = base.metadata()?.len();
        Ok(Reel {
            name: name.to_owned(),
            bytes,
            ordered: Range::NONE,
            base: Pages::of_file(base)?,
            log: Log::read(log)?,
        })
    }
}

/// All disks of a machine.
pub struct Recording {
    pub(super) disks: Vec<Blank>,
    pub(super) logs: Vec<Log>,
    pub(super) events: Vec<Event>,
    story: Vec<Mark>,
}

/// A disk without its log.
pub(super) struct Blank {
    pub(super) name: String,
    pub(super) bytes: u64,
    ordered: Range,
    base: Pages,
}

/// What had been asked for and acknowledged at some moment.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a>(&'a [Mark]);

impl Story<'_> {
    /// This was asked for, and perhaps acknowledged.
    #[must_use]
    pub fn begun(&self, what: &str) -> bool {
        self.0.iter().any(|mark| matches!(mark, Mark::Begin(begun) if begun == what))
    }

    /// This was acknowledged.
    #[must_use]
    pub fn done(&self, what: &str) -> bool {
        self.0.iter().any(|mark| matches!(mark, Mark::Done(done) if done == what))
    }

    /// The latest mark, for people.
    #[must_use]
    pub fn latest(&self) -> String {
        self.0.last().map_or_else(|| "the beginning".to_owned(), Mark::words)
    }
}

impl Recording {
    /// Brings the logs into one order.
    ///
    /// # Errors
    /// `InvalidData`: a log is not whole, or they do not belong together.
    pub fn new(reels: Vec<Reel>) -> io::Result<Recording> {
        let (mut disks, mut logs) = (Vec::new(), Vec::new());
        for Reel { name, bytes, ordered, base, log } in reels {
            disks.push(Blank { name, bytes, ordered, base });
            logs.push(log);
        }
        let sizes: Vec<u64> = disks.iter().map(|disk| disk.bytes).collect();
        let events = timeline::merge(&logs, &sizes)?;
        let story = events.iter().filter_map(told).cloned().collect();
        Ok(Recording { disks, logs, events, story })
    }

    /// The marks that tell what was asked for and acknowledged.
    #[must_use]
    pub fn story(&self) -> &[Mark] {
        &self.story
    }

    /// How many disks there are.
    #[must_use]
    pub fn disks(&self) -> usize {
        self.disks.len()
    }

    /// What had been told when `told` of those marks were passed.
    #[must_use]
    pub fn told(&self, told: usize) -> Story<'_> {
        Story(&self.story[..told])
    }

    /// How much there is, in a few words.
    #[must_use]
    pub fn size(&self) -> String {
        let of = |disk: &Blank, log: &Log| {
            let writes = log.entries().iter().filter(|it| matches!(it.what, What::Write { .. })).count();
            let flushes = log.entries().iter().filter(|it| it.flush).count();
            let fuas = log.entries().iter().filter(|it| it.fua).count();
            let discards = log.entries().iter().filter(|it| matches!(it.what, What::Discard(_))).count();
            format!("{}: {writes} writes ({fuas} with FUA), {discards} discards, {flushes} flushes", disk.name)
        };
        self.disks.iter().zip(&self.logs).map(|(disk, log)| of(disk, log)).collect::<Vec<_>>().join("; ")
    }

    /// The disks as they were at first.
    pub(super) fn rewound(&self) -> Vec<Disk<'_>> {
        let both = self.disks.iter().zip(&self.logs);
        both.map(|(disk, log)| Disk::new(log, disk.base.clone(), disk.ordered)).collect()
    }

    /// The last ticks before an event, newest first: what the machine was about to do.
    #[must_use]
    pub fn before(&self, event: usize, many: usize) -> Vec<&str> {
        let ticks = self.events[..event.min(self.events.len())].iter().rev().filter_map(|event| match event {
            Event::Mark(Mark::Tick(what)) => Some(what.as_str()),
            Event::Mark(Mark::Begin(_) | Mark::Done(_)) | Event::Entry { .. } => None,
        });
        ticks.take(many).collect()
    }
}

/// The mark that moves the story on, if this event is one.
pub(super) fn told(event: &Event) -> Option<&Mark> {
    match event {
        Event::Mark(mark @ (Mark::Begin(_) | Mark::Done(_))) => Some(mark),
        Event::Mark(Mark::Tick(_)) | Event::Entry { .. } => None,
    }
}
