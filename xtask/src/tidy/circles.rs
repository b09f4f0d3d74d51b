//! No circle of files inside a crate: of any two files at most one needs the other, so that each can be read after what it needs.

use super::finding::{File, Finding};
use super::modules::{Arrow, arrows};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let arrows = arrows(files);
    let mut onward: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for arrow in &arrows {
        onward.entry(arrow.from).or_default().insert(arrow.to);
    }
    let reach: BTreeMap<usize, BTreeSet<usize>> = onward.keys().map(|from| (*from, reached(*from, &onward))).collect();
    let reaches = |from: usize, to: usize| reach.get(&from).is_some_and(|all| all.contains(&to));
    let mut findings = Vec::new();
    let mut told = BTreeSet::new();
    for &file in onward.keys() {
        if !reaches(file, file) || told.contains(&file) {
            continue;
        }
        let circle: BTreeSet<usize> =
            onward.keys().copied().filter(|other| reaches(file, *other) && reaches(*other, file)).collect();
        findings.push(finding(files, &circle, &arrows));
        told.extend(circle);
    }
    findings
}

/// Every file that one gets to from another, itself only if there is a way back.
fn reached(from: usize, onward: &BTreeMap<usize, BTreeSet<usize>>) -> BTreeSet<usize> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        open.extend(onward.get(&file).into_iter().flatten().filter(|next| seen.insert(**next)));
    }
    seen
}

fn finding(files: &[File], circle: &BTreeSet<usize>, arrows: &[Arrow]) -> Finding {
    let mut ties: BTreeMap<(usize, usize), Vec<&Arrow>> = BTreeMap::new();
    for arrow in arrows.iter().filter(|arrow| circle.contains(&arrow.from) && circle.contains(&arrow.to)) {
        ties.entry((arrow.from, arrow.to)).or_default().push(arrow);
    }
    let mut what =
        format!("{} files in a circle; what both ends of an arrow need belongs in a file below", circle.len());
    for ((from, to), arrows) in ties {
        let names: BTreeSet<&str> = arrows.iter().map(|arrow| arrow.name.as_str()).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        let line = arrows.iter().map(|arrow| arrow.line).min().unwrap_or_default();
        what.push_str(&format!("\n    {}:{line} uses {names} of {}", files[from].path, files[to].path));
    }
    let first = circle.first().map_or("", |first| files[*first].path.as_str());
    Finding::new(first, None, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> =
            files.iter().map(|(path, text)| File { path: format!("c/src/{path}"), text: (*text).into() }).collect();
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_circle_is_found_once_with_all_its_ties() {
        let findings = found(&[
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "use crate::b::One;"),
            ("b.rs", "\nuse super::c::{self, Two};\nfn f() { c::three() }"),
            ("c.rs", "fn f() -> crate::a::Four {}"),
            ("d.rs", "use crate::a::Four;"),
        ]);
        assert_eq!(
            findings,
            ["c/src/a.rs: 3 files in a circle; what both ends of an arrow need belongs in a file below\
              \n    c/src/a.rs:1 uses One of c/src/b.rs\
              \n    c/src/b.rs:2 uses Two, three of c/src/c.rs\
              \n    c/src/c.rs:1 uses Four of c/src/a.rs"]
        );
    }

    #[test]
    fn arrows_one_way_are_no_circle() {
        let files = [
            ("lib.rs", "pub mod a; mod b; pub use a::A; pub use b::{B, b as c};"),
            ("a.rs", "use crate::B;\npub struct A(B);"),
            ("b.rs", "//! For [`crate::A`].\npub struct B; pub fn b() {}\n#[cfg(test)] mod tests { use crate::A; }"),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }

    #[test]
    fn re_exports_are_followed_to_the_file_that_defines() {
        for (lib, import) in [
            ("mod a; mod b; pub use a::A; pub use b::B;", "use crate::A;"),
            ("mod a; mod b; pub use b::B; pub(crate) use a::A as C;", "use crate::{C as D};"),
            ("mod a; mod b; pub use a::*; pub use b::B;", "fn f(_: crate::A) {}"),
            ("mod a; mod b; pub use a::A; pub use b::B;", "use super::*; fn f(_: A) {}"),
        ] {
            let files = [
                ("lib.rs", lib),
                ("a.rs", "use crate::B; pub struct A;"),
                ("b.rs", &format!("{import} pub struct B;")),
            ];
            let findings = found(&files);
            assert!(
                findings.len() == 1 && findings[0].starts_with("c/src/a.rs: 2 files"),
                "{lib} {import} {findings:?}"
            );
        }
    }

    #[test]
    fn a_parent_may_pass_on_its_child_or_lend_to_it_but_not_both() {
        let child = ("a/b.rs", "use super::Lent; pub fn f() {}");
        for (parent, circles) in [
            ("mod b; pub use b::f; pub struct Lent;", 0),
            ("mod b; pub struct Lent; fn g() { b::f() }", 1),
            ("mod b; use b::f; pub struct Lent;", 1),
            ("mod b; pub use b::f; pub struct Lent { f: u8 }", 0),
            ("mod b; pub use b::f; pub struct Lent; fn g() { f() }", 1),
        ] {
            assert_eq!(found(&[("lib.rs", "mod a;"), ("a/mod.rs", parent), child]).len(), circles, "{parent}");
            assert_eq!(found(&[("lib.rs", "mod a;"), ("a.rs", parent), child]).len(), circles, "{parent}");
        }
    }

    #[test]
    fn a_function_named_like_its_module_is_the_function() {
        let files = |last| {
            [
                ("lib.rs", "mod look; mod table; pub use look::look;"),
                ("look.rs", "use super::table; pub fn look() { table::at() }"),
                ("table.rs", last),
            ]
        };
        assert_eq!(found(&files("use super::look; pub fn at() { look() }")).len(), 1);
        assert_eq!(found(&files("pub fn at() { x.look(); std::look() }")), Vec::<String>::new());
    }

    #[test]
    fn names_of_strangers_and_globs_that_meet_come_to_an_end() {
        let globs = "use stranger::*; use other::*; pub use crate::a::*; pub use crate::b::*; use nobody::nobody;";
        let files = [("lib.rs", "mod a; mod b;"), ("a.rs", &format!("{globs} fn f() {{ who() }}")), ("b.rs", globs)];
        assert_eq!(found(&files), Vec::<String>::new());
    }
}
