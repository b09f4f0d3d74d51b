//! What snapshots and clones say of themselves, in tags beside those of every volume of ours.
//!
//! | tag | |
//! |---|---|
//! | `flexvol.snapshot=VG/LV` | a snapshot, of this volume |
//! | `flexvol.of=UUID` | that volume's own UUID |
//! | `flexvol.created=SECONDS` | when it was taken, since 1970 |
//! | `flexvol.bytes=N` | how large that volume was then |
//! | `flexvol.for=UUID` | taken by ourselves, to be copied to the volume with this UUID; nobody else's |
//! | `flexvol.from=UUID` | a clone, of this volume or snapshot |
//! | `flexvol.source=VG/LV` | what that was called |
//! | `flexvol.blank=true` | a clone that nothing has been copied to yet |
//! | `flexvol.renew=UUID` | its file system still has the UUID of its original, and is given this one before its first mount |
//! | `flexvol.grow=true` | it is larger than its original, and its file system is to fill it |

use flexvolume::{Failure, Id, Result, Snapshot, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    names::{Uuid, VgName},
    place::Place,
    report::Volume,
    tags::{Ours, Tags, tag},
};

const SNAPSHOT: &str = "snapshot";
const OF: &str = "of";
const CREATED: &str = "created";
const BYTES: &str = "bytes";
const FOR: &str = "for";
const FROM: &str = "from";
const SOURCE: &str = "source";
const BLANK: &str = "blank";
const RENEW: &str = "renew";
const GROW: &str = "grow";

/// What a snapshot of ours says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// What every volume of ours says.
    pub(crate) ours: Ours,
    /// What the volume was called that it was taken of: `VG/LV`.
    pub(crate) source: String,
    /// That volume's own UUID.
    pub(crate) source_uuid: Uuid,
    /// When, in seconds since 1970.
    pub(crate) created: i64,
    /// How much it holds.
    pub(crate) bytes: u64,
    /// The volume that it is copied to, if it is there for that alone.
    pub(crate) copied_to: Option<Uuid>,
}

impl Taken {
    /// What the volume says of itself, if it is a snapshot of ours.
    pub(crate) fn read(volume: &Volume) -> Option<Self> {
        let tags = &volume.tags;
        Some(Self {
            ours: tags.ours()?,
            source: tags.get(SNAPSHOT)?,
            source_uuid: Uuid::parse(&tags.get(OF)?).ok()?,
            created: tags.get(CREATED)?.parse().ok()?,
            bytes: tags.get(BYTES)?.parse().ok()?,
            copied_to: tags.get(FOR).and_then(|uuid| Uuid::parse(&uuid).ok()),
        })
    }

    /// The tags that say so.
    pub(crate) fn tags(&self) -> Vec<String> {
        let mut tags = self.ours.tags();
        tags.extend([
            tag(SNAPSHOT, &self.source),
            tag(OF, self.source_uuid.as_str()),
            tag(CREATED, &self.created.to_string()),
            tag(BYTES, &self.bytes.to_string()),
        ]);
        tags.extend(self.copied_to.iter().map(|uuid| tag(FOR, uuid.as_str())));
        tags
    }

    /// What its host is told of it; `volume` is its row.
    ///
    /// # Errors
    /// Its tags are not as this driver writes them.
    pub(crate) fn answer(&self, volume: &Volume) -> Result<Snapshot> {
        self.told(&volume.group.name, &volume.name, self.is_ready(volume))
    }

    /// The same of one that was just taken there.
    ///
    /// # Errors
    /// As [`Taken::answer`].
    pub(crate) fn answer_new(&self, place: &Place) -> Result<Snapshot> {
        self.told(&place.vg, place.lv.as_str(), true)
    }

    fn told(&self, vg: &VgName, lv: &str, ready: bool) -> Result<Snapshot> {
        let created = Timestamp::from_unix(self.created, 0);
        let strange = |what: &str| Failure::internal(format!("the tags of {vg}/{lv} name no {what}"));
        // A group that was renamed takes its volumes along.
        let source = self.source.rsplit('/').next().unwrap_or_default();
        Ok(Snapshot {
            snapshot: Id::parse(&format!("{vg}/{lv}"))?,
            id: Some(Id::parse(&format!("{vg}/{source}"))?),
            bytes: Some(self.bytes),
            created: created.ok_or_else(|| strange("time"))?,
            ready,
        })
    }

