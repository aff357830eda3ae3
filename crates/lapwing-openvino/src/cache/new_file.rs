//! Small files that appear whole or not at all.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// No file that is read here is nearly as long.
const N_BYTES_MAX: u64 = 1 << 20;

/// Write a file under another name beside `path` and rename it.
///
/// # Errors
///
/// When it cannot be written; what was at `path` is still there then.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_added_extension(format!("{}.partial", std::process::id()));
    let written = std::fs::write(&partial, bytes).and_then(|()| std::fs::rename(&partial, path));
    if written.is_err() {
        // It may never have been there.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

/// The bytes of a small file.
///
/// # Errors
///
/// When it cannot be read or is not small.
pub(super) fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(N_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 <= N_BYTES_MAX {
        true => Ok(bytes),
        false => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is far too long")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read_small(&path).unwrap(), b"two");
        std::fs::create_dir(folder.path().join("taken")).unwrap();
        assert!(write(&folder.path().join("taken"), b"three").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_long_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        File::create(&path).unwrap().set_len(N_BYTES_MAX + 1).unwrap();
        assert_eq!(read_small(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        File::create(&path).unwrap().set_len(N_BYTES_MAX).unwrap();
        assert_eq!(read_small(&path).unwrap().len() as u64, N_BYTES_MAX);
    }
}
