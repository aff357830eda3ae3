//! Hashes: SHA-256, by which a file is known again, and a quick one against accidents.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

use sha2::Digest as _;

use crate::{FileError, regular};

const BUFFER_BYTES: usize = 1 << 20;

/// A SHA-256 that is given its bytes piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Sha256(sha2::Sha256);

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The caller wants no more of it.
    #[error("interrupted")]
    Interrupted,
}

impl Sha256 {
    /// The hash of nothing, as yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Add bytes behind those before.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes);
    }

    /// Add a whole file; `on_bytes` hears of every piece.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or when stopped.
    pub fn update_from(
        &mut self,
        path: &Path,
        on_bytes: &mut dyn FnMut(u64),
        stop: &dyn Fn() -> bool,
    ) -> Result<(), HashError> {
        let cannot_read = FileError::cannot("read", path);
        let mut file = regular::open(path).map_err(&cannot_read)?;
        let read = read_pieces(&mut file, stop, &mut |piece| {
            self.update(piece);
            on_bytes(piece.len() as u64);
            Ok(())
        });
        stopped_or(read, cannot_read)
    }

    /// 64 lower-case hexadecimal digits.
    pub fn finish(self) -> String {
        hexadecimal(&self.0.finalize())
    }
}

/// The SHA-256 of a file, in lower-case hexadecimal; `on_bytes` hears of every piece.
///
/// # Errors
///
/// When the file cannot be read, or when stopped.
pub fn sha256_file(
    path: &Path,
    on_bytes: &mut dyn FnMut(u64),
    stop: &dyn Fn() -> bool,
) -> Result<String, HashError> {
    let mut digest = Sha256::new();
    digest.update_from(path, on_bytes, stop)?;
    Ok(digest.finish())
}

/// Copy everything that `source` gives into a file at `path` and return the SHA-256 of it;
/// `on_bytes` hears of every piece.
///
/// # Errors
///
/// When reading or writing fails, or when stopped; part of the file may be there then.
pub fn copy_and_hash(
    source: &mut dyn Read,
    path: &Path,
    on_bytes: &mut dyn FnMut(u64),
    stop: &dyn Fn() -> bool,
) -> Result<String, HashError> {
    let cannot_write = FileError::cannot("write", path);
    let mut file = File::create(path).map_err(&cannot_write)?;
    let mut digest = Sha256::new();
    let copied = read_pieces(source, stop, &mut |piece| {
        digest.update(piece);
        file.write_all(piece)?;
        on_bytes(piece.len() as u64);
        Ok(())
    });
    stopped_or(copied, cannot_write)?;
    Ok(digest.finish())
}

/// The SHA-256 of bytes in memory, in lower-case hexadecimal.
pub fn sha256_bytes(bytes: &[u8]) -> String {
    hexadecimal(&sha2::Sha256::digest(bytes))
}

/// Length and CRC-32 of a file, read piece by piece.
///
/// A CRC is several times as fast as a SHA-256, and finds what a disk or a killed process does to a
/// file. It is no guard against somebody who wants to deceive.
///
/// # Errors
///
/// When the file cannot be read.
pub fn length_and_crc32(path: &Path) -> io::Result<(u64, u32)> {
    let mut crc = crc32fast::Hasher::new();
    let mut n_bytes = 0_u64;
    read_pieces(&mut regular::open(path)?, &|| false, &mut |piece| {
        crc.update(piece);
        n_bytes += piece.len() as u64;
        Ok(())
    })?;
    Ok((n_bytes, crc.finalize()))
}

/// Bytes as lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Read to the end; whether that was reached, and not stopped before.
fn read_pieces(
    source: &mut dyn Read,
    stop: &dyn Fn() -> bool,
    on_piece: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<bool> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        if stop() {
            return Ok(false);
        }
        match source.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(n_bytes) => on_piece(&buffer[..n_bytes])?,
            // A signal came, which is no reason to give up.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn stopped_or(
    read: io::Result<bool>,
    cannot: impl Fn(io::Error) -> FileError,
) -> Result<(), HashError> {
    match read.map_err(cannot)? {
        true => Ok(()),
        false => Err(HashError::Interrupted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        let never = &|| false;
        let check = |data: &[u8], expected: &str| {
            let (mut n_copied, mut n_read) = (0, 0);
            let on_bytes = &mut |n_bytes| n_copied += n_bytes;
            let found = copy_and_hash(&mut &data[..], &path, on_bytes, never).unwrap();
            assert_eq!(found, expected);
            assert_eq!(sha256_bytes(data), expected);
            assert_eq!(std::fs::read(&path).unwrap(), data);
            let found = sha256_file(&path, &mut |n_bytes| n_read += n_bytes, never).unwrap();
            assert_eq!(found, expected);
            assert_eq!((n_copied, n_read), (data.len() as u64, data.len() as u64));
        };
        check(b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        check(b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn known_checksums() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let check = |bytes: &[u8], expected: u32| {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(length_and_crc32(&path).unwrap(), (bytes.len() as u64, expected));
        };
        check(b"", 0);
        check(b"123456789", 0xcbf4_3926);
        let long: Vec<u8> = (0..3 * BUFFER_BYTES + 1).map(|n| (n % 251) as u8).collect();
        check(&long, crc32fast::hash(&long));
    }

    #[test]
    fn files_one_behind_the_other_are_one_text() {
        let folder = tempfile::tempdir().unwrap();
        let mut digest = Sha256::new();
        for (name, text) in [("a", "ab"), ("b", ""), ("c", "c")] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            digest.update_from(&path, &mut |_| {}, &|| false).unwrap();
        }
        assert_eq!(digest.finish(), sha256_bytes(b"abc"));
    }

    #[test]
    fn who_is_stopped_says_so_and_who_cannot_read_says_what() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let error = sha256_file(&path, &mut |_| {}, &|| false).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read {}", path.display()));
        std::fs::write(&path, "text").unwrap();
        let error = sha256_file(&path, &mut |_| {}, &|| true).unwrap_err();
        assert!(matches!(error, HashError::Interrupted), "{error}");
    }

    /// Signals come, and the bytes come in pieces.
    struct Disturbed<'a>(&'a [u8], bool);

    impl Read for Disturbed<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            match self.1 {
                true => Err(io::ErrorKind::Interrupted.into()),
                false => self.0.read(&mut buffer[..1]),
            }
        }
    }

    #[test]
    fn a_signal_is_no_reason_to_give_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        let source = &mut Disturbed(b"abc", false);
        let found = copy_and_hash(source, &path, &mut |_| {}, &|| false).unwrap();
        assert_eq!(found, sha256_bytes(b"abc"));
    }
}
