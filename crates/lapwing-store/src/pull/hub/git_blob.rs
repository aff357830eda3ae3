//! The hash that git gives a file: the SHA-1 of a short header and its bytes.
//!
//! It tells a file that was damaged on its way from one that was not, and is no guard against
//! somebody who wants to deceive: files that matter have a SHA-256 as well.

use std::io::{self, Read};
use std::path::Path;

use lapwing_files::checksum;
use lapwing_files::regular;
use sha1::{Digest, Sha1};

const BUFFER_BYTES: usize = 64 << 10;

/// The hash of the file at `path` as a git blob, in lower-case hexadecimal.
///
/// # Errors
///
/// When the file cannot be read.
pub(super) fn sha1_file(path: &Path) -> io::Result<String> {
    let file = regular::open(path)?;
    let n_bytes = file.metadata()?.len();
    sha1_of_blob(file, n_bytes)
}

fn sha1_of_blob(mut blob: impl Read, n_bytes: u64) -> io::Result<String> {
    let mut digest = Sha1::new();
    digest.update(format!("blob {n_bytes}\0"));
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match blob.read(&mut buffer) {
            Ok(0) => return Ok(checksum::hexadecimal(&digest.finalize())),
            Ok(n_bytes) => digest.update(&buffer[..n_bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_as_git_hash_object_names_them() {
        let check = |bytes: &[u8], expected: &str| {
            let found = sha1_of_blob(bytes, bytes.len() as u64).unwrap();
            assert_eq!(found, expected, "{} bytes", bytes.len());
        };
        // Lengths on both sides of where the padding takes another block.
        check(b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        check(b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a");
        check(&[b'x'; 47], "719ddd7888a02660234770b651274214ff7df239");
        check(&[b'x'; 48], "3b3abca28de4b8ce6ea9dac5da512120ed7c5a0c");
        check(&[b'x'; 55], "e329c5109ce10a7367561757d2f5a053c528f11e");
        check(&[b'x'; 56], "355e203863c368f0404d7fc7ae4761122c117dd2");
        check(&[b'x'; 1000], "14c7dfdd4258dec5c0e9d2e919bd249bd674be1f");
    }
}
