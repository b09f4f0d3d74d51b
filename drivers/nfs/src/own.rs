//! Our own mount of each share: made for the first volume, taken away after the last. Volumes are views of it.
//!
//! It lies in the driver's run folder, which nobody else may enter, under a name made of all that tells shares apart. What is mounted
//! the mount table alone says; a note beside it only keeps two shares apart whose short names should ever meet.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use flexvolume::{Code, Failure, Lock, Result, World};
use flexvolume_linux::{
    Error,
    mount::{Flags, Mounted, set_flags, table},
    net,
};

use crate::{
    child::{Came, Clock, ask},
    letgo::{Health, health, take_away, take_own, tell},
    share::{Mounter, Share},
    shares::{Shares, is_nfs, note_of},
    touch::Touch,
};

/// How much longer than its helper a child may take that mounts: it must see the helper end.
const PARTING: Duration = Duration::from_secs(5);

/// So often a share may be taken away beneath us, or be stale, before we give up.
pub(crate) const TRIES: u32 = 5;

/// The place of a share's mount.
pub(crate) struct Own<'a> {
    pub(crate) share: &'a Share,
    point: PathBuf,
    world: &'a World,
    pub(crate) clock: Clock,
}

impl<'a> Own<'a> {
    pub(crate) fn new(share: &'a Share, world: &'a World, clock: Clock) -> Self {
        // Its real path is known once it is there.
        let _ = make_dir(world.run_dir());
        Self { share, point: Shares::of(world).point(&share.to_string()), world, clock }
    }

    /// Where it is mounted.
    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    /// The mount, if there is one.
    ///
    /// # Errors
    /// `conflict`: another share's. What the kernel says.
    pub(crate) fn find(&self) -> Result<Option<Mounted>> {
        let Some(mounted) = table::at(&self.point)? else { return Ok(None) };
        let note = fs::read_to_string(self.note()).unwrap_or_default();
        // Without one it is being taken away just now.
        if !note.is_empty() && note != self.share.to_string() || !is_nfs(&mounted) {
            let message = format!(
                "{} is mounted at {}, which is another share; unmount it by hand",
                mounted.source,
                self.point.display()
            );
            return Err(Failure::new(Code::Conflict, message));
        }
        Ok(Some(mounted))
    }

    /// Whether a view is of this share, and not of one with other options, as far as mounts of ours tell. Each share has a superblock of
    /// its own.
    ///
    /// # Errors
    /// As [`Own::find`].
    pub(crate) fn has(&self, view: &Mounted) -> Result<bool> {
        let is_ours = self.find()?.is_none_or(|own| own.dev == view.dev);
        let shares = Shares::of(self.world);
        let others = table::of_device(view.dev)?;
        Ok(is_ours && others.iter().all(|one| !shares.holds(&one.point) || one.point == self.point))
    }

    /// The mount, made if there is none.
    ///
    /// # Errors
    /// What keeps the share from being mounted.
    pub(crate) fn ensure(&self) -> Result<Mounted> {
        if let Some(mounted) = self.find()? {
            return Ok(mounted);
        }
        let _lock = self.lock()?;
        if let Some(mounted) = self.find()? {
            return Ok(mounted);
        }
        make_dir(&self.point)?;
        write(&self.point, &self.share.to_string())?;
        let mounted = self.mount();
        if mounted.is_err() {
            self.clear();
        }
        mounted
    }

    fn mount(&self) -> Result<Mounted> {
        let addresses = match self.share.mounter() {
            Mounter::Kernel => net::addresses(self.share.server.name(), self.clock.step())?,
            Mounter::Program => Vec::new(),
        };
        let (at, limit) = (self.point.clone(), self.clock.step());
        let parting = match self.share.mounter() {
            Mounter::Kernel => Duration::ZERO,
            Mounter::Program => PARTING,
        };
        let said = ask(&Touch::Mount { share: self.share.clone(), addresses, at, limit }, limit + parting);
        if let Some(mounted) = self.find()? {
            // Also one that came at the last moment: it is there whole or not at all.
            if !(mounted.nosuid && mounted.nodev) {
                set_flags(&self.point, Flags::default())?;
            }
            return Ok(mounted);
        }
        match said {
            Came::Answer(Ok(_)) => Err(Failure::internal(format!("{} was mounted and is gone", self.share.source()))),
            Came::Answer(Err(error)) | Came::Lost(error) => Err(error.into()),
            Came::Silent => Err(self.silent()),
        }
    }

