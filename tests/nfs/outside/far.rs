//! The machine `left` as a node, and what it has the machine `right` do, which is the server.

use std::{
    io::{BufRead, BufReader, Write},
    mem::ManuallyDrop,
    net::{Shutdown, SocketAddr, TcpStream},
    ops::Deref,
    path::Path,
    time::{Duration, Instant},
};

use flexvolume_testkit::driver::{J, Said};

use crate::{
    bed::Client,
    server::{self, until},
    tools::{shell, text},
};

/// What the server runs: each who comes by the wire is given a shell.
pub const CONSOLE: &str = "exec busybox nc -ll -p 9 -e sh";

/// Where that is. It stays when the address that serves is pulled.
const AT: ([u8; 4], u16) = ([10, 9, 0, 2], 9);

/// The address that serves: an interface of its own, so that it can be pulled.
pub const SERVES: &str = "10.9.1.2";

/// Settings for a server that is there, however busy the host is.
pub const PATIENT: &str = r#"{"patience":60}"#;

/// Settings for one that is not.
pub const IMPATIENT: &str = r#"{"patience":3,"slice":1}"#;

/// Ten times what a call may take with little patience: that for each of its steps.
const SOON: Duration = Duration::from_secs(120);

/// The node. Nothing of it is taken away at its end: a machine that goes needs that not, and a dead server might hinder it.
pub struct Far {
    pub server: Server,
    client: ManuallyDrop<Client>,
}

/// The other machine.
pub struct Server;

impl Far {
    pub fn new() -> Far {
        let client = ManuallyDrop::new(Client::new().unwrap());
        client.set(PATIENT);
        // What NFS 3 wants of a client.
        shell("modprobe -a nfs nfsv4 nfsv3; ip addr add 10.9.1.1/24 dev eth0; rpcbind -w; rpc.statd", &[]);
        until("the server's console", || TcpStream::connect(SocketAddr::from(AT)).is_ok());
        let far = Far { server: Server, client };
        far.server.does("modprobe -a nfsd macvlan");
        far.server.does(server::BEGIN);
        far.server.does(&format!(
            "echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
             ip link add nfs0 link eth0 type macvlan; ip addr add {SERVES}/24 dev nfs0; ip link set nfs0 up"
        ));
        far
    }

    /// The options of a volume: a whole share, by this version.
    pub fn j(&self, volume: &str, share: &str, protocol: &str) -> J {
        J::default()
            .with("server", SERVES)
            .with("share", share)
            .with("protocol", protocol)
            .with("kubernetes.io/readwrite", "rw")
            .with("kubernetes.io/pvOrVolumeName", volume)
    }

    /// Calls the driver, which must answer soon however the server does.
    #[track_caller]
    pub fn soon(&self, args: &[&str]) -> Said {
        let since = Instant::now();
        let said = self.call(args);
        assert!(since.elapsed() < SOON, "{args:?} took {:?}: {said:?}", since.elapsed());
        said
    }

    /// The same, for the way down. Gives the words of the unmount.
    #[track_caller]
    pub fn down_soon(&self, j: &J, place: &Path) -> String {
        let said = self.soon(&["unmountdevice", text(place)]).ok();
        self.soon(&["detach", j.name(), "node"]).ok();
        said.message().to_owned()
    }
}

impl Deref for Far {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Server {
    /// Has it run a script, which must succeed, and gives what that printed.
    #[track_caller]
    pub fn does(&self, script: &str) -> String {
        let mut console = TcpStream::connect(SocketAddr::from(AT)).unwrap();
        console.write_all(format!("(\nset -eu\n{script}\n) 2>&1\necho \"= $?\"\n").as_bytes()).unwrap();
        console.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        for line in BufReader::new(console).lines() {
            let line = line.unwrap();
            if let Some(status) = line.strip_prefix("= ") {
                assert_eq!(status, "0", "{script}: {said}");
                return said;
            }
            said += &line;
            said.push('\n');
        }
        panic!("{script}: it said no more than {said:?}");
    }

    /// Exports a directory, made if it is missing; those of another number are another file system to its clients.
    pub fn exports(&self, path: &str, number: u32) {
        let options = format!("rw,no_root_squash,no_subtree_check,insecure,sync,fsid={number}");
        self.does(&format!("mkdir -p {path}; exportfs -o {options} 10.9.1.0/24:{path}"));
    }

    /// NFS ends: whoever calls is told that nobody is there.
    pub fn stops(&self) {
        self.does("rpc.nfsd 0; [ $(cat /proc/fs/nfsd/threads) = 0 ]");
    }

    /// It is there again, and first waits for those who had something open.
    pub fn starts(&self) {
        self.does("rpc.nfsd 8");
    }

    /// Its cable is pulled: nobody is told anything.
    pub fn is_pulled(&self) {
        self.does("ip link set nfs0 down");
    }

    pub fn is_plugged(&self) {
        self.does("ip link set nfs0 up");
    }

    /// The machine is dead from one moment to the next, and stays so.
    pub fn dies(&self) {
        let mut console = TcpStream::connect(SocketAddr::from(AT)).unwrap();
        console.write_all(b"exec busybox halt -f\n").unwrap();
        let answers = || TcpStream::connect_timeout(&AT.into(), Duration::from_secs(1)).is_ok();
        until("the server is dead", || !answers());
    }
}
