//! Volumes and snapshots made, copied and deleted by the jobs of a pool, on this machine's own file system.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flexvolume::{Code, Failure, Result};
use flexvolume_linux::tree::Folder;

use crate::{
    home::{Held, Home, Times},
    marker::{Marker, State, Wish},
    name::{Kind, Name, Place},
    pool::{Job, Said, done},
    settings::OnDelete,
    unmake::unmake,
};

/// A pool without a server.
struct Bed {
    tmp: tempfile::TempDir,
    small: bool,
}

impl Drop for Bed {
    fn drop(&mut self) {
        if self.small {
            let _ = rustix::mount::unmount(self.tmp.path(), rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn place(name: &str) -> Place {
    Place { kind: Kind::Volume, name: Name::of(name) }
}

fn wish(name: &str, source: Option<&str>) -> Wish {
    let source = source.map(|of| format!("p/{of}"));
    let on_delete = OnDelete::Delete;
    Wish { name: name.to_owned(), required: 0, limit: None, source, on_delete, mode: None, uid: None, gid: None }
}

impl Bed {
    fn new() -> Self {
        Self { tmp: tempfile::tempdir().unwrap(), small: false }
    }

    /// One of a file system that a few files fill.
    fn small() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            flexvolume_testkit::skip("mounting needs root");
            return None;
        }
        let mut bed = Self::new();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("small", bed.tmp.path(), "tmpfs", flags, c"size=1M").unwrap();
        bed.small = true;
        Some(bed)
    }

    /// Takes all the room that there is.
    fn fill(&self, path: &str) {
        let mut file = fs::File::create(self.at(path)).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn left(&self, dir: &str) -> Vec<String> {
        fs::read_dir(self.at(dir)).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.tmp.path().join(path)
    }

    fn base(&self) -> Folder {
        Folder::open(&fs::canonicalize(self.tmp.path()).unwrap()).unwrap()
    }

    /// One call whose slice is so long; the least does one thing.
    fn call(&self, job: Job, slice: Duration) -> Result<Said> {
        let now = Instant::now();
        done(self.base(), job, 1, Times { until: now + slice, end: now + LONG })
    }

    fn make(&self, name: &str, source: Option<&str>, slice: Duration) -> Result<Marker> {
        let job = Job::Make { place: place(name), wish: wish(name, source), source: source.map(place) };
        match self.call(job, slice)? {
            Said::Made(marker) => Ok(marker),
            said @ (Said::Done | Said::Names(_) | Said::Read(_) | Said::Room { .. } | Said::Looked(_)) => {
                panic!("{said:?}")
            }
        }
    }

    /// A volume with some files.
    fn original(&self) {
        self.make("src", None, LONG).unwrap();
        for n in 1..10 {
            fs::write(self.at(&format!("src/{n}")), n.to_string()).unwrap();
        }
    }

    fn unmake(&self, name: &str) -> Result<()> {
        self.call(Job::Unmake { place: place(name) }, LONG).map(drop)
    }

    fn is_there(&self, path: &str) -> bool {
        self.at(path).exists()
    }
}

/// A directory that is nobody's volume.
fn theirs(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::write(dir.join("theirs"), "theirs").unwrap();
}

const LONG: Duration = Duration::from_secs(60);
const LEAST: Duration = Duration::ZERO;

fn in_progress<T: std::fmt::Debug>(result: Result<T>) {
    assert!(result.as_ref().is_err_and(Failure::is_in_progress), "{result:?}");
}

#[test]
fn a_directory_of_others_is_not_taken_for_the_copy_that_is_being_made() {
    let bed = Bed::new();
    bed.original();
    in_progress(bed.make("c", Some("src"), LEAST));
    theirs(&bed.at("c"));
    for _ in 0..2 {
        let failure = bed.make("c", Some("src"), LONG).unwrap_err();
        assert_eq!(failure.code(), Some(Code::Conflict), "{failure}");
    }
    // Given up, it goes, and not what has its place.
    bed.unmake("c").unwrap();
    assert!(bed.is_there("c/theirs") && !bed.is_there(".flexvol/new/volume-c"));
    assert!(!bed.is_there(".flexvol/volumes/c.json"));
    bed.unmake("src").unwrap();
}

#[test]
fn what_somebody_else_is_at_is_left_to_him() {
    let bed = Bed::new();
    bed.original();
    in_progress(bed.make("c", Some("src"), LEAST));
    let now = Instant::now();
    let hold =
        |place: &Place, end| Held::take(Home::make(bed.base()).unwrap(), place, Times { until: now, end }).unwrap();
    let other = hold(&place("c"), now + LONG);
    in_progress(bed.make("c", Some("src"), LEAST));
    in_progress(bed.call(Job::Unmake { place: place("c") }, LEAST));
    // Others have it for themselves.
    bed.make("d", Some("src"), LONG).unwrap();
    in_progress(bed.call(Job::Resize { place: place("c"), bytes: 1 }, LEAST));
    drop(other);
    bed.make("c", Some("src"), LONG).unwrap();
    // Who comes too late changes nothing.
    let late = hold(&place("c"), now);
    let marker = late.marker(&place("c")).unwrap().unwrap();
    in_progress(late.mark(&marker));
    in_progress(late.turn(&mut marker.clone(), State::Deleting));
    in_progress(late.unmark());
    in_progress(unmake(&late, 1, now + LONG));
    assert_eq!(late.marker(&place("c")).unwrap(), Some(marker));
    assert!(bed.is_there("c/9"));
}

#[test]
fn another_original_of_the_same_name_is_not_gone_on_with() {
    let bed = Bed::new();
    bed.original();
    in_progress(bed.make("c", Some("src"), LEAST));
    // Another node that does not know of the copy.
    let file = bed.at(".flexvol/volumes/src.json");
    let mut marker: Marker = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    marker.life += 1;
    fs::write(&file, serde_json::to_vec(&marker).unwrap()).unwrap();
    let failure = bed.make("c", Some("src"), LONG).unwrap_err();
    assert_eq!(failure.code(), Some(Code::NotFound), "{failure}");
    assert!(!bed.is_there("c") && !bed.is_there(".flexvol/new/volume-c"));
}

#[test]
fn a_full_share_can_be_emptied() {
    let Some(bed) = Bed::small() else { return };
    bed.original();
    in_progress(bed.make("c", Some("src"), LEAST));
    bed.fill("src/fill");
    bed.unmake("c").unwrap();
    bed.unmake("src").unwrap();
    assert!(!bed.is_there("src") && bed.left(".flexvol/volumes").is_empty());
    bed.original();
}

#[test]
fn what_cannot_be_made_leaves_nothing_and_frees_its_original() {
    let Some(bed) = Bed::small() else { return };
    bed.original();
    fs::write(bed.at("src/big"), vec![1; 600 << 10]).unwrap();
    let failure = bed.make("c", Some("src"), LONG).unwrap_err();
    assert_eq!(failure.code(), Some(Code::Exhausted), "{failure}");
    let deep: PathBuf = std::iter::repeat_n("d", 500).collect();
    fs::remove_file(bed.at("src/big")).unwrap();
    fs::create_dir_all(bed.at("src").join(deep)).unwrap();
    let failure = bed.make("d", Some("src"), LONG).unwrap_err();
    assert_eq!(failure.code(), Some(Code::Unsupported), "{failure}");
    for dir in ["new", "copies", "trash"] {
        assert!(bed.left(&format!(".flexvol/{dir}")).is_empty(), "{dir}");
    }
    assert_eq!(bed.left(".flexvol/volumes"), ["src.json"]);
    bed.unmake("src").unwrap();
}

#[test]
fn who_wants_to_delete_an_original_is_told_how_to_give_its_copy_up() {
    let bed = Bed::new();
    bed.original();
    in_progress(bed.make("c", Some("src"), LEAST));
    let failure = bed.unmake("src").unwrap_err();
    assert_eq!(failure.code(), Some(Code::Busy));
    assert!(failure.to_string().ends_with("give the copy up: deletevolume with flexvol/id p/c"), "{failure}");
    bed.unmake("c").unwrap();
    bed.unmake("src").unwrap();
}

#[test]
fn the_marker_of_another_name_is_not_taken_for_ones_own() {
    let bed = Bed::new();
    bed.original();
    // As a server shows it to which letters of either case are the same.
    fs::hard_link(bed.at(".flexvol/volumes/src.json"), bed.at(".flexvol/volumes/SRC.json")).unwrap();
    theirs(&bed.at("SRC"));
    bed.unmake("SRC").unwrap();
    assert!(bed.is_there("SRC/theirs") && bed.is_there("src/1"));
    fs::rename(bed.at("SRC"), bed.at("elsewhere")).unwrap();
    let failure = bed.make("SRC", None, LONG).unwrap_err();
    assert_eq!(failure.code(), Some(Code::Conflict), "{failure}");
    assert!(!bed.is_there("SRC"));
}

#[test]
fn a_list_names_all_and_reads_of_those_that_are_asked_for_what_there_is_time_for() {
    let bed = Bed::new();
    bed.original();
    bed.make("other", None, LONG).unwrap();
    in_progress(bed.make("c", Some("src"), LEAST));
    let Said::Names(mut names) = bed.call(Job::Names { kind: Kind::Volume }, LONG).unwrap() else { panic!() };
    names.sort();
    assert_eq!(names.iter().map(Name::as_str).collect::<Vec<_>>(), ["c", "other", "src"]);
    let read = |slice| match bed.call(Job::Read { kind: Kind::Volume, names: names.clone() }, slice).unwrap() {
        Said::Read(all) => all.into_iter().map(|marker| marker.map(|it| it.name)).collect::<Vec<_>>(),
        said @ (Said::Made(_) | Said::Done | Said::Names(_) | Said::Room { .. } | Said::Looked(_)) => {
            panic!("{said:?}")
        }
    };
    assert_eq!(read(LONG), [None, Some("other".to_owned()), Some("src".to_owned())], "what is half-made is not listed");
    assert_eq!(read(LEAST), [None]);
}

#[test]
fn what_was_left_out_is_known_however_many_calls_it_took() {
    let bed = Bed::new();
    bed.original();
    fs::hard_link(bed.at("src/1"), bed.at("src/second")).unwrap();
    let pipe = bed.at("src/zz-pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let marker = (0..100).find_map(|_| bed.make("c", Some("src"), LEAST).ok()).unwrap();
    assert_eq!(marker.copied.unwrap().left_out, 1);
}

#[test]
fn a_marker_half_written_goes_with_its_tree() {
    let bed = Bed::new();
    bed.original();
    for name in [".src.json.0123456789abcdef.new", ".src2.json.0123456789abcdef.new"] {
        fs::write(bed.at(".flexvol/volumes").join(name), "{").unwrap();
    }
    bed.unmake("src").unwrap();
    assert_eq!(bed.left(".flexvol/volumes"), [".src2.json.0123456789abcdef.new"]);
}

#[test]
fn a_copy_that_was_cut_off_anywhere_is_made_all_the_same() {
    let bed = Bed::new();
    bed.original();
    // Before its marker was written.
    fs::create_dir_all(bed.at(".flexvol/new/volume-c")).unwrap();
    in_progress(bed.make("c", Some("src"), LEAST));
    bed.make("c", Some("src"), LONG).unwrap();
    assert_eq!(fs::read_to_string(bed.at("c/7")).unwrap(), "7");
    // After it was published, and before that was noted.
    let file = bed.at(".flexvol/volumes/c.json");
    let text = fs::read_to_string(&file).unwrap().replace("\"ready\"", "\"making\"");
    fs::write(&file, text).unwrap();
    bed.make("c", Some("src"), LONG).unwrap();
    assert!(fs::read_to_string(&file).unwrap().contains("\"ready\""));
    bed.unmake("c").unwrap();
    assert!(!bed.is_there("c"));
}
