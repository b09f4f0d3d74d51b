//! Options that only later calls can make use of: answered when a volume is made, handed back by the host, and kept in
//! tags of the volume, so that a list can answer the same.

use std::collections::BTreeMap;

use flexvolume::Options;

use crate::{
    names::Uuid,
    place::{Place, VG_UUID},
    snapshot_room::ROOM,
    tags::{Tags, tag},
};

/// Options about the file system and snapshots.
const KEPT: [&str; 3] = ["mkfsOptions", "mountOptions", ROOM];

fn key(option: &str) -> String {
    format!("option.{option}")
}

/// The tags that keep those of a volume that is made with these options.
pub(crate) fn tags(options: &Options) -> Vec<String> {
    KEPT.iter().filter_map(|option| Some(tag(&key(option), options.get(option)?))).collect()
}

/// What a host is to hand back with every later call, by the options that the volume is made with.
pub(crate) fn options(place: &Place, vg: &Uuid, options: &Options) -> BTreeMap<String, String> {
    with(place, vg, |option| options.get(option).map(str::to_owned))
}

/// The same, of a volume that is there.
pub(crate) fn of_tags(place: &Place, vg: &Uuid, tags: &Tags) -> BTreeMap<String, String> {
    with(place, vg, |option| tags.get(&key(option)))
}

fn with(place: &Place, vg: &Uuid, kept: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let named = [("volumeID", place.lv.as_str()), ("volumegroup", place.vg.as_str()), (VG_UUID, vg.as_str())];
    let named = named.into_iter().map(|(option, value)| (option.to_owned(), value.to_owned()));
    named.chain(KEPT.iter().filter_map(|option| Some(((*option).to_owned(), kept(option)?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{LvName, VgName};

    #[test]
    fn a_list_answers_what_creation_answered() {
        let place = Place { vg: VgName::parse("vg").unwrap(), lv: LvName::parse("v").unwrap(), vg_uuid: None };
        let vg = Uuid::parse("4swbg6-XmD8-Vivq-AelE-8XO4-zsJ3-JdoK8j").unwrap();
        let mut given = Options::default();
        for (key, value) in [("mkfsOptions", "-m 1 -L a,b"), ("snapshotSize", "30%"), ("size", "1g")] {
            given.insert(key, value);
        }
        let answered = options(&place, &vg, &given);
        assert_eq!(of_tags(&place, &vg, &Tags::parse(&tags(&given).join(","))), answered);
        assert_eq!(answered.len(), 5, "{answered:?}");
        assert_eq!(answered["mkfsOptions"], "-m 1 -L a,b");
    }
}
