//! What is written down beside each tree that we make: that it is ours, what it is, and how far we are with it.

use flexvolume::{Code, Failure, Result};
use flexvolume_linux::tree::{Counts, Cursor};
use serde::{Deserialize, Serialize};

use crate::settings::OnDelete;

/// The record of a volume or a snapshot: there before anything is made, gone after everything is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Marker {
    /// What its host calls it.
    pub(crate) name: String,
    pub(crate) state: State,
    /// What was asked for. Nobody enforces it.
    pub(crate) bytes: u64,
    /// The id of what it is a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// Tells it from another one of its name, made before or after it.
    #[serde(default)]
    pub(crate) life: u64,
    /// The same of what it is a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) original: Option<u64>,
    /// When it was begun, in seconds since 1970.
    pub(crate) made: i64,
    #[serde(default)]
    pub(crate) on_delete: OnDelete,
    /// How far the copy is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<Cursor>,
    /// What was copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) copied: Option<Counts>,
}

/// How far we are with a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum State {
    /// It is being made, out of sight.
    Making,
    /// It is there.
    Ready,
    /// It is being deleted, and never handed out again.
    Deleting,
    /// It is out of its place; whatever is there now is somebody else's.
    Removing,
}

/// What a host asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) required: u64,
    pub(crate) limit: Option<u64>,
    /// The id of what it is to be a copy of.
    pub(crate) source: Option<String>,
    pub(crate) on_delete: OnDelete,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

impl Wish {
    /// The marker it begins with. A copy is no smaller than its original.
    ///
    /// # Errors
    /// `invalid`: the limit is below that.
    pub(crate) fn begin(&self, original: Option<&Marker>, life: u64, now: i64) -> Result<Marker> {
        let bytes = self.required.max(original.map_or(0, |original| original.bytes));
        if let Some(limit) = self.limit.filter(|limit| *limit < bytes) {
            let message = format!("the limit of {limit} bytes is below the {bytes} that are required");
            return Err(Failure::new(Code::Invalid, message));
        }
        Ok(Marker {
            name: self.name.clone(),
            state: State::Making,
            bytes,
            source: self.source.clone(),
            life,
            original: original.map(|original| original.life),
            made: now,
            on_delete: self.on_delete,
            cursor: None,
            copied: None,
        })
    }

    /// Whether what is there already is what is asked for.
    ///
    /// # Errors
    /// `conflict`, and in what they differ.
    pub(crate) fn same(&self, there: &Marker) -> Result<()> {
        let conflict = |other: &str| {
            let message = format!("there is one of the name {:?} already, with {other}", there.name);
            Err(Failure::new(Code::Conflict, message))
        };
        if there.name != self.name {
            return conflict("another name that is shortened to the same");
        }
        if there.source != self.source {
            return conflict("another source");
        }
        if there.bytes < self.required || self.limit.is_some_and(|limit| there.bytes > limit) {
            return conflict("another size");
        }
        Ok(())
    }
}

impl Marker {
    /// What was copied in all.
    pub(crate) fn count(&mut self, more: Counts) {
        let counts = self.copied.get_or_insert_default();
        counts.entries += more.entries;
        counts.changed += more.changed;
        counts.left_out += more.left_out;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> Wish {
        Wish {
            name: "pvc-1".into(),
            required: 100,
            limit: Some(200),
            source: None,
            on_delete: OnDelete::Delete,
            mode: None,
            uid: None,
            gid: None,
        }
    }

    #[test]
    fn the_same_again_is_the_same_and_another_is_a_conflict() {
        let marker = wish().begin(None, 7, 1).unwrap();
        assert_eq!((marker.bytes, marker.state), (100, State::Making));
        wish().same(&marker).unwrap();
        Wish { required: 0, limit: None, ..wish() }.same(&marker).unwrap();
        let others = [
            Wish { required: 101, ..wish() },
            Wish { required: 0, limit: Some(99), ..wish() },
            Wish { source: Some("p/x".into()), ..wish() },
            Wish { name: "other".into(), ..wish() },
        ];
        for other in others {
            assert_eq!(other.same(&marker).unwrap_err().code(), Some(Code::Conflict), "{other:?}");
        }
    }

    #[test]
    fn a_copy_is_no_smaller_than_its_source() {
        let of = |bytes| Marker { bytes, ..wish().begin(None, 7, 1).unwrap() };
        let copy = wish().begin(Some(&of(150)), 8, 1).unwrap();
        assert_eq!((copy.bytes, copy.life, copy.original), (150, 8, Some(7)));
        assert_eq!(wish().begin(Some(&of(201)), 8, 1).unwrap_err().code(), Some(Code::Invalid));
    }

    #[test]
    fn a_marker_comes_back_and_one_of_an_older_hand_is_read() {
        let mut marker = wish().begin(None, 7, 1).unwrap();
        marker.count(Counts { entries: 2, changed: 0, left_out: 1 });
        marker.count(Counts { entries: 3, changed: 1, left_out: 0 });
        let text = serde_json::to_string(&marker).unwrap();
        assert_eq!(serde_json::from_str::<Marker>(&text).unwrap(), marker);
        assert_eq!(marker.copied, Some(Counts { entries: 5, changed: 1, left_out: 1 }));
        let old: Marker = serde_json::from_str(r#"{"name":"x","state":"ready","bytes":1,"made":2}"#).unwrap();
        assert_eq!((old.on_delete, old.state), (OnDelete::Delete, State::Ready));
    }
}
