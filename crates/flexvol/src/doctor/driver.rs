//! A driver's file and what lies beside it: whether it can be run, by whom it could have been written, what its script needs.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use flexvolume_host::drivers::scan;
use flexvolume_linux::{
    ErrorKind,
    beneath::{Trust, trusted_chain},
    process::{self, Head, head, on_path},
};
use flexvolume_protocol::DriverName;
use serde::{Deserialize, Serialize};

use super::{
    helpers::{Missing, missing},
    script::scan::scan as read,
    sight::{Installer, Sight, Told},
};

/// Looks at one driver.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) dir: PathBuf,
    pub(crate) name: DriverName,
    pub(crate) users: Vec<u32>,
}

/// What was seen of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// The executable's path.
    pub(crate) exe: PathBuf,
    pub(crate) file: File,
    /// Somebody else could have written it: it is not run.
    pub(crate) distrust: Option<Told>,
    /// What others can write beside it, and how that ends.
    pub(crate) open: Vec<Open>,
    pub(crate) installer: Installer,
}

/// Something beside a driver that others can write.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Open {
    /// It can be run.
    pub(crate) program: bool,
    pub(crate) told: Told,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum File {
    /// There is no directory of that name, and what is near.
    Unknown(Told),
    /// There is none of the right name; what else lies there, programs first.
    Missing { programs: Vec<String>, others: Vec<String>, folder: bool },
    /// A link that leads nowhere.
    Dangling { to: PathBuf },
    /// It is there.
    Here(Box<Here>),
}

/// A file that is there.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Here {
    /// Why the kernel would not run it.
    pub(crate) refusal: Option<Told>,
    /// `#!/usr/bin/env X`, and there is no X; one that is near, if there is one.
    pub(crate) no_program: Option<(String, Option<String>)>,
    /// Lines that end with a carriage return, where its interpreter minds.
    pub(crate) carriage_returns: usize,
    /// A script: its text, as far as it was read.
    pub(crate) text: String,
    /// A script of a shell: what was read in it.
    pub(crate) shell: Option<Shell>,
}

/// A shell script.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Shell {
    /// Its interpreter as written.
    pub(crate) interpreter: PathBuf,
    /// What it is not understood by: dash. What it uses, and on which lines.
    pub(crate) not_dash: Vec<(String, Vec<u32>)>,
    /// Whether bash is here.
    pub(crate) bash: Option<PathBuf>,
    pub(crate) missing: Vec<Missing>,
    /// The patterns of its `case` commands.
    pub(crate) labels: Vec<String>,
    /// Where the reader lost its way.
    pub(crate) lost: Option<u32>,
}

/// Longer scripts are read so far.
const LONGEST: usize = 1 << 20;
/// As many entries beside a driver are looked at.
const MOST: usize = 1000;

impl Sight for Look {
    type Seen = Seen;

    fn look(self) -> Seen {
        let folder = self.dir.join(self.name.dir());
        let exe = folder.join(self.name.executable());
        let trust = Trust::here().and(&self.users);
        if !fs::symlink_metadata(&folder).is_ok_and(|meta| meta.is_dir())
            && let Err(error) = scan::find(&self.dir, &self.name, &trust)
        {
            return Seen {
                exe,
                file: File::Unknown(error.into()),
                distrust: None,
                open: Vec::new(),
                installer: Installer::look(),
            };
        }
        let file = match (fs::metadata(&exe), fs::read_link(&exe)) {
            (Ok(meta), _) if !meta.is_dir() => File::Here(Box::new(here(&exe, &folder))),
            (Err(error), Ok(to)) if error.kind() == io::ErrorKind::NotFound => File::Dangling { to },
            (Ok(_) | Err(_), _) => absent(&folder, exe.is_dir()),
        };
        let distrust = trusted_chain(&exe, &trust).err().filter(|error| error.kind() == ErrorKind::Refused);
        Seen {
            distrust: distrust.map(Told::from),
            open: open_to_others(&folder, &exe, &trust),
            exe,
            file,
            installer: Installer::look(),
        }
    }
}

fn absent(folder: &Path, is_folder: bool) -> File {
    let (mut programs, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().take(MOST) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_program = match head(&entry.path()) {
            Some(Head::Script { .. } | Head::Elf { .. } | Head::MarkedScript) => true,
            Some(Head::Empty | Head::Other) => process::runnable(&entry.path()),
            None => false,
        };
        if is_program && !name.starts_with('.') { programs.push(name) } else { others.push(name) }
    }
    programs.sort();
    others.sort();
    File::Missing { programs, others, folder: is_folder }
}

