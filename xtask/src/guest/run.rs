//! A command in a fresh machine, for a person or for a test that starts machines itself.

use super::{
    args::{DiskWish, Wish},
    ground::Ground,
    link::{Ended, Order},
    machine::{Machine, Outcome},
    qemu::{Disk, End, Plug, Spec},
};
use crate::sh::Stream;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;

/// The statuses of this door where the command has none: as `timeout` has them, and as a shell has the last.
const TIMED_OUT: i32 = 124;
const DIED: i32 = 125;
const NOT_STARTED: i32 = 127;

/// Files that go with the run.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Raw disks and sockets only; what is left is swept by the next door.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs it, and gives the status to end with.
pub(super) fn main(ground: &Ground, wish: &Wish) -> Result<i32> {
    let scratch = Scratch(ground.runs.join(format!("{}-run", std::process::id())));
    std::fs::create_dir_all(&scratch.0).with_context(|| format!("cannot make {}", scratch.0.display()))?;
    let mut spec = wish.spec.clone();
    for (number, disk) in wish.disks.iter().enumerate() {
        let file = provide(disk, &scratch.0.join(format!("disk{number}")))?;
        spec.disks.push(Disk { file, cache: wish.cache });
    }
    let order = Order { argv: wish.argv.clone(), env: Vec::new(), limit: wish.limit };
    match &wish.beside {
        None => one(ground, &spec, &order, &mut |stream, line| say("", stream, line)),
        Some(command) => {
            // The wire is short of name, for it holds sockets.
            let wire = Scratch(std::env::temp_dir().join(format!("flexvol-guest-{}-wire", std::process::id())));
            std::fs::create_dir(&wire.0).with_context(|| format!("cannot make {}", wire.0.display()))?;
            pair(ground, &spec, &order, command, &wire.0)
        }
    }
}

fn provide(disk: &DiskWish, new: &Path) -> Result<PathBuf> {
    match disk {
        DiskWish::New(bytes) => {
            let made = File::create(new).and_then(|file| file.set_len(*bytes));
            made.with_context(|| format!("cannot make {}", new.display()))?;
            Ok(new.to_owned())
        }
        DiskWish::File(file) if !file.is_file() => bail!("{} is no file", file.display()),
        DiskWish::File(file) => Ok(file.clone()),
    }
}

fn one(ground: &Ground, spec: &Spec, order: &Order, line: &mut dyn FnMut(Stream, &str)) -> Result<i32> {
    let start = Instant::now();
    let mut machine = Machine::boot(ground, spec)?;
    eprintln!("guest: Linux {} is up after {:.1} s", machine.kernel, start.elapsed().as_secs_f32());
    let outcome = machine.run(order, line);
    match outcome {
        // What a command in good order has written shall be on its disks.
        Outcome::Ended(Ended::Status(_) | Ended::NotStarted) => machine.off()?,
        Outcome::Ended(Ended::TimedOut) | Outcome::Died(_) => machine.cut(),
    }
    Ok(status(outcome))
}

/// The machine `left` runs the order, `right` the command beside it. When the first has ended the other is cut off.
fn pair(ground: &Ground, spec: &Spec, order: &Order, command: &str, wire: &Path) -> Result<i32> {
    let plugged = |end: End| {
        let mut spec = spec.clone();
        spec.name = end.name().into();
        spec.plug = Some(Plug { wire: wire.to_owned(), end });
        spec
    };
    let left = plugged(End::Left);
    let mut right = plugged(End::Right);
    right.disks.clear();
    right.share = None;
    let beside = Order { argv: vec!["sh".into(), "-c".into(), command.into()], ..order.clone() };
    // Whether it was us who ended the other.
    let cut = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (send, cutter) = mpsc::channel();
        let other = scope.spawn(move || -> Result<bool> {
            let mut machine = Machine::boot(ground, &right)?;
            // Whoever waits for it has gone if this fails.
            let _ = send.send(machine.cutter()?);
            let outcome = machine.run(&beside, &mut |stream, line| say("right: ", stream, line));
            let how = match outcome {
                Outcome::Ended(ended) => {
                    println!("right: {}", describe(ended));
                    // What it has started serves on until the first is done.
                    machine.wait();
                    "after its command".to_owned()
                }
                Outcome::Died(why) => why,
            };
            let died = !cut.load(Ordering::SeqCst);
            if died {
                eprintln!("right: the machine died: {how}");
            }
            Ok(died)
        });
        let status = one(ground, &left, order, &mut |stream, line| say("left: ", stream, line));
        if let Ok(cutter) = cutter.recv() {
            cut.store(true, Ordering::SeqCst);
            cutter.cut();
        }
        match other.join() {
            Ok(Ok(died)) => status.map(|status| if died && status == 0 { DIED } else { status }),
            Ok(Err(error)) => Err(error),
            Err(_) => bail!("the thread of the other machine panicked"),
        }
    })
}

fn say(who: &str, stream: Stream, line: &str) {
    match stream {
        Stream::Out => println!("{who}{line}"),
        Stream::Err => eprintln!("{who}{line}"),
    }
}

fn describe(ended: Ended) -> String {
    match ended {
        Ended::Status(status) => format!("ended with {status}"),
        Ended::NotStarted => "could not be begun".into(),
        Ended::TimedOut => "did not end in time".into(),
    }
}

fn status(outcome: Outcome) -> i32 {
    match outcome {
        Outcome::Ended(Ended::Status(status)) => status,
        Outcome::Ended(Ended::NotStarted) => NOT_STARTED,
        Outcome::Ended(Ended::TimedOut) => {
            eprintln!("guest: the command did not end in time, and was ended");
            TIMED_OUT
        }
        Outcome::Died(why) => {
            eprintln!("guest: the machine died: {why}");
            DIED
        }
    }
}
