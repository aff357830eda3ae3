//! From a wheel to a folder of shared libraries, without Python.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use lapwing_files::FileError;
use lapwing_files::regular;
use zip::ZipArchive;
use zip::result::ZipError;

use crate::notice::Caller;

use super::{Native, Runtime, locate};

/// No runtime is larger; a wheel that claims more is not unpacked.
const MAX_BYTES: u64 = 2 << 30;

/// Why a wheel was not unpacked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum UnpackError {
    /// It is no zip archive, or a damaged one.
    #[error("cannot read the wheel {}", path.display())]
    Archive { path: PathBuf, source: ZipError },
    /// A file cannot be written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// It unpacks to more than any runtime has.
    #[error("the wheel {} unpacks to more than {MAX_BYTES} bytes", path.display())]
    TooLarge { path: PathBuf },
    /// A file that should be in it is not, such as the library.
    #[error("no {member} in the wheel {}", path.display())]
    NoMember { path: PathBuf, member: String },
    /// The caller stopped it.
    #[error("interrupted")]
    Interrupted,
}

/// Unpack the shared libraries of `runtime`, what they read beside themselves, and the licences
/// into the new folder `target`, and add the unversioned link.
///
/// # Errors
///
/// When the wheel is damaged, too large or without the library, or writing fails.
pub(super) fn libraries(
    runtime: Native,
    wheel: &Path,
    target: &Path,
    caller: Caller<'_>,
) -> Result<(), UnpackError> {
    let mut archive = open(wheel)?;
    make_folder(target)?;
    let archive_error = |source| UnpackError::Archive { path: wheel.to_path_buf(), source };
    let mut n_bytes = 0_u64;
    for entry_idx in 0..archive.len() {
        let mut entry = archive.by_index(entry_idx).map_err(archive_error)?;
        let name = entry.name().map_err(archive_error)?.into_owned();
        let wanted = if entry.is_file() { place(runtime, &name) } else { None };
        let Some(relative) = wanted else { continue };
        n_bytes = n_bytes.saturating_add(entry.size());
        if n_bytes > MAX_BYTES {
            return Err(UnpackError::TooLarge { path: wheel.to_path_buf() });
        }
        if caller.is_stopped() {
            return Err(UnpackError::Interrupted);
        }
        write_file(&mut entry, &target.join(relative))?;
    }
    let library = locate::in_folder(runtime, target).ok_or_else(|| UnpackError::NoMember {
        path: wheel.to_path_buf(),
        member: runtime.library().to_owned(),
    })?;
    link(&library, &target.join(runtime.library()))
}

/// Open a wheel for reading single members.
///
/// # Errors
///
/// When it is no zip archive.
pub(crate) fn open(wheel: &Path) -> Result<ZipArchive<File>, UnpackError> {
    let archive_error = |source| UnpackError::Archive { path: wheel.to_path_buf(), source };
    let file = regular::open(wheel).map_err(|error| archive_error(error.into()))?;
    ZipArchive::new(file).map_err(archive_error)
}

/// Where an entry of the wheel goes, if it is wanted.
///
/// Only the last part of the entry's name is used, so that no entry can leave the folder.
fn place(runtime: Native, name: &str) -> Option<PathBuf> {
    let (folder, file) = name.rsplit_once('/')?;
    if file.is_empty() || file.starts_with('.') || file.contains(['\\', ':', '\0']) {
        return None;
    }
    let is_library = file.starts_with("lib") && (file.ends_with(".so") || file.contains(".so."));
    let (library_folder, data): (_, &[&str]) = match runtime {
        Native::Runtime(Runtime::OnnxRuntime) => ("onnxruntime/capi", &[]),
        Native::Runtime(Runtime::OpenVino) => ("openvino/libs", &["cache.json", "plugins.xml"]),
        Native::OrtPlugin => ("onnxruntime_ep_openvino", &["cache.json"]),
    };
    // A wheel has no links: the plugin's holds the library once for each of its names.
    if runtime == Native::OrtPlugin
        && file.starts_with(runtime.library())
        && !file.ends_with(runtime.version())
    {
        return None;
    }
    if folder == library_folder && (is_library || data.contains(&file)) {
        return Some(file.into());
    }
    let is_licence = folder.contains(".dist-info/licenses")
        || folder == "onnxruntime" && ["LICENSE", "ThirdPartyNotices.txt"].contains(&file)
        || folder == "onnxruntime_ep_openvino" && file == "third-party-programs.txt";
    is_licence.then(|| Path::new("licenses").join(file))
}

fn make_folder(path: &Path) -> Result<(), UnpackError> {
    Ok(std::fs::create_dir_all(path).map_err(FileError::cannot("write", path))?)
}