    /// Takes a mount away whose server says that it is stale, to be made anew.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn replace(&self) -> Result<()> {
        let _lock = self.lock()?;
        let Some(mounted) = self.find()? else { return Ok(()) };
        match health(&self.point, self.share.is_soft(), &self.clock)? {
            // Somebody else has replaced it.
            Health::Alive => return Ok(()),
            Health::Silent => return Err(self.silent()),
            Health::Stale => {}
        }
        self.world.log(format_args!("{} is stale and is mounted anew", self.share.source()));
        let way = take_away(&self.point, &mounted, &Shares::of(self.world), &self.clock)?;
        tell(&self.point, way, self.world);
        Ok(())
    }

    /// Takes the mount away if nobody has a view of it.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn let_go(&self) -> Result<()> {
        match self.find()? {
            Some(mounted) => release(mounted.dev, self.world, &self.clock),
            None => Ok(()),
        }
    }

    /// What is told of a server that does not answer.
    pub(crate) fn silent(&self) -> Failure {
        silent(&self.share.source(), &self.clock)
    }

    /// Who has it mounts the share, or takes it away. If that takes longer than a server may, the server is why.
    fn lock(&self) -> Result<Lock> {
        lock(&self.point, self.world, &self.clock)?.ok_or_else(|| self.silent())
    }

    fn note(&self) -> PathBuf {
        note_of(&self.point)
    }

    /// Nothing is mounted: what was made for it goes.
    fn clear(&self) {
        clear(&self.point);
    }
}

/// What is told of a server that does not answer.
pub(crate) fn silent(source: &str, clock: &Clock) -> Failure {
    let patience = clock.patience();
    let message =
        format!("the server of {source} has not answered within {patience:?}; bring it back, or look at the network");
    Failure::internal(message)
}

/// Takes our own mount of this superblock away, if nobody has a view of it, and what lies on it or beneath it likewise: a `mount.nfs` of
/// a dead call may have mounted the share once more. One that somebody is just about to use stays.
///
/// # Errors
/// What the kernel says.
pub(crate) fn release(dev: (u32, u32), world: &World, clock: &Clock) -> Result<()> {
    let shares = Shares::of(world);
    let all = table::of_device(dev)?;
    // Nearly always: others stay, and need not wait for one another.
    if has_views(&all, &shares) {
        return Ok(());
    }
    let Some(Mounted { point, source, .. }) = all.into_iter().next() else { return Ok(()) };
    // Whoever has it for so long is about to use the mount, or waits for a server that keeps everybody waiting.
    let Some(_lock) = lock(&point, world, clock)? else { return Err(silent(&source, clock)) };
    for layer in table::stacked(&point)?.into_iter().rev() {
        if has_views(&table::of_device(layer.dev)?, &shares) {
            return Ok(());
        }
        match take_own(&point, &layer, &shares, clock) {
            Ok(way) => tell(&point, way, world),
            Err(failure) if failure.code() == Some(Code::Busy) => {
                world.log(format_args!("{} stays mounted: {failure}", point.display()));
                return Ok(());
            }
            Err(failure) => return Err(failure),
        }
    }
    clear(&point);
    Ok(())
}

fn has_views(mounts: &[Mounted], shares: &Shares) -> bool {
    mounts.iter().any(|mounted| !shares.holds(&mounted.point))
}

/// Removes what a call has left that was cut off before it had mounted the share.
///
/// # Errors
/// What the kernel says.
pub(crate) fn forget(point: &Path, world: &World, clock: &Clock) -> Result<()> {
    // Who has it is about to mount the share, and sees to that himself.
    if let Some(_lock) = lock(point, world, clock)? {
        clear(point);
    }
    Ok(())
}

/// The lock of the share that is mounted there; `None` if another call keeps it for longer than a server may take.
fn lock(point: &Path, world: &World, clock: &Clock) -> Result<Option<Lock>> {
    let short = point.file_name().unwrap_or_default().to_string_lossy();
    match world.lock_within(&format!("share {short}"), clock.step()) {
        Ok(lock) => Ok(Some(lock)),
        Err(failure) if failure.code() == Some(Code::Busy) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn clear(point: &Path) {
    // What is mounted there keeps the directory.
    match fs::remove_dir(point) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {}
        Ok(()) | Err(_) => {
            let _ = fs::remove_file(note_of(point));
            let _ = fs::remove_file(unfinished(point));
        }
    }
}

fn unfinished(point: &Path) -> PathBuf {
    point.with_extension("new")
}

/// Makes a folder for our own eyes, and those above it.
fn make_dir(dir: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| Error::io("make the folder", dir, error).into())
}

/// Void after a reboot, as the mount is. Under the share's lock, so of a call that was cut off only one file is left.
fn write(point: &Path, text: &str) -> Result<()> {
    let (file, fresh) = (note_of(point), unfinished(point));
    let written = || -> io::Result<()> {
        fs::write(&fresh, text)?;
        fs::rename(&fresh, &file)
    };
    written().map_err(|error| Error::io("write", &file, error).into())
}

#[cfg(test)]
mod tests {
    use flexvolume::DriverName;

    use super::*;
    use crate::share::Protocol;

    #[test]
    fn a_share_that_another_call_has_for_too_long_is_told_as_its_server_is() {
        let tmp = tempfile::tempdir().unwrap();
        let world = World::below(DriverName::parse("v/nfs").unwrap(), tmp.path());
        let (server, export) = ("nas".parse().unwrap(), "/srv".parse().unwrap());
        let share = Share::of(server, export, Protocol::V4_2, "soft", None, None).unwrap().0;
        let own = Own::new(&share, &world, Clock::new(Duration::from_millis(50)));
        let _other = lock(own.point(), &world, &own.clock).unwrap();
        let failure = own.ensure().unwrap_err();
        assert!(failure.to_string().contains("nas:/srv has not answered within 50ms"), "{failure}");
    }
}
