//! The text of a prompt, from where the user says.

use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Prompts are text that a person or a program wrote; a file beyond this is a mistake.
const PROMPT_BYTES_MAX: u64 = 64 << 20;

/// Why a prompt cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// There is nothing in it.
    #[error("the prompt is empty: {origin}")]
    Empty { origin: &'static str },
    /// It cannot be read.
    #[error("cannot read the prompt from {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file that is no prompt.
    #[error("the prompt in {} is longer than {PROMPT_BYTES_MAX} bytes", path.display())]
    TooLarge { path: PathBuf },
}

/// Read a prompt from a file.
///
/// # Errors
///
/// When it cannot be read, is no UTF-8, or is too large.
pub fn from_file(path: &Path) -> Result<String, PromptError> {
    let failed = |source| PromptError::Read { path: path.to_owned(), source };
    read(std::fs::File::open(path).map_err(failed)?, path)
}

/// Read a prompt from stdin, to its end.
///
/// # Errors
///
/// As [`from_file`].
pub fn from_stdin() -> Result<String, PromptError> {
    read(std::io::stdin().lock(), Path::new("stdin"))
}

fn read(source: impl std::io::Read, path: &Path) -> Result<String, PromptError> {
    let mut text = String::new();
    let mut bounded = source.take(PROMPT_BYTES_MAX + 1);
    let n_bytes = bounded
        .read_to_string(&mut text)
        .map_err(|source| PromptError::Read { path: path.to_owned(), source })?;
    if PROMPT_BYTES_MAX < n_bytes as u64 {
        return Err(PromptError::TooLarge { path: path.to_owned() });
    }
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

    use super::read;

    #[test]
    fn one_final_newline_is_not_part_of_the_prompt() {
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(read(bytes, Path::new("stdin")).unwrap(), expected);
        };
        check(b"hello\n", "hello");
        check(b"hello\r\n", "hello");
        check(b"hello\n\n", "hello\n");
        check(b"hello", "hello");
        check(b"", "");
    }
}
