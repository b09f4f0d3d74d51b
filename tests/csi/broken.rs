//! Drivers that die, hang and lie in the middle of a call, a disk that is full, and clients that leave.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use flexvolume_testkit::scripted::{Answer, Script};
use rustix::process::{Pid, Signal, kill_process};
use tonic::Code;

use crate::{
    bed::{Bed, walk},
    client::Leaves,
    command,
    scripts::{self, lives, pid_in, tool, until},
    volume::{Volume, refused},
};

/// What a client may be told of a call that came to nothing by nobody's intention: try again.
#[track_caller]
fn try_again<T>(came: Result<T, tonic::Status>) {
    let Err(status) = came else { panic!("it was done") };
    assert!(matches!(status.code(), Code::Unavailable | Code::Aborted), "{status:?}");
    assert!(!status.message().is_empty());
}

fn path(bed: &command::Bed, name: &str) -> PathBuf {
    bed.sandbox.path().join(name)
}

/// Writes its pid down, and then does nothing until it is let go.
fn waits(bed: &command::Bed) -> String {
    format!(
        "echo $$ > {}; while [ ! -e {} ]; do sleep 0.05; done",
        path(bed, "pid").display(),
        path(bed, "go").display()
    )
}

/// Calls that wait: where they are called, as the one of them that is said.
fn waiting(bed: &command::Bed, script: Script, verb: &str, does: &str) -> Script {
    script.on(verb, Answer::success().run(format!("{}; {does}", waits(bed))))
}

