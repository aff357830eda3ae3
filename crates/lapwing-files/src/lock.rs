//! One process at a time.
//!
//! Advisory locks of the operating system, which end with their holder, however that ends: there is
//! never a stale lock to remove. Two kinds: a [`Lock`] on a small file that names its holder, for
//! who changes something, and a [`Lease`] of a file that is there, held together with others, for
//! who uses it.

#[cfg(unix)]
use std::fs::Metadata;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use crate::{FileError, regular};

/// Who wants the same a moment later waits so long without hearing of it.
const NOTICE_AFTER: Duration = Duration::from_millis(500);
/// How often who waits looks whether he shall go on. The lock itself comes at once.
const POLL: Duration = Duration::from_millis(100);
/// So often a lock file is opened that is deleted before it is locked.
const N_OPENINGS_MAX: usize = 100;

/// A held lock; released when dropped.
#[derive(Debug)]
pub struct Lock {
    // Closing the file releases the lock.
    _file: File,
}

/// Why a lock was not obtained.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum LockError {
    /// The lock file cannot be made or locked.
    #[error(transparent)]
    Io(#[from] FileError),
    /// Another process works on the same thing.
    #[error("{holder} is working on it ({} is locked)", path.display())]
    Held { path: PathBuf, holder: String },
    /// The caller waits no longer.
    #[error("interrupted while waiting for {holder}")]
    Interrupted { holder: String },
}

impl Lock {
    /// Take the lock at `path`, or wait for its holder until `stop` says so, which is asked ten times
    /// a second; `on_wait` hears once who it is that takes longer than a moment.
    ///
    /// # Errors
    ///
    /// When the file cannot be made or locked, or when stopped.
    pub fn acquire(
        path: &Path,
        on_wait: &mut dyn FnMut(&str),
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, LockError> {
        match Self::try_acquire(path) {
            Err(LockError::Held { .. }) => {}
            other => return other,
        }
        let cannot_lock = FileError::cannot("lock", path);
        let started = Instant::now();
        let mut waiting = lock_soon(path).map_err(&cannot_lock)?;
        let mut told = false;
        loop {
            if stop() {
                return Err(LockError::Interrupted { holder: holder_of(path) });
            }
            if !told && NOTICE_AFTER <= started.elapsed() {
                on_wait(&holder_of(path));
                told = true;
            }
            match waiting.recv_timeout(POLL) {
                Ok(locked) => {
                    let mut file = locked.map_err(&cannot_lock)?;
                    if is_at(&file, path) {
                        write_holder(&mut file);
                        return Ok(Self { _file: file });
                    }
                    waiting = lock_soon(path).map_err(&cannot_lock)?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let gone = io::Error::other("the thread that waits for the lock is gone");
                    return Err(cannot_lock(gone).into());
                }
            }
        }
    }

    /// Take the lock at `path` if nobody has it. Its folder is made when it is not there.
    ///
    /// # Errors
    ///
    /// When the file cannot be made or locked, or another process holds it.
    pub fn try_acquire(path: &Path) -> Result<Self, LockError> {
        let cannot_lock = FileError::cannot("lock", path);
        for _ in 0..N_OPENINGS_MAX {
            let mut file = open(path).map_err(&cannot_lock)?;
            if !try_lock(&file).map_err(&cannot_lock)? {
                let (path, holder) = (path.to_owned(), read_holder(&mut file));
                return Err(LockError::Held { path, holder });
            }
            if is_at(&file, path) {
                write_holder(&mut file);
                return Ok(Self { _file: file });
            }
        }
        Err(cannot_lock(io::Error::other("it is deleted again and again")).into())
    }

    /// Whether somebody has the lock at `path`.
    pub fn is_held(path: &Path) -> bool {
        is_locked(path)
    }
}

/// A file that is in use as long as this lives: [`Lease::is_held`] tells who wants to remove it.
#[derive(Debug)]
pub struct Lease {
    // Closing the file lets go.
    _file: File,
}

impl Lease {
    /// Hold the file at `path`, and note as its time that it was used now. `None` where the system
    /// refuses: then nothing keeps it from being removed, which harms nobody whose files are open.
    pub fn take(path: &Path) -> Option<Lease> {
        let writable = File::options().read(true).append(true).open(path);
        let file = writable.or_else(|_| regular::open(path)).ok()?;
        // Of a folder that cannot be written nothing is removed by age.
        let _ = file.set_modified(SystemTime::now());
        file.lock_shared().ok()?;
        Some(Lease { _file: file })
    }

    /// Whether somebody holds the file at `path`.
    pub fn is_held(path: &Path) -> bool {
        is_locked(path)
    }
}

/// Open the lock file at `path`; it and its folder are made when they are not there.
fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Whether an open file still is the one at `path`: a lock on one that was deleted keeps nobody
/// out.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let place = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let (open, there) = (file.metadata().map(place), std::fs::metadata(path).map(place));
        matches!((open, there), (Ok(open), Ok(there)) if open == there)
    }
    #[cfg(not(unix))]
    {
        // What is open cannot be deleted there.
        let _ = (file, path);
        true
    }
}

/// The file at `path` once it is locked, by a thread that sleeps until then: the system wakes it.
/// Where nobody waits for it any more, the lock goes as it came.
fn lock_soon(path: &Path) -> io::Result<Receiver<io::Result<File>>> {
    let file = open(path)?;
    let (sender, locked) = mpsc::channel();
    std::thread::Builder::new().spawn(move || {
        // Nobody hears it who has been stopped.
        let _ = sender.send(file.lock().map(|()| file));
    })?;
    Ok(locked)
}

