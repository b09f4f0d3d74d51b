//! Scripted drivers that many tests need, and small things to ask of the machine they ran on.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::json;

/// attach:false, a tmpfs per pod.
pub fn direct() -> Script {
    Script::sh()
        .on("init", Answer::json(&json!({"status": "Success", "capabilities": {"attach": false}})))
        .on("mount", Answer::success().run(r#"mount -t tmpfs none "$2""#))
        .on("unmount", Answer::success().run(r#"umount "$2""#))
        .otherwise(Answer::failure("not for this driver"))
}

/// Attaches the image as a loop device; all the rest is left to the host.
pub fn attachable(image: &Path) -> Script {
    let image = image.display();
    Script::sh()
        .on("init", Answer::success())
        .on(
            "attach",
            Answer::shell(format!(
                r#"d=$(losetup -n -O NAME -j {image} | head -n 1)
[ -n "$d" ] || d=$(losetup -f --show {image}) || {{ echo '{{"status":"Failure","message":"no loop device"}}'; _end 1; }}
printf '{{"status":"Success","device":"%s"}}\n' "$d""#
            )),
        )
        .on(
            "detach",
            Answer::shell(format!(
                r#"for d in $(losetup -n -O NAME -j {image}); do losetup -d "$d"; done; echo '{{"status":"Success"}}'"#
            )),
        )
}

/// A file of that many MiB, all zero.
pub fn image(path: &Path, mib: u64) {
    std::fs::File::create(path).unwrap().set_len(mib << 20).unwrap();
}

/// Runs a tool of the system and insists on success.
pub fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until `true`, far longer than it should take.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Announces `staged`: a tmpfs at the global directory, bound for each pod by the host.
pub fn staged() -> Script {
    let init = json!({"status": "Success", "capabilities": {"attach": false}, "extensions": ["staged"]});
    Script::sh()
        .on("init", Answer::json(&init))
        .on("attach", Answer::json(&json!({"status": "Success", "device": "none"})))
        .on("waitforattach", Answer::json(&json!({"status": "Success", "device": "none"})))
        .on("mountdevice", Answer::success().run(r#"mount -t tmpfs none "$2""#))
        .on("unmountdevice", Answer::success().run(r#"umount "$2""#))
        .on("detach", Answer::success())
        .otherwise(Answer::failure("not for this driver"))
}

/// Whether a process still runs.
pub fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The pid that a script wrote into a file.
pub fn pid_in(path: &Path) -> u32 {
    until("a pid to be written", || fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n')));
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

/// Puts these bytes in place of a program: a new file each time, by another process, since one that was just open for writing here may be "busy" to exec.
pub fn replace(exe: &Path, bytes: &[u8]) {
    let text = exe.with_file_name(".text");
    let copy = exe.with_file_name(".copy");
    fs::write(&text, bytes).unwrap();
    tool("cp", &["--", text.to_str().unwrap(), copy.to_str().unwrap()]);
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    fs::rename(&copy, exe).unwrap();
    fs::remove_file(text).unwrap();
}
