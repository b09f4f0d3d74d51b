//! Links that somebody puts in the way while a call is under way: whatever a path becomes meanwhile, nothing outside of `--kubelet-dir` is
//! mounted, unmounted, made or removed.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use flexvolume_csi::wire::csi::NodePublishVolumeRequest;
use flexvolume_testkit::{
    picture::Picture,
    scripted::{Answer, Script},
};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tonic::{Code, Status};

use crate::{
    bed::Bed,
    command,
    scripts::{self, pid_in, tool, until},
    volume::{Volume, map},
};

/// What is somebody else's, named as what is beneath the kubelet's folder, so that a link leads to it.
struct Outside {
    dir: PathBuf,
    before: Picture,
}

impl Outside {
    /// Where a link leads: each of the names there is mounted on, except where nothing shall be.
    fn new(bed: &Bed, is_mounted: bool) -> Self {
        let dir = bed.command.sandbox.path().join("outside");
        // As deep as any of the folders that are exchanged.
        for below in ["mount", "data/mount", "kubernetes.io~csi/data/mount", "globalmount"] {
            let place = dir.join(below);
            fs::create_dir_all(&place).unwrap();
            if is_mounted {
                tool("mount", &["-t", "tmpfs", "theirs", place.to_str().unwrap()]);
                fs::write(place.join("precious"), "theirs").unwrap();
            }
        }
        let before = Picture::of(&dir).unwrap();
        Self { dir, before }
    }

    #[track_caller]
    fn assert_untouched(&self, about: &str) {
        assert_eq!(Picture::of(&self.dir).unwrap(), self.before, "{about}");
    }

