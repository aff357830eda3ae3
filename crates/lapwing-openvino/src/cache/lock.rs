//! One process at a time per entry.
//!
//! Advisory locks of the operating system, which end with their holder, however that ends. Two
//! kinds: the lock of a key, held while an entry is checked, read or written, and the lease of an
//! entry, held together with others as long as a model that came out of it is open.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// Who opens the same model a moment later waits so long without hearing of it.
const NOTICE_AFTER: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(20);

/// The lock of a key; let go of when dropped.
#[derive(Debug)]
pub(super) struct KeyLock {
    // Closing the file lets go.
    _file: File,
}

impl KeyLock {
    /// Take the lock at `path`, or wait for its holder; `on_wait` hears once who that is, if it
    /// takes longer than a moment.
    ///
    /// # Errors
    ///
    /// When the file cannot be made or locked.
    pub(super) fn acquire(path: &Path, on_wait: &mut dyn FnMut(&str)) -> io::Result<KeyLock> {
        let mut file = open(path)?;
        let started = Instant::now();
        while !try_lock(&file)? {
            if NOTICE_AFTER <= started.elapsed() {
                on_wait(&holder(&mut file));
                lock(&file)?;
                break;
            }
            std::thread::sleep(POLL);
        }
        write_holder(&mut file);
        Ok(KeyLock { _file: file })
    }

    /// Take the lock at `path` if nobody has it; `None` when somebody has.
    ///
    /// # Errors
    ///
    /// As [`KeyLock::acquire`].
    pub(super) fn try_acquire(path: &Path) -> io::Result<Option<KeyLock>> {
        let mut file = open(path)?;
        if !try_lock(&file)? {
            return Ok(None);
        }
        write_holder(&mut file);
        Ok(Some(KeyLock { _file: file }))
    }

    /// Whether somebody has the lock at `path`.
    pub(super) fn is_held(path: &Path) -> bool {
        is_locked(path)
    }
}

/// An entry that is not removed as long as this lives.
#[derive(Debug)]
pub(crate) struct Lease {
    // Closing the file lets go.
    _file: File,
}

impl Lease {
    /// Hold the entry whose record is at `path`, and note that it was used now. `None` where the
    /// system refuses: then nothing keeps the entry from being removed, which harms nobody whose
    /// files are open.
    pub(super) fn take(path: &Path) -> Option<Lease> {
        let writable = File::options().read(true).append(true).open(path);
        let file = writable.or_else(|_| File::open(path)).ok()?;
        // Of a folder that cannot be written nothing is removed by age.
        let _ = file.set_modified(SystemTime::now());
        file.lock_shared().ok()?;
        Some(Lease { _file: file })
    }

    /// Whether somebody holds the entry whose record is at `path`.
    pub(super) fn is_held(path: &Path) -> bool {
        is_locked(path)
    }
}

fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn lock(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            locked => return locked,
        }
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

fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    match file.rewind().and_then(|()| file.take(20).read_to_string(&mut pid)) {
        Ok(_) if !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("process {pid}")
        }
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_second_waits_and_hears_who_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lock");
        let first = KeyLock::acquire(&path, &mut |_| panic!("nobody is there")).unwrap();
        assert!(KeyLock::try_acquire(&path).unwrap().is_none() && KeyLock::is_held(&path));
        let (sender, receiver) = mpsc::channel();
        let second = std::thread::spawn({
            let path = path.clone();
            move || {
                let tell = &mut |holder: &str| sender.send(holder.to_owned()).unwrap();
                KeyLock::acquire(&path, tell).map(drop)
            }
        });
        let heard = receiver.recv().unwrap();
        assert_eq!(heard, format!("process {}", std::process::id()));
        std::thread::sleep(NOTICE_AFTER / 5);
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap().unwrap();
        assert!(receiver.recv().is_err(), "it hears once");
        assert!(KeyLock::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn a_short_wait_is_silent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lock");
        let first = KeyLock::try_acquire(&path).unwrap().unwrap();
        let second = std::thread::spawn(move || {
            KeyLock::acquire(&path, &mut |holder| panic!("told of {holder}")).map(drop)
        });
        std::thread::sleep(NOTICE_AFTER / 10);
        drop(first);
        second.join().unwrap().unwrap();
    }

    #[test]
    fn an_entry_is_held_as_long_as_one_lease_lives() {
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
