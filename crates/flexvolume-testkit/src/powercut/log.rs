//! Reads the log that the device-mapper target `log-writes` keeps of a disk. What is wrong with a log is an error, whatever its bytes.
//!
//! ```text
//! sector 0    magic u64, version u64, entries u64, bytes of a sector u32
//! sector 1 …  for each entry one sector: sector u64, sectors u64, flags u64, bytes of text u64, the text of a mark;
//!             behind it the sectors that were written (none for a discard, a mark, a bare flush)
//! ```
//!
//! All numbers are little endian; the kernel's `Documentation/admin-guide/device-mapper/log-writes.rst` is the reference.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
/// The numbers at the head of an entry; a mark's text follows them in the same sector.
const HEAD: usize = 32;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;
/// A hint about the data; it changes nothing.
const METADATA: u64 = 16;

/// The mark that the kernel writes when the recording device is removed: the log is whole.
pub(super) const END: &str = "dm-log-writes-end";

/// One entry, in the order in which the kernel wrote them down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What became of the disk.
    pub what: What,
    /// Everything before this entry had reached the medium when it began.
    pub flush: bool,
    /// This entry itself had reached the medium when it was acknowledged.
    pub fua: bool,
}

/// What an entry did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Bytes were written.
    Write {
        /// Where on the disk.
        range: Range,
        /// Where in the log the data lies.
        data: u64,
    },
    /// The disk was told that nobody needs these bytes any more.
    Discard(Range),
    /// A bare flush.
    Nothing,
    /// A person's or program's note.
    Mark(String),
}

/// A piece of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Its first byte.
    pub at: u64,
    /// How many.
    pub bytes: u64,
}

impl Range {
    /// No byte.
    pub const NONE: Range = Range { at: 0, bytes: 0 };

    /// The first byte behind it.
    pub(super) fn end(self) -> u64 {
        self.at.saturating_add(self.bytes)
    }
}

/// A log with its entries; their data stays in the file.
#[derive(Debug)]
pub struct Log {
    file: File,
    sector: u64,
    entries: Vec<Entry>,
}

impl Log {
    /// Reads the heads of all entries.
    ///
    /// # Errors
    /// `InvalidData` and what is wrong, for anything that is no whole log; otherwise the file cannot be read.
    pub fn read(mut file: File) -> io::Result<Log> {
        let length = file.seek(SeekFrom::End(0))?;
        let mut head = [0; 28];
        if length < head.len() as u64 {
            return Err(bad("it is too short for a superblock"));
        }
        file.read_exact_at(&mut head, 0)?;
        if number(&head, 0) != MAGIC || number(&head, 8) != VERSION {
            return Err(bad("it does not begin as a log of version 1"));
        }
        let sector = u64::from(u32::from_le_bytes([head[24], head[25], head[26], head[27]]));
        if !sector.is_power_of_two() || !(512..=65536).contains(&sector) {
            return Err(bad(&format!("{sector} bytes are no sector")));
        }
        let mut reader = Reader { file: &file, length, sector, at: sector };
        let mut entries = Vec::new();
        for n in 0..number(&head, 16) {
            entries.push(reader.next().map_err(|e| io::Error::new(e.kind(), format!("entry {n}: {e}")))?);
        }
        Ok(Log { file, sector, entries })
    }

    /// Every entry.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Bytes of a sector: what a disk writes whole or not at all.
    #[must_use]
    pub fn sector(&self) -> u64 {
        self.sector
    }

    /// Whether the recording was ended in order. A log that ran full has no end.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self.entries.last(), Some(Entry { what: What::Mark(text), .. }) if text == END)
    }

    /// Reads data of an entry.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn data(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, at)
    }
}

struct Reader<'a> {
    file: &'a File,
    length: u64,
    sector: u64,
    at: u64,
}

