//! Files that are looked at before they are read.
//!
//! A name may lead to a pipe that nobody writes to, to a device without an end, or to far more than
//! anybody meant: who opens it by name alone waits or reads for ever.

use std::fs::{File, FileType, Metadata};
use std::io::{self, Read as _};
use std::path::Path;

/// What a text that people write may have: settings, a catalogue, a plan, a list.
pub const N_TEXT_BYTES_MAX: u64 = 16 << 20;

/// Open the regular file at `path` for reading.
///
/// # Errors
///
/// When it cannot be opened, or is a folder, a pipe, a socket or a device; such a thing is not
/// opened at all, since that may wait for ever.
pub fn open(path: &Path) -> io::Result<File> {
    // By that name people say that there shall be nothing.
    if path == Path::new("/dev/null") {
        return File::open(path);
    }
    require_regular(&std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    // Something else may be there by now.
    require_regular(&file.metadata()?)?;
    Ok(file)
}

/// The bytes of the regular file at `path`.
///
/// # Errors
///
/// As [`open`], and when there are more than `n_bytes_max`.
pub fn read(path: &Path, n_bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let n_bytes = file.metadata()?.len();
    let too_large = |found: String| {
        let problem = format!("expected at most {n_bytes_max} bytes, found {found}");
        io::Error::new(io::ErrorKind::FileTooLarge, problem)
    };
    if n_bytes_max < n_bytes {
        return Err(too_large(n_bytes.to_string()));
    }
    // It may grow meanwhile, and files of the kernel say that they are empty.
    let mut bytes = Vec::new();
    file.take(n_bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 <= n_bytes_max {
        true => Ok(bytes),
        false => Err(too_large("more".to_owned())),
    }
}

/// The text of the regular file at `path`.
///
/// # Errors
///
/// As [`read`], and when it is not UTF-8.
pub fn read_text(path: &Path, n_bytes_max: u64) -> io::Result<String> {
    let bytes = read(path, n_bytes_max)?;
    String::from_utf8(bytes).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8")
    })
}

fn require_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let (kind, found) = match metadata.is_dir() {
        true => (io::ErrorKind::IsADirectory, "a folder"),
        false => (io::ErrorKind::InvalidInput, name_of(metadata.file_type())),
    };
    Err(io::Error::new(kind, format!("expected a regular file, found {found}")))
}

fn name_of(file_type: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if file_type.is_fifo() {
            return "a pipe";
        }
        if file_type.is_socket() {
            return "a socket";
        }
        if file_type.is_char_device() || file_type.is_block_device() {
            return "a device";
        }
    }
    let _ = file_type;
    "something else"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(path: &Path, expected: &str) {
        let error = read_text(path, 100).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        let error = open(path).map(drop);
        assert!(expected.contains("bytes") || expected.contains("UTF-8") || error.is_err());
    }

    #[test]
    fn files_of_at_most_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for n_bytes in [0, 1, 100] {
            std::fs::write(&path, vec![b'x'; n_bytes]).unwrap();
            assert_eq!(read_text(&path, 100).unwrap().len(), n_bytes);
        }
        std::fs::write(&path, vec![b'x'; 101]).unwrap();
        refused(&path, "expected at most 100 bytes, found 101");
        std::fs::write(&path, b"\xff").unwrap();
        refused(&path, "valid UTF-8");
        let absent = read(&folder.path().join("absent"), 1).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_folder_is_no_file() {
        refused(tempfile::tempdir().unwrap().path(), "expected a regular file, found a folder");
    }

    #[cfg(unix)]
    #[test]
    fn what_would_wait_or_never_end_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        refused(&link, "expected a regular file, found a device");
        assert_eq!(read_text(Path::new("/dev/null"), 0).unwrap(), "");
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        refused(&socket, "found a socket");
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        refused(&pipe, "found a pipe");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn files_of_the_kernel_are_read_though_they_say_that_they_are_empty() {
        assert!(read_text(Path::new("/proc/self/status"), 1 << 20).unwrap().contains("VmRSS"));
        refused(Path::new("/proc/self/status"), "expected at most 100 bytes, found more");
    }
}
