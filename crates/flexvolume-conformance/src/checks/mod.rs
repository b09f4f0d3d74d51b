//! Every check there is, in the order in which they are made.

pub(crate) mod answers;
mod attach;
mod data;
mod extensions;
mod grow;
mod init;
mod injection;
mod kill;
mod kill_made;
mod kill_snapshots;
mod leftovers;
mod mount;
mod options;
mod paths;
mod provision;
mod secrets;
mod snapshots;
mod storage;
mod together;
mod unmount;
mod verbs;

use crate::check::Check;

/// Every check, by its room.
pub const ALL: &[&[Check]] = &[
    init::CHECKS,
    verbs::CHECKS,
    attach::CHECKS,
    mount::CHECKS,
    unmount::CHECKS,
    data::CHECKS,
    paths::CHECKS,
    options::CHECKS,
    secrets::CHECKS,
    injection::CHECKS,
    grow::CHECKS,
    together::CHECKS,
    leftovers::CHECKS,
    kill::CHECKS,
    extensions::CHECKS,
    provision::CHECKS,
    snapshots::CHECKS,
    storage::CHECKS,
    kill_made::CHECKS,
    kill_snapshots::CHECKS,
    answers::CHECKS,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_one_of_a_kind_and_needs_come_before() {
        let mut seen = BTreeSet::new();
        for check in ALL.iter().flat_map(|room| room.iter()) {
            for need in check.needs {
                assert!(seen.contains(need), "{} needs {need}, which does not come before it", check.name);
            }
            assert!(seen.insert(check.name), "{} is there twice", check.name);
            let (group, what) = check.name.split_once('.').unwrap();
            assert!(!group.is_empty() && what.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", check.name);
            assert!(!check.why.ends_with('.') && !check.mend.ends_with('.'), "{}", check.name);
        }
    }

    #[test]
    fn the_book_has_every_check_as_it_is() {
        let page = include_str!("../../../../docs/check.md");
        let (contract, extensions) =
            (include_str!("../../../../docs/contract.md"), include_str!("../../../../docs/extensions.md"));
        for check in ALL.iter().flat_map(|room| room.iter()) {
            let row = format!(
                "| `{}` | {} | {} | {} |",
                check.name,
                check.severity.as_str(),
                check.level.as_str(),
                check.why
            );
            assert!(page.contains(&row), "docs/check.md does not have:\n{row}");
            let (book, section) = check.section.split_once(": ").unwrap();
            let text = if book == "contract" { contract } else { extensions };
            let head = section.split(',').next().unwrap();
            assert!(text.lines().any(|line| line.trim_start_matches('#').trim() == head), "{}", check.section);
        }
    }
}