fn holder_of(path: &Path) -> String {
    regular::open(path).map_or_else(|_| "another process".into(), |mut file| read_holder(&mut file))
}

fn is_locked(path: &Path) -> bool {
    regular::open(path).is_ok_and(|file| matches!(try_lock(&file), Ok(false)))
}

/// Lock an open file; `false` when another process has.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Only for messages: a disk that is full does not keep the lock from being held.
fn write_holder(file: &mut File) {
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "{}", std::process::id()));
    drop(written);
}

fn read_holder(file: &mut File) -> String {
    let mut pid = String::new();
    match file.take(20).read_to_string(&mut pid) {
        Ok(_) if !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("process {pid}")
        }
        _ => "another process".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const NEVER: &dyn Fn() -> bool = &|| false;

    fn this_process() -> String {
        format!("process {}", std::process::id())
    }

    #[test]
    fn the_second_hears_who_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks/model.lock");
        assert!(!Lock::is_held(&path));
        let first = Lock::try_acquire(&path).unwrap();
        match Lock::try_acquire(&path) {
            Err(LockError::Held { holder, .. }) => assert_eq!(holder, this_process()),
            other => panic!("{other:?}"),
        }
        assert!(Lock::is_held(&path));
        drop(first);
        Lock::try_acquire(&path).unwrap();
    }

    #[test]
    fn the_second_waits_and_hears_once_who_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lock");
        let first = Lock::acquire(&path, &mut |_| panic!("nobody is there"), NEVER).unwrap();
        let (sender, receiver) = mpsc::channel();
        let second = std::thread::spawn({
            let path = path.clone();
            move || {
                let tell = &mut |holder: &str| sender.send(holder.to_owned()).unwrap();
                Lock::acquire(&path, tell, NEVER).map(drop)
            }
        });
        assert_eq!(receiver.recv().unwrap(), this_process());
        std::thread::sleep(NOTICE_AFTER / 5);
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap().unwrap();
        assert!(receiver.recv().is_err(), "it hears once");
        Lock::try_acquire(&path).unwrap();
    }

    #[test]
    fn a_short_wait_is_silent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lock");
        let first = Lock::try_acquire(&path).unwrap();
        let second = std::thread::spawn(move || {
            Lock::acquire(&path, &mut |holder| panic!("told of {holder}"), NEVER).map(drop)
        });
        std::thread::sleep(NOTICE_AFTER / 10);
        drop(first);
        second.join().unwrap().unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn who_waited_for_a_file_that_was_deleted_waits_for_the_one_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks/key.lock");
        let first = Lock::try_acquire(&path).unwrap();
        let second = std::thread::spawn({
            let path = path.clone();
            move || Lock::acquire(&path, &mut |_| {}, NEVER).map(drop)
        });
        std::thread::sleep(POLL * 2);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        let third = Lock::try_acquire(&path).unwrap();
        drop(first);
        std::thread::sleep(POLL * 2);
        assert!(!second.is_finished(), "the third has it");
        drop(third);
        second.join().unwrap().unwrap();
    }

    #[test]
    fn asking_who_has_a_lock_makes_no_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder_of(&folder.path().join("key.lock")), "another process");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn nobody_waits_longer_than_he_wants_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lock");
        let _first = Lock::try_acquire(&path).unwrap();
        let n_asked = Cell::new(0);
        let stop = || {
            n_asked.set(n_asked.get() + 1);
            n_asked.get() == 3
        };
        match Lock::acquire(&path, &mut |_| {}, &stop) {
            Err(LockError::Interrupted { holder }) => assert_eq!(holder, this_process()),
            other => panic!("{other:?}"),
        }
        assert_eq!(n_asked.get(), 3);
    }

    #[test]
    fn who_waits_sleeps_until_the_lock_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lock");
        let first = Lock::try_acquire(&path).unwrap();
        let (n_asked, started) = (Cell::new(0_u128), Instant::now());
        let mut first = Some(first);
        let stop = || {
            n_asked.set(n_asked.get() + 1);
            false
        };
        std::thread::scope(|scope| {
            let first = first.take();
            scope.spawn(move || {
                std::thread::sleep(Duration::from_secs(1));
                drop(first);
            });
            Lock::acquire(&path, &mut |_| {}, &stop).map(drop).unwrap();
        });
        let waited = started.elapsed();
        assert!(Duration::from_secs(1) <= waited);
        let n_polls = waited.as_millis() / POLL.as_millis();
        assert!(n_asked.get() <= n_polls + 2, "asked {} times in {waited:?}", n_asked.get());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
    }

    #[test]
    fn a_file_is_held_as_long_as_one_lease_lives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("entry.json");
        assert!(Lease::take(&path).is_none() && !Lease::is_held(&path));
        std::fs::write(&path, "{}").unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        File::options().append(true).open(&path).unwrap().set_modified(old).unwrap();
        assert!(!Lease::is_held(&path));
        let one = Lease::take(&path).unwrap();
        let other = Lease::take(&path).unwrap();
        assert!(Lease::is_held(&path));
        drop(one);
        assert!(Lease::is_held(&path));
        drop(other);
        assert!(!Lease::is_held(&path));
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        assert!(old + Duration::from_secs(1) < modified, "taking it is using it");
        assert_eq!(std::fs::read(&path).unwrap(), b"{}");
    }
}
