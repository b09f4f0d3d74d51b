//! The line of progress on a real terminal: there while something takes long, gone at the end, and nowhere else at all.

use std::time::{Duration, Instant};

use flexvolume_testkit::scripted::Answer;

use crate::{
    bed::{Bed, pod},
    scripts::direct,
    terminal::on_terminal,
};

/// Long enough to be shown, with a second that has passed.
const LONG: Duration = Duration::from_millis(1500);

/// A bed with a driver that takes its time over mounts, and a pod of two of its volumes.
fn slow(mount: Answer, time: Duration) -> Option<(Bed, String)> {
    let bed = Bed::new()?;
    bed.script("v/slow", direct().on("mount", mount.run("mount -t tmpfs slow \"$2\"").sleep(time)));
    let file = bed.manifest("pod.yaml", &pod("web", &[("one", "{driver: v/slow}"), ("two", "{driver: v/slow}")]));
    Some((bed, file))
}

#[test]
fn what_takes_long_is_shown_while_it_does_and_then_is_gone() {
    let Some((bed, file)) = slow(Answer::success(), LONG) else { return };
    let seen = on_terminal(&bed, 200, &[], &["up", "--jobs", "1", &file]);
    assert_eq!(seen.code, Some(0), "{}", seen.bytes);
    for text in ["0 of 2 volumes · default/web one: mount ", "1 of 2 volumes · default/web two: mount 1 s"] {
        assert!(seen.bytes.contains(text), "{text} in {:?}", seen.bytes);
    }
    // At the end stands what would stand there without: the table.
    assert!(seen.lines[0].starts_with("POD"), "{:?}", seen.lines);
    assert_eq!(seen.lines.len(), 3, "{:?}", seen.lines);
    let unmount = Answer::success().run("umount \"$2\"").sleep(LONG);
    bed.script("v/slow", direct().on("unmount", unmount));
    let seen = on_terminal(&bed, 200, &[], &["down", "--all"]);
    // Both at once: whichever has been at it for longest is named.
    assert!(seen.bytes.contains("0 of 2 volumes · default/web "), "{:?}", seen.bytes);
    assert!(seen.bytes.contains(": unmount 1 s · 1 more"), "{:?}", seen.bytes);
    assert_eq!(seen.lines.len(), 3, "{:?}", seen.lines);
    bed.assert_clean();
}

#[test]
fn several_at_once_are_one_line() {
    let Some((bed, file)) = slow(Answer::success(), LONG) else { return };
    let seen = on_terminal(&bed, 200, &[], &["up", &file]);
    assert!(seen.bytes.contains("s · 1 more"), "{:?}", seen.bytes);
    assert_eq!(seen.lines.len(), 3, "{:?}", seen.lines);
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn a_narrow_terminal_gets_a_short_line() {
    let Some((bed, file)) = slow(Answer::success(), LONG) else { return };
    for columns in [30, 8, 1] {
        let seen = on_terminal(&bed, columns, &[], &["up", &file]);
        // Every drawing is wiped where it stands, and none is as long as the terminal is wide.
        let parts: Vec<_> = seen.bytes.split("\r\x1b[K").collect();
        assert!(parts.len() > 3, "{:?}", seen.bytes);
        for drawn in &parts[..parts.len() - 1] {
            assert!(drawn.chars().count() < usize::from(columns), "{drawn:?} in {columns} columns");
        }
        assert!(parts[parts.len() - 1].starts_with("POD"), "{:?}", seen.bytes);
        bed.ok(["down", "--all"]);
    }
    bed.assert_clean();
}

#[test]
fn a_warning_stands_above_the_line_and_stays() {
    let Some((bed, file)) = slow(Answer::success().stderr("a line of noise\n"), LONG) else { return };
    let seen = on_terminal(&bed, 200, &[("NO_COLOR", "1")], &["up", "--jobs", "1", &file]);
    let warnings: Vec<_> = seen.lines.iter().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(warnings.len(), 2, "{:?}", seen.lines);
    assert_eq!(seen.lines.len(), 5, "nothing of the line is left: {:?}", seen.lines);
    // It came in the middle: the line was drawn before it and after it.
    let first = seen.bytes.find("warning: ").unwrap();
    assert!(seen.bytes[..first].contains("0 of 2") && seen.bytes[first..].contains("1 of 2"), "{:?}", seen.bytes);
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn where_it_would_only_disturb_there_is_none() {
    let Some((bed, file)) = slow(Answer::success(), LONG / 2) else { return };
    for (env, flags) in [
        (&[("TERM", "dumb")][..], &[][..]),
        (&[("TERM", "")], &[]),
        (&[], &["-v"]),
        (&[], &["-o", "json"]),
        (&[], &["--log-format", "json"]),
        (&[("FLEXVOL_LOG", "info")], &[]),
    ] {
        let seen = on_terminal(&bed, 200, env, &[flags, &["up", &file]].concat());
        assert_eq!(seen.code, Some(0), "{}", seen.bytes);
        assert!(
            !seen.bytes.contains("volumes ·") && !seen.bytes.contains("\x1b[K"),
            "{env:?} {flags:?}: {:?}",
            seen.bytes
        );
        bed.ok(["down", "--all"]);
    }
    // Into a pipe nothing is drawn either; what the command takes away it takes in silence.
    let up = bed.run(["up", &file]);
    assert_eq!(up.stderr, "");
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}

#[test]
fn what_is_quick_draws_nothing() {
    let Some(bed) = Bed::with_drivers() else { return };
    let file = bed.manifest("pod.yaml", &pod("web", &[("s", "{driver: flexvol.io/tmpfs, options: {size: 4Mi}}")]));
    bed.ok(["up", &file]);
    let start = Instant::now();
    let seen = on_terminal(&bed, 200, &[], &["up", &file]);
    // A busy machine may make it long after all.
    let quick = start.elapsed() < Duration::from_millis(500);
    assert!(!quick || !seen.bytes.contains("\x1b[K"), "{:?}", seen.bytes);
    assert_eq!(seen.lines.len(), 2, "{:?}", seen.lines);
    bed.ok(["down", "--all"]);
    bed.assert_clean();
}
