//! What drivers print and how they exit.

use std::{fs, os::unix::fs::MetadataExt};

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::json;

use super::{UNPREPARED, direct_in, sh_is_dash, shells};
use crate::{
    bed::pod,
    one::{MOUNT, One},
    scripts::direct,
};

/// Functions that many shell drivers have.
const LOG: &str = r#"log() { echo "$*"; }; err() { echo "$*" >&2; }"#;

/// A call that does all of this itself.
fn shell(text: &str) -> Answer {
    Answer::shell(format!("{LOG}\n{text}"))
}

/// Mounts, then does this.
fn mounting(text: &str) -> Answer {
    shell(&format!("{MOUNT} || exit 1\n{text}"))
}

/// Each answer to `mount` brings the volume up, with a warning that holds these words or with none. Read strictly, those
/// with a warning are failures.
fn lenient(script: Script, rows: &[(&str, Option<&str>)]) {
    let answers = [false, true].map(|_| rows.iter().map(|(text, _)| mounting(text)));
    let Some(one) = One::new(script.on_each("mount", answers.into_iter().flatten())) else { return };
    for (text, told) in rows {
        let ran = one.works(text);
        match told {
            Some(words) => drop(ran.fails(0, &["warning:", words])),
            None => assert!(!ran.stderr.contains("warning:"), "{text}: {ran:?}"),
        }
    }
    one.set(json!({"strict": true}));
    for (text, told) in rows {
        let ran = one.up();
        assert_eq!(ran.code, i32::from(told.is_some()), "{text}, strictly: {ran:?}");
        if told.is_none() {
            one.goes(text);
        }
    }
    one.goes("the last");
}

/// Each answer to `mount` fails in these words and leaves no mount, and the try after them works.
fn fails(shell: Script, rows: &[(&str, &str)]) {
    let bad = rows.iter().map(|(text, _)| mounting(text));
    let script = direct_in(shell).on_each("mount", bad.chain([Answer::success().run(MOUNT)]));
    let Some(one) = One::new(script) else { return };
    for (text, words) in rows {
        let ran = one.up();
        assert!(ran.code == 1 && ran.stderr.contains(words), "{text}: {ran:?}");
        assert_eq!(one.bed.sandbox.mounts().unwrap(), [], "{text}: the mount is left");
    }
    one.works("the next try");
}