impl Reader<'_> {
    fn next(&mut self) -> io::Result<Entry> {
        let head_at = self.take(1)?;
        let mut head = [0; HEAD];
        self.file.read_exact_at(&mut head, head_at)?;
        let (first, sectors, flags, text) = (number(&head, 0), number(&head, 8), number(&head, 16), number(&head, 24));
        if flags & !(FLUSH | FUA | DISCARD | MARK | METADATA) != 0 {
            return Err(bad(&format!("flags {flags:#x} are not known")));
        }
        let what = if flags & MARK != 0 {
            What::Mark(self.text(head_at, text)?)
        } else {
            let range = self.range(first, sectors)?;
            match (flags & DISCARD != 0, sectors) {
                (true, _) => What::Discard(range),
                (false, 0) => What::Nothing,
                (false, _) => What::Write { range, data: self.take(sectors)? },
            }
        };
        Ok(Entry { what, flush: flags & FLUSH != 0, fua: flags & FUA != 0 })
    }

    /// The next so many sectors of the log.
    fn take(&mut self, sectors: u64) -> io::Result<u64> {
        let end = sectors.checked_mul(self.sector).and_then(|bytes| self.at.checked_add(bytes));
        match end {
            Some(end) if end <= self.length => Ok(std::mem::replace(&mut self.at, end)),
            Some(_) | None => Err(bad("the log ends before it")),
        }
    }

    fn range(&self, first: u64, sectors: u64) -> io::Result<Range> {
        let bytes = |sectors: u64| sectors.checked_mul(self.sector);
        match (bytes(first), bytes(sectors), bytes(first.saturating_add(sectors))) {
            (Some(at), Some(bytes), Some(_)) => Ok(Range { at, bytes }),
            _ => Err(bad(&format!("{sectors} sectors at {first} lie on no disk"))),
        }
    }

    fn text(&self, head_at: u64, bytes: u64) -> io::Result<String> {
        let room = self.sector - HEAD as u64;
        if bytes > room {
            return Err(bad(&format!("a mark of {bytes} bytes, with room for {room}")));
        }
        let mut text = vec![0; bytes as usize];
        self.file.read_exact_at(&mut text, head_at + HEAD as u64)?;
        String::from_utf8(text).map_err(|_| bad("a mark that is no text"))
    }
}

fn number(head: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[at..at + 8]);
    u64::from_le_bytes(bytes)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a log of dm-log-writes: {what}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::made::{Made, write_bytes};
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Log> {
        let mut file = tempfile::tempfile()?;
        file.write_all(bytes)?;
        Log::read(file)
    }

    fn sample() -> Vec<u8> {
        Made::new(512).mark("begin").write(8, &[7; 1024]).discard(0, 16).flush().fua(1, &[1; 512]).mark(END).bytes()
    }

    #[test]
    fn what_was_written_is_read() {
        let log = read(&sample()).unwrap();
        let whats: Vec<&What> = log.entries().iter().map(|entry| &entry.what).collect();
        let [
            What::Mark(begin),
            What::Write { range, data },
            What::Discard(gone),
            What::Nothing,
            What::Write { .. },
            What::Mark(_),
        ] = whats[..]
        else {
            panic!("{whats:?}")
        };
        assert_eq!((begin.as_str(), *range), ("begin", Range { at: 4096, bytes: 1024 }));
        assert_eq!(*gone, Range { at: 0, bytes: 8192 });
        let mut bytes = [0; 1024];
        log.data(*data, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 1024]);
        let flags: Vec<(bool, bool)> = log.entries().iter().map(|entry| (entry.flush, entry.fua)).collect();
        assert_eq!(flags[3..5], [(true, false), (false, true)]);
        assert!(log.is_whole());
    }

    #[test]
    fn a_log_that_is_cut_off_anywhere_is_an_error() {
        let whole = sample();
        for length in 0..whole.len() {
            let error = read(&whole[..length]).map(|_| length).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{length}: {error}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let whole = sample();
        // Every byte of every head and of the superblock, with values that overflow what they count.
        for at in (0..whole.len()).filter(|at| at % 512 < 40) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = read(&bytes);
            }
            let mut bytes = whole.clone();
            let end = (at + 8).min(bytes.len());
            write_bytes(&mut bytes[at..end], 0xff);
            let _ = read(&bytes);
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let with = |at: usize, value: u64| {
            let mut bytes = sample();
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            read(&bytes).unwrap_err().to_string()
        };
        assert!(with(0, 1).contains("does not begin"));
        assert!(with(8, 2).contains("version 1"));
        assert!(with(16, u64::MAX).contains("entry 6: not a log of dm-log-writes: the log ends"));
        assert!(with(24, 513).contains("no sector"));
        assert!(with(512 + 16, 32).contains("flags 0x20"));
        assert!(with(512 + 24, 481).contains("room for 480"));
        assert!(with(1024, u64::MAX).contains("no disk"));
        assert!(with(1024 + 8, u64::MAX / 512).contains("entry 1"));
    }
}
