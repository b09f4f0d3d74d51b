//! What LVM reports, typed: the exact fields that are asked for, and one row for each volume, volume group and disk.
//!
//! `lvs`, `vgs` and `pvs` are asked for JSON with sizes in bytes. Every value is a text there; what is unknown because
//! the volume is not active is `"unknown"` or `""`.

use std::{collections::BTreeMap, path::PathBuf};

use flexvolume::{Failure, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    names::{LvName, Uuid, VgName},
    tags::Tags,
};

/// What goes before the fields of every report.
pub(crate) const FORMAT: [&str; 5] = ["--reportformat", "json", "--units", "b", "--nosuffix"];

/// One kind of row.
pub(crate) trait Row: Sized {
    /// The command that reports it.
    const COMMAND: &str;
    /// What the report calls it.
    const KEY: &str;
    /// The fields that are asked for, as `-o` takes them.
    const FIELDS: &str;
    /// Reads one row.
    ///
    /// # Errors
    /// A field is missing or is not what LVM writes there.
    fn read(fields: &Fields) -> Result<Self>;
}

/// A logical volume that people can see.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Volume {
    /// Its name; that of a volume that [`LvName`] would refuse stays a mere text.
    pub(crate) name: String,
    /// Its own for ever.
    pub(crate) uuid: Uuid,
    /// Its group.
    pub(crate) group: Vg,
    /// In bytes; of a thin one what it promises.
    pub(crate) bytes: u64,
    /// What stands on it.
    pub(crate) tags: Tags,
    /// What it is made of.
    pub(crate) kind: Kind,
    /// It has thick snapshots, which die with it.
    pub(crate) thick_origin: bool,
    /// It is the external origin of thin volumes, which die with it.
    pub(crate) external_origin: bool,
    /// What it is a snapshot of, thin or thick.
    pub(crate) origin: Option<String>,
    /// It has a device.
    pub(crate) active: bool,
    /// Somebody has its device open: a mount, a program, another device.
    pub(crate) open: bool,
    /// Its device takes no I/O: a command was cut off.
    pub(crate) suspended: bool,
    /// A disk of it is missing.
    pub(crate) partial: bool,
    /// What LVM says of its health; empty if all is well.
    pub(crate) health: String,
    /// How full it is in percent, where LVM knows: thin pools, thin volumes, thick snapshots; active ones only.
    pub(crate) data_percent: Option<f64>,
    /// The same for the metadata of a thin pool.
    pub(crate) metadata_percent: Option<f64>,
    /// A thick snapshot that had no room left for what its origin lost: its content is gone. Known of active ones only.
    pub(crate) overflowed: bool,
    /// The metadata of a thin pool has to be checked before it takes anything new. Known of active ones only.
    pub(crate) check_needed: bool,
    /// Of a thin pool, and of what takes blocks from one: they are zeroed before a volume gets them.
    pub(crate) zeroes: bool,
    /// `/dev/VG/LV`, as LVM says it; inner ones have none.
    pub(crate) path: Option<PathBuf>,
    /// `/dev/mapper/…`, as LVM says it.
    pub(crate) dm_path: Option<PathBuf>,
}

/// What a logical volume is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It has all its blocks: linear, striped, raid, cached and the like.
    Thick,
    /// It takes blocks from this pool when they are written.
    Thin {
        /// The pool's name.
        pool: String,
    },
    /// A thick snapshot: it takes blocks when its origin is written, and breaks when it has no more.
    ThickSnapshot,
    /// A thin pool.
    ThinPool,
    /// Something LVM keeps for other volumes.
    Inner,
}

impl Row for Volume {
    const COMMAND: &str = "lvs";
    const KEY: &str = "lv";
    const FIELDS: &str = "lv_name,lv_uuid,lv_size,lv_tags,lv_layout,lv_role,lv_attr,pool_lv,origin,lv_active,lv_device_open,\
        lv_suspended,lv_health_status,data_percent,metadata_percent,lv_snapshot_invalid,lv_check_needed,lv_path,lv_dm_path,\
        vg_name,vg_uuid,vg_size,vg_free,vg_extent_size,vg_missing_pv_count";

