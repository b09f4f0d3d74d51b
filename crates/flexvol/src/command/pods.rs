//! Pods as the ledger knows them: found by name, by uid, or by the manifest that brought them up.

use std::collections::BTreeMap;

use flexvolume_host::{Error, Host, Kind, volume::record::Record};

use super::ground::Done;

/// A pod that has volumes here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// As it can be typed: what a lost record knew of it is its uid alone.
impl std::fmt::Display for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.uid) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

impl Pod {
    fn is_called(&self, name: &str) -> bool {
        self.uid == name || self.name == name || format!("{}/{}", self.namespace, self.name) == name
    }
}

/// Every pod of every readable record, by uid.
pub(super) fn all(host: &Host) -> Done<BTreeMap<String, Pod>> {
    Ok(host.records()?.into_iter().flatten().flat_map(|record| of(&record)).map(|pod| (pod.uid.clone(), pod)).collect())
}

/// The pods of one record.
fn of(record: &Record) -> Vec<Pod> {
    record
        .users
        .iter()
        .map(|(uid, user)| Pod { namespace: user.namespace.clone(), name: user.pod.clone(), uid: uid.clone() })
        .collect()
}

/// Whether a pod may be meant by `name`.
pub(super) fn is_known(pods: &BTreeMap<String, Pod>, name: &str) -> bool {
    pods.values().any(|pod| pod.is_called(name))
}

/// The pod called `name`: a uid, NAMESPACE/NAME, or a NAME that only one namespace has.
pub(super) fn find(pods: &BTreeMap<String, Pod>, name: &str) -> Done<Pod> {
    let found: Vec<&Pod> = pods.values().filter(|pod| pod.is_called(name)).collect();
    match found.as_slice() {
        [pod] => Ok((*pod).clone()),
        [] => {
            let known: Vec<_> = pods.values().map(Pod::to_string).collect();
            let hint = if known.is_empty() {
                "no pod has a volume here; flexvol up FILE brings one up".to_owned()
            } else {
                format!("pods with volumes here: {}", known.join(", "))
            };
            Err(Error::new(Kind::NotFound, format!("no pod {name:?} has a volume here")).hint(hint).into())
        }
        [_, _, ..] => {
            let which: Vec<_> = found.iter().map(|pod| format!("{pod} ({})", pod.uid)).collect();
            Err(Error::new(Kind::Invalid, format!("{name:?} may mean {}", which.join(" or ")))
                .hint("say NAMESPACE/NAME, or the uid")
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> BTreeMap<String, Pod> {
        let pod = |ns: &str, name: &str, uid: &str| {
            (uid.to_owned(), Pod { namespace: ns.into(), name: name.into(), uid: uid.into() })
        };
        BTreeMap::from([pod("a", "web", "u1"), pod("b", "web", "u2"), pod("a", "db", "u3")])
    }

    #[test]
    fn a_pod_is_found_by_what_is_unique() {
        assert_eq!(find(&pods(), "db").unwrap().uid, "u3");
        assert_eq!(find(&pods(), "b/web").unwrap().uid, "u2");
        assert_eq!(find(&pods(), "u1").unwrap().uid, "u1");
        assert!(find(&pods(), "web").is_err());
        assert!(find(&pods(), "nobody").is_err());
    }
}
