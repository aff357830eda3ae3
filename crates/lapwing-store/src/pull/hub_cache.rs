//! The cache that Hugging Face's own tools keep, which is only read here.
//!
//! A repository has a folder with `refs/BRANCH`, a file with a commit; `snapshots/COMMIT/`, where the
//! files have their names; and `blobs/`, where the files are that those are links to, each under its
//! hash. Where links are not to be had, the files are in the snapshot itself.
//!
//! Source: huggingface_hub, "Understand caching".

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use lapwing_files::regular;

use crate::options::HubOptions;
use crate::source::Source;

use super::hub_file::{Hash, Listed, is_commit};
use super::selection::select;
use super::whole;

/// The branch that is meant where none is named.
const MAIN: &str = "main";
/// More files than any model has.
const N_FILES_MAX: usize = 4096;
/// A commit and a newline.
const N_REF_BYTES_MAX: u64 = 4096;

/// What the cache has of one repository.
pub(super) struct CachedRepository {
    folder: PathBuf,
}

/// One commit of a repository, or what was downloaded of it.
pub(super) struct Snapshot {
    pub(super) commit: String,
    folder: PathBuf,
}

/// A snapshot that holds no model which a command could open.
pub(crate) struct UnusableSnapshot {
    pub(crate) folder: PathBuf,
    pub(crate) source: Box<dyn Error + Send + Sync>,
}

/// The model in the repository that a user named, when it is in the cache: what to give to a
/// command.
///
/// # Errors
///
/// When what is there is no whole model.
pub(crate) fn find_model(
    name: &str,
    options: &HubOptions,
) -> Result<Option<PathBuf>, UnusableSnapshot> {
    let Ok(Some(Source::Hub { repo, revision })) = Source::of_argument(name) else {
        return Ok(None);
    };
    let cached = options.cache.as_deref().map(|root| CachedRepository::of(root, &repo));
    let Some(snapshot) = cached.and_then(|cached| cached.snapshot(revision.as_deref())) else {
        return Ok(None);
    };
    match snapshot.model(&repo) {
        Ok(path) => Ok(Some(path)),
        Err(source) => Err(UnusableSnapshot { folder: snapshot.folder, source }),
    }
}

impl CachedRepository {
    /// What the cache in `root` has of `repo`; the folder need not exist.
    pub(super) fn of(root: &Path, repo: &str) -> Self {
        Self { folder: root.join(format!("models--{}", repo.replace('/', "--"))) }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The commit that `revision` was when it was last asked for.
    pub(super) fn snapshot(&self, revision: Option<&str>) -> Option<Snapshot> {
        let revision = revision.unwrap_or(MAIN);
        let commit = match is_commit(revision) {
            true => revision.to_owned(),
            false => regular::read_text(&self.folder.join("refs").join(revision), N_REF_BYTES_MAX)
                .ok()?,
        };
        let commit = commit.trim().to_owned();
        let folder = self.folder.join("snapshots").join(&commit);
        (is_commit(&commit) && folder.is_dir()).then_some(Snapshot { commit, folder })
    }

    /// Where the file is that `commit` has at `path`, or another with the same hash: with the right
    /// size, and not yet verified.
    pub(super) fn file(&self, commit: &str, path: &str, listed: &Listed) -> Option<PathBuf> {
        let in_snapshot = self.folder.join("snapshots").join(commit).join(path);
        let hash = listed.hash.as_ref().map(Hash::digits);
        let blob = hash.map(|hash| self.folder.join("blobs").join(hash));
        let fits = |path: &PathBuf| {
            std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == listed.size_bytes)
        };
        let found = [Some(in_snapshot), blob].into_iter().flatten().find(fits)?;
        // The file itself: a link to it could not be linked.
        found.canonicalize().ok()
    }
}

impl Snapshot {
    /// What to give to a command.
    fn model(&self, repo: &str) -> Result<PathBuf, Box<dyn Error + Send + Sync>> {
        let files = self.files();
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        let files = select(repo, &paths, None, None, &[])?.files;
        // A build of onnxruntime-genai is a folder inside, and some precisions of GGUF are in one.
        let inside = files.iter().find_map(|file| {
            file.remote.strip_suffix(file.local).filter(|inside| !inside.is_empty())
        });
        let names = files.iter().filter_map(|file| file.remote.strip_prefix(inside.unwrap_or("")));
        let folder = match inside {
            Some(inside) => self.folder.join(inside),
            None => self.folder.clone(),
        };
        whole::check(&folder, names.clone())?;
        let checkpoint = names.clone().find(|name| name.ends_with(".gguf"));
        Ok(checkpoint.map_or(folder.clone(), |name| folder.join(name)))
    }

    /// Every file, by its path in the repository, with what its blob's name says of it.
    pub(super) fn files(&self) -> BTreeMap<String, Listed> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let Ok(metadata) = std::fs::metadata(&path) else { continue };
                let name = path.strip_prefix(&self.folder).ok().and_then(Path::to_str);
                match name {
                    Some(_) if metadata.is_dir() && !path.is_symlink() => folders.push(path),
                    Some(name) if metadata.is_file() => {
                        let name = name.replace(std::path::MAIN_SEPARATOR, "/");
                        let listed = Listed { size_bytes: metadata.len(), hash: hash_of(&path) };
                        files.insert(name, listed);
                    }
                    _ => {}
                }
                if N_FILES_MAX < files.len() + folders.len() {
                    return BTreeMap::new();
                }
            }
        }
        files
    }
}

/// The hash that a blob is called by.
fn hash_of(link: &Path) -> Option<Hash> {
    let blob = link.canonicalize().ok()?;
    Hash::parse(blob.file_name()?.to_str()?)
}
