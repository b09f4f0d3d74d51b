//! What a disk holds, in memory: only the pages that are not zero, each shared by all states of the disk that have it.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};

use super::log::Range;

/// Bytes of a page.
pub(super) const PAGE: u64 = 4096;

/// A page that is not all zero.
#[derive(Clone)]
pub(super) struct Page {
    bytes: Arc<[u8]>,
    hash: u64,
}

impl Page {
    /// None if it is all zero.
    fn new(no: u64, bytes: &[u8]) -> Option<Page> {
        if bytes.iter().all(|byte| *byte == 0) {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        (no, bytes).hash(&mut hasher);
        Some(Page { bytes: bytes.into(), hash: hasher.finish() })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is(&self, other: &Page) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes) || self.bytes == other.bytes
    }
}

/// The content of a disk. Its digest is a sum over the pages, so that it follows each change at the cost of that change.
#[derive(Clone, Default)]
pub(super) struct Pages {
    pages: HashMap<u64, Page>,
    digest: u64,
}

impl Pages {
    /// The content of a file; holes are passed over.
    pub(super) fn of_file(file: &File) -> io::Result<Pages> {
        let length = file.metadata()?.len();
        let mut all = Pages::default();
        let mut at = 0;
        while at < length {
            let data = match seek(file, SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(rustix::io::Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            at = data - data % PAGE;
            let mut bytes = [0; PAGE as usize];
            let some = (length - at).min(PAGE) as usize;
            file.read_exact_at(&mut bytes[..some], at)?;
            all.set(at / PAGE, Page::new(at / PAGE, &bytes));
            at += PAGE;
        }
        Ok(all)
    }

    pub(super) fn get(&self, no: u64) -> Option<&Page> {
        self.pages.get(&no)
    }

    fn set(&mut self, no: u64, page: Option<Page>) {
        let new = page.as_ref().map_or(0, |page| page.hash);
        let old = match page {
            Some(page) => self.pages.insert(no, page),
            None => self.pages.remove(&no),
        };
        self.digest = self.digest.wrapping_add(new).wrapping_sub(old.map_or(0, |page| page.hash));
    }

    /// Takes in what a layer over this content holds.
    pub(super) fn take_in(&mut self, layer: Layer) {
        for (no, page) in layer.pages {
            self.set(no, page);
        }
    }
}

/// Changes over a content that stays as it is.
#[derive(Clone, Default)]
pub(super) struct Layer {
    pages: HashMap<u64, Option<Page>>,
    /// What these changes add to the digest of the content below.
    delta: u64,
}

impl Layer {
    /// What is seen at this page, over that content.
    pub(super) fn get<'a>(&'a self, below: &'a Pages, no: u64) -> Option<&'a Page> {
        self.pages.get(&no).map_or_else(|| below.get(no), Option::as_ref)
    }

    /// Whether this layer says what a page is.
    pub(super) fn has(&self, no: u64) -> bool {
        self.pages.contains_key(&no)
    }

    /// Every page that is in this layer, and every page below that is not zero.
    pub(super) fn numbers<'a>(&'a self, below: &'a Pages) -> impl Iterator<Item = u64> + 'a {
        let only_below = below.pages.keys().filter(|no| !self.pages.contains_key(no));
        self.pages.keys().chain(only_below).copied()
    }

    /// Tells two contents apart: this layer over that content.
    pub(super) fn digest(&self, below: &Pages) -> u64 {
        below.digest.wrapping_add(self.delta)
    }

    pub(super) fn write(&mut self, below: &Pages, at: u64, data: &[u8]) {
        let mut rest = data;
        let mut at = at;
        while !rest.is_empty() {
            let from = (at % PAGE) as usize;
            let (piece, after) = rest.split_at(rest.len().min(PAGE as usize - from));
            self.change(below, at / PAGE, from, Some(piece), piece.len());
            at += piece.len() as u64;
            rest = after;
        }
    }

    pub(super) fn zero(&mut self, below: &Pages, range: Range) {
        let end = range.at.saturating_add(range.bytes);
        // A discard may be as long as the disk: only pages that are not zero now are of interest.
        let (first, last) = (range.at / PAGE, end.div_ceil(PAGE));
        let few = (last - first) <= below.pages.len() as u64 + self.pages.len() as u64;
        let touched: Vec<u64> = if few {
            (first..last).collect()
        } else {
            self.numbers(below).filter(|no| (first..last).contains(no)).collect()
        };
        for no in touched.into_iter().filter(|no| self.get(below, *no).is_some()).collect::<Vec<_>>() {
            let from = range.at.saturating_sub(no * PAGE);
            let to = (end - no * PAGE).min(PAGE);
            self.change(below, no, from as usize, None, (to - from) as usize);
        }
    }

    /// Replaces `length` bytes of a page, from `from` on, by these or by zeroes.
    fn change(&mut self, below: &Pages, no: u64, from: usize, piece: Option<&[u8]>, length: usize) {
        let old = self.get(below, no);
        let old_hash = old.map_or(0, |page| page.hash);
        let page = match piece {
            Some(piece) if length == PAGE as usize => Page::new(no, piece),
            None if length == PAGE as usize => None,
            Some(_) | None => {
                let mut bytes = [0; PAGE as usize];
                if let Some(page) = old {
                    bytes.copy_from_slice(page.bytes());
                }
                match piece {
                    Some(piece) => bytes[from..from + length].copy_from_slice(piece),
                    None => bytes[from..from + length].fill(0),
                }
                Page::new(no, &bytes)
            }
        };
        let new_hash = page.as_ref().map_or(0, |page| page.hash);
        self.delta = self.delta.wrapping_add(new_hash).wrapping_sub(old_hash);
        self.pages.insert(no, page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same as one plain run of bytes.
    fn flat(layer: &Layer, below: &Pages, pages: u64) -> Vec<u8> {
        let zero = [0; PAGE as usize];
        (0..pages).flat_map(|no| layer.get(below, no).map_or(&zero[..], Page::bytes).to_vec()).collect()
    }

    #[test]
    fn writes_and_zeroes_of_any_place_and_length() {
        let mut plain = vec![0; 4 * PAGE as usize];
        let (mut below, mut layer) = (Pages::default(), Layer::default());
        let steps = [
            (0, 512, 1),
            (4000, 200, 2),
            (512, 12000, 3),
            (0, 16384, 4),
            (100, 9000, 0),
            (4096, 4096, 0),
            (8192, 8192, 0),
        ];
        for (n, (at, length, value)) in steps.into_iter().enumerate() {
            plain[at..at + length].fill(value);
            match value {
                0 => layer.zero(&below, Range { at: at as u64, bytes: length as u64 }),
                _ => layer.write(&below, at as u64, &vec![value; length]),
            }
            assert_eq!(flat(&layer, &below, 4), plain, "step {n}");
            if n == 3 {
                below.take_in(std::mem::take(&mut layer));
                assert_eq!(flat(&layer, &below, 4), plain);
            }
        }
    }

    #[test]
    fn a_digest_is_that_of_the_content_and_not_of_the_way_to_it() {
        let base = Pages::default();
        let (mut long, mut short) = (Layer::default(), Layer::default());
        long.write(&base, 512, &[5; 8192]);
        long.zero(&base, Range { at: 0, bytes: u64::MAX });
        assert_eq!(long.digest(&base), base.digest, "nothing is left");
        long.write(&base, 4096, &[6; 4096]);
        short.write(&base, 4096, &[6; 4096]);
        assert_eq!(long.digest(&base), short.digest(&base));
        let mut merged = base.clone();
        merged.take_in(long);
        assert_eq!(merged.digest, short.digest(&base));
        short.write(&base, 0, &[6; 4096]);
        assert_ne!(merged.digest, short.digest(&base));
        let mut elsewhere = Layer::default();
        elsewhere.write(&base, 8192, &[6; 4096]);
        assert_ne!(merged.digest, elsewhere.digest(&base), "the same page at another place");
    }

    #[test]
    fn a_file_with_holes_is_read() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        file.write_all_at(&[9; 100], (1 << 39) + 50).unwrap();
        let all = Pages::of_file(&file).unwrap();
        assert_eq!(
            all.get((1 << 39) / PAGE).unwrap().bytes()[40..160],
            [vec![0; 10], vec![9; 100], vec![0; 10]].concat()
        );
        assert!(all.pages.len() < 16);
    }
}
