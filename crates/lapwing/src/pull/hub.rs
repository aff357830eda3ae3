//! A model from a repository on the Hugging Face hub, or a mirror of it.
//!
//! The crate `hf-hub` speaks the protocol and honours tokens. Bytes come in ranges, so that a
//! broken download goes on where it stopped, in this run or the next; every large file is then
//! verified against the SHA-256 that the hub keeps for it, every other against its git blob hash.
//!
//! The staging folder holds one folder per commit: finished files under their names, the file
//! that is being downloaded with `.partial` behind it.

mod error;
mod file;
mod git_blob;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use hf_hub::repository::{BlobLfsInfo, RepoTreeEntry};
use hf_hub::{HFClient, HFRepositorySync, RepoTypeModel};
use lapwing_files::{disk, new_folder};

use crate::notice::{Activity, Caller, Notice, Progress, Work};
use crate::options::StoreOptions;

use super::selection::{Selected, Selection, select};
use super::{Delivery, Wanted};

pub use error::HubError;

/// The hub when neither environment nor settings name another.
const ENDPOINT: &str = "https://huggingface.co";
/// Retries inside `hf-hub`, for connections that are refused and servers that are busy.
const N_RETRIES: usize = 3;
const POLL: Duration = Duration::from_millis(100);

/// One repository at one commit.
struct Hub {
    repo: HFRepositorySync<RepoTypeModel>,
    repo_name: String,
    endpoint: String,
    commit: String,
}

/// What the hub says about a file.
struct Listed {
    size_bytes: u64,
    lfs: Option<BlobLfsInfo>,
    /// The hash of a git blob, for a file that git itself keeps.
    git_sha1: Option<String>,
}

/// Download the files of the model into `staging`, or go on with that.
pub(super) fn fetch(
    repo: &str,
    revision: Option<&str>,
    wanted: &Wanted,
    staging: &Path,
    options: &StoreOptions,
    caller: Caller<'_>,
) -> Result<Delivery, HubError> {
    let hub = connect(repo, revision, staging, options, caller)?;
    let listed = hub.list(caller)?;
    let mut paths: Vec<&str> = listed.keys().map(String::as_str).collect();
    paths.sort_unstable();
    let Selection { files: selected, variant } =
        select(repo, &paths, wanted.kind, wanted.variant.as_ref(), &wanted.files)?;
    let n_bytes = selected.iter().map(|file| listed[file.remote].size_bytes).sum();
    caller.tell(Notice::Repository {
        repo: repo.to_owned(),
        commit: hub.commit.clone(),
        n_files: selected.len(),
        n_bytes,
    });

    let folder = staging.join(&hub.commit);
    forget_other_commits(staging, &hub.commit).map_err(HubError::at(staging))?;
    // Another variant of this commit may have been begun here.
    let whole: HashSet<PathBuf> = selected.iter().map(|file| folder.join(file.local)).collect();
    let partial = whole.iter().map(|path| file::partial(path));
    keep_only(&folder, &whole.iter().cloned().chain(partial).collect())
        .map_err(HubError::at(&folder))?;
    disk::require(staging, n_bytes.saturating_sub(bytes_below(&folder)))?;
    let work = Work::new(Activity::Pulling, &wanted.name);
    let mut progress = Progress::begin(caller, work, Some(n_bytes));
    let mut files = Vec::new();
    for Selected { remote, local } in selected {
        let download = file::Download {
            hub: &hub,
            remote,
            local,
            listed: &listed[remote],
            folder: &folder,
            hub_cache: &staging.join(HUB_CACHE),
        };
        files.push(download.run(&mut progress, caller)?);
    }
    keep_only(&folder, &whole).map_err(HubError::at(&folder))?;
    Ok(Delivery { source: format!("hf:{repo}@{}", hub.commit), folder, variant, files })
}

/// The folder in which `hf-hub` keeps files by their hash; used to verify, empty afterwards.
const HUB_CACHE: &str = ".hub";

