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
        if tokio::net::UnixStream::connect(path).await.is_ok() {
            return Err(BindError::Answered { path: path.to_owned() });
        }
        std::fs::remove_file(path).map_err(taken)?;
    }
    UnixListener::bind(path).map(Listener::Unix).map_err(taken)
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
