//! Where a driver is judged: folders as hosts have them, the volumes, and what is up at the moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flexvolume_linux::{
    loopdev,
    mount::{self, Mounted},
    process,
};
use flexvolume_protocol::{
    Device, Dir, Extension, HostKeys, Id, InitReply, Options, PodKeys, Redactor, Secret, Secrets, UserOptions, keys,
};
use rustix::thread::{CapabilitySet, capabilities};

use crate::{
    blame::Blame,
    call::{Caller, MARK},
    job::Job,
    notes::{FOLDER, Noted, Notes},
    stop::{Stop, Verdict, fault, skip},
    trouble::Trouble,
};

/// How often it is looked whether the judge is asked to end.
const TICK: Duration = Duration::from_millis(50);

/// The part of the judge's folder where roots of other hosts lie.
pub(crate) const ROOTS: &str = "roots";

/// The node that calls are made for, if the description names none.
const NODE: &str = "flexvol-check-node";

/// A secret shorter than this may be a part of any text.
const SHORTEST: usize = 6;

/// A volume to judge by.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) options: UserOptions,
    /// Set if the judge made it.
    pub(crate) id: Option<Id>,
}

/// A loop device and the file that it shows: the device alone may be another's by now.
pub(crate) type Bound = (PathBuf, ((u32, u32), u64));

/// Those that are there.
pub(crate) fn bound() -> Result<BTreeSet<Bound>, Trouble> {
    Ok(loopdev::list()?.into_iter().map(|one| (one.device, one.file)).collect())
}

/// A place of one pod.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) dir: Dir,
}

/// Where a driver is judged.
pub(crate) struct Bed<'a> {
    pub(crate) job: &'a Job,
    pub(crate) caller: Caller,
    /// What the driver said it is; all by default until it was asked.
    pub(crate) init: InitReply,
    /// The volume, once there is one.
    pub(crate) volume: Option<Volume>,
    /// Random, in all names that the judge makes.
    pub(crate) id: String,
    /// A secret that is given to `mount` and must be seen nowhere.
    pub(crate) token: String,
    home: PathBuf,
    /// The root of the host that the driver is called for: the same, but where it is about that.
    pub(crate) root: PathBuf,
    /// Loop devices that were there before the driver was called.
    pub(crate) loops: BTreeSet<Bound>,
    /// What is up at the moment.
    pub(crate) up: Up,
    /// The driver leaves `mount` to the host; known once it was asked.
    pub(crate) host_mounts: bool,
    /// What is known of faults that keep many checks from being made.
    pub(crate) blame: Blame,
    /// What could not be taken away.
    pub(crate) left: Vec<String>,
}

/// What was begun and not undone.
#[derive(Default)]
pub(crate) struct Up {
    pub(crate) pods: BTreeSet<usize>,
    pub(crate) staged: BTreeMap<String, Device>,
    pub(crate) attached: BTreeSet<String>,
}

impl<'a> Bed<'a> {
    pub(crate) fn new(job: &'a Job) -> Result<Self, Trouble> {
        let id = fresh()?;
        let token = format!("{}{}", fresh()?, fresh()?);
        let loops = bound()?;
        let home = scratch(job)?.join(format!("{FOLDER}{id}"));
        let notes = Notes::begin(&home, &job.driver)?;
        let redactor = Redactor::new(&secrets(job, Some(&token)));
        let caller = Caller::new(job, id.clone(), redactor, notes);
        Ok(Self { token, loops, ..Self::with(job, id, home, caller) })
    }

    /// Where a judge had been that is dead, with nothing up but what it noted.
    pub(crate) fn of_the_dead(job: &'a Job, id: &str, home: PathBuf, notes: Notes, noted: Noted) -> Self {
        let redactor = Redactor::new(&secrets(job, None));
        let caller = Caller::of_the_dead(job, id.to_owned(), redactor, notes, noted);
        Self::with(job, id.to_owned(), home, caller)
    }

    fn with(job: &'a Job, id: String, home: PathBuf, caller: Caller) -> Self {
        Self {
            job,
            caller,
            init: InitReply::default(),
            volume: None,
            id,
            token: String::new(),
            root: home.clone(),
            home,
            loops: BTreeSet::new(),
            up: Up::default(),
            host_mounts: false,
            blame: Blame::default(),
            left: Vec::new(),
        }
    }

