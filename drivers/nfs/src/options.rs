//! Mount options, held against a list: they may come from a tenant, and some of them weaken others or open what is not theirs.

use serde::{Deserialize, Serialize};

/// An option: its name and, if it has one, its value.
pub(crate) type MountOption = (String, Option<String>);

/// What may stand behind an option.
#[derive(Clone, Copy)]
enum Value {
    /// Nothing.
    No,
    /// A whole number from the first to the second.
    Number(u32, u32),
    /// One of these.
    One(&'static [&'static str]),
}

use Value::{No, Number, One};

/// Names, separated by blanks, and what may stand behind each.
const ALLOWED: &[(&str, Value)] = &[
    ("hard soft softerr softreval nosoftreval ac noac cto nocto rdirplus nordirplus", No),
    ("sync async noatime nodiratime relatime noexec resvport noresvport fsc nofsc", No),
    ("lock nolock acl noacl migration nomigration trunkdiscovery notrunkdiscovery", No),
    ("timeo", Number(1, 36_000)),
    ("retrans", Number(0, 1000)),
    ("rsize wsize", Number(1024, 1 << 24)),
    ("acregmin acregmax acdirmin acdirmax actimeo", Number(0, 86_400)),
    ("nconnect max_connect", Number(1, 16)),
    ("port mountport", Number(1, 65_535)),
    ("proto mountproto", One(&["tcp", "tcp6", "udp", "udp6", "rdma", "rdma6"])),
    ("lookupcache", One(&["all", "none", "pos", "positive"])),
    ("local_lock", One(&["all", "flock", "posix", "none"])),
    ("write", One(&["lazy", "eager", "wait"])),
    ("xprtsec", One(&["none", "tls", "mtls"])),
];

/// Options that have one of their own in this driver.
const ELSEWHERE: &[(&str, &str)] = &[
    ("vers", "protocol"),
    ("nfsvers", "protocol"),
    ("minorversion", "protocol"),
    ("v3", "protocol"),
    ("v4", "protocol"),
];

/// Words of mount(8) that change nothing here.
const EMPTY: [&str; 6] = ["defaults", "rw", "nosuid", "nodev", "_netdev", "nofail"];

/// Security flavours.
const FLAVOURS: [&str; 4] = ["sys", "krb5", "krb5i", "krb5p"];

/// What was given, sorted out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    /// For the file system, in order, each once.
    pub(crate) options: Vec<MountOption>,
    /// `sec`, if it is another than the server's first choice.
    pub(crate) sec: Option<String>,
    /// `ro`: of what a pod sees, never of the mount that all share.
    pub(crate) read_only: bool,
}

/// Reads options as `mount -o` takes them. Two that contradict each other are refused: which of them wins would depend on their
/// order, and volumes that say the same in another order share one mount.
///
/// # Errors
/// Why one cannot be had.
pub(crate) fn read(text: &str) -> Result<Given, String> {
    let mut given = Given::default();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match (name, value) {
            ("ro", None) => given.read_only = true,
            ("sec", Some(flavours)) => given.sec = Some(flavour(flavours)?),
            (name, None) if EMPTY.contains(&name) => {}
            (name, _) => {
                if let Some((_, option)) = ELSEWHERE.iter().find(|(theirs, _)| *theirs == name) {
                    return Err(format!("{name} is not among mountOptions; say it with the option {option:?}"));
                }
                check(name, value)?;
                given.options.push((name.to_owned(), value.map(str::to_owned)));
            }
        }
    }
    given.options.sort();
    given.options.dedup();
    // Those of one subject need not stand side by side.
    for (n, (one, _)) in given.options.iter().enumerate() {
        if let Some((other, _)) = given.options[n + 1..].iter().find(|(other, _)| subject(other) == subject(one)) {
            return Err(format!("{one} and {other} contradict each other; give one of them"));
        }
    }
    Ok(given)
}

/// One or more security flavours, in the order in which they are tried.
///
/// # Errors
/// It is none.
pub(crate) fn flavour(text: &str) -> Result<String, String> {
    if text.split(':').all(|one| FLAVOURS.contains(&one)) {
        return Ok(text.to_owned());
    }
    Err(format!("sec is {text:?}; it must be sys, krb5, krb5i or krb5p"))
}

/// What two options are about, of which only one can be had.
fn subject(name: &str) -> &str {
    match name {
        "hard" | "soft" | "softerr" => "hard",
        "noatime" | "relatime" => "noatime",
        "sync" | "async" => "sync",
        "noexec" | "nodiratime" => name,
        _ => name.strip_prefix("no").filter(|rest| is_known(rest)).unwrap_or(name),
    }
}

fn is_known(name: &str) -> bool {
    rule(name).is_some()
}

fn rule(name: &str) -> Option<Value> {
    ALLOWED.iter().find(|(names, _)| names.split(' ').any(|one| one == name)).map(|(_, value)| *value)
}

fn check(name: &str, value: Option<&str>) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{name} takes {what}"));
    match (rule(name), value) {
        (Some(No), None) => Ok(()),
        (Some(No), Some(_)) => wrong("no value"),
        (Some(Number(least, most)), Some(text)) => match text.parse::<u32>() {
            Ok(number) if (least..=most).contains(&number) && text.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
            Ok(_) | Err(_) => wrong(&format!("a number from {least} to {most}")),
        },
        (Some(One(words)), Some(text)) if words.contains(&text) => Ok(()),
        (Some(Number(least, most)), None) => wrong(&format!("a number from {least} to {most}")),
        (Some(One(words)), _) => wrong(&format!("one of {}", words.join(", "))),
        (None, _) => Err(format!("{name:?} is not among the options that may be given")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(options: &str) -> Result<String, String> {
        let given = read(options)?;
        let one = |(name, value): &MountOption| match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        };
        Ok(given.options.iter().map(one).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn the_same_options_in_another_order_are_the_same() {
        assert_eq!(text("soft,timeo=50, nconnect=4,,soft").unwrap(), "nconnect=4,soft,timeo=50");
        assert_eq!(read("timeo=50,soft").unwrap(), read("soft,timeo=50,defaults,rw,nosuid").unwrap());
        assert_eq!(text("").unwrap(), "");
    }

    #[test]
    fn what_has_a_place_of_its_own_goes_there() {
        let given = read("ro,sec=krb5p:krb5i,hard").unwrap();
        assert_eq!((given.read_only, given.sec.as_deref(), given.options.len()), (true, Some("krb5p:krb5i"), 1));
        assert!(read("vers=3").unwrap_err().contains("\"protocol\""));
        assert!(read("sec=none").is_err() && read("sec=sys:").is_err());
    }

    #[test]
    fn what_is_not_on_the_list_is_refused() {
        for bad in [
            "suid",
            "dev",
            "exec",
            "addr=10.0.0.1",
            "clientaddr=1.2.3.4",
            "mountaddr=10.0.0.1",
            "nosharecache",
            "timeo",
            "timeo=0",
            "timeo=+5",
            "timeo=many",
            "nconnect=17",
            "hard=1",
            "lookupcache=no",
            "bg",
            "fscache=/x",
            "context=x",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for bad in ["hard,soft", "ac,noac", "timeo=1,timeo=2", "cto,hard,nocto", "noatime,relatime", "softerr,hard"] {
            assert!(read(bad).unwrap_err().contains("contradict"), "{bad}");
        }
        assert!(read("nolock,noac,nocto,noexec,nodiratime,noatime,softreval,hard").is_ok());
    }
}
