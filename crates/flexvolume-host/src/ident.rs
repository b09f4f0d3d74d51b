//! Which machine, which boot: what tells a living device name or mount from a meaningless one.

use std::{fs, path::Path};

use rustix::{
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};

use crate::error::{Error, Kind, Result};

/// Where and when we run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ident {
    /// The kernel's random id of this boot.
    pub boot: String,
    /// The mount namespace, such as `mnt:[4026531841]`: the mounts of one are not those of another.
    pub namespace: String,
    /// `/etc/machine-id`, where there is one.
    pub machine: Option<String>,
    /// The node's name as drivers are told it.
    pub node: String,
}

impl Ident {
    /// Reads the ids of this machine; `node` overrides the host name.
    pub fn read(node: Option<&str>) -> Result<Self> {
        let boot = read("/proc/sys/kernel/random/boot_id")
            .ok_or_else(|| Error::new(Kind::System, "cannot read the boot id").hint("is /proc mounted?"))?;
        let node = match node {
            Some(node) => node.to_owned(),
            None => read("/proc/sys/kernel/hostname").unwrap_or_else(|| "localhost".into()),
        };
        let namespace = fs::read_link("/proc/self/ns/mnt").map_err(|e| {
            Error::new(Kind::System, "cannot tell the mount namespace").because(e).hint("is /proc mounted?")
        })?;
        let namespace = namespace.to_string_lossy().into_owned();
        Ok(Self { boot, namespace, machine: read("/etc/machine-id"), node })
    }
}

/// A random id for one call: 128 bits in hex, from the kernel.
pub fn fresh_id() -> Result<String> {
    let (mut bytes, mut done) = ([0_u8; 16], 0);
    while done < bytes.len() {
        done += match getrandom(&mut bytes[done..], GetRandomFlags::empty()) {
            Ok(more) => more,
            Err(Errno::INTR) => 0,
            Err(error) => {
                return Err(Error::new(Kind::System, "cannot draw a random id").because(std::io::Error::from(error)));
            }
        };
    }
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Whether any process still lives in that mount namespace.
pub(crate) fn is_inhabited(namespace: &str) -> bool {
    inhabitant(namespace).is_some()
}

/// A process that lives in that mount namespace, if there is one that we may see.
pub fn inhabitant(namespace: &str) -> Option<u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().find_map(|process| {
        let theirs = fs::read_link(process.path().join("ns/mnt")).ok()?;
        if theirs.as_os_str() == namespace { process.file_name().to_str()?.parse().ok() } else { None }
    })
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
