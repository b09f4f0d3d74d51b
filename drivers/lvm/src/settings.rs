//! What an administrator may set of this driver.

use std::{fmt, time::Duration};

use flexvolume::{Code, Failure, Result, World};
use serde::Deserialize;

use crate::names::VgName;

/// The settings; without a file all of them have their defaults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// The volume group of volumes that name none.
    pub(crate) volumegroup: Option<VgName>,
    /// With this list, nothing is ever done in another volume group than these and `volumegroup`.
    pub(crate) volumegroups: Option<Vec<VgName>>,
    /// How much a thin pool may promise, as a multiple of its size.
    #[serde(default)]
    pub(crate) thin_overcommit: Overcommit,
    /// From how many percent of data or metadata on a thin pool is spoken of.
    #[serde(default)]
    pub(crate) thin_warn: Percent,
    /// For so long one call wipes or copies, before it answers "In progress".
    #[serde(default)]
    pub(crate) slice: Slice,
}

impl Settings {
    /// As the settings file of this driver says.
    ///
    /// # Errors
    /// It cannot be read, or a value makes no sense.
    pub(crate) fn read(world: &World) -> Result<Self> {
        world.settings().read()
    }

    /// The groups that may be touched; `None` if all may.
    pub(crate) fn allowed(&self) -> Option<Vec<&VgName>> {
        let listed = self.volumegroups.as_ref()?;
        let mut all: Vec<&VgName> = listed.iter().chain(&self.volumegroup).collect();
        all.sort_unstable();
        all.dedup();
        Some(all)
    }

    /// Whether this group may be touched.
    ///
    /// # Errors
    /// Code `permission`: there is a list, and the group is not on it.
    pub(crate) fn allow(&self, vg: &VgName, world: &World) -> Result<()> {
        if self.allowed().is_none_or(|allowed| allowed.contains(&vg)) {
            return Ok(());
        }
        let file = world.settings().path().display();
        let message = format!("the volume group {vg} is not among the volumegroups that the settings {file} allow");
        Err(Failure::new(Code::Permission, message))
    }
}

/// A multiple that is not below zero: `1.0` promises no more than there is.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Overcommit(f64);

impl Overcommit {
    /// What a pool of that size may promise, in bytes.
    pub(crate) fn of(self, bytes: u64) -> u64 {
        // Beyond 2^53 bytes the last digits are lost, which is less than a block.
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
        let most = (bytes as f64 * self.0) as u64;
        if self.0 == 1.0 { bytes } else { most }
    }
}

impl Default for Overcommit {
    fn default() -> Self {
        Self(1.0)
    }
}

impl TryFrom<f64> for Overcommit {
    type Error = &'static str;

    fn try_from(ratio: f64) -> std::result::Result<Self, Self::Error> {
        if ratio.is_finite() && ratio >= 0.0 { Ok(Self(ratio)) } else { Err("a ratio is a number not below zero") }
    }
}

impl fmt::Display for Overcommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Seconds, more than none and up to ten minutes.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Slice(Duration);

impl Slice {
    /// How long that is.
    pub(crate) fn time(self) -> Duration {
        self.0
    }
}

impl Default for Slice {
    fn default() -> Self {
        Self(Duration::from_secs(10))
    }
}

impl TryFrom<f64> for Slice {
    type Error = &'static str;

    fn try_from(seconds: f64) -> std::result::Result<Self, Self::Error> {
        if seconds > 0.0 && seconds <= 600.0 {
            Ok(Self(Duration::from_secs_f64(seconds)))
        } else {
            Err("a slice is more than no seconds and at most 600")
        }
    }
}

/// 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Percent(f64);

impl Percent {
    /// Whether so much is as much as that.
    pub(crate) fn reached_by(self, percent: f64) -> bool {
        percent >= self.0
    }
}

impl Default for Percent {
    fn default() -> Self {
        Self(80.0)
    }
}

impl TryFrom<f64> for Percent {
    type Error = &'static str;

    fn try_from(percent: f64) -> std::result::Result<Self, Self::Error> {
        if (1.0..=100.0).contains(&percent) { Ok(Self(percent)) } else { Err("a percentage is a number from 1 to 100") }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

#[cfg(test)]
mod tests {
    use flexvolume::DriverName;

    use super::*;

    fn world(settings: &str) -> (tempfile::TempDir, World) {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join("settings.json"), settings).unwrap();
        let world = World::below(DriverName::parse("v/lvm").unwrap(), tmp.path());
        (tmp, world)
    }

    #[test]
    fn without_a_file_everything_has_its_default() {
        let tmp = tempfile::tempdir().unwrap();
        let world = World::below(DriverName::parse("v/lvm").unwrap(), tmp.path());
        let settings = Settings::read(&world).unwrap();
        assert_eq!(settings, Settings::default());
        assert!(settings.allow(&VgName::parse("any").unwrap(), &world).is_ok());
        assert_eq!(settings.thin_overcommit.of(1000), 1000);
        assert!(settings.thin_warn.reached_by(80.0) && !settings.thin_warn.reached_by(79.99));
    }

    #[test]
    fn a_list_leaves_all_others_alone() {
        let (_tmp, world) = world(r#"{"volumegroup":"kube_vg","volumegroups":["fast"],"log":"syslog"}"#);
        let settings = Settings::read(&world).unwrap();
        for (vg, allowed) in [("kube_vg", true), ("fast", true), ("system", false)] {
            let said = settings.allow(&VgName::parse(vg).unwrap(), &world);
            assert_eq!(said.is_ok(), allowed, "{vg}");
            if let Err(failure) = said {
                assert_eq!(failure.code(), Some(Code::Permission));
                assert!(failure.to_string().contains("system"), "{failure}");
            }
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for bad in [
            r#"{"thinOvercommit":-1}"#,
            r#"{"thinOvercommit":"2"}"#,
            r#"{"thinWarn":0}"#,
            r#"{"thinWarn":101}"#,
            r#"{"slice":0}"#,
            r#"{"slice":601}"#,
            r#"{"slice":-1}"#,
            r#"{"volumegroup":"../x"}"#,
            r#"{"volumegroups":["-x"]}"#,
            // A list that nobody reads would allow everything.
            r#"{"volumeGroups":["kube_vg"]}"#,
        ] {
            let (_tmp, world) = world(bad);
            assert!(Settings::read(&world).is_err(), "{bad}");
        }
        let (_tmp, world) = world(r#"{"thinOvercommit":2.5,"thinWarn":90}"#);
        let settings = Settings::read(&world).unwrap();
        assert_eq!(settings.thin_overcommit.of(1000), 2500);
        assert!(!settings.thin_warn.reached_by(89.0));
        assert_eq!(settings.slice.time(), Duration::from_secs(10));
    }
}
