//! Files that appear whole or not at all.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;

/// Write a file under another name beside `path` and rename it. The other name is one that nobody
/// can foresee, and that is surely new. A file that is replaced passes its permissions on.
///
/// # Errors
///
/// When it cannot be written; what was at `path` is still there then, and nothing else.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".partial");
    readable_by_others(&mut builder);
    let mut partial = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
    // Before there is anything to read in it.
    if let Ok(replaced) = std::fs::metadata(path)
        && replaced.is_file()
    {
        partial.as_file().set_permissions(replaced.permissions())?;
    }
    partial.write_all(bytes)?;
    partial.as_file().sync_all()?;
    // One that is not renamed is removed.
    partial.persist(path)?;
    Ok(())
}

/// As any file that is made: what the user's mask allows. Temporary files are private otherwise.
#[cfg(unix)]
fn readable_by_others(builder: &mut tempfile::Builder<'_, '_>) {
    use std::os::unix::fs::PermissionsExt as _;
    builder.permissions(std::fs::Permissions::from_mode(0o666));
}

#[cfg(not(unix))]
fn readable_by_others(_: &mut tempfile::Builder<'_, '_>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        // A folder cannot be replaced by a file.
        let taken = folder.path().join("b");
        std::fs::create_dir(&taken).unwrap();
        assert!(write(&taken, b"three").is_err());
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.json", "b"]);
    }

    #[test]
    fn a_new_file_is_as_readable_as_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("a"), folder.path().join("b"));
        write(&ours, b"one").unwrap();
        std::fs::write(&plain, b"one").unwrap();
        let permissions = |path: &Path| std::fs::metadata(path).unwrap().permissions();
        assert_eq!(permissions(&ours), permissions(&plain));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_replaced_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("private");
        std::fs::write(&path, b"one").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }
}
