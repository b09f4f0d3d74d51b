//! What the page `docs/csi.md` promises besides: of mounts, of failures, of slow work, of who may call and where.

use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    time::{Duration, Instant},
};

use flexvolume_csi::wire::csi::{GetPluginInfoRequest, NodeGetVolumeStatsRequest, volume_capability::AccessType};
use flexvolume_testkit::{
    binary,
    hung::{abort_at, waiting_at},
    scripted::{Answer, Script},
};
use rustix::{
    process::{Gid, Pid, Signal, Uid, kill_process},
    thread::{set_thread_gid, set_thread_uid},
};
use serde_json::json;
use tonic::Code;

use crate::{
    bed::Bed,
    client::{Client, Leaves},
    command,
    flows::Flow,
    scripts::{self, until},
    volume::{Volume, refused},
};

fn flagged(volume: &Volume, flags: &[&str]) -> Volume {
    let mut volume = volume.clone();
    if let Some(AccessType::Mount(mount)) = &mut volume.capability.access_type {
        mount.mount_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    }
    volume
}

/// The attributes of the mount at a path.
fn attributes(path: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut fields = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = fields.rfind(|fields| fields[4] == path.to_str().unwrap());
    found.unwrap_or_else(|| panic!("nothing at {}", path.display()))[5].split(',').map(str::to_owned).collect()
}

