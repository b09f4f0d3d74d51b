//! An image file that is turned from one state of a disk into the next by writing only what is different.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::pages::{Layer, PAGE, Page, Pages};

/// The file, and what it holds.
pub(super) struct Image {
    file: File,
    path: PathBuf,
    holds: HashMap<u64, Page>,
}

impl Image {
    /// A new, blank image.
    pub(super) fn create(path: &Path, bytes: u64) -> io::Result<Image> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(bytes)?;
        Ok(Image { file, path: path.to_owned(), holds: HashMap::new() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it hold this; says how many pages had to be written.
    pub(super) fn show(&mut self, layer: &Layer, below: &Pages) -> io::Result<usize> {
        let mut changed: Vec<(u64, Option<Page>)> = Vec::new();
        for no in layer.numbers(below) {
            let page = layer.get(below, no);
            match (page, self.holds.get(&no)) {
                (None, None) => {}
                (Some(new), Some(old)) if new.is(old) => {}
                (_, _) => changed.push((no, page.cloned())),
            }
        }
        let gone = self.holds.keys().filter(|no| layer.get(below, **no).is_none());
        changed.extend(gone.filter(|no| !layer.has(**no)).map(|no| (*no, None)));
        for (no, page) in &changed {
            match page {
                Some(page) => {
                    self.file.write_all_at(page.bytes(), no * PAGE)?;
                    self.holds.insert(*no, page.clone());
                }
                None => {
                    self.file.write_all_at(&[0; PAGE as usize], no * PAGE)?;
                    self.holds.remove(no);
                }
            }
        }
        Ok(changed.len())
    }
}
