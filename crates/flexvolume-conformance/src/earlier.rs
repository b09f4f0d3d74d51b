//! Judges that were killed: what they had begun is taken away before another one begins, by the driver that had made it.

use std::{fs, path::Path, thread, time::Duration};

use crate::{
    bed::Bed,
    job::Job,
    notes::{FOLDER, Notes},
    shown::typed,
};

/// How long a judge that has made its folder may take to lock it and write there.
const BIRTH: Duration = Duration::from_millis(500);

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
        let mut dead = Notes::of_the_dead(&home);
        if matches!(dead, Some(Err(_))) {
            thread::sleep(BIRTH);
            dead = Notes::of_the_dead(&home);
        }
        let shown = home.display().to_string();
        let (notes, noted) = match dead {
            None => continue,
            Some(Ok(read)) => read,
            Some(Err(error)) => {
                let (look, remove) =
                    (typed(&["grep", "-F", &shown, "/proc/self/mountinfo"]), typed(&["rm", "-r", &shown]));
                let left = format!(
                    "whatever a judge that was killed had begun in {shown}: its notes there cannot be read ({error}). \
                     See what is mounted there ({look}) and which volumes are called check-{id}; when there are none any more: {remove}"
                );
                earlier.left.push(left);
                continue;
            }
        };
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
