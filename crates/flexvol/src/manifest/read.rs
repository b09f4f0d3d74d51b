//! Collects the text of manifests from files, folders and standard input: the only part of this folder that does I/O.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::problem::{ManifestError, Place};
use super::source::{Source, document_at};

/// No set of manifests comes near this; a device or a disk image given by mistake does.
const LARGEST: u64 = 16 << 20;

/// Reads every path: a file, a folder (its `*.yaml`, `*.yml` and `*.json`, sorted by name, not those of folders within,
/// no dot files), or `-` for standard input.
///
/// # Errors
/// A path that cannot be read, is larger than 16 MiB or is not UTF-8; a folder without manifests; `-` given twice.
pub fn gather(paths: &[String]) -> Result<Vec<Source>, ManifestError> {
    let mut sources = Vec::new();
    for path in paths {
        if path == "-" {
            if sources.iter().any(|s: &Source| s.name == STDIN) {
                return Err(ManifestError::new(STDIN, "can be read only once").hint("give `-` a single time"));
            }
            sources.push(read_text(STDIN.to_owned(), io::stdin().lock())?);
        } else if Path::new(path).is_dir() {
            let found = in_folder(Path::new(path)).map_err(|e| unreadable(path, &e))?;
            if found.is_empty() {
                return Err(ManifestError::new(path, "holds no file whose name ends in .yaml, .yml or .json")
                    .hint("folders within it are not searched; name them too"));
            }
            for file in found {
                sources.push(read_file(&file)?);
            }
        } else {
            sources.push(read_file(Path::new(path))?);
        }
    }
    Ok(sources)
}

const STDIN: &str = "standard input";

fn in_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        let is_manifest = [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end));
        // A pipe or a device in the folder would hold us up for ever, and a folder is not searched.
        if is_manifest && !name.starts_with('.') && path.metadata()?.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read_file(path: &Path) -> Result<Source, ManifestError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|e| unreadable(&name, &e))?;
    read_text(name, file)
}

fn read_text(name: String, reader: impl Read) -> Result<Source, ManifestError> {
    let mut bytes = Vec::new();
    reader.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|e| unreadable(&name, &e))?;
    if bytes.len() as u64 > LARGEST {
        return Err(ManifestError::new(name, "is larger than 16 MiB, so it is no manifest"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let good = String::from_utf8_lossy(good);
            let line_start = good.rfind('\n').map_or(0, |n| n + 1);
            let place = Place {
                file: name,
                document: document_at(&good, u64::MAX),
                line: good.matches('\n').count() as u64 + 1,
                column: good[line_start..].chars().count() as u64 + 1,
            };
            Err(ManifestError::new("the text", "is not UTF-8").at(place).hint("save the file as UTF-8"))
        }
    }
}

fn unreadable(path: &str, error: &io::Error) -> ManifestError {
    let plain = ManifestError::new(path, format!("cannot be read: {error}"));
    match error.kind() == io::ErrorKind::NotFound {
        true => plain.hint("give a file, a folder, or `-` for standard input"),
        false => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sources: &[Source]) -> Vec<&str> {
        sources.iter().map(|s| s.name.rsplit('/').next().unwrap()).collect()
    }

    #[test]
    fn a_folder_gives_its_manifests_sorted_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.json", "c.yml", ".hidden.yaml", "notes.txt"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("d.yaml")).unwrap();
        let sources = gather(&[dir.path().display().to_string()]).unwrap();
        assert_eq!(names(&sources), ["a.json", "b.yaml", "c.yml"]);
        assert_eq!(sources[0].text, "a.json");
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let error = gather(&[path("none.yaml")]).unwrap_err();
        assert!(error.what.ends_with("none.yaml"), "{error}");
        assert!(error.why.contains("No such file"), "{error}");

        let error = gather(&[dir.path().display().to_string()]).unwrap_err();
        assert!(error.why.contains(".yaml"), "{error}");

        fs::write(path("latin.yaml"), b"a: b\nc: \xe9\n").unwrap();
        let error = gather(&[path("latin.yaml")]).unwrap_err();
        let place = error.place.unwrap();
        assert_eq!((place.document, place.line, place.column), (1, 2, 4));

        let error = gather(&["/dev/zero".to_owned()]).unwrap_err();
        assert!(error.why.contains("16 MiB"), "{error}");
    }
}
