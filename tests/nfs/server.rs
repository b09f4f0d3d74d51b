//! The kernel's NFS server on the machine of a case, and directories that it exports.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use flexvolume_testkit::skip;

pub use crate::tools::until;
use crate::tools::{run, shell, text, tool};

/// A directory that is exported for as long as this lives.
pub struct Exported {
    pub path: PathBuf,
}

/// What makes a machine a server. Each of these may be there from the case before.
pub const BEGIN: &str = r#"
grep -q ' /proc/fs/nfsd ' /proc/self/mounts || mount -t nfsd nfsd /proc/fs/nfsd
grep -q ' rpc_pipefs ' /proc/self/mounts || mount -t rpc_pipefs rpc_pipefs /run/rpc_pipefs
mkdir -p /var/lib/nfs/v4recovery /var/lib/nfs/sm /var/lib/nfs/rpc_pipefs
: >>/var/lib/nfs/etab; : >>/var/lib/nfs/rmtab
pidof rpcbind >/dev/null || rpcbind -w
pidof rpc.statd >/dev/null || rpc.statd
# Nobody has files open from before: nothing is gained by waiting for those who might.
[ "$(cat /proc/fs/nfsd/threads)" != 0 ] || { echo 10 >/proc/fs/nfsd/nfsv4gracetime; echo 10 >/proc/fs/nfsd/nfsv4leasetime; }
# The other protocol's locks have a time of waiting of their own, in which nobody is given any.
[ "$(cat /proc/fs/nfsd/threads)" != 0 ] || { modprobe lockd || true; echo 3 >/proc/sys/fs/nfs/nlm_timeout; echo 3 >/proc/sys/fs/nfs/nlm_grace_period; }
pidof rpc.mountd >/dev/null || rpc.mountd
[ "$(cat /proc/fs/nfsd/threads)" != 0 ] || rpc.nfsd 8
echo Y >/proc/fs/nfsd/v4_end_grace || true
"#;

/// Where the suite runs. The door says so.
pub fn place() -> String {
    std::env::var("FLEXVOL_GUEST").unwrap_or_default()
}

/// A server that runs, or `None` with the reason printed.
pub fn server() -> Option<()> {
    if !["guest", "here"].contains(&place().as_str()) {
        skip("it is for a guest: `cargo xtask guest nfs` runs it in one");
        return None;
    }
    for module in ["nfsd", "nfs", "nfsv4", "nfsv3"] {
        let _ = Command::new("modprobe").arg(module).output();
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap();
    if !known.contains("nfsd") || !known.contains("nfs4") {
        // Its kernel is of our choice.
        assert_eq!(place(), "here", "the guest's kernel has no NFS");
        skip("this kernel has no NFS");
        return None;
    }
    shell(BEGIN, &[]);
    Some(())
}

/// It stops, as one that is switched off: whoever has something mounted waits.
pub fn stop() {
    tool("rpc.nfsd", &["0"]);
    until("the server stops", || fs::read_to_string("/proc/fs/nfsd/threads").unwrap().trim() == "0");
}

/// It is back.
pub fn start() {
    tool("rpc.nfsd", &["8"]);
    shell("echo Y >/proc/fs/nfsd/v4_end_grace || true", &[]);
}

impl Exported {
    /// Exports a directory, made if it is missing, to this machine.
    pub fn new(path: &Path) -> Exported {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        fs::create_dir_all(path).unwrap();
        let exported = Exported { path: path.to_owned() };
        exported.export(NUMBER.fetch_add(1, Ordering::Relaxed));
        exported
    }

    fn export(&self, number: u32) {
        // What lies in memory has no identity of its own, so it is given one: this process's, to be told from the case before.
        let fsid = std::process::id() * 100 + number;
        let options = format!("rw,no_root_squash,no_subtree_check,insecure,sync,fsid={fsid}");
        run(Command::new("exportfs").args(["-o", &options, &format!("127.0.0.1:{}", text(&self.path))]));
    }

    /// The same path is another directory from now on.
    pub fn replace(&self) {
        static NUMBER: AtomicU32 = AtomicU32::new(50);
        fs::rename(&self.path, self.path.with_extension("old")).unwrap();
        fs::create_dir(&self.path).unwrap();
        self.unexport();
        self.export(NUMBER.fetch_add(1, Ordering::Relaxed));
        tool("exportfs", &["-f"]);
    }

    fn unexport(&self) {
        let _ = Command::new("exportfs").args(["-u", &format!("127.0.0.1:{}", text(&self.path))]).output();
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        self.unexport();
        let _ = Command::new("exportfs").arg("-f").output();
    }
}
