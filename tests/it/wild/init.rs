//! `init`: with conditions, with faults of the file itself, and while an installer is at work.

use std::fs;

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::json;

use super::{sh_is_dash, shells};
use crate::{
    faults::Started,
    one::{MOUNT, One},
    scripts::{direct, replace, until},
};

#[test]
fn w_30_a_failing_init_is_tried_again_each_time() {
    let good = Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}}));
    let rows = [Answer::failure("no helper yet"), Answer::not_supported(), Answer::text("#!garbage"), good];
    let Some(one) = One::new(direct().on_each("init", rows)) else { return };
    one.up().fails(1, &["v/d", "no helper yet"]);
    one.up().fails(1, &["v/d", "init"]);
    one.up().fails(1, &["v/d", "garbage"]);
    one.works("init");
}

#[test]
fn w_30_an_init_that_waits_for_a_helper_works_as_soon_as_the_helper_is_there() {
    // It also does something each time, as if it were the first.
    let init = r#"echo once >>"$_d/../log"
[ -e "$_d/../helper" ] || { echo '{"status": "Not supported"}'; exit 1; }
echo '{"status": "Success", "capabilities": {"attach": false}}'"#;
    for (name, shell) in shells() {
        let script = super::direct_in(shell).on("init", Answer::shell(init));
        let Some(one) = One::new(script) else { return };
        for _ in 0..2 {
            one.up().fails(1, &["driver v/d does not know init", "hint:"]);
        }
        fs::write(one.driver.exe().with_file_name("helper"), "").unwrap();
        one.works(name);
        // Once for each command: two in vain, one up, one down.
        assert_eq!(fs::read_to_string(one.driver.exe().with_file_name("log")).unwrap().lines().count(), 4);
    }
}

#[test]
fn w_31_a_driver_for_bash_that_is_run_by_another_shell_is_told_to_name_bash() {
    if !sh_is_dash() {
        return;
    }
    for text in [
        "function say() { echo \"$1\"; }\nsay '{\"status\": \"Success\", \"capabilities\": {\"attach\": false}}'\n",
        "all=(a b)\necho '{\"status\": \"Success\", \"capabilities\": {\"attach\": false}}'\n",
        "[[ $1 == init ]] && echo '{\"status\": \"Success\", \"capabilities\": {\"attach\": false}}'\n",
    ] {
        let Some(one) = One::new(Script::sh()) else { return };
        replace(one.driver.exe(), format!("#!/bin/sh\n{text}").as_bytes());
        one.up().fails(1, &["driver v/d failed to init", "hint:", "#!/bin/bash"]);
        replace(one.driver.exe(), format!("#!/bin/bash\n{text}").as_bytes());
        let ran = one.bed.run(["drivers"]);
        assert!(ran.code == 0 && ran.stdout.contains("direct"), "{text}: {ran:?}");
    }
}

#[test]
fn w_31_a_program_that_the_driver_calls_and_that_is_missing_is_named() {
    for (name, shell) in shells() {
        let text = r#"no-such-jq -r . <<<"$3" 2>&1 || exit 1"#;
        let text = if name == "dash" { "echo x | no-such-jq -r . || exit 1" } else { text };
        let Some(one) = One::new(super::direct_in(shell).on("mount", Answer::shell(text))) else { return };
        one.up().fails(1, &["driver v/d failed to mount", "hint:", "install no-such-jq"]);
        one.goes(name);
    }
}

#[test]
fn w_32_what_an_installer_writes_under_a_dot_is_never_run_and_its_rename_is_noticed() {
    let Some(one) = One::new(direct()) else { return };
    let plugins = one.bed.sandbox.plugins();
    let ran = |name: &str| plugins.join(name).exists();
    let trap = |name: &str| format!("#!/bin/sh\necho run >{}\n", plugins.join(name).display());
    // A dot file beside the driver, half written; a dot folder beside its folder, with a whole driver in it.
    let hidden = one.driver.exe().with_file_name(".d.new");
    replace(&hidden, trap("ran-file").as_bytes());
    let folder = plugins.join(".v~other.tmp");
    fs::create_dir(&folder).unwrap();
    replace(&folder.join("other"), trap("ran-folder").as_bytes());
    let rows = one.bed.json(["drivers"]);
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    one.works("beside them");
    assert!(!ran("ran-file") && !ran("ran-folder"));
    // The rename delivers the new driver, which serves what comes next.
    let staged = fs::read_to_string(one.driver.exe()).unwrap().replace("\"attach\":false", "\"attach\":true");
    replace(&hidden, staged.as_bytes());
    fs::rename(&hidden, one.driver.exe()).unwrap();
    assert_eq!(one.bed.json(["drivers"])[0]["kind"], "attachable");
}

#[test]
fn w_32_a_call_under_way_goes_on_with_the_old_file_and_the_new_one_takes_the_volume_down() {
    let slow = format!("{MOUNT}; while [ ! -e \"$_d/../go\" ]; do sleep 0.02; done");
    let Some(one) = One::new(direct().on("mount", Answer::success().run(slow))) else { return };
    let mut up = Started::new(&one.bed, &["up", &one.file]);
    until("mount to be called", || one.count("mount") == 1);
    one.bed.script("v/d", direct().on("unmount", Answer::success().run(r#"umount "$2" && : >"$_d/../new""#)));
    fs::write(one.driver.exe().with_file_name("go"), "").unwrap();
    let ended = up.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    one.goes("by the new one");
    assert!(one.driver.exe().with_file_name("new").exists());
}
