//! A driver's settings on this node: one JSON object in a file that an administrator writes.

use std::{
    cell::OnceCell,
    fs, io,
    path::{Path, PathBuf},
};

use flexvolume_linux::Error;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Failure, Result};

/// What the kit itself reads of them, for every driver.
const OF_THE_KIT: [&str; 2] = ["log", "stateDir"];

/// The settings of a driver, read when first asked for. A file that is not there is an empty object. It may hold a
/// backend's credentials: it has no `Debug`, and no error shows a value.
pub struct Settings {
    file: PathBuf,
    read: OnceCell<Result<Map<String, Value>>>,
}

impl Settings {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, read: OnceCell::new() }
    }

    /// Where they are (or would be).
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// A text of the top level, if it is set.
    ///
    /// # Errors
    /// The file cannot be read or is no JSON object, or the value is no text.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.all()?.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(self.wrong(&format!("{key:?} must be a text in quotes")))
            }
        }
    }

    /// All settings as a type of the driver's own, without those that the kit reads itself. A type that denies unknown
    /// fields finds what is misspelt.
    ///
    /// # Errors
    /// The file cannot be read, is no JSON object, or does not fit the type: then the key is named, and no value shown.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        self.read_as(shape_only)
    }

    /// The same for a driver whose settings hold no secret.
    ///
    /// # Errors
    /// The same, in the words of the type that a value does not fit, which may show the value.
    pub fn read_openly<T: DeserializeOwned>(&self) -> Result<T> {
        self.read_as(|error| error.to_string())
    }

    /// That of these settings a value makes no sense, in the words of [`Settings::read`]; `why` names its key.
    pub fn wrong(&self, why: &str) -> Failure {
        Failure::internal(format!("the settings {} are wrong: {why}", self.file.display()))
    }

    fn read_as<T: DeserializeOwned>(&self, words: fn(&serde_json::Error) -> String) -> Result<T> {
        let mut all = self.all()?.clone();
        all.retain(|key, _| !OF_THE_KIT.contains(&key.as_str()));
        serde_path_to_error::deserialize(Value::Object(all)).map_err(|error| {
            let (path, mut why) = (error.path().to_string(), words(error.inner()));
            let is_top = !path.contains(['.', '[']);
            if is_top && error.inner().to_string().starts_with("unknown field") {
                why = format!("{why} (and of the kit: {})", OF_THE_KIT.join(", "));
            }
            // The whole is called by a dot.
            self.wrong(&if path == "." { why } else { format!("{path}: {why}") })
        })
    }

    fn all(&self) -> Result<&Map<String, Value>> {
        self.read.get_or_init(|| self.load()).as_ref().map_err(Clone::clone)
    }

    fn load(&self) -> Result<Map<String, Value>> {
        let text = match fs::read(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
            Err(error) => return Err(Error::io("read the settings", &self.file, error).into()),
        };
        serde_json::from_slice(&text).map_err(|error| {
            self.wrong(&format!("they are no JSON object (line {}, column {})", error.line(), error.column()))
        })
    }
}

/// What serde says, unless it quotes the value it did not like, which may be secret.
fn shape_only(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("unknown field") || text.starts_with("missing field") {
        text
    } else {
        "its value has the wrong type".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn settings(text: &str) -> (tempfile::TempDir, Settings) {
        let tmp = tempfile::tempdir().unwrap();
        let file = tmp.path().join("s.json");
        fs::write(&file, text).unwrap();
        (tmp, Settings::new(file))
    }

    #[test]
    fn absent_is_empty_and_texts_are_found() {
        assert_eq!(Settings::new("/nowhere/s.json".into()).text("x").unwrap(), None);
        let (_tmp, settings) = settings(r#"{"directory":"/images","n":1,"none":null}"#);
        assert_eq!(settings.text("directory").unwrap(), Some("/images"));
        assert_eq!(settings.text("none").unwrap(), None);
        assert!(settings.text("n").unwrap_err().to_string().contains("\"n\""));
    }

    #[test]
    fn what_the_kit_reads_is_no_unknown_field_of_a_driver() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Own {
            size: u32,
        }
        let (_tmp, good) = settings(r#"{"size":1,"log":"syslog","stateDir":"/state"}"#);
        assert_eq!(good.read::<Own>().unwrap().size, 1);
        let (_tmp, bad) = settings(r#"{"size":1,"sise":2}"#);
        assert!(bad.read::<Own>().unwrap_err().to_string().contains("unknown field `sise`"));
    }

    #[test]
    fn errors_name_the_file_and_show_no_value() {
        for text in ["{\"password\": hunter2}", "[\"hunter2\"]", "{\"password\":\"hunter2\"}"] {
            let (_tmp, settings) = settings(text);
            let error = settings.read::<BTreeMap<String, u32>>().unwrap_err().to_string();
            assert!(error.contains("s.json") && !error.contains("hunter2"), "{error}");
        }
        let (_tmp, settings) = settings("{\"of\":{\"size\":\"hunter2\"}}");
        let error = settings.read::<BTreeMap<String, BTreeMap<String, u32>>>().unwrap_err().to_string();
        assert!(error.ends_with("s.json are wrong: of.size: its value has the wrong type"), "{error}");
        let error = settings.read_openly::<BTreeMap<String, BTreeMap<String, u32>>>().unwrap_err().to_string();
        assert!(error.contains("of.size: invalid type: string \"hunter2\""), "{error}");
    }
}
