//! The rules of the house that no compiler holds, each with a test that sees it broken.
//!
//! Every rule is a function from files already read to findings, so that its test needs no folder.

mod arrows;
mod cases;
mod circles;
mod code;
mod finding;
mod markdown;
mod modules;
mod proofs;
mod source;
mod words;

use crate::sh;
use anyhow::{Context, Result, bail};
use finding::{File, Finding};
use std::path::{Path, PathBuf};

/// The door: prints every finding; any finding is a failure.
pub(crate) fn main() -> Result<()> {
    let findings = findings()?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: all rules hold"),
        1 => bail!("tidy: one rule is broken"),
        many => bail!("tidy: {many} places break a rule"),
    }
    Ok(())
}

fn findings() -> Result<Vec<Finding>> {
    let project = sh::project();
    let mut paths = Vec::new();
    walk(&project, Path::new(""), &mut paths)?;
    let mut files = Vec::new();
    for path in &paths {
        let full = project.join(path);
        let bytes = std::fs::read(&full).with_context(|| format!("cannot read {}", full.display()))?;
        // What is no text (an image) has no lines to judge.
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: path.to_string_lossy().into_owned(), text });
        }
    }
    let exists = |path: &Path| project.join(path).exists();
    let mut all = arrows::check(&arrows::read()?);
    let tests = source::test_modules(&files);
    for file in &files {
        all.extend(source::check(file, &tests));
        all.extend(words::check(file));
        all.extend(markdown::links(file, &exists));
    }
    all.extend(circles::check(&files));
    all.extend(markdown::summary(&files));
    all.extend(cases::check(&files));
    all.extend(proofs::check(&files));
    Ok(all)
}

/// Every file a commit may hold: all but cargo's output and hidden folders, save the few that are part of the project.
fn walk(project: &Path, below: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    let dir = project.join(below);
    let entries = std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut entries =
        entries.collect::<Result<Vec<_>, _>>().with_context(|| format!("cannot list {}", dir.display()))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let path = below.join(&name);
        let kind = entry.file_type().with_context(|| format!("cannot look at {}", path.display()))?;
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if kind.is_dir() {
            let kept = [".cargo", ".ci", ".github"].iter().any(|kept| name == *kept);
            if name != "target" && (!hidden || kept) {
                walk(project, &path, into)?;
            }
        } else if kind.is_file() && name != ".git" {
            // In a worktree `.git` is a file, which says where the repository lies.
            into.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_sees_what_is_committed_and_not_what_is_built() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/b.rs", "target/c.rs", ".git/d", ".ci/run", ".editor/e"] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::write(dir.path().join("a/.git"), "").unwrap();
        let mut seen = Vec::new();
        walk(dir.path(), Path::new(""), &mut seen).unwrap();
        assert_eq!(seen, [Path::new(".ci/run"), Path::new("a/b.rs")]);
    }
}
