//! Judges that were killed: what they had begun is taken away before another one begins, by the driver that had made it.

use std::{fs, path::Path};

use crate::{
    bed::Bed,
    job::Job,
    notes::{FOLDER, Notes},
    shown::typed,
};

/// What came of folders that judges had left.
#[derive(Debug, Default)]
pub(crate) struct Earlier {
    /// Those that are gone, with all that was begun.
    pub(crate) gone: Vec<String>,
    /// What is still there, and what a person would type.
    pub(crate) left: Vec<String>,
}

/// Takes away what judges left in `root` that are dead. A driver is called for what was begun with it alone, and never one that is
/// only named there.
pub(crate) fn take_away(job: &Job, root: &Path) -> Earlier {
    let mut earlier = Earlier::default();
    let all = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = all.filter_map(|name| name.into_string().ok()).collect();
    names.sort_unstable();
    for name in names {
        let Some(id) = name.strip_prefix(FOLDER) else { continue };
        let home = root.join(&name);
        let Some((notes, noted)) = Notes::of_the_dead(&home) else { continue };
        let shown = home.display().to_string();
        if noted.driver != job.driver {
            let (driver, scratch) = (noted.driver.display().to_string(), root.display().to_string());
            let command = ["flexvol", "check", "--only", "init.answers", "--scratch", &scratch, &driver];
            let left = format!("what a judge of {driver} that was killed had begun in {shown}: {}", typed(&command));
            earlier.left.push(left);
            continue;
        }
        let mut bed = Bed::of_the_dead(job, id, home, notes, noted);
        bed.finish();
        if bed.left.is_empty() {
            earlier.gone.push(shown);
        }
        earlier.left.append(&mut bed.left);
    }
    earlier
}
