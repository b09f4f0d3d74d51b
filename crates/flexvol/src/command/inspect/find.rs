//! The one volume that somebody means: by its key, by its name, or by a pod and the pod's name for it.

use std::collections::BTreeSet;

use flexvolume_host::{Error, Kind, Result, ledger::Retry, volume::record::Record};

/// How a volume may be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The ledger's key; empty if there is no record yet.
    key: String,
    /// The name that driver and paths know.
    name: String,
    /// For each of its pods: namespace, name, uid, and the pod's name for the volume.
    pods: Vec<[String; 4]>,
}

impl Known {
    pub(super) fn of_record(record: &Record) -> Self {
        let pod = |user: &flexvolume_host::volume::record::User| {
            [user.namespace.clone(), user.pod.clone(), user.uid.clone(), user.volume.clone()]
        };
        let pods = record.users.values().map(pod).collect();
        Self { key: record.key.clone(), name: record.name.to_string(), pods }
    }

    pub(super) fn of_retry(retry: &Retry) -> Self {
        let pod = [retry.namespace.clone(), retry.pod.clone(), retry.uid.clone(), retry.volume.clone()];
        Self { key: String::new(), name: retry.volume.clone(), pods: vec![pod] }
    }

    fn is_called(&self, text: &str) -> bool {
        let named = |volume: &str, own: &str| volume == own || volume == self.name;
        self.name == text
            || self.pods.iter().any(|[namespace, pod, uid, own]| {
                let whose = |name: &str| name == pod || name == uid || name == format!("{namespace}/{pod}");
                own == text || text.rsplit_once('/').is_some_and(|(name, volume)| whose(name) && named(volume, own))
            })
    }

    /// What to type to mean this one and no other.
    fn unique(&self) -> String {
        match self.pods.first() {
            Some([namespace, pod, _, own]) if self.key.is_empty() => format!("{namespace}/{pod}/{own}"),
            Some(_) | None => self.key.clone(),
        }
    }
}

/// The place in `known` of the volume called `text`.
///
/// # Errors
/// There is none, or more than one: then with what to say instead.
pub(super) fn find(known: &[Known], text: &str) -> Result<usize> {
    if let Some(at) = known.iter().position(|one| !one.key.is_empty() && one.key == text) {
        return Ok(at);
    }
    let found: Vec<usize> = (0..known.len()).filter(|at| known[*at].is_called(text)).collect();
    match found.as_slice() {
        [at] => Ok(*at),
        [] => Err(Error::new(Kind::NotFound, format!("no volume {text:?} is known here")).hint(if known.is_empty() {
            "there are none; flexvol up FILE brings the volumes of a pod up".to_owned()
        } else {
            format!("volumes here: {}", list(known.iter()))
        })),
        [_, _, ..] => Err(Error::new(Kind::Invalid, format!("{text:?} may mean {} volumes", found.len()))
            .hint(format!("say which: {}", list(found.iter().map(|at| &known[*at]))))),
    }
}

/// A few of them, as they may be typed.
fn list<'a>(known: impl Iterator<Item = &'a Known>) -> String {
    const SHOWN: usize = 8;
    let names: BTreeSet<String> = known.map(Known::unique).collect();
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more (flexvol ls)") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(key: &str, name: &str, pods: &[[&str; 4]]) -> Known {
        let pods = pods.iter().map(|pod| pod.map(str::to_owned)).collect();
        Known { key: key.into(), name: name.into(), pods }
    }

    fn volumes() -> Vec<Known> {
        vec![
            known("v/d/data", "data", &[["a", "web", "u1", "data"], ["b", "web", "u2", "store"]]),
            known("v/d/u1:tmp", "tmp", &[["a", "web", "u1", "tmp"]]),
            known("v/d/u3:tmp", "tmp", &[["a", "db", "u3", "tmp"]]),
            known("", "late", &[["a", "db", "u3", "late"]]),
        ]
    }

    #[test]
    fn key_name_and_pod_are_understood() {
        for (text, at) in [
            ("v/d/data", 0),
            ("data", 0),
            ("store", 0),
            ("b/web/store", 0),
            ("b/web/data", 0),
            ("web/data", 0),
            ("u2/store", 0),
            ("v/d/u1:tmp", 1),
            ("web/tmp", 1),
            ("u1/tmp", 1),
            ("a/db/tmp", 2),
            ("late", 3),
            ("db/late", 3),
        ] {
            assert_eq!(find(&volumes(), text).unwrap(), at, "{text}");
        }
    }

    #[test]
    fn what_is_unknown_or_may_mean_more_is_told_with_what_to_say() {
        let many = find(&volumes(), "tmp").unwrap_err();
        assert_eq!(many.kind(), Kind::Invalid);
        assert_eq!(many.next(), Some("say which: v/d/u1:tmp, v/d/u3:tmp"));
        let none = find(&volumes(), "web/nothing").unwrap_err();
        assert_eq!(none.kind(), Kind::NotFound);
        assert_eq!(none.next(), Some("volumes here: a/db/late, v/d/data, v/d/u1:tmp, v/d/u3:tmp"));
        assert!(find(&[], "").unwrap_err().next().unwrap().contains("flexvol up"));
        assert_eq!(find(&volumes(), "").unwrap_err().kind(), Kind::NotFound, "an empty key is nobody's");
        let many: Vec<_> = (0..20).map(|n| known(&format!("v/d/{n:02}"), "x", &[])).collect();
        assert!(find(&many, "y").unwrap_err().next().unwrap().ends_with("v/d/07 and 12 more (flexvol ls)"));
    }
}
