//! The suites and their cases: which there are, and what the modules of the cases say of them.

use super::qemu::Spec;
use crate::go::{self, Program};
use std::path::{Path, PathBuf};

/// A suite.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    /// Its name, and that of the test target in the package of tests.
    pub(crate) name: &'static str,
    /// Memory of each of its machines in MiB. Half of it is at most what files below `/tmp` may take.
    memory: u32,
}

/// Every suite. The last one waits more than it computes: the lane that works beside all other tests begins with it.
pub(crate) const SUITES: &[Suite] = &[Suite { name: "lvm", memory: 1536 }, Suite { name: "nfs", memory: 1024 }];

impl Suite {
    /// What each of its machines shall be.
    pub(super) fn spec(&self) -> Spec {
        Spec { memory: self.memory, ..Spec::plain(self.name) }
    }

    /// The name of its executable in a guest.
    pub(super) fn program(&self) -> String {
        format!("test-{}", self.name)
    }
}

/// A case of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) suite: &'static Suite,
    /// Its binary, on the host.
    pub(super) exe: PathBuf,
    /// As its binary knows it.
    pub(super) name: String,
    /// With its suite before it, as a person knows it.
    pub(super) full: String,
}

impl Case {
    /// Cases of the module `outside` run on the host and start machines themselves.
    pub(super) fn is_outside(&self) -> bool {
        self.name.starts_with("outside::")
    }

    /// The program in Go that it asks: cases of a module `witness` Kubernetes' own host, those of a module `sanity` its suite.
    pub(super) fn asks(&self) -> Option<&'static Program> {
        self.name.split("::").find_map(|module| match module {
            "witness" => Some(&go::WITNESS),
            "sanity" => Some(&go::SANITY),
            _ => None,
        })
    }

    /// Cases of the module `udev` run in machines where udev runs.
    pub(super) fn wants_udev(&self) -> bool {
        self.name.starts_with("udev::")
    }

    /// Cases of these modules call a driver some hundred times.
    pub(super) fn is_long(&self) -> bool {
        ["judge::", "sanity::"].iter().any(|module| self.name.starts_with(module))
    }
}

/// Those whose full names hold the filter, of what a test binary lists.
pub(super) fn chosen(suite: &'static Suite, exe: &Path, listed: &str, filter: Option<&str>) -> Vec<Case> {
    let cases = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let full = |name| format!("{}::{name}", suite.name);
    let cases = cases.map(|name| Case { suite, exe: exe.to_owned(), name: name.to_owned(), full: full(name) });
    let mut cases: Vec<Case> = cases.filter(|case| filter.is_none_or(|filter| case.full.contains(filter))).collect();
    // What takes long comes first, so that in the end no machine is alone with it. Those that want another kind of machine stand
    // together, so that few are started.
    cases.sort_by_key(|case| (!case.is_outside(), !case.wants_udev(), !case.is_long()));
    cases
}

#[cfg(test)]
impl Case {
    /// One for tests, of the first suite or the second.
    pub(super) fn sample(suite: usize, name: &str) -> Case {
        let suite = &SUITES[suite];
        Case { suite, exe: PathBuf::new(), name: name.into(), full: format!("{}::{name}", suite.name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_chosen_by_their_full_names() {
        let listed = "a::one: test\nudev::a: test\noutside::cut: test\nb::two: test\njudge::c: test\nx: benchmark\n";
        let chosen = |filter| chosen(&SUITES[0], Path::new("/x"), listed, filter);
        let names = |filter| chosen(filter).into_iter().map(|case| case.name).collect::<Vec<_>>();
        assert_eq!(names(None), ["outside::cut", "udev::a", "judge::c", "a::one", "b::two"]);
        assert_eq!(names(Some("lvm")).len(), 5);
        assert_eq!(names(Some("lvm::b")), ["b::two"]);
        assert!(names(Some("it")).is_empty());
    }
}
