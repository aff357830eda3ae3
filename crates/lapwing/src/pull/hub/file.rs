//! One file of a repository: in ranges, resumed, verified, renamed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hf_hub::HFError;
use lapwing_files::checksum;

use crate::notice::{Activity, Caller, Notice, Progress, Work};
use crate::store::FileRecord;

use super::error::innermost;
use super::{Hub, HubError, Listed, git_blob, interruptible};

/// The first range; later ones follow the speed.
const FIRST_RANGE_BYTES: u64 = 1 << 20;
const MAX_RANGE_BYTES: u64 = 64 << 20;
const MIN_RANGE_BYTES: u64 = 256 << 10;
/// A range should take about this long: what breaks off costs no more, and requests cost little.
const RANGE_TIME: Duration = Duration::from_secs(1);
/// Hashing this much takes long enough to be shown.
const SLOW_HASH_BYTES: u64 = 256 << 20;
/// Ranges that may break off in a row.
const N_ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

pub(super) struct Download<'a> {
    pub(super) hub: &'a Hub,
    /// Path in the repository.
    pub(super) remote: &'a str,
    /// Path in the model's folder.
    pub(super) local: &'a str,
    pub(super) listed: &'a Listed,
    /// The model's folder.
    pub(super) folder: &'a Path,
    pub(super) hub_cache: &'a Path,
}

impl Download<'_> {
    /// Bring the file into the folder, unless a former run has.
    pub(super) fn run(
        &self,
        progress: &mut Progress<'_>,
        caller: Caller<'_>,
    ) -> Result<FileRecord, HubError> {
        let target = self.folder.join(self.local);
        let size_bytes = self.listed.size_bytes;
        let sha256 = if std::fs::metadata(&target).is_ok_and(|m| m.len() == size_bytes) {
            // It was verified before it got its name.
            progress.advance(size_bytes);
            self.hash(&target, caller)?
        } else {
            let partial = self.download(&target, progress, caller)?;
            let sha256 = self.verify(&partial, caller)?;
            std::fs::rename(&partial, &target).map_err(HubError::at(&target))?;
            sha256
        };
        Ok(FileRecord { path: self.local.to_owned(), size_bytes, sha256 })
    }

    fn download(
        &self,
        target: &Path,
        progress: &mut Progress<'_>,
        caller: Caller<'_>,
    ) -> Result<PathBuf, HubError> {
        let partial = partial(target);
        let fail = || HubError::at(&partial);
        if let Some(folder) = partial.parent() {
            std::fs::create_dir_all(folder).map_err(HubError::at(folder))?;
        }
        let mut file =
            OpenOptions::new().create(true).append(true).open(&partial).map_err(fail())?;
        let n_bytes = self.listed.size_bytes;
        let mut n_done = file.metadata().map_err(fail())?.len();
        if n_done > n_bytes {
            file.set_len(0).map_err(fail())?;
            n_done = 0;
        }
        progress.resume_by(n_done);
        let mut range_bytes = FIRST_RANGE_BYTES;
        while n_done < n_bytes {
            let end = n_bytes.min(n_done.saturating_add(range_bytes));
            let start_time = Instant::now();
            self.append_range(&mut file, n_done, end, caller).map_err(|failure| match failure {
                Failure::Write(source) => fail()(source),
                Failure::Hub(error) => error,
            })?;
            progress.advance(end - n_done);
            n_done = end;
            range_bytes = next_range(range_bytes, start_time.elapsed());
        }
        file.sync_all().map_err(fail())?;
        Ok(partial)
    }

    fn append_range(
        &self,
        file: &mut File,
        start: u64,
        end: u64,
        caller: Caller<'_>,
    ) -> Result<(), Failure> {
        let mut pause = FIRST_PAUSE;
        let mut n_attempts = 1;
        let bytes = loop {
            let repo = self.hub.repo.clone();
            let (path, commit) = (self.remote.to_owned(), self.hub.commit.clone());
            let get = move || {
                let request = repo.download_file_to_bytes().filename(path).revision(commit);
                request.range(start..end).send()
            };
            match interruptible(caller, get)? {
                Ok(bytes) => break bytes,
                Err(HFError::Request { .. }) if n_attempts < N_ATTEMPTS => {
                    n_attempts += 1;
                    interruptible(caller, move || std::thread::sleep(pause))?;
                    pause *= 2;
                }
                Err(error @ HFError::Request { .. }) => {
                    return Err(Failure::Hub(HubError::BrokenOff {
                        path: self.remote.to_owned(),
                        n_done: start,
                        n_bytes: self.listed.size_bytes,
                        reason: innermost(&error),
                    }));
                }
                Err(error) => return Err(Failure::Hub(self.hub.error(error))),
            }
        };
        let range = self.part_of(&bytes, start, end)?;
        file.write_all(range).map_err(Failure::Write)
    }

    /// The bytes asked for; a server that knows no ranges sends the whole file.
    fn part_of<'b>(&self, bytes: &'b [u8], start: u64, end: u64) -> Result<&'b [u8], HubError> {
        let n_found = bytes.len() as u64;
        let part = if n_found == end - start {
            Some(bytes)
        } else if n_found == self.listed.size_bytes {
            usize::try_from(start)
                .ok()
                .zip(usize::try_from(end).ok())
                .and_then(|(start, end)| bytes.get(start..end))
        } else {
            None
        };
        part.ok_or_else(|| HubError::WrongLength {
            path: self.remote.to_owned(),
            endpoint: self.hub.endpoint.clone(),
            expected: end - start,
            found: n_found,
        })
    }

    /// Compare with the hub's hash, and return the SHA-256. A file without any hash has its size
    /// checked only.
    fn verify(&self, partial: &Path, caller: Caller<'_>) -> Result<String, HubError> {
        let found = self.hash(partial, caller)?;
        let Some(lfs) = &self.listed.lfs else {
            self.verify_git_blob(partial)?;
            return Ok(found);
        };
        if let Some(expected) = &lfs.sha256 {
            return match *expected == found {
                true => Ok(found),
                false => Err(self.damaged(partial, "sha256", expected, found)),
            };
        }
        let verified = self.verify_by_cache(partial, found, caller);
        if self.hub_cache.exists() {
            std::fs::remove_dir_all(self.hub_cache).map_err(HubError::at(self.hub_cache))?;
        }
        verified
    }

    fn verify_git_blob(&self, partial: &Path) -> Result<(), HubError> {
        let Some(expected) = &self.listed.git_sha1 else { return Ok(()) };
        let found = git_blob::sha1_file(partial).map_err(HubError::at(partial))?;
        match *expected == found {
            true => Ok(()),
            false => Err(self.damaged(partial, "git sha1", expected, found)),
        }
    }

    /// `hf-hub` keeps files under the hub's hash and fetches what it has not. So a file that is
    /// put there under *our* hash is accepted without a download exactly if the hub's is the same;
    /// otherwise `hf-hub` fetches the file anew, under the hub's hash.
    fn verify_by_cache(
        &self,
        partial: &Path,
        found: String,
        caller: Caller<'_>,
    ) -> Result<String, HubError> {
        let repo_folder = format!("models--{}", self.hub.repo_name.replace('/', "--"));
        let blobs = self.hub_cache.join(repo_folder).join("blobs");
        let ours = blobs.join(&found);
        std::fs::create_dir_all(&blobs).map_err(HubError::at(&blobs))?;
        std::fs::hard_link(partial, &ours).map_err(HubError::at(&ours))?;

        let repo = self.hub.repo.clone();
        let (path, commit) = (self.remote.to_owned(), self.hub.commit.clone());
        let accepted = interruptible(caller, move || {
            repo.download_file().filename(path).revision(commit).send()
        })?
        .map_err(|error| self.hub.error(error))?;
        let accepted = accepted.canonicalize().map_err(HubError::at(&accepted))?;
        let hub_hash = accepted.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if hub_hash == found {
            return Ok(found);
        }
        let refetched = self.hash(&accepted, caller)?;
        let is_sha256 = hub_hash.len() == 64 && hub_hash.bytes().all(|b| b.is_ascii_hexdigit());
        if is_sha256 && refetched != hub_hash {
            return Err(self.damaged(partial, "sha256", &hub_hash, refetched));
        }
        if !is_sha256 {
            let (endpoint, path) = (self.hub.endpoint.clone(), self.remote.to_owned());
            caller.tell(Notice::NoHash { endpoint, path });
        }
        std::fs::rename(&accepted, partial).map_err(HubError::at(partial))?;
        Ok(refetched)
    }

    fn hash(&self, path: &Path, caller: Caller<'_>) -> Result<String, HubError> {
        let n_bytes = self.listed.size_bytes;
        let work = || Work::new(Activity::Verifying, self.remote);
        let mut progress =
            (n_bytes >= SLOW_HASH_BYTES).then(|| Progress::begin(caller, work(), Some(n_bytes)));
        let mut on_bytes = |n_bytes| {
            if let Some(progress) = &mut progress {
                progress.advance(n_bytes);
            }
        };
        Ok(checksum::sha256_file(path, &mut on_bytes, caller.is_stopped)?)
    }

    /// A damaged file is of no use to the next run.
    fn damaged(
        &self,
        partial: &Path,
        hash: &'static str,
        expected: &str,
        found: String,
    ) -> HubError {
        if let Err(source) = remove_if_there(partial) {
            return HubError::at(partial)(source);
        }
        let (path, expected) = (self.remote.to_owned(), expected.to_owned());
        HubError::Checksum { path, hash, expected, found }
    }
}

