//! The names that CSI knows a driver and a volume by, and those that the contract knows them by.

use std::{collections::BTreeMap, fmt};

use flexvolume_protocol::{DriverName, Id, VolumeName};
use sha2::{Digest, Sha256};

/// A driver's name in CSI: `lvm.example.com` for the driver `example.com/lvm`.
///
/// Domain name notation of at most 63 bytes (CSI, `GetPluginInfo`), and in lower case, since Kubernetes has an object of that name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CsiName(String);

/// A name cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameTrouble {
    /// It breaks the rule.
    #[error("{name:?} cannot be the CSI name of {driver}: {why}; give it another one")]
    Unfit {
        /// The driver.
        driver: DriverName,
        /// The name that was given, or made.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two drivers would have it.
    #[error("{one} and {other} would both be called {name}; give one of them another name")]
    Taken {
        /// The name.
        name: CsiName,
        /// Who has it.
        one: DriverName,
        /// Who wants it.
        other: DriverName,
    },
}

impl CsiName {
    /// The name that a driver has if nobody gives it another: name, dot, vendor; in lower case, with `-` for `_`.
    ///
    /// # Errors
    /// [`NameTrouble::Unfit`] if that is too long or no domain name.
    pub fn usual(driver: &DriverName) -> Result<Self, NameTrouble> {
        let plain = driver.executable().to_ascii_lowercase().replace('_', "-");
        match driver.as_str().split_once('/') {
            Some((vendor, _)) => Self::given(driver, &format!("{plain}.{vendor}")),
            None => Self::given(driver, &plain),
        }
    }

    /// The name that somebody gave it.
    ///
    /// # Errors
    /// [`NameTrouble::Unfit`].
    pub fn given(driver: &DriverName, name: &str) -> Result<Self, NameTrouble> {
        let unfit = |why| Err(NameTrouble::Unfit { driver: driver.clone(), name: name.to_owned(), why });
        if name.len() > 63 {
            return unfit("it has more than 63 characters");
        }
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let is_label = |label: &str| {
            let bytes = label.as_bytes();
            matches!((bytes.first(), bytes.last()), (Some(a), Some(z)) if letter(*a) && letter(*z))
                && bytes.iter().all(|b| letter(*b) || *b == b'-')
        };
        if !name.split('.').all(is_label) {
            return unfit("it is no domain name in lower case (a-z, 0-9, `-`, parts joined by dots)");
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who is called what: no two drivers alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<CsiName, DriverName>);

impl Names {
    /// Takes the name for the driver, which may have it already.
    ///
    /// # Errors
    /// [`NameTrouble::Taken`].
    pub fn take(&mut self, name: CsiName, driver: &DriverName) -> Result<(), NameTrouble> {
        match self.0.get(&name) {
            Some(one) if one != driver => Err(NameTrouble::Taken { name, one: one.clone(), other: driver.clone() }),
            Some(_) | None => {
                self.0.insert(name, driver.clone());
                Ok(())
            }
        }
    }

    /// The driver of that name.
    pub fn driver(&self, name: &CsiName) -> Option<&DriverName> {
        self.0.get(name)
    }
}

/// So many digits of its digest tell a volume whose id is no name.
const DIGITS: usize = 16;

/// The name that paths and drivers know a volume by. Two ids never have one name: an id is its own name where it can be one and does
/// not look like a made one; else its readable part is followed by its digest.
pub fn volume_name(id: &Id) -> VolumeName {
    let id = id.as_str();
    let plain = VolumeName::parse(id).ok().filter(|_| !looks_made(id));
    plain.unwrap_or_else(|| made(id))
}

fn looks_made(name: &str) -> bool {
    let digits = |end: &str| end.len() == DIGITS && end.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    name.rsplit_once('-').is_some_and(|(_, end)| digits(end))
}

fn made(id: &str) -> VolumeName {
    let digest: String = Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect();
    let digest = &digest[..DIGITS];
    let slug: String = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    let slug = slug.trim_matches('-');
    let name = if slug.is_empty() { format!("v-{digest}") } else { format!("{slug}-{digest}") };
    VolumeName::parse(&name).unwrap_or_else(|_| unreachable!("letters, digits and dashes, a letter or digit first"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn driver(name: &str) -> DriverName {
        DriverName::parse(name).unwrap()
    }

    #[test]
    fn a_driver_is_called_by_name_and_vendor() {
        let usual = |name: &str| CsiName::usual(&driver(name)).map(|name| name.to_string());
        assert_eq!(usual("example.com/lvm").unwrap(), "lvm.example.com");
        assert_eq!(usual("flexvol.io/tmpfs").unwrap(), "tmpfs.flexvol.io");
        assert_eq!(usual("kubernetes.io/LVM_2").unwrap(), "lvm-2.kubernetes.io");
        assert_eq!(usual("cifs").unwrap(), "cifs");
        assert_eq!(usual("a/b.c").unwrap(), "b.c.a");
        for (name, why) in [("a/b..c", "no domain name"), ("a/b-.c", "no domain name")] {
            assert!(usual(name).unwrap_err().to_string().contains(why), "{name}");
        }
        let long = |n: usize| format!("{}.example.com/x", "a".repeat(n));
        assert_eq!(usual(&long(49)).unwrap().len(), 63);
        assert!(usual(&long(50)).unwrap_err().to_string().contains("more than 63"));
    }

    #[test]
    fn a_name_that_is_given_keeps_the_rule_too() {
        let given = |name: &str| CsiName::given(&driver("a/b"), name).is_ok();
        assert!(given("csi.example.com") && given("x") && given("1.2"));
        for bad in ["", ".", "a.", ".a", "-a", "a-", "A", "a_b", "a/b", "a b", "ä", "a..b", &"a".repeat(64)] {
            assert!(!given(bad), "{bad:?}");
        }
    }

    #[test]
    fn no_two_drivers_have_one_name() {
        let mut names = Names::default();
        let (one, other) = (driver("x/lvm_2"), driver("x/LVM-2"));
        let name = CsiName::usual(&one).unwrap();
        names.take(name.clone(), &one).unwrap();
        names.take(name.clone(), &one).unwrap();
        let error = names.take(CsiName::usual(&other).unwrap(), &other).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x/lvm_2 and x/LVM-2 would both be called lvm-2.x; give one of them another name"
        );
        assert_eq!(names.driver(&name), Some(&one));
    }

    #[test]
    fn no_two_volumes_have_one_name() {
        let name = |id: &str| volume_name(&Id::parse(id).unwrap()).to_string();
        assert_eq!(name("pvc-1b4e28ba-2fa1-11d2-883f-0016d3cca427"), "pvc-1b4e28ba-2fa1-11d2-883f-0016d3cca427");
        let made = name("srv/images/pvc-1");
        assert!(made.starts_with("srv-images-pvc-1-"), "{made}");
        assert_ne!(name(&made), made, "an id that looks like a name that is made gets one of its own");
        let ids = [
            "a/b",
            "a-b",
            "a.b",
            "a b",
            "ä",
            "..",
            "--",
            "a/b/",
            "-a",
            "a..b",
            &made,
            &"x".repeat(128),
            &"ö".repeat(64),
        ];
        let ids: Vec<&str> = ids.into_iter().filter(|id| Id::parse(id).is_ok()).collect();
        let names: BTreeSet<String> = ids.iter().map(|id| name(id)).collect();
        assert_eq!(names.len(), ids.len(), "{names:?}");
    }
}
