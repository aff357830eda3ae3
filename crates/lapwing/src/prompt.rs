//! Texts that a prompt is made of, from where the user says.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use lapwing_files::{regular, text};

/// Prompts are text that a person or a program wrote; a file beyond this is a mistake.
const PROMPT_BYTES_MAX: u64 = 64 << 20;

/// Why a prompt cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// There is nothing in it.
    #[error("the prompt is empty: {origin}")]
    Empty { origin: String },
    /// It cannot be read.
    #[error("cannot read the {what} from {}", path.display())]
    Read {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Text in the other encoding that Windows writes.
    #[error("the {what} in {} is UTF-16, not UTF-8", path.display())]
    Utf16 {
        what: &'static str,
        /// The file, or `stdin`.
        path: PathBuf,
    },
    /// Bytes that no text has, among them the same encoding without its mark.
    #[error(
        "the {what} in {} is no text: byte {n_bytes_before} behind its start is zero",
        path.display()
    )]
    Zero { what: &'static str, path: PathBuf, n_bytes_before: usize },
    /// A file that is no prompt.
    #[error("the {what} in {} is longer than {PROMPT_BYTES_MAX} bytes", path.display())]
    TooLarge { what: &'static str, path: PathBuf },
}

/// Read `what` from a file; `-` is stdin.
pub fn from_file(path: &Path, what: &'static str) -> Result<String, PromptError> {
    if is_stdin(path) {
        return from_stdin(what);
    }
    let failed = |source| PromptError::Read { what, path: path.to_owned(), source };
    read(regular::open(path).map_err(failed)?, path, what)
}

/// Read `what` from stdin, to its end.
pub fn from_stdin(what: &'static str) -> Result<String, PromptError> {
    read(std::io::stdin().lock(), Path::new("stdin"), what)
}

/// Whether a path stands for stdin.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-") || regular::is_stdin(path)
}

/// A path as it is told.
pub fn named(path: &Path) -> &Path {
    if is_stdin(path) { Path::new("stdin") } else { path }
}

/// Whether stdin is a pipe, or a file with something in it: somebody may expect that it is read.
pub fn is_stdin_waiting() -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        let stdin = std::fs::metadata("/dev/stdin");
        stdin.is_ok_and(|stdin| stdin.file_type().is_fifo() || (stdin.is_file() && stdin.len() > 0))
    }
    #[cfg(not(unix))]
    false
}

fn read(
    source: impl std::io::Read,
    path: &Path,
    what: &'static str,
) -> Result<String, PromptError> {
    let failed = |source| PromptError::Read { what, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let n_bytes = source.take(PROMPT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if PROMPT_BYTES_MAX < n_bytes as u64 {
        return Err(PromptError::TooLarge { what, path: path.to_owned() });
    }
    let bytes =
        text::strip_mark(bytes).map_err(|_| PromptError::Utf16 { what, path: path.to_owned() })?;
    if let Some(n_bytes_before) = bytes.iter().position(|byte| *byte == 0) {
        return Err(PromptError::Zero { what, path: path.to_owned(), n_bytes_before });
    }
    let mut text = String::from_utf8(bytes).map_err(|_| {
        failed(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "stream did not contain valid UTF-8",
        ))
    })?;
    // The newline that ends a file or `echo`'s output is not part of the question.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{PromptError, read};

    #[test]
    fn one_final_newline_is_not_part_of_the_prompt() {
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(read(bytes, Path::new("stdin"), "prompt").unwrap(), expected);
        };
        check(b"hello\n", "hello");
        check(b"hello\r\n", "hello");
        check(b"hello\n\n", "hello\n");
        check(b"hello", "hello");
        check(b"", "");
    }

    #[test]
    fn files_from_windows() {
        let read = |bytes: &[u8]| read(bytes, Path::new("stdin"), "prompt");
        assert_eq!(read(b"\xef\xbb\xbfHello\r\n").unwrap(), "Hello");
        assert_eq!(read(b"\xef\xbb\xbf").unwrap(), "");
        assert_eq!(read(b"a\xef\xbb\xbfb").unwrap(), "a\u{feff}b");
        for utf16 in [&b"\xff\xfeH\0"[..], b"\xfe\xff\0H"] {
            assert!(matches!(read(utf16), Err(PromptError::Utf16 { .. })));
        }
        for no_text in [&b"H\0i\0"[..], b"\0H\0i", b"a\0"] {
            assert!(matches!(read(no_text), Err(PromptError::Zero { .. })));
        }
        let says = read(b"\xff").unwrap_err();
        assert!(matches!(says, PromptError::Read { .. }), "{says}");
    }
}