/// Why a range is not in the file.
enum Failure {
    Write(io::Error),
    Hub(HubError),
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Hub(error)
    }
}

/// Double or halve the range so that it takes about [`RANGE_TIME`].
fn next_range(range_bytes: u64, elapsed: Duration) -> u64 {
    if elapsed < RANGE_TIME / 2 {
        (range_bytes * 2).min(MAX_RANGE_BYTES)
    } else if elapsed > RANGE_TIME * 2 {
        (range_bytes / 2).max(MIN_RANGE_BYTES)
    } else {
        range_bytes
    }
}

/// What a file is called while it is being downloaded.
pub(super) fn partial(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    target.with_file_name(name)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_the_speed() {
        let check = |range_bytes: u64, millis: u64, expected: u64| {
            assert_eq!(next_range(range_bytes, Duration::from_millis(millis)), expected);
        };
        check(FIRST_RANGE_BYTES, 100, FIRST_RANGE_BYTES * 2);
        check(FIRST_RANGE_BYTES, 1000, FIRST_RANGE_BYTES);
        check(FIRST_RANGE_BYTES, 3000, FIRST_RANGE_BYTES / 2);
        check(MAX_RANGE_BYTES, 1, MAX_RANGE_BYTES);
        check(MIN_RANGE_BYTES, 60_000, MIN_RANGE_BYTES);
    }
}
