//! Records what is written to disks. Needs root and device-mapper with the target `log-writes`.

use std::fs::File;
use std::io;
use std::path::Path;

use super::dm::Mapped;
use super::log::{Log, Range};
use super::loops::Loop;
use super::pages::Pages;
use super::recording::{Recording, Reel};
use super::timeline::Mark;

/// How long a log may become. The file is sparse.
const LOG_BYTES: u64 = 8 << 30;

/// What fits into a mark's sector beside the numbers at its head.
const MARK_ROOM: usize = 470;

/// A disk to record.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Whoever reads a report knows the disk by this name.
    pub name: &'a str,
    /// What it holds now is what the recording begins with.
    pub image: &'a Path,
    /// See [`Reel::ordered`].
    pub ordered: Range,
}

/// Disks that are being recorded.
pub struct Recorder {
    tracks: Vec<Track>,
}

struct Track {
    name: String,
    bytes: u64,
    ordered: Range,
    base: Pages,
    log: File,
    device: Mapped,
}

impl Recorder {
    /// Turns image files into recorded disks. Their logs are nameless files in `dir`, best in memory.
    ///
    /// # Errors
    /// A device cannot be made, or a file cannot be read.
    pub fn start(dir: &Path, disks: &[Source<'_>]) -> io::Result<Recorder> {
        let tracks = disks.iter().map(|source| Track::start(dir, source)).collect::<io::Result<_>>()?;
        Ok(Recorder { tracks })
    }

    /// The n-th disk, to be used in place of its image.
    #[must_use]
    pub fn device(&self, disk: usize) -> &Path {
        self.tracks[disk].device.path()
    }

    /// Marks that this is asked for now.
    ///
    /// # Errors
    /// The kernel refuses the mark.
    pub fn begin(&self, what: &str) -> io::Result<()> {
        self.mark(&Mark::Begin(what.to_owned()))
    }

    /// Marks that this was acknowledged: whatever happens, it has to be there from now on.
    ///
    /// # Errors
    /// The kernel refuses the mark.
    pub fn done(&self, what: &str) -> io::Result<()> {
        self.mark(&Mark::Done(what.to_owned()))
    }

    /// Marks a moment between two steps. What a program did to one disk before it, and to another after it, keeps its order.
    ///
    /// # Errors
    /// The kernel refuses the mark.
    pub fn tick(&self, what: &str) -> io::Result<()> {
        self.mark(&Mark::Tick(what.to_owned()))
    }

    fn mark(&self, mark: &Mark) -> io::Result<()> {
        // All counts before the first mark: no disk may seem to be ahead.
        let taken = self.tracks.iter().map(|track| track.device.taken()).collect::<io::Result<Vec<_>>>()?;
        for (track, taken) in self.tracks.iter().zip(taken) {
            track.device.message(&format!("mark {}", escaped(&format!("{taken} {}", mark.words()))))?;
        }
        Ok(())
    }

    /// Ends the recording; nobody may use the disks any more.
    ///
    /// # Errors
    /// A disk is in use, or its log is not whole.
    pub fn stop(self) -> io::Result<Recording> {
        let mut reels = Vec::new();
        for Track { name, bytes, ordered, base, log, device } in self.tracks {
            device.remove()?;
            let log = Log::read(log).map_err(|e| io::Error::new(e.kind(), format!("the log of {name}: {e}")))?;
            reels.push(Reel { name, bytes, ordered, base, log });
        }
        Recording::new(reels)
    }
}

impl Track {
    fn start(dir: &Path, source: &Source<'_>) -> io::Result<Track> {
        let Source { name, image, ordered } = *source;
        let about = |e: io::Error| io::Error::new(e.kind(), format!("cannot record {name}: {e}"));
        let file = File::options().read(true).write(true).open(image).map_err(about)?;
        let (bytes, base) = (file.metadata()?.len(), Pages::of_file(&file).map_err(about)?);
        let log = tempfile::tempfile_in(dir).map_err(about)?;
        log.set_len(LOG_BYTES).map_err(about)?;
        let (disk, logs) = (Loop::attach(&file, false).map_err(about)?, Loop::attach(&log, false).map_err(about)?);
        let words = format!("{} {}", disk.path().display(), logs.path().display());
        let device = Mapped::create(&format!("powercut-{name}"), bytes / 512, "log-writes", &words)?;
        Ok(Track { name: name.to_owned(), bytes, ordered, base, log, device })
    }
}

/// As one word of a message, cut to what fits.
fn escaped(words: &str) -> String {
    let mut end = words.len().min(MARK_ROOM);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = String::new();
    for c in words[..end].chars() {
        if c.is_whitespace() || c == '\\' {
            out.push('\\');
        }
        out.push(if c.is_control() { '?' } else { c });
    }
    out
}