#[test]
fn flags_are_set_on_the_mount_at_the_target_and_on_no_other() {
    for mut flow in Flow::all() {
        let name = flow.name;
        flow.stage();
        flow.publish("plain");
        for flags in
            [&["nosuid", "nodev", "noexec"][..], &["noatime"], &["nodiratime"], &["relatime"], &["strictatime"]]
        {
            flow.bed.publish(&flagged(&flow.volume, flags), "one").unwrap_or_else(|it| panic!("{name}: {it:?}"));
            let set = attributes(&flow.bed.target("one"));
            for flag in flags.iter().filter(|flag| **flag != "strictatime") {
                assert!(set.iter().any(|it| it == flag), "{name}: no {flag} in {set:?}");
            }
            if flags == ["strictatime"] {
                assert!(!set.iter().any(|it| it.ends_with("atime")), "{name}: {set:?}");
            }
            flow.unpublish("one");
        }
        assert!(!attributes(&flow.bed.target("plain")).iter().any(|it| it == "noexec"), "{name}");
        for flags in [&["suid"][..], &["dev"], &["bind"], &["loop"], &["nosuch"]] {
            let came = flow.bed.publish(&flagged(&flow.volume, flags), "one");
            assert!(came.is_err(), "{name}: {flags:?} are taken");
            refused(came, Code::InvalidArgument, &[flags[0]]);
            assert!(!flow.bed.target("one").exists(), "{name}: {flags:?}");
        }
        flow.unpublish("plain");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// Harmless options of a file system are for who has the host mount it, and for nobody else.
#[test]
fn what_a_file_system_understands_it_is_given_where_the_host_mounts() {
    for mut flow in Flow::all() {
        let volume = flagged(&flow.volume, &["discard"]);
        match flow.name {
            "attachable" | "attachable with mount" => {
                flow.bed.stage(&volume).unwrap();
                let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
                let root = flow.bed.command.sandbox.root().display().to_string();
                let ours: Vec<_> = table.lines().filter(|line| line.contains(&root)).collect();
                assert!(ours.iter().any(|line| line.contains("discard")), "{}: {ours:?}", flow.name);
                flow.bed.publish(&volume, "one").unwrap();
                flow.unpublish("one");
            }
            "staged" => refused(flow.bed.stage(&volume), Code::InvalidArgument, &["discard"]),
            _ => refused(flow.bed.publish(&volume, "one"), Code::InvalidArgument, &["discard"]),
        }
        flow.unstage();
        flow.bed.assert_clean();
    }
}

/// Kubernetes never asks to have undone what failed for good.
#[test]
fn what_fails_for_good_is_undone_before_it_is_told() {
    let half = || Answer::failure("half done").run(r#"mount -t tmpfs none "$2""#);
    let broken: [(&str, Script, bool); 3] = [
        ("mount", scripts::direct().on("mount", half()), false),
        ("mountdevice", scripts::staged().on("mountdevice", half()), true),
        ("waitforattach", scripts::staged().on("waitforattach", Answer::failure("half done")), true),
    ];
    for (name, script, is_staged) in broken {
        let Some((mut bed, _)) = Bed::script(|_| script) else { return };
        let volume = Volume::named("data").of_any_type();
        for _ in 0..2 {
            let came = if is_staged { bed.stage(&volume) } else { bed.publish(&volume, "one") };
            refused(came, Code::Internal, &["half done"]);
            assert!(!bed.target("one").exists(), "{name}");
            bed.assert_clean();
        }
    }
}

#[test]
fn a_driver_says_in_its_code_what_clients_are_told() {
    for (code, told) in [
        ("conflict", Code::AlreadyExists),
        ("notFound", Code::NotFound),
        ("exhausted", Code::ResourceExhausted),
        ("busy", Code::FailedPrecondition),
        ("invalid", Code::InvalidArgument),
        ("unsupported", Code::InvalidArgument),
        ("permission", Code::PermissionDenied),
        ("", Code::Internal),
    ] {
        let made = Bed::script(|_| {
            let init = json!({"status": "Success", "capabilities": {"attach": false}, "extensions": ["provision"]});
            let why = json!({"status": "Failure", "message": "because of the moon", "code": code});
            scripts::direct().on("init", Answer::json(&init)).on("createvolume", Answer::json(&why))
        });
        let Some((bed, _)) = made else { return };
        refused(bed.try_create("data"), told, &["because of the moon"]);
    }
}

/// `In progress` twice, and then it is done: one call for the client. What goes on for longer he has to ask for again.
#[test]
fn work_in_progress_is_waited_for_and_not_for_ever() {
    let busy = || Answer::json(&json!({"status": "In progress"}));
    let done = || Answer::json(&json!({"status": "Success", "id": "data", "bytes": 16 << 20}));
    let script = |answers: Vec<Answer>| {
        let init = json!({"status": "Success", "capabilities": {"attach": false}, "extensions": ["provision"]});
        scripts::direct().on("init", Answer::json(&init)).on_each("createvolume", answers)
    };
    let Some((bed, driver)) = Bed::script(|_| script(vec![busy(), busy(), done()])) else { return };
    assert_eq!(bed.create("data").id, "data");
    assert_eq!(driver.verbs().unwrap(), ["init", "createvolume", "createvolume", "createvolume"]);
    let Some((bed, driver)) = Bed::script(|_| script(vec![busy()])) else { return };
    let began = Instant::now();
    refused(bed.try_create("data"), Code::Aborted, &["still at work", "call again"]);
    assert!(began.elapsed() >= Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(driver.verbs().unwrap().len() > 5);
}

/// Whoever asks a file system that never answers is told so, and nobody else waits for it.
#[test]
fn a_file_system_that_hangs_holds_up_who_asks_it_and_nobody_else() {
    let hungfs = binary("hungfs").unwrap();
    let mount = format!(r#"case $2 in */hangs) {} "$2" 0 ;; *) mount -t tmpfs none "$2" ;; esac"#, hungfs.display());
    let made = Bed::script(|_| scripts::direct().on("mount", Answer::success().run(mount)));
    let Some((mut bed, _)) = made else { return };
    let [hangs, well] = ["hangs", "well"].map(|id| Volume::named(id).of_any_type());
    bed.publish(&hangs, "hangs").unwrap();
    bed.publish(&well, "well").unwrap();
    let stats = |volume: &Volume, pod: &str| {
        let request = NodeGetVolumeStatsRequest {
            volume_id: volume.id.clone(),
            volume_path: bed.target(pod).display().to_string(),
            ..NodeGetVolumeStatsRequest::default()
        };
        bed.client.node_get_volume_stats(request)
    };
    let target = bed.target("hangs");
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| stats(&hangs, "hangs"));
        until("the file system to be asked", || waiting_at(&target).unwrap() > 0);
        let usage = stats(&well, "well").unwrap().usage;
        assert!(usage.iter().any(|it| it.total > 0), "{usage:?}");
        assert!(!asked.is_finished(), "it was answered");
        refused(asked.join().unwrap(), Code::Aborted, &[]);
    });
    abort_at(&target).unwrap();
    until("the worker to end", || bed.unpublish(&hangs, "hangs").is_ok());
    bed.unpublish(&well, "well").unwrap();
    bed.assert_clean();
}

/// Whether that user gets an answer to the greeting of HTTP/2.
fn is_greeted(socket: &Path, user: u32) -> bool {
    let ask = || -> io::Result<usize> {
        // Of this thread alone.
        set_thread_gid(Gid::from_raw(user))?;
        set_thread_uid(Uid::from_raw(user))?;
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
        stream.read(&mut [0; 100])
    };
    let came = std::thread::scope(|scope| scope.spawn(ask).join().unwrap());
    match came {
        Ok(read) => read > 0,
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Somebody opened the socket and the folders above for everybody.
#[test]
fn a_peer_that_is_not_root_is_turned_away() {
    let Some((bed, _)) = Bed::script(|_| scripts::direct()) else { return };
    let socket = bed.socket();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    for (path, mode) in [(bed.command.sandbox.path(), 0o711), (&socket, 0o666)] {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    assert!(is_greeted(&socket, 0));
    assert!(!is_greeted(&socket, 65534));
    // Who is turned away does not wait until that is told.
    until("it to be told", || bed.log().contains("turned away"));
}

/// As the page's first example has it: without `--endpoint`, and with a name of one's own.
#[test]
fn a_driver_has_its_name_and_its_socket() {
    let Some(command) = command::Bed::with_drivers() else { return };
    let kubelet = command.sandbox.dir("kubelet").unwrap();
    for (flags, name) in [
        (vec![], "loopback.flexvol.io"),
        (vec!["--name", "flexvol.io/loopback=disks.example.com"], "disks.example.com"),
    ] {
        let socket = kubelet.join("plugins").join(name).join("csi.sock");
        let own = ["csi", "--driver", "flexvol.io/loopback", "--kubelet-dir", kubelet.to_str().unwrap()];
        let log = command.sandbox.path().join("log");
        let said = std::fs::File::create(&log).unwrap();
        let flags = flags.into_iter().chain(["--metrics", "0"]);
        let mut bridge = command.command(own.into_iter().chain(flags)).stderr(said).spawn().unwrap();
        let client = Client::of(&socket, Leaves::Never);
        until("the bridge to answer", || {
            socket.exists() && client.get_plugin_info(GetPluginInfoRequest {}).is_ok_and(|info| info.name == name)
        });
        assert_eq!(fs::metadata(socket.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        kill_process(Pid::from_child(&bridge), Signal::TERM).unwrap();
        assert!(bridge.wait().unwrap().success());
        let said = fs::read_to_string(&log).unwrap();
        let served = format!("driver flexvol.io/loopback is served as {name} at unix://{}", socket.display());
        let at = format!("{served}; to be registered with the kubelet when there is one");
        assert!(said.contains(&at) && said.contains("metrics are told at http://127.0.0.1:"), "{said}");
    }
}
