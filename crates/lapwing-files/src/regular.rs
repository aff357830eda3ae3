//! Files that are looked at before they are read.
//!
//! A name may lead to a pipe that nobody writes to, to a device without an end, or to far more than
//! anybody meant: who opens it by name alone waits or reads for ever.
//!
//! A name that is there is never taken for one that is not: [`is_there`] asks for the name alone, and
//! what it leads to is read or is an error.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::text;

/// What a text that people write may have: settings, a catalogue, a plan, a list.
pub const N_TEXT_BYTES_MAX: u64 = 16 << 20;

/// A link that leads nowhere: what it led to was removed, as from a cache that is pruned.
#[derive(Debug, thiserror::Error)]
#[error("a link to {}, where nothing is", .0.display())]
pub struct DanglingLink(PathBuf);

/// Something else than a file where a file is expected.
#[derive(Debug, thiserror::Error)]
#[error("expected a regular file, found {0}")]
pub struct NotRegular(&'static str);

impl NotRegular {
    /// Whether it is a pipe, which may be handed over where its name is not read.
    pub fn is_pipe(&self) -> bool {
        self.0 == PIPE
    }
}

const PIPE: &str = "a pipe";

/// A pointer of git lfs, which a clone without git-lfs leaves in a file's place.
#[derive(Debug, thiserror::Error)]
#[error("a pointer of git lfs in its place: `git lfs pull` fetches the file")]
pub struct LfsPointer;

impl LfsPointer {
    /// How one begins.
    const BEGINNING: &[u8] = b"version https://git-lfs.github.com/spec/";

    /// Whether these bytes are one, and not the file that somebody wanted.
    pub fn is(bytes: &[u8]) -> bool {
        bytes.starts_with(Self::BEGINNING)
    }

    /// Demand that these bytes of a file are none.
    ///
    /// # Errors
    ///
    /// When they are: an error of the system's type that holds this one.
    pub fn refuse(bytes: &[u8]) -> io::Result<()> {
        match Self::is(bytes) {
            true => Err(io::Error::new(io::ErrorKind::InvalidData, LfsPointer)),
            false => Ok(()),
        }
    }

    /// Demand that the regular file at `path` is none.
    ///
    /// # Errors
    ///
    /// As [`open`], and when it is.
    pub fn refuse_at(path: &Path) -> io::Result<()> {
        let mut start = Vec::new();
        open(path)?.take(Self::BEGINNING.len() as u64).read_to_end(&mut start)?;
        Self::refuse(&start)
    }
}

/// Whether there is something of this name, though it be a link that leads nowhere.
pub fn is_there(path: &Path) -> bool {
    let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    std::fs::symlink_metadata(path).map_or_else(|error| !absent.contains(&error.kind()), |_| true)
}

/// What the system says of the file at `path`, behind links.
///
/// # Errors
///
/// What the system says, and for a link that leads nowhere a [`DanglingLink`], which is not
/// [`io::ErrorKind::NotFound`].
pub fn metadata(path: &Path) -> io::Result<Metadata> {
    std::fs::metadata(path).map_err(|error| match (error.kind(), std::fs::read_link(path)) {
        (io::ErrorKind::NotFound, Ok(target)) => io::Error::other(DanglingLink(target)),
        _ => error,
    })
}

/// Demand that there is a regular file at `path`.
///
/// # Errors
///
/// As [`open_mappable`].
pub fn require(path: &Path) -> io::Result<()> {
    require_regular(&metadata(path)?)
}

/// Open the regular file at `path` for reading.
///
/// # Errors
///
/// When it cannot be opened, or is a folder, a pipe, a socket or a device; such a thing is not
/// opened at all, since that may wait for ever. A pipe that this process has open already is read
/// by its names (`/dev/stdin`, `/dev/fd/N`).
pub fn open(path: &Path) -> io::Result<File> {
    // By that name people say that there shall be nothing.
    if path == Path::new("/dev/null") {
        return File::open(path);
    }
    match is_handed_over(path) {
        true => open_if(path, require_regular_or_pipe),
        false => open_mappable(path),
    }
}

/// Open the regular file at `path` to map it: nothing else has bytes at every place.
///
/// # Errors
///
/// As [`open`], and for the null device and every pipe.
pub fn open_mappable(path: &Path) -> io::Result<File> {
    open_if(path, require_regular)
}

fn open_if(path: &Path, require: fn(&Metadata) -> io::Result<()>) -> io::Result<File> {
    require(&metadata(path)?)?;
    let file = File::open(path)?;
    // Something else may be there by now.
    require(&file.metadata()?)?;
    Ok(file)
}

/// Whether this is a name of something that this process has open already: stdin, or a shell's
/// `<(command)`, which is a pipe of such a name. Somebody is or was at its other end.
fn is_handed_over(path: &Path) -> bool {
    let folders = ["/dev/fd", "/proc/self/fd"];
    path == Path::new("/dev/stdin")
        || folders.iter().any(|folder| path.parent() == Some(Path::new(folder)))
}

/// Whether this is a name of what this process reads on stdin.
pub fn is_stdin(path: &Path) -> bool {
    ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|name| path == Path::new(name))
}

