//! The native runtimes: where they are, and how to get them.
//!
//! ONNX Runtime and OpenVINO are loaded at run time and never linked. They are the shared
//! libraries inside the wheels on PyPI: fetched by the user's pip, checked against a pinned
//! SHA-256, unpacked without Python. So is the plugin of ONNX Runtime, which brings most of
//! OpenVINO with it. This module knows paths and wheels; it never loads a library.

mod locate;
mod native;
mod sharing;
mod unpack;
mod wheel;

use std::path::{Path, PathBuf};

use lapwing_files::checksum::{self, HashError};
use lapwing_files::disk::{self, NoRoomError};
use lapwing_files::{FileError, Lock, LockError, new_folder};

use crate::notice::{Activity, Caller, Notice, Progress, Work};
use crate::options::StoreOptions;
use crate::pip::{Pip, PipError, WheelRequest};

pub use locate::{LocateError, Located, Source, locate};
pub use native::{Native, Runtime};
pub use unpack::UnpackError;
pub(crate) use unpack::open as open_wheel;
pub use wheel::Wheel;

/// Room that a runtime takes while it is unpacked, wheel included, as a multiple of the wheel.
const UNPACKED_TIMES: u64 = 5;

/// A runtime in its place.
#[derive(Debug)]
pub struct PulledRuntime {
    /// The folder with the libraries.
    pub folder: PathBuf,
    /// Whether it was there before.
    pub was_there: bool,
}

