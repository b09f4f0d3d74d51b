//! A secret is nowhere but where the driver gets it: not in an output, a log, an error, a file, a command line, an environment or
//! a core. Six secrets of six shapes, and drivers that tell all they know in every spelling.

mod argv;
mod cores;
mod execs;
mod files;
mod outputs;

use std::{
    cell::Cell,
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use flexvolume_testkit::{
    needles::{Needles, spellings},
    scripted::{Answer, Script},
};
use serde_json::{Value, json};

use crate::bed::{Bed, Ran, pod};

/// What it is called, and its bytes; none holds a part that anything else would print by chance.
fn six() -> [(&'static str, Vec<u8>); 6] {
    [
        ("short", b"q#7".to_vec()),
        ("quotes", br#"Zq8 "quoted" \back\slash $HOME `id` 'and' %41 <tag> & Vx4"#.to_vec()),
        ("lines", b"Zq9-first-line-of-a-key\nZq9-second-line-of-a-key\nZq9-third-line-of-a-key\n".to_vec()),
        ("unicode", "  Zq10-ümlaut-und-\u{2028}-\u{1f600}-Vx5 ".into()),
        ("long", (0..4096_u32).map(|n| b'!' + (n * n % 89) as u8).collect()),
        ("binary", b"\x00\xff\xfeZq11-binary\x80-key\x01-of\xc3-bytes\x00".to_vec()),
    ]
}

/// One secret, and a bed in which drivers are given it.
struct Case {
    name: &'static str,
    secret: Vec<u8>,
    needles: Needles,
    bed: Bed,
    looked_at_ballast: Cell<bool>,
}

impl Case {
    /// All six; none where this machine cannot run them.
    fn all() -> impl Iterator<Item = Case> {
        six().into_iter().map_while(|(name, secret)| Some(Case::new(name, secret, Bed::new()?)))
    }

    fn new(name: &'static str, secret: Vec<u8>, bed: Bed) -> Self {
        Self { needles: Needles::of(&secret), name, secret, bed, looked_at_ballast: Cell::new(false) }
    }

    /// A Secret of the driver's type, called `name`, that holds it.
    fn secret(&self, name: &str, driver: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": driver,
            "data": {"password": base64(&self.secret)},
        })
    }

    /// The manifest of one pod with a volume of this driver, and the secret.
    fn manifest(&self, driver: &str) -> String {
        let pod = pod(
            "web",
            &[("data", &format!("{{driver: {driver}, secretRef: {{name: keys}}, options: {{user: ann}}}}"))],
        );
        self.bed.manifest("pod.yaml", &format!("---\n{}\n---\n{pod}", self.secret("keys", driver)))
    }

    /// Runs the command with its log on; the secret is in none of what it prints, and in no file it leaves.
    fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let output = self.bed.command(&args).env("FLEXVOL_LOG", "trace").output().unwrap();
        self.assert_not_in(&output.stdout, &format!("stdout of {args:?}"));
        self.assert_not_in(&output.stderr, &format!("stderr of {args:?}"));
        self.assert_not_in_files();
        Ran::of(output)
    }

    fn assert_not_in(&self, text: &[u8], what: &str) {
        if let Some(sighting) = self.needles.find(text) {
            panic!("the secret {:?} is in {what}: {sighting:?}\n{}", self.name, String::from_utf8_lossy(text));
        }
    }

    /// Every file of the host and of kit drivers: the ledger with all that lies beside it, locks, records, logs.
    fn assert_not_in_files(&self) {
        for folder in ["root", "run", "state", "logs"] {
            self.assert_not_beneath(&self.bed.sandbox.path().join(folder));
        }
    }

    /// What lies on another file system, or in an image of one, is the pod's own.
    fn assert_not_beneath(&self, dir: &Path) {
        for file in files(dir).into_iter().filter(|file| file.extension() != Some("img".as_ref())) {
            // Three bytes are found by chance among so many random ones, and they are written once.
            let random = file.ends_with("ballast") && (self.secret.len() < 4 || self.looked_at_ballast.replace(true));
            // Another process may have taken it away meanwhile.
            let Ok(bytes) = fs::read(&file) else { continue };
            if !random {
                self.assert_not_in(&bytes, &file.display().to_string());
            }
            self.assert_not_in(file.as_os_str().as_encoded_bytes(), "the name of a file");
        }
    }

    /// Whether drivers' words are shown at all.
    fn is_told(&self) -> bool {
        self.secret.len() >= 4
    }

    /// A file that holds what a driver will print; never looked into.
    fn said(&self, name: &str, bytes: &[u8]) -> String {
        let file = self.bed.sandbox.dir("said").unwrap().join(name);
        fs::write(&file, bytes).unwrap();
        file.display().to_string()
    }

    /// The secret in every spelling, a line each; of the long one in every third, since all would be a quarter of a megabyte.
    fn everything(&self) -> Vec<u8> {
        let step = if self.secret.len() > 1000 { 3 } else { 1 };
        spellings(&self.secret).iter().step_by(step).flat_map(|it| [b"<", &it.printed[..], b">\n"].concat()).collect()
    }
}

/// The regular files beneath a directory, on its own file system.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(own) = fs::metadata(dir) else { return Vec::new() };
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() && meta.dev() == own.dev() => all.extend(files(&entry.path())),
            Ok(meta) if meta.is_file() => all.push(entry.path()),
            Ok(_) | Err(_) => {}
        }
    }
    all
}

fn base64(bytes: &[u8]) -> String {
    let spelling = spellings(bytes).into_iter().find(|spelling| spelling.name == "base64").unwrap();
    String::from_utf8(spelling.printed).unwrap()
}

/// A driver without attach that announces these extensions, and members in its answer that nobody asked for.
fn direct(case: &Case, extensions: &[&str]) -> Script {
    let told = String::from_utf8_lossy(&case.secret).into_owned();
    let mut extensions: Vec<&str> = extensions.to_vec();
    extensions.push(&told);
    let init = json!({
        "status": "Success", "message": told, "extensions": extensions, "capabilities": {"attach": false, &told: true},
    });
    Script::sh()
        .on("init", Answer::json(&init))
        .on("mount", Answer::success().run(r#"mount -t tmpfs none "$2""#))
        .on("unmount", Answer::success().run(r#"umount "$2""#))
}
