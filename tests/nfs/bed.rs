//! The bed every case lies in: a node with the driver, and mostly a server with one exported directory on the same machine.

use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use flexvolume_linux::mount::{Mounted, table};
use flexvolume_testkit::{
    binary,
    driver::{Driver, J, Said},
};

pub use crate::command::Bed;
use crate::{
    command,
    server::{self, Exported},
    tools::{text, until},
};

/// A machine with the NFS driver.
pub struct Client {
    pub driver: Driver,
    pub bed: Arc<command::Bed>,
}

/// The same with a share for it.
pub struct Node {
    pub share: Exported,
    // Last: it takes away what the share stands on.
    pub client: Client,
}

impl Node {
    /// A node, or `None` with the reason printed where there can be none.
    pub fn new() -> Option<Node> {
        server::server()?;
        let client = Client::new()?;
        let share = Exported::new(&client.bed.sandbox.dir("share").unwrap());
        let node = Node { share, client };
        node.set("{\"patience\":20}");
        Some(node)
    }

    /// The same with a pool called `p` in the directory `base` of the share.
    pub fn with_pool(more: &str) -> Option<Node> {
        let node = Node::new()?;
        fs::create_dir(node.on_server("base")).unwrap();
        let share = text(&node.share.path);
        node.set(&format!(
            r#"{{"patience":30,"pools":{{"p":{{"server":"127.0.0.1","share":"{share}","base":"base"}}}}{more}}}"#
        ));
        Some(node)
    }

    /// A path of the share, as its server has it.
    pub fn on_server(&self, path: &str) -> PathBuf {
        self.share.path.join(path)
    }

    /// The options of a volume: the whole share.
    pub fn j(&self, volume: &str) -> J {
        J::default()
            .with("server", "127.0.0.1")
            .with("share", text(&self.share.path))
            .with("kubernetes.io/readwrite", "rw")
            .with("kubernetes.io/pvOrVolumeName", volume)
    }
}

impl Client {
    /// A node, or `None` with the reason printed where there can be none.
    pub fn new() -> Option<Client> {
        let bed = Arc::new(command::Bed::new()?);
        let driver = Driver::new(&binary("nfs").unwrap(), bed.sandbox.path());
        Some(Client { driver, bed })
    }

    /// Writes the driver's settings.
    pub fn set(&self, json: &str) {
        fs::write(self.bed.sandbox.path().join("settings.json"), json).unwrap();
    }

    /// A place for a volume, made as a host makes it.
    pub fn place(&self, pod: &str) -> PathBuf {
        self.bed.sandbox.dir(&format!("pods/{pod}/volumes/flexvol.io~nfs/data")).unwrap()
    }

    /// Attaches and mounts at the place, as a host does.
    #[track_caller]
    pub fn up(&self, j: &J, place: &Path) {
        let device = self.call(&["attach", &j.text(), "node"]).ok().word("device");
        self.mount(j, place, &device).ok();
    }

    #[track_caller]
    pub fn mount(&self, j: &J, place: &Path, device: &str) -> Said {
        self.call(&["mountdevice", text(place), device, &j.text()])
    }

    /// Unmounts and detaches.
    #[track_caller]
    pub fn down(&self, j: &J, place: &Path) {
        self.call(&["unmountdevice", text(place)]).ok();
        self.call(&["detach", j.name(), "node"]).ok();
    }

    /// Every mount of NFS on this machine.
    pub fn mounts(&self) -> Vec<Mounted> {
        table::all().unwrap().into_iter().filter(|it| matches!(it.fs_type.as_str(), "nfs" | "nfs4")).collect()
    }

    /// The options that the kernel shows of the mount at that place.
    #[track_caller]
    pub fn options_at(&self, place: &Path) -> String {
        let table = fs::read_to_string("/proc/self/mounts").unwrap();
        let line = table.lines().find(|line| line.split(' ').nth(1) == Some(text(place)));
        format!(",{},", line.unwrap().split(' ').nth(3).unwrap())
    }

    /// Those that are the driver's own.
    pub fn own(&self) -> Vec<Mounted> {
        let home = self.bed.sandbox.path().join("run/nfs/shares");
        self.mounts().into_iter().filter(|it| it.point.parent() == Some(&home)).collect()
    }

    /// Somebody who works on a volume: he writes, and waits until the server has it.
    pub fn writer(&self, place: &Path, file: &str) -> Child {
        let mut writer = Command::new("dd");
        writer.arg("if=/dev/zero").arg(format!("of={}", text(&place.join(file)))).args([
            "bs=4k",
            "count=1",
            "oflag=sync",
        ]);
        writer.stderr(Stdio::null()).spawn().unwrap()
    }

    /// Waits until he is stuck in the kernel.
    #[track_caller]
    pub fn waits(&self, writer: &Child) {
        until("he waits for the server", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", writer.id())).unwrap_or_default();
            stat.contains("(dd) D ")
        });
    }

    /// Nothing is mounted, and nothing is left of what was.
    #[track_caller]
    pub fn assert_down(&self) {
        assert_eq!(self.mounts(), []);
        let home = self.bed.sandbox.path().join("run/nfs/shares");
        let left: Vec<_> = fs::read_dir(home).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }

    /// Asks again for as long as it is in progress.
    #[track_caller]
    pub fn through(&self, verb: &str, j: &J) -> Said {
        for _ in 0..1000 {
            let said = self.call(&[verb, &j.text()]);
            if said.get("status") != "In progress" {
                return said;
            }
        }
        panic!("{verb} is in progress for ever");
    }

    /// Makes a volume of the pool and gives its id.
    #[track_caller]
    pub fn make(&self, name: &str, more: &[(&str, &str)]) -> String {
        let j = J::default().with("flexvol/name", name);
        self.through("createvolume", &more.iter().fold(j, |j, (key, value)| j.with(key, value))).ok().word("id")
    }
}

impl Deref for Node {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Deref for Client {
    type Target = Driver;

    fn deref(&self) -> &Driver {
        &self.driver
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A server that a case stopped would keep its mounts.
        if fs::read_to_string("/proc/fs/nfsd/threads").is_ok_and(|threads| threads.trim() == "0") {
            server::start();
        }
        let _ = self.bed.sandbox.unmount_all();
    }
}
