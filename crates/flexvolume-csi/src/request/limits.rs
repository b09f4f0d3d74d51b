//! What the fields of a request may hold, and what the fields of an answer may: the limits of the CSI specification (Size Limits, and the
//! comments of each field).

use std::{collections::BTreeMap, path::Path};

use flexvolume_protocol::{Id, excerpt};
use tonic::Status;

use super::name::CsiName;
use crate::{
    status::{self, Rpc},
    wire::csi::{CapacityRange, Topology},
};

/// Bytes of any string that has no limit of its own.
pub(crate) const STRING: usize = 128;
/// Bytes of any map that has no limit of its own, keys and values together.
const MAP: usize = 4 << 10;
/// Bytes of the secrets of a call. Kubernetes hands over the whole Secret, which can be so large whatever CSI says.
const SECRETS: usize = 1 << 20;
/// Bytes of the id of a node.
const NODE_ID: usize = 256;
/// Bytes of a path, as the kernel has it, without the byte at its end.
const PATH: usize = 4095;
/// Characters of a topology's prefix and of its value.
const SEGMENT: usize = 63;

/// The size that a volume shall have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Bytes it must have at least; 0 is no wish.
    pub(crate) required: u64,
    /// Bytes it may have at most.
    pub(crate) limit: Option<u64>,
}

/// The page of a list that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// So many entries at most; 0 leaves it to the driver.
    pub(crate) max: u32,
    /// What the page before gave; `None` for the first.
    pub(crate) token: Option<String>,
}

impl Size {
    /// Whether a volume may have so many bytes.
    ///
    /// # Errors
    /// `OUT_OF_RANGE`: it has more, and none is made smaller.
    pub(crate) fn bears(self, bytes: u64) -> Result<(), Status> {
        match self.limit.filter(|limit| bytes > *limit) {
            Some(limit) => {
                let what = format!("the volume has {bytes} bytes, and at most {limit} are wanted");
                Err(status::out_of_range(format!("{what}; none is made smaller")))
            }
            None => Ok(()),
        }
    }
}

impl Wanted {
    /// Which page that is.
    pub(crate) fn page(&self) -> status::Page {
        status::Page::of(self.token.as_deref().unwrap_or_default())
    }
}

/// A string, which may be empty.
///
/// # Errors
/// `INVALID_ARGUMENT`: it is too long.
pub(crate) fn string<'a>(field: &str, text: &'a str) -> Result<&'a str, Status> {
    within(field, text.len(), STRING).map(|()| text)
}

/// A string that must be there.
///
/// # Errors
/// `INVALID_ARGUMENT`: it is missing or too long.
pub(crate) fn required<'a>(field: &str, text: &'a str) -> Result<&'a str, Status> {
    if text.is_empty() { Err(status::missing(field)) } else { string(field, text) }
}

/// The name of a volume or snapshot to be made: any text but for the characters that the specification bans.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub(crate) fn name<'a>(field: &str, text: &'a str) -> Result<&'a str, Status> {
    let banned = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    match required(field, text)?.chars().find(|c| banned(*c)) {
        Some(c) => Err(status::invalid(format!("{field} holds the control character {}", c.escape_unicode()))),
        None => Ok(text),
    }
}

/// The id of a volume or snapshot; `None` if no driver can have given it, so that there is nothing of that id.
///
/// # Errors
/// `INVALID_ARGUMENT`: it is missing or too long.
pub(crate) fn id(field: &str, text: &str) -> Result<Option<Id>, Status> {
    required(field, text).map(|text| Id::parse(text).ok())
}

/// The id of a volume that the call is of no use without.
///
/// # Errors
/// As [`id`], and `NOT_FOUND`: no driver can have given it.
pub(crate) fn volume(text: &str) -> Result<Id, Status> {
    let unknown = || status::not_found("there is no such volume: no driver can have given it that id");
    id("volume_id", text)?.ok_or_else(unknown)
}

/// The id of a node, which a client names.
///
/// # Errors
/// `INVALID_ARGUMENT`: it is missing or too long.
pub(crate) fn node<'a>(field: &str, text: &'a str) -> Result<&'a str, Status> {
    if text.is_empty() {
        return Err(status::missing(field));
    }
    within(field, text.len(), NODE_ID).map(|()| text)
}

/// A path that must be there. Where it may lead is not looked at here.
///
/// # Errors
/// `INVALID_ARGUMENT`: it is missing, too long, not absolute, or no path.
pub(crate) fn path<'a>(field: &str, text: &'a str) -> Result<&'a Path, Status> {
    if text.is_empty() {
        return Err(status::missing(field));
    }
    within(field, text.len(), PATH)?;
    if !text.starts_with('/') {
        return Err(status::invalid(format!("{field} is not absolute")));
    }
    if text.contains('\0') {
        return Err(status::invalid(format!("{field} holds a NUL")));
    }
    Ok(Path::new(text))
}

/// A map of a request. A value of it is never shown.
///
/// # Errors
/// `INVALID_ARGUMENT`: it is too large.
pub(crate) fn map(field: &str, map: &BTreeMap<String, String>) -> Result<(), Status> {
    within(field, weight(map), MAP)
}

/// The secrets of a request.
///
/// # Errors
/// `INVALID_ARGUMENT`: they are too large.
pub(crate) fn secrets(secrets: &BTreeMap<String, String>) -> Result<(), Status> {
    within("secrets", weight(secrets), SECRETS)
}

