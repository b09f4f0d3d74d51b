//! What counts as an answer: the same bytes under our usual reading and under the strict one, which is Kubernetes'.

use flexvolume_testkit::scripted::Answer;
use serde_json::json;

use crate::{
    bed::Ran,
    one::{MOUNT, One, is_mounted},
    scripts::direct,
};

const SUCCESS: &str = "{\"status\":\"Success\"}\n";
const FAILURE: &str = "{\"status\":\"Failure\",\"message\":\"disk on fire\"}\n";

/// What `mount` comes to when it mounts and then says this: read as usual, and strictly. A failure leaves no mount.
fn read(answer: &Answer) -> Option<[Ran; 2]> {
    let one = One::new(direct().on("mount", answer.clone().run(MOUNT)))?;
    let under = |strict: bool| {
        one.set(json!({"strict": strict}));
        let ran = one.up();
        assert_eq!(one.bed.sandbox.mounts().unwrap().len(), usize::from(ran.code == 0), "{answer:?}: {ran:?}");
        one.goes("whatever it said");
        ran
    };
    Some([under(false), under(true)])
}

/// Accepted under both readings, and nothing to tell.
fn accepted(answer: &Answer) {
    for ran in read(answer).into_iter().flatten() {
        assert!(ran.code == 0 && !ran.stderr.contains("warning:"), "{answer:?}: {ran:?}");
    }
}

/// A failure under both readings, told in these words.
fn refused(answer: &Answer, words: &[&str]) {
    for ran in read(answer).into_iter().flatten() {
        ran.fails(1, words);
    }
}

/// Accepted with a warning that holds these words; strictly it is a failure.
fn forgiven(answer: &Answer, words: &[&str]) {
    let Some([usual, strict]) = read(answer) else { return };
    usual.fails(0, &["warning:"]).fails(0, words);
    strict.fails(1, &["driver v/d failed to mount", "no JSON answer"]);
}

#[test]
fn h_21_success_on_stdout_with_exit_0_is_success() {
    accepted(&Answer::text(SUCCESS));
}

#[test]
fn h_22_an_answer_on_stderr_alone_is_as_good() {
    accepted(&Answer::text("").stderr(SUCCESS));
    refused(&Answer::text("").stderr(FAILURE), &["disk on fire"]);
}

#[test]
fn h_23_one_more_line_on_stderr_is_forgiven_and_told_and_fails_strictly() {
    forgiven(&Answer::text(SUCCESS).stderr("mount: mounting now\n"), &["standard error", "mounting now"]);
}

#[test]
fn h_24_blanks_around_the_answer_are_nothing() {
    accepted(&Answer::text(format!(" \t\r\n{SUCCESS}\n \t\r\n")));
    // On the other stream as well.
    accepted(&Answer::text(SUCCESS).stderr("\n \n"));
}

#[test]
fn h_25_of_two_objects_a_failure_wins_and_two_successes_are_forgiven_and_fail_strictly() {
    refused(&Answer::text(format!("{FAILURE}{SUCCESS}")), &["driver v/d failed to mount"]);
    refused(&Answer::text(format!("{SUCCESS}{FAILURE}")), &["driver v/d failed to mount"]);
    refused(&Answer::text(SUCCESS).stderr(FAILURE), &["driver v/d failed to mount"]);
    forgiven(&Answer::text(format!("{SUCCESS}{SUCCESS}")), &["2 answers"]);
    forgiven(&Answer::text(SUCCESS).stderr(SUCCESS), &["2 answers"]);
}

#[test]
fn h_26_an_empty_output_fails() {
    refused(&Answer::text(""), &["printed no answer to mount"]);
    refused(&Answer::text(" \n").exit(1), &["printed no answer to mount"]);
}

#[test]
fn h_27_success_with_another_exit_code_than_0_fails() {
    for code in [1, 2, 255] {
        refused(&Answer::text(SUCCESS).exit(code), &["\"Success\"", "ended with an error"]);
    }
}

#[test]
fn h_28_not_supported_is_the_default_path_whatever_the_exit_code() {
    for (code, strict) in [(0, false), (1, true), (2, false), (255, true)] {
        let unknown = Answer::json(&json!({"status": "Not supported"})).exit(code);
        let Some(one) = One::disk(|script| script.otherwise(unknown)) else { return };
        one.set(json!({"strict": strict}));
        one.comes("all but attach is left to the host");
        assert!(is_mounted(&one.global()) && one.is_mounted(), "exit {code}");
        one.goes("and going down too");
    }
}

#[test]
fn h_29_failure_with_exit_0_fails_and_its_message_is_in_the_error() {
    refused(&Answer::text(FAILURE), &["driver v/d failed to mount", "disk on fire"]);
}
