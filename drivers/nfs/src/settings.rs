//! What an administrator may set of this driver.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use flexvolume::{Code, Failure, Result, World};
use serde::{Deserialize, Serialize};

use crate::{
    options,
    server::{Below, Export, Server},
    share::{Protocol, Share},
};

/// The settings; without a file all of them have their defaults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// With this list, no other server is ever mounted than these, and of those of the pools nothing but volumes.
    pub(crate) servers: Option<Vec<Server>>,
    /// For so long a server may take to answer one question.
    #[serde(default)]
    pub(crate) patience: Seconds<15>,
    /// For so long one call copies or removes, before it answers "In progress".
    #[serde(default)]
    pub(crate) slice: Seconds<10>,
    /// Where volumes may be made, by names that an administrator gives.
    #[serde(default)]
    pub(crate) pools: BTreeMap<PoolName, Pool>,
}

/// A directory of a share in which volumes may be made.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Pool {
    pub(crate) server: Server,
    pub(crate) share: Export,
    /// The directory beneath the share; it must be there.
    #[serde(default)]
    pub(crate) base: Below,
    #[serde(default)]
    pub(crate) protocol: Protocol,
    #[serde(default)]
    pub(crate) mount_options: String,
    pub(crate) sec: Option<String>,
    pub(crate) xprtsec: Option<String>,
    #[serde(default)]
    pub(crate) on_delete: OnDelete,
}

/// What becomes of a volume's content when it is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum OnDelete {
    /// It is removed.
    #[default]
    Delete,
    /// It is kept under another name.
    Archive,
    /// It is kept where it is, and is nobody's volume any more.
    Retain,
}

impl std::str::FromStr for OnDelete {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match text {
            "delete" => Ok(Self::Delete),
            "archive" => Ok(Self::Archive),
            "retain" => Ok(Self::Retain),
            _ => Err("it must be delete, archive or retain"),
        }
    }
}

/// What an administrator calls a pool: the first part of the ids of its volumes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct PoolName(String);

/// Hosts wait ten seconds for who only asks, and he may ask twice.
const BRIEF: Duration = Duration::from_secs(4);

/// With these a node does not see what the others do.
const UNSAFE: [&str; 3] = ["nolock", "local_lock", "nocto"];

/// So that an id has room for a volume's name.
const LONGEST_POOL: usize = 32;

