//! Taking addresses, so that nobody else can ask unless that was wanted.

use std::io;
use std::path::{Path, PathBuf};

use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;

use crate::listen::Listener;
use crate::options::{Address, Options};

/// Why an address is not taken.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum BindError {
    /// Others could ask.
    #[error("cannot listen on {address}: other computers reach it, and there is no key")]
    NoKey { address: std::net::SocketAddr },
    /// The system does not give it.
    #[error("cannot listen on {address}")]
    Taken { address: String, source: io::Error },
    /// Somebody listens there already.
    #[error("cannot listen on {}: a daemon answers there", path.display())]
    Answered { path: PathBuf },
    /// It was made by somebody else, and others may use it.
    #[error("cannot listen on {}: it is not for this user alone", path.display())]
    Shared { path: PathBuf },
    /// Something else lies there.
    #[error("cannot listen on {}: expected no file or a socket there", path.display())]
    NoSocket { path: PathBuf },
    /// The folder of the socket is everybody's.
    #[error("cannot make the folder {} for this user alone", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
}

/// Take every address of the options.
///
/// # Errors
///
/// When one cannot be had, or would let other computers ask without a key.
pub async fn bind(options: &Options) -> Result<Vec<Listener>, BindError> {
    check(options)?;
    let mut listeners = Vec::new();
    for address in &options.addresses {
        listeners.push(match address {
            Address::Tcp(address) => {
                let taken = |source| BindError::Taken { address: address.to_string(), source };
                Listener::Tcp(TcpListener::bind(address).await.map_err(taken)?)
            }
            Address::Unix(path) => bind_socket(path).await?,
        });
    }
    Ok(listeners)
}

/// A socket that whoever started this process has made.
#[derive(Debug)]
pub enum Given {
    /// A port.
    Tcp(std::net::TcpListener),
    /// A socket in the file system.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

impl Given {
    /// Where it listens.
    ///
    /// # Errors
    ///
    /// When the system does not tell, or it has no path.
    pub fn address(&self) -> Result<Address, BindError> {
        let unknown =
            |source| BindError::Taken { address: "a socket that was given".into(), source };
        match self {
            Given::Tcp(listener) => listener.local_addr().map(Address::Tcp).map_err(unknown),
            #[cfg(unix)]
            Given::Unix(listener) => {
                let address = listener.local_addr().map_err(unknown)?;
                let no_path = || unknown(io::Error::other("it has no path"));
                let path = address.as_pathname().ok_or_else(no_path)?;
                Ok(Address::Unix(path.to_owned()))
            }
        }
    }
}

/// Take sockets that were made already, by the rules of [`bind`]. The addresses of `options` become
/// theirs.
///
/// # Errors
///
/// When one would let other computers ask without a key, or other users.
pub fn adopt(given: Vec<Given>, options: &mut Options) -> Result<Vec<Listener>, BindError> {
    options.addresses = given.iter().map(Given::address).collect::<Result<_, _>>()?;
    check(options)?;
    let mut listeners = Vec::new();
    for (given, address) in given.into_iter().zip(&options.addresses) {
        let shown = match address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => path.display().to_string(),
        };
        let taken = |source| BindError::Taken { address: shown.clone(), source };
        listeners.push(match given {
            Given::Tcp(listener) => {
                listener.set_nonblocking(true).map_err(taken)?;
                Listener::Tcp(TcpListener::from_std(listener).map_err(taken)?)
            }
            #[cfg(unix)]
            Given::Unix(listener) => {
                if let Address::Unix(path) = address
                    && !is_for_this_user(path).map_err(taken)?
                {
                    return Err(BindError::Shared { path: path.clone() });
                }
                listener.set_nonblocking(true).map_err(taken)?;
                let listener = UnixListener::from_std(listener).map_err(taken)?;
                Listener::Unix { listener, is_ours: false }
            }
        });
    }
    Ok(listeners)
}

/// Whether a socket is this user's, and nobody else may connect to it or enter its folder.
#[cfg(unix)]
fn is_for_this_user(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let socket = std::fs::symlink_metadata(path)?;
    let folder = path.parent().map(std::fs::metadata).transpose()?;
    let is_closed = |metadata: &std::fs::Metadata| metadata.mode() & 0o077 == 0;
    let is_own = socket.uid() == crate::listen::own_user()?;
    Ok(is_own && (is_closed(&socket) || folder.as_ref().is_some_and(is_closed)))
}

/// Demand a key where other computers reach an address.
pub(crate) fn check(options: &Options) -> Result<(), BindError> {
    for address in &options.addresses {
        if let Address::Tcp(address) = *address
            && !address.ip().is_loopback()
            && options.key.is_none()
        {
            return Err(BindError::NoKey { address });
        }
    }
    Ok(())
}

/// A socket for this user alone: in a folder that nobody else may enter, so that its own rights never
/// matter. One that a dead daemon left is taken away.
///
/// # Errors
///
/// When another daemon answers there, or it cannot be made so.
#[cfg(unix)]
pub async fn bind_socket(path: &Path) -> Result<Listener, BindError> {
    use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
    let taken = |source| BindError::Taken { address: path.display().to_string(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let failed = |source| BindError::Folder { folder: folder.to_owned(), source };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let mode = std::fs::metadata(folder).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            let message = format!("others may use it (mode {:o})", mode & 0o777);
            return Err(failed(io::Error::other(message)));
        }
    }
    if let Ok(there) = std::fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(BindError::NoSocket { path: path.to_owned() });
        }
        match tokio::net::UnixStream::connect(path).await {
            Ok(_) => return Err(BindError::Answered { path: path.to_owned() }),
            // Nobody listens, which nothing else means: many may wait at a daemon that is busy.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(taken)?;
            }
            Err(error) => return Err(taken(error)),
        }
    }
    let listener = UnixListener::bind(path).map_err(taken)?;
    Ok(Listener::Unix { listener, is_ours: true })
}

/// There are none here.
///
/// # Errors
///
/// Always.
#[cfg(not(unix))]
#[expect(clippy::unused_async, reason = "elsewhere it waits")]
pub async fn bind_socket(path: &Path) -> Result<Listener, BindError> {
    let source = io::ErrorKind::Unsupported.into();
    Err(BindError::Taken { address: path.display().to_string(), source })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_at_which_many_wait_is_not_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/socket");
        drop(bind_socket(&path).await.unwrap());
        // One that nobody listens at is.
        drop(bind_socket(&path).await.unwrap());
        std::fs::remove_file(&path).unwrap();
        let busy = tokio::net::UnixSocket::new_stream().unwrap();
        busy.bind(&path).unwrap();
        let busy = busy.listen(0).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = tokio::net::UnixStream::connect(&path).await {
            waiting.push(stream);
        }
        let error = bind_socket(&path).await.unwrap_err();
        assert!(matches!(error, BindError::Taken { .. }), "{error}");
        assert!(path.exists());
        drop((busy, waiting));
    }
}
