//! One file of a repository: in ranges, resumed, verified, renamed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lapwing_files::{FileError, checksum, regular};
use ureq::http::{Method, StatusCode, header};

use crate::notice::{Activity, Notice, Progress, Work};
use crate::pull::hub_file::{Hash, Listed};
use crate::store::FileRecord;

use super::client::{Answer, Failure};
use super::error::Asked;
use super::{Hub, HubError, git_blob, listing};

/// The first range; later ones follow the speed.
const FIRST_RANGE_BYTES: u64 = 1 << 20;
const MAX_RANGE_BYTES: u64 = 64 << 20;
const MIN_RANGE_BYTES: u64 = 256 << 10;
/// A range should take about this long: what breaks off costs no more, and requests cost little.
const RANGE_TIME: Duration = Duration::from_secs(1);
/// Hashing this much takes long enough to be shown.
const SLOW_HASH_BYTES: u64 = 256 << 20;

pub(super) struct Download<'a> {
    pub(super) hub: &'a Hub<'a>,
    /// Path in the repository.
    pub(super) remote: &'a str,
    /// Path in the model's folder.
    pub(super) local: &'a str,
    pub(super) listed: &'a Listed,
    /// The model's folder.
    pub(super) folder: &'a Path,
}

/// What a server makes of a range.
enum Ranged {
    Part(Vec<u8>),
    /// It knows no ranges: it sends the whole file.
    Whole,
}