fn write_file(entry: &mut impl io::Read, path: &Path) -> Result<(), UnpackError> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let written = File::create(path).and_then(|mut file| io::copy(entry, &mut file));
    written.map_err(FileError::cannot("write", path))?;
    Ok(())
}

/// The name without a version, for loaders that know no other.
fn link(library: &Path, plain: &Path) -> Result<(), UnpackError> {
    if library == plain {
        return Ok(());
    }
    let name = library.file_name().unwrap_or_default();
    #[cfg(unix)]
    let result = std::os::unix::fs::symlink(name, plain);
    #[cfg(not(unix))]
    let result = std::fs::copy(library.with_file_name(name), plain).map(|_| ());
    Ok(result.map_err(FileError::cannot("write", plain))?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::{SimpleFileOptions, ZipWriter};

    use super::*;
    use crate::notice::NOBODY;

    fn wheel(folder: &Path, members: &[(&str, &str)]) -> PathBuf {
        let path = folder.join("some.whl");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        for (name, text) in members {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    #[test]
    fn what_is_taken_and_where_it_goes() {
        let check = |runtime: Native, name: &str, expected: Option<&str>| {
            assert_eq!(place(runtime, name), expected.map(PathBuf::from), "{name}");
        };
        let ov = Native::from(Runtime::OpenVino);
        check(ov, "openvino/libs/libopenvino.so.2641", Some("libopenvino.so.2641"));
        check(ov, "openvino/libs/libopenvino_intel_cpu_plugin.so", {
            Some("libopenvino_intel_cpu_plugin.so")
        });
        check(ov, "openvino/libs/cache.json", Some("cache.json"));
        check(ov, "openvino/libs/tbb.pc", None);
        check(ov, "openvino/_pyopenvino.cpython-311-x86_64-linux-gnu.so", None);
        check(ov, "openvino/libs/../../libevil.so", None);
        check(ov, "/openvino/libs/libevil.so", None);
        check(ov, "openvino/libs/lib\\..\\evil.so", None);
        check(ov, "o.dist-info/licenses/licensing/a.txt", Some("licenses/a.txt"));
        check(ov, "o.dist-info/licenses/../../../.bashrc", None);
        let ort = Native::from(Runtime::OnnxRuntime);
        check(ort, "onnxruntime/capi/libonnxruntime.so.1.31.1", Some("libonnxruntime.so.1.31.1"));
        check(ort, "onnxruntime/capi/onnxruntime_pybind11_state.so", None);
        check(ort, "onnxruntime/LICENSE", Some("licenses/LICENSE"));
        let plugin = Native::OrtPlugin;
        let library = "libonnxruntime_providers_openvino_plugin.so";
        let of_wheel = |file: &str| format!("onnxruntime_ep_openvino/{file}");
        check(plugin, &of_wheel(library), None);
        check(plugin, &of_wheel(&format!("{library}.1")), None);
        let versioned = format!("{library}.1.8.1");
        check(plugin, &of_wheel(&versioned), Some(&versioned));
        check(plugin, &of_wheel("libopenvino.so.2641"), Some("libopenvino.so.2641"));
        check(plugin, &of_wheel("cache.json"), Some("cache.json"));
        check(plugin, &of_wheel("__init__.py"), None);
        let licence = "third-party-programs.txt";
        check(plugin, &of_wheel(licence), Some(&format!("licenses/{licence}")));
    }

    #[test]
    fn libraries_and_the_link() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = wheel(
            folder.path(),
            &[
                ("openvino/libs/libopenvino_c.so.2641", "c"),
                ("openvino/libs/libtbb.so.12", "tbb"),
                ("../openvino/libs/libevil.so", "evil"),
            ],
        );
        let target = folder.path().join("out");
        libraries(Runtime::OpenVino.into(), &wheel, &target, NOBODY).unwrap();
        assert_eq!(std::fs::read_to_string(target.join("libopenvino_c.so")).unwrap(), "c");
        let mut names: Vec<_> = std::fs::read_dir(&target)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["libopenvino_c.so", "libopenvino_c.so.2641", "libtbb.so.12"]);
    }

    #[test]
    fn wheels_that_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let empty = wheel(folder.path(), &[("openvino/libs/libtbb.so.12", "tbb")]);
        let result = libraries(Runtime::OpenVino.into(), &empty, &folder.path().join("a"), NOBODY);
        assert!(matches!(result, Err(UnpackError::NoMember { .. })), "{result:?}");

        let broken = folder.path().join("broken.whl");
        std::fs::write(&broken, "no zip").unwrap();
        let result = libraries(Runtime::OpenVino.into(), &broken, &folder.path().join("b"), NOBODY);
        assert!(matches!(result, Err(UnpackError::Archive { .. })), "{result:?}");
    }
}
