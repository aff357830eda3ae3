//! What can go wrong with the hub, in words for users.

use std::io;
use std::path::{Path, PathBuf};

use lapwing_files::FileError;
use lapwing_files::checksum::HashError;
use lapwing_files::disk::NoRoomError;

use crate::pull::selection::SelectError;

use super::address::{Endpoint, ParseEndpointError};
use super::client::Failure;
use super::proxy::ParseProxyError;

/// Why a repository was not pulled.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum HubError {
    /// The server wants a token, or another one.
    #[error("{endpoint} wants a token for {repo}, or refuses the one it got")]
    Token { repo: String, endpoint: String },
    /// The owner lets only those in who agreed to something.
    #[error("{repo} is gated: access must be granted on {endpoint}/{repo}")]
    Gated { repo: String, endpoint: String },
    /// The token does not reach this far.
    #[error("{endpoint} forbids access to {repo}: {reason}")]
    Forbidden { repo: String, endpoint: String, reason: String },
    /// No such repository, or one that is hidden from us.
    #[error("no repository {repo} on {endpoint}, or it is private")]
    NoRepository { repo: String, endpoint: String },
    /// No such branch, tag or commit.
    #[error("no revision \"{revision}\" of {repo} on {endpoint}")]
    NoRevision { repo: String, endpoint: String, revision: String },
    /// The repository lists a file that cannot be had.
    #[error("no file {path} in {repo} on {endpoint}")]
    NoFile { repo: String, endpoint: String, path: String },
    /// Too many requests.
    #[error("{endpoint} asks to slow down")]
    RateLimited { endpoint: String },
    /// No connection, or it broke.
    #[error("cannot reach {endpoint}: {reason}")]
    Unreachable { endpoint: String, reason: String },
    /// The connection broke too often during one file.
    #[error("the download of {path} broke off after {n_done} of {n_bytes} bytes: {reason}")]
    BrokenOff { path: String, n_done: u64, n_bytes: u64, reason: String },
    /// The server says which commit this is in no understandable way.
    #[error("{endpoint} gives no commit for {repo}")]
    NoCommit { repo: String, endpoint: String },
    /// The file is not what the hub says it is.
    #[error("{path} is damaged: expected {hash} {expected}, found {found}")]
    Checksum { path: String, hash: &'static str, expected: String, found: String },
    /// No model among the files.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The files do not fit on the disk.
    #[error(transparent)]
    NoRoom(#[from] NoRoomError),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The hub or its protocol says something else, or something that makes no sense.
    #[error("cannot use {repo} on {endpoint}: {reason}")]
    Unusable { repo: String, endpoint: String, reason: String },
    /// The address of the hub is none.
    #[error(transparent)]
    Endpoint(#[from] ParseEndpointError),
    /// The address of a proxy is none.
    #[error(transparent)]
    Proxy(#[from] ParseProxyError),
    /// What should be a token is none.
    #[error("{origin} holds no token: expected letters, digits and signs without a space")]
    NoToken { origin: String },
    /// Nothing may be downloaded, and what is there is not enough.
    #[error("nothing is downloaded now, and {} has no whole {repo}: {problem}", cache.display())]
    Offline { repo: String, cache: PathBuf, problem: String },
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
    /// That the folder `cache` lacks something, which may not be downloaded.
    pub(super) fn offline(repo: &str, cache: &Path, problem: impl ToString) -> Self {
        let (repo, cache) = (repo.to_owned(), cache.to_path_buf());
        Self::Offline { repo, cache, problem: problem.to_string() }
    }

    /// An error of reading or writing `path`.
    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| FileError::cannot("write", path)(source).into()
    }

    /// What a failure to get what was asked for means for the user who wants `repo`.
    pub(super) fn from_failure(
        repo: &str,
        endpoint: &Endpoint,
        asked: Asked<'_>,
        failure: Failure,
    ) -> Self {
        let (repo, endpoint) = (repo.to_owned(), endpoint.to_string());
        let refusal = match failure {
            Failure::Stopped => return Self::Interrupted,
            Failure::Broken(reason) => return Self::Unreachable { endpoint, reason },
            Failure::Nonsense(reason) => return Self::Unusable { repo, endpoint, reason },
            Failure::Refused(refusal) => refusal,
        };
        let status = refusal.status;
        match (status.as_u16(), refusal.code.as_deref(), asked) {
            (_, Some("GatedRepo"), _) => Self::Gated { repo, endpoint },
            (_, Some("RepoNotFound"), _) => Self::NoRepository { repo, endpoint },
            (401, ..) => Self::Token { repo, endpoint },
            (403, ..) => {
                let reason = refusal.message.unwrap_or_else(|| status.to_string());
                Self::Forbidden { repo, endpoint, reason }
            }
            (404, _, Asked::Repository { revision: None }) => Self::NoRepository { repo, endpoint },
            (404, _, Asked::Repository { revision: Some(revision) }) => {
                Self::NoRevision { repo, endpoint, revision: revision.to_owned() }
            }
            (404, _, Asked::File(path)) => Self::NoFile { repo, endpoint, path: path.to_owned() },
            (429, ..) => Self::RateLimited { endpoint },
            _ => {
                let words = refusal.message.map(|message| format!(": {message}"));
                let reason = format!("it answers {status}{}", words.unwrap_or_default());
                Self::Unusable { repo, endpoint, reason }
            }
        }
    }
}

/// What the hub was asked for when it said no.
#[derive(Clone, Copy)]
pub(super) enum Asked<'a> {
    Repository { revision: Option<&'a str> },
    File(&'a str),
}
