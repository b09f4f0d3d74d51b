//! Reads back what a scripted driver heard.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// One call that a scripted driver received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The path under which the kernel ran the script.
    pub program: String,
    /// The working directory.
    pub cwd: String,
    /// The arguments, the verb first.
    pub argv: Vec<String>,
    /// The recorded variables that were set.
    pub env: BTreeMap<String, String>,
    /// Standard input, when the script records it.
    pub stdin: Option<Vec<u8>>,
    /// When it began.
    pub began: SystemTime,
    /// When it ended by itself, and its exit code; none while it runs and when it was killed.
    pub ended: Option<(SystemTime, u8)>,
}

impl Call {
    /// The verb, or nothing when there was no argument.
    #[must_use]
    pub fn verb(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }
}

pub(super) fn read(record: &Path, env: &[String]) -> io::Result<Vec<Call>> {
    let order = record.join("order");
    let names = match fs::read_to_string(&order) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(about(&order, &error)),
    };
    names.lines().map(|name| one(&record.join(name), env)).collect()
}

fn one(file: &Path, env: &[String]) -> io::Result<Call> {
    let bytes = fs::read(file).map_err(|e| about(file, &e))?;
    let began = fs::metadata(file).and_then(|m| m.modified()).map_err(|e| about(file, &e))?;
    let mut fields = bytes.split(|b| *b == 0).map(|f| String::from_utf8_lossy(f).into_owned());
    let mut next = || fields.next().ok_or_else(|| about(file, &"damaged"));
    let (program, cwd) = (next()?, next()?);
    let count: usize = next()?.parse().map_err(|e| about(file, &e))?;
    let argv = (0..count).map(|_| next()).collect::<io::Result<_>>()?;
    let mut found = BTreeMap::new();
    for name in env {
        if let Some(value) = next()?.strip_prefix('=') {
            found.insert(name.clone(), value.to_owned());
        }
    }
    let stdin = fs::read(file.with_added_extension("stdin")).ok();
    let end = file.with_added_extension("end");
    let code = fs::read_to_string(&end).ok().and_then(|code| code.trim().parse().ok());
    let ended = fs::metadata(&end).and_then(|m| m.modified()).ok().zip(code);
    Ok(Call { program, cwd, argv, env: found, stdin, began, ended })
}

pub(super) fn forget(record: &Path) -> io::Result<()> {
    for entry in fs::read_dir(record).map_err(|e| about(record, &e))? {
        let file = entry?.path();
        fs::remove_file(&file).map_err(|e| about(&file, &e))?;
    }
    Ok(())
}

pub(super) fn printed(record: &Path) -> io::Result<String> {
    let file = record.join("printed");
    match fs::read(&file) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(about(&file, &error)),
    }
}

fn about(file: &Path, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("record of calls: {}: {why}", file.display()))
}