    fn read(fields: &Fields) -> Result<Self> {
        let health = fields.text("lv_health_status")?.to_owned();
        Ok(Self {
            name: fields.text("lv_name")?.to_owned(),
            uuid: fields.parse("lv_uuid", Uuid::parse)?,
            group: Vg::read(fields)?,
            bytes: fields.number("lv_size")?,
            tags: Tags::parse(fields.text("lv_tags")?),
            kind: kind(fields.text("lv_layout")?, fields.text("lv_role")?, fields.text("pool_lv")?),
            thick_origin: has(fields.text("lv_role")?, "thickorigin"),
            external_origin: has(fields.text("lv_role")?, "extthinorigin"),
            origin: fields.some("origin")?.map(str::to_owned),
            active: fields.text("lv_active")? == "active",
            open: fields.text("lv_device_open")? == "open",
            suspended: fields.text("lv_suspended")? == "suspended",
            partial: health == "partial",
            health,
            data_percent: fields.percent("data_percent")?,
            metadata_percent: fields.percent("metadata_percent")?,
            overflowed: fields.text("lv_snapshot_invalid")? == "snapshot invalid",
            check_needed: fields.text("lv_check_needed")? == "check needed",
            // The field `zero` says it too, and a row for each part of a volume with it.
            zeroes: fields.text("lv_attr")?.chars().nth(7) == Some('z'),
            path: fields.some("lv_path")?.map(PathBuf::from),
            dm_path: fields.some("lv_dm_path")?.map(PathBuf::from),
        })
    }
}

impl Volume {
    /// Whether it has that name.
    pub(crate) fn is(&self, lv: &LvName) -> bool {
        self.name == lv.as_str()
    }

    /// The pool it takes its blocks from.
    pub(crate) fn pool(&self) -> Option<&str> {
        match &self.kind {
            Kind::Thin { pool } => Some(pool),
            Kind::Thick | Kind::ThickSnapshot | Kind::ThinPool | Kind::Inner => None,
        }
    }
}

fn kind(layout: &str, role: &str, pool: &str) -> Kind {
    match () {
        () if has(layout, "thin") && has(layout, "pool") => Kind::ThinPool,
        () if has(layout, "pool") || has(role, "private") => Kind::Inner,
        () if has(layout, "thin") => Kind::Thin { pool: pool.to_owned() },
        () if has(role, "thicksnapshot") => Kind::ThickSnapshot,
        () => Kind::Thick,
    }
}

/// Whether a list with commas holds the word.
fn has(list: &str, word: &str) -> bool {
    list.split(',').any(|one| one == word)
}

/// A volume group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vg {
    /// Its name.
    pub(crate) name: VgName,
    /// Its own for ever.
    pub(crate) uuid: Uuid,
    /// All of it, in bytes.
    pub(crate) bytes: u64,
    /// What no volume has, in bytes.
    pub(crate) free: u64,
    /// Sizes of volumes are multiples of it, in bytes.
    pub(crate) extent: u64,
    /// Disks of it that are missing.
    pub(crate) missing_disks: u64,
}

impl Row for Vg {
    const COMMAND: &str = "vgs";
    const KEY: &str = "vg";
    const FIELDS: &str = "vg_name,vg_uuid,vg_size,vg_free,vg_extent_size,vg_missing_pv_count";

    fn read(fields: &Fields) -> Result<Self> {
        Ok(Self {
            name: fields.parse("vg_name", VgName::parse)?,
            uuid: fields.parse("vg_uuid", Uuid::parse)?,
            bytes: fields.number("vg_size")?,
            free: fields.number("vg_free")?,
            extent: fields.number("vg_extent_size")?,
            missing_disks: fields.number("vg_missing_pv_count")?,
        })
    }
}

impl Vg {
    /// What LVM makes of a size: whole extents.
    pub(crate) fn round_up(&self, bytes: u64) -> u64 {
        bytes.checked_next_multiple_of(self.extent.max(1)).unwrap_or(u64::MAX)
    }

    /// The largest size that LVM would leave as it is.
    pub(crate) fn round_down(&self, bytes: u64) -> u64 {
        bytes - bytes % self.extent.max(1)
    }
}

