//! Paths: what a kubelet's root is called is nothing to a driver, and what lies beside and behind its target is not its own.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use flexvolume_linux::mount::table;
use flexvolume_protocol::{Dir, keys};

use super::data::in_memory;
use crate::{
    bed::{Bed, Pod, ROOTS, Volume},
    check::{Check, row},
    level::Severity::{Must, Should},
    life::make,
    scene::{Scene, put},
    shown::typed,
    stop::{Stop, Verdict, fault, skip},
    trouble::Trouble,
};

/// The group of a pod.
const GROUP: &str = "2000";

const SECTION: &str = "contract: Demands on drivers, 9";
const MEND: &str = "put \"$2\" in double quotes wherever it stands, hand it on as one argument, and look for it in /proc/self/mountinfo as that spells it, or with `findmnt -M`";

pub(crate) const CHECKS: &[Check] = &[
    row(
        "paths.root",
        Must,
        "a volume comes and goes for a host whose root lies somewhere else: any folder can be a kubelet's",
        SECTION,
        "take the pod's uid from `kubernetes.io/pod.uid`, and count no components of the path",
        &["mount.again", "unmount.undoes"],
        |bed| rooted(bed, "kubelet"),
    ),
    row(
        "paths.blanks",
        Must,
        "the path of the directory may hold blanks: who splits it there mounts, or removes, somewhere else",
        SECTION,
        MEND,
        &["paths.root"],
        |bed| rooted(bed, "two  words and\ta tab"),
    ),
    row(
        "paths.unicode",
        Must,
        "the path of the directory may hold any letters",
        SECTION,
        "take the path as it comes, byte for byte",
        &["paths.root"],
        |bed| rooted(bed, "größe-容量-\u{1f4be}"),
    ),
    row(
        "paths.quotes",
        Should,
        "the path of the directory may hold quotes and backslashes",
        SECTION,
        MEND,
        &["paths.root"],
        |bed| rooted(bed, r#"a"b'c\d\040e"#),
    ),
    row(
        "paths.shell",
        Should,
        "the path of the directory may hold what a shell would run or fill in",
        SECTION,
        MEND,
        &["paths.root"],
        |bed| rooted(bed, "$HOME$(id)`id`;&|*?[a]#{b,c}"),
    ),
    row(
        "paths.lines",
        Should,
        "the path of the directory may hold line breaks",
        SECTION,
        MEND,
        &["paths.root"],
        |bed| rooted(bed, "one\ntwo"),
    ),
    row(
        "paths.dash",
        Should,
        "a part of the path of the directory may begin with a dash",
        SECTION,
        "take no part of the path by itself, and put `--` before what may be taken for an option",
        &["paths.root"],
        |bed| rooted(bed, "-rf"),
    ),
    row(
        "paths.long",
        Should,
        "a part of the path of the directory may have 255 bytes, which is all that a file system takes",
        SECTION,
        "name records and locks of a mount by a hash of its path",
        &["paths.root"],
        |bed| rooted(bed, &"n".repeat(255)),
    ),
    row(
        "paths.beside",
        Must,
        "what lies beside the driver's directory and above it stays as it is: it is of other volumes and of the host",
        SECTION,
        "change the directory that the call names, and no other; leave the folders above it to the host",
        &["unmount.undoes"],
        beside,
    ),
    row(
        "paths.links",
        Must,
        "links that lie in the volume are not followed out of it: whoever writes to the volume makes them, and would own the node",
        SECTION,
        "leave modes and owners to the host (`fsGroup`), or change them with `chown -h` and `find -P`, and never through a link",
        &["data.kept"],
        links,
    ),
];

/// A volume's life for a host whose root is a folder of this name. What a path leads to that was cut short is there as well.
fn rooted(bed: &mut Bed<'_>, name: &str) -> Verdict {
    let volume = bed.volume()?;
    let roots = bed.home().join(ROOTS);
    let root = roots.join(name);
    make(&root)?;
    for cut in cuts(name) {
        put(&roots.join(cut))?;
    }
    let scene = Scene::of(&roots, &[&root])?;
    bed.root.clone_from(&root);
    let verdict = live(bed, &volume, &root);
    bed.sweep();
    bed.root = bed.home().to_owned();
    let told = |stop| match stop {
        Stop::Fault(seen) => Stop::Fault(format!("for a host whose root is {root:?}: {seen}")),
        other @ (Stop::Skip(_) | Stop::Trouble(_)) => other,
    };
    verdict.and_then(|()| scene.is_kept("a volume's life in the folder beside it")).map_err(told)
}

/// A name's beginnings, each ending before something that is no letter.
fn cuts(name: &str) -> Vec<&str> {
    let ends = name.char_indices().filter(|(at, c)| *at > 0 && c.is_ascii() && !c.is_ascii_alphanumeric());
    ends.filter_map(|(at, _)| name.get(..at)).collect()
}

fn live(bed: &mut Bed<'_>, volume: &Volume, root: &Path) -> Verdict {
    let pod = bed.up(volume, 1)?;
    let roots = bed.home().join(ROOTS);
    let strays = table::beneath(&roots)?.into_iter().find(|mounted| !mounted.point.starts_with(root));
    if let Some(stray) = strays {
        return fault(format!("{} is mounted at {}", stray.source, stray.point.display()));
    }
    // It is found again by its path.
    if !bed.host_mounts {
        bed.mount(volume, 1)?;
        match table::stacked(pod.dir.as_path())?.len() {
            1 => {}
            many => return fault(format!("after the second mount {many} mounts lie on each other")),
        }
    }
    bed.down(volume, 1)?;
    bed.unstage(volume)
}

/// Other volumes and files of the host lie wherever the driver comes by.
fn beside(bed: &mut Bed<'_>) -> Verdict {
    let volume = bed.volume()?;
    let pod = bed.pod(9, &volume)?;
    let dirs = match bed.attaches() {
        true => vec![pod.dir.clone(), bed.global(&volume)?],
        false => vec![pod.dir.clone()],
    };
    let mut put_there: Vec<PathBuf> = Vec::new();
    for dir in &dirs {
        let above = dir.as_path().ancestors().skip(1).take_while(|above| above.starts_with(bed.home()));
        for folder in above.filter(|above| *above != bed.home()) {
            // One is named as the volume is, and goes on.
            put_there.extend([folder.join("beside"), folder.join(format!("{}-beside", volume.name))]);
        }
    }
    put_there.iter().try_for_each(|folder| put(folder))?;
    // The driver came by before: what it did then shows only where it can do it anew.
    for folder in put_there.iter().filter_map(|folder| folder.parent()) {
        let wrong = |error| Trouble::io("change the mode of", folder, error);
        fs::set_permissions(folder, fs::Permissions::from_mode(0o750)).map_err(wrong)?;
    }
    let without: Vec<&Path> = dirs.iter().map(flexvolume_protocol::Dir::as_path).collect();
    let (pods, plugins) = (bed.home().join("pods"), bed.home().join("plugins"));
    make(&plugins)?;
    let scenes = [Scene::of(&pods, &without)?, Scene::of(&plugins, &without)?];
    let verdict = grouped(bed, &volume, &pod, 9).and_then(|()| {
        bed.down(&volume, 9)?;
        bed.unstage(&volume)
    });
    bed.sweep();
    let kept = verdict.and_then(|()| scenes.iter().try_for_each(|scene| scene.is_kept("a volume's life")));
    for folder in put_there {
        let _ = fs::remove_file(folder.join("kept"));
        let _ = fs::remove_dir(folder);
    }
    kept
}

/// Links to a file and to a folder outside, made in the volume as a pod may make them.
fn links(bed: &mut Bed<'_>) -> Verdict {
    bed.may_write()?;
    let volume = bed.volume()?;
    let pod = bed.up(&volume, 1)?;
    if in_memory(bed, &pod.dir)? {
        return skip("the volume is in memory, and nothing that a pod made is there when it comes again");
    }
    let outside = bed.home().join("outside");
    put(&outside)?;
    put(&outside.join("folder"))?;
    let name = |what: &str| pod.dir.as_path().join(format!(".flexvol-check-{}-{what}", bed.id));
    let links = [(outside.join("kept"), name("link")), (outside.join("folder"), name("links"))];
    let scene = Scene::of(&outside, &[])?;
    let verdict = linked(bed, &volume, &pod, links.clone());
    // What the judge made itself is deleted as a whole.
    if verdict.is_err() && volume.id.is_none() {
        unlink(bed, &volume, &links.map(|(_, link)| link));
    }
    verdict?;
    bed.down(&volume, 1)?;
    bed.unstage(&volume)?;
    scene.is_kept("a volume's life")
}

/// Links are made in the volume that is up, it comes again for a pod with a group, and they are removed.
fn linked(bed: &mut Bed<'_>, volume: &Volume, pod: &Pod, links: [(PathBuf, PathBuf); 2]) -> Verdict {
    let made = links.clone();
    let made =
        bed.reach("making links in the volume", move || made.iter().try_for_each(|(to, link)| symlink(to, link)))?;
    if let Err(error) = made {
        return skip(format!("no links can be made in the volume: {error}"));
    }
    bed.down(volume, 1)?;
    bed.unstage(volume)?;
    grouped(bed, volume, pod, 1)?;
    bed.reach("removing links from the volume", move || links.iter().try_for_each(|(_, link)| fs::remove_file(link)))?
        .map_err(|error| Stop::Fault(format!("links that were made in the volume are gone from it: {error}")))
}

/// Whatever came: no link stays in a person's volume, and if one may, the person is told.
fn unlink(bed: &mut Bed<'_>, volume: &Volume, links: &[PathBuf; 2]) {
    let removed = bed.pod(1, volume).and_then(|pod| match bed.mounted(&pod.dir)? {
        Some(_) => unlinked(bed, &pod.dir, links),
        None => fault("the volume is not mounted"),
    });
    let removed = removed.or_else(|_| {
        bed.sweep();
        bed.caller.set_undoing(true);
        // Nothing is called while a call goes on.
        let again = match bed.caller.going() {
            Some(_) => fault("a call goes on"),
            None => bed.up(volume, 1).and_then(|pod| unlinked(bed, &pod.dir, links)),
        };
        bed.caller.set_undoing(false);
        again
    });
    if removed.is_err() {
        let names: Vec<_> = links.iter().filter_map(|link| link.file_name()?.to_str()).collect();
        bed.leave(format!(
            "links that the judge may have made in the volume {:?}; where it is mounted: {}",
            volume.name,
            typed(&[&["rm", "-f"][..], &names].concat())
        ));
    }
}

fn unlinked(bed: &Bed<'_>, dir: &Dir, links: &[PathBuf; 2]) -> Verdict {
    let all = links.clone();
    let removed = bed.reach("removing links from the volume", move || {
        all.iter().try_for_each(|link| match fs::remove_file(link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        })
    })?;
    removed.or_else(|error| fault(format!("links cannot be removed at {}: {error}", dir.as_str())))
}

/// Up for the n-th pod, which has a group: there a driver may change modes and owners.
fn grouped(bed: &mut Bed<'_>, volume: &Volume, pod: &Pod, n: usize) -> Verdict {
    bed.ready(volume)?;
    let mut options = bed.pod_options(volume, pod, false);
    options.insert(keys::FS_GROUP_ARGS, GROUP);
    options.insert(keys::FS_GROUP, GROUP);
    bed.mount_with(volume, n, options)
}
