//! Which checks are made: those of the level, and of these the ones that were asked for, with what they need.

use crate::{check::Check, checks, job::Job, letters::distance, level::Level, trouble::Trouble};

/// The reason of checks that nobody asked for.
pub const NOT_ASKED: &str = "not asked for";

/// Why a check was skipped that was to be left out.
pub const LEFT_OUT: &str = "left out by name";

/// The checks of this level that were asked for and not left out, without what they need.
///
/// # Errors
/// A name that begins no check, or a choice that leaves none.
pub fn chosen(only: &[String], skip: &[String], level: Level) -> Result<Vec<&'static Check>, Trouble> {
    for prefix in only.iter().chain(skip) {
        if !all().any(|check| check.name.starts_with(prefix)) {
            return Err(Trouble::Unknown { prefix: prefix.clone(), near: near(prefix) });
        }
    }
    for prefix in only {
        if !all().any(|check| check.name.starts_with(prefix) && check.level <= level) {
            let why = format!("what begins with {prefix:?} is for another level; say --level flexvol");
            return Err(Trouble::Nothing(why));
        }
    }
    let chosen: Vec<_> = all()
        .filter(|check| check.level <= level && !begins(skip, check) && (only.is_empty() || begins(only, check)))
        .collect();
    if chosen.is_empty() {
        return Err(Trouble::Nothing("all that was asked for is left out by name as well".to_owned()));
    }
    Ok(chosen)
}

/// Every check of the job's level.
pub(crate) fn wanted(job: &Job) -> Result<Vec<&'static Check>, Trouble> {
    chosen(&job.only, &job.skip, job.level)?;
    Ok(all().filter(|check| check.level <= job.level).collect())
}

fn all() -> impl Iterator<Item = &'static Check> {
    checks::ALL.iter().flat_map(|room| room.iter())
}

pub(crate) fn begins(names: &[String], check: &Check) -> bool {
    names.iter().any(|name| check.name.starts_with(name.as_str()))
}

/// Asked for by name, or needed by one that is.
pub(crate) fn is_asked(only: &[String], check: &Check, wanted: &[&Check]) -> bool {
    let needed = |other: &&Check| other.needs.contains(&check.name) && is_asked(only, other, wanted);
    begins(only, check) || wanted.iter().any(needed)
}

/// Names and groups that are like this one: three at most, the nearest first.
fn near(prefix: &str) -> Vec<&'static str> {
    let groups = all().filter_map(|check| check.name.split('.').next());
    let mut near: Vec<(usize, &str)> = groups
        .chain(all().map(|check| check.name))
        .map(|name| (distance(prefix, name), name))
        .filter(|(distance, _)| *distance <= 1 + prefix.len() / 4)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().map(|(_, name)| name).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str], skip: &[&str], level: Level) -> Result<Vec<&'static str>, String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let chosen = chosen(&owned(only), &owned(skip), level).map_err(|error| error.to_string())?;
        Ok(chosen.into_iter().map(|check| check.name).collect())
    }

    #[test]
    fn a_choice_that_leaves_nothing_is_told() {
        assert_eq!(names(&["init.again", "init.bare"], &["init.b"], Level::Kubernetes).unwrap(), ["init.again"]);
        let unknown = names(&["mont"], &[], Level::Kubernetes).unwrap_err();
        assert!(unknown.contains("did you mean mount?"), "{unknown}");
        let unknown = names(&[], &["unmount.stackd"], Level::Kubernetes).unwrap_err();
        assert!(unknown.contains("did you mean unmount.stacked"), "{unknown}");
        assert!(!names(&["xyzzy"], &[], Level::Kubernetes).unwrap_err().contains("did you mean"));
        assert!(names(&["provision"], &[], Level::Kubernetes).unwrap_err().contains("--level flexvol"));
        assert!(names(&["init"], &["init"], Level::Kubernetes).unwrap_err().contains("left out"));
    }
}
