//! The tmpfs driver, scratch space in memory for one pod; also the sample of how short a driver can be.

use std::process::ExitCode;

use flexvolume::{Capabilities, Code, Driver, Failure, Mount, OptionsExt, Result, Size, Unmount, World};
use flexvolume_linux::mount::{self, Flags, FsMount, table};

/// What our mounts are called in the mount table, and how we know them again.
const SOURCE: &str = "flexvol-tmpfs";

struct Tmpfs;

fn main() -> ExitCode {
    flexvolume::run(Tmpfs)
}

impl Driver for Tmpfs {
    fn capabilities(&self) -> Capabilities {
        // Nothing to attach, so hosts call only `mount` and `unmount`; nothing beneath the file system to grow with.
        Capabilities { attach: false, requires_fs_resize: false, supports_metrics: true, ..Capabilities::default() }
    }

    fn mount(&self, call: &Mount, _: &World) -> Result<()> {
        // A host may ask twice: for what it has, or where another has put something.
        match table::at(call.dir.as_path())? {
            Some(there) if there.source == SOURCE => return Ok(()),
            Some(there) => {
                let what = format!("{} from {:?} is mounted at {} already", there.fs_type, there.source, call.dir);
                return Err(Failure::new(Code::Conflict, format!("{what}; unmount it first")));
            }
            None => {}
        }
        let size = call.options.optional::<Size>("size")?.map(|size| size.bytes().to_string());
        let mode = call.options.optional::<String>("mode")?;
        let given = [("size", size), ("mode", mode)].into_iter().filter(|(_, value)| value.is_some());
        let options: Vec<_> = given.map(|(key, value)| (key.to_owned(), value)).collect();
        let flags = Flags { read_only: call.options.read_only(), ..Flags::default() };
        // The mount is built out of sight and put in place as a whole, or there is none.
        Ok(mount::mount(
            &FsMount { fs_type: "tmpfs", source: Some(SOURCE), options: &options, flags },
            call.dir.as_path(),
        )?)
    }

    fn unmount(&self, call: &Unmount, _: &World) -> Result<()> {
        while table::at(call.dir.as_path())?.is_some() {
            mount::unmount(call.dir.as_path(), mount::Unmount::Plain)?;
        }
        Ok(())
    }
}
