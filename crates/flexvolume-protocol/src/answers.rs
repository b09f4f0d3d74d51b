//! Each typed reply into the members of an answer and back: which must be there, and what they must be.

use crate::extension::Extension;
use crate::fields::{Answer, Fields};
use crate::id::Id;
use crate::reply::{Attached, InitReply, VolumeNameReply};
use crate::storage::{Capacity, Condition, Created, Expanded, Health, Snapshot, SnapshotList, VolumeList};
use crate::timestamp::Timestamp;
use crate::wire::Device;

impl Answer for () {
    fn put(self, _: &mut Fields) {}
    fn take(_: Fields) -> Result<Self, String> {
        Ok(())
    }
}

impl Answer for Device {
    fn put(self, fields: &mut Fields) {
        fields.device = Some(self.0);
    }
    fn take(fields: Fields) -> Result<Self, String> {
        Ok(Self(fields.device.unwrap_or_default()))
    }
}

impl Answer for Attached {
    fn put(self, fields: &mut Fields) {
        fields.attached = Some(self.0);
    }
    fn take(fields: Fields) -> Result<Self, String> {
        Ok(Self(fields.attached.unwrap_or_default()))
    }
}

impl Answer for VolumeNameReply {
    fn put(self, fields: &mut Fields) {
        fields.volume_name = Some(self.0);
    }
    fn take(fields: Fields) -> Result<Self, String> {
        Ok(Self(fields.volume_name.unwrap_or_default()))
    }
}

impl Answer for InitReply {
    fn put(self, fields: &mut Fields) {
        fields.capabilities = Some(self.capabilities);
        let known = self.extensions.iter().map(|extension| extension.as_str().to_owned());
        let names: Vec<String> = known.chain(self.unknown).collect();
        fields.extensions = Some(names).filter(|names| !names.is_empty());
    }
    fn take(fields: Fields) -> Result<Self, String> {
        let mut reply = Self { capabilities: fields.capabilities.unwrap_or_default(), ..Self::default() };
        for name in fields.extensions.unwrap_or_default() {
            match Extension::parse(&name) {
                Some(extension) => drop(reply.extensions.insert(extension)),
                None => reply.unknown.push(name),
            }
        }
        Ok(reply)
    }
}

impl Answer for Expanded {
    fn put(self, fields: &mut Fields) {
        fields.bytes = self.bytes;
    }
    fn take(mut fields: Fields) -> Result<Self, String> {
        refuse(&mut fields, &["bytes"])?;
        Ok(Self { bytes: fields.bytes })
    }
}

impl Answer for Created {
    fn put(self, fields: &mut Fields) {
        fields.id = Some(self.id.into());
        fields.bytes = self.bytes;
        fields.options = Some(self.options).filter(|options| !options.is_empty());
    }
    fn take(mut fields: Fields) -> Result<Self, String> {
        refuse(&mut fields, &["id", "bytes", "options"])?;
        let id = id("id", fields.id)?.ok_or_else(|| missing("id", "a string"))?;
        Ok(Self { id, bytes: fields.bytes, options: fields.options.unwrap_or_default() })
    }
}

impl Answer for VolumeList {
    fn put(self, fields: &mut Fields) {
        fields.volumes = Some(self.volumes);
        fields.next = self.next.filter(|token| !token.is_empty());
    }
    fn take(mut fields: Fields) -> Result<Self, String> {
        refuse(&mut fields, &["volumes", "next"])?;
        let volumes = fields.volumes.ok_or_else(|| missing("volumes", "an array of objects"))?;
        Ok(Self { volumes, next: fields.next.filter(|token| !token.is_empty()) })
    }
}

impl Answer for Snapshot {
    fn put(self, fields: &mut Fields) {
        fields.snapshot = Some(self.snapshot.into());
        fields.id = self.id.map(String::from);
        fields.bytes = self.bytes;
        fields.created = Some(self.created.to_string());
        fields.ready = Some(self.ready);
    }
    fn take(mut fields: Fields) -> Result<Self, String> {
        refuse(&mut fields, &["snapshot", "id", "bytes", "created", "ready"])?;
        let created = fields.created.ok_or_else(|| missing("created", TIME))?;
        Ok(Self {
            snapshot: id("snapshot", fields.snapshot)?.ok_or_else(|| missing("snapshot", "a string"))?,
            id: id("id", fields.id)?,
            bytes: fields.bytes,
            created: Timestamp::parse(&created).map_err(|_| format!("`created` must be {TIME}"))?,
            ready: fields.ready.ok_or_else(|| missing("ready", "true or false"))?,
        })
    }
}

impl Answer for SnapshotList {
    fn put(self, fields: &mut Fields) {
        fields.snapshots = Some(self.snapshots);
        fields.next = self.next.filter(|token| !token.is_empty());
    }
    fn take(mut fields: Fields) -> Result<Self, String> {
        refuse(&mut fields, &["snapshots", "next"])?;
        let snapshots = fields.snapshots.ok_or_else(|| missing("snapshots", "an array of objects"))?;
        // Who lists many volumes' snapshots has nothing else to tell them apart by.
        if let Some(place) = snapshots.iter().position(|one| one.id.is_none()) {
            return Err(format!("in `snapshots[{place}]` {}", missing("id", "a string")));
        }
        Ok(Self { snapshots, next: fields.next.filter(|token| !token.is_empty()) })
    }
}

impl Answer for Capacity {
    fn put(self, fields: &mut Fields) {
        fields.available = Some(self.available);
        fields.maximum = self.maximum;
    }
    fn take(mut fields: Fields) -> Result<Self, String> {
        refuse(&mut fields, &["available", "maximum"])?;
        let available = fields.available.ok_or_else(|| missing("available", "a whole number of bytes"))?;
        Ok(Self { available, maximum: fields.maximum })
    }
}

impl Answer for Health {
    fn put(self, fields: &mut Fields) {
        fields.condition = Some(self.condition.as_str().to_owned());
        fields.message = Some(self.message).filter(|message| !message.is_empty());
    }
    fn take(mut fields: Fields) -> Result<Self, String> {
        refuse(&mut fields, &["condition"])?;
        let wanted = || format!("one of {}", Condition::ALL.map(Condition::as_str).join(", "));
        let word = fields.condition.ok_or_else(|| missing("condition", &wanted()))?;
        let condition = Condition::parse(&word).ok_or_else(|| format!("`condition` must be {}", wanted()))?;
        Ok(Self { condition, message: fields.message.unwrap_or_default() })
    }
}

const TIME: &str = "a time of RFC 3339, such as 2026-03-01T12:00:00Z";

/// Members that this reply needs and that have the wrong type.
fn refuse(fields: &mut Fields, needed: &[&'static str]) -> Result<(), String> {
    needed.iter().find_map(|key| fields.wrong.remove(*key)).map_or(Ok(()), Err)
}

/// A bare Success is what a script says to verbs that it does not know; it must not pass for "nothing is there".
fn missing(key: &str, wanted: &str) -> String {
    format!("`{key}` must be {wanted}, and there is none")
}

fn id(key: &str, text: Option<String>) -> Result<Option<Id>, String> {
    text.map(|text| Id::parse(&text)).transpose().map_err(|error| format!("`{key}` is no id: {}", error.why))
}
