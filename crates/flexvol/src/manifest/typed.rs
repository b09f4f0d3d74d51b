//! Turns a tree into a Kubernetes type, and says of what does not fit where it stands and which field it is.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Expected, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::tree::{At, Key, Node, Value, child, element};

/// Why a tree does not fit its type.
#[derive(Debug)]
pub(super) struct Misfit {
    pub(super) path: String,
    pub(super) at: At,
    pub(super) why: String,
    /// What to write instead, where that is clear.
    pub(super) hint: Option<&'static str>,
}

/// Reads a Kubernetes type; fields it does not know are passed over, as the API server does.
pub(super) fn typed<T: DeserializeOwned>(node: &Node) -> Result<T, Misfit> {
    T::deserialize(Reader::of(node)).map_err(|trouble| {
        let path = trouble.steps.iter().rev();
        let path = path.fold(String::new(), |path, step| match step {
            Step::Key(key) => child(&path, key),
            Step::Index(index) => element(&path, *index),
        });
        Misfit { path, at: trouble.at.unwrap_or(node.at), why: trouble.why, hint: trouble.hint }
    })
}

#[derive(Debug)]
struct Trouble {
    /// Innermost first.
    steps: Vec<Step>,
    at: Option<At>,
    why: String,
    hint: Option<&'static str>,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// One value as serde sees it.
struct Reader<'a> {
    node: &'a Node,
}

impl<'a> Reader<'a> {
    fn of(node: &'a Node) -> Self {
        Self { node }
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(v) => visitor.visit_bool(*v),
            Value::Integer(v) => match (i64::try_from(*v), u64::try_from(*v)) {
                (Ok(v), _) => visitor.visit_i64(v),
                (_, Ok(v)) => visitor.visit_u64(v),
                (Err(_), Err(_)) => visitor.visit_f64(*v as f64),
            },
            Value::Float(v) => visitor.visit_f64(*v),
            Value::Text(v) => visitor.visit_str(v),
            Value::List(v) => visitor.visit_seq(Elements { rest: v.iter().enumerate() }),
            Value::Map(v) => visitor.visit_map(Entries { rest: v.iter(), current: None }),
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Trouble;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        let at = self.node.at;
        self.visit(visitor).map_err(|trouble| Trouble { at: trouble.at.or(Some(at)), ..trouble })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        match self.node.is_null() {
            true => visitor.visit_none(),
            false => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Trouble> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier
    }
}

struct Elements<'a> {
    rest: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> serde::de::SeqAccess<'de> for Elements<'_> {
    type Error = Trouble;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Trouble> {
        let Some((index, node)) = self.rest.next() else {
            return Ok(None);
        };
        seed.deserialize(Reader::of(node)).map(Some).map_err(|trouble| trouble.within(Step::Index(index)))
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, (Key, Node)>,
    current: Option<&'a (Key, Node)>,
}

impl<'de> serde::de::MapAccess<'de> for Entries<'_> {
    type Error = Trouble;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Trouble> {
        self.current = self.rest.next();
        let Some((key, _)) = self.current else {
            return Ok(None);
        };
        seed.deserialize(StrDeserializer::<Trouble>::new(&key.text))
            .map(Some)
            .map_err(|trouble| Trouble { at: Some(key.at), ..trouble.within(Step::Key(key.text.clone())) })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Trouble> {
        let Some((key, node)) = self.current.take() else {
            return Err(Trouble::plain("a value was asked for before its key"));
        };
        seed.deserialize(Reader::of(node)).map_err(|trouble| trouble.within(Step::Key(key.text.clone())))
    }
}

impl Trouble {
    fn plain(why: impl Into<String>) -> Self {
        Self { steps: Vec::new(), at: None, why: why.into(), hint: None }
    }

    fn within(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Trouble {}

impl serde::de::Error for Trouble {
    fn custom<T: fmt::Display>(msg: T) -> Self {
        Self::plain(super::problem::shown(&msg.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_value(found, expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        let kind = kind_of(&found);
        let hint = match (expected.as_str(), kind) {
            ("a string", "a number" | "a boolean") => Some("write the value in quotes"),
            ("a string", "empty") => Some("write a value; an empty text is written \"\""),
            _ => None,
        };
        Self { hint, ..Self::plain(format!("is {kind}, but {expected} is expected here")) }
    }
}

/// The kind of a value, never the value: it may be somebody's password.
fn kind_of(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
        Unexpected::Char(_) | Unexpected::Str(_) => "a string",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "empty",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a map",
        Unexpected::NewtypeStruct
        | Unexpected::Enum
        | Unexpected::UnitVariant
        | Unexpected::NewtypeVariant
        | Unexpected::TupleVariant
        | Unexpected::StructVariant
        | Unexpected::Other(_) => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    fn pod(text: &str) -> Result<Pod, Misfit> {
        let source = Source { name: "t".into(), text: text.into() };
        typed(&super::super::tree::read(&source).unwrap()[0])
    }

    #[test]
    fn numbers_where_kubernetes_takes_them() {
        let pod = pod(
            "spec:\n  nope: [1]\n  containers:\n  - name: c\n    resources: {limits: {cpu: 2, memory: 0.5}}\n    ports: [{containerPort: 80}]\n    livenessProbe: {httpGet: {port: 80}}\n  volumes:\n  - name: m\n    configMap: {name: x, defaultMode: 0644}\n",
        )
        .unwrap();
        let spec = pod.spec.unwrap();
        let limits = spec.containers[0].resources.as_ref().unwrap();
        let limits = limits.limits.as_ref().unwrap();
        assert_eq!((limits["cpu"].0.as_str(), limits["memory"].0.as_str()), ("2", "0.5"));
        let volumes = spec.volumes.unwrap();
        let mode = volumes[0].config_map.as_ref().unwrap().default_mode;
        assert_eq!(mode, Some(0o644));
    }

    #[test]
    fn a_misfit_names_field_place_and_reason() {
        for (text, path, at, why, quotes) in [
            (
                "spec:\n  volumes:\n  - name: v\n    flexVolume:\n      options:\n        size: 5\n",
                "spec.volumes[0].flexVolume.options.size",
                (6, 15),
                "is a number, but a string is expected here",
                true,
            ),
            (
                "spec:\n  volumes:\n  - {name: v, flexVolume: {options: {a.b/c: on}}}\n",
                "spec.volumes[0].flexVolume.options[\"a.b/c\"]",
                (3, 45),
                "is a boolean, but a string is expected here",
                true,
            ),
            (
                "spec:\n  volumes:\n  - {name: v, flexVolume: {options: [a]}}\n",
                "spec.volumes[0].flexVolume.options",
                (3, 37),
                "is a list, but a map is expected here",
                false,
            ),
            (
                "spec:\n  volumes:\n  - {name: v, flexVolume: {readOnly: 'true'}}\n",
                "spec.volumes[0].flexVolume.readOnly",
                (3, 38),
                "is a string, but a boolean is expected here",
                false,
            ),
            (
                "spec: {volumes: [{name: v, configMap: {defaultMode: 99999999999}}]}\n",
                "spec.volumes[0].configMap.defaultMode",
                (1, 53),
                "is a number, but i32 is expected here",
                false,
            ),
        ] {
            let misfit = pod(text).unwrap_err();
            assert_eq!(misfit.path, path);
            assert_eq!((misfit.at.line, misfit.at.column), at, "{path}");
            assert_eq!(misfit.why, why);
            assert_eq!(misfit.hint.is_some(), quotes);
        }
    }
}
