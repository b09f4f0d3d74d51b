//! Doing one op of one volume: driver calls and mounts, then a look at what is really there.
//!
//! Every op has an id that all its processes carry, and a worker of its own for what can hang. Nothing here decides
//! what comes next, and nothing here is remembered but in the record.

mod attach;
mod directory;
mod expand;
mod finish;
mod publish;
mod recover;
mod stage;

use std::{
    cell::OnceCell,
    mem,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use flexvolume_linux::worker::Worker;
use flexvolume_protocol::{Came, HostKeys, Options, Redactor, Secrets, Verb, VerbName, excerpt};

use super::{
    record::{OpenCall, Record, SecretRef, User},
    state::{Op, Seen},
};
use crate::{
    drivers::{
        call::{CALL_ID, Calling, WORKER, Watched, call, verdict},
        driver::Driver,
    },
    error::{Error, Kind, Result},
    ground::Ground,
    ledger::{Durability, Entry},
    lock::{self, Born},
    note::{Note, Notes},
    settings::SecretsByArgv,
    task::{Done, Task},
    wall::Wall,
    workers::came,
};
pub use finish::is_idle;
pub use recover::{Recovered, boot_changed};

/// Gives the secrets of a volume at the moment of a call; nothing keeps them.
pub type Keys<'a> = &'a (dyn Fn(&super::record::SecretRef) -> Result<Secrets> + Sync);

/// How an op ended: the device, or why not; and what the kernel shows.
pub struct Ended {
    /// The device as the driver named it, where the op knows one.
    pub answer: Result<String>,
    /// What is there now.
    pub seen: Seen,
}

impl Ended {
    fn failed(error: Error, seen: Seen) -> Self {
        // A process that cannot be ended makes whatever the kernel shows provisional.
        let seen = if error.kind() == Kind::Stuck { Seen::Busy } else { seen };
        Self { answer: Err(error), seen }
    }
}

/// The hands that do one op.
pub struct Hands<'a> {
    ground: &'a Ground,
    record: &'a mut Record,
    notes: Notes<'a>,
    keys: Keys<'a>,
    worker: Option<Worker<Task>>,
    told: Vec<Entry>,
    driver: OnceCell<Arc<Driver>>,
    /// The ledger knows of the process of the op's last call.
    is_process_written: bool,
}

/// How much of a verdict is kept for the history.
const KEPT: usize = 800;

impl<'a> Hands<'a> {
    /// Hands for the volume of `record`, whose lock the caller holds.
    pub fn new(ground: &'a Ground, record: &'a mut Record, keys: Keys<'a>, notes: Notes<'a>) -> Self {
        Self {
            ground,
            record,
            notes,
            keys,
            worker: None,
            told: Vec::new(),
            driver: OnceCell::new(),
            is_process_written: false,
        }
    }

    /// Does `op`, which the record already names with an open call.
    pub fn perform(&mut self, op: &Op) -> Ended {
        let (at, began) = (Wall::now(), Instant::now());
        let ended = match op {
            Op::Attach => self.attach(),
            Op::Stage => self.stage(),
            Op::Publish(place) => self.publish(place),
            Op::Finish(place) => self.finish(place),
            Op::Unpublish(place) => self.unpublish(place),
            Op::Unstage => self.unstage(),
            Op::Detach => self.detach(),
            Op::Grow(place) => self.grow(place.as_deref()),
        };
        // Where no call failed it was the host's own part, or what it saw afterwards.
        if let Err(error) = &ended.answer {
            let verdict = excerpt(&error.story(), KEPT);
            if self.told.last().is_none_or(|last| last.verdict != verdict) {
                self.tell(op, None, at, began, verdict, None);
            }
        }
        ended
    }

    /// The calls made so far, for the history.
    pub fn told(self) -> Vec<Entry> {
        self.told
    }

    fn tell(&mut self, op: &Op, verb: Option<VerbName>, at: Wall, began: Instant, verdict: String, pid: Option<u32>) {
        let micros = u64::try_from(began.elapsed().as_micros()).ok();
        let call = self.record.call.as_ref().map_or(String::new(), |call| call.id.clone());
        self.told.push(Entry { at, op: op.clone(), verb, micros, verdict, pid, call });
    }

