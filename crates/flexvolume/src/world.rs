//! What surrounds a call: who the driver is, where its files are, and whom it talks to.

use std::{
    cell::RefCell,
    ffi::{OsStr, OsString},
    fmt::Display,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use flexvolume_protocol::{DriverName, Redactor, Secrets, run};

use crate::{
    Attachments, Lock, Result, Settings,
    log::Log,
    store::{Store, digest},
};

/// The world of one call of a driver; handed to every verb.
#[derive(Clone)]
pub struct World {
    shared: Rc<Shared>,
    scope: String,
}

struct Shared {
    name: DriverName,
    run_dir: PathBuf,
    state_dir: PathBuf,
    settings: Settings,
    log: Log,
    secrets: RefCell<Secrets>,
    said: RefCell<Vec<String>>,
}

/// Attachments made by a host's own `attach`; those of composed calls lie beside them, each storage apart.
pub(crate) const BY_HOST: &str = "host";

impl World {
    /// A driver of that name with all its folders below `base`; for tests.
    pub fn below(name: DriverName, base: &Path) -> Self {
        Self::new(name, base.join("run"), base.join("state"), base.join("settings.json"))
    }

    fn new(name: DriverName, run_dir: PathBuf, state_dir: PathBuf, settings: PathBuf) -> Self {
        let log = Log::new(name.as_str());
        let (secrets, said) = (RefCell::default(), RefCell::default());
        let shared = Shared { name, run_dir, state_dir, settings: Settings::new(settings), log, secrets, said };
        Self { shared: Rc::new(shared), scope: BY_HOST.to_owned() }
    }

    /// As the driver's path and the environment say.
    pub(crate) fn of(argv0: Option<&OsString>, env: &[(OsString, OsString)]) -> Self {
        let name = name_of(argv0);
        let var = |key: &str| env.iter().find(|(name, _)| name == key).map(|(_, value)| PathBuf::from(value));
        let dir = name.dir();
        let run_dir = var(run::VAR).unwrap_or_else(|| run::DIR.into()).join(&dir);
        let file = match var("FLEXVOL_SETTINGS") {
            Some(path) if path.is_dir() => path.join(format!("{dir}.json")),
            Some(file) => file,
            None => Path::new("/etc/flexvol").join(format!("{dir}.json")),
        };
        let state = var("FLEXVOL_STATE").unwrap_or_else(|| "/var/lib/flexvol-drivers".into()).join(&dir);
        Self::new(name, run_dir, state, file)
    }

    /// The driver's name, from the folder and the file it was called as: `/…/vendor~driver/driver` is `vendor/driver`.
    pub fn name(&self) -> &DriverName {
        &self.shared.name
    }

    /// Where notes live that a reboot makes void: `/run/flexvol/<vendor~driver>` (the variable `FLEXVOL_RUN` stands for
    /// the part before the last slash). May not exist yet.
    pub fn run_dir(&self) -> &Path {
        &self.shared.run_dir
    }

    /// Where the driver's lasting state lives: the setting `stateDir`, else `/var/lib/flexvol-drivers/<vendor~driver>`
    /// (the variable `FLEXVOL_STATE` stands for the part before the last slash). May not exist yet.
    ///
    /// # Errors
    /// The settings cannot be read.
    pub fn state_dir(&self) -> Result<PathBuf> {
        let set = self.settings().text("stateDir")?;
        Ok(set.map_or_else(|| self.shared.state_dir.clone(), PathBuf::from))
    }

    /// The driver's settings: `/etc/flexvol/<vendor~driver>.json`, or what the variable `FLEXVOL_SETTINGS` names, a
    /// file or a folder that holds `<vendor~driver>.json`.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// What is attached under which name.
    pub fn attachments(&self) -> Attachments {
        Attachments(Store::new(self.attachments_dir().join(&self.scope)))
    }

    /// Waits for a lock of the driver's own, held until dropped: no other call on this machine has it then. The locks
    /// that the kit holds are others. One call must not take the same lock twice.
    ///
    /// # Errors
    /// Code `busy` and who has it, after a minute and a half.
    pub fn lock(&self, key: &str) -> Result<Lock> {
        self.lock_of("own", key)
    }

    /// As [`World::lock`], waiting no longer than `patience`.
    ///
    /// # Errors
    /// Code `busy` and who has it.
    pub fn lock_within(&self, key: &str, patience: Duration) -> Result<Lock> {
        Lock::take_within(&self.locks_dir("own"), key, patience)
    }

    /// Writes a line to the log that the setting `log` names: a file's absolute path, or `"syslog"`; without it,
    /// nowhere. Secrets of this call are taken out.
    pub fn log(&self, message: impl Display) {
        let Ok(Some(setting)) = self.settings().text("log") else { return };
        self.shared.log.line(Some(setting), self.redact(&message.to_string()));
    }

    /// Says something of a call that succeeds all the same, such as what it took: in the answer's `message`, and in the log. A
    /// failure has its own words.
    pub fn say(&self, message: impl Display) {
        let message = self.redact(&message.to_string());
        self.log(&message);
        self.shared.said.borrow_mut().push(message);
    }

    /// What was said.
    pub(crate) fn said(&self) -> Option<String> {
        let said = self.shared.said.borrow();
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// The text without the secrets of this call.
    pub(crate) fn redact(&self, text: &str) -> String {
        let secrets = self.shared.secrets.borrow();
        if secrets.is_empty() { text.to_owned() } else { Redactor::new(&secrets).text(text) }
    }

    /// From now on these are kept out of every text.
    pub(crate) fn keep_secret(&self, secrets: &Secrets) {
        *self.shared.secrets.borrow_mut() = secrets.clone();
    }

    /// The same world, with attachments of this storage alone.
    pub(crate) fn scoped(&self, storage: &str) -> Self {
        Self { shared: Rc::clone(&self.shared), scope: digest(storage.as_bytes()) }
    }

    /// The same world, with the attachments that hosts asked for.
    pub(crate) fn by_host(&self) -> Self {
        Self { shared: Rc::clone(&self.shared), scope: BY_HOST.to_owned() }
    }

    pub(crate) fn attachments_dir(&self) -> PathBuf {
        self.run_dir().join("attachments")
    }

    pub(crate) fn lock_of(&self, kind: &str, key: &str) -> Result<Lock> {
        Lock::take(&self.locks_dir(kind), key)
    }

    pub(crate) fn try_lock_of(&self, kind: &str, key: &str) -> Result<Option<Lock>> {
        Lock::try_take(&self.locks_dir(kind), key)
    }

    fn locks_dir(&self, kind: &str) -> PathBuf {
        self.run_dir().join("locks").join(kind)
    }
}

/// A driver called by a path that the contract does not know has the name of its file.
fn name_of(argv0: Option<&OsString>) -> DriverName {
    let path = argv0.map(Path::new).unwrap_or(Path::new(""));
    let text = |part: Option<&OsStr>| part.and_then(OsStr::to_str).unwrap_or_default().to_owned();
    let file = text(path.file_name());
    let dir = text(path.parent().and_then(Path::file_name));
    let by_dir = DriverName::from_dir(&dir).ok().filter(|name| name.executable() == file);
    by_dir.or_else(|| DriverName::parse(&file).ok().filter(|name| name.executable() == file)).unwrap_or_else(|| {
        DriverName::parse("driver").unwrap_or_else(|_| unreachable!("a plain word is a driver's name"))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use flexvolume_testkit::hostile;

    use super::*;

    fn name(argv0: &str) -> String {
        name_of(Some(&argv0.into())).as_str().to_owned()
    }

    #[test]
    fn a_driver_knows_its_name_by_its_path() {
        assert_eq!(name("/usr/libexec/volume/exec/flexvol~tmpfs/tmpfs"), "flexvol/tmpfs");
        assert_eq!(name("/exec/tmpfs/tmpfs"), "tmpfs");
        assert_eq!(name("target/debug/tmpfs"), "tmpfs");
        assert_eq!(name("/exec/flexvol~nfs/tmpfs"), "tmpfs", "the folder is another driver's");
        assert_eq!(name("/x/a b"), "driver");
        assert_eq!(name_of(None).as_str(), "driver");
    }

    /// The folders of a driver are named after it, and its name comes from the path that somebody called it by.
    #[test]
    fn no_path_of_hostile_symbols_leads_a_driver_out_of_its_folders() {
        let vars =
            [(OsString::from("FLEXVOL_RUN"), "/run/below".into()), ("FLEXVOL_STATE".into(), "/state/below".into())];
        for bytes in hostile::strings(4) {
            let word = OsString::from_vec(bytes);
            let twice = Path::new("/exec").join(&word).join(&word);
            for argv0 in [word.clone(), twice.into_os_string(), [&word, OsStr::new("/driver")].into_iter().collect()] {
                let world = World::of(Some(&argv0), &vars);
                assert_eq!(world.run_dir().parent(), Some(Path::new("/run/below")), "{argv0:?}");
                assert_eq!(world.settings().path().parent(), Some(Path::new("/etc/flexvol")), "{argv0:?}");
                let dir = world.run_dir().file_name().and_then(OsStr::to_str).unwrap_or("..");
                assert!(
                    dir.replace('~', "").bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b)),
                    "{argv0:?}"
                );
            }
            let settings = [(OsString::from("FLEXVOL_SETTINGS"), word)];
            // An administrator's word: any path, only read.
            let _ = World::of(None, &settings).settings().text("log");
        }
    }

    #[test]
    fn folders_follow_the_environment() {
        let tmp = tempfile::tempdir().unwrap();
        let argv0 = "/exec/v~d/d".into();
        let plain = World::of(Some(&argv0), &[]);
        assert_eq!(plain.run_dir(), Path::new("/run/flexvol/v~d"));
        assert_eq!(plain.settings().path(), Path::new("/etc/flexvol/v~d.json"));
        let env = |key: &str, value: &Path| (OsString::from(key), value.as_os_str().to_owned());
        let vars =
            [env("FLEXVOL_RUN", tmp.path()), env("FLEXVOL_SETTINGS", tmp.path()), env("FLEXVOL_STATE", tmp.path())];
        let world = World::of(Some(&argv0), &vars);
        assert_eq!(world.run_dir(), tmp.path().join("v~d"));
        assert_eq!(world.settings().path(), tmp.path().join("v~d.json"));
        assert_eq!(world.state_dir().unwrap(), tmp.path().join("v~d"));
        std::fs::write(tmp.path().join("v~d.json"), r#"{"stateDir":"/there"}"#).unwrap();
        assert_eq!(World::of(Some(&argv0), &vars).state_dir().unwrap(), Path::new("/there"));
        let file = tmp.path().join("one.json");
        assert_eq!(World::of(Some(&argv0), &[env("FLEXVOL_SETTINGS", &file)]).settings().path(), file);
    }

    #[test]
    fn no_secret_reaches_the_log() {
        let tmp = tempfile::tempdir().unwrap();
        let log = tmp.path().join("log");
        std::fs::write(tmp.path().join("settings.json"), format!("{{\"log\":{log:?}}}")).unwrap();
        let world = World::below(DriverName::parse("v/d").unwrap(), tmp.path());
        let mut secrets = Secrets::default();
        secrets.insert("password", flexvolume_protocol::Secret::new(b"hunter22".to_vec()));
        world.keep_secret(&secrets);
        world.log("login with hunter22 failed");
        assert_eq!(world.said(), None);
        world.say("said hunter22");
        world.say("and more");
        assert_eq!(world.said().unwrap().split("; ").last(), Some("and more"));
        assert!(!world.said().unwrap().contains("hunter22"));
        let text = std::fs::read_to_string(log).unwrap();
        assert!(text.contains("login with") && !text.contains("hunter22"), "{text}");
    }
}
