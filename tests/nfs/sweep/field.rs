//! A node on which calls are killed, and what has to be true of it afterwards.

use std::{ffi::OsString, fs, ops::Deref, path::Path};

use flexvolume_linux::mount::table;
use flexvolume_testkit::killat::{self, Orphans, Plan, Report, Spec, Victim};

use crate::{bed::Node, tools::text};

/// Who dies, and whether what outlives them is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    victim: Victim,
    after: Orphans,
}

/// All die, and the next call comes at once.
pub const ALL_DIE: Way = Way { victim: Victim::Tree, after: Orphans::Leave };
/// Whoever is about to act dies, be it the driver, its child or a tool.
pub const THE_ACTING_DIES: Way = Way { victim: Victim::Actor, after: Orphans::Await };
/// The driver dies, and the next call comes at once.
pub const THE_CALLED_DIES: Way = Way { victim: Victim::Host, after: Orphans::Leave };

/// The node.
pub struct Field {
    node: Node,
    way: Way,
}

impl Field {
    pub fn new(node: Node, way: Way) -> Field {
        Field { node, way }
    }

    pub fn spec(&self, args: &[&str]) -> Spec {
        let spec = Spec::new(self.exe()).args(args).after(self.way.after);
        self.env().iter().fold(spec, |spec, (name, value)| spec.env(name, value))
    }

    /// Calls it to its end, and gives how many effects that has. It must be a call that succeeds.
    #[track_caller]
    pub fn count(&self, args: &[&str]) -> u64 {
        let report = killat::run(&self.spec(args), Plan::Count).unwrap();
        assert_eq!(report.ended, killat::Ended::Exited(0), "{args:?}: {}", String::from_utf8_lossy(&report.stdout));
        report.count()
    }

    pub fn killed(&self, args: &[&str], at: u64) -> Report {
        killat::run(&self.spec(args), Plan::Kill { victim: self.way.victim, at }).unwrap()
    }

    /// The share is mounted once, and shown once at each of these places, and nowhere else.
    #[track_caller]
    pub fn assert_up(&self, places: &[&Path], about: &str) {
        let mounts = self.mounts();
        assert_eq!((self.own().len(), mounts.len()), (1, 1 + places.len()), "{about}: {mounts:?}");
        for place in places {
            assert_eq!(table::stacked(place).unwrap().len(), 1, "{about}: {}", place.display());
        }
    }

    /// In the pool there is nothing half-made or half-removed, and these files beside the trees of ours.
    #[track_caller]
    pub fn assert_pool(&self, notes: &[&str], snapshots: &[&str], about: &str) {
        let names = |dir: &str| {
            let entries = fs::read_dir(self.on_server("base/.flexvol").join(dir)).unwrap();
            let mut names: Vec<OsString> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        for dir in ["new", "trash", "copies"] {
            assert_eq!(names(dir), Vec::<OsString>::new(), "{about}: left in {dir}");
        }
        let files = |names: &[&str]| names.iter().map(|name| format!("{name}.json").into()).collect::<Vec<OsString>>();
        // What a killed call has not finished of a marker goes with the marker.
        let finished = |dir: &str, of: &[&str]| {
            let mut names = names(dir);
            names.retain(|name| !of.iter().any(|of| text(name.as_ref()).starts_with(&format!(".{of}.json."))));
            names
        };
        assert_eq!(finished("volumes", notes), files(notes), "{about}: markers");
        assert_eq!(finished("snapshot-notes", snapshots), files(snapshots), "{about}: markers of snapshots");
        assert_eq!(names("snapshots"), snapshots.iter().map(OsString::from).collect::<Vec<_>>(), "{about}: snapshots");
    }
}

impl Deref for Field {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}