    /// Calls the driver with `verb` in the name of the op under way.
    fn call<V: Verb>(&mut self, driver: &Driver, secrets: &Secrets, verb: &V) -> Result<Came<V::Reply>> {
        let (at, began) = (Wall::now(), Instant::now());
        let redactor = self.redactor(secrets);
        let is_blind = redactor.is_blind();
        let is_callers = self.record.spec.secret.as_ref().is_some_and(SecretRef::is_callers);
        let Self { ground, record, notes, is_process_written, .. } = self;
        let lock = ground.layout.lock(&record.key);
        // The process of an earlier call of this op must not be taken for this one's, should we die before it is recorded.
        if let Some(open) = &mut record.call
            && open.process.take().is_some()
        {
            let is_taken_back = lock::note(&lock, None).is_ok();
            if mem::take(is_process_written) || !is_taken_back {
                ground.ledger.put(record, Durability::Process, true)?;
            }
        }
        let open = record.call.clone().unwrap_or_else(|| OpenCall::new(String::new()));
        let id = open.id.clone();
        let volume = record.key.clone();
        let mut pid = None;
        let watched = &mut |watched: Watched| {
            let write = match watched {
                Watched::Born(process) => {
                    pid = Some(process.pid);
                    record.call = Some(OpenCall { process: Some(process), verb: Some(V::NAME), ..open.clone() });
                    let born = Born { call: open.id.clone(), process, verb: V::NAME };
                    lock::note(&lock, Some(&born)).is_err()
                }
                Watched::Lasting => true,
            };
            if write && !*is_process_written {
                *is_process_written = true;
                // The id in the environment finds the process without this; it only makes the search shorter.
                let _ = ground.ledger.put(record, Durability::Process, true);
            }
        };
        let calling = Calling { driver, volume: &volume, call: &id, redactor: &redactor, notes: *notes, watched };
        let result = call(calling, verb).map_err(|error| match error.next() {
            None if is_blind && is_callers => {
                error.hint("what it says is withheld, since it may know a secret of an earlier call; see its own log")
            }
            None if is_blind => error.hint("to see what the driver says, give the manifest that holds the Secret"),
            Some(_) | None => error,
        });
        // "Not supported" from memory is no call.
        if let Some(op) = self.record.state.doing.clone()
            && (pid.is_some() || result.is_err())
        {
            let verdict = excerpt(&verdict(&result), KEPT);
            self.tell(&op, Some(V::NAME), at, began, verdict, pid);
        }
        result
    }

    /// Knows the secrets of the volume, whether this call is given them or not: its driver may know them from before.
    fn redactor(&self, given: &Secrets) -> Redactor {
        match &self.record.spec.secret {
            Some(reference) if given.is_empty() => {
                (self.keys)(reference).map_or_else(|_| Redactor::blind(), |known| Redactor::new(&known))
            }
            Some(_) | None => Redactor::new(given),
        }
    }

    /// Has a worker do `task`; one that does not come back within `limit` is abandoned.
    fn work(&mut self, task: &Task, limit: Duration) -> Result<Done> {
        let id = self.record.call.as_ref().map_or(String::new(), |call| call.id.clone());
        let worker = self.worker.get_or_insert_with(|| {
            Worker::new(
                self.ground.settings.worker.clone(),
                vec![(CALL_ID.to_owned(), id), (WORKER.0.to_owned(), WORKER.1.to_owned())],
            )
        });
        let start = Instant::now();
        let answer = worker.ask(task, limit);
        let milliseconds = start.elapsed().as_micros() as f64 / 1e3;
        tracing::debug!(target: "flexvol::volume", volume = self.record.key, task = task.name(), milliseconds, "a worker was asked");
        came(answer, limit)
    }

    /// The driver, the same for the whole op. An `init` that cannot be ended is the driver's, not this op's: nothing of the op hangs.
    fn driver(&self) -> Result<Arc<Driver>> {
        if let Some(driver) = self.driver.get() {
            return Ok(Arc::clone(driver));
        }
        let driver = self.ground.drivers.get(&self.record.driver, self.notes).map_err(Error::of_another)?;
        Ok(Arc::clone(self.driver.get_or_init(|| driver)))
    }

    /// The options every call about the device gets.
    fn device_options(&self) -> Options {
        Options::compose(&self.host_keys(self.record.read_only), None, &self.record.spec.options)
    }

    fn host_keys(&self, read_only: bool) -> HostKeys {
        HostKeys { fs_type: self.record.spec.fs_type.clone(), read_only, name: self.record.name.as_str().to_owned() }
    }

    /// The secrets for a call: to `mount` always, to other verbs only where they do not travel in argv.
    fn secrets(&self, driver: &Driver, is_mount: bool) -> Result<Secrets> {
        let Some(reference) = &self.record.spec.secret else { return Ok(Secrets::default()) };
        if !driver.by_stdin() && !is_mount {
            return Ok(Secrets::default());
        }
        let secrets = match (self.keys)(reference) {
            Ok(secrets) => secrets,
            // A call whose caller brings none is made without.
            Err(_) if reference.is_callers() => Secrets::default(),
            Err(error) => return Err(error),
        };
        match (driver.by_stdin() || secrets.is_empty(), driver.config.secrets) {
            (true, SecretsByArgv::Argv | SecretsByArgv::Refuse) => Ok(secrets),
            (false, SecretsByArgv::Argv) => {
                self.warn(format!(
                    "driver {} takes secrets in argv, where every user of this machine can read them while it runs",
                    driver.name
                ));
                Ok(secrets)
            }
            (false, SecretsByArgv::Refuse) => Err(Error::new(
                Kind::Refused,
                format!("driver {} takes secrets in argv, and the settings refuse that", driver.name),
            )
            .hint("use a driver that announces `stdin`, or set \"secrets\": \"argv\" for it")),
        }
    }

    fn user(&self, place: &str) -> Result<User> {
        self.record.users.get(place).cloned().ok_or_else(|| {
            Error::new(Kind::Ledger, format!("the record of {} does not know pod {place}", self.record.key))
        })
    }

    fn warn(&self, text: String) {
        (self.notes)(Note::Warning { volume: self.record.key.clone(), text });
    }

    fn absolute(&self, relative: &std::path::Path) -> PathBuf {
        self.ground.layout.root().join(relative)
    }
}
