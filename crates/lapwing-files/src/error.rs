//! What the system refused.

use std::io;
use std::path::{Path, PathBuf};

/// The system refused to do something with a file or folder.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// What was to be done: `read`, `write`, `lock the record file`.
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl FileError {
    /// What turns an error of the system into this one, for `map_err`.
    pub fn cannot(action: &'static str, path: &Path) -> impl Fn(io::Error) -> FileError {
        move |source| FileError { action, path: path.to_owned(), source }
    }

    /// What kind of error the system gave.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn what_was_being_done_is_told_with_the_path_and_the_cause_behind_it() {
        let error = FileError::cannot("write", Path::new("a/b"))(io::ErrorKind::NotFound.into());
        assert_eq!(error.to_string(), "cannot write a/b");
        assert_eq!(error.source().unwrap().to_string(), "entity not found");
    }
}
