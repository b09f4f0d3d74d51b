//! Ids: the pool, and the name of what lies in it.

use crate::{
    name::{Kind, Name, Place},
    settings::{Pool, PoolName, Settings},
};

/// How ids of snapshots go on after the pool.
const SNAPSHOT: &str = "snap";

/// The id by which [`of_id`] finds it.
pub(crate) fn id(pool: &PoolName, place: &Place) -> String {
    match place.kind {
        Kind::Volume => format!("{pool}/{}", place.name.as_str()),
        Kind::Snapshot => format!("{pool}/{SNAPSHOT}/{}", place.name.as_str()),
    }
}

/// What an id of ours names.
///
/// # Errors
/// It is none.
pub(crate) fn of_id(id: &str) -> std::result::Result<(PoolName, Place), &'static str> {
    let foreign = "it is no id of this driver's";
    let (pool, rest) = id.split_once('/').ok_or(foreign)?;
    let pool = pool.parse().map_err(|_| foreign)?;
    let (kind, name) = match rest.split_once('/') {
        Some((SNAPSHOT, name)) => (Kind::Snapshot, name),
        Some(_) => return Err(foreign),
        None => (Kind::Volume, rest),
    };
    Ok((pool, Place { kind, name: Name::parse(name)? }))
}

/// The pool that an id names, and what it is there; `None` for an id that is none of ours, or of a pool that is not there.
pub(crate) fn pooled<'a>(id: &str, settings: &'a Settings) -> Option<(&'a PoolName, &'a Pool, Place)> {
    let (name, place) = of_id(id).ok()?;
    settings.pools.get_key_value(&name).map(|(name, pool)| (name, pool, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_to_what_it_was_made_of_and_is_short_enough() {
        let pool: PoolName = "p".repeat(32).parse().unwrap();
        for (kind, name) in [(Kind::Volume, "v"), (Kind::Snapshot, "v"), (Kind::Snapshot, &*"n".repeat(88))] {
            let place = Place { kind, name: Name::of(name) };
            let id = id(&pool, &place);
            assert!(flexvolume::Id::parse(&id).is_ok(), "{id}");
            assert_eq!(of_id(&id), Ok((pool.clone(), place)));
        }
        for bad in ["", "v", "p/", "/v", "p/a/b", "p/snap/", "p/../x", "p/snap/a/b", "p/.flexvol", "p/archived-x"] {
            assert!(of_id(bad).is_err(), "{bad}");
        }
    }
}
