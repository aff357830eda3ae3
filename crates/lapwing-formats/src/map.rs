//! Read-only memory maps of whole files.
#![allow(unsafe_code, reason = "mapping a file is unsafe: see `Map::open`")]

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use lapwing_files::Identity;
use lapwing_files::regular::{self, LfsPointer};

/// A whole file, mapped read-only. Cloning shares the map.
///
/// The map is private to this process, which also file systems give that have no shared ones; where
/// one gives none, the file is read into memory.
///
/// The file must not be written to or truncated while it is mapped: the bytes would change under
/// whoever reads them, and a read beyond the new end is answered with a signal. Lapwing replaces
/// model files by renaming, never in place, and [`require_unchanged`] tells whether somebody else
/// did otherwise.
#[derive(Clone, Debug)]
pub struct Map {
    path: Arc<Path>,
    bytes: Bytes,
    /// `None` for an empty file, which cannot be mapped, and for one that was read.
    mapping: Option<Mapping>,
}

/// What `bytes` borrows from.
#[derive(Clone, Debug)]
struct Mapping(Arc<Mapped>);

#[derive(Debug)]
struct Mapped {
    map: memmap2::Mmap,
    _watch: Watch,
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.0.map
    }
}

/// A file that somebody reads, as a library does that is given its path: as long as this is there,
/// [`require_unchanged`] tells when it was changed. Nothing of it is read for that.
#[derive(Debug)]
pub struct Watch {
    _watched: Arc<Watched>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// Kept open: its name may lead to another file by now, which changes nothing.
    file: File,
    /// When it was opened.
    identity: Identity,
}

impl Watch {
    /// Watch the file at `path` from now on.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or is not a regular file.
    pub fn open(path: &Path) -> Result<Watch, MapError> {
        let opened = regular::open_mappable(path).and_then(|file| Watch::of(file, path));
        opened.map_err(|source| MapError { path: path.to_owned(), source })
    }

    fn of(file: File, path: &Path) -> io::Result<Watch> {
        let identity = Identity::of(&file.metadata()?);
        let watched = Arc::new(Watched { path: path.to_owned(), file, identity });
        let mut all = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|each| each.strong_count() != 0);
        all.push(Arc::downgrade(&watched));
        Ok(Watch { _watched: watched })
    }
}

/// The files that this process watches.
static WATCHED: Mutex<Vec<Weak<Watched>>> = Mutex::new(Vec::new());

/// A file was written to or cut off while it was used: what was read of it is not to be trusted.
#[derive(Debug, thiserror::Error)]
#[error("{} changed while it was used: {change}", path.display())]
pub struct FileChanged {
    /// The file.
    pub path: PathBuf,
    /// What became of it.
    pub change: String,
}

/// Demand that no file at `path`, below it or beside it that this process has mapped or watches was
/// changed since then. Another file under the same name is no change: the map is of the first one.
///
/// # Errors
///
/// With the first file that was.
pub fn require_unchanged(path: &Path) -> Result<(), FileChanged> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    for watched in watched.iter().filter_map(Weak::upgrade) {
        if let Some(change) = watched.change().filter(|_| watched.path.starts_with(folder)) {
            return Err(FileChanged { path: watched.path.clone(), change });
        }
    }
    Ok(())
}

impl Watched {
    fn change(&self) -> Option<String> {
        match self.file.metadata() {
            Ok(metadata) => self.identity.change_to(&Identity::of(&metadata)),
            Err(error) => Some(error.to_string()),
        }
    }
}

/// Why a file could not be mapped.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}", path.display())]
pub struct MapError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

