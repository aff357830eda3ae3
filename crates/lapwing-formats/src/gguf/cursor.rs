//! Reading forward through the bytes of one file, every step checked.

use std::path::Path;

use super::OpenGgufError;

/// A position in the file's bytes.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { path, bytes, offset: 0 }
    }

    pub(super) fn at(path: &'a Path, bytes: &'a [u8], offset: usize) -> Cursor<'a> {
        Cursor { path, bytes, offset }
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn file_size(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes between an earlier offset and here.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.offset).unwrap_or_default()
    }

    /// The next `n` bytes.
    pub(super) fn take(&mut self, what: &str, n: usize) -> Result<&'a [u8], OpenGgufError> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        match rest.get(..n) {
            Some(taken) => {
                self.offset += n;
                Ok(taken)
            }
            None => {
                let found = format!("{} until the end of the file", rest.len());
                Err(self.malformed(what, format!("{n} bytes"), found))
            }
        }
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], OpenGgufError> {
        let bytes = self.take(what, N)?;
        Ok(bytes.try_into().expect("take gives as many bytes as asked for"))
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, OpenGgufError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, OpenGgufError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub(super) fn usize(&mut self, what: &str) -> Result<usize, OpenGgufError> {
        let value = self.u64(what)?;
        usize::try_from(value)
            .map_err(|_| self.malformed(what, "a size of this machine", value.to_string()))
    }

    /// A length and that many bytes.
    pub(super) fn string(&mut self, what: &str) -> Result<&'a [u8], OpenGgufError> {
        let n_bytes = self.usize(what)?;
        self.take(what, n_bytes)
    }

    /// A string that must be UTF-8 and not empty: a key or a name.
    pub(super) fn utf8(&mut self, what: &str) -> Result<&'a str, OpenGgufError> {
        let bytes = self.string(what)?;
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.is_empty() => Ok(text),
            _ => {
                let start = &bytes[..bytes.len().min(32)];
                let found = format!("\"{}\"", start.escape_ascii());
                Err(self.malformed(what, "UTF-8 text", found))
            }
        }
    }

    pub(super) fn malformed(
        &self,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> OpenGgufError {
        OpenGgufError::Malformed {
            path: self.path.to_owned(),
            what: what.into(),
            offset: self.offset,
            expected: expected.into(),
            found: found.into(),
        }
    }
}