    /// Whether the driver announces it, and this level is about that.
    pub(crate) fn has(&self, extension: Extension) -> bool {
        self.job.level == crate::level::Level::Flexvol && self.init.extensions.contains(&extension)
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// The directory of a volume on the node.
    pub(crate) fn global(&self, volume: &Volume) -> Result<Dir, Stop> {
        let driver = self.job.name.as_str();
        dir(&self.root.join(format!("plugins/kubernetes.io/flexvolume/{driver}/mounts/{}", volume.name)))
    }

    /// The place of the n-th pod.
    pub(crate) fn pod(&self, n: usize, volume: &Volume) -> Result<Pod, Stop> {
        let uid = format!("{}-0000-4000-8000-{n:012}", self.id);
        let dir = dir(&self.root.join(format!("pods/{uid}/volumes/{}/{}", self.job.name.dir(), volume.name)))?;
        Ok(Pod { uid, dir })
    }

    /// The volume that everything is tried with.
    pub(crate) fn volume(&mut self) -> Result<Volume, Stop> {
        if let Some(volume) = &self.volume {
            return Ok(volume.clone());
        }
        let name = self.job.volume.name.clone().unwrap_or_else(|| format!("check-{}", self.id));
        let volume = match &self.job.volume.create {
            Some(parameters) if self.has(Extension::Provision) => {
                self.caller.set_own(true);
                let parameters = parameters.clone();
                self.create(&name, &parameters, &[])?
            }
            Some(_) | None => Volume { name, options: self.job.volume.options.clone(), id: None },
        };
        self.volume = Some(volume.clone());
        Ok(volume)
    }

    /// Whether what the volume holds may be lost.
    pub(crate) fn may_destroy(&self) -> bool {
        self.job.may_destroy || self.volume.as_ref().is_some_and(|volume| volume.id.is_some())
    }

    /// The options of a call that is not about a pod.
    pub(crate) fn options(&self, volume: &Volume) -> Options {
        let mut options = Options::compose(&self.host_keys(volume, false), None, &volume.options);
        identify(&mut options, volume);
        options
    }

    /// The options of `mount`, the volume's secrets included.
    pub(crate) fn pod_options(&self, volume: &Volume, pod: &Pod, read_only: bool) -> Options {
        let keys = PodKeys {
            name: "flexvol-check".into(),
            namespace: "default".into(),
            uid: pod.uid.clone(),
            service_account: "default".into(),
            fs_group: None,
        };
        let mut options = Options::compose(&self.host_keys(volume, read_only), Some(&keys), &volume.options);
        identify(&mut options, volume);
        match self.job.volume.secrets.is_empty() {
            true => options,
            false => options.with_secrets(secrets(self.job, None)),
        }
    }

    /// Secrets with the judge's own among them.
    pub(crate) fn secrets(&self) -> Secrets {
        secrets(self.job, Some(&self.token))
    }

    fn host_keys(&self, volume: &Volume, read_only: bool) -> HostKeys {
        let read_only = read_only || self.job.volume.read_only;
        HostKeys { fs_type: self.job.volume.fs_type.clone(), read_only, name: volume.name.clone() }
    }

    /// The node that calls are made for.
    pub(crate) fn node(&self) -> String {
        self.job.volume.node.clone().unwrap_or_else(|| NODE.to_owned())
    }

    /// Nothing is written where the description says so.
    pub(crate) fn may_write(&self) -> Verdict {
        if self.job.volume.read_only { skip("the volume is described to be read only") } else { Ok(()) }
    }

    /// What must be seen nowhere: the judge's own secret and those of the description, plain and as they come. What is an
    /// option of the volume as well is none, and what is very short may be a part of any text.
    pub(crate) fn needles(&self) -> Vec<String> {
        let described = &self.job.volume;
        let is_option = |value: &str| described.options.iter().any(|(_, option)| option.contains(value));
        let all = described.secrets.values().filter(|value| value.len() >= SHORTEST && !is_option(value));
        all.flat_map(spelt).chain(self.own_needles()).collect()
    }

    /// Those of them that nobody else can have.
    pub(crate) fn own_needles(&self) -> [String; 2] {
        spelt(&self.token)
    }

    /// Whether a process is the driver's, or one that it began.
    pub(crate) fn is_marked(&self, pid: u32) -> bool {
        let mark = format!("{MARK}={}", self.id);
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == mark.as_bytes())
    }

