//! A scripted driver says exactly the bytes it was told and records exactly what it heard, in both shells.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use flexvolume_testkit::Sandbox;
use flexvolume_testkit::scripted::{Answer, Script, Scripted};

use crate::eventually;

fn call(driver: &Scripted, args: &[&str]) -> Output {
    let mut command = Command::new(driver.exe());
    command.args(args).current_dir("/").env_remove("FLEXVOL_CALL").stdin(Stdio::null()).output().unwrap()
}

fn both(test: impl Fn(Script)) {
    test(Script::sh());
    test(Script::bash());
}

#[test]
fn what_it_hears_comes_back_whole() {
    both(|script| {
        let sandbox = Sandbox::new().unwrap();
        let driver = script.records_env("OTHER").install(&sandbox.plugins(), "acme.io/disk").unwrap();
        assert_eq!(driver.exe(), sandbox.plugins().join("acme.io~disk/disk"));
        assert_eq!(driver.calls().unwrap(), []);
        let odd = ["mount", "", "two\nlines\n", "it's $HOME `x` \\n \"q\" *", "{\"a\":\"ü\"}", "-n"];
        call(&driver, &odd);
        call(&driver, &[]);
        Command::new(driver.exe()).arg("init").env("FLEXVOL_CALL", "").env("OTHER", "a\nb").output().unwrap();
        let calls = driver.calls().unwrap();
        assert_eq!(calls.len(), 3);
        assert_eq!(calls[0].argv, odd);
        assert_eq!((calls[0].program.as_str(), calls[0].cwd.as_str()), (driver.exe().to_str().unwrap(), "/"));
        assert!(calls[0].env.is_empty());
        assert_eq!((calls[1].argv.len(), calls[1].verb()), (0, ""));
        assert_eq!(calls[2].env["FLEXVOL_CALL"], "");
        assert_eq!(calls[2].env["OTHER"], "a\nb");
        assert_eq!(calls[2].ended.unwrap().1, 1, "not supported exits with 1");
        assert!(calls[0].began <= calls[2].ended.unwrap().0);
        driver.forget().unwrap();
        assert_eq!(driver.calls().unwrap(), []);
    });
}

#[test]
fn what_it_says_is_what_it_was_told() {
    let hostile = b"-n %s 'a' \\n \x00\xff\x80 \"\n\n$(x)".to_vec();
    both(|script| {
        let sandbox = Sandbox::new().unwrap();
        let answer = Answer::text(hostile.clone()).stderr("oh: 'no' %d\n").exit(254);
        let driver = script.on("init", answer).install(&sandbox.plugins(), "disk").unwrap();
        let said = call(&driver, &["init"]);
        assert_eq!(said.stdout, hostile);
        assert_eq!(said.stderr, b"oh: 'no' %d\n");
        assert_eq!(said.status.code(), Some(254));
        let other = call(&driver, &["attach", "x"]);
        assert_eq!(other.stdout, b"{\"status\":\"Not supported\"}\n");
    });
}

#[test]
fn answers_in_turn_and_actions_first() {
    both(|script| {
        let sandbox = Sandbox::new().unwrap();
        let driver = script
            .on_each("mount", [Answer::failure("first"), Answer::success().run("mkdir \"$2\"\necho hi")])
            .on("raw", Answer::shell("echo \"raw $2\"; false"))
            .install(&sandbox.plugins(), "acme/disk")
            .unwrap();
        let target = sandbox.path().join("target");
        let target = target.to_str().unwrap();
        assert!(call(&driver, &["mount", target]).stdout.starts_with(b"{\"message\":\"first\""));
        assert!(!sandbox.path().join("target").exists());
        assert_eq!(call(&driver, &["mount", target]).stdout, b"{\"status\":\"Success\"}\n");
        assert!(sandbox.path().join("target").exists());
        assert_eq!(driver.printed().unwrap(), "hi\n");
        let raw = call(&driver, &["raw", "x y"]);
        assert_eq!((raw.stdout.as_slice(), raw.status.code()), (b"raw x y\n".as_slice(), Some(1)));
        assert_eq!(driver.verbs().unwrap(), ["mount", "mount", "raw"]);
    });
}

#[test]
fn a_failed_action_is_a_failure() {
    let sandbox = Sandbox::new().unwrap();
    let script = Script::sh().on("mount", Answer::success().run("echo why\nfalse"));
    let driver = script.install(&sandbox.plugins(), "acme/disk").unwrap();
    let said = call(&driver, &["mount"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("\"Failure\""));
    assert_eq!(said.status.code(), Some(1));
    assert_eq!(driver.printed().unwrap(), "why\n");
}

#[test]
fn stdin_is_recorded_when_asked() {
    let sandbox = Sandbox::new().unwrap();
    let driver = Script::sh().records_stdin().install(&sandbox.plugins(), "acme/disk").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut &writer, b"{\"a\":\n\0}").unwrap();
    drop(writer);
    Command::new(driver.exe()).arg("mount").stdin(reader).output().unwrap();
    assert_eq!(driver.calls().unwrap()[0].stdin.as_deref(), Some(b"{\"a\":\n\0}".as_slice()));
}

#[test]
fn a_child_holds_the_pipe_and_the_driver_is_gone() {
    let sandbox = Sandbox::new().unwrap();
    let time = Duration::from_millis(700);
    let script = Script::sh().on("mount", Answer::success().hold(time));
    let driver = script.install(&sandbox.plugins(), "acme/disk").unwrap();
    let began = Instant::now();
    let child = Command::new(driver.exe()).arg("mount").stdout(Stdio::piped()).spawn().unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(began.elapsed() >= time, "the pipe's end comes with the child's");
    assert!(said.status.success());
    let ended = driver.calls().unwrap()[0].ended.unwrap().0;
    assert!(ended.elapsed().unwrap() > Duration::from_millis(300), "the driver itself was done before");
}

#[test]
fn one_in_the_way_is_replaced_while_it_runs() {
    let sandbox = Sandbox::new().unwrap();
    let old = Script::sh().on("init", Answer::text("old").sleep(Duration::from_millis(300)));
    let driver = old.install(&sandbox.plugins(), "acme/disk").unwrap();
    let running = Command::new(driver.exe()).arg("init").stdout(Stdio::piped()).spawn().unwrap();
    eventually("the old one runs", || driver.calls().is_ok_and(|calls| calls.len() == 1));
    let new = Script::sh().on("init", Answer::text("new")).install(&sandbox.plugins(), "acme/disk").unwrap();
    assert_eq!(call(&new, &["init"]).stdout, b"new");
    assert_eq!(running.wait_with_output().unwrap().stdout, b"old");
}
