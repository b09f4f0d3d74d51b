//! The drivers in `examples`, as their readers would use them: installed, called, and mounted for pods.

mod copies;
mod life;
mod pages;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use flexvolume_testkit::skip;
use serde_json::{Value, json};

use crate::bed::{Bed, pod};

/// An example, installed in a bed with a folder for its volumes.
pub struct Example {
    pub bed: Bed,
    /// The folder that its settings name.
    pub folder: PathBuf,
    /// Where a volume is mounted by hand.
    pub place: PathBuf,
    pub file: &'static str,
}

/// The example in shell, and the one in Python.
const FILES: [(&str, &str); 2] = [("folders.sh", "jq"), ("folders.py", "python3")];

const NAME: &str = "example.com/folders";

impl Example {
    /// Both of them, as far as this machine can run them.
    pub fn both() -> impl Iterator<Item = Self> {
        FILES.iter().filter_map(|(file, tool)| Self::of(file, tool))
    }

    /// The one that copies.
    pub fn python() -> Option<Self> {
        Self::of(FILES[1].0, FILES[1].1)
    }

    fn of(file: &'static str, tool: &str) -> Option<Self> {
        let bed = Bed::new()?;
        if Command::new(tool).arg("--version").output().is_err() {
            skip(&format!("no {tool}, which examples/{file} needs"));
            return None;
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(file);
        // Whoever checked the project out may be somebody whom flexvol does not trust.
        let copy = bed.sandbox.dir("copy").unwrap().join(file);
        fs::copy(path, &copy).unwrap();
        fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
        bed.ok(["install", copy.to_str().unwrap(), "--as", NAME]);
        let (folder, place) = (bed.sandbox.dir("folder").unwrap(), bed.sandbox.dir("place").unwrap());
        let settings = bed.sandbox.dir("settings").unwrap().join("example.com~folders.json");
        fs::write(settings, json!({"directory": folder}).to_string()).unwrap();
        Some(Self { bed, folder, place, file })
    }

    /// Calls a verb by hand with these options, and gives its answer. Both hosts must read it as what it is, with nothing to forgive.
    #[track_caller]
    pub fn call(&self, verb: &str, options: &Value) -> Value {
        let options = options.to_string();
        let place = self.place.to_str().unwrap();
        let args = match verb {
            "mount" => vec!["call", NAME, verb, place, &options],
            "unmount" => vec!["call", NAME, verb, place],
            _ => vec!["call", NAME, verb, &options],
        };
        let ran = self.bed.run([vec!["-o", "json"], args].concat());
        let seen: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        let answer = seen["stdout"].as_str().unwrap_or_default();
        let answer: Value =
            serde_json::from_str(answer).unwrap_or_else(|error| panic!("{}: {error}: {seen}", self.file));
        let (kubernetes, ours) = (seen["kubernetes"].as_str().unwrap(), seen["flexvol"].as_str().unwrap());
        let is_success = answer["status"] == "Success";
        assert_eq!(kubernetes.starts_with("Success"), is_success, "{}: {seen}", self.file);
        assert_eq!(ours.starts_with("Success"), is_success, "{}: {seen}", self.file);
        assert_eq!(seen["stderr"].as_str().unwrap_or_default(), "", "{}: {seen}", self.file);
        answer
    }

    /// As [`Example::call`], and insists on success.
    #[track_caller]
    pub fn ok(&self, verb: &str, options: &Value) -> Value {
        let answer = self.call(verb, options);
        assert_eq!(answer["status"], "Success", "{} {verb} {options}: {answer}", self.file);
        answer
    }

    /// As [`Example::call`], and insists on a failure with this code and a message.
    #[track_caller]
    pub fn fails(&self, verb: &str, options: &Value, code: &str) -> String {
        let answer = self.call(verb, options);
        let about = format!("{} {verb} {options}: {answer}", self.file);
        assert_eq!((&answer["status"], &answer["code"]), (&json!("Failure"), &json!(code)), "{about}");
        answer["message"].as_str().filter(|text| !text.is_empty()).unwrap_or_else(|| panic!("{about}")).to_owned()
    }

    /// Makes a volume, without a wish for its size.
    #[track_caller]
    pub fn make(&self, name: &str) -> Value {
        self.ok("createvolume", &json!({"flexvol/name": name}))
    }

    /// The ids of a list that fits one page.
    #[track_caller]
    pub fn volumes(&self) -> BTreeSet<String> {
        ids(&self.ok("listvolumes", &json!({}))["volumes"], "id").into_iter().collect()
    }

    /// A manifest with a pod for a volume that `createvolume` answered.
    pub fn pod(&self, name: &str, volume: &Value, more: &str) -> String {
        let source = format!("{{driver: {NAME}, options: {}{more}}}", volume["options"]);
        self.bed.manifest(&format!("{name}.yaml"), &pod(name, &[("data", &source)]))
    }

    /// Runs a line of shell in a pod.
    pub fn exec(&self, name: &str, line: &str) -> crate::bed::Ran {
        self.bed.run(["exec", name, "--", "sh", "-c", line])
    }

    /// Where a volume's, or a snapshot's, files lie in the folder of all.
    pub fn data(&self, name: &str) -> PathBuf {
        let homes = ["", "volumes", "snapshots"].map(|kind| self.folder.join(kind).join(name));
        let home = homes.iter().find(|home| home.join("about").is_file()).unwrap();
        let entries = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path());
        entries.into_iter().find(|path| path.is_dir()).unwrap()
    }
}

/// These members of the objects of a list.
pub fn ids(list: &Value, key: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
}
