//! What an administrator may set: where things lie, how long drivers may take, how much is forgiven.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use flexvolume_linux::{
    beneath::{Trust, trusted_chain},
    process::{Kill, Limits},
};
use flexvolume_protocol::{DriverName, VerbName};
use serde::Deserialize;

use crate::error::{Error, Kind, Result};

/// Where the kubelet looks for drivers by default, and so do we.
pub const PLUGIN_DIR: &str = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec";
/// Where our own state lies by default.
pub const ROOT: &str = "/var/lib/flexvol";
/// Where settings are read from by default; a missing file means no settings.
pub const CONFIG: &str = "/etc/flexvol/flexvol.json";

/// How long another process may hold what we wait for before we give up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How the host works on this node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// State and mounts.
    pub root: PathBuf,
    /// Drivers.
    pub plugin_dir: PathBuf,
    /// What drivers keep until a reboot, their own mounts among it: [`run::DIR`](flexvolume_protocol::run::DIR), or
    /// what drivers are told instead.
    pub run: PathBuf,
    /// Our own executable, which is also the disposable worker.
    pub worker: PathBuf,
    /// How long to wait for another process that works on the same volume.
    pub patience: Duration,
    /// What the settings file says.
    pub config: Config,
}

/// The settings file: JSON.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The node's name for drivers; the host name if absent.
    pub node: Option<String>,
    /// Users beside root and ourselves who may own drivers and the folders above root, plugin directory and drivers.
    #[serde(default)]
    pub trusted_users: Vec<u32>,
    /// For every driver that has no entry of its own.
    #[serde(default)]
    pub defaults: DriverConfig,
    /// By driver name; an entry replaces the defaults for that driver as a whole.
    #[serde(default)]
    pub drivers: BTreeMap<DriverName, DriverConfig>,
}

/// What may be set for a driver.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DriverConfig {
    /// Limits by verb, in seconds.
    #[serde(default)]
    pub limits: BTreeMap<String, LimitConfig>,
    /// A Success that leaves an empty, unmounted directory is accepted.
    #[serde(default)]
    pub allow_unmounted: bool,
    /// Judge answers as Kubernetes does, forgiving nothing.
    #[serde(default)]
    pub strict: bool,
    /// Set-uid files and device nodes in this driver's volumes keep their power.
    #[serde(default)]
    pub allow_suid_and_devices: bool,
    /// What to do when a volume has secrets and the driver takes them in argv, where every user of the machine can read them.
    #[serde(default)]
    pub secrets: SecretsByArgv,
}

/// Whether secrets may be put into a driver's argv.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecretsByArgv {
    /// As Kubernetes does; a warning says so.
    #[default]
    Argv,
    /// The volume is refused.
    Refuse,
}

/// Limits of one verb, in seconds.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitConfig {
    /// After this the caller hears "still running".
    pub answer: f64,
    /// After this the call is ended; absent: never.
    pub kill: Option<f64>,
}

impl Config {
    /// Reads the settings file; one that does not exist sets nothing.
    pub fn read(path: &Path) -> Result<Self> {
        let fail = || Error::new(Kind::Invalid, format!("cannot read the settings {}", path.display()));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(fail().because(error)),
        };
        // It can grant trust to others: it is as good as root's own word, or it is not read.
        let path = std::path::absolute(path).map_err(|e| fail().because(e))?;
        trusted_chain(&path, &Trust::here())?;
        let config: Self = serde_json::from_str(&text)
            .map_err(|e| fail().because(e).hint("mend the file; the book's page on settings lists its keys"))?;
        for driver in config.drivers.values().chain([&config.defaults]) {
            for (verb, limit) in &driver.limits {
                let known = VerbName::parse(verb).is_some();
                let sane = [Some(limit.answer), limit.kill]
                    .into_iter()
                    .flatten()
                    .all(|s| s.is_finite() && (0.0..1e9).contains(&s));
                if !known || !sane {
                    return Err(fail().because(format!("limits: {verb:?} is no verb, or its seconds make no sense")));
                }
            }
        }
        Ok(config)
    }

    /// Whose files and folders are trusted.
    pub fn trust(&self) -> Trust {
        Trust::here().and(&self.trusted_users)
    }

    /// The settings of one driver.
    pub fn driver(&self, name: &DriverName) -> &DriverConfig {
        self.drivers.get(name).unwrap_or(&self.defaults)
    }
}

impl DriverConfig {
    /// The two limits of a call.
    pub fn limits(&self, verb: VerbName) -> Limits {
        let usual = usual_limits(verb);
        let Some(set) = self.limits.get(verb.as_str()) else { return usual };
        let kill = match (set.kill.map(Duration::from_secs_f64), usual.kill) {
            (None, Kill::After { .. } | Kill::Ask { .. } | Kill::Never) => Kill::Never,
            (Some(at), Kill::Ask { .. }) => Kill::Ask { at },
            (Some(at), Kill::After { .. } | Kill::Never) => Kill::After { at, grace: GRACE.min(at) },
        };
        Limits { answer: Duration::from_secs_f64(set.answer), kill }
    }
}

