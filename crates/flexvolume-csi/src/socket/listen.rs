//! The socket that one driver is served at: ours alone, and answering nobody but root.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    pin::pin,
    task::{Context, Poll, Waker},
};

use tokio::net::{UnixListener, UnixStream};

/// A socket that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketTrouble {
    /// Somebody serves there.
    #[error("somebody else answers at {}; end that first, or give another --endpoint", .0.display())]
    Taken(PathBuf),
    /// Something else has the name.
    #[error("{} is no socket; move it out of the way", .0.display())]
    InTheWay(PathBuf),
    /// The system says no.
    #[error("cannot listen at {}: {error}; mend that, or give another --endpoint or --kubelet-dir", path.display())]
    System {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The longest path that a socket's address holds.
const LONGEST: usize = 107;

/// A socket's name in the file system, taken away when this is dropped; one that somebody else has put there meanwhile stays.
#[derive(Debug)]
pub(crate) struct Named {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for Named {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| identity(&meta) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Listens at `path`: its directory is made if it is not there, and a socket that nobody answers at is replaced. It can be reached
/// as long as its name is kept.
///
/// # Errors
/// [`SocketTrouble`].
pub(crate) fn listen(path: &Path) -> Result<(UnixListener, Named), SocketTrouble> {
    let system = |error| SocketTrouble::System { path: path.to_owned(), error };
    if path.as_os_str().len() > LONGEST {
        let long = format!("a socket's path has at most {LONGEST} bytes");
        return Err(system(io::Error::new(ErrorKind::InvalidInput, long)));
    }
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(system)?;
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => return Err(SocketTrouble::InTheWay(path.to_owned())),
        Ok(_) if is_answered(path) => return Err(SocketTrouble::Taken(path.to_owned())),
        Ok(_) => fs::remove_file(path).map_err(system)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(system(error)),
    }
    let listener = UnixListener::bind(path).map_err(system)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(system)?;
    let named = Named { path: path.to_owned(), identity: identity(&fs::symlink_metadata(path).map_err(system)?) };
    Ok((listener, named))
}

/// Whether somebody listens there. Who is stopped, with as many waiting as may wait, lets nobody in: he is there all the same.
fn is_answered(path: &Path) -> bool {
    // Asked once and not waited for: to such a socket one is connected at once, or never.
    let mut connecting = pin!(UnixStream::connect(path));
    match connecting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Err(error)) => error.kind() == ErrorKind::WouldBlock,
        Poll::Ready(Ok(_)) | Poll::Pending => true,
    }
}

/// The next client that may call: root, or who runs this process.
///
/// # Errors
/// The socket is lost.
pub(crate) async fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    let own = fs::metadata("/proc/self").map(|meta| meta.uid()).unwrap_or(0);
    loop {
        let (stream, _) = listener.accept().await?;
        let uid = stream.peer_cred().map(|cred| cred.uid());
        match uid {
            Ok(uid) if uid == 0 || uid == own => return Ok(stream),
            Ok(uid) => tracing::warn!(target: "flexvol::csi", uid, "a client that is not root was turned away"),
            Err(error) => tracing::warn!(target: "flexvol::csi", %error, "a client that nobody knows was turned away"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_one_that_answers_is_not() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("plugins/x/csi.sock");
        let first = listen(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert!(matches!(listen(&path), Err(SocketTrouble::Taken(_))));
        // Killed, it could not take its name away.
        std::mem::forget(first.1);
        drop(first.0);
        // A driver that another test starts may hold it open for a moment.
        while is_answered(&path) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let (second, name) = listen(&path).unwrap();
        let client = UnixStream::connect(&path).await.unwrap();
        accept(&second).await.unwrap();
        drop(client);
        drop(name);
        assert!(!path.exists());
    }

    /// Of one that is stopped no client is let in, and nobody waits for that.
    #[tokio::test]
    async fn who_lets_nobody_in_is_there_all_the_same() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("csi.sock");
        let socket = tokio::net::UnixSocket::new_stream().unwrap();
        socket.bind(&path).unwrap();
        let _listener = socket.listen(1).unwrap();
        let mut waiting = Vec::new();
        while let Ok(client) = UnixStream::connect(&path).await {
            waiting.push(client);
        }
        let start = std::time::Instant::now();
        assert!(matches!(listen(&path), Err(SocketTrouble::Taken(_))));
        assert!(start.elapsed() < std::time::Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_name_that_somebody_else_has_taken_meanwhile_stays() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("csi.sock");
        let (_first, name) = listen(&path).unwrap();
        fs::rename(&path, tmp.path().join("aside")).unwrap();
        let (_second, _name) = listen(&path).unwrap();
        drop(name);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("file");
        fs::write(&path, "data").unwrap();
        assert!(matches!(listen(&path), Err(SocketTrouble::InTheWay(_))));
        assert_eq!(fs::read(&path).unwrap(), b"data");
        assert!(matches!(listen(&tmp.path().join("x".repeat(200))), Err(SocketTrouble::System { .. })));
    }
}
