//! Many volumes at once, and many calls for one.

use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use flexvolume_testkit::scripted::Answer;

use crate::{
    bed::Bed,
    client::{Client, Leaves},
    scripts::{self, until},
    volume::{Came, Volume},
};

const VOLUMES: usize = 200;
const AT_ONCE: usize = 32;

/// Does it for each of all volumes, so many at once; what failed.
fn each(work: impl Fn(usize) -> Came + Sync) -> Vec<(usize, tonic::Status)> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    if n >= VOLUMES {
                        return;
                    }
                    if let Err(status) = work(n) {
                        failed.lock().unwrap().push((n, status));
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

fn two_hundred(mut bed: Bed, is_staged: bool) {
    let volumes: Vec<_> = (0..VOLUMES).map(|n| Volume::named(&format!("volume-{n}")).of_any_type()).collect();
    let up = each(|n| {
        if is_staged {
            bed.stage(&volumes[n])?;
        }
        bed.publish(&volumes[n], &format!("pod-{n}"))
    });
    assert!(up.is_empty(), "{} failed to come up, such as {:?}", up.len(), up[0]);
    for n in 0..VOLUMES {
        fs::write(bed.target(&format!("pod-{n}")).join("file"), format!("of {n}")).unwrap();
    }
    for n in 0..VOLUMES {
        let text = fs::read_to_string(bed.target(&format!("pod-{n}")).join("file")).unwrap();
        assert_eq!(text, format!("of {n}"), "two volumes are one");
    }
    let mounts = bed.command.sandbox.mounts().unwrap().len();
    assert_eq!(mounts, 2 * VOLUMES);
    let down = each(|n| {
        bed.unpublish(&volumes[n], &format!("pod-{n}"))?;
        if is_staged { bed.unstage(&volumes[n]) } else { Ok(()) }
    });
    assert!(down.is_empty(), "{} failed to go, such as {:?}", down.len(), down[0]);
    bed.assert_clean();
    bed.command.assert_no_locks();
}

#[test]
fn two_hundred_volumes_of_tmpfs() {
    let Some(bed) = Bed::of("tmpfs") else { return };
    two_hundred(bed, false);
}

#[test]
fn two_hundred_volumes_of_a_staged_script() {
    let Some((bed, _)) = Bed::script(|_| scripts::staged()) else { return };
    two_hundred(bed, true);
}

/// A `mount` that waits until it is let go.
fn held_up(bed: &crate::command::Bed) -> flexvolume_testkit::scripted::Script {
    let go = bed.sandbox.path().join("go");
    let mount = format!(r#"while [ ! -e {} ]; do sleep 0.05; done; mount -t tmpfs none "$2""#, go.display());
    scripts::direct().on("mount", Answer::success().run(mount))
}

#[test]
fn the_same_call_at_once_is_done_once() {
    let Some((mut bed, driver)) = Bed::script(held_up) else { return };
    let volume = Volume::named("data").of_any_type();
    let mounts = || driver.verbs().unwrap().iter().filter(|verb| *verb == "mount").count();
    thread::scope(|scope| {
        let same: Vec<_> = (0..8).map(|_| scope.spawn(|| bed.publish(&volume, "one"))).collect();
        until("the driver to be called", || mounts() > 0);
        // All of them have arrived by then; if not, the case is easier, and never wrong.
        thread::sleep(Duration::from_millis(300));
        assert!(same.iter().all(|call| !call.is_finished()));
        fs::write(bed.command.sandbox.path().join("go"), "").unwrap();
        for call in same {
            call.join().unwrap().unwrap();
        }
    });
    assert_eq!(mounts(), 1);
    bed.unpublish(&volume, "one").unwrap();
    bed.assert_clean();
}

/// Two clients of one mind, and one that leaves and comes back: one call, and each gets what came of it. That fails, so who had not
/// joined would have the driver called anew.
#[test]
fn two_clients_that_ask_the_same_at_once_get_what_one_call_has_done() {
    let failing = |bed: &crate::command::Bed| {
        let mount = format!("while [ ! -e {} ]; do sleep 0.05; done", bed.sandbox.path().join("go").display());
        scripts::direct().on("mount", Answer::failure("no room").run(mount))
    };
    let Some((mut bed, driver)) = Bed::script(failing) else { return };
    let volume = Volume::named("data").of_any_type();
    let mounts = || driver.verbs().unwrap().iter().filter(|verb| *verb == "mount").count();
    let (other, hasty) = (bed.hasty(Leaves::Never), bed.hasty(Leaves::Silently(Duration::from_millis(300))));
    let third = bed.hasty(Leaves::Never);
    let by = |client: &Client| client.node_publish_volume(bed.publish_request(&volume, "one")).map(drop);
    thread::scope(|scope| {
        let one = scope.spawn(|| bed.publish(&volume, "one"));
        until("the driver to be called", || mounts() > 0);
        let two = scope.spawn(|| by(&other));
        by(&hasty).unwrap_err();
        let again = scope.spawn(|| by(&third));
        // All of them have arrived by then.
        thread::sleep(Duration::from_secs(1));
        assert!(!one.is_finished() && !two.is_finished() && !again.is_finished());
        fs::write(bed.command.sandbox.path().join("go"), "").unwrap();
        for call in [one, two, again] {
            let said = call.join().unwrap().unwrap_err();
            assert!(said.message().contains("no room"), "{said}");
        }
    });
    assert_eq!(mounts(), 1);
    bed.assert_clean();
}

/// Another call for the volume waits its turn; one for another volume does not wait at all.
#[test]
fn calls_of_one_volume_take_turns() {
    let Some((mut bed, driver)) = Bed::script(held_up) else { return };
    let volume = Volume::named("data").of_any_type();
    let other = Volume::named("other").of_any_type();
    let mounts = || driver.verbs().unwrap().iter().filter(|verb| *verb == "mount").count();
    thread::scope(|scope| {
        let one = scope.spawn(|| bed.publish(&volume, "one"));
        until("the driver to be called", || mounts() == 1);
        let two = scope.spawn(|| bed.publish(&volume, "two"));
        let gone = scope.spawn(|| bed.unpublish(&volume, "one"));
        let third = scope.spawn(|| bed.publish(&other, "three"));
        until("another volume to be mounted meanwhile", || mounts() == 2);
        assert!(!one.is_finished() && !two.is_finished() && !gone.is_finished());
        fs::write(bed.command.sandbox.path().join("go"), "").unwrap();
        for call in [one, two, gone, third] {
            call.join().unwrap().unwrap();
        }
    });
    // No two of one volume overlapped.
    let calls = driver.calls().unwrap();
    let of_data: Vec<_> =
        calls.iter().filter(|call| call.argv.get(1).is_some_and(|dir| dir.ends_with("/data"))).collect();
    for (first, second) in of_data.iter().zip(of_data.iter().skip(1)) {
        assert!(first.ended.unwrap().0 <= second.began, "{first:?} and {second:?} at once");
    }
    // Whichever of the two came first, this one wants it gone.
    bed.unpublish(&volume, "one").unwrap();
    bed.unpublish(&volume, "two").unwrap();
    bed.unpublish(&other, "three").unwrap();
    bed.assert_clean();
}

/// Everything of one volume at once, in any order: whatever comes of each, it can be taken back whole.
#[test]
fn a_storm_of_calls_leaves_nothing() {
    let Some(mut bed) = Bed::of("loopback") else { return };
    let volume = bed.create("data");
    for round in 0..3 {
        let bed = &bed;
        thread::scope(|scope| {
            for n in 0..AT_ONCE {
                let volume = &volume;
                scope.spawn(move || {
                    let pod = format!("pod-{}", n % 3);
                    let _ = match (n + round) % 4 {
                        0 => bed.stage(volume),
                        1 => bed.publish(volume, &pod),
                        2 => bed.unpublish(volume, &pod),
                        _ => bed.unstage(volume),
                    };
                });
            }
        });
    }
    for n in 0..3 {
        bed.unpublish(&volume, &format!("pod-{n}")).unwrap();
    }
    bed.unstage(&volume).unwrap();
    bed.assert_clean();
    bed.command.assert_no_locks();
    bed.delete(&volume).unwrap();
}
