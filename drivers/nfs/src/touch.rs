//! The steps that reach a server while volumes are mounted and unmounted, each for a child of its own.

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use flexvolume_linux::{
    Error, ErrorKind, Result,
    mount::{self, Flags, FsMount, Mounted, Tree, Unmount, table},
    tree::Folder,
    worker::Task,
};
use rustix::{
    fd::AsFd,
    fs::{AtFlags, CWD, StatxFlags, fstat, major, minor, statx},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    options::MountOption,
    server::Below,
    share::{Mounter, Share},
};

/// One step.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Touch {
    /// Mount the share, whose server has these addresses.
    Mount { share: Share, addresses: Vec<IpAddr>, at: PathBuf, limit: Duration },
    /// Show a directory of the mounted share at another place.
    Bind { mounted: PathBuf, dev: (u32, u32), subdir: Below, at: PathBuf, read_only: bool },
    /// Ask the server for the attributes of what is mounted there.
    Probe { at: PathBuf },
    /// Take the mount away.
    Unmount { at: PathBuf, how: Unmount },
    /// Take our own mount of a share away, if nobody uses it and there is no view of that file system.
    LetGo { at: PathBuf, dev: (u32, u32) },
}

/// What a step came to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Done {
    /// It is done.
    Yes,
    /// The share is not mounted there any more.
    Gone,
}

impl Task for Touch {
    const NAME: &'static str = "flexvol-nfs-mount";
    const DIES_WITH_PARENT: bool = true;

    type Answer = Result<Done>;

    fn run(self) -> Result<Done> {
        match self {
            Self::Mount { share, addresses, at, limit } => match share.mounter() {
                Mounter::Kernel => by_kernel(&share, &addresses, &at, limit),
                Mounter::Program => by_program(&share, &at, limit),
            }
            .map(|()| Done::Yes),
            Self::Bind { mounted, dev, subdir, at, read_only } => bind(&mounted, dev, &subdir, &at, read_only),
            Self::Probe { at } => probe(&at).map(|()| Done::Yes),
            Self::Unmount { at, how } => mount::unmount(&at, how).map(|()| Done::Yes),
            Self::LetGo { at, dev } => let_go(&at, dev).map(|()| Done::Yes),
        }
    }
}

/// Without it the kernel gives a share the superblock of another one of that server: with that one's time limits, under the name of that
/// one's server, and with its users, who are not ours.
const OWN_SUPERBLOCK: &str = "nosharecache";

/// NFS 4 needs nothing but an address: no port mapper, no other protocol.
fn by_kernel(share: &Share, addresses: &[IpAddr], at: &Path, limit: Duration) -> Result<()> {
    let (address, own) = reachable(share, addresses, limit)?;
    let mut options = kernel_options(share, address, own);
    options.extend(share.options.iter().cloned());
    let source = share.source();
    let wanted = FsMount { fs_type: "nfs", source: Some(&source), options: &options, flags: Flags::default() };
    Tree::new(&wanted).map_err(|error| explained(error, share))?.attach(at)
}

fn kernel_options(share: &Share, address: IpAddr, own: Option<IpAddr>) -> Vec<MountOption> {
    let text = |name: &str, value: String| (name.to_owned(), Some(value));
    let mut options = vec![text("vers", share.protocol.vers().to_owned()), text("addr", address.to_string())];
    options.push((OWN_SUPERBLOCK.to_owned(), None));
    options.extend(own.map(|own| text("clientaddr", own.to_string())));
    options.extend(share.sec.iter().map(|sec| text("sec", sec.clone())));
    options
}

/// The first address that somebody listens at, and ours on the way to it. The kernel itself would try one address for minutes.
fn reachable(share: &Share, addresses: &[IpAddr], limit: Duration) -> Result<(IpAddr, Option<IpAddr>)> {
    let proto = share.option("proto");
    let rdma = proto.is_some_and(|proto| proto.starts_with("rdma"));
    // The kernel refuses an address of another family than the option names: `tcp` is IPv4, `tcp6` is IPv6.
    let fits = |address: &IpAddr| proto.is_none_or(|proto| proto.ends_with('6') == address.is_ipv6());
    let addresses: Vec<IpAddr> = addresses.iter().copied().filter(fits).collect();
    let port = share.option("port").and_then(|port| port.parse().ok()).unwrap_or(2049);
    let each = limit / u32::try_from(addresses.len().max(1)).unwrap_or(1) * 2 / 3;
    let mut last = None;
    for address in addresses {
        if rdma {
            return Ok((address, None));
        }
        let there = SocketAddr::new(address, port);
        match TcpStream::connect_timeout(&there, each.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok((address, stream.local_addr().ok().map(|own| own.ip()))),
            Err(error) => last = Some((there, error)),
        }
    }
    Err(match last {
        Some((there, error)) => Error::os(format!("cannot reach the NFS server {} at {there}", share.server), error)
            .with_kind(ErrorKind::Io)
            .with_hint("look whether it is up, exports anything, and no firewall is between"),
        None => {
            let of_family = proto.map(|proto| format!(" for proto={proto}")).unwrap_or_default();
            Error::new(ErrorKind::NotFound, format!("the NFS server {} has no address{of_family}", share.server))
        }
    })
}