/// What the regular file at `path` says, a text or JSON, without a mark in front of it
/// ([`text::without_mark`]).
///
/// # Errors
///
/// As [`open`], when there are more than `n_bytes_max`, for an [`LfsPointer`], and for
/// [`text::Utf16`].
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
    if n_bytes_max < bytes.len() as u64 {
        return Err(too_large("more".to_owned()));
    }
    LfsPointer::refuse(&bytes)?;
    Ok(text::strip_mark(bytes)?)
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

fn require_regular_or_pipe(metadata: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    if std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type()) {
        return Ok(());
    }
    require_regular(metadata)
}

fn require_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let error = match metadata.is_dir() {
        true => io::ErrorKind::IsADirectory,
        false => io::ErrorKind::InvalidInput,
    };
    Err(io::Error::new(error, NotRegular(kind(metadata))))
}

/// What is not a regular file, in words.
pub fn kind(metadata: &Metadata) -> &'static str {
    if metadata.is_dir() {
        return "a folder";
    }
    let file_type = metadata.file_type();
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if file_type.is_fifo() {
            return PIPE;
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

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_that_was_handed_over_is_read_to_the_limit() {
        use std::io::Write as _;
        use std::os::fd::AsRawFd as _;
        for n_bytes in [5, 101] {
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(&vec![b'x'; n_bytes]).unwrap();
            drop(writer);
            let read = read_text(Path::new(&format!("/dev/fd/{}", reader.as_raw_fd())), 100);
            match n_bytes {
                5 => assert_eq!(read.unwrap(), "xxxxx"),
                _ => assert!(read.unwrap_err().to_string().contains("found more")),
            }
        }
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
    fn a_pointer_of_git_lfs_is_no_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid x\n").unwrap();
        let error = read(&path, 100).unwrap_err();
        assert!(error.get_ref().unwrap().is::<LfsPointer>(), "{error}");
        assert!(read_text(&path, 100).is_err() && LfsPointer::refuse_at(&path).is_err());
        std::fs::write(&path, "version 2").unwrap();
        assert!(read_text(&path, 100).is_ok() && LfsPointer::refuse_at(&path).is_ok());
    }

    #[test]
    fn a_mark_in_front_is_no_part_of_a_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, b"\xef\xbb\xbf{}").unwrap();
        assert_eq!(
            (read(&path, 5).unwrap(), &*read_text(&path, 5).unwrap()),
            (b"{}".to_vec(), "{}")
        );
        std::fs::write(&path, b"\xff\xfe{\0}\0").unwrap();
        for error in [read(&path, 100).unwrap_err(), read_text(&path, 100).unwrap_err()] {
            assert!(error.get_ref().unwrap().is::<text::Utf16>(), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_nowhere_is_not_taken_for_a_name_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        assert!(!is_there(&link) && !is_there(&folder.path().join("absent/absent")));
        std::os::unix::fs::symlink("blobs/gone", &link).unwrap();
        assert!(is_there(&link));
        for error in [read(&link, 1).unwrap_err(), require(&link).unwrap_err()] {
            assert_ne!(error.kind(), io::ErrorKind::NotFound);
            assert!(
                error.to_string().contains("a link to blobs/gone, where nothing is"),
                "{error}"
            );
            assert!(error.get_ref().unwrap().is::<DanglingLink>());
        }
        std::fs::create_dir(folder.path().join("blobs")).unwrap();
        std::fs::write(folder.path().join("blobs/gone"), "x").unwrap();
        assert_eq!(read(&link, 1).unwrap(), b"x");
        require(&link).unwrap();
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
