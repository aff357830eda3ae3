//! A model from a repository on the Hugging Face hub, or a mirror of it.
//!
//! Three requests say it all: the commit of a revision, the files of a commit, the bytes of a file.
//! Bytes come in ranges, so that a broken download goes on where it stopped, in this run or the
//! next; every large file is then verified against the SHA-256 that the hub keeps for it, every
//! other against its git blob hash. Files that the hub keeps in its newer store (Xet) come through
//! the same addresses.
//!
//! What Hugging Face's own tools have in their cache is not downloaded again: it is verified by the
//! same hashes, and linked into the staging folder, or copied where the file system has no such
//! links.
//!
//! The staging folder holds one folder, of a commit and of those of the repository's folders that
//! the files come out of: finished files under their names, the file that is being downloaded with
//! `.partial` behind it.

mod address;
mod client;
mod error;
mod file;
mod git_blob;
mod listing;
mod proxy;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};
use lapwing_files::{checksum, disk, new_folder};
use ureq::http::HeaderValue;

use crate::notice::{Activity, Caller, Notice, Progress, Work};
use crate::options::HubOptions;

use super::hub_cache::CachedRepository;
use super::hub_file::Listed;
use super::selection::{Selected, Selection, select};
use super::{Delivery, Wanted};

use address::Endpoint;
use client::{Client, Failure};
use error::Asked;
use proxy::Routes;

pub use address::ParseEndpointError;
pub use error::HubError;
pub use proxy::ParseProxyError;

/// The hub when nobody names another.
const ENDPOINT: &str = "https://huggingface.co";

/// One repository at one commit.
struct Hub<'a> {
    client: Client<'a>,
    repo: &'a str,
    commit: String,
    /// What is there already, from other tools.
    cache: Option<CachedRepository>,
    is_offline: bool,
}

/// Every file of a commit, by its path.
type Files = BTreeMap<String, Listed>;

/// Download the files of the model into `staging`, or go on with that.
pub(super) fn fetch(
    repo: &str,
    revision: Option<&str>,
    wanted: &Wanted,
    staging: &Path,
    options: &HubOptions,
    caller: Caller<'_>,
) -> Result<Delivery, HubError> {
    let (hub, listed) = connect(repo, revision, options, caller)?;
    let paths: Vec<&str> = listed.keys().map(String::as_str).collect();
    let selection = select(repo, &paths, wanted.kind, wanted.variant.as_ref(), &wanted.files);
    let Selection { files: selected, variant } = selection.map_err(|error| match &hub.cache {
        Some(cache) if hub.is_offline => HubError::offline(repo, cache.folder(), error),
        _ => error.into(),
    })?;
    // A hub may say what it likes: more than there is room for is refused below.
    let n_bytes =
        selected.iter().fold(0_u64, |sum, file| sum.saturating_add(listed[file.remote].size_bytes));
    caller.tell(Notice::Repository {
        repo: repo.to_owned(),
        commit: hub.commit.clone(),
        n_files: selected.len(),
        n_bytes,
    });
    hub.tell_what_is_cached(&selected, &listed);

    let name = staged_name(&hub.commit, &selected);
    forget_others(staging, &name).map_err(HubError::at(staging))?;
    let folder = staging.join(name);
    // Another variant of this commit may have been begun here.
    let whole: HashSet<PathBuf> = selected.iter().map(|file| folder.join(file.local)).collect();
    let partial = whole.iter().map(|path| file::partial(path));
    keep_only(&folder, &whole.iter().cloned().chain(partial).collect())
        .map_err(HubError::at(&folder))?;
    let n_bytes_linked = hub.n_bytes_linked(&selected, &listed, &folder);
    let n_bytes_there = bytes_below(&folder).saturating_add(n_bytes_linked);
    disk::require(staging, n_bytes.saturating_sub(n_bytes_there))?;
    let work = Work::new(Activity::Pulling, &wanted.name);
    let mut progress = Progress::begin(caller, work, Some(n_bytes));
    let mut files = Vec::new();
    for Selected { remote, local } in selected {
        let download =
            file::Download { hub: &hub, remote, local, listed: &listed[remote], folder: &folder };
        files.push(download.run(&mut progress)?);
    }
    keep_only(&folder, &whole).map_err(HubError::at(&folder))?;
    Ok(Delivery { source: format!("hf:{repo}@{}", hub.commit), folder, variant, files })
}