/// Why nothing comes of a mount that is to be private.
const KERBEROS_NEEDS: &str = "Kerberos needs a running rpc.gssd here, and a keytab (/etc/krb5.keytab)";
const TLS_NEEDS: &str = "xprtsec needs a running tlshd here (ktls-utils), and a server that speaks TLS";

/// What the kernel's error numbers mean when a share is mounted.
fn explained(error: Error, share: &Share) -> Error {
    let hint = match error.errno().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => {
            let hint =
                format!("the server exports no such directory; see what it does: showmount -e {}", share.server.name());
            return error.with_hint(hint);
        }
        Some(Errno::ACCESS | Errno::PERM) => "the server does not let this node mount it; see /etc/exports there",
        Some(Errno::PROTONOSUPPORT | Errno::PROTOTYPE) => {
            "the server does not speak this version; choose another with the option protocol"
        }
        Some(_) if share.wants_tls() => TLS_NEEDS,
        Some(_) | None => return error,
    };
    error.with_hint(hint)
}

fn by_program(share: &Share, at: &Path, limit: Duration) -> Result<()> {
    let text = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    // It tries once, and not for minutes.
    let mut options = vec![text("vers", share.protocol.vers()), text("retry", "0")];
    options.push((OWN_SUPERBLOCK.to_owned(), None));
    options.extend(share.sec.iter().map(|sec| text("sec", sec)));
    options.extend(share.options.iter().cloned());
    let source = share.source();
    let wanted = FsMount { fs_type: "nfs", source: Some(&source), options: &options, flags: Flags::default() };
    mount::mount_by_helper(&wanted, at, limit).map_err(|error| match error.kind() {
        ErrorKind::Unsupported => error.with_hint("NFS 3 and Kerberos need it: apt-get install nfs-common"),
        ErrorKind::Io if share.wants_kerberos() => error.with_hint(KERBEROS_NEEDS),
        ErrorKind::Io if share.wants_tls() => error.with_hint(TLS_NEEDS),
        ErrorKind::Io
        | ErrorKind::Busy
        | ErrorKind::NotFound
        | ErrorKind::Refused
        | ErrorKind::Timeout
        | ErrorKind::Invalid
        | ErrorKind::Corrupted => error,
    })
}

/// What our own mount of that file system shows; `None` if the last volume of the share has just taken it away. The server is asked for
/// it: a share that was deleted and made anew is another one, though its name is the same.
pub(crate) fn shown(mounted: &Path, dev: (u32, u32)) -> Result<Option<Folder>> {
    let root = match Folder::place(mounted) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        place => place?,
    };
    let stat = fstat(&root).map_err(|e| Error::io("look at", mounted, e))?;
    if (major(stat.st_dev), minor(stat.st_dev)) != dev {
        return Ok(None);
    }
    let how = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC | AtFlags::NO_AUTOMOUNT;
    statx(&root, "", how, StatxFlags::BASIC_STATS).map_err(|e| Error::io("ask the server for", mounted, e))?;
    Ok(Some(root))
}

fn bind(mounted: &Path, dev: (u32, u32), subdir: &Below, at: &Path, read_only: bool) -> Result<Done> {
    let Some(root) = shown(mounted, dev)? else { return Ok(Done::Gone) };
    let shown = root.sub(subdir.path()).map_err(|error| match error.kind() {
        ErrorKind::NotFound => error.with_hint(format!("make the directory {} on the share", subdir.as_str())),
        ErrorKind::Io
        | ErrorKind::Busy
        | ErrorKind::Refused
        | ErrorKind::Unsupported
        | ErrorKind::Timeout
        | ErrorKind::Invalid
        | ErrorKind::Corrupted => error,
    })?;
    // Views are copies: as long as this one has peers, what is mounted within one volume appears in all others.
    mount::make_private(root.as_fd(), mounted)?;
    let flags = Flags { read_only, ..Flags::default() };
    Tree::at(shown.as_fd(), shown.path(), flags)?.attach(at)?;
    Ok(Done::Yes)
}

