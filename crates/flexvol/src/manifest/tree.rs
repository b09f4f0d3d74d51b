//! YAML as a tree that remembers where each value stood, so that every later complaint can point at line and column.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned, UserMessageFormatter};

use super::problem::{ManifestError, Place};
use super::source::{Source, document_at};

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub(super) line: u64,
    pub(super) column: u64,
}

/// A value and where it stands. No `Debug`: it may be part of a Secret.
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

/// What a value is by the rules kubectl uses: an unquoted `yes` is a boolean and `0644` a number in octal.
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

pub(super) struct Key {
    pub(super) at: At,
    pub(super) text: String,
}

/// Where the fields of one object stand, by path (`spec.volumes[0].name`).
#[derive(Debug, Clone)]
pub(super) struct Places {
    file: String,
    document: usize,
    start: At,
    fields: BTreeMap<String, Field>,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    key: At,
    value: At,
}

/// Reads all documents of a source; empty ones are left out.
///
/// Anchors, aliases and merge keys are resolved, within limits that no honest manifest reaches.
pub(super) fn read(source: &Source) -> Result<Vec<Node>, ManifestError> {
    let failed = |why: String| ManifestError::new(&source.name, format!("cannot be read: {why}"));
    std::thread::scope(|scope| {
        // The parser needs some 40 KiB of stack for a level of nesting, and our caller may be a small thread.
        let thread = std::thread::Builder::new().stack_size(16 << 20).spawn_scoped(scope, || read_here(source));
        let thread = thread.map_err(|error| failed(format!("no thread for it: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(failed("the YAML parser gave up".to_owned())))
    })
}

fn read_here(source: &Source) -> Result<Vec<Node>, ManifestError> {
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_documents: 10_000 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        legacy_octal_numbers: true,
        ignore_binary_tag_for_string: true,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
        // A snippet would show lines of a Secret.
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let at = error.location().map_or(At::START, At::of);
        let line = text.lines().nth(at.line.saturating_sub(1) as usize);
        let tab = line.is_some_and(|line| line.trim_start_matches(' ').starts_with('\t'));
        let error = ManifestError::new("the YAML", why(&error)).at(at.place(source));
        match tab {
            true => error.hint("indent with spaces: YAML allows no tab there"),
            false => error,
        }
    })
}

/// The parser's message without the place, which we show ourselves.
fn why(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::{Error, MessageFormatter};
    let error = error.without_snippet();
    if let Error::AliasError { error, .. } = error {
        return why(error);
    }
    if let Error::AliasReplayLimitExceeded { .. } = error {
        return "its aliases expand to more than any manifest needs".to_owned();
    }
    super::problem::shown(&UserMessageFormatter.format_message(error).replace('\n', "; "))
}

/// Adds a key to a path.
pub(super) fn child(path: &str, key: &str) -> String {
    let simple = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    match (simple, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[\"{}\"]", super::problem::shown(key)),
    }
}

/// Adds a position in a list to a path.
pub(super) fn element(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

impl At {
    pub(super) const START: At = At { line: 1, column: 1 };

    fn of(location: Location) -> Self {
        match location.line() {
            0 => Self::START,
            line => Self { line, column: location.column() },
        }
    }

    pub(super) fn place(self, source: &Source) -> Place {
        Place {
            file: source.name.clone(),
            document: document_at(&source.text, self.line),
            line: self.line,
            column: self.column,
        }
    }
}

impl Node {
    /// The value of a key, if this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let found = self.entries().iter().find(|(k, _)| k.text == key);
        found.map(|(_, node)| node)
    }

    /// The entries, if this is a map; else none.
    pub(super) fn entries(&self) -> &[(Key, Node)] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    /// The elements, if this is a list; else none.
    pub(super) fn elements(&self) -> &[Node] {
        if let Value::List(elements) = &self.value { elements } else { &[] }
    }

    /// The text, if this is a string.
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }
}

impl Places {
    pub(super) fn of(node: &Node, source: &Source) -> Self {
        let mut places = Self {
            file: source.name.clone(),
            document: document_at(&source.text, node.at.line),
            start: node.at,
            fields: BTreeMap::new(),
        };
        places.add("", node);
        places
    }

    fn add(&mut self, path: &str, node: &Node) {
        for (key, value) in node.entries() {
            self.put(child(path, &key.text), key.at, value);
        }
        for (index, value) in node.elements().iter().enumerate() {
            self.put(element(path, index), value.at, value);
        }
    }

    fn put(&mut self, path: String, key: At, node: &Node) {
        self.add(&path, node);
        let value = node.at;
        self.fields.insert(path, Field { key, value });
    }

    /// Where the object begins.
    pub(super) fn start(&self) -> Place {
        self.place(self.start)
    }

    /// Where the value at this path stands; of what is absent, where the nearest thing around it stands.
    pub(super) fn value(&self, path: &str) -> Place {
        self.find(path)
            .map_or_else(|| self.start(), |(field, exact)| self.place(if exact { field.value } else { field.key }))
    }

    /// Where the key at the end of this path stands.
    pub(super) fn key(&self, path: &str) -> Place {
        self.find(path).map_or_else(|| self.start(), |(field, _)| self.place(field.key))
    }

