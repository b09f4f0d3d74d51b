//! Files and folders as they are, to see what was done to them: what each is, whose it is, and what it holds.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{
    stop::{Verdict, fault},
    trouble::Trouble,
};

/// What a path leads to, without following a link.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    holds: Vec<u8>,
}

/// A folder, and all beneath it but what is left out.
#[derive(Debug)]
pub(crate) struct Scene(BTreeMap<PathBuf, Seen>);

impl Scene {
    /// What is there now, without these folders. Other file systems are not entered.
    pub(crate) fn of(dir: &Path, without: &[&Path]) -> Result<Self, Trouble> {
        let mut all = BTreeMap::new();
        let look = |path: &Path| fs::symlink_metadata(path).map_err(|error| Trouble::io("look at", path, error));
        let dev = look(dir)?.dev();
        let mut rest = vec![dir.to_owned()];
        while let Some(path) = rest.pop() {
            let meta = look(&path)?;
            if meta.dev() != dev || without.contains(&path.as_path()) {
                continue;
            }
            let inside = |error| Trouble::io("look into", &path, error);
            let holds = beginning(&path, &meta);
            if meta.is_dir() {
                for entry in fs::read_dir(&path).map_err(inside)? {
                    rest.push(entry.map_err(inside)?.path());
                }
            }
            all.insert(path, Seen { mode: meta.mode(), owner: (meta.uid(), meta.gid()), holds });
        }
        Ok(Self(all))
    }

    /// All that was there is so still, whatever came since.
    pub(crate) fn is_kept(&self, what: &str) -> Verdict {
        for (path, seen) in &self.0 {
            let shown = path.display();
            let now = match fs::symlink_metadata(path) {
                Ok(meta) => meta,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return fault(format!("{what} removed {shown}"));
                }
                Err(error) => return Err(Trouble::io("look at", path, error).into()),
            };
            if now.mode() != seen.mode {
                return fault(format!("{what} changed the mode of {shown} from {:o} to {:o}", seen.mode, now.mode()));
            }
            if (now.uid(), now.gid()) != seen.owner {
                return fault(format!("{what} gave {shown} to {}:{}", now.uid(), now.gid()));
            }
            if beginning(path, &now) != seen.holds {
                return fault(format!("{what} changed what {shown} holds"));
            }
        }
        Ok(())
    }
}

/// What a file holds at its beginning; nothing of all else, and of what cannot be read.
fn beginning(path: &Path, meta: &fs::Metadata) -> Vec<u8> {
    let mut bytes = Vec::new();
    if meta.is_file() {
        let _ = fs::File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
    }
    bytes
}

/// How much of a file is looked at.
const MOST: u64 = 64 << 10;

/// A folder of the judge's own with a file in it, as nobody but their owner would have them.
pub(crate) fn put(folder: &Path) -> Result<(), Trouble> {
    let wrong = |error| Trouble::io("write to", folder, error);
    folder.parent().map_or(Ok(()), fs::create_dir_all).map_err(wrong)?;
    fs::DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(wrong)?;
    let mut file = fs::File::options();
    let mut file = file.write(true).create(true).truncate(true).mode(0o640).open(folder.join("kept")).map_err(wrong)?;
    io::Write::write_all(&mut file, b"kept").map_err(wrong)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_was_done_to_it_is_seen() {
        let root = std::env::temp_dir().join(format!("flexvol-scene-{}", std::process::id()));
        let (beside, out) = (root.join("beside"), root.join("out"));
        put(&beside).unwrap();
        put(&out).unwrap();
        let scene = Scene::of(&root, &[&out]).unwrap();
        fs::remove_dir_all(&out).unwrap();
        fs::write(beside.join("new"), "").unwrap();
        assert!(scene.is_kept("it").is_ok());
        let says = |word: &str| format!("{:?}", scene.is_kept("it")).contains(word);
        let mode = |mode| fs::set_permissions(beside.join("kept"), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert!(says("changed the mode"));
        mode(0o640);
        fs::write(beside.join("kept"), "lost").unwrap();
        assert!(says("changed what"));
        fs::remove_file(beside.join("kept")).unwrap();
        assert!(says("removed"));
        fs::remove_dir_all(&root).unwrap();
    }
}