/// A list of a request whose strings have a limit together.
///
/// # Errors
/// `INVALID_ARGUMENT`: they are too large.
pub(crate) fn strings(field: &str, strings: &[String]) -> Result<(), Status> {
    within(field, strings.iter().map(String::len).sum(), MAP)
}

fn within(field: &str, bytes: usize, limit: usize) -> Result<(), Status> {
    match bytes > limit {
        true => Err(status::invalid(format!("{field} has {bytes} bytes, and may have {limit}"))),
        false => Ok(()),
    }
}

fn weight(map: &BTreeMap<String, String>) -> usize {
    map.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// The size that is asked for. None at all, and a range that says nothing, are no wish.
///
/// # Errors
/// `INVALID_ARGUMENT`: a size is negative. `OUT_OF_RANGE`: it must be larger than it may be.
pub(crate) fn size(range: Option<&CapacityRange>) -> Result<Size, Status> {
    let Some(range) = range else { return Ok(Size::default()) };
    let bytes = |field: &str, bytes: i64| {
        u64::try_from(bytes).map_err(|_| status::invalid(format!("{field} of capacity_range is negative")))
    };
    let required = bytes("required_bytes", range.required_bytes)?;
    let limit = Some(bytes("limit_bytes", range.limit_bytes)?).filter(|limit| *limit > 0);
    match limit {
        Some(limit) if limit < required => {
            Err(status::out_of_range(format!("a volume cannot have {required} bytes at least and {limit} at most")))
        }
        Some(_) | None => Ok(Size { required, limit }),
    }
}

/// The size that a volume shall grow to, where the request must say it.
///
/// # Errors
/// As [`size`], and `INVALID_ARGUMENT`: it does not say.
pub(crate) fn growth(range: Option<&CapacityRange>) -> Result<Size, Status> {
    match size(range)? {
        Size { required: 0, limit: None } => Err(status::missing("capacity_range")),
        size @ Size { .. } => Ok(size),
    }
}

/// The page that is asked for.
///
/// # Errors
/// `INVALID_ARGUMENT`: a negative number of entries. `ABORTED`: a token that we cannot have given.
pub(crate) fn page(max_entries: i32, token: &str) -> Result<Wanted, Status> {
    let max = u32::try_from(max_entries).map_err(|_| status::invalid("max_entries is negative"))?;
    match token.len() {
        ..=STRING => Ok(Wanted { max, token: Some(token.to_owned()).filter(|token| !token.is_empty()) }),
        _ => Err(status::bad_token("starting_token is none of ours: begin with an empty one")),
    }
}

/// A string that we answer, on the driver's word.
///
/// # Errors
/// It is too long: the driver's fault.
pub(crate) fn answer(rpc: Rpc, field: &str, text: String) -> Result<String, Status> {
    match text.len() {
        ..=STRING => Ok(text),
        long => Err(status::bad_answer(rpc, format!("the driver's {field} has {long} bytes; CSI allows {STRING}"))),
    }
}

/// A map that we answer, on the driver's word.
///
/// # Errors
/// It is too large: the driver's fault.
pub(crate) fn answers(
    rpc: Rpc,
    field: &str,
    map: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Status> {
    match weight(&map) {
        ..=MAP => Ok(map),
        large => Err(status::bad_answer(rpc, format!("the driver's {field} have {large} bytes; CSI allows {MAP}"))),
    }
}

/// A size that we answer, on the driver's word; 0 is unknown.
///
/// # Errors
/// CSI has no number for it: the driver's fault.
pub(crate) fn bytes(rpc: Rpc, bytes: Option<u64>) -> Result<i64, Status> {
    let bytes = bytes.unwrap_or_default();
    i64::try_from(bytes)
        .map_err(|_| status::bad_answer(rpc, format!("the driver says {bytes} bytes, more than CSI can say")))
}

/// A word for people that we answer: cut, since nothing hangs on its end.
pub(crate) fn words(text: &str) -> String {
    let text = excerpt(text, STRING);
    if text.len() <= STRING {
        return text;
    }
    let mut end = STRING - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// Our own id of this node.
///
/// # Errors
/// Words: it is empty or too long.
pub(crate) fn own_node(name: &str) -> Result<&str, String> {
    match name.len() {
        1..=NODE_ID => Ok(name),
        0 => Err("this node has no name".to_owned()),
        long => Err(format!("the name of this node has {long} bytes; CSI allows {NODE_ID}")),
    }
}

/// Where volumes that live on one node can be reached: on that node.
///
/// # Errors
/// Words: the name of the node cannot be a segment, which Kubernetes makes a label of.
pub(crate) fn topology(driver: &CsiName, node: &str) -> Result<Topology, String> {
    let (bytes, letter) = (node.as_bytes(), |byte: &u8| byte.is_ascii_alphanumeric());
    let framed = [bytes.first(), bytes.last()].iter().all(|end| end.is_some_and(letter));
    let inside = bytes.iter().all(|byte| letter(byte) || b"-_.".contains(byte));
    if !framed || !inside || node.len() > SEGMENT {
        return Err(format!(
            "the node's name {:?} cannot say where a volume lives: it must have 1 to {SEGMENT} letters, digits, `-`, `_` and `.`, and \
             begin and end with a letter or digit; give it another one",
            excerpt(node, 80)
        ));
    }
    // Of the driver's name alone: with a word before it the longest names would be too long for a prefix.
    Ok(Topology { segments: BTreeMap::from([(format!("{driver}/node"), node.to_owned())]) })
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
