//! Read-only memory maps of whole files.
#![allow(unsafe_code, reason = "mapping a file is unsafe: see `Map::open`")]

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

/// A whole file, mapped read-only. Cloning shares the map.
///
/// The file must not be truncated while it is mapped: the operating system answers a read beyond
/// its new end with a signal. Lapwing replaces model files by renaming, never in place.
#[derive(Clone, Debug)]
pub struct Map {
    path: Arc<Path>,
    bytes: Bytes,
    /// `None` for an empty file, which cannot be mapped.
    mapping: Option<Mapping>,
}

/// What `bytes` borrows from.
#[derive(Clone, Debug)]
struct Mapping(Arc<memmap2::Mmap>);

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.0
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

/// How a pointer of git lfs begins, which a clone without git-lfs leaves in a file's place.
const LFS_BEGINNING: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What is said of one.
pub const LFS_POINTER: &str = "a pointer of git lfs in its place: `git lfs pull` fetches the file";

/// Whether these bytes are a pointer of git lfs and not the file that somebody wanted.
pub fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(LFS_BEGINNING)
}

impl Map {
    /// Map the file at `path`. An empty file gives an empty map.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, is not a regular file or only a pointer of git lfs, or cannot
    /// be mapped.
    pub fn open(path: &Path) -> Result<Map, MapError> {
        let failed = |source| MapError { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(std::io::Error::other("not a regular file")));
        }
        if metadata.len() == 0 {
            return Ok(Map { path: path.into(), bytes: Bytes::new(), mapping: None });
        }
        // SAFETY: the map is read-only and private to this process; nobody shrinks a model file in
        // place (see the type's documentation).
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
        if is_lfs_pointer(&map) {
            return Err(failed(std::io::Error::other(LFS_POINTER)));
        }
        let mapping = Mapping(Arc::new(map));
        let bytes = Bytes::from_owner(mapping.clone());
        Ok(Map { path: path.into(), bytes, mapping: Some(mapping) })
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
        if let Some(Mapping(map)) = &self.mapping {
            // SAFETY: the map is never written to, so a dropped page comes back with the same
            // bytes.
            let advised = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
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

#[cfg(test)]
mod tests {
    use super::Map;

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
