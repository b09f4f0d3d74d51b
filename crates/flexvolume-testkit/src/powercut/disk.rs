//! A disk with a volatile cache, and what it may hold after the power was cut.
//!
//! What was written and not flushed may have reached the medium or not, each write by itself, and a write of several
//! 4 KiB blocks in part. A flush makes all before it lasting. A write with FUA lasts from its end on. A discard that lasts reads
//! as zeroes; one that was not flushed may be lost as a write may, and then the old bytes are still there.

use std::io;

use super::log::{Entry, Log, Range, What};
use super::pages::{Layer, Pages};
use super::random::Random;

/// How much of an entry is read at once.
const PIECE: u64 = 1 << 20;

/// What a medium takes whole or not at all: the sector of nearly all disks, whatever they call one. File systems rely on it;
/// ext4's superblock of two old sectors would not survive less.
const UNIT: u64 = 4096;

/// What of a disk's cache is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Nothing: all that was written is there.
    Nothing,
    /// All that was neither flushed nor written with FUA.
    Everything,
    /// Some of it, also parts of a write, by this seed.
    Some(u64),
}

/// A disk on its way through a log.
pub(super) struct Disk<'a> {
    log: &'a Log,
    /// What is written here reaches the medium in the order in which it was written.
    ordered: Range,
    /// What lasts.
    medium: Pages,
    /// What was written since the last flush, as places in the log.
    cached: Vec<usize>,
    /// Of these, what lasts all the same.
    fua: Vec<usize>,
    /// The same, all of it applied.
    front: Layer,
}

