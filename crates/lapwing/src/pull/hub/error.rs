//! What can go wrong with the hub, in words for users.

use std::error::Error;
use std::io;
use std::path::Path;

use hf_hub::HFError;
use lapwing_files::FileError;
use lapwing_files::checksum::HashError;
use lapwing_files::disk::NoRoomError;

use crate::pull::selection::SelectError;

/// Why a repository was not pulled.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The server wants a token, or another one.
    #[error("{endpoint} wants a token for {repo}, or refuses the one it got")]
    Token {
        /// The repository.
        repo: String,
        /// The hub.
        endpoint: String,
    },
    /// The owner lets only those in who agreed to something.
    #[error("{repo} is gated: access must be granted on {endpoint}/{repo}")]
    Gated {
        /// The repository.
        repo: String,
        /// The hub.
        endpoint: String,
    },
    /// The token does not reach this far.
    #[error("{endpoint} forbids access to {repo}: {reason}")]
    Forbidden {
        /// The repository.
        repo: String,
        /// The hub.
        endpoint: String,
        /// What the server said.
        reason: String,
    },
    /// No such repository, or one that is hidden from us.
    #[error("no repository {repo} on {endpoint}, or it is private")]
    NoRepository {
        /// The repository.
        repo: String,
        /// The hub.
        endpoint: String,
    },
    /// No such branch, tag or commit.
    #[error("no revision \"{revision}\" of {repo} on {endpoint}")]
    NoRevision {
        /// The repository.
        repo: String,
        /// The hub.
        endpoint: String,
        /// What was asked for.
        revision: String,
    },
    /// The repository lists a file that cannot be had.
    #[error("no file {path} in {repo} on {endpoint}")]
    NoFile {
        /// The repository.
        repo: String,
        /// The hub.
        endpoint: String,
        /// The file.
        path: String,
    },
    /// Too many requests.
    #[error("{endpoint} asks to slow down")]
    RateLimited {
        /// The hub.
        endpoint: String,
    },
    /// No connection, or it broke.
    #[error("cannot reach {endpoint}: {reason}")]
    Unreachable {
        /// The hub.
        endpoint: String,
        /// The innermost cause.
        reason: String,
    },
    /// The connection broke too often during one file.
    #[error("the download of {path} broke off after {n_done} of {n_bytes} bytes: {reason}")]
    BrokenOff {
        /// The file in the repository.
        path: String,
        /// What is kept.
        n_done: u64,
        /// The whole size.
        n_bytes: u64,
        /// The innermost cause.
        reason: String,
    },
    /// The server says which commit this is in no understandable way.
    #[error("{endpoint} gives no commit for {repo}")]
    NoCommit {
        /// The repository.
        repo: String,
        /// The hub.
        endpoint: String,
    },
    /// The server sent another number of bytes than asked for.
    #[error("{endpoint} sent {found} bytes of {path} where {expected} were asked for")]
    WrongLength {
        /// The file in the repository.
        path: String,
        /// The hub.
        endpoint: String,
        /// Bytes asked for.
        expected: u64,
        /// Bytes sent.
        found: u64,
    },
    /// The file is not what the hub says it is.
    #[error("{path} is damaged: expected {hash} {expected}, found {found}")]
    Checksum {
        /// The file in the repository.
        path: String,
        /// Which hash.
        hash: &'static str,
        /// The hub's hash.
        expected: String,
        /// The file's hash.
        found: String,
    },
    /// No model among the files.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The files do not fit on the disk.
    #[error(transparent)]
    NoRoom(#[from] NoRoomError),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] FileError),
    /// Anything else that the hub or its protocol said.
    #[error("cannot use {repo} on {endpoint}")]
    Other {
        /// The repository.
        repo: String,
        /// The hub.
        endpoint: String,
        /// What was said.
        source: Box<HFError>,
    },
    /// The caller stopped it.
    #[error("interrupted")]
    Interrupted,
}

impl From<HashError> for HubError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Io(error) => Self::Io(error),
            HashError::Interrupted => Self::Interrupted,
        }
    }
}

impl HubError {
    /// An error of reading or writing `path`.
    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| FileError::cannot("write", path)(source).into()
    }

    /// What `error` means for the user who wants `repo`.
    pub(super) fn from_hub(repo: &str, endpoint: &str, error: HFError) -> Self {
        let repo = repo.to_owned();
        let endpoint = endpoint.to_owned();
        let code = error_code(&error).map(str::to_owned);
        match (error, code.as_deref()) {
            (_, Some("GatedRepo")) => Self::Gated { repo, endpoint },
            (_, Some("RepoNotFound")) | (HFError::RepoNotFound { .. }, _) => {
                Self::NoRepository { repo, endpoint }
            }
            (HFError::AuthRequired { .. }, _) => Self::Token { repo, endpoint },
            (HFError::Forbidden { context }, _) => {
                let reason = context.server_message.unwrap_or_else(|| context.status.to_string());
                Self::Forbidden { repo, endpoint, reason }
            }
            (HFError::RevisionNotFound { revision, .. }, _) => {
                Self::NoRevision { repo, endpoint, revision }
            }
            (HFError::EntryNotFound { path, .. }, _) => Self::NoFile { repo, endpoint, path },
            (HFError::RateLimited { .. }, _) => Self::RateLimited { endpoint },
            (error @ HFError::Request { .. }, _) => {
                Self::Unreachable { endpoint, reason: innermost(&error) }
            }
            (HFError::Io(source), _) if source.kind() == io::ErrorKind::StorageFull => {
                Self::at(Path::new(&repo))(source)
            }
            (error, _) => Self::Other { repo, endpoint, source: Box::new(error) },
        }
    }
}

/// The hub's own word for what is wrong, which tells more than the status.
fn error_code(error: &HFError) -> Option<&str> {
    let context = match error {
        HFError::Http { context }
        | HFError::AuthRequired { context }
        | HFError::Forbidden { context } => context,
        HFError::RepoNotFound { context, .. }
        | HFError::RevisionNotFound { context, .. }
        | HFError::EntryNotFound { context, .. } => context.as_ref()?,
        _ => return None,
    };
    context.error_code.as_deref()
}

/// The first cause: what says "connection refused" below all wrappings.
pub(super) fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
