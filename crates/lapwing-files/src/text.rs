//! How the texts begin that programs on Windows write.

use std::io;

/// A text in the encoding that is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("UTF-16, not UTF-8")]
pub struct Utf16;

impl From<Utf16> for io::Error {
    fn from(error: Utf16) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// What a file of text says: the mark that some editors put in front of UTF-8 is no part of it.
///
/// # Errors
///
/// When the mark is that of UTF-16.
pub fn without_mark(bytes: &[u8]) -> Result<&[u8], Utf16> {
    const UTF_8: &[u8] = b"\xef\xbb\xbf";
    const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
    if UTF_16.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(Utf16);
    }
    Ok(bytes.strip_prefix(UTF_8).unwrap_or(bytes))
}

/// The same of bytes that are owned.
///
/// # Errors
///
/// As [`without_mark`].
pub fn strip_mark(mut bytes: Vec<u8>) -> Result<Vec<u8>, Utf16> {
    let n_bytes = without_mark(&bytes)?.len();
    bytes.drain(..bytes.len() - n_bytes);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mark_in_front_is_no_text() {
        let check = |bytes: &[u8], expected: Result<&[u8], Utf16>| {
            assert_eq!(without_mark(bytes), expected);
            assert_eq!(strip_mark(bytes.to_vec()), expected.map(<[u8]>::to_vec));
        };
        check(b"", Ok(b""));
        check(b"a", Ok(b"a"));
        check(b"\xef\xbb\xbf", Ok(b""));
        check(b"\xef\xbb\xbfa", Ok(b"a"));
        check(b"\xef\xbb\xbf\xef\xbb\xbfa", Ok(b"\xef\xbb\xbfa"));
        check(b"a\xef\xbb\xbf", Ok(b"a\xef\xbb\xbf"));
        check(b"\xef\xbb", Ok(b"\xef\xbb"));
        check(b"\xff\xfea\0", Err(Utf16));
        check(b"\xfe\xff\0a", Err(Utf16));
    }
}
