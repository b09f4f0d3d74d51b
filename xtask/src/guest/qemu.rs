//! The command line of a virtual machine: from what it shall be to the words that the emulator understands.

use std::path::{Path, PathBuf};

/// What a machine shall be.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// Its host name; it stands before its lines where several machines speak.
    pub(crate) name: String,
    /// Processors.
    pub(crate) smp: u32,
    /// Memory in MiB.
    pub(crate) memory: u32,
    /// Disks, in order: the first is `/dev/vda`.
    pub(crate) disks: Vec<Disk>,
    /// Whether udev runs. Without it nobody makes links below `/dev`, and LVM must do all by itself.
    pub(crate) udev: bool,
    /// More words for the kernel's command line.
    pub(crate) kernel: Vec<String>,
    /// The folder of the host that is `/vm` in the guest, if not one that ends with the machine. Each side sees what the other changes.
    pub(crate) share: Option<PathBuf>,
    /// The end of a wire to another machine.
    pub(crate) plug: Option<Plug>,
}

/// A raw file of the host as a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) file: PathBuf,
    pub(crate) cache: Cache,
}

/// What a flush of the guest is worth, in the emulator's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    /// Nothing: fast, and right for disks that end with their machine.
    Unsafe,
    /// A completed write may lie in the disk's own cache until it is flushed.
    None,
    /// A completed write is on the host's disk.
    DirectSync,
}

impl Cache {
    pub(crate) fn parse(word: &str) -> Option<Cache> {
        [Cache::Unsafe, Cache::None, Cache::DirectSync].into_iter().find(|cache| cache.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Cache::Unsafe => "unsafe",
            Cache::None => "none",
            Cache::DirectSync => "directsync",
        }
    }
}

/// One of the two ends of a wire between two machines. The wire is a pair of sockets in a folder: no network of the host is touched,
/// and either machine may come first, or come again.
#[derive(Clone, Debug)]
pub(crate) struct Plug {
    pub(crate) wire: PathBuf,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Left,
    Right,
}

impl End {
    fn other(self) -> End {
        match self {
            End::Left => End::Right,
            End::Right => End::Left,
        }
    }

    fn number(self) -> u8 {
        match self {
            End::Left => 1,
            End::Right => 2,
        }
    }

    /// The name by which both machines know this one.
    pub(crate) fn name(self) -> &'static str {
        match self {
            End::Left => "left",
            End::Right => "right",
        }
    }
}

/// The folder of one machine's sockets.
pub(super) struct Sockets<'a>(pub(super) &'a Path);

impl Sockets<'_> {
    pub(super) fn agent(&self) -> PathBuf {
        self.0.join("agent")
    }

    pub(super) fn share(&self) -> PathBuf {
        self.0.join("share")
    }

    pub(super) fn kit(&self) -> PathBuf {
        self.0.join("kit")
    }
}

/// Features that cost an emulated processor much and that no test is about.
const PROCESSOR: &str = "max,la57=off,erms=off,fsrm=off,smap=off,smep=off,umip=off,pku=off,pcid=off";

/// What a machine starts from.
pub(super) struct Files {
    pub(super) kernel: PathBuf,
    pub(super) root: PathBuf,
}

