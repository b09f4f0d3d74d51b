//! csi-sanity, Kubernetes' own suite for CSI drivers: run against a socket, and its report read.
//!
//! `cargo xtask test` builds it in the version that `tests/sanity/go.mod` pins, where Go is to be had; else whoever asks for it is
//! skipped.

mod report;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use flexvolume_testkit::{binary, skip};
use serde_json::{Value, json};

pub use report::{Case, Report};

/// How volumes are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// As file systems.
    Mount,
    /// As devices.
    Block,
}

/// One run of the suite: what it is told.
///
/// It creates and removes the folders `mount` and `staging` in `dir` anew for each case, and publishes at `mount/target`. All its cases
/// run one after the other, in an order that `seed` says.
#[derive(Clone, Debug)]
pub struct Sanity {
    exe: PathBuf,
    /// A folder of this run's own, beneath the bridge's `--kubelet-dir`.
    dir: PathBuf,
    socket: PathBuf,
    controller: Option<PathBuf>,
    access: Access,
    size: u64,
    expanded: u64,
    parameters: Value,
    snapshot_parameters: Value,
    mutable_parameters: Value,
    secrets: Value,
    token: Option<String>,
    attach_limit: bool,
    left_out: Vec<String>,
    seed: u32,
    limit: Duration,
}

impl Sanity {
    /// A run over one socket that serves controller and node, with volumes of 64 MiB that grow to 128 MiB; or `None`, with the reason
    /// printed, where the suite was not built. `dir` must be there and empty.
    #[must_use]
    pub fn new(socket: &Path, dir: &Path) -> Option<Self> {
        let Ok(exe) = binary("csi-sanity") else {
            // Who tried to build it left the reason.
            let reason = binary("csi-sanity.reason").and_then(std::fs::read_to_string);
            let reason = reason.unwrap_or_else(|_| "`cargo xtask test sanity` builds it".to_owned());
            skip(&format!("Kubernetes' suite for CSI drivers is not built: {reason}"));
            return None;
        };
        Some(Self {
            exe,
            dir: dir.to_owned(),
            socket: socket.to_owned(),
            controller: None,
            access: Access::Mount,
            size: 64 << 20,
            expanded: 128 << 20,
            parameters: json!({}),
            snapshot_parameters: json!({}),
            mutable_parameters: json!({}),
            secrets: json!({}),
            token: None,
            attach_limit: false,
            left_out: Vec::new(),
            seed: 1,
            limit: limit(),
        })
    }

    /// The controller answers at a socket of its own.
    #[must_use]
    pub fn controller(mut self, socket: &Path) -> Self {
        self.controller = Some(socket.to_owned());
        self
    }

    /// Asks for volumes as devices, or as file systems.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Bytes of a volume, and what it is grown to; the answer to a growth must be that very number.
    #[must_use]
    pub fn sizes(mut self, size: u64, expanded: u64) -> Self {
        (self.size, self.expanded) = (size, expanded);
        self
    }

    /// Parameters of each new volume: one flat object, text to text.
    #[must_use]
    pub fn parameters(mut self, parameters: Value) -> Self {
        self.parameters = parameters;
        self
    }

    /// Parameters of each snapshot.
    #[must_use]
    pub fn snapshot_parameters(mut self, parameters: Value) -> Self {
        self.snapshot_parameters = parameters;
        self
    }

    /// Parameters that a volume is modified to have; asked for only where the driver announces that.
    #[must_use]
    pub fn mutable_parameters(mut self, parameters: Value) -> Self {
        self.mutable_parameters = parameters;
        self
    }

    /// Secrets of every call that can have some: the keys are [`SECRETS`], the values flat objects, text to text.
    #[must_use]
    pub fn secrets(mut self, secrets: Value) -> Self {
        self.secrets = secrets;
        self
    }

    /// A token for pages of volumes that is none, in the place of the suite's `invalid-token`.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Attaches as many volumes as the node says it can have, and one more.
    #[must_use]
    pub fn attach_limit(mut self) -> Self {
        self.attach_limit = true;
        self
    }

    /// Leaves out the cases whose full names match this regular expression of Go's.
    #[must_use]
    pub fn leave_out(mut self, names: &str) -> Self {
        self.left_out.push(names.to_owned());
        self
    }

    /// Leaves out the cases that make volumes without asking whether the driver can.
    #[must_use]
    pub fn without_provisioning(self) -> Self {
        UNASKED.iter().fold(self, |sanity, names| sanity.leave_out(names))
    }

    /// The order of the cases.
    #[must_use]
    pub fn seed(mut self, seed: u32) -> Self {
        self.seed = seed;
        self
    }

    /// After this it is ended, and the run is an error: its calls have no deadlines.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It did not start, was not done in time, or left no report that can be read. Cases that failed are no error: see [`Report`].
    pub fn run(&self) -> io::Result<Report> {
        let (said, report) = (self.dir.join("said"), self.dir.join("report.json"));
        let mut command = self.command(&report)?;
        let log = File::create(&said)?;
        let mut child = command.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null()).spawn()?;
        let ended = self.wait(&mut child)?;
        let said = || std::fs::read_to_string(&said).unwrap_or_default();
        if !ended {
            let what = format!("csi-sanity was not done after {} s; it said:\n{}", self.limit.as_secs(), said());
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        let text = std::fs::read_to_string(&report)
            .map_err(|error| io::Error::other(format!("csi-sanity left no report ({error}); it said:\n{}", said())))?;
        Report::read(&text).map_err(|why| io::Error::other(format!("{why}; csi-sanity said:\n{}", said())))
    }