/// Both ways: mounted for one user, and mounted once for all.
fn both() -> Option<[(Bed, Volume, bool); 2]> {
    let volume = Volume::named("data").of_any_type();
    let (direct, _) = Bed::script(|bed| waiting(bed, scripts::direct(), "mount", r#"mount -t tmpfs none "$2""#))?;
    let (staged, _) = Bed::script(|bed| waiting(bed, scripts::staged(), "mountdevice", r#"mount -t tmpfs none "$2""#))?;
    Some([(direct, volume.clone(), false), (staged, volume, true)])
}

fn begin(bed: &Bed, volume: &Volume, is_staged: bool) -> Result<(), tonic::Status> {
    if is_staged { bed.stage(volume) } else { bed.publish(volume, "one") }
}

fn end(bed: &mut Bed, volume: &Volume, is_staged: bool) {
    bed.publish(volume, "one").unwrap();
    fs::write(bed.target("one").join("file"), "usable").unwrap();
    bed.unpublish(volume, "one").unwrap();
    if is_staged {
        bed.unstage(volume).unwrap();
    }
    bed.assert_clean();
}

#[test]
fn a_driver_that_is_killed_is_called_again() {
    for (mut bed, volume, is_staged) in both().into_iter().flatten() {
        thread::scope(|scope| {
            let call = scope.spawn(|| begin(&bed, &volume, is_staged));
            let pid = Pid::from_raw(i32::try_from(pid_in(&path(&bed.command, "pid"))).unwrap()).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
            try_again(call.join().unwrap());
        });
        fs::write(path(&bed.command, "go"), "").unwrap();
        begin(&bed, &volume, is_staged).unwrap();
        end(&mut bed, &volume, is_staged);
    }
}

/// The bridge goes with the driver in mid-call, and the driver goes on without it.
#[test]
fn a_bridge_that_is_killed_in_mid_call_goes_on_from_there() {
    for (mut bed, volume, is_staged) in both().into_iter().flatten() {
        let pid = thread::scope(|scope| {
            let call = scope.spawn(|| {
                let client = bed.hasty(Leaves::Silently(Duration::from_secs(20)));
                if is_staged {
                    client.node_stage_volume(bed.stage_request(&volume)).map(drop)
                } else {
                    client.node_publish_volume(bed.publish_request(&volume, "one")).map(drop)
                }
            });
            let pid = pid_in(&path(&bed.command, "pid"));
            kill_process(Pid::from_raw(i32::try_from(bed.pid()).unwrap()).unwrap(), Signal::KILL).unwrap();
            assert!(call.join().unwrap().is_err());
            pid
        });
        assert!(lives(pid), "the driver has ended with the bridge");
        bed.restart();
        // It is still at it, or was ended: nobody else begins meanwhile.
        fs::write(path(&bed.command, "go"), "").unwrap();
        begin(&bed, &volume, is_staged).unwrap();
        assert!(!lives(pid));
        end(&mut bed, &volume, is_staged);
    }
}

#[test]
fn a_client_that_left_gets_the_result_when_it_comes_back() {
    let long = Duration::from_millis(500);
    for leaves in [Leaves::Silently(long), Leaves::ByDeadline(long)] {
        for (mut bed, volume, is_staged) in both().into_iter().flatten() {
            let hasty = bed.hasty(leaves);
            let call = || match is_staged {
                true => hasty.node_stage_volume(bed.stage_request(&volume)).map(drop),
                false => hasty.node_publish_volume(bed.publish_request(&volume, "one")).map(drop),
            };
            for _ in 0..3 {
                let status = call().unwrap_err();
                assert!(
                    matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled | Code::Aborted),
                    "{status:?}"
                );
            }
            let pid = pid_in(&path(&bed.command, "pid"));
            assert!(lives(pid), "the work has ended with its client");
            fs::write(path(&bed.command, "go"), "").unwrap();
            until("the result", || call().is_ok());
            let verb = if is_staged { "verb=\"mountdevice\"" } else { "verb=\"mount\"" };
            let called = bed.log().lines().filter(|line| line.contains("called") && line.contains(verb)).count();
            assert_eq!(called, 1, "the driver was called again");
            end(&mut bed, &volume, is_staged);
        }
    }
}

/// Whoever wants something else of the volume is told after a while, and not left to wait for ever.
#[test]
fn another_call_of_a_volume_that_hangs_is_aborted() {
    let Some((mut bed, _)) = Bed::script(|bed| waiting(bed, scripts::direct(), "mount", r#"mount -t tmpfs none "$2""#))
    else {
        return;
    };
    let volume = Volume::named("data").of_any_type();
    thread::scope(|scope| {
        let first = scope.spawn(|| bed.publish(&volume, "one"));
        pid_in(&path(&bed.command, "pid"));
        let began = Instant::now();
        refused(bed.publish(&volume, "two"), Code::Aborted, &["still under way"]);
        assert!(began.elapsed() < Duration::from_secs(300));
        fs::write(path(&bed.command, "go"), "").unwrap();
        first.join().unwrap().unwrap();
    });
    bed.publish(&volume, "two").unwrap();
    bed.unpublish(&volume, "two").unwrap();
    bed.unpublish(&volume, "one").unwrap();
    bed.assert_clean();
}

/// One that never comes back is ended at its limit, and what it was at is told.
#[test]
fn a_driver_that_hangs_is_ended_at_its_limit() {
    let limits =
        r#"{"defaults": {"limits": {"mount": {"answer": 0.5, "kill": 1}, "mountdevice": {"answer": 0.5, "kill": 1}}}}"#;
    for (mut bed, volume, is_staged) in both().into_iter().flatten() {
        bed.command.manifest("flexvol.json", limits);
        bed.restart();
        try_again(begin(&bed, &volume, is_staged));
        let pid = pid_in(&path(&bed.command, "pid"));
        until("the driver to be ended", || !lives(pid));
        assert!(!bed.target("one").exists());
        fs::write(path(&bed.command, "go"), "").unwrap();
        until("it to work again", || begin(&bed, &volume, is_staged).is_ok());
        end(&mut bed, &volume, is_staged);
    }
}

#[test]
fn a_driver_that_lies_is_not_believed() {
    let lies = Answer::success();
    for (script, is_staged) in
        [(scripts::direct().on("mount", lies.clone()), false), (scripts::staged().on("mountdevice", lies), true)]
    {
        let Some((mut bed, driver)) = Bed::script(|_| script) else { return };
        let volume = Volume::named("data").of_any_type();
        for _ in 0..2 {
            let status = begin(&bed, &volume, is_staged).unwrap_err();
            assert!(status.message().contains("nothing is mounted"), "{status:?}");
            assert_ne!(status.code(), Code::Ok);
            assert!(!bed.target("one").exists());
        }
        assert!(driver.verbs().unwrap().len() > 2);
        bed.unpublish(&volume, "one").unwrap();
        if is_staged {
            bed.unstage(&volume).unwrap();
        }
        bed.assert_clean();
    }
    // What says that it is gone, and is not.
    let Some((mut bed, _)) = Bed::script(|_| {
        scripts::direct().on_each("unmount", [Answer::success(), Answer::success().run(r#"umount "$2""#)])
    }) else {
        return;
    };
    let volume = Volume::named("data").of_any_type();
    bed.publish(&volume, "one").unwrap();
    until("it to go", || bed.unpublish(&volume, "one").is_ok());
    bed.assert_clean();
}

/// Images are sparse, so it is not their size that does not fit: there is no room for as much as a name, or for what says whose it is.
#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    for limit in ["size=24m", "nr_inodes=4"] {
        let Some(mut bed) = Bed::of("loopback") else { return };
        let images = bed.command.sandbox.dir("images").unwrap();
        tool("mount", &["-t", "tmpfs", "-o", &format!("{limit},mode=755"), "none", images.to_str().unwrap()]);
        let made_and_gone = |name: &str| {
            let volume = bed.create(name);
            bed.stage(&volume).unwrap();
            bed.publish(&volume, "one").unwrap();
            fs::write(bed.target("one").join("file"), "kept").unwrap();
            bed.unpublish(&volume, "one").unwrap();
            bed.unstage(&volume).unwrap();
            bed.delete(&volume).unwrap();
        };
        if limit.starts_with("size") {
            made_and_gone("before");
        }
        let there = walk(&images);
        let mut ballast = Vec::new();
        for n in 0.. {
            let file = images.join(format!("ballast-{n}"));
            ballast.push(file.clone());
            if fs::write(&file, vec![1; 1 << 16]).is_err() {
                break;
            }
        }
        let full = walk(&images);
        for _ in 0..2 {
            refused(bed.try_create("one-more"), Code::ResourceExhausted, &[]);
            assert_eq!(walk(&images), full, "{limit}");
        }
        for file in ballast {
            let _ = fs::remove_file(file);
        }
        assert_eq!(walk(&images), there, "{limit}");
        if limit.starts_with("size") {
            made_and_gone("one-more");
        }
        tool("umount", &[images.to_str().unwrap()]);
        bed.assert_clean();
    }
}
