//! The members of a well-formed answer, told apart by Go's rules.

use crate::capabilities::Capabilities;
use crate::fields::{Answer, Fields};
use crate::json;
use crate::reply::Code;

/// The members of a well-formed answer by Go's rules: letter case does not count, the last of several equal keys does,
/// null leaves what was there. `Err` names the member of the contract that has the wrong type; members of extensions
/// are unknown to Kubernetes, so a wrong type there is only noted.
pub(crate) fn decode(value: &[u8]) -> Result<Fields, String> {
    let mut fields = Fields::default();
    // What an object of capabilities is laid over. After a null Go makes a new one, in which nothing is granted.
    let mut capabilities = Capabilities::default();
    if value == b"null" {
        return Ok(fields);
    }
    let members = json::members(value).ok_or_else(|| format!("it is {}, not an object", json::kind(value)))?;
    for (key, raw) in members {
        let key = json::fold(&key);
        if raw == b"null" {
            if key == "capabilities" {
                fields.capabilities = None;
                capabilities = Capabilities::NONE;
            }
            continue;
        }
        let text = || json::string(raw).ok_or_else(|| wrong(&key, "a string", raw));
        match key.as_str() {
            "status" => fields.status = text()?,
            "message" => fields.message = Some(text()?),
            "device" => fields.device = Some(text()?),
            "volumename" => fields.volume_name = Some(text()?),
            "attached" => fields.attached = Some(boolean(raw).ok_or_else(|| wrong(&key, BOOLEAN, raw))?),
            "capabilities" => fields.capabilities.get_or_insert(capabilities).merge(raw)?,
            "volumenewsize" => drop(number::<i64>(raw).ok_or_else(|| wrong(&key, "a whole number of 64 bits", raw))?),
            "code" => fields.code = json::string(raw).and_then(|word| Code::parse(&word)),
            "extensions" => fields.extensions = json::elements(raw).and_then(|names| names.map(json::string).collect()),
            "volumes" => note(&mut fields, "volumes", raw, |f| &mut f.volumes, |raw| list("volumes", raw)),
            "snapshots" => note(&mut fields, "snapshots", raw, |f| &mut f.snapshots, |raw| list("snapshots", raw)),
            "next" => note(&mut fields, "next", raw, |f| &mut f.next, |raw| plain("next", raw)),
            "available" => note(&mut fields, "available", raw, |f| &mut f.available, |raw| size("available", raw)),
            "maximum" => note(&mut fields, "maximum", raw, |f| &mut f.maximum, |raw| size("maximum", raw)),
            "condition" => note(&mut fields, "condition", raw, |f| &mut f.condition, |raw| plain("condition", raw)),
            other => describe(&mut fields, other, raw),
        }
    }
    Ok(fields)
}

/// The members that describe one volume or snapshot, in an answer or in an object of a list.
fn describe(fields: &mut Fields, key: &str, raw: &[u8]) {
    match key {
        "id" => note(fields, "id", raw, |f| &mut f.id, |raw| plain("id", raw)),
        "bytes" => note(fields, "bytes", raw, |f| &mut f.bytes, |raw| size("bytes", raw)),
        "options" => note(
            fields,
            "options",
            raw,
            |f| &mut f.options,
            |raw| {
                let strings =
                    json::members(raw).and_then(|all| all.map(|(k, raw)| Some((k, json::string(raw)?))).collect());
                strings.ok_or_else(|| wrong("options", "an object of strings", raw))
            },
        ),
        "snapshot" => note(fields, "snapshot", raw, |f| &mut f.snapshot, |raw| plain("snapshot", raw)),
        "created" => note(fields, "created", raw, |f| &mut f.created, |raw| plain("created", raw)),
        "ready" => {
            note(fields, "ready", raw, |f| &mut f.ready, |raw| boolean(raw).ok_or_else(|| wrong("ready", BOOLEAN, raw)))
        }
        _ => {}
    }
}

/// The objects of a list, each taken as an answer of its own is; the first that is wrong is told by its place. What an
/// object holds beside its own members is passed over, lists within included, so nothing here recurses.
fn list<R: Answer>(key: &str, raw: &[u8]) -> Result<Vec<R>, String> {
    let elements = json::elements(raw).ok_or_else(|| wrong(key, "an array of objects", raw))?;
    let one = |(place, raw): (usize, &[u8])| {
        let place = format!("{key}[{place}]");
        let members = json::members(raw).ok_or_else(|| wrong(&place, "an object", raw))?;
        let mut fields = Fields::default();
        for (key, raw) in members.filter(|(_, raw)| *raw != b"null") {
            describe(&mut fields, &json::fold(&key), raw);
        }
        R::take(fields).map_err(|why| format!("in `{place}` {why}"))
    };
    elements.enumerate().map(one).collect()
}

/// Sets a member of an extension, or notes that it has the wrong type.
fn note<T>(
    fields: &mut Fields,
    key: &'static str,
    raw: &[u8],
    field: impl Fn(&mut Fields) -> &mut Option<T>,
    read: impl Fn(&[u8]) -> Result<T, String>,
) {
    let value = match read(raw) {
        Ok(value) => {
            fields.wrong.remove(key);
            Some(value)
        }
        Err(why) => {
            fields.wrong.insert(key, why);
            None
        }
    };
    *field(fields) = value;
}

fn wrong(key: &str, wanted: &str, raw: &[u8]) -> String {
    format!("`{key}` must be {wanted}, and this one is {}", json::kind(raw))
}

fn plain(key: &str, raw: &[u8]) -> Result<String, String> {
    json::string(raw).ok_or_else(|| wrong(key, "a string", raw))
}

fn size(key: &str, raw: &[u8]) -> Result<u64, String> {
    number(raw).ok_or_else(|| wrong(key, "a whole number of bytes", raw))
}

const BOOLEAN: &str = "true or false";

fn boolean(raw: &[u8]) -> Option<bool> {
    match raw {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

fn number<N: std::str::FromStr>(raw: &[u8]) -> Option<N> {
    std::str::from_utf8(raw).ok()?.parse().ok()
}
