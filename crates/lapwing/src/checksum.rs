//! SHA-256 of files, with progress and Ctrl-C.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::interrupt;

const BUFFER_BYTES: usize = 1 << 20;

/// The SHA-256 of a file, in lower-case hexadecimal; `on_bytes` hears of every piece.
///
/// # Errors
///
/// When the file cannot be read, or with [`io::ErrorKind::Interrupted`] after Ctrl-C.
pub fn sha256_file(path: &Path, on_bytes: &mut dyn FnMut(u64)) -> io::Result<String> {
    copy_and_hash(&mut File::open(path)?, &mut io::sink(), on_bytes)
}

/// Copy everything and return the SHA-256 of it; `on_bytes` hears of every piece.
///
/// # Errors
///
/// As [`sha256_file`], or when writing fails.
pub fn copy_and_hash(
    source: &mut dyn Read,
    target: &mut dyn Write,
    on_bytes: &mut dyn FnMut(u64),
) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        if interrupt::requested() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let n_bytes = source.read(&mut buffer)?;
        if n_bytes == 0 {
            break;
        }
        digest.update(&buffer[..n_bytes]);
        target.write_all(&buffer[..n_bytes])?;
        on_bytes(n_bytes as u64);
    }
    Ok(hexadecimal(digest))
}

/// The SHA-256 of bytes in memory, in lower-case hexadecimal.
pub fn sha256_bytes(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

fn hexadecimal(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        let check = |data: &[u8], expected: &str| {
            let mut copy = Vec::new();
            let mut n_bytes = 0;
            let found = copy_and_hash(&mut &data[..], &mut copy, &mut |n| n_bytes += n).unwrap();
            assert_eq!(found, expected);
            assert_eq!(sha256_bytes(data), expected);
            assert_eq!((copy.as_slice(), n_bytes), (data, data.len() as u64));
        };
        check(b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        check(b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