impl<'a> Disk<'a> {
    pub(super) fn new(log: &'a Log, base: Pages, ordered: Range) -> Disk<'a> {
        Disk { log, ordered, medium: base, cached: Vec::new(), fua: Vec::new(), front: Layer::default() }
    }

    /// Goes on by one entry.
    pub(super) fn step(&mut self, entry: usize) -> io::Result<()> {
        let log = self.log;
        let it = &log.entries()[entry];
        if it.flush {
            self.medium.take_in(std::mem::take(&mut self.front));
            self.cached.clear();
            self.fua.clear();
        }
        match it.what {
            What::Write { .. } | What::Discard(_) => {
                apply(log, it, &mut self.front, &self.medium, None)?;
                self.cached.push(entry);
                self.fua.extend(it.fua.then_some(entry));
            }
            What::Nothing | What::Mark(_) => {}
        }
        Ok(())
    }

    /// Whether anything could be lost now.
    pub(super) fn is_safe(&self) -> bool {
        self.fua.len() == self.cached.len()
    }

    /// Whether a cut now tells more than one a few writes ago: of a long run that nobody flushes any may be lost, and to try
    /// each costs as much as there are. One that lasts at once is more than its place in the run.
    pub(super) fn is_telling(&self) -> bool {
        let many = self.cached.len();
        let lasts = self.cached.last().is_some_and(|newest| self.fua.last() == Some(newest));
        lasts || many.is_multiple_of(many / 32 + 1)
    }

    pub(super) fn medium(&self) -> &Pages {
        &self.medium
    }

    /// What is over the medium after the power was cut now.
    pub(super) fn left(&self, loss: Loss) -> io::Result<Layer> {
        let mut layer = Layer::default();
        let mut random = match loss {
            Loss::Nothing => return Ok(self.front.clone()),
            Loss::Everything => {
                for n in &self.fua {
                    apply(self.log, &self.log.entries()[*n], &mut layer, &self.medium, None)?;
                }
                return Ok(layer);
            }
            Loss::Some(seed) => Random::new(seed),
        };
        let cached = || self.cached.iter().map(|n| &self.log.entries()[*n]);
        let in_order = cached().filter(|entry| self.is_ordered(entry)).count() as u64;
        let mut kept = random.below(in_order + 1);
        for entry in cached() {
            let part = if entry.fua {
                None
            } else if self.is_ordered(entry) {
                kept = match kept {
                    0 => continue,
                    some => some - 1,
                };
                None
            } else {
                Some(fate(entry, &mut random))
            };
            apply(self.log, entry, &mut layer, &self.medium, part)?;
        }
        Ok(layer)
    }

    /// The digest of what the disk holds after the power was cut now.
    pub(super) fn digest(&self, loss: Loss) -> io::Result<u64> {
        match loss {
            Loss::Nothing => Ok(self.front.digest(&self.medium)),
            Loss::Everything | Loss::Some(_) => Ok(self.left(loss)?.digest(&self.medium)),
        }
    }

    fn is_ordered(&self, entry: &Entry) -> bool {
        let within = |range: Range| range.at >= self.ordered.at && range.end() <= self.ordered.end();
        matches!(entry.what, What::Write { range, .. } if within(range))
    }
}

/// Which bytes of an entry, counted from its first, survive.
fn fate(entry: &Entry, random: &mut Random) -> Range {
    let Range { at, bytes } = match entry.what {
        What::Write { range, .. } | What::Discard(range) => range,
        What::Nothing | What::Mark(_) => Range::NONE,
    };
    match random.below(5) {
        0 | 1 => Range { at: 0, bytes },
        2 | 3 => Range::NONE,
        // A beginning or an end of it.
        _ => {
            // From the first byte to the next border that the medium has, then from border to border.
            let first = UNIT - at % UNIT;
            let borders = bytes.saturating_sub(first).div_ceil(UNIT);
            let cut = (first + random.below(borders.max(1)) * UNIT).min(bytes);
            if random.below(2) == 0 { Range { at: 0, bytes: cut } } else { Range { at: cut, bytes: bytes - cut } }
        }
    }
}

/// Applies an entry, or only a part of it, counted from its first byte.
fn apply(log: &Log, entry: &Entry, layer: &mut Layer, below: &Pages, part: Option<Range>) -> io::Result<()> {
    let part_of = |range: Range| part.unwrap_or(Range { at: 0, bytes: range.bytes });
    match entry.what {
        What::Write { range, data } => {
            let part = part_of(range);
            let mut done = 0;
            while done < part.bytes {
                let mut piece = vec![0; (part.bytes - done).min(PIECE) as usize];
                log.data(data + part.at + done, &mut piece)?;
                layer.write(below, range.at + part.at + done, &piece);
                done += piece.len() as u64;
            }
        }
        What::Discard(range) => {
            let part = part_of(range);
            layer.zero(below, Range { at: range.at + part.at, bytes: part.bytes });
        }
        What::Nothing | What::Mark(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::made::Made;
    use super::*;

    /// The first byte of each of the first eight sectors.
    fn seen(disk: &Disk<'_>, loss: Loss) -> [u8; 8] {
        let layer = disk.left(loss).unwrap();
        let page = layer.get(disk.medium(), 0);
        std::array::from_fn(|n| page.map_or(0, |page| page.bytes()[n * 512]))
    }

    fn run(made: Made, check: impl FnOnce(&Disk<'_>)) {
        run_with(made, Range::NONE, check);
    }

    fn run_with(made: Made, ordered: Range, check: impl FnOnce(&Disk<'_>)) {
        let log = made.log();
        let mut disk = Disk::new(&log, Pages::default(), ordered);
        (0..log.entries().len()).for_each(|n| disk.step(n).unwrap());
        check(&disk);
    }

    const S: usize = 512;

    #[test]
    fn what_was_flushed_stays_and_the_rest_may_go() {
        let made = Made::new(S).write(0, &[1; S]).write(1, &[1; S]).flush().write(1, &[2; S]).write(2, &[2; S]);
        run(made, |disk| {
            assert!(!disk.is_safe());
            assert_eq!(seen(disk, Loss::Nothing), [1, 2, 2, 0, 0, 0, 0, 0]);
            assert_eq!(seen(disk, Loss::Everything), [1, 1, 0, 0, 0, 0, 0, 0]);
            let all: BTreeSet<[u8; 8]> = (0..64).map(|seed| seen(disk, Loss::Some(seed))).collect();
            let each = [[1, 1, 0], [1, 2, 0], [1, 1, 2], [1, 2, 2]].map(|[a, b, c]| [a, b, c, 0, 0, 0, 0, 0]);
            assert_eq!(all, BTreeSet::from(each), "each of the two, by itself");
            assert_eq!(seen(disk, Loss::Some(7)), seen(disk, Loss::Some(7)));
        });
    }

    #[test]
    fn a_write_with_fua_lasts_and_saves_no_other() {
        let made = Made::new(S).write(0, &[1; S]).fua(1, &[2; S]).write(1, &[3; S]);
        run(made, |disk| {
            assert_eq!(seen(disk, Loss::Everything), [0, 2, 0, 0, 0, 0, 0, 0]);
            assert!((0..64).all(|seed| seen(disk, Loss::Some(seed))[1] >= 2));
        });
        run(Made::new(S).write(0, &[1; S]).flush_and_fua(1, &[2; S]), |disk| {
            assert!(disk.is_safe());
            assert_eq!(seen(disk, Loss::Everything), [1, 2, 0, 0, 0, 0, 0, 0]);
        });
    }

    /// An older write that reaches the medium late must not undo a younger one that lasts.
    #[test]
    fn order_holds_within_a_sector() {
        run(Made::new(S).write(1, &[1; S]).fua(1, &[2; S]), |disk| {
            assert!((0..64).all(|seed| seen(disk, Loss::Some(seed))[1] == 2));
        });
    }

    #[test]
    fn a_discard_is_lost_as_a_write_is() {
        let made = || Made::new(S).write(0, &[1; 4 * S]).flush().discard(0, 2);
        run(made(), |disk| {
            assert_eq!(seen(disk, Loss::Nothing)[..4], [0, 0, 1, 1]);
            assert_eq!(seen(disk, Loss::Everything)[..4], [1; 4]);
        });
        run(made().flush(), |disk| assert_eq!(seen(disk, Loss::Everything)[..4], [0, 0, 1, 1]));
        // A write after it stands, whatever becomes of the discard.
        run(made().fua(0, &[2; S]), |disk| {
            assert!((0..64).all(|seed| seen(disk, Loss::Some(seed))[0] == 2));
        });
    }

    #[test]
    fn where_order_is_kept_the_last_are_lost_first() {
        let made = Made::new(S).write(0, &[1; S]).write(1, &[1; S]).write(5, &[1; S]).write(2, &[1; S]);
        run_with(made, Range { at: 0, bytes: 4 * S as u64 }, |disk| {
            let all: BTreeSet<[u8; 8]> = (0..256).map(|seed| seen(disk, Loss::Some(seed))).collect();
            let mut starts: Vec<u8> = all.iter().map(|it| it[0] * 4 + it[1] * 2 + it[2]).collect();
            starts.dedup();
            assert_eq!((starts, all.len()), (vec![0, 4, 6, 7], 8), "with and without the one elsewhere: {all:?}");
            assert_eq!(seen(disk, Loss::Everything), [0; 8]);
        });
    }

    #[test]
    fn a_long_write_may_be_torn_between_blocks() {
        // From the middle of one block into the fourth.
        run(Made::new(S).write(4, &[1; 24 * S]), |disk| {
            let blocks = |seed| {
                let layer = disk.left(Loss::Some(seed)).unwrap();
                let at = |no, at: usize| layer.get(disk.medium(), no).map_or(0, |page| page.bytes()[at]);
                [at(0, 2048), at(0, 4095), at(1, 0), at(1, 4095), at(2, 0), at(2, 4095), at(3, 0), at(3, 2047)]
            };
            let all: BTreeSet<[u8; 8]> = (0..256).map(blocks).collect();
            let torn = |n: usize, first| std::array::from_fn(|it| u8::from((it < n * 2) == first));
            let ends = (0..=4).flat_map(|n| [torn(n, true), torn(n, false)]);
            assert_eq!(all, ends.collect(), "each beginning and each end, in whole blocks");
        });
    }
}