/// What others can write of what lies beside the driver.
fn open_to_others(folder: &Path, exe: &Path, trust: &Trust) -> Vec<Open> {
    // What is wrong with the folder itself is told of the driver.
    if trusted_chain(folder, trust).is_err() {
        return Vec::new();
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(MOST).map(|entry| entry.path());
    let open = |path: PathBuf| {
        let error = trusted_chain(&path, trust).err().filter(|error| error.kind() == ErrorKind::Refused)?;
        Some(Open { program: process::runnable(&path), told: error.into() })
    };
    let mut paths: Vec<_> = entries.filter(|path| path != exe).collect();
    paths.sort();
    paths.into_iter().filter_map(open).collect()
}

fn here(exe: &Path, folder: &Path) -> Here {
    let refusal = process::refusal(exe).map(Told::from);
    let Some(Head::Script { interpreter, argument }) = head(exe) else { return Here { refusal, ..Here::default() } };
    let bytes = fs::read(exe).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]).into_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = interpreter.to_string_lossy().trim_end_matches('\r').to_owned();
    let mut program = PathBuf::from(&named);
    let mut no_program = None;
    if let Some(wanted) = asked_of_env(&named, &argument) {
        match on_path(&wanted, &path) {
            Some(found) => program = found,
            None => {
                let near = [
                    format!("{wanted}3"),
                    wanted.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').to_owned(),
                ];
                let near = near.into_iter().find(|near| *near != wanted && on_path(near, &path).is_some());
                program = PathBuf::from(&wanted);
                no_program = Some((wanted, near));
            }
        }
    }
    let is_shell = is_shell(&program);
    let first = text.split('\n').next().is_some_and(|line| line.ends_with('\r'));
    let carriage_returns = if is_shell || first { text.matches("\r\n").count() } else { 0 };
    let shell = (is_shell && carriage_returns == 0).then(|| read_shell(&text, &program, folder, &path));
    Here { refusal, no_program, carriage_returns, text, shell }
}

/// The program that `/usr/bin/env` is asked for in a first line.
fn asked_of_env(interpreter: &str, argument: &str) -> Option<String> {
    if interpreter.rsplit('/').next() != Some("env") {
        return None;
    }
    let mut words = argument.trim_end_matches('\r').split_whitespace();
    words.find(|word| !word.starts_with('-') && !word.contains('=')).map(str::to_owned)
}

fn is_shell(program: &Path) -> bool {
    let name = program.file_name().unwrap_or_default();
    ["sh", "bash", "dash", "ash", "ksh"].iter().any(|shell| name == *shell)
}

fn read_shell(text: &str, program: &Path, folder: &Path, path: &std::ffi::OsStr) -> Shell {
    let scan = read(text);
    let real = fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    let mut not_dash: Vec<(String, Vec<u32>)> = Vec::new();
    if real.file_name().is_some_and(|name| name == "dash") {
        for (what, line) in &scan.bashisms {
            let what = what.to_string();
            match not_dash.iter_mut().find(|(known, _)| *known == what) {
                Some((_, lines)) => lines.push(*line),
                None => not_dash.push((what, vec![*line])),
            }
        }
    }
    Shell {
        interpreter: program.to_owned(),
        not_dash,
        bash: on_path("bash", path),
        labels: scan.labels.iter().cloned().collect(),
        lost: scan.lost,
        missing: missing(scan, folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_env_is_asked_for() {
        for (argument, expected) in [("bash", "bash"), ("-S python3 -u", "python3"), ("A=b sh\r", "sh")] {
            assert_eq!(asked_of_env("/usr/bin/env", argument).as_deref(), Some(expected), "{argument}");
        }
        assert_eq!(asked_of_env("/bin/sh", "-e"), None);
        assert_eq!(asked_of_env("/usr/bin/env", "-i"), None);
    }

    #[test]
    fn shells_are_known_by_their_name() {
        for shell in ["/bin/sh", "/usr/local/bin/bash"] {
            assert!(is_shell(Path::new(shell)), "{shell}");
        }
        for other in ["/usr/bin/python3", "/bin/fish", "", "/"] {
            assert!(!is_shell(Path::new(other)), "{other}");
        }
    }
}