impl Map {
    /// Map the file at `path`. An empty file gives an empty map.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, is not a regular file or only a pointer of git lfs, or can be
    /// neither mapped nor read.
    pub fn open(path: &Path) -> Result<Map, MapError> {
        let failed = |source| MapError { path: path.to_owned(), source };
        let file = regular::open_mappable(path).map_err(failed)?;
        let n_bytes = file.metadata().map_err(failed)?.len();
        let path: Arc<Path> = path.into();
        if n_bytes == 0 {
            return Ok(Map { path, bytes: Bytes::new(), mapping: None });
        }
        let (bytes, mapping) = match map(&file) {
            Ok(map) => {
                let watch = Watch::of(file, &path).map_err(failed)?;
                let mapping = Mapping(Arc::new(Mapped { map, _watch: watch }));
                (Bytes::from_owner(mapping.clone()), Some(mapping))
            }
            Err(_) => (read(file, n_bytes).map_err(failed)?, None),
        };
        LfsPointer::refuse(&bytes).map_err(failed)?;
        Ok(Map { path, bytes, mapping })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Give the memory that the file's pages take back to the system, for when most of them will
    /// not be read again. Reading them stays right: they come from the file again.
    ///
    /// Only a hint; a system that does not take it changes nothing.
    pub fn release_pages(&self) {
        #[cfg(unix)]
        if let Some(Mapping(mapped)) = &self.mapping {
            let dropped = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the map is never written to, so a dropped page comes back with the same
            // bytes.
            let advised = unsafe { mapped.map.unchecked_advise(dropped) };
            // A refusal leaves the pages where they are.
            drop(advised);
        }
    }

    /// The file's bytes as a shared, uncopied slice.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

fn map(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: the map is read-only and private to this process; nobody shrinks a model file in
    // place (see the documentation of `Map`).
    unsafe { memmap2::MmapOptions::new().map_copy_read_only(file) }
}

/// The whole of a file that cannot be mapped.
fn read(file: File, n_bytes: u64) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    let too_large = |_| io::Error::from(io::ErrorKind::OutOfMemory);
    bytes.try_reserve_exact(usize::try_from(n_bytes).map_err(too_large)?).map_err(|_| {
        io::Error::new(io::ErrorKind::OutOfMemory, "it cannot be mapped, and is too large to read")
    })?;
    file.take(n_bytes).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_that_changes_under_its_map_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.bin");
        std::fs::write(&path, [7; 10_000]).unwrap();
        let map = Map::open(&path).unwrap();
        let shared = map.clone();
        assert!(require_unchanged(&path).is_ok() && require_unchanged(folder.path()).is_ok());
        // Another file of that name is not the one that is mapped.
        std::fs::write(folder.path().join("new"), [8; 10]).unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        require_unchanged(&path).unwrap();
        assert_eq!(&map[..], [7; 10_000]);
        drop((map, shared));

        let map = Map::open(&path).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(&[9]).unwrap();
        let error = require_unchanged(folder.path()).unwrap_err();
        assert_eq!((error.path, &*error.change), (path, "it had 10 bytes and has 11"));
        let elsewhere = tempfile::tempdir().unwrap();
        require_unchanged(elsewhere.path()).unwrap();
        drop(map);
        require_unchanged(folder.path()).unwrap();
    }

    #[test]
    fn what_cannot_be_mapped_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 10_000]).unwrap();
        let opened = || File::open(file.path()).unwrap();
        assert_eq!(&read(opened(), 10_000).unwrap()[..], [7; 10_000]);
        assert_eq!(read(opened(), 9).unwrap().len(), 9, "it grew since its length was asked for");
        let error = read(opened(), u64::MAX >> 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    }

    #[test]
    fn released_pages_come_back_with_the_same_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..20_000_u32).map(|n| n as u8).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        let map = Map::open(file.path()).unwrap();
        assert_eq!(&map[..], &bytes);
        map.release_pages();
        assert_eq!(&map[..], &bytes);
    }

    #[test]
    fn an_empty_file_is_an_empty_map() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let map = Map::open(file.path()).unwrap();
        map.release_pages();
        assert!(map.is_empty());
    }

    #[test]
    fn a_pointer_of_git_lfs_is_said_as_such() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n";
        std::fs::write(file.path(), pointer).unwrap();
        let error = Map::open(file.path()).unwrap_err();
        assert!(error.source.to_string().contains("`git lfs pull`"), "{error:?}");
        std::fs::write(file.path(), &pointer[1..]).unwrap();
        Map::open(file.path()).unwrap();
    }

    #[test]
    fn folders_and_missing_files_are_errors_that_name_them() {
        let folder = tempfile::tempdir().unwrap();
        let error = Map::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
        assert!(Map::open(&folder.path().join("absent")).is_err());
    }
}