    /// What a list says of it; `rows` are all volumes there are. Where its volume is gone and another one has the name, it is
    /// told as that of `VG/LV:UUID`, which is no id of any volume's.
    ///
    /// # Errors
    /// As [`Taken::answer`].
    pub(crate) fn listed(&self, volume: &Volume, rows: &[Volume]) -> Result<Snapshot> {
        let told = self.answer(volume)?;
        let name = self.source.rsplit('/').next().unwrap_or_default();
        let is_namesake =
            |row: &Volume| row.group.uuid == volume.group.uuid && row.name == name && row.uuid != self.source_uuid;
        if !rows.iter().any(is_namesake) {
            return Ok(told);
        }
        // An id has no room for more than 128 bytes.
        let former = Id::parse(&format!("{}/{name}:{}", volume.group.name, self.source_uuid));
        let id = former.or_else(|_| Id::parse(self.source_uuid.as_str()))?;
        Ok(Snapshot { id: Some(id), ..told })
    }

    /// Whether a volume can be made of it. Whether a thick one that is not active has overflowed is not known.
    pub(crate) fn is_ready(&self, volume: &Volume) -> bool {
        self.ours.state.is_none() && !volume.overflowed && !volume.partial
    }
}

/// Whether the volume holds what another one held, from its beginning on: then it is wiped even if it was never handed
/// out.
pub(crate) fn holds_another(tags: &Tags) -> bool {
    tags.get(FROM).is_some() || tags.get(SNAPSHOT).is_some()
}

/// Whether it is a clone that nothing was copied to: what its blocks hold is nobody's that it was made for.
pub(crate) fn is_blank(tags: &Tags) -> bool {
    tags.get(BLANK).is_some()
}

/// The tag that says so.
pub(crate) fn blank() -> String {
    tag(BLANK, "true")
}

/// Whose content a clone has, as its tags say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The volume or snapshot's own UUID.
    pub(crate) uuid: Uuid,
    /// What it was called: `VG/LV`.
    pub(crate) id: String,
}

impl Origin {
    /// What a clone says of its origin.
    pub(crate) fn read(tags: &Tags) -> Option<Self> {
        Some(Self { uuid: Uuid::parse(&tags.get(FROM)?).ok()?, id: tags.get(SOURCE)? })
    }

    /// The tags that say so.
    pub(crate) fn tags(&self) -> [String; 2] {
        [tag(FROM, self.uuid.as_str()), tag(SOURCE, &self.id)]
    }

    /// Whether it is this very volume or snapshot; one that is gone is known by what it was called.
    pub(crate) fn is(&self, place: &Place, row: Option<&Volume>) -> bool {
        let called = self.id.rsplit('/').next() == Some(place.lv.as_str());
        called && row.is_none_or(|row| row.uuid == self.uuid)
    }
}

/// What a clone lacks before it is as good as any other volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The UUID that its file system is given before the first mount.
    pub(crate) renew: Option<String>,
    /// Its file system is made as large as it.
    pub(crate) grow: bool,
}

impl Pending {
    /// What its tags say.
    pub(crate) fn read(tags: &Tags) -> Self {
        Self { renew: tags.get(RENEW), grow: tags.get(GROW).is_some() }
    }

    /// The tags that say so.
    pub(crate) fn tags(&self) -> Vec<String> {
        let grow = self.grow.then(|| tag(GROW, "true"));
        self.renew.iter().map(|uuid| tag(RENEW, uuid)).chain(grow).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        names::{LvName, VgName},
        report::Vg,
        tags::{State, Wipe},
    };

    const ONE: &str = "4swbg6-XmD8-Vivq-AelE-8XO4-zsJ3-JdoK8j";

    fn rows() -> Vec<Volume> {
        crate::report::read(include_bytes!("../tests/reports/snapshots.json")).unwrap()
    }

