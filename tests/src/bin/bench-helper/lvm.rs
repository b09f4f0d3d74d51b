//! Two drivers of LVM side by side, in a guest: the same calls by the same caller, in turn.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use flexvolume_protocol::{Device, VerbName};

use super::call::{Done, call};

/// Of either side; a round more at the beginning is thrown away.
const ROUNDS: usize = 20;

/// How many volumes are worked on at a time where there are many, as our host does.
const AT_ONCE: usize = 8;

/// A volume, and where it is mounted.
struct Volume {
    name: String,
    options: String,
    dir: PathBuf,
    /// Its device's name in device-mapper.
    mapped: String,
}

impl Volume {
    fn new(group: &str, name: &str) -> Done<Volume> {
        let options = format!(
            r#"{{"kubernetes.io/fsType":"ext4","kubernetes.io/pvOrVolumeName":"{name}","kubernetes.io/readwrite":"rw","volumeID":"{name}","volumegroup":"{group}"}}"#
        );
        let dir = Path::new("/run/bench").join(name);
        fs::create_dir_all(&dir)?;
        let mapped = format!("{}-{}", group.replace('-', "--"), name.replace('-', "--"));
        Ok(Volume { name: name.to_owned(), options, dir, mapped })
    }

    fn dir(&self) -> &str {
        self.dir.to_str().unwrap_or_default()
    }

    /// From nothing to mounted, as a host calls.
    fn up(&self, driver: &Path) -> Done {
        let device = call::<Device>(driver, VerbName::Attach, &[&self.options, "node"])?.0;
        let device = call::<Device>(driver, VerbName::WaitForAttach, &[&device, &self.options])?.0;
        call::<()>(driver, VerbName::MountDevice, &[self.dir(), &device, &self.options])?;
        Ok(())
    }

    /// And back.
    fn down(&self, driver: &Path) -> Done {
        call::<()>(driver, VerbName::UnmountDevice, &[self.dir()])?;
        call::<()>(driver, VerbName::Detach, &[&self.name, "node"])?;
        Ok(())
    }

    /// The number of the device that is mounted there.
    fn mounted(&self) -> Option<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mount = mounts.lines().find(|line| line.split(' ').nth(4) == Some(self.dir()));
        mount?.split(' ').nth(2).map(str::to_owned)
    }

    /// The number of the volume's own device.
    fn device(&self) -> Option<String> {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten().map(|entry| entry.path());
        let mut its = disks.filter(|disk| read(disk.join("dm/name")) == self.mapped);
        its.next().map(|disk| read(disk.join("dev")))
    }

    /// It is mounted, and no other in its place.
    fn is_up(&self) -> bool {
        self.mounted().is_some() && self.mounted() == self.device()
    }

    /// Whoever called let go of mount and device.
    fn is_down(&self) -> bool {
        self.mounted().is_none() && self.device().is_none()
    }
}

/// One volume comes and goes, by our driver and by the other in turn.
pub(crate) fn one(ours: &Path, other: &Path, group: &str, name: &str) -> Done {
    let volume = Volume::new(group, name)?;
    let sides = [("ours", ours), ("other", other)];
    for round in 0..=ROUNDS {
        for turn in 0..2 {
            let (side, driver) = sides[(round + turn) % 2];
            let start = Instant::now();
            volume.up(driver)?;
            let up = start.elapsed();
            let is_up = volume.is_up();
            let start = Instant::now();
            volume.down(driver)?;
            let down = start.elapsed();
            if !is_up || !volume.is_down() {
                return Err(
                    format!("{side}: up after mountdevice: {is_up}, down after detach: {}", volume.is_down()).into()
                );
            }
            if round > 0 {
                println!("an LVM volume comes and goes\t{side}\t{:.9}", (up + down).as_secs_f64());
                println!("an LVM volume comes\t{side}\t{:.9}", up.as_secs_f64());
                println!("an LVM volume goes\t{side}\t{:.9}", down.as_secs_f64());
            }
        }
    }
    Ok(())
}

/// Many volumes come, several at a time: `volume-0`, `volume-1` ….
pub(crate) fn many(side: &str, driver: &Path, group: &str, count: usize) -> Done {
    let volumes: Vec<Volume> =
        (0..count).map(|n| Volume::new(group, &format!("volume-{n}"))).collect::<Result<_, _>>()?;
    let next = AtomicUsize::new(0);
    let work = || -> Done {
        while let Some(volume) = volumes.get(next.fetch_add(1, Ordering::Relaxed)) {
            volume.up(driver)?;
        }
        Ok(())
    };
    let start = Instant::now();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| Err("a worker died".into())))
    })?;
    let took = start.elapsed();
    let missing = volumes.iter().filter(|volume| !volume.is_up()).count();
    if missing > 0 {
        return Err(format!("{missing} of {count} volumes are not mounted").into());
    }
    println!("{count} LVM volumes after a reboot\t{side}\t{:.9}", took.as_secs_f64());
    Ok(())
}
