//! Files that appear whole or not at all.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::FileError;

const PARTIAL_SUFFIX: &str = ".partial";

/// A file that is written under another name beside its own, one that nobody can foresee and that
/// is surely new. It vanishes unless it is finished.
#[derive(Debug)]
pub struct NewFile {
    partial: NamedTempFile,
    path: PathBuf,
}

impl NewFile {
    /// Begin the file that is to be at `path`. One that is there stays until [`NewFile::finish`]
    /// and passes its permissions on.
    ///
    /// # Errors
    ///
    /// When nothing can be written beside `path`, or a pipe, a device or a socket is there: it would
    /// be gone.
    pub fn create(path: &Path) -> io::Result<NewFile> {
        let there = std::fs::metadata(path).ok();
        if there.as_ref().is_some_and(|there| !there.is_file() && !there.is_dir()) {
            return Err(irregular());
        }
        let prefix = partial_prefix(path);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(PARTIAL_SUFFIX);
        readable_by_others(&mut builder);
        let partial = builder.tempfile_in(folder_of(path))?;
        // Before there is anything to read in it.
        if let Some(replaced) = there.filter(std::fs::Metadata::is_file) {
            partial.as_file().set_permissions(replaced.permissions())?;
        }
        Ok(NewFile { partial, path: path.to_owned() })
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut File {
        self.partial.as_file_mut()
    }

    /// Give the file its name, when all of it is on the disk.
    ///
    /// # Errors
    ///
    /// When that fails; what was at the path is still there then, and nothing else.
    pub fn finish(self) -> io::Result<()> {
        self.partial.as_file().sync_all()?;
        // One that is not renamed is removed.
        self.partial.persist(&self.path)?;
        // The file is in its place; this is only about a power cut within the next seconds, and
        // not every system can do it.
        let _ = File::open(folder_of(&self.path)).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

/// Write a file that appears at `path` whole or not at all, as a [`NewFile`].
///
/// # Errors
///
/// When it cannot be written; what was at `path` is still there then, and nothing else.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let written = || -> io::Result<()> {
        let mut new = NewFile::create(path)?;
        new.file().write_all(bytes)?;
        new.finish()
    };
    written().map_err(FileError::cannot("write", path))
}

/// Remove what killed processes left of new files at `path`. For who holds the lock of that path:
/// what lies about then belongs to nobody alive.
pub fn remove_leftovers(path: &Path) {
    let prefix = partial_prefix(path);
    let suffix = PARTIAL_SUFFIX.as_bytes();
    for entry in std::fs::read_dir(folder_of(path)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(prefix.as_encoded_bytes()) && name.ends_with(suffix) {
            // A leftover that stays does no harm.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn irregular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

/// The file that is meant by `path`, which need not be there yet: who replaces that one keeps the
/// links that lead to it.
///
/// # Errors
///
/// When the links lead nowhere.
pub fn behind_links(path: &Path) -> io::Result<PathBuf> {
    /// As many as Linux follows.
    const N_LINKS_MAX: usize = 40;
    if let Ok(real) = std::fs::canonicalize(path) {
        return Ok(real);
    }
    let mut real = path.to_owned();
    for _ in 0..N_LINKS_MAX {
        match std::fs::read_link(&real) {
            // What a link says is meant from the folder that the link is in.
            Ok(target) => real = real.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return Ok(real),
        }
    }
    Err(io::Error::other("more links than are followed"))
}

/// The folder that `path` is in; `.` for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

fn partial_prefix(path: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    prefix
}

/// As any file that is made: what the user's mask allows. Temporary files are private otherwise.
#[cfg(unix)]
fn readable_by_others(builder: &mut tempfile::Builder<'_, '_>) {
    use std::os::unix::fs::PermissionsExt as _;
    builder.permissions(std::fs::Permissions::from_mode(0o666));
}

#[cfg(not(unix))]
fn readable_by_others(_: &mut tempfile::Builder<'_, '_>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_neither_replaced_nor_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no mkfifo");
            return;
        }
        let error = write(&path, b"text").unwrap_err();
        assert_eq!(error.source.to_string(), "not a regular file");
        assert!(!std::fs::metadata(&path).unwrap().is_file(), "it is still there");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let device = Path::new("/dev/null");
        assert_eq!(NewFile::create(device).unwrap_err().to_string(), "not a regular file");
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        // A folder cannot be replaced by a file.
        let taken = folder.path().join("b");
        std::fs::create_dir(&taken).unwrap();
        let error = write(&taken, b"three").unwrap_err();
        assert_eq!(error.to_string(), format!("cannot write {}", taken.display()));
        assert_eq!(names_in(folder.path()), ["a.json", "b"]);
    }

    #[test]
    fn a_file_that_is_not_finished_vanishes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"one").unwrap();
        let mut new = NewFile::create(&path).unwrap();
        new.file().write_all(b"tw").unwrap();
        drop(new);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(names_in(folder.path()), ["a.json"]);
    }

    #[test]
    fn leftovers_of_this_file_only_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".a.json.x1Y2z3.partial", ".b.json.x1Y2z3.partial", "a.json.partial"] {
            std::fs::write(folder.path().join(name), "half").unwrap();
        }
        remove_leftovers(&folder.path().join("a.json"));
        assert_eq!(names_in(folder.path()), [".b.json.x1Y2z3.partial", "a.json.partial"]);
    }

    #[test]
    fn a_new_file_is_as_readable_as_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("a"), folder.path().join("b"));
        write(&ours, b"one").unwrap();
        std::fs::write(&plain, b"one").unwrap();
        let permissions = |path: &Path| std::fs::metadata(path).unwrap().permissions();
        assert_eq!(permissions(&ours), permissions(&plain));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_replaced_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("private");
        std::fs::write(&path, b"one").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }

    fn names_in(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}
