//! System calls that fail: whatever one of them says, the next run ends right and nothing is lost.

use flexvolume_testkit::killat::{Ended, Plan};

use super::Field;

/// EIO, ENOSPC, EINTR, EMFILE: the medium, the room, the moment, the process.
const ERRORS: [i32; 4] = [5, 28, 4, 24];

/// How many samples of one verb a test takes.
const SAMPLES: u64 = 20;

/// Every `count / SAMPLES`-th effect, each with the next error.
fn sampled(count: u64, offset: u64) -> impl Iterator<Item = (u64, i32)> {
    let step = (count / SAMPLES).max(1);
    (1 + offset % step..=count).step_by(step as usize).zip(ERRORS.into_iter().cycle().skip(offset as usize))
}

fn failing(verb: &str) {
    let Some(field) = Field::new() else { return };
    field.plant();
    if verb == "down" {
        field.settle_up("at first");
    }
    let count = field.trace(verb, Plan::Count).count();
    for (at, errno) in sampled(count, 0).chain(sampled(count, 3)) {
        let about = format!("{verb} with error {errno} at {at}");
        if verb == "up" {
            field.settle_down(&about);
        } else {
            field.settle_up(&about);
        }
        let report = field.trace(verb, Plan::Inject { errno, at });
        let what = report.effects.iter().find(|effect| Some(effect.n) == report.struck);
        let words = String::from_utf8_lossy(&report.stderr).into_owned();
        let about = format!("{about}, {what:?}: {words}");
        match report.ended {
            Ended::Exited(0) => {}
            Ended::Exited(_) => assert!(words.contains("error:"), "{about}: failed without a word"),
            Ended::Signalled(_) | Ended::Stuck => panic!("{about}: {:?}", report.ended),
        }
        if verb == "up" {
            field.settle_up(&about);
        } else {
            field.settle_down(&about);
        }
    }
    field.settle_up("at last");
    field.settle_down("at last");
}

#[test]
fn an_error_anywhere_in_up_is_told_and_mended_by_the_next_run() {
    failing("up");
}

#[test]
fn an_error_anywhere_in_down_is_told_and_mended_by_the_next_run() {
    failing("down");
}