fn probe(at: &Path) -> Result<()> {
    let how = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC | AtFlags::NO_AUTOMOUNT;
    statx(CWD, at, how, StatxFlags::BASIC_STATS).map(drop).map_err(|e| Error::io("ask the server for", at, e))
}

/// A view may have been shown between the last look and the unmount. Then the mount is put back, from a copy that nobody has seen: whoever
/// comes next must find the share by it, and would mount it once more. A view that is being shown holds the mount open, so none comes later.
fn let_go(at: &Path, dev: (u32, u32)) -> Result<()> {
    let copy = Tree::of(at, Flags::default())?;
    mount::unmount(at, Unmount::Plain)?;
    let is_view = |mounted: &Mounted| mounted.point.parent() != at.parent();
    match table::of_device(dev)?.iter().any(is_view) {
        true => copy.attach(at),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::TcpListener, os::unix::fs::symlink};

    use super::*;

    fn share(options: &str) -> Share {
        let (server, export) = ("nas".parse().unwrap(), "/srv".parse().unwrap());
        Share::of(server, export, crate::share::Protocol::V4_1, options, Some("sys"), None).unwrap().0
    }

    #[test]
    fn the_kernel_is_told_version_and_addresses() {
        let (there, here) = ("10.0.0.5".parse().unwrap(), "10.0.0.9".parse().unwrap());
        let told: Vec<String> = kernel_options(&share("soft"), there, Some(here))
            .into_iter()
            .map(|(name, value)| value.map_or(name.clone(), |value| format!("{name}={value}")))
            .collect();
        assert_eq!(told, ["vers=4.1", "addr=10.0.0.5", "nosharecache", "clientaddr=10.0.0.9", "sec=sys"]);
    }

    #[test]
    fn the_first_address_that_answers_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let share = share(&format!("port={port}"));
        let addresses = ["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let (found, own) = reachable(&share, &addresses, Duration::from_secs(60)).unwrap();
        assert_eq!((found, own), (addresses[1], Some(addresses[1])));
        drop(listener);
        let error = reachable(&share, &addresses[1..], Duration::from_secs(60)).unwrap_err();
        assert!(error.story().contains(&format!("nas at 127.0.0.1:{port}: Connection refused")), "{}", error.story());
        assert!(reachable(&share, &[], Duration::from_secs(60)).is_err());
    }

    #[test]
    fn an_address_of_another_family_than_proto_names_is_passed_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let addresses = ["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let found = |proto: &str| {
            reachable(&share(&format!("port={port},proto={proto}")), &addresses, Duration::from_secs(60)).map(|it| it.0)
        };
        assert_eq!(found("tcp").unwrap(), addresses[1]);
        assert_eq!(found("rdma").unwrap(), addresses[1]);
        assert_eq!(found("rdma6").unwrap(), addresses[0]);
        let share = share("proto=tcp6");
        let error = reachable(&share, &addresses[1..], Duration::from_secs(60)).unwrap_err();
        assert!(error.to_string().contains("no address for proto=tcp6"), "{error}");
    }

    #[test]
    fn another_file_system_at_the_shares_place_is_not_shown() {
        let tmp = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(tmp.path()).unwrap();
        let bind = |dev, subdir: &str| bind(&root, dev, &subdir.parse().unwrap(), &root, false);
        assert_eq!(bind((0, 0), "").unwrap(), Done::Gone);
        assert!(shown(&root.join("gone"), (0, 0)).unwrap().is_none());
        let stat = fstat(fs::File::open(&root).unwrap()).unwrap();
        let dev = (major(stat.st_dev), minor(stat.st_dev));
        symlink("/etc", root.join("link")).unwrap();
        assert_eq!(bind(dev, "link").unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(bind(dev, "link/passwd").unwrap_err().kind(), ErrorKind::Refused);
        let error = bind(dev, "no/such").unwrap_err();
        assert!(error.kind() == ErrorKind::NotFound && error.hint().unwrap().contains("no/such"), "{error:?}");
    }
}