/// The words after the emulator's name.
pub(super) fn args(spec: &Spec, files: &Files, sockets: &Sockets) -> Vec<String> {
    let memory = spec.memory;
    let mut args: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|word| (*word).to_owned()));
    add(&["-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", PROCESSOR]);
    add(&["-smp", &spec.smp.to_string(), "-m", &memory.to_string()]);
    // The daemons of shared folders read and write the guest's memory.
    add(&["-object", &format!("memory-backend-memfd,id=memory,size={memory}M,share=on")]);
    add(&["-numa", "node,memdev=memory", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    add(&["-serial", "stdio", "-kernel", &files.kernel.display().to_string(), "-append", &kernel_line(spec)]);
    // The kernel has no driver for other disks built in, and there is no initial RAM disk to bring one.
    add(&[
        "-drive",
        &drive(&files.root, "root", Cache::Unsafe, ",snapshot=on"),
        "-device",
        "nvme,drive=root,serial=root",
    ]);
    for (id, socket, tag) in [("share", sockets.share(), "vm"), ("kit", sockets.kit(), "kit")] {
        add(&["-chardev", &format!("socket,id={id},path={}", escaped(&socket))]);
        add(&["-device", &format!("vhost-user-fs-pci,chardev={id},tag={tag}")]);
    }
    add(&["-chardev", &format!("socket,id=agent,path={}", escaped(&sockets.agent()))]);
    add(&["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent"]);
    for (number, disk) in spec.disks.iter().enumerate() {
        let id = format!("disk{number}");
        add(&["-drive", &drive(&disk.file, &id, disk.cache, ",discard=unmap")]);
        add(&["-device", &format!("virtio-blk-pci,drive={id},serial={id}")]);
    }
    if let Some(Plug { wire, end }) = &spec.plug {
        let socket = |end: End| escaped(&wire.join(end.name()));
        let (local, remote) = (socket(*end), socket(end.other()));
        let ends = format!("local.type=unix,local.path={local},remote.type=unix,remote.path={remote}");
        add(&["-netdev", &format!("dgram,id=wire,{ends}")]);
        add(&["-device", &format!("virtio-net-pci,netdev=wire,mac=52:54:00:00:00:0{}", end.number())]);
    }
    args
}

fn drive(file: &Path, id: &str, cache: Cache, more: &str) -> String {
    format!("file={},format=raw,if=none,id={id},cache={}{more}", escaped(file), cache.word())
}

/// A comma in a value is written twice.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

fn kernel_line(spec: &Spec) -> String {
    // A fault of the kernel ends the machine: nothing that comes after it is worth a look. Waits for grace periods are short, for mounts
    // and device-mapper do little else here. On a busy host ticks come late, and a kernel that counts them at its start would give up.
    // A page is cleared before it is used: the daemons of shared folders fill pages behind the emulator's back, and what it had
    // translated of a page's former code would be run on.
    let mut words = vec![
        "console=ttyS0 root=/dev/nvme0n1 rw quiet init=/guest-init panic=-1 oops=panic".to_owned(),
        "no_timer_check mitigations=off nokaslr audit=0 rcupdate.rcu_expedited=1".to_owned(),
        "init_on_alloc=1".to_owned(),
        format!("vm.name={}", spec.name),
    ];
    if spec.udev {
        words.push("vm.udev".into());
    }
    if let Some(plug) = &spec.plug {
        let address = |end: End| format!("10.9.0.{}", end.number());
        let host = |end: End| format!("{}={}", address(end), end.name());
        words.push(format!("vm.address={}/24", address(plug.end)));
        words.push(format!("vm.hosts={},{}", host(End::Left), host(End::Right)));
    }
    words.extend(spec.kernel.iter().cloned());
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            name: "x".into(),
            smp: 1,
            memory: 512,
            disks: Vec::new(),
            udev: false,
            kernel: Vec::new(),
            share: None,
            plug: None,
        }
    }

    fn line(spec: &Spec) -> String {
        let files = Files { kernel: "/k/vmlinux".into(), root: "/k/root,1".into() };
        args(spec, &files, &Sockets(Path::new("/s"))).join(" ")
    }

    #[test]
    fn a_plain_machine_has_no_disk_but_its_root_and_no_network() {
        let line = line(&spec());
        assert!(line.contains("-smp 1 -m 512 ") && line.contains("size=512M,share=on"), "{line}");
        assert!(line.contains("file=/k/root,,1,") && line.contains("snapshot=on"), "{line}");
        assert!(line.contains("path=/s/agent") && line.contains("path=/s/share"), "{line}");
        assert!(!line.contains("virtio-blk") && !line.contains("netdev") && !line.contains("vm.udev"), "{line}");
    }

    #[test]
    fn disks_come_in_order_each_cached_as_wished() {
        let disk = |file: &str, cache| Disk { file: file.into(), cache };
        let disks = vec![disk("/a", Cache::Unsafe), disk("/b,c", Cache::DirectSync)];
        let line = line(&Spec { disks, ..spec() });
        let (a, b) = (line.find("file=/a,").unwrap(), line.find("file=/b,,c,").unwrap());
        assert!(a < b && line[a..b].contains("cache=unsafe") && line[b..].contains("cache=directsync"), "{line}");
        assert_eq!([Cache::parse("none"), Cache::parse("None")], [Some(Cache::None), None]);
    }

    #[test]
    fn the_ends_of_a_wire_meet() {
        let at = |end| line(&Spec { plug: Some(Plug { wire: "/w".into(), end }), ..spec() });
        let (left, right) = (at(End::Left), at(End::Right));
        assert!(left.contains("local.path=/w/left,remote.type=unix,remote.path=/w/right"), "{left}");
        assert!(right.contains("local.path=/w/right,remote.type=unix,remote.path=/w/left"), "{right}");
        assert!(left.contains("vm.address=10.9.0.1/24") && right.contains("vm.address=10.9.0.2/24"));
        assert!([&left, &right].iter().all(|line| line.contains("vm.hosts=10.9.0.1=left,10.9.0.2=right")));
    }

    #[test]
    fn what_the_guest_is_told_is_on_its_kernels_line() {
        let line = line(&Spec { udev: true, kernel: vec!["a=b".into(), "c".into()], ..spec() });
        assert!(line.contains(" vm.name=x vm.udev a=b c"), "{line}");
    }
}
