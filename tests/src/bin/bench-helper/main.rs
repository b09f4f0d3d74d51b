//! What `cargo xtask bench` can only do inside one process: calls of a driver as the host makes them, a ledger full of
//! records, two drivers in turn in a guest.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its lines are its answer")]

use std::{
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use flexvolume_host::{
    Ident, Layout,
    ledger::{Durability, Ledger},
    volume::{
        record::{Kind, Record, Spec, User},
        state::{At, Rung},
    },
};
use flexvolume_linux::process::{self, How, Kill as Kills, Limits, Program};
use flexvolume_protocol::{
    Came, DriverName, Init, InitReply, Said, UserOptions, VerbName, VolumeName, Wire, is_complete, tolerant,
};

mod call;
mod lvm;
mod nfs;

use call::Done;

/// One way to call the driver.
type Side = fn(&Path) -> Done;

/// What the host allows `init`.
const LIMITS: Limits = Limits {
    answer: Duration::from_secs(10),
    kill: Kills::After { at: Duration::from_secs(30), grace: Duration::from_secs(10) },
};

/// Of either side; a tenth more at the beginning is thrown away.
const ROUNDS: usize = 1000;

fn main() -> ExitCode {
    let _ = process::settle();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["records", root, count] => count.parse().map_err(Into::into).and_then(|count| fill(Path::new(root), count)),
        ["lvm-one", ours, other, group, volume] => lvm::one(Path::new(ours), Path::new(other), group, volume),
        ["lvm-many", side, driver, group, count] => {
            count.parse().map_err(Into::into).and_then(|count| lvm::many(side, Path::new(driver), group, count))
        }
        ["nfs", flexvol, ours, other, share, manifests] => {
            nfs::pods(Path::new(flexvol), Path::new(ours), Path::new(other), share, Path::new(manifests))
        }
        [driver] => measure(Path::new(driver)),
        _ => Err("bench-helper DRIVER | records ROOT COUNT | lvm-one OURS OTHER GROUP VOLUME | \
                  lvm-many SIDE DRIVER GROUP COUNT | nfs FLEXVOL OURS OTHER SHARE MANIFESTS"
            .into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Both in turn; who begins changes.
fn measure(driver: &Path) -> Done {
    let sides: [(&str, Side); 2] = [("ours", called), ("other", spawned)];
    for round in 0..ROUNDS + ROUNDS / 10 {
        for turn in 0..2 {
            let (name, call) = sides[(round + turn) % 2];
            let start = Instant::now();
            call(driver)?;
            let took = start.elapsed().as_secs_f64();
            if round >= ROUNDS / 10 {
                println!("invoke alone\t{name}\t{took:.9}");
            }
        }
    }
    Ok(())
}

fn called(driver: &Path) -> Done {
    let program = Program {
        args: Wire::render(&Init {}, false).argv,
        env: vec![("FLEXVOL_CALL".into(), "0123456789abcdef0123456789abcdef".into())],
        ..Program::new(driver)
    };
    let outcome = process::spawn(&program)?.wait(&LIMITS, &is_complete, &mut |_| {});
    let exit_ok = outcome.how == How::Exited(0);
    let said = Said { stdout: &outcome.stdout, stderr: &outcome.stderr, exit_ok };
    match tolerant::<InitReply>(VerbName::Init, &said).verdict? {
        Came::Done(_) => Ok(()),
        Came::NotSupported | Came::InProgress => Err("the driver does not know init".into()),
    }
}

fn spawned(driver: &Path) -> Done {
    let output = Command::new(driver).arg("init").stdin(Stdio::null()).output()?;
    if output.status.success() && !output.stdout.is_empty() { Ok(()) } else { Err("the driver gave no answer".into()) }
}

/// Puts so many volumes into the ledger of `root`, as if each were mounted for a pod.
fn fill(root: &Path, count: usize) -> Done {
    let ledger = Ledger::open(&Layout::new(root).ledger())?.ledger;
    let ident = Ident::read(None)?;
    for n in 0..count {
        let (driver, name) = (DriverName::parse("bench/record")?, VolumeName::parse(&format!("volume-{n}"))?);
        let options = UserOptions::parse([("size".to_owned(), "1m".to_owned())].into())?;
        let spec = Spec { fs_type: "ext4".into(), options, secret: None, block: false, mount_options: Vec::new() };
        let mut record = Record::new(driver, name, Kind::Staged, "", spec, &ident);
        let uid = format!("uid-{n}");
        record.users.insert(uid.clone(), user(&uid));
        record.state.rung = Rung::Staged(format!("/dev/bench{n}"));
        record.state.want.places.insert(uid.clone());
        record.state.places.insert(uid, At::Ready);
        ledger.put(&mut record, Durability::Process, false)?;
    }
    Ok(())
}

fn user(uid: &str) -> User {
    User {
        pod: uid.to_owned(),
        namespace: "default".into(),
        uid: uid.to_owned(),
        service_account: "default".into(),
        fs_group: None,
        fs_group_on_mismatch: false,
        read_only: false,
        volume: "data".into(),
        mounts: Vec::new(),
    }
}