fn connect(
    repo: &str,
    revision: Option<&str>,
    staging: &Path,
    options: &StoreOptions,
    caller: Caller<'_>,
) -> Result<Hub, HubError> {
    let endpoint = options.hub_endpoint.clone().unwrap_or_else(|| ENDPOINT.into());
    let fail = |error| HubError::from_hub(repo, &endpoint, error);
    let client = HFClient::builder()
        .endpoint(&endpoint)
        .cache_dir(staging.join(HUB_CACHE))
        .user_agent(concat!("lapwing/", env!("CARGO_PKG_VERSION")))
        .retry_max_attempts(N_RETRIES)
        .build_sync()
        .map_err(fail)?;
    let (owner, name) = hf_hub::split_id(repo);
    let handle = client.model(owner, name);
    let asked = handle.clone();
    let asked_revision = revision.map(str::to_owned);
    let info = interruptible(caller, move || asked.info().maybe_revision(asked_revision).send())?;
    let info = info.map_err(fail)?;
    let commit = info
        .sha
        .filter(|sha| is_sha1(sha))
        .ok_or_else(|| HubError::NoCommit { repo: repo.to_owned(), endpoint: endpoint.clone() })?;
    Ok(Hub { repo: handle, repo_name: repo.to_owned(), endpoint, commit })
}

/// A commit is also the name of a folder, so nothing else may pass for one.
fn is_sha1(sha: &str) -> bool {
    sha.len() == 40 && sha.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Hub {
    fn list(&self, caller: Caller<'_>) -> Result<HashMap<String, Listed>, HubError> {
        let repo = self.repo.clone();
        let commit = self.commit.clone();
        let entries = interruptible(caller, move || {
            repo.list_tree().revision(commit).recursive(true).send()
        })?
        .map_err(|error| self.error(error))?;
        let files = entries.into_iter().filter_map(|entry| match entry {
            RepoTreeEntry::File { path, size, lfs, oid, .. } => {
                // For a large file git keeps a pointer, and the hash is of that.
                let git_sha1 = Some(oid).filter(|oid| lfs.is_none() && is_sha1(oid));
                Some((path, Listed { size_bytes: size, lfs, git_sha1 }))
            }
            RepoTreeEntry::Directory { .. } => None,
        });
        Ok(files.collect())
    }

    fn error(&self, error: hf_hub::HFError) -> HubError {
        HubError::from_hub(&self.repo_name, &self.endpoint, error)
    }
}

/// Do blocking work on a thread of its own and stop waiting for it when the caller says so.
fn interruptible<T: Send + 'static>(
    caller: Caller<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HubError> {
    let (sender, receiver) = mpsc::channel();
    // Nobody receives once we stopped waiting.
    let worker = std::thread::spawn(move || drop(sender.send(work())));
    loop {
        match receiver.recv_timeout(POLL) {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Timeout) if caller.is_stopped() => {
                return Err(HubError::Interrupted);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => match worker.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => return Err(HubError::Interrupted),
            },
        }
    }
}

/// What a former run left of this commit.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// Delete every file below `folder`, which need not exist, that is not in `wanted`.
fn keep_only(folder: &Path, wanted: &HashSet<PathBuf>) -> std::io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        match entry.file_type()? {
            _ if wanted.contains(&path) => {}
            file_type
                if file_type.is_dir() && wanted.iter().any(|file| file.starts_with(&path)) =>
            {
                keep_only(&path, wanted)?;
            }
            _ => new_folder::remove(&path)?,
        }
    }
    Ok(())
}

fn forget_other_commits(staging: &Path, commit: &str) -> std::io::Result<()> {
    for entry in std::fs::read_dir(staging)? {
        let entry = entry?;
        if entry.file_name() != commit {
            new_folder::remove(&entry.path())?;
        }
    }
    Ok(())
}