/// Why a runtime could not be fetched.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum PullRuntimeError {
    /// No wheel for this kind of computer.
    #[error("no {runtime} wheel for {system} on {processor} is known to Lapwing")]
    Platform { runtime: Native, system: &'static str, processor: &'static str },
    /// No pip, or pip failed.
    #[error(transparent)]
    Pip(#[from] PipError),
    /// The wheel is not the pinned one.
    #[error("the wheel {file} is not the expected one: expected sha256 {expected}, found {found}")]
    Checksum { file: String, expected: &'static str, found: String },
    /// The wheel cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The runtime does not fit on the disk.
    #[error(transparent)]
    NoRoom(#[from] NoRoomError),
    /// The folder of runtimes cannot be written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// Another process fetches it.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl PullRuntimeError {
    /// Whether the caller stopped it.
    pub fn is_stop(&self) -> bool {
        match self {
            Self::Pip(error) => matches!(error, PipError::Interrupted),
            Self::Unpack(error) => matches!(error, UnpackError::Interrupted),
            Self::Lock(error) => matches!(error, LockError::Interrupted { .. }),
            _ => false,
        }
    }
}

/// Fetch `runtime` into the natives folder, unless it is there.
///
/// # Errors
///
/// When there is no wheel for this computer, pip fails, or the wheel is not the pinned one. The
/// folder is then as it was.
pub fn pull(
    runtime: Native,
    force: bool,
    options: &StoreOptions,
    caller: Caller<'_>,
) -> Result<PulledRuntime, PullRuntimeError> {
    let folder = runtime.folder(options);
    let natives = &options.natives;
    let lock_path = natives.join(format!(".{}.lock", runtime.name()));
    let on_wait = &mut |holder: &str| {
        let (holder, work) = (holder.to_owned(), Work::new(Activity::Getting, runtime));
        caller.tell(Notice::Waiting { holder, work });
    };
    let _lock = Lock::acquire(&lock_path, on_wait, caller.is_stopped)?;
    if !force && locate::in_folder(runtime, &folder).is_some() {
        return Ok(PulledRuntime { folder, was_there: true });
    }
    let wheel = wheel::pinned(runtime).ok_or(PullRuntimeError::Platform {
        runtime,
        system: std::env::consts::OS,
        processor: std::env::consts::ARCH,
    })?;
    sweep(natives, runtime);
    disk::require(natives, wheel.size_bytes.saturating_mul(UNPACKED_TIMES))?;
    let prefix = format!(".{}-", runtime.name());
    let staging = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(natives)
        .map_err(FileError::cannot("write", natives))?;
    let wheel_path = download(&wheel, runtime, staging.path(), options, caller)?;
    let unpacked = staging.path().join("unpacked");
    unpack::libraries(runtime, &wheel_path, &unpacked, caller)?;
    if runtime == Native::OrtPlugin {
        // Its wheel holds the very files of the pinned OpenVINO.
        sharing::share(&unpacked, &Runtime::OpenVino.folder(options), caller.is_stopped);
    }
    // What is there goes with the staging folder.
    new_folder::replace(&unpacked, &folder, &staging.path().join("replaced"))
        .map_err(FileError::cannot("write", &folder))?;
    Ok(PulledRuntime { folder, was_there: false })
}

/// Remove a runtime that was fetched.
///
/// # Errors
///
/// When it is not there, another process fetches it, or removing fails.
pub fn remove(runtime: Native, options: &StoreOptions) -> Result<(), PullRuntimeError> {
    let folder = runtime.folder(options);
    let natives = &options.natives;
    let lock_path = natives.join(format!(".{}.lock", runtime.name()));
    let _lock = Lock::try_acquire(&lock_path)?;
    sweep(natives, runtime);
    // Out of its place first: what is left of a removal that breaks off is swept the next time.
    let aside = natives.join(format!(".{}-removed-{}", runtime.name(), std::process::id()));
    std::fs::rename(&folder, &aside)
        .and_then(|()| std::fs::remove_dir_all(&aside))
        .map_err(FileError::cannot("write", &folder))?;
    Ok(())
}

/// Remove what a killed run left behind; we hold the lock, so nobody uses it.
fn sweep(natives: &Path, runtime: Native) {
    for entry in std::fs::read_dir(natives).into_iter().flatten().flatten() {
        if is_left_over(runtime, &entry.file_name().to_string_lossy()) {
            // What cannot be removed is only in the way of the disk, not of us.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether a name is that of an unfinished folder of `runtime`, and of no other whose name begins
/// like its own.
fn is_left_over(runtime: Native, name: &str) -> bool {
    let begins_with =
        |native: Native, end: &str| name.starts_with(&format!(".{}{end}", native.name()));
    let is_longer = |other: &Native| runtime.name().len() < other.name().len();
    let is_of_other = Native::ALL.into_iter().filter(is_longer).any(|other| begins_with(other, ""));
    begins_with(runtime, "-") && !is_of_other
}

fn download(
    wheel: &Wheel,
    runtime: Native,
    folder: &Path,
    options: &StoreOptions,
    caller: Caller<'_>,
) -> Result<PathBuf, PullRuntimeError> {
    let requirement = format!("{}=={}", runtime.name(), runtime.version());
    let pip = Pip::to_download(&requirement, options)?;
    let request = WheelRequest { requirement: &requirement, platform: Some(wheel.platform) };
    let work = Work::new(Activity::Getting, runtime);
    let mut progress = Progress::begin(caller, work, Some(wheel.size_bytes));
    let path = pip.download(request, folder, caller, &mut progress)?;
    let found =
        checksum::sha256_file(&path, &mut |_| {}, caller.is_stopped).map_err(
            |error| match error {
                HashError::Io(error) => PullRuntimeError::Io(error),
                HashError::Interrupted => PipError::Interrupted.into(),
            },
        )?;
    if found != wheel.sha256 {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(PullRuntimeError::Checksum { file, expected: wheel.sha256, found });
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_pull_is_swept_by_its_own_library_only() {
        let check = |native: Native, name: &str, expected: bool| {
            assert_eq!(is_left_over(native, name), expected, "{native} {name}");
        };
        let (ort, plugin) = (Native::from(Runtime::OnnxRuntime), Native::OrtPlugin);
        check(ort, ".onnxruntime-a1B2", true);
        check(ort, ".onnxruntime-removed-7", true);
        check(ort, ".onnxruntime-ep-openvino-a1B2", false);
        check(ort, ".onnxruntime-ep-openvino.lock", false);
        check(ort, "onnxruntime-1.31.1", false);
        check(ort, ".onnxruntime.lock", false);
        check(plugin, ".onnxruntime-ep-openvino-a1B2", true);
        check(plugin, ".onnxruntime-ep-openvino.lock", false);
        check(plugin, ".onnxruntime-a1B2", false);
    }
}
