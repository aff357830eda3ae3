//! Checksums: a quick one against accidents, and a name for what has a meaning.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

const BUFFER_BYTES: usize = 1 << 20;

/// Length and CRC-32 of a file, read piece by piece.
///
/// A compiled model is as large as its weights and is checked at every start: a CRC is several
/// times as fast as a SHA-256, and finds what a disk or a killed process does to a file. Who may
/// write to the cache could write a checksum too.
///
/// # Errors
///
/// When the file cannot be read.
pub(super) fn length_and_crc32(path: &Path) -> io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let mut crc = crc32fast::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut n_bytes = 0_u64;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((n_bytes, crc.finalize())),
            Ok(n_read) => {
                crc.update(&buffer[..n_read]);
                n_bytes += n_read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The SHA-256 of bytes in lower-case hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

/// The digest in lower-case hexadecimal.
pub(super) fn hexadecimal(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
