//! A model from a path on this machine: a copy or a link.

use std::io;
use std::path::{Path, PathBuf};

use lapwing_files::FileError;
use lapwing_files::checksum::{self, HashError};
use lapwing_files::disk::{self, NoRoomError};
use lapwing_files::regular;

use crate::model_kind::ModelKind;
use crate::notice::{Activity, Caller, Progress, Work};
use crate::store::FileRecord;

use super::whole::{self, NotWholeError};
use super::{Delivery, Wanted};

/// More files than any model has: the path is something else, such as a home folder.
const N_FILES_MAX: usize = 4096;

/// Why a path was not taken.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum LocalError {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] FileError),
    /// No model by the names of its files.
    #[error("no model in {}: no .gguf, .safetensors, .onnx or openvino_*.xml file", path.display())]
    NoModel { path: PathBuf },
    /// Half a file, by its own header.
    #[error(transparent)]
    NotWhole(#[from] NotWholeError),
    /// A copy does not fit on the disk.
    #[error(transparent)]
    NoRoom(#[from] NoRoomError),
    /// Far too many files.
    #[error("{} holds more than {N_FILES_MAX} files and is no model folder", path.display())]
    TooManyFiles { path: PathBuf },
    /// Not the file that the catalogue means.
    #[error(
        "{} is not the expected file: expected sha256 {expected}, found {found}", path.display()
    )]
    Checksum { path: PathBuf, expected: String, found: String },
    /// The caller stopped it.
    #[error("interrupted")]
    Interrupted,
}

/// Copy or link the files of `path` into `staging`.
pub(super) fn fetch(
    path: &Path,
    link: bool,
    wanted: &Wanted,
    staging: &Path,
    caller: Caller<'_>,
) -> Result<Delivery, LocalError> {
    let path = path.canonicalize().map_err(FileError::cannot("read", path))?;
    let files = files_of(&path)?;
    let names = || files.iter().map(|file| file.name.as_str());
    if ModelKind::of_files(names()) == ModelKind::Unknown {
        return Err(LocalError::NoModel { path });
    }
    if ModelKind::of_files(names()) != ModelKind::Gguf && !path.is_dir() {
        return Err(NotWholeError::OneFile { path }.into());
    }
    let folder = if path.is_dir() { &path } else { path.parent().unwrap_or(&path) };
    whole::check(folder, names())?;
    let n_bytes = files.iter().map(|file| file.size_bytes).sum();
    if !link {
        disk::require(staging, n_bytes)?;
    }
    let activity = if link { Activity::Linking } else { Activity::Copying };
    let work = Work::new(activity, &wanted.name);
    let mut progress = Progress::begin(caller, work, Some(n_bytes));
    let mut records = Vec::new();
    for file in &files {
        records.push(take(file, link, staging, &mut progress, caller.is_stopped)?);
    }
    if let (Some(expected), [record]) = (&wanted.sha256, records.as_slice())
        && *expected != record.sha256
    {
        return Err(LocalError::Checksum {
            path,
            expected: expected.clone(),
            found: record.sha256.clone(),
        });
    }
    let source = format!("file:{}", path.display());
    Ok(Delivery { source, folder: staging.to_path_buf(), variant: None, files: records })
}

struct LocalFile {
    path: PathBuf,
    name: String,
    size_bytes: u64,
}

impl From<HashError> for LocalError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Io(error) => Self::Io(error),
            HashError::Interrupted => Self::Interrupted,
        }
    }
}

fn files_of(path: &Path) -> Result<Vec<LocalFile>, LocalError> {
    let base = match path.is_dir() {
        true => path,
        false => path.parent().unwrap_or(path),
    };
    let mut files = Vec::new();
    let mut pending = vec![path.to_path_buf()];
    while let Some(next) = pending.pop() {
        let metadata = regular::metadata(&next).map_err(FileError::cannot("read", &next))?;
        if metadata.is_dir() {
            let cannot_read = FileError::cannot("read", &next);
            for entry in std::fs::read_dir(&next).map_err(&cannot_read)? {
                let entry = entry.map_err(&cannot_read)?;
                let path = entry.path();
                let is_link_to_folder = path.is_symlink() && path.is_dir();
                let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
                if !is_hidden && !is_link_to_folder {
                    pending.push(path);
                }
            }
        } else if metadata.is_file() {
            let name = next.strip_prefix(base).unwrap_or(&next).to_string_lossy().into_owned();
            files.push(LocalFile { path: next, name, size_bytes: metadata.len() });
        } else if next != path {
            // Left out it would be missed when somebody runs the model.
            regular::require(&next).map_err(FileError::cannot("read", &next))?;
        }
        if files.len() + pending.len() > N_FILES_MAX {
            return Err(LocalError::TooManyFiles { path: path.to_path_buf() });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn take(
    file: &LocalFile,
    link: bool,
    staging: &Path,
    progress: &mut Progress<'_>,
    stop: &dyn Fn() -> bool,
) -> Result<FileRecord, LocalError> {
    let target = staging.join(&file.name);
    let cannot_write = FileError::cannot("write", &target);
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).map_err(&cannot_write)?;
    }
    // The file's size before may not be what was read.
    let mut size_bytes = 0;
    let mut on_bytes = |n_bytes| {
        size_bytes += n_bytes;
        progress.advance(n_bytes);
    };
    let sha256 = if link {
        make_link(&file.path, &target).map_err(&cannot_write)?;
        checksum::sha256_file(&file.path, &mut on_bytes, stop)?
    } else {
        let source = regular::open(&file.path).map_err(FileError::cannot("read", &file.path));
        checksum::copy_and_hash(&mut source?, &target, &mut on_bytes, stop)?
    };
    Ok(FileRecord { path: file.name.clone(), size_bytes, sha256 })
}

#[cfg(unix)]
fn make_link(original: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(original, link)
}

#[cfg(not(unix))]
fn make_link(original: &Path, link: &Path) -> io::Result<()> {
    std::fs::hard_link(original, link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::NOBODY;

    #[test]
    fn a_file_that_grew_is_recorded_with_the_size_of_its_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, "weights").unwrap();
        let file = LocalFile { path, name: "m.gguf".into(), size_bytes: 3 };
        for link in [false, true] {
            let staging = folder.path().join(format!("staging-{link}"));
            let work = Work::new(Activity::Copying, "m");
            let mut progress = Progress::begin(NOBODY, work, Some(3));
            let record = take(&file, link, &staging, &mut progress, &|| false).unwrap();
            assert_eq!(record.size_bytes, 7);
        }
    }
}
