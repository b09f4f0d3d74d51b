//! Names of machines made addresses: by the system's own `getent`, since a static program cannot ask what nsswitch.conf names.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use zeroize::Zeroizing;

use crate::{
    Error, ErrorKind, Result,
    process::{How, Kill, Limits, Program, spawn},
};

/// Where `getent` is, which every system with glibc has and most others.
const PROGRAMS: [&str; 2] = ["/usr/bin/getent", "/bin/getent"];

/// Between asking it to end and ending it.
const GRACE: Duration = Duration::from_millis(500);

/// The addresses of a machine, the best first; of an address, itself. Waits for the system's resolvers, `limit` at most.
///
/// # Errors
/// `NotFound`: nobody knows the name. `Timeout`: nobody answered. `Unsupported`: there is no `getent` here.
pub fn addresses(name: &str, limit: Duration) -> Result<Vec<IpAddr>> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    let cannot = |kind, why: &str| Error::new(kind, format!("cannot find the address of {name}: {why}"));
    let program = PROGRAMS.iter().map(Path::new).find(|path| path.is_file()).map(PathBuf::from).ok_or_else(|| {
        cannot(ErrorKind::Unsupported, "there is no program getent to ask").with_hint("give its address, or install it")
    })?;
    // A name such as "-s" would be read as an option.
    if name.is_empty() || name.starts_with('-') {
        return Err(cannot(ErrorKind::Invalid, "it is no name of a machine"));
    }
    let args = ["ahosts", name].map(|word| Zeroizing::new(word.to_owned())).to_vec();
    let limits = Limits { answer: limit, kill: Kill::After { at: limit, grace: GRACE } };
    let outcome = spawn(&Program { args, ..Program::new(program) })?.wait(&limits, &|_, _| false, &mut |_| {});
    match outcome.how {
        How::Exited(0) => {
            let text = String::from_utf8_lossy(&outcome.stdout);
            match read(&text) {
                found if found.is_empty() => Err(none(name, &text)),
                found => Ok(found),
            }
        }
        How::Exited(_) | How::Signalled(_) | How::Stayed(_) => Err(none(name, "")),
        How::Killed { .. } | How::Stuck(_) => {
            let hint = "look whether the name servers in /etc/resolv.conf answer";
            Err(cannot(ErrorKind::Timeout, &format!("no answer within {limit:?}")).with_hint(hint))
        }
    }
}

/// Why there is no address in what getent said. It ends alike when nobody knows the name and when no name server answers.
fn none(name: &str, text: &str) -> Error {
    let (why, hint) = if text.lines().any(|line| line.split_whitespace().next().is_some_and(|word| word.contains('%')))
    {
        ("it has link-local addresses only, which name a machine on one network alone", "give it another address")
    } else {
        let hint = "is it written rightly? look in /etc/hosts and DNS: getent ahosts NAME";
        ("nobody knows it, or no name server answers", hint)
    };
    Error::new(ErrorKind::NotFound, format!("cannot find the address of {name}: {why}")).with_hint(hint)
}

/// One address a line, once for each kind of socket.
fn read(text: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for address in text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn addresses_are_read_once_each_and_in_order() {
        let text = "2001:db8::1     STREAM nas\n2001:db8::1 DGRAM\n10.0.0.5  STREAM\nfe80::1%eth0 STREAM\n\nx\n";
        assert_eq!(read(text), ["2001:db8::1".parse::<IpAddr>().unwrap(), "10.0.0.5".parse().unwrap()]);
    }

    #[test]
    fn why_there_is_none_is_told() {
        let local = none("nas", "fe80::1%eth0   STREAM nas\nfe80::1%eth0 DGRAM\n");
        assert!(local.story().contains("link-local addresses only"), "{}", local.story());
        let unknown = none("nas", "");
        assert!(unknown.story().contains("nobody knows it, or no name server answers"), "{}", unknown.story());
        assert_eq!((local.kind(), unknown.kind()), (ErrorKind::NotFound, ErrorKind::NotFound));
    }

    #[test]
    fn an_address_is_its_own_and_names_are_asked_for() {
        assert_eq!(addresses("::1", LONG).unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses("-s", LONG).unwrap_err().kind(), ErrorKind::Invalid);
        if !PROGRAMS.iter().any(|program| Path::new(program).is_file()) {
            eprintln!("skipped: there is no getent here");
            return;
        }
        assert!(addresses("localhost", LONG).unwrap().iter().all(IpAddr::is_loopback));
        // A name of this top level is nobody's, by RFC 2606.
        let error = addresses("nobody.invalid", LONG).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Timeout), "{error:?}");
    }
}