    fn row(name: &str) -> Volume {
        rows().into_iter().find(|one| one.name == name).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let ours = Ours { name: "nightly".into(), id: "vg/snap-nightly".into(), state: None, wipe: Wipe::Zero };
        for (copied_to, state) in [(None, None), (Some(Uuid::parse(ONE).unwrap()), Some(State::Creating))] {
            let ours = Ours { state, ..ours.clone() };
            let source = "vg/db".to_owned();
            let taken = Taken {
                ours,
                source,
                source_uuid: Uuid::parse(ONE).unwrap(),
                created: 1_700_000_000,
                bytes: 1 << 30,
                copied_to,
            };
            let volume = Volume { tags: Tags::parse(&taken.tags().join(",")), ..row("vol1") };
            assert_eq!(Taken::read(&volume), Some(taken));
            assert!(holds_another(&volume.tags));
        }
        let pending = Pending { renew: Some("ff09a88f-8013-4582-a3f4-26ccfce2b22d".into()), grow: true };
        assert_eq!(Pending::read(&Tags::parse(&pending.tags().join(","))), pending);
        assert_eq!(Pending::read(&Tags::default()), Pending::default());
        let origin = Origin { uuid: Uuid::parse(ONE).unwrap(), id: "vg/snap-nightly".into() };
        let tags = Tags::parse(&origin.tags().join(","));
        assert_eq!(Origin::read(&tags), Some(origin));
        assert!(holds_another(&tags));
    }

    #[test]
    fn an_origin_is_known_by_its_uuid_and_once_it_is_gone_by_its_name() {
        let place =
            |lv: &str| Place { vg: VgName::parse("vg").unwrap(), lv: LvName::parse(lv).unwrap(), vg_uuid: None };
        let origin = Origin { uuid: row("vol1").uuid, id: "vg/vol1".into() };
        assert!(origin.is(&place("vol1"), Some(&row("vol1"))) && origin.is(&place("vol1"), None));
        let another = Volume { uuid: Uuid::parse(ONE).unwrap(), ..row("vol1") };
        assert!(!origin.is(&place("vol1"), Some(&another)) && !origin.is(&place("vol2"), None));
    }

    #[test]
    fn snapshots_of_both_kinds_are_told_as_lvm_reports_them() {
        let told = |name: &str| {
            let row = row(name);
            Taken::read(&row).unwrap().answer(&row).unwrap()
        };
        let thick = told("snap-good");
        assert_eq!(
            (thick.id.as_ref().map(Id::as_str), thick.bytes, thick.ready),
            (Some("vg/vol1"), Some(64 << 20), true)
        );
        assert!(!told("snap-full").ready, "it overflowed");
        let thin = told("snap-thin");
        assert_eq!((thin.snapshot.as_str(), thin.bytes, thin.ready), ("vg/snap-thin", Some(100 << 20), true));
        let cut_off = Volume { partial: true, ..row("snap-good") };
        assert!(!Taken::read(&cut_off).unwrap().is_ready(&cut_off));
        assert_eq!(Taken::read(&row("vol1")), None);
        assert_eq!(Taken::read(&row("pool")), None);
    }

    #[test]
    fn the_snapshots_of_a_former_volume_are_not_those_of_its_namesake() {
        let snapshot = row("snap-thin");
        let id = |rows: &[Volume], snapshot: &Volume| {
            let id = Taken::read(snapshot).unwrap().listed(snapshot, rows).unwrap().id.unwrap();
            id.as_str().to_owned()
        };
        assert_eq!((id(&rows(), &snapshot), id(&[], &snapshot)), ("vg/db".into(), "vg/db".into()));
        let namesake = Volume { uuid: Uuid::parse(ONE).unwrap(), ..row("db") };
        let former = id(std::slice::from_ref(&namesake), &snapshot);
        assert_eq!(former, format!("vg/db:{}", row("db").uuid));
        assert!(Place::recorded(&former).is_err(), "no volume is called so");
        let elsewhere =
            Volume { group: Vg { uuid: Uuid::parse(ONE).unwrap(), ..namesake.group.clone() }, ..namesake.clone() };
        assert_eq!(id(&[elsewhere], &snapshot), "vg/db", "in another group");
        let group = Vg { name: VgName::parse(&"g".repeat(110)).unwrap(), ..snapshot.group.clone() };
        let of_long = id(&[namesake], &Volume { group, ..snapshot });
        assert!(of_long == row("db").uuid.as_str() && Place::recorded(&of_long).is_err());
    }
}