    fn clear(self) {
        for below in ["mount", "data/mount", "kubernetes.io~csi/data/mount", "globalmount"] {
            let _ = std::process::Command::new("umount").arg(self.dir.join(below)).output();
        }
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

/// A folder that has a link's place while this lives.
struct Swapped {
    place: PathBuf,
    aside: PathBuf,
}

impl Swapped {
    fn for_a_link(place: &Path, to: &Path) -> Self {
        let aside = place.with_extension("aside");
        fs::rename(place, &aside).unwrap();
        symlink(to, place).unwrap();
        Self { place: place.to_owned(), aside }
    }

    fn back(self) {
        fs::remove_file(&self.place).unwrap();
        fs::rename(&self.aside, &self.place).unwrap();
    }
}

/// A verb that writes its pid down and waits.
fn held_up(bed: &command::Bed, script: Script, verb: &str, does: &str) -> Script {
    let [pid, go] = ["pid", "go"].map(|name| bed.sandbox.path().join(name));
    let text = format!("echo $$ > {}; while [ ! -e {} ]; do sleep 0.05; done; {does}", pid.display(), go.display());
    script.on(verb, Answer::success().run(text))
}

/// Runs the call, and `meanwhile` while the driver waits in it.
fn while_it_waits<T: Send>(bed: &Bed, call: impl FnOnce() -> T + Send, meanwhile: impl FnOnce()) -> T {
    let [pid, go] = ["pid", "go"].map(|name| bed.command.sandbox.path().join(name));
    let _ = (fs::remove_file(&pid), fs::remove_file(&go));
    thread::scope(|scope| {
        let call = scope.spawn(call);
        pid_in(&pid);
        meanwhile();
        fs::write(&go, "").unwrap();
        call.join().unwrap()
    })
}

/// What is exchanged for a link: each folder above a target, and the target itself.
fn folders(target: &Path) -> Vec<PathBuf> {
    target.ancestors().take(4).map(Path::to_owned).collect()
}

#[track_caller]
fn assert_told(came: Result<(), Status>, about: &str) {
    let Err(status) = came else { panic!("{about}: it was done") };
    assert!(matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument), "{about}: {status:?}");
}

/// The driver is at work, and what comes next is to show the volume at a path that leads elsewhere by then.
#[test]
fn a_target_that_becomes_a_link_in_mid_publish_leads_nowhere() {
    let tmpfs = r#"mount -t tmpfs none "$2""#;
    let flags = ["--allow-inline", "size"];
    for (way, script, verb) in
        [("direct", scripts::direct as fn() -> Script, "mount"), ("written in a pod", scripts::staged, "mountdevice")]
    {
        let made = Bed::script_with(&flags, |bed| held_up(bed, script(), verb, tmpfs));
        let Some((mut bed, _)) = made else { return };
        let context = if verb == "mount" { map([]) } else { map([("csi.storage.k8s.io/ephemeral", "true")]) };
        let volume = Volume { context, ..Volume::named("data").of_any_type() };
        for is_mounted in [false, true] {
            for (depth, folder) in folders(&bed.target("one")).into_iter().enumerate() {
                let about = format!("{way}, {depth} above the target, mounted: {is_mounted}");
                let outside = Outside::new(&bed, is_mounted);
                let leads_to = if depth == 0 { outside.dir.join("mount") } else { outside.dir.clone() };
                fs::create_dir_all(bed.target("one")).unwrap();
                let mut swapped = None;
                let came = while_it_waits(
                    &bed,
                    || bed.publish(&volume, "one"),
                    || swapped = Some(Swapped::for_a_link(&folder, &leads_to)),
                );
                assert_told(came, &about);
                outside.assert_untouched(&about);
                // Nor by who takes it back.
                let _ = bed.unpublish(&volume, "one");
                outside.assert_untouched(&about);
                assert_eq!(bed.command.json(["ls"]), serde_json::json!([]), "{about}: left of what was refused");
                swapped.unwrap().back();
                bed.unpublish(&volume, "one").unwrap();
                outside.clear();
                let _ = fs::remove_dir_all(bed.kubelet().join("pods"));
                bed.assert_clean();
            }
        }
    }
}

/// The folder goes before the driver has ended, and one of the same name leads elsewhere: while a volume is taken away.
#[test]
fn a_target_that_becomes_a_link_in_mid_unpublish_leads_nowhere() {
    let made = Bed::script(|bed| held_up(bed, scripts::direct(), "unmount", r#"umount "$2""#));
    let Some((mut bed, _)) = made else { return };
    let volume = Volume::named("data").of_any_type();
    for (depth, folder) in folders(&bed.target("one")).into_iter().enumerate().skip(1) {
        let outside = Outside::new(&bed, true);
        bed.publish(&volume, "one").unwrap();
        let mut swapped = None;
        let came = while_it_waits(
            &bed,
            || bed.unpublish(&volume, "one"),
            || swapped = Some(Swapped::for_a_link(&folder, &outside.dir)),
        );
        came.unwrap();
        outside.assert_untouched(&format!("{depth}"));
        swapped.unwrap().back();
        outside.clear();
        bed.unpublish(&volume, "one").unwrap();
        let _ = fs::remove_dir_all(bed.kubelet().join("pods"));
        bed.assert_clean();
    }
}

/// A staging path is only looked at; what is mounted lies beneath our own root.
#[test]
fn a_staging_path_that_becomes_a_link_in_mid_stage_leads_nowhere() {
    let tmpfs = r#"mount -t tmpfs none "$2""#;
    let made = Bed::script(|bed| held_up(bed, scripts::staged(), "mountdevice", tmpfs));
    let Some((mut bed, _)) = made else { return };
    let volume = Volume::named("data").of_any_type();
    for (depth, folder) in folders(&bed.staging(&volume)).into_iter().enumerate() {
        let outside = Outside::new(&bed, true);
        let leads_to = if depth == 0 { outside.dir.join("globalmount") } else { outside.dir.clone() };
        fs::create_dir_all(bed.staging(&volume)).unwrap();
        let mut swapped = None;
        let _ = while_it_waits(&bed, || bed.stage(&volume), || swapped = Some(Swapped::for_a_link(&folder, &leads_to)));
        outside.assert_untouched(&format!("stage, {depth}"));
        let _ = bed.publish(&volume, "one");
        outside.assert_untouched(&format!("publish, {depth}"));
        let _ = bed.unpublish(&volume, "one");
        let _ = bed.unstage(&volume);
        outside.assert_untouched(&format!("unstage, {depth}"));
        swapped.unwrap().back();
        bed.unpublish(&volume, "one").unwrap();
        bed.unstage(&volume).unwrap();
        outside.clear();
        let _ = fs::remove_dir_all(bed.kubelet().join("plugins"));
        bed.assert_clean();
    }
}

/// A volume is published, and afterwards its path leads elsewhere, where something of somebody else's lies under the same name.
#[test]
fn what_lies_where_a_link_leads_is_left_alone() {
    for is_staged in [false, true] {
        let Some((mut bed, _)) = Bed::script(|_| if is_staged { scripts::staged() } else { scripts::direct() }) else {
            return;
        };
        let volume = Volume::named("data").of_any_type();
        for is_mounted in [false, true] {
            for (depth, folder) in folders(&bed.target("one")).into_iter().enumerate().skip(1) {
                let about = format!("staged: {is_staged}, {depth} above the target, mounted: {is_mounted}");
                let outside = Outside::new(&bed, is_mounted);
                if is_staged {
                    bed.stage(&volume).unwrap();
                }
                bed.publish(&volume, "one").unwrap();
                fs::write(bed.target("one").join("file"), "kept").unwrap();
                let swapped = Swapped::for_a_link(&folder, &outside.dir);
                assert_told(bed.publish(&volume, "one"), &format!("publish, {about}"));
                assert_told(bed.unpublish(&volume, "one"), &format!("unpublish, {about}"));
                outside.assert_untouched(&about);
                swapped.back();
                assert_eq!(fs::read_to_string(bed.target("one").join("file")).unwrap(), "kept", "{about}");
                bed.unpublish(&volume, "one").unwrap();
                if is_staged {
                    bed.unstage(&volume).unwrap();
                }
                outside.clear();
                let _ = fs::remove_dir_all(bed.kubelet().join("pods"));
                bed.assert_clean();
            }
        }
    }
}

/// Says that it is over, also where the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Folder and link change places all the time, at whatever moment of whatever call.
#[test]
fn a_folder_and_a_link_that_change_places_all_the_time() {
    let Some((mut bed, _)) = Bed::script(|_| scripts::staged()) else { return };
    let volume = Volume::named("data").of_any_type();
    bed.stage(&volume).unwrap();
    let outside = Outside::new(&bed, true);
    let folder = bed.target("one").parent().unwrap().to_owned();
    let link = folder.with_extension("link");
    fs::create_dir_all(&folder).unwrap();
    symlink(&outside.dir, &link).unwrap();
    let (over, mut done, mut refused) = (AtomicBool::new(false), [0, 0], [0, 0]);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).unwrap();
                thread::sleep(std::time::Duration::from_micros(300));
            }
        });
        let _over = Over(&over);
        for n in 0..600 {
            let request = NodePublishVolumeRequest { readonly: n % 4 > 1, ..bed.publish_request(&volume, "one") };
            let (which, came) = match n % 2 {
                0 => (0, bed.client.node_publish_volume(request).map(drop)),
                _ => (1, bed.unpublish(&volume, "one")),
            };
            match came {
                Ok(()) => done[which] += 1,
                Err(_) => refused[which] += 1,
            }
            // Before it is looked at: what is put there for a moment only would leave its traces too.
            if n % 20 == 0 {
                outside.assert_untouched(&format!("call {n}"));
            }
        }
    });
    outside.assert_untouched("in the end");
    // Else they never met.
    assert!(done.iter().chain(&refused).all(|count| *count > 10), "done: {done:?}, refused: {refused:?}");
    if folder.is_symlink() {
        renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).unwrap();
    }
    until("it to be gone", || bed.unpublish(&volume, "one").is_ok());
    bed.unstage(&volume).unwrap();
    outside.assert_untouched("afterwards");
    fs::remove_file(&link).unwrap();
    outside.clear();
    bed.assert_clean();
}