impl std::str::FromStr for PoolName {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if text.is_empty() || text.len() > LONGEST_POOL || text.starts_with(['.', '-']) || !text.bytes().all(plain) {
            return Err("a pool's name has 1 to 32 letters, digits, `-`, `_` and `.`");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for PoolName {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A time of more than none and at most five minutes; `USUAL` seconds if nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Seconds<const USUAL: u64>(Duration);

impl<const USUAL: u64> Seconds<USUAL> {
    /// How long that is.
    pub(crate) fn time(self) -> Duration {
        self.0
    }
}

impl<const USUAL: u64> Default for Seconds<USUAL> {
    fn default() -> Self {
        Self(Duration::from_secs(USUAL))
    }
}

impl<const USUAL: u64> TryFrom<f64> for Seconds<USUAL> {
    type Error = &'static str;

    fn try_from(seconds: f64) -> std::result::Result<Self, Self::Error> {
        if seconds > 0.0 && seconds <= 300.0 {
            Ok(Self(Duration::from_secs_f64(seconds)))
        } else {
            Err("it is more than no seconds and at most 300")
        }
    }
}

impl Settings {
    /// As the settings file of this driver says.
    ///
    /// # Errors
    /// It cannot be read, or a value makes no sense.
    pub(crate) fn read(world: &World) -> Result<Self> {
        let settings: Self = world.settings().read_openly()?;
        for (name, pool) in &settings.pools {
            pool.mounted().map_err(|why| world.settings().wrong(&format!("pools.{name}.{why}")))?;
        }
        Ok(settings)
    }

    /// How long a server may take, also where the rest of the settings makes no sense: what is mounted must come down.
    pub(crate) fn patience(world: &World) -> Duration {
        Self::read(world).unwrap_or_default().patience.time()
    }

    /// The same for who only asks: he is to be answered soon, also where the storage hangs.
    pub(crate) fn brief(&self) -> Duration {
        self.patience.time().min(BRIEF)
    }

    /// Whether this path of this server may be mounted. Of the server of a pool that is not on the list it may if it is a volume's.
    ///
    /// # Errors
    /// Code `permission`: there is a list, and the server is not on it.
    pub(crate) fn allow(&self, server: &Server, path: &Path, world: &World) -> Result<()> {
        let Some(listed) = &self.servers else { return Ok(()) };
        let is_volume = |pool: &Pool| pool.server == *server && path != pool.path() && path.starts_with(pool.path());
        if listed.contains(server) || self.pools.values().any(is_volume) {
            return Ok(());
        }
        let file = world.settings().path().display();
        let message = format!("the server {server} is not among the servers that the settings {file} allow");
        let more = if self.pools.values().any(|pool| pool.server == *server) {
            format!("; of its pool the volumes can be mounted, and {} is none", path.display())
        } else {
            String::new()
        };
        Err(Failure::new(Code::Permission, message + &more))
    }

    /// The pool that an id names.
    ///
    /// # Errors
    /// Code `notFound`: there is none of that name, and so nothing in it.
    pub(crate) fn known(&self, name: &PoolName, world: &World) -> Result<(&PoolName, &Pool)> {
        self.pools.get_key_value(name).ok_or_else(|| {
            let file = world.settings().path().display();
            Failure::new(Code::NotFound, format!("there is no pool {name} in the settings {file}"))
        })
    }

    /// The pool of that name; without a name the only one there is.
    ///
    /// # Errors
    /// Code `invalid`: there is none, or more than one and no name.
    pub(crate) fn pool(&self, name: Option<&PoolName>, world: &World) -> Result<(&PoolName, &Pool)> {
        let file = world.settings().path().display();
        let found = match name {
            Some(name) => self.pools.get_key_value(name),
            None if self.pools.len() == 1 => self.pools.iter().next(),
            None => None,
        };
        found.ok_or_else(|| {
            let why = match name {
                Some(name) => format!("there is no pool {name} in the settings {file}"),
                None if self.pools.is_empty() => {
                    format!("volumes can be made in pools only, and the settings {file} name none")
                }
                None => format!("the parameter \"pool\" is missing; the settings {file} name several"),
            };
            Failure::new(Code::Invalid, why)
        })
    }
}

impl Pool {
    /// The directory in which its volumes lie, on its server.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(self.share.as_str()).join(self.base.path())
    }

    /// The share that it lies on.
    ///
    /// # Errors
    /// Which of its keys makes none, and why.
    pub(crate) fn mounted(&self) -> std::result::Result<Share, String> {
        let of = |key: &'static str| move |why: String| format!("{key}: {why}");
        let (sec, xprtsec) = (self.sec.as_deref(), self.xprtsec.as_deref());
        sec.map(options::flavour).transpose().map_err(of("sec"))?;
        xprtsec.map(|how| options::read(&format!("xprtsec={how}"))).transpose().map_err(of("xprtsec"))?;
        let (server, export) = (self.server.clone(), self.share.clone());
        let (share, read_only) =
            Share::of(server, export, self.protocol, &self.mount_options, sec, xprtsec).map_err(of("mountOptions"))?;
        if read_only {
            return Err(of("mountOptions")("a pool cannot be read-only".to_owned()));
        }
        if let Some((option, _)) = share.options.iter().find(|(option, _)| UNSAFE.contains(&option.as_str())) {
            let why = format!("{option} is not for a pool: its nodes would not see each other's locks and markers");
            return Err(of("mountOptions")(why));
        }
        Ok(share)
    }
}

#[cfg(test)]
mod tests {
    use flexvolume::DriverName;

    use super::*;

    fn world(settings: &str) -> (tempfile::TempDir, World) {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join("settings.json"), settings).unwrap();
        let world = World::below(DriverName::parse("v/nfs").unwrap(), tmp.path());
        (tmp, world)
    }

    #[test]
    fn without_a_file_everything_has_its_default() {
        let tmp = tempfile::tempdir().unwrap();
        let world = World::below(DriverName::parse("v/nfs").unwrap(), tmp.path());
        let settings = Settings::read(&world).unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!((settings.patience.time().as_secs(), settings.slice.time().as_secs()), (15, 10));
        assert!(settings.allow(&"any".parse().unwrap(), Path::new("/srv"), &world).is_ok());
        assert!(settings.pool(None, &world).unwrap_err().to_string().contains("pools only"));
    }