#[test]
fn w_01_the_answer_may_be_on_stderr_alone_failures_and_not_supported_too() {
    let good = r#"err '{"status": "Success"}'; exit 0"#;
    for (_, script) in shells() {
        let script = script
            .on("init", shell(good))
            .on("attach", shell(good))
            .otherwise(shell(r#"err '{"status": "Not supported"}'; exit 1"#));
        lenient(script, &[(good, None)]);
    }
    fails(
        Script::sh(),
        &[(r#"err '{"status": "Failure", "message": "no route to nas7"}'; exit 1"#, "no route to nas7")],
    );
}

#[test]
fn w_02_keys_may_have_any_letter_case() {
    let init = r#"{"Status": "Success", "Capabilities": {"Attach": false, "FSGroup": false}}"#;
    let script = direct()
        .on("init", Answer::text(init))
        .on("mount", Answer::text(r#"{"STATUS": "Success", "MESSAGE": ""}"#).run(MOUNT));
    let Some(one) = One::new(script) else { return };
    one.wants_also("securityContext: {fsGroup: 4711}");
    one.comes("letter case");
    assert_eq!(fs::metadata(one.path()).unwrap().gid(), 0, "fsGroup:false was not understood");
    one.goes("letter case");
    assert_eq!(one.verbs(), ["mount", "unmount"]);
}

#[test]
fn w_03_a_shell_that_prints_its_own_words_around_the_answer_is_forgiven_and_told_of() {
    // The same lines in both shells: only one of them knows `-ne`, and only one knows `==`.
    let [echo, equal] = [
        r#"echo -ne '{"status": "Success"}'; exit 0"#,
        r#"[ "$1" == mount ] && :; log '{"status": "Success"}'; exit 0"#,
    ];
    if !sh_is_dash() {
        return;
    }
    let [(_, dash), (_, bash)] = shells();
    lenient(direct_in(dash), &[(echo, Some("-ne")), (equal, Some("unexpected operator"))]);
    lenient(direct_in(bash), &[(echo, None), (equal, None)]);
}

#[test]
fn w_03_words_of_the_tools_that_a_driver_runs_are_forgiven_and_told_of() {
    let texts = [
        r#"echo "$2""#,
        r#"err "  WARNING: Failed to connect to lvmetad. Falling back to device scanning.""#,
        r#"err "Running scope as unit: run-r7.scope""#,
        r#"set -x; : '{tangled' '"quotes'; set +x"#,
        r#"log '{"level": "info", "msg": "mounting"}'"#,
        "mount -t no-such-type none /no/such/place",
    ]
    .map(|text| format!("{text}\nlog '{{\"status\": \"Success\"}}'; exit 0"));
    let rows = texts.each_ref().map(|text| (text.as_str(), Some("other text around the answer")));
    lenient(direct_in(Script::bash()), &rows);
}

#[test]
fn w_04_of_two_documents_a_failure_wins() {
    let rows = [
        // `exit` was forgotten after the failure.
        (
            r#"err '{"status": "Failure", "message": "disk on fire"}'; log '{"status": "Success"}'; exit 0"#,
            "disk on fire",
        ),
        // The failure falls through to what stands after the last verb.
        (
            r#"log '{"status": "Failure", "message": "disk on ice"}'; log '{"status": "Not supported"}'; exit 1"#,
            "disk on ice",
        ),
    ];
    for (_, shell) in shells() {
        fails(shell, &rows);
    }
}

#[test]
fn w_04_not_supported_beside_another_document_is_not_remembered() {
    let beside = r#"{"status": "Not supported"}"#;
    for (first, remembered) in [(beside, false), ("", true)] {
        let script = Script::sh()
            .on("init", Answer::success())
            .on("mount", Answer::success().run(MOUNT))
            .on("waitforattach", Answer::text(format!("{first}\n{beside}\n")));
        let Some(one) = One::new(script) else { return };
        one.wants(&pod("web", &[("a", "{driver: v/d}"), ("b", "{driver: v/d}")]));
        one.bed.ok(["up", "--jobs", "1", &one.file]);
        assert_eq!(one.count("waitforattach"), if remembered { 1 } else { 2 });
        one.goes("two volumes");
    }
}

#[test]
fn w_05_words_that_are_not_the_contracts_are_failures() {
    let rows = [
        ("exit 0", "printed no answer"),
        ("log 'Usage: d mount <dir> <json>'; exit 0", "Usage: d mount"),
        ("log Failed; exit 0", "Failed"),
        ("log '\"\"'; exit 0", "a string, not an object"),
        (r#"log '{"status": "Failed"}'; exit 0"#, "status \"Failed\""),
        (r#"log '{"status": "Error", "message": "m7"}'; exit 0"#, "m7"),
        (r#"log '{"status": "Not Supported"}'; exit 0"#, "exactly \"Not supported\""),
        (r#"log '{"status": "mount not supported"}'; exit 0"#, "exactly \"Not supported\""),
        (r#"log '{"status": ""}'; exit 0"#, "status \"\""),
        (r#"log '{"status": 0}'; exit 0"#, "must be a string"),
    ];
    fails(Script::sh(), &rows);
}

#[test]
fn w_06_exit_codes_tell_only_whether_a_success_may_be_believed() {
    let rows = [
        (r#"log '{"status": "Failure", "message": "disk on fire"}'; exit 0"#, "disk on fire"),
        (r#"log '{"status": "Failure", "message": "disk on ice"}'; exit 254"#, "disk on ice"),
        (r#"log '{"status": "Success"}'; exit 1"#, "ended with an error"),
        (r#"log '{"status": "Success"}'; exit 255"#, "ended with an error"),
        // Killed by the log it wrote to: what came before may be whole, what came after is not known.
        (r#"log '{"status": "Success"}'; kill -s PIPE $$"#, "ended with an error"),
    ];
    fails(Script::bash(), &rows);
    // "Not supported" is that with any code.
    let unknown = [0, 1, 2].map(|code| shell(&format!(r#"log '{{"status": "Not supported"}}'; exit {code}"#)));
    let [attach, wait, mount_device] = unknown;
    let script = Script::bash().on("init", Answer::success()).on("mount", Answer::success().run(MOUNT));
    let script = script.on("attach", attach).on("waitforattach", wait).on("mountdevice", mount_device);
    let Some(one) = One::new(script) else { return };
    one.works("not supported");
}

#[test]
fn w_06_the_pipes_stay_open_for_whoever_still_writes_after_its_answer() {
    // A pipe that was closed on it would kill it, and its mount would be undone.
    let chatter = r#"log '{"status": "Success"}'; sleep 0.3; n=0; while [ $n -lt 2000 ]; do err "line $n of what is only a log"; n=$((n+1)); done; exit 0"#;
    for (name, script) in shells() {
        let Some(one) = One::new(direct_in(script).on("mount", mounting(chatter))) else { return };
        one.works(name).fails(0, &["warning:", "only a log"]);
        let mount = &one.calls("mount")[0];
        assert!(mount.ended.is_none_or(|(_, code)| code == 0), "{mount:?}");
    }
}

#[test]
fn w_07_capabilities_count_in_init_alone_absent_partial_null_or_spread_over_lines() {
    for (init, attaches) in [
        (r#"{"status": "Success"}"#, true),
        (r#"{"status": "Success", "capabilities": null}"#, true),
        (r#"{"status": "Success", "capabilities": {"fsGroup": false}}"#, true),
        (r#"{"status": "Success", "capabilities": {"attach": null}, "version": "1.2", "took": [1, {"a": 2}]}"#, true),
        ("{\n    \"status\" : \"Success\",\n    \"capabilities\" :\n    {\n\t\"attach\" : false\n    }\n}\n\n", false),
    ] {
        // Every other answer claims the contrary.
        let contrary = json!({"status": "Success", "capabilities": {"attach": !attaches}});
        let script = Script::bash()
            .on("init", Answer::text(init))
            .on("mount", Answer::json(&contrary).run(MOUNT))
            .on("attach", Answer::json(&contrary))
            .on("unmount", Answer::json(&contrary));
        let Some(one) = One::new(script) else { return };
        one.works(init);
        assert_eq!((one.count("attach"), one.count("mount")), (usize::from(attaches), 1), "{init}");
    }
}

#[test]
fn w_08_usage_and_traces_for_verbs_that_need_not_be_called_harm_nobody() {
    for unprepared in UNPREPARED {
        let Some(one) = One::new(direct_in(Script::bash()).otherwise(Answer::shell(unprepared))) else { return };
        let ran = one.works(unprepared);
        assert!(!ran.stderr.contains("warning:"), "{ran:?}");
    }
    // Nor those that Kubernetes calls beside the way: for a name, and whether it is attached.
    let script = Script::sh().on("init", Answer::success()).on("mount", Answer::success().run(MOUNT));
    let trace = Answer::shell(UNPREPARED[2]);
    let Some(one) = One::new(script.on("getvolumename", trace.clone()).on("isattached", trace)) else { return };
    one.works("a name and a question");
}

#[test]
fn w_08_usage_and_traces_for_a_verb_that_is_needed_are_a_failure_and_shown() {
    for (unprepared, words) in
        UNPREPARED.into_iter().zip(["Usage: d init", "waitforattach: unbound variable", "panic: runtime error"])
    {
        let script = Script::bash()
            .on("init", Answer::success())
            .on("attach", Answer::success())
            .on("mount", Answer::success().run(MOUNT))
            .on("detach", Answer::success())
            .otherwise(Answer::shell(unprepared));
        let Some(one) = One::new(script) else { return };
        one.up().fails(1, &["driver v/d failed to waitforattach", words, "hint:"]);
        assert_eq!(one.count("mount"), 0);
        one.goes(unprepared);
        assert_eq!(one.count("detach"), 1, "what was attached is detached");
    }
}