/// The commit that is meant and its files, from the hub, or from the cache alone.
fn connect<'a>(
    repo: &'a str,
    revision: Option<&str>,
    options: &'a HubOptions,
    caller: Caller<'a>,
) -> Result<(Hub<'a>, Files), HubError> {
    let client = Client {
        endpoint: Endpoint::parse(options.endpoint.as_deref().unwrap_or(ENDPOINT))?,
        authorization: authorization(options)?,
        routes: Routes::new(&options.proxies, options.patience)?,
        patience: options.patience,
        caller,
    };
    let cache = options.cache.as_deref().map(|root| CachedRepository::of(root, repo));
    let is_offline = options.is_offline;
    if is_offline {
        let folder = cache.as_ref().map(CachedRepository::folder).unwrap_or(Path::new("no cache"));
        let snapshot = cache.as_ref().and_then(|cache| cache.snapshot(revision));
        let snapshot = snapshot.ok_or_else(|| {
            let revision = revision.map_or("its main branch".to_owned(), |name| name.to_owned());
            HubError::offline(repo, folder, format!("no snapshot of {revision} is there"))
        })?;
        let files = snapshot.files();
        let hub = Hub { client, repo, commit: snapshot.commit, cache, is_offline };
        return Ok((hub, files));
    }
    let asked = Asked::Repository { revision };
    let failed = |failure| HubError::from_failure(repo, &client.endpoint, asked, failure);
    let commit = listing::commit(&client, repo, revision).map_err(failed)?;
    let commit = commit.ok_or_else(|| HubError::NoCommit {
        repo: repo.to_owned(),
        endpoint: client.endpoint.to_string(),
    })?;
    let files = listing::files(&client, repo, &commit).map_err(failed)?;
    Ok((Hub { client, repo, commit, cache, is_offline }, files))
}

/// The token of the options, else that of the first file that holds one.
fn authorization(options: &HubOptions) -> Result<Option<HeaderValue>, HubError> {
    let given = options.token.as_ref().map(|token| (token.text.clone(), token.origin.to_string()));
    let in_file = |path: &PathBuf| {
        let text = regular::read_text(path, N_TEXT_BYTES_MAX).ok()?;
        Some((text, path.display().to_string()))
    };
    let found = given.into_iter().chain(options.token_files.iter().filter_map(in_file));
    let Some((text, origin)) = found.into_iter().find(|(text, _)| !text.trim().is_empty()) else {
        return Ok(None);
    };
    let token = text.trim();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(HubError::NoToken { origin });
    }
    let header = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut header = header.map_err(|_| HubError::NoToken { origin })?;
    header.set_sensitive(true);
    Ok(Some(header))
}

impl Hub<'_> {
    /// The address of the file at `path`.
    fn url(&self, path: &str) -> String {
        let parts = self.repo.split('/').chain(["resolve", &self.commit]).chain(path.split('/'));
        self.client.endpoint.below(parts)
    }

    /// The file at `path` in the cache of other tools, not yet verified.
    fn cached(&self, path: &str, listed: &Listed) -> Option<PathBuf> {
        self.cache.as_ref()?.file(&self.commit, path, listed)
    }

    /// How much of the cache gets a second name below `folder`, and takes no room: what is on the
    /// same file system, and not there yet.
    fn n_bytes_linked(&self, selected: &[Selected<'_>], listed: &Files, folder: &Path) -> u64 {
        let sizes = selected.iter().filter_map(|file| {
            let listed = &listed[file.remote];
            let cached = self.cached(file.remote, listed)?;
            let is_linked = !folder.join(file.local).exists() && can_be_linked(&cached, folder);
            is_linked.then_some(listed.size_bytes)
        });
        sizes.fold(0, u64::saturating_add)
    }

    /// Say how much need not be downloaded.
    fn tell_what_is_cached(&self, selected: &[Selected<'_>], listed: &Files) {
        let sizes = selected.iter().filter_map(|file| {
            let listed = &listed[file.remote];
            self.cached(file.remote, listed).map(|_| listed.size_bytes)
        });
        let sizes: Vec<u64> = sizes.collect();
        let n_bytes = sizes.iter().fold(0, |sum: u64, size| sum.saturating_add(*size));
        if let (Some(cache), false) = (&self.cache, sizes.is_empty()) {
            let folder = cache.folder().to_path_buf();
            self.client.caller.tell(Notice::Cached { folder, n_files: sizes.len(), n_bytes });
        }
    }

    fn error(&self, asked: Asked<'_>, failure: Failure) -> HubError {
        HubError::from_failure(self.repo, &self.client.endpoint, asked, failure)
    }
}

/// Whether a file and a folder, which need not exist yet, are on one file system, as far as the
/// system tells.
fn can_be_linked(file: &Path, folder: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let device = |path: &Path| path.metadata().ok().map(|metadata| metadata.dev());
        let of_folder = folder.ancestors().find_map(device);
        device(file).is_some_and(|of_file| Some(of_file) == of_folder)
    }
    #[cfg(not(unix))]
    {
        let _ = (file, folder);
        false
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

/// What the folder in the staging folder is called: files that are called alike here, out of
/// several folders of the repository, never meet in one.
fn staged_name(commit: &str, selected: &[Selected<'_>]) -> String {
    let moved = selected.iter().filter(|file| file.remote != file.local).map(|file| file.remote);
    let moved: Vec<&str> = moved.collect();
    match moved.is_empty() {
        true => commit.to_owned(),
        false => format!("{commit}-{:.16}", checksum::sha256_bytes(moved.join("\n").as_bytes())),
    }
}

fn forget_others(staging: &Path, name: &str) -> std::io::Result<()> {
    for entry in std::fs::read_dir(staging)? {
        let entry = entry?;
        if entry.file_name() != name {
            new_folder::remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
