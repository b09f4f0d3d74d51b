//! Logs made by hand, for the tests of this room.

/// A log in the making.
pub(super) struct Made {
    sector: usize,
    entries: u64,
    body: Vec<u8>,
}

impl Made {
    pub(super) fn new(sector: usize) -> Made {
        Made { sector, entries: 0, body: Vec::new() }
    }

    pub(super) fn write(self, sector: u64, data: &[u8]) -> Made {
        self.entry(sector, data, 0)
    }

    pub(super) fn fua(self, sector: u64, data: &[u8]) -> Made {
        self.entry(sector, data, 2)
    }

    pub(super) fn flush(self) -> Made {
        self.entry(0, &[], 1)
    }

    /// A write that is preceded by a flush of its own.
    pub(super) fn flush_and_fua(self, sector: u64, data: &[u8]) -> Made {
        self.entry(sector, data, 3)
    }

    pub(super) fn discard(mut self, sector: u64, sectors: u64) -> Made {
        self.head(sector, sectors, 4, &[]);
        self
    }

    pub(super) fn mark(mut self, text: &str) -> Made {
        self.head(0, 0, 8, text.as_bytes());
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut all = vec![0; self.sector];
        all[..8].copy_from_slice(&0x006a_7366_7773_6872_u64.to_le_bytes());
        all[8] = 1;
        all[16..24].copy_from_slice(&self.entries.to_le_bytes());
        all[24..28].copy_from_slice(&(self.sector as u32).to_le_bytes());
        all.extend(&self.body);
        all
    }

    /// The log as the reader has it.
    pub(super) fn log(&self) -> super::Log {
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &self.bytes(), 0).unwrap();
        super::Log::read(file).unwrap()
    }

    fn entry(mut self, sector: u64, data: &[u8], flags: u64) -> Made {
        assert_eq!(data.len() % self.sector, 0);
        self.head(sector, (data.len() / self.sector) as u64, flags, &[]);
        self.body.extend(data);
        self
    }

    fn head(&mut self, sector: u64, sectors: u64, flags: u64, text: &[u8]) {
        let start = self.body.len();
        for number in [sector, sectors, flags, text.len() as u64] {
            self.body.extend(number.to_le_bytes());
        }
        self.body.extend(text);
        self.body.resize(start + self.sector, 0);
        self.entries += 1;
    }
}

pub(super) fn write_bytes(bytes: &mut [u8], value: u8) {
    bytes.iter_mut().for_each(|byte| *byte = value);
}

/// Blank disks of 1 MiB with these logs.
pub(super) fn recording(logs: Vec<Made>) -> super::Recording {
    let reel = |made: &Made| {
        let base = tempfile::tempfile().unwrap();
        base.set_len(1 << 20).unwrap();
        super::Reel {
            name: "d".to_owned(),
            bytes: 1 << 20,
            ordered: super::Range::NONE,
            base: super::pages::Pages::of_file(&base).unwrap(),
            log: made.log(),
        }
    };
    super::Recording::new(logs.iter().map(reel).collect()).unwrap()
}
