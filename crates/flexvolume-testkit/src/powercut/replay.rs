//! Builds the disks of one crash point after the other, as image files.

use std::io;
use std::path::Path;

use super::disk::Disk;
use super::image::Image;
use super::points::Point;
use super::recording::Recording;
use super::timeline::Event;

/// The disks of a recording on their way through it.
pub struct Replay<'a> {
    recording: &'a Recording,
    disks: Vec<Disk<'a>>,
    images: Vec<Image>,
    passed: usize,
}

impl<'a> Replay<'a> {
    /// Blank images in this directory, one for each disk, called as the disk.
    ///
    /// # Errors
    /// A file cannot be made.
    pub fn new(recording: &'a Recording, dir: &Path) -> io::Result<Replay<'a>> {
        let image = |disk: &super::recording::Blank| Image::create(&dir.join(&disk.name), disk.bytes);
        let images = recording.disks.iter().map(image).collect::<io::Result<_>>()?;
        Ok(Replay { recording, disks: recording.rewound(), images, passed: 0 })
    }

    /// Makes the images what the disks may have been at that point; says how many pages had to be written. Points have to
    /// come in their order. Whoever changes an image, changes it for the points that follow: work on a copy.
    ///
    /// # Errors
    /// A file cannot be read or written, or the point lies behind us.
    pub fn show(&mut self, point: &Point) -> io::Result<usize> {
        if point.event < self.passed || point.event > self.recording.events.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "that point of the recording does not lie ahead"));
        }
        for event in &self.recording.events[self.passed..point.event] {
            if let Event::Entry { disk, entry } = event {
                self.disks[*disk].step(*entry)?;
            }
        }
        self.passed = point.event;
        let mut written = 0;
        for ((disk, image), loss) in self.disks.iter().zip(&mut self.images).zip(&point.loss) {
            written += image.show(&disk.left(*loss)?, disk.medium())?;
        }
        Ok(written)
    }

    /// The image of the n-th disk.
    #[must_use]
    pub fn image(&self, disk: usize) -> &Path {
        self.images[disk].path()
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::{END, What};
    use super::super::made::{Made, recording};
    use super::super::random::Random;
    use super::super::{Loss, survey};
    use super::*;

    const S: usize = 512;

    /// A log of all kinds of entries, by a seed.
    fn any(seed: u64) -> Made {
        let mut random = Random::new(seed);
        let mut made = Made::new(S).mark("0 begin x");
        for value in 1..60 {
            let (at, many) = (random.below(60), random.below(12) + 1);
            let data = vec![value; many as usize * S];
            made = match random.below(8) {
                0 => made.flush(),
                1 => made.flush_and_fua(at, &data),
                2 => made.fua(at, &data),
                3 => made.discard(at, many),
                _ => made.write(at, &data),
            };
        }
        made.mark("0 done x").mark(END)
    }

    /// What is left when nothing or all is lost, in the plainest way that there is.
    fn plainly(recording: &Recording, point: &Point) -> Vec<u8> {
        let log = &recording.logs[0];
        let mut disk = vec![0; 1 << 20];
        let passed: Vec<usize> = recording.events[..point.event]
            .iter()
            .filter_map(|event| if let Event::Entry { entry, .. } = event { Some(*entry) } else { None })
            .collect();
        let flushed = passed.iter().rposition(|n| log.entries()[*n].flush).unwrap_or(0);
        for (place, n) in passed.iter().enumerate() {
            let entry = &log.entries()[*n];
            if point.loss[0] == Loss::Everything && place >= flushed && !entry.fua {
                continue;
            }
            match entry.what {
                What::Write { range, data } => {
                    let mut bytes = vec![0; range.bytes as usize];
                    log.data(data, &mut bytes).unwrap();
                    disk[range.at as usize..][..bytes.len()].copy_from_slice(&bytes);
                }
                What::Discard(range) => disk[range.at as usize..][..range.bytes as usize].fill(0),
                What::Nothing | What::Mark(_) => {}
            }
        }
        disk
    }

    #[test]
    fn every_image_is_what_a_plain_replay_makes() {
        for seed in 0..20 {
            let recording = recording(vec![any(seed)]);
            let dir = tempfile::tempdir().unwrap();
            let mut replay = Replay::new(&recording, dir.path()).unwrap();
            let points = survey(&recording, seed).unwrap();
            assert!(points.len() > 50, "{}", points.len());
            let mut written = 0;
            for point in &points {
                written += replay.show(point).unwrap();
                if !matches!(point.loss[0], Loss::Some(_)) {
                    assert!(std::fs::read(replay.image(0)).unwrap() == plainly(&recording, point), "{seed}: {point:?}");
                }
            }
            // There are 9 pages in play.
            assert!(written < points.len() * 5, "{written} pages for {} points", points.len());
            assert!(replay.show(&points[0]).is_err(), "no way back");
        }
    }

    #[test]
    fn the_disk_as_it_was_before_is_there_too() {
        let base = tempfile::tempfile().unwrap();
        base.set_len(1 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&base, b"before", 70_000).unwrap();
        let log = Made::new(S).mark("0 begin x").write(0, &[1; S]).mark("1 done x").mark(END).bytes();
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &log).unwrap();
        let reel = super::super::Reel::new("d", &base, file).unwrap();
        let recording = Recording::new(vec![reel]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut replay = Replay::new(&recording, dir.path()).unwrap();
        for point in survey(&recording, 1).unwrap() {
            replay.show(&point).unwrap();
            let image = std::fs::read(replay.image(0)).unwrap();
            assert_eq!(&image[70_000..70_006], b"before");
            assert_eq!(image[0] == 1, point.loss == [Loss::Nothing] && point.event > 1, "{point:?}");
        }
    }
}
