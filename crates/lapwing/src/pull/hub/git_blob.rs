//! The hash that git gives a file: the SHA-1 of a short header and its bytes.
//!
//! It tells a file that was damaged on its way from one that was not, and is no guard against
//! somebody who wants to deceive: files that matter have a SHA-256 as well.

use std::io;
use std::path::Path;

/// The hash of the file at `path` as a git blob, in lower-case hexadecimal.
///
/// # Errors
///
/// When the file cannot be read.
pub(super) fn sha1_file(path: &Path) -> io::Result<String> {
    // The hub keeps files of more than some megabytes in another way.
    Ok(sha1_of_blob(&std::fs::read(path)?))
}

fn sha1_of_blob(bytes: &[u8]) -> String {
    let message = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
    sha1(message).iter().map(|word| format!("{word:08x}")).collect()
}

/// Source: FIPS 180-4, sections 5.1.1, 5.3.1 and 6.1.2.
fn sha1(mut message: Vec<u8>) -> [u32; 5] {
    let n_bits = (message.len() as u64).wrapping_mul(8);
    message.push(0x80);
    message.resize((message.len() + 8).next_multiple_of(64), 0);
    let end = message.len() - 8;
    message[end..].copy_from_slice(&n_bits.to_be_bytes());
    let start = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    message.chunks_exact(64).fold(start, compress)
}

fn compress(hash: [u32; 5], block: &[u8]) -> [u32; 5] {
    let mut schedule = [0_u32; 80];
    for (word, bytes) in schedule.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    for t in 16..80 {
        let mixed = schedule[t - 3] ^ schedule[t - 8] ^ schedule[t - 14] ^ schedule[t - 16];
        schedule[t] = mixed.rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = hash;
    for (t, word) in schedule.into_iter().enumerate() {
        let (mixed, constant) = match t {
            0..20 => ((b & c) | (!b & d), 0x5a82_7999_u32),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6),
        };
        let next = [mixed, e, constant, word].into_iter().fold(a.rotate_left(5), u32::wrapping_add);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    let [h0, h1, h2, h3, h4] = hash;
    [
        h0.wrapping_add(a),
        h1.wrapping_add(b),
        h2.wrapping_add(c),
        h3.wrapping_add(d),
        h4.wrapping_add(e),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_as_git_hash_object_names_them() {
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(sha1_of_blob(bytes), expected, "{} bytes", bytes.len());
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