/// A disk (or whatever LVM takes for one) of a volume group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pv {
    /// Its device; `None` if it is not there.
    pub(crate) device: Option<String>,
    /// The group's name.
    pub(crate) vg: VgName,
    /// The group's own for ever.
    pub(crate) vg_uuid: Uuid,
    /// The host that the group belongs to; empty if to any.
    pub(crate) system: String,
    /// The group was taken out of use, to be carried elsewhere.
    pub(crate) exported: bool,
    /// Other hosts use the group at the same time.
    pub(crate) shared: bool,
    /// It is not there, or was not there when the group was changed.
    pub(crate) missing: bool,
    /// A copy of another one, which LVM does not use.
    pub(crate) duplicate: bool,
}

/// A row for every block device; those in no volume group are `None`.
impl Row for Option<Pv> {
    const COMMAND: &str = "pvs";
    const KEY: &str = "pv";
    const FIELDS: &str =
        "pv_name,vg_name,vg_uuid,vg_systemid,vg_exported,vg_shared,vg_clustered,pv_missing,pv_duplicate";

    fn read(fields: &Fields) -> Result<Self> {
        // Of a disk whose group cannot be read, LVM says "[unknown]".
        if fields.text("vg_name")?.is_empty() || fields.text("vg_name")?.starts_with('[') {
            return Ok(None);
        }
        let is = |key: &str| Ok::<_, Failure>(!fields.text(key)?.is_empty());
        let name = fields.text("pv_name")?;
        Ok(Some(Pv {
            device: name.starts_with('/').then(|| name.to_owned()),
            vg: fields.parse("vg_name", VgName::parse)?,
            vg_uuid: fields.parse("vg_uuid", Uuid::parse)?,
            system: fields.text("vg_systemid")?.to_owned(),
            exported: is("vg_exported")?,
            shared: is("vg_shared")? || is("vg_clustered")?,
            missing: is("pv_missing")?,
            duplicate: is("pv_duplicate")?,
        }))
    }
}

/// The fields of one row, by name.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Fields(BTreeMap<String, Value>);

impl Fields {
    /// A text; it may be empty.
    pub(crate) fn text(&self, key: &str) -> Result<&str> {
        match self.0.get(key) {
            Some(Value::String(text)) => Ok(text.trim()),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => {
                Err(strange(&format!("the field {key} is missing or no text")))
            }
        }
    }

    /// A text that is there.
    pub(crate) fn some(&self, key: &str) -> Result<Option<&str>> {
        Ok(Some(self.text(key)?).filter(|text| !text.is_empty()))
    }

    /// A whole number.
    pub(crate) fn number(&self, key: &str) -> Result<u64> {
        let text = self.text(key)?;
        text.parse().map_err(|_| strange(&format!("the field {key} is {text:?}, which is no number")))
    }

    /// A percentage, where it is known.
    pub(crate) fn percent(&self, key: &str) -> Result<Option<f64>> {
        let known = self.some(key)?.map(str::parse);
        known.transpose().map_err(|_| strange(&format!("the field {key} is no percentage")))
    }

    fn parse<T, E: std::fmt::Display>(&self, key: &str, parse: fn(&str) -> std::result::Result<T, E>) -> Result<T> {
        parse(self.text(key)?).map_err(|error| strange(&format!("the field {key}: {error}")))
    }
}

fn strange(what: &str) -> Failure {
    Failure::internal(format!("LVM's report is not as expected: {what}"))
}

#[derive(Deserialize)]
struct Report {
    report: Vec<BTreeMap<String, Value>>,
}

/// All rows of a report.
///
/// # Errors
/// It is not what LVM writes.
pub(crate) fn read<T: Row>(json: &[u8]) -> Result<Vec<T>> {
    let report: Report = serde_json::from_slice(json).map_err(|error| strange(&format!("it is no JSON ({error})")))?;
    let mut rows = Vec::new();
    for mut part in report.report {
        // Beside the rows there may be a log, if the machine's lvm.conf asks for it.
        let Some(found) = part.remove(T::KEY) else { continue };
        let found: Vec<Fields> = serde_json::from_value(found).map_err(|_| strange("its rows are no objects"))?;
        for fields in &found {
            rows.push(T::read(fields)?);
        }
    }
    Ok(rows)
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