/// Between TERM and KILL, as Kubernetes has it; less where the limit itself is less.
const GRACE: Duration = Duration::from_secs(10);

/// Calls of 120 s and more are normal for drivers in use, so the limits are wide. What formats, checks, grows or
/// provisions is asked to end, never killed: a kill there destroys, or begins the same work for ever. What only asks is
/// brief, and may be killed.
fn usual_limits(verb: VerbName) -> Limits {
    let seconds = Duration::from_secs;
    let killed = |answer, at| Limits { answer: seconds(answer), kill: Kill::After { at: seconds(at), grace: GRACE } };
    let asked = |answer, at| Limits { answer: seconds(answer), kill: Kill::Ask { at: seconds(at) } };
    match verb {
        VerbName::Init | VerbName::GetVolumeName => killed(10, 30),
        VerbName::IsAttached
        | VerbName::ListSnapshots
        | VerbName::GetCapacity
        | VerbName::ListVolumes
        | VerbName::GetHealth => killed(10, 60),
        VerbName::Attach | VerbName::WaitForAttach | VerbName::Detach => killed(120, 600),
        VerbName::Mount | VerbName::Unmount | VerbName::UnmountDevice => killed(120, 900),
        VerbName::MountDevice | VerbName::ExpandFs => asked(120, 3600),
        VerbName::ExpandVolume
        | VerbName::CreateVolume
        | VerbName::DeleteVolume
        | VerbName::CreateSnapshot
        | VerbName::DeleteSnapshot
        | VerbName::ModifyVolume => asked(120, 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flexvol.json");
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn limits_are_set_per_driver_and_verb() {
        let config = read(r#"{"drivers": {"a/b": {"limits": {"mount": {"answer": 1, "kill": 2.5}, "mountdevice": {"answer": 1, "kill": 2}, "unmount": {"answer": 3}}}}}"#).unwrap();
        let driver = config.driver(&DriverName::parse("a/b").unwrap());
        let at = |s| Duration::from_secs_f64(s);
        assert!(
            matches!(driver.limits(VerbName::Mount), Limits { kill: Kill::After { at: k, .. }, .. } if k == at(2.5))
        );
        assert!(
            matches!(driver.limits(VerbName::MountDevice), Limits { kill: Kill::Ask { at: k }, .. } if k == at(2.0))
        );
        assert!(matches!(driver.limits(VerbName::Unmount), Limits { kill: Kill::Never, .. }));
        assert!(matches!(
            config.driver(&DriverName::parse("x").unwrap()).limits(VerbName::Mount),
            Limits { kill: Kill::After { .. }, .. }
        ));
    }

    #[test]
    fn w_20_calls_of_two_minutes_are_normal_and_ten_minutes_are_waited_for() {
        let (told, waited) = (Duration::from_secs(120), Duration::from_secs(600));
        // These change nothing, and are asked again.
        let quick = ["init", "getvolumename", "isattached", "listsnapshots", "getcapacity", "listvolumes", "gethealth"];
        for verb in VerbName::ALL.iter().copied() {
            let Limits { answer, kill } = DriverConfig::default().limits(verb);
            let (Kill::After { at, .. } | Kill::Ask { at }) = kill else { panic!("{verb} may take for ever") };
            assert_eq!(answer >= told && at >= waited, !quick.contains(&verb.as_str()), "{verb}");
        }
    }

    #[test]
    fn what_makes_or_deletes_is_never_killed() {
        let never = [
            "mountdevice",
            "expandfs",
            "expandvolume",
            "createvolume",
            "deletevolume",
            "createsnapshot",
            "deletesnapshot",
            "modifyvolume",
        ];
        for verb in VerbName::ALL {
            let asked = matches!(DriverConfig::default().limits(*verb).kill, Kill::Ask { .. });
            assert_eq!(asked, never.contains(&verb.as_str()), "{verb}");
            assert!(!verb.may_be_in_progress() || asked, "{verb}: what can go on for long is not torn off");
        }
    }

    #[test]
    fn nonsense_is_refused_and_absence_is_fine() {
        for text in [
            "{",
            r#"{"nodes": 1}"#,
            r#"{"defaults": {"limits": {"mont": {"answer": 1}}}}"#,
            r#"{"defaults": {"limits": {"mount": {"answer": -1}}}}"#,
            r#"{"drivers": {"../x": {}}}"#,
        ] {
            assert_eq!(read(text).unwrap_err().kind(), Kind::Invalid, "{text}");
        }
        assert!(Config::read(Path::new("/nonexistent/flexvol.json")).unwrap().node.is_none());
    }
}
