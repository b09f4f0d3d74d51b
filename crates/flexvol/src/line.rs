//! One line of the log for programs: a JSON object with the same five keys whoever speaks.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{
    Level,
    field::{Field, Visit},
};
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime},
};

/// One line, as `docs/schema/log.json` describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    timestamp: String,
    level: &'static str,
    target: String,
    message: String,
    fields: Map<String, Value>,
}

impl Line {
    /// A line of this moment, without fields.
    pub(crate) fn new(level: Level, target: &str, message: impl Into<String>) -> Self {
        let mut timestamp = String::new();
        // Formatting a time into a string cannot fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        Self { timestamp, level, target: target.to_owned(), message: message.into(), fields: Map::new() }
    }

    /// Adds a field.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a field where there is something to say.
    #[must_use]
    pub(crate) fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    fn set(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            // A call of `init` is about no volume.
            (_, Value::String(text)) if text.is_empty() => {}
            (name, value) => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}

/// The line as text, without an end of line: strings escape theirs.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Takes the fields of an event of the log.
impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_said_stays_on_one_line() {
        let line = Line::new(Level::WARN, "flexvol", "two\nlines").with("volume", "a\u{1b}\n\"b\"").to_string();
        assert_eq!(line.lines().count(), 1);
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["level"], "warn");
        assert_eq!(read["message"], "two\nlines");
        assert_eq!(read["fields"]["volume"], "a\u{1b}\n\"b\"");
        let keys: Vec<_> = read.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["fields", "level", "message", "target", "timestamp"]);
    }

    #[test]
    fn a_time_is_utc_in_rfc_3339() {
        let line = Line::new(Level::INFO, "flexvol", "");
        let shape: String = line.timestamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
    }
}