impl Download<'_> {
    /// Bring the file into the folder, unless a former run has.
    pub(super) fn run(&self, progress: &mut Progress<'_>) -> Result<FileRecord, HubError> {
        let target = self.folder.join(self.local);
        let size_bytes = self.listed.size_bytes;
        let sha256 = if let Some(sha256) = self.staged(&target)? {
            progress.advance(size_bytes);
            sha256
        } else if let Some(sha256) = self.take_cached(&target, progress)? {
            sha256
        } else {
            let partial = partial(&target);
            self.download(&partial, progress)?;
            let sha256 = self.verified(&partial)?;
            std::fs::rename(&partial, &target).map_err(HubError::at(&target))?;
            sha256
        };
        Ok(FileRecord { path: self.local.to_owned(), size_bytes, sha256 })
    }

    /// The SHA-256 of what a former run left at `target`, unless that is another file.
    fn staged(&self, target: &Path) -> Result<Option<String>, HubError> {
        match std::fs::metadata(target) {
            Ok(metadata) if metadata.len() == self.listed.size_bytes => {}
            _ => return Ok(None),
        }
        let Some(expected) = self.expected()? else {
            self.tell_no_hash();
            return self.sha256(target).map(Some);
        };
        if let Ok(sha256) = self.compared(target, &expected)? {
            return Ok(Some(sha256));
        }
        std::fs::remove_file(target).map_err(HubError::at(target))?;
        Ok(None)
    }

    /// Take the file from the cache of other tools: a second name of the same file, else a copy.
    /// None where the cache has not the right one.
    fn take_cached(
        &self,
        target: &Path,
        progress: &mut Progress<'_>,
    ) -> Result<Option<String>, HubError> {
        let Some(cached) = self.hub.cached(self.remote, self.listed) else {
            return self.only_when_online("it is not there");
        };
        let sha256 = match self.expected()? {
            Some(expected) => match self.compared(&cached, &expected)? {
                Ok(sha256) => sha256,
                Err(_) => return self.not_taken("it is damaged there"),
            },
            None if self.hub.is_offline => {
                self.tell_no_hash();
                self.sha256(&cached)?
            }
            None => return Ok(None),
        };
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(HubError::at(folder))?;
        }
        if std::fs::hard_link(&cached, target).is_err() {
            let partial = partial(target);
            let mut file = regular::open(&cached).map_err(FileError::cannot("read", &cached))?;
            let is_stopped = self.hub.client.caller.is_stopped;
            let copied = checksum::copy_and_hash(&mut file, &partial, &mut |_| {}, is_stopped)?;
            if copied != sha256 {
                std::fs::remove_file(&partial).map_err(HubError::at(&partial))?;
                return self.not_taken("it changed while it was copied");
            }
            let synced = OpenOptions::new().append(true).open(&partial).and_then(|f| f.sync_all());
            synced.map_err(HubError::at(&partial))?;
            std::fs::rename(&partial, target).map_err(HubError::at(target))?;
        }
        progress.advance(self.listed.size_bytes);
        Ok(Some(sha256))
    }

    /// That the file is to be downloaded since there is a `problem` with the one in the cache;
    /// without a hub there is no other.
    fn not_taken(&self, problem: &str) -> Result<Option<String>, HubError> {
        let none = self.only_when_online(problem)?;
        let (path, problem) = (self.remote.to_owned(), problem.to_owned());
        self.hub.client.caller.tell(Notice::NotTaken { path, problem });
        Ok(none)
    }

    /// That the file is to be downloaded, or why there is none.
    fn only_when_online(&self, problem: &str) -> Result<Option<String>, HubError> {
        match &self.hub.cache {
            Some(cache) if self.hub.is_offline => {
                let problem = format!("{}: {problem}", self.remote);
                Err(HubError::offline(self.hub.repo, cache.folder(), problem))
            }
            _ => Ok(None),
        }
    }

    fn tell_no_hash(&self) {
        let (endpoint, path) = (self.hub.client.endpoint.to_string(), self.remote.to_owned());
        self.hub.client.caller.tell(Notice::NoHash { endpoint, path });
    }

    fn download(&self, partial: &Path, progress: &mut Progress<'_>) -> Result<(), HubError> {
        let fail = HubError::at(partial);
        if let Some(folder) = partial.parent() {
            std::fs::create_dir_all(folder).map_err(HubError::at(folder))?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(partial).map_err(&fail)?;
        let n_bytes = self.listed.size_bytes;
        let mut n_done = file.metadata().map_err(&fail)?.len();
        if n_done > n_bytes {
            file.set_len(0).map_err(&fail)?;
            n_done = 0;
        }
        progress.resume_by(n_done);
        let mut range_bytes = FIRST_RANGE_BYTES;
        while n_done < n_bytes {
            let range = n_done..n_bytes.min(n_done.saturating_add(range_bytes));
            let started = Instant::now();
            let ranged = self.hub.client.try_often(|| self.ask(&range));
            match ranged.map_err(|failure| self.error(n_done, failure))? {
                Ranged::Part(bytes) => {
                    file.write_all(&bytes).map_err(&fail)?;
                    progress.advance(range.end - range.start);
                    n_done = range.end;
                    range_bytes = next_range(range_bytes, started.elapsed());
                }
                Ranged::Whole => {
                    self.append_rest(&mut file, partial, n_done, progress)?;
                    n_done = n_bytes;
                }
            }
        }
        file.sync_all().map_err(&fail)
    }

    fn ask(&self, range: &Range<u64>) -> Result<Ranged, Failure> {
        let url = self.hub.url(self.remote);
        let mut answer = self.hub.client.ask(&Method::GET, &url, Some(range))?;
        if answer.status != StatusCode::PARTIAL_CONTENT {
            return Ok(Ranged::Whole);
        }
        let n_wanted = range.end - range.start;
        if first_byte(&answer).is_some_and(|first| first != range.start) {
            return Err(Failure::Nonsense(format!("it sends another part of {}", self.remote)));
        }
        self.check_length(answer.n_bytes().unwrap_or(n_wanted), n_wanted)?;
        let mut part = Vec::new();
        while let Some(bytes) = answer.next()? {
            part.extend_from_slice(&bytes);
            if n_wanted < part.len() as u64 {
                self.check_length(part.len() as u64, n_wanted)?;
            }
        }
        match part.len() as u64 == n_wanted {
            true => Ok(Ranged::Part(part)),
            false => Err(Failure::Broken(format!("it ended after {} bytes", part.len()))),
        }
    }

    /// Append what the file lacks behind `n_done` from a server that begins at the beginning.
    fn append_rest(
        &self,
        file: &mut File,
        partial: &Path,
        mut n_done: u64,
        progress: &mut Progress<'_>,
    ) -> Result<(), HubError> {
        let (client, n_bytes) = (&self.hub.client, self.listed.size_bytes);
        let appended = client.try_often(|| {
            let mut answer = client.ask(&Method::GET, &self.hub.url(self.remote), None)?;
            self.check_length(answer.n_bytes().unwrap_or(n_bytes), n_bytes)?;
            let mut n_seen = 0;
            while let Some(bytes) = answer.next()? {
                n_seen += bytes.len() as u64;
                if n_bytes < n_seen {
                    self.check_length(n_seen, n_bytes)?;
                }
                let n_new = n_seen.saturating_sub(n_done).min(bytes.len() as u64);
                if let Err(error) = file.write_all(&bytes[bytes.len() - n_new as usize..]) {
                    return Ok(Err(error));
                }
                progress.advance(n_new);
                n_done += n_new;
            }
            match n_seen == n_bytes {
                true => Ok(Ok(())),
                false => Err(Failure::Broken(format!("it ended after {n_seen} bytes"))),
            }
        });
        appended.map_err(|failure| self.error(n_done, failure))?.map_err(HubError::at(partial))
    }

    /// Compare with the hub's hash, and return the SHA-256. A file without any hash has its size
    /// checked only.
    fn verified(&self, partial: &Path) -> Result<String, HubError> {
        let Some(expected) = self.expected()? else {
            self.tell_no_hash();
            return self.sha256(partial);
        };
        if let Ok(sha256) = self.compared(partial, &expected)? {
            return Ok(sha256);
        }
        // Somebody on the way may know ranges, and get them wrong.
        let mut file = File::create(partial).map_err(HubError::at(partial))?;
        let caller = self.hub.client.caller;
        let work = Work::new(Activity::Pulling, self.remote);
        let mut progress = Progress::begin(caller, work, Some(self.listed.size_bytes));
        self.append_rest(&mut file, partial, 0, &mut progress)?;
        file.sync_all().map_err(HubError::at(partial))?;
        drop(progress);
        match self.compared(partial, &expected)? {
            Ok(sha256) => Ok(sha256),
            Err(found) => Err(self.damaged(partial, expected, found)),
        }
    }

    /// The hash that the hub lists, else the one that comes with the file.
    fn expected(&self) -> Result<Option<Hash>, HubError> {
        if self.listed.hash.is_some() || self.hub.is_offline {
            return Ok(self.listed.hash.clone());
        }
        listing::hash_of_file(&self.hub.client, &self.hub.url(self.remote))
            .map_err(|failure| self.hub.error(Asked::File(self.remote), failure))
    }

    /// The SHA-256 of a file with the expected hash, else the hash that it has.
    fn compared(
        &self,
        partial: &Path,
        expected: &Hash,
    ) -> Result<Result<String, String>, HubError> {
        let sha256 = self.sha256(partial)?;
        let (expected, found) = match expected {
            Hash::Sha256(expected) => (expected, sha256.clone()),
            Hash::GitBlob(expected) => {
                (expected, git_blob::sha1_file(partial).map_err(HubError::at(partial))?)
            }
        };
        Ok(if *expected == found { Ok(sha256) } else { Err(found) })
    }

    fn sha256(&self, path: &Path) -> Result<String, HubError> {
        let n_bytes = self.listed.size_bytes;
        let begin = || {
            let work = Work::new(Activity::Verifying, self.remote);
            Progress::begin(self.hub.client.caller, work, Some(n_bytes))
        };
        let mut progress = (n_bytes >= SLOW_HASH_BYTES).then(begin);
        let mut on_bytes = |n_bytes| {
            if let Some(progress) = &mut progress {
                progress.advance(n_bytes);
            }
        };
        let is_stopped = self.hub.client.caller.is_stopped;
        Ok(checksum::sha256_file(path, &mut on_bytes, is_stopped)?)
    }

    /// A damaged file is of no use to the next run.
    fn damaged(&self, partial: &Path, expected: Hash, found: String) -> HubError {
        match std::fs::remove_file(partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return HubError::at(partial)(error);
            }
            _ => {}
        }
        let (hash, expected) = match expected {
            Hash::Sha256(expected) => ("sha256", expected),
            Hash::GitBlob(expected) => ("git sha1", expected),
        };
        HubError::Checksum { path: self.remote.to_owned(), hash, expected, found }
    }

    fn check_length(&self, n_found: u64, n_expected: u64) -> Result<(), Failure> {
        match n_found == n_expected {
            true => Ok(()),
            false => Err(Failure::Nonsense(format!(
                "it sends {n_found} bytes of {} where {n_expected} were asked for",
                self.remote
            ))),
        }
    }

    /// What a failure behind the first `n_done` bytes means.
    fn error(&self, n_done: u64, failure: Failure) -> HubError {
        let (path, n_bytes) = (self.remote.to_owned(), self.listed.size_bytes);
        match failure {
            Failure::Broken(reason) => HubError::BrokenOff { path, n_done, n_bytes, reason },
            failure => self.hub.error(Asked::File(self.remote), failure),
        }
    }
}

/// Where a part begins, as far as the server says so: `Content-Range: bytes 5-9/10`.
fn first_byte(answer: &Answer<'_>) -> Option<u64> {
    let range = answer.headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()
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