    fn find(&self, path: &str) -> Option<(Field, bool)> {
        let mut part = path;
        loop {
            if let Some(field) = self.fields.get(part) {
                return Some((*field, part.len() == path.len()));
            }
            part = &part[..part.rfind(['.', '['])?];
        }
    }

    fn place(&self, at: At) -> Place {
        Place { file: self.file.clone(), document: self.document, line: at.line, column: at.column }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { at: At::of(spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Integer(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Integer(v.into()))
    }

    fn visit_i128<E>(self, v: i128) -> Result<Value, E> {
        Ok(Value::Integer(v))
    }

    fn visit_u128<E>(self, v: u128) -> Result<Value, E> {
        Ok(i128::try_from(v).map_or(Value::Float(v as f64), Value::Integer))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::Float(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::Text(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::Text(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Value::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = map.next_entry::<Spanned<String>, Node>()? {
            let at = At::of(key.referenced);
            let text = key.value;
            entries.push((Key { at, text }, node));
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { name: "t.yaml".into(), text: text.into() }
    }

    fn one(text: &str) -> Node {
        read(&source(text)).unwrap().remove(0)
    }

    #[test]
    fn scalars_are_what_kubectl_takes_them_for() {
        let node = one(
            "l: y\nm: 1_000\na: 5\nb: yes\nc: 0644\nd: '5'\ne: 1.5\nf: ~\ng: 12:30\nh: \"yes\"\ni: 0x10\nj: 18446744073709551615\nk: .nan\n",
        );
        let get = |key: &str| &node.get(key).unwrap().value;
        assert!(matches!(get("a"), Value::Integer(5)));
        assert!(matches!(get("b"), Value::Bool(true)));
        assert!(matches!(get("l"), Value::Bool(true)));
        assert!(matches!(get("m"), Value::Integer(1000)));
        assert!(matches!(get("c"), Value::Integer(0o644)));
        assert!(matches!(get("d"), Value::Text(t) if t == "5"));
        assert!(matches!(get("e"), Value::Float(f) if *f == 1.5));
        assert!(matches!(get("f"), Value::Null));
        assert!(matches!(get("g"), Value::Text(_)));
        assert!(matches!(get("h"), Value::Text(_)));
        assert!(matches!(get("i"), Value::Integer(16)));
        assert!(matches!(get("j"), Value::Integer(i) if *i == u64::MAX.into()));
        assert!(matches!(get("k"), Value::Float(f) if f.is_nan()));
    }

    #[test]
    fn keys_and_values_know_their_place() {
        let text = "# first\na:\n  b:\n  - x\n  - c.d/e: 1\n";
        let node = one(text);
        let places = Places::of(&node, &source(text));
        let at = |place: Place| (place.line, place.column);
        assert_eq!(at(places.value("a.b[0]")), (4, 5));
        assert_eq!(at(places.key("a.b[1][\"c.d/e\"]")), (5, 5));
        assert_eq!(at(places.value("a.b[1][\"c.d/e\"]")), (5, 12));
        assert_eq!(at(places.value("a.none.deeper")), (2, 1));
        assert_eq!(at(places.value("none")), (2, 1));
    }

    #[test]
    fn documents_are_counted_as_people_count_them() {
        let text = "# c\n---\na: 1\n--- # two\nb: |\n x\n---\n---\nd: 1\n";
        let number = |line| document_at(text, line);
        assert_eq!((number(3), number(5), number(9)), (1, 2, 4));
        assert_eq!(document_at("a: 1\n---\nb: 1\n", 3), 2);
        assert_eq!(read(&source(text)).unwrap().len(), 3);
    }

    #[test]
    fn json_with_tabs_bom_and_carriage_returns_are_read() {
        let node = one("{\n\t\"a\": {\n\t\t\"b\": [1, \"\\ud83d\\ude00\"]\n\t}\n}\n");
        let b = node.get("a").unwrap().get("b").unwrap();
        assert_eq!(b.elements()[1].text(), Some("😀"));
        let node = one("\u{feff}a: x\r\nb:\r\n  - z\r\n");
        assert_eq!(node.get("a").unwrap().text(), Some("x"));
        let z = &node.get("b").unwrap().elements()[0];
        assert_eq!(z.text(), Some("z"));
        assert_eq!((z.at.line, z.at.column), (3, 5));
    }

    #[test]
    fn aliases_and_merge_keys_work_but_not_without_end() {
        let node = one("a: &a {x: '1'}\nb: *a\nc:\n  <<: *a\n  y: '2'\n");
        assert_eq!(node.get("b").unwrap().get("x").unwrap().text(), Some("1"));
        assert_eq!(node.get("c").unwrap().get("x").unwrap().text(), Some("1"));

        let mut laughs = String::from("a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n");
        for n in 1..12 {
            let all = vec![format!("*a{}", n - 1); 9].join(",");
            laughs += &format!("a{n}: &a{n} [{all}]\n");
        }
        let error = read(&source(&laughs)).err().unwrap();
        assert!(error.why.contains("more than any manifest"), "{error}");
        assert!(error.place.is_some());
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        for text in ["[".repeat(100_000), "{a: ".repeat(100_000)] {
            assert!(read(&source(&text)).is_err());
        }
        let deep: String = (0..500).map(|n| " ".repeat(n) + "a:\n").collect();
        assert!(read(&source(&deep)).is_err());
    }
}