    /// The kernel grows a mounted ext4 only for the bearer of a capability that containers and some services lack, and the
    /// driver has no other than the judge.
    pub(crate) fn can_grow(&self, dir: &Dir) -> Verdict {
        let lacks = || capabilities(None).is_ok_and(|ours| !ours.effective.contains(CapabilitySet::SYS_RESOURCE));
        match self.mounted(dir)? {
            Some(mounted) if mounted.fs_type.starts_with("ext") && lacks() => {
                skip("this machine does not let anybody grow a mounted ext4: CAP_SYS_RESOURCE is missing")
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Does something that reaches into the volume, in a thread that is left behind if it does not come back.
    pub(crate) fn reach<T: Send + 'static>(
        &self,
        what: &str,
        act: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<io::Result<T>, Stop> {
        self.reach_within(self.caller.limit(), what, act)
    }

    /// The same, with a limit of its own.
    pub(crate) fn reach_within<T: Send + 'static>(
        &self,
        limit: Duration,
        what: &str,
        act: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<io::Result<T>, Stop> {
        let (to, from) = mpsc::channel();
        thread::spawn(move || drop(to.send(act())));
        let began = Instant::now();
        let done = loop {
            match from.recv_timeout(TICK) {
                Ok(done) => break done,
                Err(RecvTimeoutError::Disconnected) => return Err(Trouble::Lost.into()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.caller.is_asked() {
                return Err(Trouble::Asked.into());
            }
            if began.elapsed() >= limit {
                return fault(format!("{what} did not come back within {} s", limit.as_secs()));
            }
        };
        Ok(done)
    }

    /// Processes of the driver's that live.
    pub(crate) fn processes(&self) -> Result<Vec<process::ProcessId>, Stop> {
        Ok(process::marked(MARK, &self.id)?)
    }

    /// Waits until no process of the driver's lives but those of `before`, or for `most`. Gives those that live on.
    pub(crate) fn settle(
        &self,
        before: &[process::ProcessId],
        most: Duration,
    ) -> Result<Vec<process::ProcessId>, Stop> {
        let end = std::time::Instant::now() + most;
        loop {
            let mut left = self.processes()?;
            left.retain(|one| !before.contains(one));
            if left.is_empty() || std::time::Instant::now() > end {
                return Ok(left);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What is mounted there, the one on top.
    pub(crate) fn mounted(&self, dir: &Dir) -> Result<Option<Mounted>, Stop> {
        Ok(mount::table::at(dir.as_path())?)
    }
}

/// The folder that the judge makes its own in; mounts are found by their real paths.
pub(crate) fn scratch(job: &Job) -> Result<PathBuf, Trouble> {
    fs::canonicalize(&job.root).map_err(|error| Trouble::io("find the folder", &job.root, error))
}

/// A secret plain and as it comes.
fn spelt(secret: &String) -> [String; 2] {
    [secret.clone(), STANDARD.encode(secret)]
}

fn identify(options: &mut Options, volume: &Volume) {
    if let Some(id) = &volume.id {
        options.insert(keys::ID, id.as_str());
    }
}

fn secrets(job: &Job, token: Option<&str>) -> Secrets {
    let mut secrets = Secrets::default();
    for (key, value) in &job.volume.secrets {
        secrets.insert(key.clone(), Secret::new(value.clone().into_bytes()));
    }
    if let Some(token) = token {
        secrets.insert("flexvol-check", Secret::new(token.as_bytes().to_vec()));
    }
    secrets
}

fn dir(path: &Path) -> Result<Dir, Stop> {
    let text = path.to_str().ok_or_else(|| Trouble::path(path))?;
    Dir::parse(text).map_err(|_| Trouble::path(path).into())
}

/// Eight random letters.
fn fresh() -> Result<String, Trouble> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Trouble::io("get random bytes", "/dev/urandom", error.into()))?;
    Ok(bytes.map(|byte| format!("{byte:02x}")).concat())
}
