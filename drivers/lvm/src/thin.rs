//! Thin pools: how much they promise, how full they are, and whether a block reaches its next owner empty.

use flexvolume::{Code, Failure, Result, Size, World};

use crate::{
    group::Group,
    names::LvName,
    report::{Kind, Volume},
    settings::Settings,
};

/// A thin pool, and what is promised of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pool {
    /// `VG/POOL`.
    pub(crate) name: String,
    /// What it has, in bytes.
    pub(crate) bytes: u64,
    /// What its volumes and their snapshots may take together, in bytes.
    pub(crate) promised: u64,
    /// Blocks are zeroed before a volume gets them.
    pub(crate) zeroes: bool,
    /// What LVM says of its health; empty if all is well.
    pub(crate) health: String,
}

impl Pool {
    /// The pool of that name; `volumes` are all of its group.
    ///
    /// # Errors
    /// `notFound`: it is not there. `invalid`: it is no thin pool.
    pub(crate) fn look(name: &str, volumes: &[Volume], group: &Group) -> Result<Self> {
        let full = format!("{}/{name}", group.name);
        let found = volumes.iter().find(|one| one.name == name).ok_or_else(|| {
            Failure::new(Code::NotFound, format!("there is no thin pool {full}; make it: lvcreate --type thin-pool"))
        })?;
        if found.kind != Kind::ThinPool {
            return Err(Failure::new(Code::Invalid, format!("{full} is no thin pool")));
        }
        let promised = volumes.iter().filter(|one| one.pool() == Some(name)).map(|one| one.bytes).sum();
        Ok(Self { name: full, bytes: found.bytes, promised, zeroes: found.zeroes, health: found.health.clone() })
    }

    /// How much it may still promise; nothing if it is full or broken.
    pub(crate) fn left(&self, settings: &Settings) -> u64 {
        if self.health.is_empty() { settings.thin_overcommit.of(self.bytes).saturating_sub(self.promised) } else { 0 }
    }

    /// Whether it may promise `more` bytes.
    ///
    /// # Errors
    /// `exhausted`: it would promise more than the setting `thinOvercommit` allows, or it is full or broken.
    fn guard(&self, more: u64, settings: &Settings) -> Result<()> {
        if !self.health.is_empty() {
            let message = format!("the thin pool {} takes nothing new: LVM says {:?}", self.name, self.health);
            return Err(Failure::new(Code::Exhausted, message));
        }
        let (ratio, most) = (settings.thin_overcommit, settings.thin_overcommit.of(self.bytes));
        if self.promised.saturating_add(more) <= most {
            return Ok(());
        }
        let message = format!(
            "the thin pool {} has {} and has promised {}; with {} more it would promise beyond {ratio} times what it \
             has; extend it (lvextend), delete volumes, or raise the setting thinOvercommit",
            self.name,
            size(self.bytes),
            size(self.promised),
            size(more)
        );
        Err(Failure::new(Code::Exhausted, message))
    }

    /// Whether what a volume leaves here can be given to others.
    ///
    /// # Errors
    /// `invalid`: they could read what its blocks held.
    pub(crate) fn keeps_secrets(&self) -> Result<()> {
        keeping(&self.name, self.zeroes)
    }
}

/// The same of the pool that a thin volume takes its blocks from; of others there is nothing to say.
///
/// # Errors
/// As [`Pool::keeps_secrets`].
pub(crate) fn keeps_secrets(volume: &Volume) -> Result<()> {
    match volume.pool() {
        Some(pool) => keeping(&format!("{}/{pool}", volume.group.name), volume.zeroes),
        None => Ok(()),
    }
}

fn keeping(name: &str, zeroes: bool) -> Result<()> {
    if zeroes {
        return Ok(());
    }
    let message = format!(
        "the thin pool {name} does not zero blocks before a volume gets them, so one owner could read another's; \
         let it: lvchange -Zy {name}; or say that it does not matter: wipe: \"none\""
    );
    Err(Failure::new(Code::Invalid, message))
}

/// What a person should hear of a pool before it is full.
pub(crate) fn warnings(pool: &Volume, settings: &Settings) -> Vec<String> {
    if pool.kind != Kind::ThinPool {
        return Vec::new();
    }
    let name = format!("{}/{}", pool.group.name, pool.name);
    let full = |what: &str, percent: Option<f64>| {
        let percent = percent.filter(|percent| settings.thin_warn.reached_by(*percent))?;
        Some(format!("the thin pool {name} has {percent:.1} % of its {what} in use; extend it before it is full"))
    };
    let health =
        (!pool.health.is_empty()).then(|| format!("the thin pool {name} is not well: LVM says {:?}", pool.health));
    [health, full("data", pool.data_percent), full("metadata", pool.metadata_percent)].into_iter().flatten().collect()
}

