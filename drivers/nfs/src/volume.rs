//! What a volume is of a share, as a call's options say.

use std::path::{Path, PathBuf};

use flexvolume::{Code, Failure, ONLY_READER, Options, OptionsExt, Result, World};

use crate::{
    home,
    server::{Below, source},
    settings::Settings,
    share::Share,
};

/// A directory of a share, as a pod is to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) share: Share,
    pub(crate) subdir: Below,
    pub(crate) read_only: bool,
}

impl Volume {
    /// As a call's options say, if the settings allow its server.
    ///
    /// # Errors
    /// `invalid` options; `permission`: a server that is not among those allowed.
    pub(crate) fn of(options: &Options, world: &World) -> Result<Self> {
        let volume = Self::read(options)?;
        Settings::read(world)?.allow(&volume.share.server, &volume.path(), world)?;
        Ok(volume)
    }

    fn read(options: &Options) -> Result<Self> {
        if let Some((given, meant)) = misspelt(options) {
            let message = format!("there is no option {given:?}; it is written {meant:?}");
            return Err(Failure::new(Code::Invalid, message));
        }
        let given = |key: &str| options.get(key).filter(|text| !text.is_empty());
        let (share, ro) = Share::of(
            options.required("server")?,
            options.required("share")?,
            options.optional("protocol")?.unwrap_or_default(),
            options.get("mountOptions").unwrap_or_default(),
            given("sec"),
            given("xprtsec"),
        )
        .map_err(|why| Failure::new(Code::Invalid, why))?;
        let subdir: Below = options.optional("subdir")?.unwrap_or_default();
        if share.export.as_str().split('/').chain(subdir.as_str().split('/')).any(home::is_ours) {
            let message = format!("{} is where this driver keeps what it knows of volumes", home::OURS);
            return Err(Failure::new(Code::Permission, message));
        }
        let read_only = ro || options.flag("readonly")? || options.read_only() || options.get(ONLY_READER).is_some();
        Ok(Self { share, subdir, read_only })
    }

    /// Where it lies on its server.
    fn path(&self) -> PathBuf {
        Path::new(self.share.export.as_str()).join(self.subdir.path())
    }

    /// What the kernel shows as its source.
    pub(crate) fn source(&self) -> String {
        source(&self.share.server, &self.share.export, &self.subdir)
    }
}

/// Whether a call says itself which share its volume is of.
pub(crate) fn is_stated(options: &Options) -> bool {
    options.get("server").is_some_and(|server| !server.is_empty())
}

/// What a volume may say.
const OPTIONS: [&str; 8] = ["server", "share", "subdir", "protocol", "readonly", "mountOptions", "sec", "xprtsec"];

/// An option that nobody reads, and the one that was meant. Of unknown options nothing is said, as in all drivers; but a volume that
/// says `readOnly` is not to be written to.
fn misspelt(options: &Options) -> Option<(String, &'static str)> {
    let near = |key: &str| OPTIONS.into_iter().find(|known| key.eq_ignore_ascii_case(known) && key != *known);
    options.iter().find_map(|(key, _)| Some((key.to_owned(), near(key)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::Mounter;

    fn volume(json: &str) -> Result<Volume> {
        Volume::read(&Options::parse(json).unwrap())
    }

    #[test]
    fn volumes_that_mean_the_same_mount_share_one() {
        let one = volume(r#"{"server":"NAS","share":"/srv/","mountOptions":"soft,timeo=50","subdir":"a"}"#).unwrap();
        let other = volume(
            r#"{"server":"nas.","share":"/srv","mountOptions":"timeo=50,soft,ro","protocol":"4.2","subdir":"/b/c"}"#,
        )
        .unwrap();
        assert_eq!(one.share, other.share);
        assert_eq!(one.share.to_string(), "nas:/srv vers=4.2,soft,timeo=50");
        assert_eq!((one.source(), other.source()), ("nas:/srv/a".to_owned(), "nas:/srv/b/c".to_owned()));
        assert!(!one.read_only && other.read_only, "of what a pod sees, not of the share");
        for different in [
            r#"{"server":"nas","share":"/srv","mountOptions":"soft,timeo=51"}"#,
            r#"{"server":"nas","share":"/srv","mountOptions":"soft,timeo=50","protocol":"4.1"}"#,
            r#"{"server":"nas","share":"/srv","mountOptions":"soft,timeo=50","sec":"krb5"}"#,
            r#"{"server":"nas","share":"/srv/x","mountOptions":"soft,timeo=50"}"#,
        ] {
            assert_ne!(volume(different).unwrap().share.to_string(), one.share.to_string(), "{different}");
        }
    }

    #[test]
    fn who_mounts_it() {
        let of = |more: &str| volume(&format!(r#"{{"server":"nas","share":"/srv"{more}}}"#)).unwrap().share.mounter();
        assert_eq!(of(""), Mounter::Kernel);
        assert_eq!(of(r#","protocol":"4","sec":"sys","xprtsec":"tls""#), Mounter::Kernel);
        assert_eq!(of(r#","protocol":"3""#), Mounter::Program);
        assert_eq!(of(r#","sec":"krb5p""#), Mounter::Program);
        assert_eq!(of(r#","mountOptions":"sec=krb5""#), Mounter::Program);
    }

    #[test]
    fn what_the_driver_knows_of_volumes_is_no_volume() {
        for (share, subdir) in [("/srv", "base/.flexvol"), ("/srv/.flexvol", ""), ("/srv", ".FlexVol/new/volume-x")] {
            let failure = volume(&format!(r#"{{"server":"nas","share":"{share}","subdir":"{subdir}"}}"#)).unwrap_err();
            assert_eq!(failure.code(), Some(Code::Permission), "{share} {subdir}");
        }
        assert!(volume(r#"{"server":"nas","share":"/srv/.flexvol2","subdir":"flexvol"}"#).is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_invalid_and_names_its_option() {
        for (bad, word) in [
            ("{}", "\"server\""),
            (r#"{"server":"nas"}"#, "\"share\""),
            (r#"{"server":"n,x","share":"/srv"}"#, "\"server\""),
            (r#"{"server":"nas","share":"srv"}"#, "\"share\""),
            (r#"{"server":"nas","share":"/srv","readOnly":"true"}"#, "written \"readonly\""),
            (r#"{"server":"nas","share":"/srv","subdir":"../x"}"#, "\"subdir\""),
            (r#"{"server":"nas","share":"/srv","protocol":"5"}"#, "\"protocol\""),
            (r#"{"server":"nas","share":"/srv","readonly":"yes"}"#, "\"readonly\""),
            (r#"{"server":"nas","share":"/srv","mountOptions":"suid"}"#, "suid"),
            (r#"{"server":"nas","share":"/srv","sec":"krb5","mountOptions":"sec=sys"}"#, "sec"),
        ] {
            let failure = volume(bad).unwrap_err();
            assert!(failure.code() == Some(Code::Invalid) && failure.to_string().contains(word), "{bad}: {failure}");
        }
        let read = |more: &str| volume(&format!(r#"{{"server":"nas","share":"/srv"{more}}}"#)).unwrap().read_only;
        assert!(read(r#","readonly":"true""#) && read(r#","kubernetes.io/readwrite":"ro""#) && !read(""));
    }
}