    fn command(&self, report: &Path) -> io::Result<Command> {
        let mut command = Command::new(&self.exe);
        let mut flag = |name: &str, value: &str| {
            command.arg(format!("--{name}={value}"));
        };
        let path = |path: &Path| path.display().to_string();
        flag("csi.endpoint", &format!("unix://{}", self.socket.display()));
        if let Some(controller) = &self.controller {
            flag("csi.controllerendpoint", &format!("unix://{}", controller.display()));
        }
        flag("csi.mountdir", &path(&self.dir.join("mount")));
        flag("csi.stagingdir", &path(&self.dir.join("staging")));
        flag(
            "csi.testvolumeaccesstype",
            match self.access {
                Access::Mount => "mount",
                Access::Block => "block",
            },
        );
        flag("csi.testvolumesize", &self.size.to_string());
        flag("csi.testvolumeexpandsize", &self.expanded.to_string());
        if let Some(token) = &self.token {
            flag("csi.testinvalidlistvolumesstartingtoken", token);
        }
        flag("csi.testnodevolumeattachlimit", &self.attach_limit.to_string());
        // JSON is YAML too.
        let files = [
            ("csi.testvolumeparameters", &self.parameters),
            ("csi.testsnapshotparameters", &self.snapshot_parameters),
            ("csi.testvolumemutableparameters", &self.mutable_parameters),
            ("csi.secrets", &self.secrets),
        ];
        for (name, value) in files.into_iter().filter(|(_, value)| value.as_object().is_some_and(|all| !all.is_empty()))
        {
            let file = self.dir.join(format!("{name}.json"));
            std::fs::write(&file, value.to_string())?;
            flag(name, &path(&file));
        }
        for names in &self.left_out {
            flag("ginkgo.skip", names);
        }
        flag("ginkgo.seed", &self.seed.to_string());
        flag("ginkgo.no-color", "true");
        flag("ginkgo.json-report", &path(report));
        // Whatever a case hangs in is left behind after this, so that there is a report of the others.
        flag("ginkgo.timeout", &format!("{}s", self.limit.as_secs()));
        flag("ginkgo.grace-period", "5s");
        Ok(command)
    }

    /// Whether it ended by itself.
    fn wait(&self, child: &mut Child) -> io::Result<bool> {
        let end = Instant::now() + self.limit + Duration::from_secs(30);
        while child.try_wait()?.is_none() {
            if Instant::now() > end {
                child.kill()?;
                child.wait()?;
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(true)
    }

    /// Names every case there is, and runs none.
    ///
    /// # Errors
    /// As [`Sanity::run`].
    pub fn list(&self) -> io::Result<Report> {
        let report = self.dir.join("report.json");
        let mut command = self.command(&report)?;
        command.arg("--ginkgo.dry-run").stdin(Stdio::null());
        let output = command.output()?;
        let text = std::fs::read_to_string(&report)
            .map_err(|error| io::Error::other(format!("csi-sanity left no report ({error}): {output:?}")))?;
        Report::read(&text).map_err(io::Error::other)
    }
}

/// The door to guests says how long a case has. What hangs is to be told by name before that is over.
fn limit() -> Duration {
    let given = std::env::var("FLEXVOL_LIMIT").ok().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    given.map_or(Duration::from_secs(20 * 60), |given| given.saturating_sub(Duration::from_secs(60).min(given / 4)))
}

/// Cases that need `CREATE_DELETE_VOLUME` and do not look for it.
const UNASKED: [&str; 9] = [
    "ValidateVolumeCapabilities should (fail when no volume capabilities are provided|return appropriate values)",
    "ControllerPublishVolume should fail when the (node does not exist|volume is already published)",
    "volume lifecycle",
    "Node Service should (work|be idempotent)",
    "NodePublishVolume with single node multi writer capability",
    "NodeUnpublishVolume should remove target path",
    "NodeStageVolume should fail when no volume capability is provided",
    "NodeGetVolumeStats should fail when volume does not exist on the specified path",
    "(NodeExpandVolume should (fail when no volume path|work)|Node.*Health should return health for a valid volume)",
];

/// The calls that the suite gives secrets to, as its file of secrets names them.
pub const SECRETS: [&str; 13] = [
    "CreateVolumeSecret",
    "DeleteVolumeSecret",
    "ControllerPublishVolumeSecret",
    "ControllerUnpublishVolumeSecret",
    "ControllerValidateVolumeCapabilitiesSecret",
    "NodeStageVolumeSecret",
    "NodePublishVolumeSecret",
    "CreateSnapshotSecret",
    "DeleteSnapshotSecret",
    "ControllerExpandVolumeSecret",
    "ControllerModifyVolumeSecret",
    "ListSnapshotsSecret",
    "GetSnapshotSecret",
];