    #[test]
    fn a_list_leaves_all_other_servers_alone() {
        let (_tmp, world) = world(
            r#"{"servers":["nas"],"pools":{"fast":{"server":"FS1","share":"/srv","base":"v","onDelete":"archive"}}}"#,
        );
        let settings = Settings::read(&world).unwrap();
        for (server, path, allowed) in [
            ("NAS", "/any", true),
            ("fs1", "/srv/v/pvc-1", true),
            ("fs1", "/srv/v/pvc-1/sub", true),
            ("fs1", "/srv/v", false),
            ("fs1", "/srv/v2", false),
            ("fs1", "/srv", false),
            ("fs1", "/", false),
            ("fs2", "/srv/v/pvc-1", false),
        ] {
            let said = settings.allow(&server.parse().unwrap(), Path::new(path), &world);
            assert_eq!(said.is_ok(), allowed, "{server} {path}");
            if let Err(failure) = said {
                assert_eq!(failure.code(), Some(Code::Permission));
            }
        }
        let (name, pool) = settings.pool(None, &world).unwrap();
        assert_eq!((name.to_string().as_str(), pool.on_delete), ("fast", OnDelete::Archive));
        assert!(settings.pool(Some(&"slow".parse().unwrap()), &world).is_err());
    }

    #[test]
    fn whatever_is_wrong_is_named_by_its_file_and_its_key() {
        let pool = |more: &str| format!(r#"{{"pools":{{"a":{{"server":"nas","share":"/srv"{more}}}}}}}"#);
        for (bad, words) in [
            ("{\"patience\":\n3,}", "line 2"),
            ("[]", "no JSON object"),
            (r#"{"patience":0}"#, "patience: it is more than no seconds"),
            (r#"{"patience":"3"}"#, "patience: invalid type: string \"3\""),
            (r#"{"slice":301}"#, "slice: it is more than no seconds and at most 300"),
            (r#"{"server":["nas"]}"#, "unknown field `server`"),
            (r#"{"servers":"nas"}"#, "servers: invalid type"),
            (r#"{"servers":["nas","a b"]}"#, "servers[1]: it must be the name or the address"),
            (r#"{"log":3}"#, "\"log\""),
            (r#"{"pools":{"a/b":{"server":"nas","share":"/srv"}}}"#, "pools.a/b: a pool's name has 1 to 32 letters"),
            (r#"{"pools":{"a":{"server":"nas"}}}"#, "pools.a: missing field `share`"),
            (r#"{"pools":{"a":{"server":"nas","share":"srv"}}}"#, "pools.a.share: it must be an absolute path"),
            (&pool(r#","onDelet":"burn""#), "pools.a.onDelet: unknown field `onDelet`"),
            (&pool(r#","base":"../x""#), "pools.a.base: it must not hold `..`"),
            (&pool(r#","protocol":"5""#), "pools.a.protocol: it must be 4.2"),
            (&pool(r#","onDelete":"burn""#), "pools.a.onDelete: unknown variant `burn`"),
            (&pool(r#","sec":"krb6""#), "pools.a.sec: "),
            (&pool(r#","sec":"krb5","mountOptions":"sec=sys""#), "pools.a.mountOptions: sec is both"),
            (&pool(r#","xprtsec":"yes""#), "pools.a.xprtsec: "),
            (&pool(r#","mountOptions":"ro""#), "pools.a.mountOptions: a pool cannot be read-only"),
            (&pool(r#","mountOptions":"suid""#), "pools.a.mountOptions: "),
            (&pool(r#","mountOptions":"hard,nolock""#), "pools.a.mountOptions: nolock is not for a pool"),
            (&pool(r#","mountOptions":"local_lock=none""#), "pools.a.mountOptions: local_lock"),
            (&pool(r#","mountOptions":"nocto""#), "pools.a.mountOptions: nocto"),
        ] {
            let (tmp, world) = world(bad);
            let read = Settings::read(&world).map(drop).and_then(|()| world.settings().text("log").map(drop));
            let said = read.unwrap_err().to_string();
            let file = tmp.path().join("settings.json").display().to_string();
            assert!(said.contains(&file) && said.contains(words), "{bad}: {said}");
        }
        let (_tmp, world) = world("{}");
        std::fs::remove_file(world.settings().path()).unwrap();
        std::fs::create_dir(world.settings().path()).unwrap();
        assert!(
            Settings::read(&world).unwrap_err().to_string().contains("settings.json"),
            "a file that cannot be read"
        );
    }

    #[test]
    fn a_pool_or_server_that_is_none_of_theirs_is_told_by_their_file() {
        let (_tmp, world) =
            world(r#"{"servers":[],"pools":{"a":{"server":"nas","share":"/srv"},"b":{"server":"nas","share":"/v"}}}"#);
        let settings = Settings::read(&world).unwrap();
        let gone = "gone".parse().unwrap();
        for failure in [
            settings.allow(&"nas".parse().unwrap(), Path::new("/x"), &world).unwrap_err(),
            settings.known(&gone, &world).unwrap_err(),
            settings.pool(Some(&gone), &world).unwrap_err(),
            settings.pool(None, &world).unwrap_err(),
        ] {
            assert!(failure.to_string().contains("settings.json"), "{failure}");
        }
    }
}
