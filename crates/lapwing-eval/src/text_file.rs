//! Texts to measure on: a file, its hash and its tokens.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use lapwing_files::{checksum, regular, text};
use lapwing_model::TokenId;
use lapwing_text::{EncodeError, Tokenizer};
use serde_json::{Value, json};

/// Tokens of a text take several times its length in memory; a file beyond this is a mistake.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// A text as it was read.
#[derive(Debug, Clone)]
pub struct TextFile {
    /// Its path as given.
    pub path: PathBuf,
    /// Of the file's bytes.
    pub sha256: String,
    /// What it says, without a mark in front of it.
    pub text: String,
}

/// Why a text cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum TextFileError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// It is no text.
    #[error("{} is no text: expected UTF-8, found another byte at {position}", path.display())]
    NotText { path: PathBuf, position: usize },
    /// There is nothing in it.
    #[error("{} is empty: expected a text", path.display())]
    Empty { path: PathBuf },
    /// It is too long.
    #[error("{} is longer than {TEXT_BYTES_MAX} bytes", path.display())]
    TooLong { path: PathBuf },
    /// The tokenizer cannot express it.
    #[error("cannot tokenise {}", path.display())]
    Encode { path: PathBuf, source: EncodeError },
}

impl TextFile {
    /// Read a text, whole and as it is, but for a byte order mark.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is empty, too long or no UTF-8.
    pub fn read(path: &Path) -> Result<TextFile, TextFileError> {
        let path = path.to_owned();
        let mut bytes = Vec::new();
        let read = regular::open(&path)
            .and_then(|file| file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes));
        if let Err(source) = read {
            return Err(TextFileError::Read { path, source });
        }
        if TEXT_BYTES_MAX < bytes.len() as u64 {
            return Err(TextFileError::TooLong { path });
        }
        let sha256 = checksum::sha256_bytes(&bytes);
        let bytes = match text::strip_mark(bytes) {
            Ok(bytes) => bytes,
            Err(source) => return Err(TextFileError::Read { path, source: source.into() }),
        };
        match String::from_utf8(bytes) {
            Ok(text) if text.is_empty() => Err(TextFileError::Empty { path }),
            Ok(text) => Ok(TextFile { path, sha256, text }),
            Err(error) => {
                let position = error.utf8_error().valid_up_to();
                Err(TextFileError::NotText { path, position })
            }
        }
    }

    /// The file's name without its folder.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// Length of the text in bytes.
    pub fn n_bytes(&self) -> usize {
        self.text.len()
    }

    /// All of it through the tokenizer, with what that puts around a text.
    ///
    /// # Errors
    ///
    /// When the tokenizer cannot express it.
    pub fn tokens(&self, tokenizer: &Tokenizer) -> Result<Vec<TokenId>, TextFileError> {
        tokenizer
            .encode(&self.text, true)
            .map_err(|source| TextFileError::Encode { path: self.path.clone(), source })
    }

    /// What JSON outputs tell of its bytes.
    pub fn of_bytes(&self) -> Value {
        json!({"name": self.name(), "sha256": self.sha256, "n_bytes": self.n_bytes()})
    }

    /// What JSON outputs tell of it, once it was cut.
    pub fn as_json(&self, n_tokens: usize) -> Value {
        let mut told = self.of_bytes();
        told["n_tokens"] = n_tokens.into();
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8], expected: &str| {
            let path = folder.path().join("a.txt");
            std::fs::write(&path, bytes).unwrap();
            let error = TextFile::read(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(b"", "is empty: expected a text");
        check(b"ab\xff", "expected UTF-8, found another byte at 2");
        let missing = TextFile::read(&folder.path().join("b.txt")).unwrap_err();
        assert!(matches!(missing, TextFileError::Read { .. }), "{missing}");
    }

    #[test]
    fn texts_from_windows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            TextFile::read(&path)
        };
        let text = read(b"\xef\xbb\xbfabc").unwrap();
        assert_eq!((&*text.text, text.n_bytes()), ("abc", 3));
        assert_eq!(text.sha256, checksum::sha256_bytes(b"\xef\xbb\xbfabc"));
        assert!(matches!(read(b"\xef\xbb\xbf"), Err(TextFileError::Empty { .. })));
        let Err(TextFileError::Read { source, .. }) = read(b"\xff\xfea\0") else { panic!() };
        assert!(source.get_ref().unwrap().is::<text::Utf16>());
    }

    #[test]
    fn a_text_keeps_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "abc\r\n").unwrap();
        let text = TextFile::read(&path).unwrap();
        assert_eq!((text.text.as_str(), text.name().as_str()), ("abc\r\n", "a.txt"));
        assert_eq!(text.sha256, checksum::sha256_bytes(b"abc\r\n"));
    }
}