/// The pool of that name, if it may promise `more` bytes. What a person should hear of it goes to the log; `volumes` are all
/// of its group.
///
/// # Errors
/// As [`Pool::look`] and [`Pool::guard`].
pub(crate) fn promise(name: &str, more: u64, volumes: &[Volume], group: &Group, world: &World) -> Result<Pool> {
    let settings = Settings::read(world)?;
    let found = volumes.iter().find(|one| one.name == name);
    found.iter().flat_map(|pool| warnings(pool, &settings)).for_each(|warning| world.log(warning));
    let pool = Pool::look(name, volumes, group)?;
    pool.guard(more, &settings)?;
    Ok(pool)
}

/// Whether a volume takes its blocks from that pool.
pub(crate) fn is_in(volume: &Volume, pool: Option<&LvName>) -> bool {
    volume.pool() == pool.map(LvName::as_str)
}

/// Bytes as people write them.
pub(crate) fn size(bytes: u64) -> String {
    Size::from_bytes(bytes).map_or_else(|| "nothing".to_owned(), |size| size.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(promised: u64) -> Pool {
        Pool { name: "vg/pool".into(), bytes: 1000, promised, zeroes: true, health: String::new() }
    }

    fn settings(text: &str) -> Settings {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn it_promises_what_it_has_and_no_more_unless_it_is_told_to() {
        let usual = settings("{}");
        assert!(pool(400).guard(600, &usual).is_ok());
        let failure = pool(400).guard(601, &usual).unwrap_err();
        assert_eq!(failure.code(), Some(Code::Exhausted));
        for word in ["1000b", "400b", "601b", "thinOvercommit"] {
            assert!(failure.to_string().contains(word), "no {word} in: {failure}");
        }
        let more = settings(r#"{"thinOvercommit":2.5}"#);
        assert!(pool(400).guard(2100, &more).is_ok() && pool(400).guard(2101, &more).is_err());
        assert!(pool(u64::MAX).guard(u64::MAX, &more).is_err());
        assert!(pool(0).guard(1, &settings(r#"{"thinOvercommit":0}"#)).is_err());
        let broken = Pool { health: "out_of_data".into(), ..pool(0) };
        assert!(broken.guard(1, &more).unwrap_err().to_string().contains("out_of_data"));
    }

    #[test]
    fn one_that_does_not_zero_keeps_no_secrets() {
        assert!(pool(0).keeps_secrets().is_ok());
        let failure = Pool { zeroes: false, ..pool(0) }.keeps_secrets().unwrap_err();
        assert!(failure.to_string().contains("lvchange -Zy vg/pool"), "{failure}");
        let all: Vec<Volume> = crate::report::read(include_bytes!("../tests/reports/lvs.json")).unwrap();
        let row = |name: &str| all.iter().find(|one| one.name == name).unwrap().clone();
        assert!(keeps_secrets(&row("thin")).is_ok() && keeps_secrets(&row("vol1")).is_ok());
        let careless = keeps_secrets(&Volume { zeroes: false, ..row("thin") }).unwrap_err();
        assert_eq!(careless.to_string(), failure.to_string());
    }

    #[test]
    fn fill_is_told_of_data_and_of_metadata() {
        let all: Vec<Volume> = crate::report::read(include_bytes!("../tests/reports/lvs.json")).unwrap();
        let row = all.iter().find(|one| one.name == "pool").unwrap();
        assert!(warnings(row, &settings("{}")).is_empty());
        assert_eq!(warnings(row, &settings(r#"{"thinWarn":10}"#)).len(), 1, "its metadata is 10.94 % full");
        let full = Volume { data_percent: Some(80.0), metadata_percent: Some(99.9), ..row.clone() };
        let told = warnings(&full, &settings("{}"));
        assert!(told.len() == 2 && told[0].contains("80.0 % of its data") && told[1].contains("metadata"), "{told:?}");
        let ill = Volume { health: "failed".into(), ..row.clone() };
        assert!(warnings(&ill, &settings("{}"))[0].contains("failed"));
        let volume = all.iter().find(|one| one.name == "thin").unwrap();
        assert!(warnings(&Volume { data_percent: Some(100.0), ..volume.clone() }, &settings("{}")).is_empty());
    }
}
